//! Kinds: what a letter is about, and what the house promises for each.
//!
//! A kind declares the variables its letter may use, its lane, how long its news is worth anything, and whether it holds secrets. The letters themselves live
//! in `templates/<kind>/`. Events carry the kind's name as their type, behind the prefix `tidings.`.

use crate::lane::Lane;
use std::time::Duration;

/// The prefix that a CloudEvent's `type` carries before the kind's name.
pub const TYPE_PREFIX: &str = "tidings.";

/// What a variable holds; checked when an event is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Free text; line breaks are allowed, other control characters are not.
    Text,
    /// A whole or broken number.
    Number,
    /// `true` or `false`.
    Flag,
    /// A date or a moment: `2026-12-31` or RFC 3339.
    Time,
    /// An `http` or `https` address.
    Url,
    /// A person, group or other object, whole or as a reference.
    Party,
    /// An object with values of any kind.
    Map,
}

/// A variable that an event of this kind may or must carry.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// JSON pointer (RFC 6901) below the event's `data`.
    pub pointer: &'static str,
    /// What it must hold.
    pub shape: Shape,
    /// Whether an event without it is refused.
    pub required: bool,
    /// Whether it is a secret: encrypted at rest, erased once the letter is settled, never shown.
    pub secret: bool,
    /// What it means, for references and error messages.
    pub meaning: &'static str,
}

/// What becomes of a letter when the session died after its final dot, so that nobody knows whether the relay took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterUnknown {
    /// Sent again with the same Message-ID, marked "may be a duplicate".
    Retry,
    /// Held for an operator.
    Hold,
}

/// What a letter is about.
#[derive(Debug)]
pub struct Kind {
    /// The written name, such as `membership.joined`.
    pub name: &'static str,
    /// What it tells, in a few words.
    pub title: &'static str,
    /// The lane it travels in unless a rule says otherwise.
    pub lane: Lane,
    /// How long the news is worth telling; a letter older than this expires unsent.
    pub life_time: Duration,
    /// Whether a reader may not switch it off.
    pub mandatory: bool,
    /// What happens after an unknown outcome.
    pub after_unknown: AfterUnknown,
    /// The audience of the built-in rule, empty for kinds that nobody is told of until a rule says so.
    pub built_in: &'static [&'static str],
    /// The variables beside `actor`, `object`, `member`, `before` and `after`, which every event may carry.
    pub variables: &'static [Variable],
}

impl Kind {
    /// Whether its letters hold secrets: encrypted at rest, erased once settled, never copied to anybody.
    pub fn sensitive(&self) -> bool {
        self.variables.iter().any(|v| v.secret)
    }

    /// The kind of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The known name that looks most like `name`, for "did you mean".
    pub fn nearest(name: &str) -> Option<&'static str> {
        KINDS
            .iter()
            .map(|kind| (strsim::jaro_winkler(kind.name, name), kind.name))
            .filter(|(likeness, _)| *likeness > 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Kind {}

const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}
const fn days(n: u64) -> Duration {
    hours(n * 24)
}
const fn need(pointer: &'static str, shape: Shape, meaning: &'static str) -> Variable {
    Variable { pointer, shape, required: true, secret: false, meaning }
}
const fn may(pointer: &'static str, shape: Shape, meaning: &'static str) -> Variable {
    Variable { pointer, shape, required: false, secret: false, meaning }
}
const fn secret(pointer: &'static str, shape: Shape, meaning: &'static str) -> Variable {
    Variable { pointer, shape, required: true, secret: true, meaning }
}
const fn may_secret(pointer: &'static str, shape: Shape, meaning: &'static str) -> Variable {
    Variable { pointer, shape, required: false, secret: true, meaning }
}
const fn notice(name: &'static str, title: &'static str, built_in: &'static [&'static str], variables: &'static [Variable]) -> Kind {
    Kind { name, title, lane: Lane::Notices, life_time: days(4), mandatory: false, after_unknown: AfterUnknown::Retry, built_in, variables }
}

const OBJECT: Variable = need("/object", Shape::Party, "what the event is about");
const USER: Variable = need("/object", Shape::Party, "the user it is about");
const GROUP: Variable = need("/object", Shape::Party, "the group");
const MEMBER: Variable = need("/member", Shape::Party, "the member");
const CONNECTOR: Variable = need("/object", Shape::Party, "the connector; its name is shown");
const RELAY: Variable = need("/object", Shape::Party, "the relay; its name is shown");
const HINT: Variable = may("/details/hint", Shape::Text, "what can be done about it");
const NOTE: Variable = may("/details/note", Shape::Text, "a remark shown to the reader");
const LINK: Variable = may("/details/link", Shape::Url, "where the reader can see more");

/// Every kind this version knows.
pub static KINDS: &[Kind] = &[
    Kind {
        lane: Lane::Security,
        life_time: hours(24),
        ..notice(
            "test",
            "a test letter",
            &["object"],
            &[
                USER,
                may("/details/relay", Shape::Text, "the relay it goes through"),
                may("/details/host", Shape::Text, "the machine it was sent from"),
                NOTE,
            ],
        )
    },
    notice("object.created", "an object was created", &[], &[OBJECT, LINK, NOTE]),
    notice("object.changed", "an object was changed", &[], &[OBJECT, LINK, NOTE]),
    notice("object.deleted", "an object was deleted", &[], &[OBJECT, NOTE]),
    notice(
        "account.created",
        "an account was created",
        &["object"],
        &[USER, may("/details/account", Shape::Text, "the sign-in name"), may("/details/portal_url", Shape::Url, "where to sign in"), NOTE],
    ),
    notice(
        "membership.joined",
        "somebody joined a group",
        &["member"],
        &[GROUP, MEMBER, may("/details/ends_at", Shape::Time, "when the membership ends"), LINK, NOTE],
    ),
    notice("membership.left", "somebody left a group", &["member"], &[GROUP, MEMBER, NOTE]),
    Kind {
        lane: Lane::Reminders,
        ..notice(
            "membership.ending",
            "a membership is about to end",
            &["member"],
            &[GROUP, MEMBER, need("/details/ends_at", Shape::Time, "when the membership ends"), LINK, NOTE],
        )
    },
    notice(
        "management.added",
        "somebody was made an owner or manager",
        &[],
        &[
            OBJECT,
            need("/member", Shape::Party, "the new owner or manager"),
            need("/details/role", Shape::Text, "`owner`, `additional_owner` or `manager`"),
            may("/details/ends_at", Shape::Time, "when that ends"),
            LINK,
            NOTE,
        ],
    ),
    notice(
        "management.removed",
        "somebody is no longer an owner or manager",
        &[],
        &[
            OBJECT,
            need("/member", Shape::Party, "the former owner or manager"),
            need("/details/role", Shape::Text, "`owner`, `additional_owner` or `manager`"),
            NOTE,
        ],
    ),
    Kind {
        lane: Lane::Codes,
        life_time: hours(24),
        mandatory: true,
        ..notice(
            "password.reset",
            "a password was reset",
            &["object"],
            &[
                USER,
                may_secret("/details/password", Shape::Text, "the temporary password; without one the letter says only that it was reset"),
                may("/details/account", Shape::Text, "the sign-in name"),
                may("/details/portal_url", Shape::Url, "where to sign in"),
                may("/details/expires_at", Shape::Time, "until when the temporary password works"),
            ],
        )
    },
    Kind {
        lane: Lane::Codes,
        life_time: hours(3),
        mandatory: true,
        ..notice(
            "password.reset_link",
            "a link to choose a new password",
            &["object"],
            &[
                USER,
                secret("/details/link", Shape::Url, "the link with its token"),
                may("/details/account", Shape::Text, "the sign-in name"),
                may("/details/expires_at", Shape::Time, "until when the link works; the letter expires then"),
            ],
        )
    },
    Kind {
        lane: Lane::Reminders,
        ..notice(
            "password.expiring",
            "a password is about to expire",
            &["object"],
            &[
                USER,
                need("/details/expires_at", Shape::Time, "when the password expires"),
                may("/details/account", Shape::Text, "the sign-in name"),
                may("/details/portal_url", Shape::Url, "where to change it"),
            ],
        )
    },
    Kind {
        lane: Lane::Security,
        ..notice(
            "connector.failed",
            "a connector failed",
            &[],
            &[
                CONNECTOR,
                need("/details/error", Shape::Text, "what went wrong"),
                may("/details/failed_at", Shape::Time, "when it failed"),
                may("/details/last_success_at", Shape::Time, "when it last worked"),
                LINK,
            ],
        )
    },
    Kind {
        lane: Lane::Security,
        ..notice(
            "connector.recovered",
            "a connector works again",
            &[],
            &[
                CONNECTOR,
                may("/details/failed_at", Shape::Time, "when it had failed"),
                may("/details/recovered_at", Shape::Time, "since when it works again"),
                LINK,
            ],
        )
    },
    Kind {
        lane: Lane::Security,
        mandatory: true,
        ..notice(
            "relay.held",
            "a mail relay takes no letters",
            &[],
            &[
                RELAY,
                need("/details/error", Shape::Text, "what went wrong"),
                HINT,
                may("/details/failed_at", Shape::Time, "since when it takes none"),
                may("/details/sent_by", Shape::Text, "the relay that sends its letters meanwhile"),
                LINK,
            ],
        )
    },
    Kind {
        lane: Lane::Security,
        mandatory: true,
        ..notice(
            "relay.recovered",
            "a mail relay works again",
            &[],
            &[
                RELAY,
                may("/details/failed_at", Shape::Time, "since when it took none"),
                may("/details/recovered_at", Shape::Time, "since when it works again"),
                LINK,
            ],
        )
    },
    Kind {
        lane: Lane::Security,
        mandatory: true,
        ..notice(
            "relay.warning",
            "a mail relay needs attention",
            &[],
            &[
                RELAY,
                need("/details/error", Shape::Text, "what was noticed"),
                HINT,
                may("/details/noticed_at", Shape::Time, "when it was noticed"),
                LINK,
            ],
        )
    },
    Kind {
        lane: Lane::Requests,
        mandatory: true,
        ..notice(
            "address.unhealthy",
            "letters to an address come back",
            &["object_manager", "owners"],
            &[
                need("/object", Shape::Party, "whose address it is: a person, a group, or the address itself"),
                need("/details/address", Shape::Text, "the address"),
                need("/details/reason", Shape::Text, "what the last report says"),
                may("/details/bounces", Shape::Number, "how many letters came back"),
                may("/details/unhealthy_at", Shape::Time, "since when no more are sent to it"),
                may("/details/until", Shape::Time, "when it is tried again by itself"),
                LINK,
            ],
        )
    },
    Kind {
        lane: Lane::Security,
        mandatory: true,
        ..notice(
            "guard.held",
            "the flood guard holds letters",
            &[],
            &[
                need("/object", Shape::Party, "the rule; its name is shown"),
                need("/details/batch", Shape::Text, "the batch, by which the letters are let go, thinned to a digest or cancelled"),
                need("/details/flood", Shape::Text, "`event` or `rule_hour`: which limit was passed"),
                need("/details/most", Shape::Number, "the limit"),
                may("/details/people", Shape::Number, "how many letters it held when this was written"),
                may("/details/held_at", Shape::Time, "since when"),
                LINK,
            ],
        )
    },
    Kind {
        lane: Lane::Digests,
        mandatory: true,
        ..notice(
            "digest",
            "several letters in one",
            &["object"],
            &[
                USER,
                need("/details/count", Shape::Number, "how many letters it stands for"),
                need("/details/lines", Shape::Text, "their subjects, a line each"),
                NOTE,
            ],
        )
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for kind in KINDS {
            assert_eq!(KINDS.iter().filter(|k| k.name == kind.name).count(), 1, "{}", kind.name);
            assert_eq!(Kind::find(kind.name), Some(kind));
        }
        assert_eq!(Kind::nearest("membership.join"), Some("membership.joined"));
        assert_eq!(Kind::nearest("zzz"), None);
    }

    #[test]
    fn only_letters_with_passwords_and_links_are_sensitive() {
        let sensitive: Vec<_> = KINDS.iter().filter(|k| k.sensitive()).map(|k| k.name).collect();
        assert_eq!(sensitive, ["password.reset", "password.reset_link"]);
    }
}
