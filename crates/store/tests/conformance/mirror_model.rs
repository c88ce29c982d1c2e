//! Random changes, on the mirror and on a model of it small enough to be seen to be right: what comparing and recording leads to, a load of the same leads to.

use crate::{
    house::House,
    mirroring::{gone, is},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use tidings_core::{
    directory::{Became, Change, Entry, Head, Link, LinkRole},
    subject::ObjectType,
    time::from_millis,
};
use tidings_store::{MirrorLink, MirrorObject, ObjectId, Record, Target, Walk};

const FED: &str = "fed";
/// Keys and names to choose from; few, so that they meet.
const KEYS: usize = 9;
const NAMES: usize = 11;

/// An entry in the making.
#[derive(Debug, Clone)]
struct Draft {
    key: usize,
    group: bool,
    name: usize,
    upper: bool,
    title: usize,
    links: Vec<(usize, usize, i64)>,
}

#[derive(Debug, Clone)]
enum Step {
    Is(Draft),
    Adjusted { key: usize, added: Vec<(usize, usize, i64)>, removed: Vec<(usize, usize)> },
    Gone(usize),
    Load(Vec<Draft>),
}

fn draft() -> impl Strategy<Value = Draft> {
    let links = prop::collection::vec((0usize..4, 0..NAMES, 0i64..3), 0..6);
    (0..KEYS, prop::bool::ANY, 0..NAMES, prop::bool::ANY, 0usize..3, links).prop_map(|(key, group, name, upper, title, links)| Draft {
        key,
        group,
        name,
        upper,
        title,
        links,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let added = prop::collection::vec((0usize..4, 0..NAMES, 0i64..3), 0..4);
    let removed = prop::collection::vec((0usize..4, 0..NAMES), 0..4);
    prop_oneof![
        6 => draft().prop_map(Step::Is),
        3 => (0..KEYS, added, removed).prop_map(|(key, added, removed)| Step::Adjusted { key, added, removed }),
        2 => (0..KEYS).prop_map(Step::Gone),
        1 => prop::collection::vec(draft(), 1..4).prop_map(Step::Load),
    ]
}

fn name(number: usize) -> String {
    format!("cn=n{number}")
}

fn link((role, to, terms): (usize, usize, i64)) -> Link {
    let ends_at = (terms == 1).then(|| from_millis(1_800_000_000_000));
    Link { ends_at, muted: terms == 2, ..Link::new(LinkRole::ALL[role], name(to)) }
}

impl Draft {
    /// No entry links to its own name: whose that is while it changes is not promised.
    fn entry(&self, old: Option<&str>) -> Entry {
        let mut head = Head::new(if self.group { ObjectType::Group } else { ObjectType::User }, format!("k{}", self.key));
        let reference = name(self.name);
        let links = self.links.iter().copied().map(link).filter(|link| link.to != reference && Some(link.to.as_str()) != old).collect();
        head.reference = Some(if self.upper { reference.to_uppercase() } else { reference });
        head.name = Some(format!("Name {}", self.title));
        head.attributes.insert("title".to_owned(), json!(self.title));
        Entry { head, links, document: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Key(String),
    Name(String),
}

type Terms = (Option<i64>, bool);

#[derive(Debug, Clone)]
struct Thing {
    head: Head,
    links: BTreeMap<(LinkRole, End), Terms>,
    version: i64,
}

#[derive(Debug, Default)]
struct Model(BTreeMap<String, Thing>);

impl Model {
    fn end(&self, to: &str) -> End {
        let bears = |thing: &&Thing| thing.head.reference.as_ref().is_some_and(|reference| reference.to_lowercase() == to);
        self.0.values().find(bears).map_or_else(|| End::Name(to.to_owned()), |thing| End::Key(thing.head.key.clone()))
    }

    fn reference(&self, key: &str) -> Option<String> {
        self.0.get(key)?.head.reference.as_ref().map(|reference| reference.to_lowercase())
    }

    /// Puts a head in its place; gives whether it is another one.
    fn put(&mut self, head: &Head) -> bool {
        let reference = head.reference.as_ref().unwrap().to_lowercase();
        for other in self.0.values_mut().filter(|other| other.head.key != head.key) {
            if other.head.reference.as_ref().is_some_and(|theirs| theirs.to_lowercase() == reference) {
                other.head.reference = None;
            }
        }
        for thing in self.0.values_mut() {
            let waiting: Vec<_> = thing.links.keys().filter(|(_, end)| *end == End::Name(reference.clone())).cloned().collect();
            for (role, end) in waiting {
                let terms = thing.links.remove(&(role, end)).unwrap();
                thing.links.insert((role, End::Key(head.key.clone())), terms);
            }
        }
        match self.0.get_mut(&head.key) {
            Some(thing) => std::mem::replace(&mut thing.head, head.clone()) != *head,
            None => self.0.insert(head.key.clone(), Thing { head: head.clone(), links: BTreeMap::new(), version: 0 }).is_none(),
        }
    }

    fn wanted(&self, links: &[Link]) -> BTreeMap<(LinkRole, End), Terms> {
        let terms = |link: &Link| (link.ends_at.map(tidings_core::Timestamp::as_millisecond), link.muted);
        links.iter().map(|link| ((link.role, self.end(&link.to)), terms(link))).collect()
    }

    fn relink(&mut self, key: &str, links: BTreeMap<(LinkRole, End), Terms>, changed: bool) {
        let thing = self.0.get_mut(key).unwrap();
        thing.version += i64::from(changed || thing.links != links);
        thing.links = links;
    }

    fn gone(&mut self, key: &str) {
        if self.0.remove(key).is_some() {
            for thing in self.0.values_mut() {
                let links = thing.links.len();
                thing.links.retain(|(_, end), _| *end != End::Key(key.to_owned()));
                thing.version += i64::from(thing.links.len() < links);
            }
        }
    }

    /// Everybody below a group who is no group.
    fn below(&self, group: &str) -> BTreeSet<String> {
        let (mut seen, mut next, mut below) = (BTreeSet::from([group.to_owned()]), vec![group.to_owned()], BTreeSet::new());
        while let Some(group) = next.pop() {
            for (_, end) in self.0[&group].links.keys().filter(|(role, _)| *role == LinkRole::Member) {
                let End::Key(member) = end else { continue };
                if self.0[member].head.object_type != ObjectType::Group {
                    below.insert(member.clone());
                } else if seen.insert(member.clone()) {
                    next.push(member.clone());
                }
            }
        }
        below
    }

    /// What a source that has just this would give.
    fn entries(&self) -> Vec<Entry> {
        let to = |end: &End| match end {
            End::Key(key) => self.0[key].head.referred_to_as().to_lowercase(),
            End::Name(name) => name.clone(),
        };
        let link = |((role, end), (ends_at, muted)): (&(LinkRole, End), &Terms)| Link {
            ends_at: ends_at.map(from_millis),
            muted: *muted,
            ..Link::new(*role, to(end))
        };
        self.0
            .values()
            .map(|thing| Entry { head: thing.head.clone(), links: thing.links.iter().map(link).collect(), document: None })
            .collect()
    }
}

async fn take(house: &House, change: Change) {
    let differences = house.store.compare(FED, vec![change]).await.unwrap();
    let record =
        Record { directory: FED.to_owned(), differences, seen: Vec::new(), generation: None, bookmark: None, acceptances: Vec::new() };
    house.store.record(record).await.unwrap();
}

async fn play(house: &House, model: &mut Model, step: &Step) {
    match step {
        Step::Is(draft) => {
            let entry = draft.entry(model.reference(&format!("k{}", draft.key)).as_deref());
            let changed = model.put(&entry.head);
            model.relink(&entry.head.key, model.wanted(&entry.links), changed);
            take(house, is(entry.clone())).await;
            let again = house.store.compare(FED, vec![is(entry)]).await.unwrap();
            assert!(again[0].is_empty(), "told twice it is no news: {again:?}");
        }
        Step::Adjusted { key, added, removed } => {
            let key = format!("k{key}");
            let added: Vec<Link> = added.iter().copied().map(link).collect();
            let removed: Vec<(LinkRole, String)> = removed.iter().map(|(role, to)| (LinkRole::ALL[*role], name(*to))).collect();
            if let Some(thing) = model.0.get(&key) {
                let mut links = thing.links.clone();
                for (role, to) in &removed {
                    links.remove(&(*role, model.end(to)));
                }
                for (end, terms) in model.wanted(&added) {
                    // What is both there and not there is there.
                    links.insert(end, terms);
                }
                model.relink(&key, links, false);
            }
            take(house, Change::of(Became::Adjusted { key, head: None, added, removed, document: None })).await;
        }
        Step::Gone(key) => {
            model.gone(&format!("k{key}"));
            take(house, gone(&format!("k{key}"))).await;
        }
        Step::Load(drafts) => {
            let mut entries: Vec<Entry> = Vec::new();
            for draft in drafts.iter().filter(|draft| drafts.iter().filter(|other| other.key == draft.key).count() == 1) {
                entries.push(draft.entry(model.reference(&format!("k{}", draft.key)).as_deref()));
            }
            let changed: Vec<bool> = entries.iter().map(|entry| model.put(&entry.head)).collect();
            let wanted: Vec<_> = entries.iter().map(|entry| model.wanted(&entry.links)).collect();
            for ((entry, wanted), changed) in entries.iter().zip(wanted).zip(changed) {
                model.relink(&entry.head.key, wanted, changed);
            }
            house.store.load(FED, entries, 0, None).await.unwrap();
        }
    }
}

fn shown(link: &MirrorLink) -> ((LinkRole, End), Terms) {
    let end = match &link.other {
        Target::Known(object) => End::Key(object.head.key.clone()),
        Target::Unknown(name) => End::Name(name.clone()),
    };
    ((link.role, end), (link.ends_at.map(tidings_core::Timestamp::as_millisecond), link.muted))
}

async fn links(house: &House, object: ObjectId, back: bool) -> BTreeMap<(LinkRole, End), Terms> {
    let mut all = BTreeMap::new();
    for role in LinkRole::ALL {
        let page = if back {
            house.store.links_to(object, role, None, 100).await.unwrap()
        } else {
            house.store.links(object, role, None, 100).await.unwrap()
        };
        all.extend(page.links.iter().map(shown));
    }
    all
}

async fn find(house: &House, directory: &str, key: &str) -> MirrorObject {
    house.store.object(directory, key).await.unwrap().unwrap_or_else(|| panic!("{key} is there"))
}

async fn check(house: &House, directory: &str, model: &Model) {
    assert_eq!(house.store.directory(directory).await.unwrap().objects, model.0.len() as u64);
    assert_eq!(house.store.objects(Some(directory), None, 100).await.unwrap().objects.len(), model.0.len());
    for (key, thing) in &model.0 {
        let object = find(house, directory, key).await;
        assert_eq!(object.head, thing.head);
        assert_eq!(links(house, object.id, false).await, thing.links, "{key}");
        let to_it = |(bearer, its): (&String, &Thing)| -> Vec<((LinkRole, End), Terms)> {
            let here = its.links.iter().filter(|((_, end), _)| *end == End::Key(key.clone()));
            here.map(|((role, _), terms)| ((*role, End::Key(bearer.clone())), *terms)).collect()
        };
        assert_eq!(links(house, object.id, true).await, model.0.iter().flat_map(to_it).collect(), "to {key}");
        if thing.head.object_type == ObjectType::Group {
            let members = house.store.members(object.id, Walk::Nested, None, 100).await.unwrap().objects;
            assert_eq!(members.into_iter().map(|member| member.head.key).collect::<BTreeSet<_>>(), model.below(key), "below {key}");
        }
    }
}

pub(crate) async fn comparing_and_recording_leads_where_a_load_leads(house: &House) {
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[23; 32]));
    let mut model = Model::default();
    let (mut most, mut unknown) = (0, 0);
    for round in 0..30 {
        let steps = prop::collection::vec(step(), 25).new_tree(&mut runner).unwrap().current();
        for step in &steps {
            play(house, &mut model, step).await;
        }
        check(house, FED, &model).await;
        for (key, thing) in &model.0 {
            assert_eq!(find(house, FED, key).await.version, thing.version, "{key}");
        }
        let copy = format!("copy-{round}");
        let entries = Just(model.entries()).prop_shuffle().new_tree(&mut runner).unwrap().current();
        for some in entries.chunks(3) {
            house.store.load(&copy, some.to_vec(), 1, None).await.unwrap();
        }
        check(house, &copy, &model).await;
        let differences = house.store.compare(&copy, entries.into_iter().map(is).collect()).await.unwrap();
        assert!(differences.iter().all(tidings_store::Difference::is_empty), "{differences:?}");
        most = most.max(model.0.len());
        unknown += model.0.values().flat_map(|thing| thing.links.keys()).filter(|(_, end)| matches!(end, End::Name(_))).count();
    }
    assert!(most >= 7 && unknown > 50, "the sequence did some work: {most} objects, {unknown} unknown names");
}
