//! The content as it goes over the wire: line ends made whole, dots stuffed, the end marked (RFC 5321 §4.5.2).
//!
//! Every bare CR and every bare LF becomes CRLF before dots are stuffed, so that no receiver, however lenient, can see an end of content or a command inside
//! a letter ("SMTP smuggling", VU#302671).

use std::io::Write as _;

/// Whether every CR and LF of `message` stands in a CRLF and the last line has its end, so that it can travel as it is. One pass without branches.
pub(crate) fn is_clean(message: &[u8]) -> bool {
    let Some((first, _)) = message.split_first() else { return false };
    *first != b'\n' && message.ends_with(b"\r\n") && {
        let odd = message.iter().zip(&message[1..]).fold(0, |odd, (a, b)| odd | (u8::from(*a == b'\r') ^ u8::from(*b == b'\n')));
        odd == 0
    }
}

/// Whether no line of a clean `message` begins with a dot.
pub(crate) fn is_dotless(message: &[u8]) -> bool {
    let dots = message
        .iter()
        .zip(message.get(1..).unwrap_or_default())
        .fold(0, |dots, (a, b)| dots | (u8::from(*a == b'\n') & u8::from(*b == b'.')));
    dots == 0 && message.first() != Some(&b'.')
}

/// Appends the command that announces `size` octets as the only chunk of a message (RFC 3030 §2).
pub(crate) fn bdat(out: &mut Vec<u8>, size: usize) {
    write!(out, "BDAT {size} LAST\r\n").expect("memory takes everything");
}

/// `message` as one chunk: every line ended by CRLF, nothing stuffed. Never empty, because relays have been seen to stumble over `BDAT 0 LAST`.
pub(crate) fn chunk(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    whole_lines(message, &mut out);
    if out.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Appends `message` to `out`: every line ended by CRLF, a dot put before lines that begin with one, `.` CRLF at the end.
pub(crate) fn encode(message: &[u8], out: &mut Vec<u8>) {
    out.reserve(message.len() + message.len() / 64 + 16);
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(rest.len());
        if rest[0] == b'.' {
            out.push(b'.');
        }
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\r\n");
        rest = after_line_end(&rest[end..]);
    }
    out.extend_from_slice(b".\r\n");
}

/// Writes `message` to `out` with every line ended by CRLF and nothing else changed, as files want it.
pub(crate) fn whole_lines(message: &[u8], out: &mut Vec<u8>) {
    out.reserve(message.len() + 16);
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\r\n");
        rest = after_line_end(&rest[end..]);
    }
}

fn after_line_end(rest: &[u8]) -> &[u8] {
    match rest {
        [b'\r', b'\n', after @ ..] | [b'\r' | b'\n', after @ ..] => after,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(message, &mut out);
        out
    }

    /// What a receiver makes of it (RFC 5321 §4.5.2), written apart from the encoder.
    fn received(wire: &[u8]) -> Vec<Vec<u8>> {
        let text = wire.strip_suffix(b".\r\n").expect("ends with the dot");
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut line = Vec::new();
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b'\n' => {
                    assert_eq!(text[at - 1], b'\r', "a bare LF");
                    line.pop();
                    lines.push(std::mem::take(&mut line));
                }
                _ => line.push(*byte),
            }
        }
        assert!(line.is_empty(), "the last line has no end");
        assert!(!lines.iter().any(|l| l == b"."), "an end of content inside");
        lines.into_iter().map(|l| if l.first() == Some(&b'.') { l[1..].to_vec() } else { l }).collect()
    }

    #[test]
    fn dots_and_bare_line_ends_are_made_safe() {
        assert_eq!(encoded(b"a\r\n.b\r\n"), b"a\r\n..b\r\n.\r\n");
        assert_eq!(encoded(b"a\n.\r\nMAIL"), b"a\r\n..\r\nMAIL\r\n.\r\n");
        assert_eq!(encoded(b"a\r.\rb"), b"a\r\n..\r\nb\r\n.\r\n");
        assert_eq!(encoded(b"a\r\r\nb"), b"a\r\n\r\nb\r\n.\r\n");
        assert_eq!(encoded(b""), b".\r\n");
    }

    proptest! {
        #[test]
        fn a_receiver_gets_the_same_lines_and_one_end(message in prop::collection::vec(prop::sample::select(vec![b'\r', b'\n', b'.', b'a', b' ', 0xC3]), 0..60)) {
            let lines = received(&encoded(&message));
            let mut files = Vec::new();
            whole_lines(&message, &mut files);
            prop_assert_eq!(lines.iter().flat_map(|l| [l.as_slice(), b"\r\n"].concat()).collect::<Vec<_>>(), files.clone());
            prop_assert_eq!(is_clean(&message), !message.is_empty() && files.as_slice() == message.as_slice());
            if is_clean(&message) && is_dotless(&message) {
                prop_assert_eq!([message.as_slice(), b".\r\n"].concat(), encoded(&message), "what travels as it is, is what would be made");
            }
            prop_assert!(!is_clean(&message) || is_dotless(&message) || encoded(&message).len() > message.len() + 3);
            prop_assert!(files.is_empty() || is_clean(&files));
            let visible = |bytes: &[u8]| bytes.iter().filter(|b| !matches!(b, b'\r' | b'\n')).copied().collect::<Vec<_>>();
            prop_assert_eq!(visible(&lines.concat()), visible(&message));
        }
    }
}
