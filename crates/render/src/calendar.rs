//! Dates and times as people write them, in the language of the letter and the time zone of its reader.
//!
//! The words and the order come from the catalogue (`[calendar]`), so that a language can be added without touching the code.

use jiff::{Timestamp, civil, tz::TimeZone};
use minijinja::value::Object;
use std::sync::Arc;

/// How a language writes dates.
#[derive(Debug)]
pub(crate) struct Calendar {
    /// January first.
    pub(crate) months: Vec<String>,
    /// Monday first.
    pub(crate) weekdays: Vec<String>,
    /// With `{weekday}`, `{day}`, `{month}`, `{year}`.
    pub(crate) date: String,
    /// With `{date}`, `{time}`, `{zone}`.
    pub(crate) datetime: String,
    /// How the first of a month is written: `1`, in French `1er`.
    pub(crate) first_day: String,
}

/// What the date filters need to know of the letter that is being written.
#[derive(Debug)]
pub(crate) struct Moment {
    /// The letter's date.
    pub(crate) at: Timestamp,
    /// The reader's time zone.
    pub(crate) zone: TimeZone,
    /// The letter's language.
    pub(crate) calendar: Arc<Calendar>,
}

impl Object for Moment {}

/// A point in time as an event gives it: a day, or a moment.
#[derive(Debug, Clone, Copy)]
enum When {
    Day(civil::Date),
    Moment(Timestamp),
}

impl When {
    fn parse(text: &str) -> Option<Self> {
        text.parse().map(Self::Moment).or_else(|_| text.parse().map(Self::Day)).ok()
    }
}

impl Moment {
    /// The day: `Thursday, 31 December 2026`.
    pub(crate) fn date(&self, text: &str) -> Option<String> {
        Some(match When::parse(text)? {
            When::Day(day) => self.calendar.day(day),
            When::Moment(at) => self.calendar.day(at.to_zoned(self.zone.clone()).date()),
        })
    }

    /// Day and time, if the event gave a time: `Thursday, 31 December 2026, 09:00 (CET)`.
    pub(crate) fn datetime(&self, text: &str) -> Option<String> {
        let at = match When::parse(text)? {
            When::Day(day) => return Some(self.calendar.day(day)),
            When::Moment(at) => at,
        };
        let zone = self.zone.to_offset_info(at);
        let abbreviation = match zone.abbreviation() {
            // Zones without a name of their own are written by their distance from UTC.
            short if short.starts_with(['+', '-']) => format!("UTC{short}"),
            short => short.to_owned(),
        };
        let local = zone.offset().to_datetime(at);
        let time = format!("{:02}:{:02}", local.hour(), local.minute());
        let date = self.calendar.day(local.date());
        Some(fill(&self.calendar.datetime, &[("date", &date), ("time", &time), ("zone", &abbreviation)]))
    }

    /// Whole days from the letter's date until then, by the calendar of the reader's zone: 0 is today, negative is past.
    pub(crate) fn days_until(&self, text: &str) -> Option<i64> {
        let then = match When::parse(text)? {
            When::Day(day) => day,
            When::Moment(at) => at.to_zoned(self.zone.clone()).date(),
        };
        let today = self.at.to_zoned(self.zone.clone()).date();
        today.until(then).ok().map(|span| i64::from(span.get_days()))
    }

    /// Whether that is over at the letter's date; a day is over when the next one begins.
    pub(crate) fn is_past(&self, text: &str) -> Option<bool> {
        match When::parse(text)? {
            When::Day(_) => self.days_until(text).map(|days| days < 0),
            When::Moment(at) => Some(at <= self.at),
        }
    }
}

impl Calendar {
    fn day(&self, day: civil::Date) -> String {
        let word = |list: &[String], index: i8| usize::try_from(index).ok().and_then(|i| list.get(i)).cloned().unwrap_or_default();
        let number = if day.day() == 1 { self.first_day.clone() } else { day.day().to_string() };
        let weekday = word(&self.weekdays, day.weekday().to_monday_zero_offset());
        let month = word(&self.months, day.month() - 1);
        fill(&self.date, &[("weekday", &weekday), ("day", &number), ("month", &month), ("year", &day.year().to_string())])
    }
}

/// Replaces `{name}` in a pattern; a name that is not known stays as it is.
fn fill(pattern: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(pattern.len() + 32);
    let mut rest = pattern;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let known =
            rest.find('}').and_then(|close| values.iter().find(|(name, _)| *name == &rest[1..close]).map(|(_, value)| (close, value)));
        if let Some((close, value)) = known {
            out.push_str(value);
            rest = &rest[close + 1..];
        } else {
            out.push('{');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(zone: &str) -> Moment {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let calendar = Calendar {
            months: words("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
            weekdays: words("lundi mardi mercredi jeudi vendredi samedi dimanche"),
            date: "{weekday} {day} {month} {year}".into(),
            datetime: "{date} à {time} ({zone})".into(),
            first_day: "1er".into(),
        };
        Moment { at: "2026-11-21T23:30:00Z".parse().unwrap(), zone: TimeZone::get(zone).unwrap(), calendar: Arc::new(calendar) }
    }

    #[test]
    fn a_moment_is_shown_in_the_readers_zone_and_a_day_in_none() {
        let paris = moment("Europe/Paris");
        assert_eq!(paris.datetime("2026-11-30T23:30:00Z").unwrap(), "mardi 1er décembre 2026 à 00:30 (CET)");
        assert_eq!(paris.datetime("2026-12-31").unwrap(), "jeudi 31 décembre 2026");
        assert_eq!(moment("Asia/Dubai").datetime("2026-07-01T08:00:00Z").unwrap(), "mercredi 1er juillet 2026 à 12:00 (UTC+04)");
        assert_eq!(paris.date("not a date"), None);
    }

    #[test]
    fn days_are_counted_by_the_readers_calendar() {
        // 23:30 UTC is already the 22nd in Paris, still the 21st in New York.
        assert_eq!(moment("Europe/Paris").days_until("2026-11-22T12:00:00Z"), Some(0));
        assert_eq!(moment("America/New_York").days_until("2026-11-22T12:00:00Z"), Some(1));
        assert_eq!(moment("Europe/Paris").days_until("2026-11-20"), Some(-2));
        assert_eq!(moment("UTC").days_until("2027-01-01"), Some(41));
        assert_eq!(moment("UTC").is_past("2026-11-21"), Some(false));
        assert_eq!(moment("UTC").is_past("2026-11-21T23:00:00Z"), Some(true));
    }
}
