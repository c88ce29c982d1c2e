//! The flood guard: how many people may be mailed before somebody is asked.

/// The limits; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FloodLimits {
    /// The most people that one event may mail.
    pub per_event: u64,
    /// The most people that one rule may mail within an hour.
    pub per_rule_hour: u64,
}

/// What stands against mailing at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// The event alone mails too many.
    Event,
    /// The rule mails too many within the hour.
    RuleHour,
}

impl FloodLimits {
    /// Whether there is any limit.
    pub fn any(self) -> bool {
        self.per_event > 0 || self.per_rule_hour > 0
    }

    /// The word on an event that mails so many people, so many of them by a rule that has mailed so many others within the hour.
    pub fn judge(self, of_event: u64, of_rule: u64, in_hour: u64) -> Option<Flood> {
        if self.per_event > 0 && of_event > self.per_event {
            Some(Flood::Event)
        } else if self.per_rule_hour > 0 && of_rule > 0 && in_hour + of_rule > self.per_rule_hour {
            Some(Flood::RuleHour)
        } else {
            None
        }
    }
}

impl Flood {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::RuleHour => "rule_hour",
        }
    }

    /// What was too much, in words: more than `most`, by a rule if it is one's.
    pub fn why(self, rule: &str, most: u64) -> String {
        match self {
            Self::Event => format!("its event tells more than {most} people"),
            Self::RuleHour => format!("the rule `{rule}` tells more than {most} people within an hour"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_most_that_goes() {
        let limits = FloodLimits { per_event: 10, per_rule_hour: 15 };
        assert_eq!(limits.judge(10, 10, 5), None);
        assert_eq!(limits.judge(11, 1, 0), Some(Flood::Event));
        assert_eq!(limits.judge(10, 10, 6), Some(Flood::RuleHour));
        assert_eq!(limits.judge(1, 0, 100), None);
        assert_eq!(FloodLimits::default().judge(1_000_000, 1_000_000, 1_000_000), None);
    }
}
