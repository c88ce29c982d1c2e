//! Time as the house sees it: a moment in UTC, and somebody who knows the present one.

/// A moment in time, UTC, nanosecond precision; stored as milliseconds since 1970-01-01.
pub use jiff::Timestamp;

/// Knows the present moment. Plugged in by the binary; tests plug in one that stands still.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// Adds a duration, staying inside the range that a [`Timestamp`] can express.
pub fn later(from: Timestamp, by: std::time::Duration) -> Timestamp {
    let by = jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX);
    from.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// A moment so long before another, at the earliest the first that can be expressed.
pub fn earlier(from: Timestamp, by: std::time::Duration) -> Timestamp {
    let by = jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX);
    from.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// A moment from milliseconds since 1970, as the store keeps it; clamped to the expressible range.
pub fn from_millis(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
