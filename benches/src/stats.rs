//! Medians and spreads.

use serde::Serialize;
use std::time::Duration;

/// What several rounds came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// The lowest.
    pub(crate) min: f64,
    /// The highest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of these values, unless there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }
}

/// How long single things took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// How many there were.
    pub(crate) count: usize,
    /// Half of them took no longer.
    pub(crate) p50: f64,
    /// 99 % of them took no longer.
    pub(crate) p99: f64,
    /// None took longer.
    pub(crate) longest: f64,
}

impl Latency {
    /// Of these times, unless there are none. A percentile is the smallest time that so many did not exceed ("nearest rank").
    pub(crate) fn of(times: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut times: Vec<f64> = times.into_iter().collect();
        times.sort_by(f64::total_cmp);
        let longest = *times.last()?;
        let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
        Some(Self { count: times.len(), p50: at(50), p99: at(99), longest })
    }
}

/// A duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "counts here stay far below 2^52")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

/// A number as people read it: thousands apart, decimals only where they say something.
pub(crate) fn shown(value: f64) -> String {
    let places = match value.abs() {
        size if size < 0.000_5 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    grouped(&format!("{value:.places$}"))
}

/// A count, thousands apart.
pub(crate) fn counted(count: u64) -> String {
    grouped(&count.to_string())
}

fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_once('.').map_or((text, String::new()), |(whole, rest)| (whole, format!(".{rest}")));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// Bytes as MiB.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    real(bytes) / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times = (1..=200_u32).rev().map(f64::from);
        assert_eq!(Latency::of(times), Some(Latency { count: 200, p50: 100.0, p99: 198.0, longest: 200.0 }));
        assert_eq!(Latency::of([3.0]), Some(Latency { count: 1, p50: 3.0, p99: 3.0, longest: 3.0 }));
        assert_eq!(Latency::of([]), None);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(shown(1_234_567.4), "1,234,567");
        assert_eq!(shown(999.6), "1,000");
        assert_eq!(shown(12.345), "12.3");
        assert_eq!(shown(0.0456), "0.046");
        assert_eq!(shown(-1234.0), "-1,234");
        assert_eq!((counted(10), counted(1_000_000)), ("10".to_owned(), "1,000,000".to_owned()));
    }
}
