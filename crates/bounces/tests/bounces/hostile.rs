//! Reports come from anybody: whatever the bytes are, reading ends soon and never panics.

use crate::sample;
use proptest::prelude::*;
use std::time::{Duration, Instant};
use tidings_bounces::{LONGEST, read};

const SAMPLES: [&str; 12] = [
    "exchange-online",
    "exchange-on-premises",
    "exchange-text",
    "exchange-2003",
    "gmail",
    "amazon-ses",
    "qmail",
    "exim-old",
    "complaint",
    "utf8",
    "out-of-office",
    "postfix-delayed",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        read(&bytes);
    }

    #[test]
    fn a_report_that_was_cut_or_scrambled_is_read(
        which in 0..SAMPLES.len(),
        cut in 0.0..1.0f64,
        flips in prop::collection::vec((0.0..1.0f64, any::<u8>()), 0..20),
    ) {
        let mut raw = sample(SAMPLES[which], "i", "l@h", "e");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
        let place = |part: f64| ((raw.len() - 1) as f64 * part) as usize;
        let (end, flips): (usize, Vec<_>) = (place(cut), flips.into_iter().map(|(part, byte)| (place(part), byte)).collect());
        for (place, byte) in flips {
            raw[place] = byte;
        }
        read(&raw[..end]);
        read(&raw);
    }
}

/// Each of these would take minutes if the time grew with the square of the size, or end the stack if parts were gone into without end.
#[test]
fn large_and_deep_ones_take_no_longer_than_their_bytes() {
    let begin = Instant::now();
    let mut deep = Vec::new();
    for level in 0..20_000 {
        deep.extend(format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n").bytes());
    }
    let mut wide = b"Content-Type: multipart/mixed; boundary=b\n\n".to_vec();
    for part in 0..20_000 {
        wide.extend(format!("--b\nContent-Type: multipart/mixed; boundary=x{part}\n\n").bytes());
    }
    let mut folded = b"Subject: a\n".to_vec();
    folded.extend(b" b\n".repeat(LONGEST / 3));
    let fields = b"X-Failed-Recipients: a@b.c\n".repeat(LONGEST / 27);
    let mut blocks = b"Content-Type: message/delivery-status\n\n".to_vec();
    blocks.extend(b"Final-Recipient: rfc822;a@b.c\n\n".repeat(LONGEST / 31));
    let mut qmail = b"From: MAILER-DAEMON\n\nHi. This is the qmail-send program at x.\n\n".to_vec();
    qmail.extend(b"<a@b.c>:\nno\n\n".repeat(LONGEST / 13));
    let mut brackets = b"Subject: undeliverable\nFrom: postmaster@x\nReferences: ".to_vec();
    brackets.extend(b"<".repeat(LONGEST / 2));
    brackets.extend(b"\n\n");
    brackets.extend(b"a@b.c 5.1.1 ".repeat(LONGEST / 24));
    let mut encoded = b"Subject: ".to_vec();
    encoded.extend(b"=?utf-8?Q?a?= ".repeat(LONGEST / 14));
    for hostile in [deep, wide, folded, fields, blocks, qmail, brackets, encoded, vec![b'\n'; LONGEST * 3], vec![b'-'; LONGEST * 3]] {
        read(&hostile);
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}
