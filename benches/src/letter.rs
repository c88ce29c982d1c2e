//! Letters of a size: the one that `smtp-source` sends has two parts and as many bytes as the server's own; the server gets templates for small letters and a
//! picture for large ones.

use crate::server::LetterSize;
use anyhow::{Context, Result};
use std::{fmt::Write as _, fs, path::Path};

/// Size where nothing is known of the server's letters, in bytes on the wire.
pub(crate) const USUAL_SIZE: usize = 4_096;

const HEAD: &str = "From: Identity Service <no-reply@example.org>
To: Linus <linus@example.org>
Subject: You are now a member of Payroll
Date: Sat, 21 Nov 2026 09:00:00 +0000
Message-ID: <bench@example.org>
MIME-Version: 1.0
Auto-Submitted: auto-generated
Content-Type: multipart/alternative; boundary=\"=_bench\"

--=_bench
Content-Type: text/plain; charset=utf-8

Hello Linus,

you are now a member of the group Payroll.

--=_bench
Content-Type: text/html; charset=utf-8

<!doctype html><html lang=\"en\"><body><p>Hello Linus,</p>
";
const TAIL: &str = "</body></html>\n--=_bench--\n";

/// A letter with LF line ends (what `smtp-source -F` wants) that takes about `size` bytes on the wire, where each line end is two bytes.
pub(crate) fn of_size(size: usize) -> String {
    let on_the_wire = |text: &str| text.len() + text.matches('\n').count();
    let mut letter = HEAD.to_owned();
    let mut room = size.saturating_sub(on_the_wire(HEAD) + on_the_wire(TAIL));
    while room > 12 {
        let width = (room - 9).min(70);
        writeln!(letter, "<p>{:x<width$}</p>", "").expect("a String takes everything");
        room = room.saturating_sub(width + 9);
    }
    letter + TAIL
}

/// Bytes of the picture that makes a letter some 100,000 bytes long: in Base64 a third more, with line ends.
const PICTURE: usize = 68_000;

/// Puts what letters of this size need into the folder of the server's configuration.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn furnish(folder: &Path, size: LetterSize) -> Result<()> {
    match size {
        LetterSize::Usual => Ok(()),
        LetterSize::Small => {
            let templates = folder.join("templates/membership.joined");
            fs::create_dir_all(&templates).context("making a folder for templates")?;
            let files = [
                ("membership.joined/subject.txt", "You are now a member of {{ object.label }}\n"),
                ("membership.joined/body.txt", "You are now a member of the group {{ object.label }}.\n"),
                ("membership.joined/body.html", "<p>You are now a member of the group {{ object.label }}.</p>\n"),
                ("layout.txt", "Hello {{ reader.label }},\n\n[[ body ]]\n"),
                ("layout.html", "<html><body>\n<p>Hello {{ reader.label }},</p>\n[[ body ]]\n</body></html>\n"),
            ];
            files.iter().try_for_each(|(name, text)| {
                fs::write(folder.join("templates").join(name), text).with_context(|| format!("writing the template {name}"))
            })
        }
        LetterSize::Pictured => fs::write(folder.join("logo.png"), picture()).context("writing the organisation's picture"),
    }
}

/// Bytes that begin like a PNG picture (RFC 2083 §3.1) and go on at random, so that nothing can be gained by compressing them.
fn picture() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise = std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    });
    b"\x89PNG\r\n\x1a\n".iter().copied().chain(noise).take(PICTURE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letter_has_the_size_asked_for_and_no_line_that_is_too_long() {
        for size in [USUAL_SIZE, 5_000, 7_321] {
            let letter = of_size(size);
            let wire = letter.len() + letter.lines().count();
            assert!(wire.abs_diff(size) <= 12, "{wire} for {size}");
            assert!(letter.lines().all(|line| line.len() <= 78 && line != "."));
        }
    }
}
