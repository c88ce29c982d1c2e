//! The form of a file, looked at byte by byte before anything in it is believed: UTF-8, and quotation marks that open and close (RFC 4180 §2).
//!
//! A mark that is not closed would have the rows behind it swallowed as the text of one field, and whoever stood in them taken for gone. So a file in which rows
//! cannot be told apart is refused whole, with the place.

use std::io::{self, BufRead};

/// What is wrong with a file's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// The line, counted from 1.
    pub(crate) line: u64,
    /// What is wrong there.
    pub(crate) what: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Before the first character of a field.
    Start,
    /// A field without quotation marks.
    Plain,
    /// Between quotation marks.
    Quoted,
    /// Behind a mark inside of a quoted field: it closes the field, or is doubled.
    Mark,
}

/// Goes through a file; `Ok(None)` if its form is right.
pub(crate) fn flaw(mut file: impl BufRead, delimiter: u8) -> io::Result<Option<Flaw>> {
    let head = file.fill_buf()?;
    if head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) {
        return Ok(Some(Flaw { line: 1, what: "the file is in UTF-16; save it as UTF-8".to_owned() }));
    }
    if head.starts_with(&[0xEF, 0xBB, 0xBF]) {
        file.consume(3);
    }
    let (mut line, mut opened, mut within) = (0, 0, Within::Start);
    let mut text = Vec::new();
    loop {
        text.clear();
        // A line is bounded by the longest that there may be: no file of one line fills the memory.
        if io::Read::take(&mut file, LONGEST + 1).read_until(b'\n', &mut text)? == 0 {
            break;
        }
        line += 1;
        if text.len() as u64 > LONGEST {
            return Ok(Some(Flaw { line, what: format!("the line is longer than {} KiB", LONGEST / 1024) }));
        }
        if let Some(what) = not_text(&text) {
            return Ok(Some(Flaw { line, what }));
        }
        for &byte in &text {
            within = match (within, byte) {
                (Within::Start, b'"') => {
                    opened = line;
                    Within::Quoted
                }
                (Within::Quoted, b'"') => Within::Mark,
                (Within::Quoted, _) | (Within::Mark, b'"') => Within::Quoted,
                (_, b'\n' | b'\r') => Within::Start,
                (_, byte) if byte == delimiter => Within::Start,
                (Within::Mark, _) => {
                    let what = format!(
                        "text stands behind a closing quotation mark; a mark inside of quoted text is doubled (the field begins on line {opened})"
                    );
                    return Ok(Some(Flaw { line, what }));
                }
                (Within::Start | Within::Plain, _) => Within::Plain,
            };
        }
        // Text of one field over very many lines is a mark that was forgotten.
        if within == Within::Quoted && line - opened > MOST_LINES {
            break;
        }
    }
    Ok((within == Within::Quoted).then(|| Flaw { line: opened, what: "the quotation mark that is opened here is not closed".to_owned() }))
}

/// The longest line, in bytes: a group with 100,000 members in one field stays below.
const LONGEST: u64 = 16 << 20;
/// The most lines that one field may have.
const MOST_LINES: u64 = 1000;

/// Why a line is not text, with the column.
fn not_text(line: &[u8]) -> Option<String> {
    if let Some(at) = line.iter().position(|byte| *byte == 0) {
        return Some(format!("column {}: a NUL character", at + 1));
    }
    let error = std::str::from_utf8(line).err()?;
    let before = std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default();
    let byte = line[error.valid_up_to()];
    Some(format!(
        "column {}: the byte {byte:02X} is not UTF-8; the file is in another encoding, Latin-1 perhaps: save it as UTF-8",
        before.chars().count() + 1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &[u8]) -> Option<(u64, String)> {
        flaw(io::BufReader::with_capacity(7, file), b',').unwrap().map(|flaw| (flaw.line, flaw.what))
    }

    #[test]
    fn a_file_as_programs_write_it_has_no_flaw() {
        for file in [
            &b"key,name\r\n1,Ada\r\n"[..],
            b"\xEF\xBB\xBF\"key\",name\n1,\"Ada \"\"the first\"\" King\"\n",
            b"key,note\n1,\"two\nlines, and a comma\"\n2,",
            b"key,size\n1,5\" pipe\n",
            "key,name\n1,J\u{f6}rg\n".as_bytes(),
            b"",
        ] {
            assert_eq!(of(file), None, "{}", String::from_utf8_lossy(file));
        }
    }

    #[test]
    fn rows_that_cannot_be_told_apart_are_named_with_their_line() {
        assert!(matches!(of(b"key,name\n1,\"Ada\n2,Bob\n"), Some((2, what)) if what.contains("not closed")));
        assert!(
            matches!(of(b"key,name\n1,\"Sales\n2,Bob,\"Dev\"\n"), Some((3, what)) if what.contains("behind a closing") && what.contains("line 2"))
        );
        assert!(matches!(of(b"key,name\n1,J\xF6rg\n"), Some((2, what)) if what.starts_with("column 4: the byte F6")));
        assert!(matches!(of(b"\xFF\xFEk\0e\0"), Some((1, what)) if what.contains("UTF-16")));
        assert!(matches!(of(b"key\n1\0\n"), Some((2, what)) if what.contains("column 2")));
        let many = format!("key,name\n1,\"{}\"\n", "x\n".repeat(2000));
        assert!(matches!(of(many.as_bytes()), Some((2, _))));
    }
}
