//! What the mirror knows of those whom events name, asked for once for many events: a question to the database costs more than its answer.

use crate::{
    crowd::Gatherer,
    facts::{MOST, Origin, is_reference, lacks_on, mirrored, root},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tidings_core::{Event, directory::LinkRole, policy::facts::Path};
use tidings_store::{MirrorLink, MirrorObject, Portrait, Sitter, StoreError};

/// Parties of one event that are asked for together with others; what is beyond is asked for alone.
const PARTIES: usize = 50;

/// Those who were asked for.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By directory and name, with the roles whose links were asked for; `None`: the mirror does not know the name.
    portraits: HashMap<(String, String), (BTreeSet<LinkRole>, Option<Portrait>)>,
}

/// Nobody has asked the mirror for this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotAsked;

impl Known {
    /// Asks for everybody whom these events name and of whom their paths need more than is there.
    pub(crate) async fn of(
        gatherer: &Gatherer,
        events: impl Iterator<Item = (&Event, &[Path])>,
        origin: Origin<'_>,
    ) -> Result<Self, StoreError> {
        let mut wanted: BTreeMap<(&str, &str), BTreeSet<LinkRole>> = BTreeMap::new();
        for (event, paths) in events {
            for path in paths.iter().filter(|path| lacks_on(&event.data, path, origin)) {
                want(root(&event.data, path).1, path.steps.first().map(String::as_str), &mut wanted);
            }
        }
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let sitter = |((directory, name), roles): (&(&str, &str), &BTreeSet<LinkRole>)| Sitter {
            directory: (*directory).to_owned(),
            name: (*name).to_owned(),
            roles: roles.iter().copied().collect(),
        };
        let sitters: Vec<Sitter> = wanted.iter().map(sitter).collect();
        let found = gatherer.mirror.portraits(sitters, MOST).await?;
        let mut portraits = HashMap::with_capacity(wanted.len());
        for (((directory, name), roles), portrait) in wanted.into_iter().zip(found) {
            // Whoever was named by a reference is found by the key as well.
            if let Some(key) = portrait.as_ref().map(|one| &one.object.head.key).filter(|key| *key != name) {
                portraits.insert((directory.to_owned(), key.clone()), (roles.clone(), portrait.clone()));
            }
            portraits.insert((directory.to_owned(), name.to_owned()), (roles, portrait));
        }
        Ok(Self { portraits })
    }

    /// The object of a key or reference, if the mirror knows one.
    pub(crate) fn object(&self, directory: &str, name: &str) -> Result<Option<&MirrorObject>, NotAsked> {
        let (_, portrait) = self.portraits.get(&(directory.to_owned(), name.to_owned())).ok_or(NotAsked)?;
        Ok(portrait.as_ref().map(|portrait| &portrait.object))
    }

    /// The first links of an object in one role; `None` if they were not asked for.
    pub(crate) fn links(&self, object: &MirrorObject, role: LinkRole) -> Option<impl Iterator<Item = &MirrorLink>> {
        let (roles, portrait) = self.portraits.get(&(object.directory.clone(), object.head.key.clone()))?;
        let portrait = portrait.as_ref().filter(|portrait| roles.contains(&role) && portrait.object.id == object.id)?;
        Some(portrait.links.iter().filter(move |link| link.role == role))
    }
}

/// Notes who stands at the beginning of a path, and what is asked of them by its first step.
fn want<'e>(value: Option<&'e Value>, step: Option<&str>, wanted: &mut BTreeMap<(&'e str, &'e str), BTreeSet<LinkRole>>) {
    let one = match value {
        Some(Value::Array(list)) => {
            return list.iter().take(PARTIES).for_each(|one| {
                if !one.is_array() {
                    want(Some(one), step, wanted);
                }
            });
        }
        Some(Value::String(text)) if is_reference(text) => text.split_once('/'),
        Some(Value::Object(party)) => mirrored(party),
        _ => None,
    };
    let Some(one) = one else { return };
    let roles = wanted.entry(one).or_default();
    match step {
        Some("manager") => _ = roles.insert(LinkRole::Manager),
        Some("owners") => roles.extend([LinkRole::Owner, LinkRole::AdditionalOwner]),
        _ => {}
    }
}
