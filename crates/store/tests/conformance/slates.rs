//! Slates: small texts that nodes write over each other's, and never unseen.

use crate::house::{House, seconds};
use futures_util::future::join_all;
use std::sync::Arc;
use tidings_store::{Slate, SlateWritten};

pub(crate) async fn a_slate_is_written_over_by_who_has_read_it(house: &House) {
    let (store, now) = (&house.store, house.now());
    let slate = |version, text: &str, now| Slate { version, text: text.to_owned(), now };
    assert_eq!(store.slate("relay:main").await.unwrap(), slate(0, "", now));
    assert_eq!(store.write_slate("relay:main", 1, "too early").await.unwrap(), SlateWritten::Moved(slate(0, "", now)));
    assert_eq!(store.write_slate("relay:main", 0, "one").await.unwrap(), SlateWritten::Done(slate(1, "one", now)));
    assert_eq!(store.write_slate("relay:main", 0, "late").await.unwrap(), SlateWritten::Moved(slate(1, "one", now)));
    house.clock.advance(seconds(5));
    let later = house.now();
    assert_eq!(store.write_slate("relay:main", 1, "two").await.unwrap(), SlateWritten::Done(slate(2, "two", later)));
    assert_eq!(store.write_slate("relay:main", 1, "late").await.unwrap(), SlateWritten::Moved(slate(2, "two", later)));
    assert_eq!(store.slate("relay:main").await.unwrap(), slate(2, "two", later));
    assert_eq!(store.slate("relay:other").await.unwrap(), slate(0, "", later), "another name is another slate");
}

pub(crate) async fn of_many_who_write_one_version_one_does(house: &House) {
    for version in 0..5 {
        let writers = (0..8).map(|n| {
            let store = Arc::clone(&house.store);
            tokio::spawn(async move { store.write_slate("relay:main", version, &format!("{version} by {n}")).await.unwrap() })
        });
        let written: Vec<_> = join_all(writers).await.into_iter().map(Result::unwrap).collect();
        let done: Vec<_> = written.iter().filter(|written| matches!(written, SlateWritten::Done(_))).collect();
        assert_eq!(done.len(), 1, "{written:?}");
        let (SlateWritten::Done(now) | SlateWritten::Moved(now)) = done[0];
        assert_eq!(*now, house.store.slate("relay:main").await.unwrap());
    }
}

pub(crate) async fn a_stretch_of_names_is_forgotten(house: &House) {
    let store = &house.store;
    for name in ["link:0100:a", "link:0100:b", "link:0200:c", "Link:0100:d", "linl", "relay:main"] {
        assert!(matches!(store.write_slate(name, 0, "used").await.unwrap(), SlateWritten::Done(_)));
    }
    assert_eq!(store.forget_slates("link:", "link:0200").await.unwrap(), 2);
    assert_eq!(store.forget_slates("link:", "link:0200").await.unwrap(), 0);
    assert_eq!(store.slate("link:0100:a").await.unwrap().version, 0);
    for name in ["link:0200:c", "Link:0100:d", "linl", "relay:main"] {
        assert_eq!(store.slate(name).await.unwrap().version, 1, "{name}");
    }
}
