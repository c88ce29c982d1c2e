//! The letter that `smtp-source` sends: two parts, made to a size, so that Postfix moves as many bytes as the server does.

use std::fmt::Write as _;

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
