//! Durations and sizes as people write them.

use crate::error::UnitError;
use std::time::Duration;

/// The longest duration that is accepted.
const TEN_YEARS: Duration = Duration::from_hours(3650 * 24);

/// Reads `15m`, `4d`, `1h30m`, `500ms`: whole numbers, each with a unit (ms, s, m, h, d), the greater units first or not.
///
/// # Errors
/// [`UnitError`] says how it is to be written.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::Duration(crate::problem::shown(text));
    let mut rest = text.trim();
    if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UnitError::NoUnit(crate::problem::shown(rest)));
    }
    let mut total = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let too_long = || UnitError::TooLong(crate::problem::shown(text));
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis).ok_or_else(too_long)?)).ok_or_else(too_long)?;
        rest = tail.trim_start();
        parts += 1;
    }
    match total {
        _ if parts == 0 => Err(wrong()),
        total if total > TEN_YEARS => Err(UnitError::TooLong(crate::problem::shown(text))),
        total => Ok(total),
    }
}

/// Reads `256MiB`, `8MB`, `512B`: a whole number with a unit; the units with an `i` count in 1024s. The answer is in bytes.
///
/// # Errors
/// [`UnitError`] says how it is to be written.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::Size(crate::problem::shown(text));
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

/// Reads `20%`: a whole number from 0 to 100.
///
/// # Errors
/// [`UnitError`] says how it is to be written.
pub fn percent(text: &str) -> Result<u8, UnitError> {
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    number.filter(|number| *number <= 100).ok_or_else(|| UnitError::Percent(crate::problem::shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_add_up() {
        assert_eq!(duration("15m"), Ok(Duration::from_mins(15)));
        assert_eq!(duration("4d"), Ok(Duration::from_hours(96)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_no_duration_is_told_how_to_write_one() {
        assert_eq!(duration("15"), Err(UnitError::NoUnit("15".into())));
        for wrong in ["", "m", "1.5h", "-1s", "1y", "1 fortnight", "99999999999999999999s"] {
            assert!(matches!(duration(wrong), Err(UnitError::Duration(_))), "{wrong}");
        }
        assert!(matches!(duration("9999d"), Err(UnitError::TooLong(_))));
        assert!(matches!(duration("18446744073709551615d"), Err(UnitError::TooLong(_))));
    }

    #[test]
    fn sizes_count_in_1024s_with_an_i_and_in_1000s_without() {
        assert_eq!(size("256MiB"), Ok(256 << 20));
        assert_eq!(size("8 MB"), Ok(8_000_000));
        assert_eq!(size("0B"), Ok(0));
        for wrong in ["", "256", "MiB", "1.5MiB", "256M", "99999999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_is_written_in_percent() {
        assert_eq!((percent("20%"), percent("0 %"), percent("100%")), (Ok(20), Ok(0), Ok(100)));
        for wrong in ["20", "101%", "-1%", "0.2", "%", ""] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC*") {
            let _ = (duration(&text), size(&text), percent(&text));
        }

        #[test]
        fn what_is_written_in_parts_is_their_sum(h in 0u64..1000, m in 0u64..1000, ms in 0u64..100_000) {
            prop_assert_eq!(duration(&format!("{h}h{m}m{ms}ms")), Ok(Duration::from_millis(h * 3_600_000 + m * 60_000 + ms)));
        }
    }
}
