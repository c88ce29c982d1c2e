//! Where a source goes on: what the store keeps for it between two records, without looking into it.

use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tidings_core::Timestamp;

/// Where a source goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bookmark {
    /// Of what was read, and how: base, filter and mapping, in short. What was read otherwise has to be read anew.
    pub(crate) shape: String,
    /// The server that the place is of.
    pub(crate) server: String,
    /// The place.
    pub(crate) place: Place,
}

/// A place in the history of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// A cookie of content synchronisation.
    Sync(#[serde(with = "octets")] Vec<u8>),
    /// A cookie of DirSync.
    DirSync(#[serde(with = "octets")] Vec<u8>),
    /// By `modifyTimestamp`: the newest moment seen, and from which on to look again.
    Stamp { newest: Timestamp, since: Timestamp },
    /// By `uSNChanged` of one domain controller's database.
    Count { changes: u64, of: String },
    /// The server gave none.
    Unknown,
}

impl Bookmark {
    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written as JSON")
    }

    /// `None` if it was not written by an LDAP source.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

mod octets {
    use super::STANDARD;
    use base64::Engine as _;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(octets))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let at: Timestamp = "2026-11-22T05:10:00Z".parse().unwrap();
        for place in [
            Place::Sync(vec![0, 255, 7]),
            Place::DirSync(Vec::new()),
            Place::Stamp { newest: at, since: at },
            Place::Count { changes: 9, of: "CN=NTDS".into() },
            Place::Unknown,
        ] {
            let mark = Bookmark { shape: "s".into(), server: "ldap://a:389".into(), place };
            assert_eq!(Bookmark::read(&mark.write()), Some(mark));
        }
        assert_eq!(Bookmark::read(b"rid=001"), None);
    }
}
