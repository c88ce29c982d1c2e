//! Changes of a directory that lean on each other as they like, the same each time.

use super::House;
use tidings_core::{
    directory::{Became, Change, Entry, Head, Link, LinkRole},
    subject::ObjectType,
};
use tidings_store::{Record, StoreError};

/// The directory that is played with.
pub(crate) const DIRECTORY: &str = "corp";
/// How many keys there are, and how many names.
const KEYS: u64 = 12;

/// Numbers in no order, the same each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn link(&mut self) -> Link {
        let role = LinkRole::ALL[usize::try_from(self.below(4)).unwrap()];
        let name = format!("cn=n{}", self.below(KEYS));
        Link { muted: self.below(3) == 0, ..Link::new(role, if self.below(4) == 0 { name.to_uppercase() } else { name }) }
    }

    pub(crate) fn change(&mut self, key: u64) -> Became {
        let key = format!("k{key}");
        match self.below(7) {
            0 | 1 => Became::Gone { key },
            2 => {
                let added = (0..self.below(4)).map(|_| self.link()).collect();
                let removed = (0..self.below(4)).map(|_| self.link()).map(|link| (link.role, link.to)).collect();
                Became::Adjusted { key, head: None, added, removed, document: Some(b"new".to_vec()) }
            }
            _ => Became::Is(self.entry(key)),
        }
    }

    fn entry(&mut self, key: String) -> Entry {
        let mut head = Head::new(if self.below(2) == 0 { ObjectType::Group } else { ObjectType::User }, key);
        head.reference = Some(format!("CN=N{}", self.below(KEYS)));
        Entry { head, links: (0..self.below(7)).map(|_| self.link()).collect(), document: Some(b"form".to_vec()) }
    }
}

/// Compares changes and records what is different; gives whether nobody else came between.
pub(crate) async fn take(house: &House, changes: Vec<Became>) -> Result<(), StoreError> {
    let differences = house.store.compare(DIRECTORY, changes.into_iter().map(Change::of).collect()).await?;
    let (directory, seen) = (DIRECTORY.to_owned(), Vec::new());
    let record = Record { directory, differences, seen, generation: None, bookmark: None, acceptances: Vec::new() };
    house.store.record(record).await.map(drop)
}

/// One round: a batch that speaks of neighbouring keys and is compared and recorded, or one of ten is loaded.
pub(crate) async fn play(house: &House, dice: &mut Dice, round: usize) -> Result<(), StoreError> {
    let first = dice.below(KEYS);
    let changes: Vec<Became> = (0..=dice.below(4)).map(|n| dice.change((first + n) % KEYS)).collect();
    if round % 10 != 9 {
        return take(house, changes).await;
    }
    let entries = changes.into_iter().filter_map(|what| if let Became::Is(entry) = what { Some(entry) } else { None }).collect();
    house.store.load(DIRECTORY, entries, 1, None).await.map(drop)
}

/// Everything leaves.
pub(crate) async fn leave(house: &House) {
    take(house, (0..KEYS).map(|key| Became::Gone { key: format!("k{key}") }).collect()).await.unwrap();
}
