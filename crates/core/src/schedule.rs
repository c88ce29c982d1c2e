//! Due times from cron expressions.

use crate::time::Timestamp;
use std::{fmt, str::FromStr, sync::Arc};

/// A cron expression of five fields (minute, hour, day of month, month, day of week), of six with the second in front, or an alias such as `@hourly`; times
/// are UTC.
#[derive(Clone)]
pub struct Cron {
    text: String,
    pattern: Arc<croner::Cron>,
}

/// A text that is not a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a cron expression such as `*/5 * * * *` (minute hour day month weekday): {why}")]
pub struct CronError {
    /// What was found.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl Cron {
    /// The next due time strictly after `now`; `None` if there is none (30 February).
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let zoned = now.to_zoned(jiff::tz::TimeZone::UTC);
        self.pattern.find_next_occurrence(&zoned, false).ok().map(|next| next.timestamp())
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let pattern: croner::Cron =
            text.parse().map_err(|e: croner::errors::CronError| CronError { text: text.to_owned(), why: e.to_string() })?;
        Ok(Self { text: text.to_owned(), pattern: Arc::new(pattern) })
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Cron {}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_next_due_time_is_strictly_later(seconds in 0i64..4_000_000_000, minutes in 1u8..59) {
            let cron: Cron = format!("*/{minutes} * * * *").parse().unwrap();
            let now = Timestamp::from_second(seconds).unwrap();
            prop_assert!(cron.next_after(now).unwrap() > now);
        }
    }

    #[test]
    fn a_sixth_field_in_front_is_the_second() {
        let cron: Cron = "*/20 * * * * *".parse().unwrap();
        let now: Timestamp = "2026-11-21T09:02:10Z".parse().unwrap();
        assert_eq!(cron.next_after(now), Some("2026-11-21T09:02:20Z".parse().unwrap()));
    }

    #[test]
    fn what_is_no_cron_expression_is_refused_with_the_reason() {
        assert!("every day".parse::<Cron>().unwrap_err().to_string().contains("`every day` is not a cron expression"));
        assert!("99 * * * *".parse::<Cron>().is_err());
    }
}
