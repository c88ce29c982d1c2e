//! Names that links go by. A link goes to a reference, or to a key where the object has no reference. References are compared without regard to case, keys exactly.

use crate::sqlite::recipient_hash;
use std::borrow::Cow;

/// A name without regard to case.
pub(crate) fn folded(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.to_lowercase())
    }
}

/// The small number that the indexes hold for a name.
pub(crate) fn hash(name: &str) -> i64 {
    recipient_hash(&folded(name))
}

/// The row that a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) id: i64,
    /// False: nobody bears the name, and the row is a placeholder.
    pub(crate) known: bool,
    pub(crate) group: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_beyond_ascii() {
        assert_eq!(folded("CN=Ärzte,DC=Example"), "cn=ärzte,dc=example");
        assert_eq!(hash("CN=ZÜRICH"), hash("cn=zürich"));
        assert!(matches!(folded("cn=ada"), Cow::Borrowed(_)), "what is folded already costs nothing");
    }
}
