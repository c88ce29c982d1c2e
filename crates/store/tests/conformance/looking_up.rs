//! Looking up what clients ask for by name, and pages of one type.

use crate::{
    house::House,
    mirroring::{DIRECTORY, gone, is, load, other, take},
};
use serde_json::json;
use tidings_core::{
    directory::{Entry, Head, Link, LinkRole},
    subject::ObjectType,
};
use tidings_store::{MirrorObject, Sitter};

/// A user without a reference, as SCIM has them.
fn person(key: &str, account: &str) -> Entry {
    let mut head = Head::new(ObjectType::User, key);
    head.attributes.insert("account".to_owned(), json!(account));
    Entry { head, links: Vec::new(), document: Some(key.as_bytes().to_vec()) }
}

fn keys(objects: &[MirrorObject]) -> Vec<&str> {
    objects.iter().map(|object| object.head.key.as_str()).collect()
}

async fn found(house: &House, attribute: &str, value: &str) -> Vec<String> {
    let objects = house.store.find(DIRECTORY, attribute, value).await.unwrap();
    keys(&objects).into_iter().map(str::to_owned).collect()
}

pub(crate) async fn an_object_is_found_by_what_it_is_called_now(house: &House) {
    load(house, vec![person("u1", "Ada"), person("u2", "Grace")]).await;
    assert_eq!(found(house, "account", "ADA").await, ["u1"]);
    assert_eq!(found(house, "externalId", "ada").await, [""; 0]);
    assert!(house.store.find("elsewhere", "account", "ada").await.unwrap().is_empty());

    let mut renamed = person("u1", "Lovelace");
    renamed.head.mail = Some(tidings_core::Address::parse("ada@example.org").unwrap());
    renamed.head.attributes.insert("emails".to_owned(), json!(["countess@example.org", "ada@example.net"]));
    take(house, vec![is(renamed)]).await;
    assert_eq!(found(house, "account", "ada").await, [""; 0]);
    assert_eq!(found(house, "account", "lovelace").await, ["u1"]);
    for address in ["ADA@example.org", "countess@example.org", "ada@example.net"] {
        assert_eq!(found(house, "emails", address).await, ["u1"], "{address}");
    }
    // Two may be called the same: that they must not is their source's word.
    take(house, vec![is(person("u3", "GRACE"))]).await;
    assert_eq!(found(house, "account", "grace").await, ["u2", "u3"]);
    take(house, vec![gone("u2"), gone("u1")]).await;
    assert_eq!(found(house, "account", "grace").await, ["u3"]);
    assert_eq!(found(house, "emails", "ada@example.org").await, [""; 0]);
}

pub(crate) async fn one_that_goes_by_a_reference_is_not_looked_up_otherwise(house: &House) {
    let mut ada = person("u1", "ada");
    ada.head.reference = Some("cn=ada".to_owned());
    load(house, vec![ada.clone()]).await;
    assert_eq!(found(house, "account", "ada").await, [""; 0]);
    ada.head.reference = None;
    take(house, vec![is(ada)]).await;
    assert_eq!(found(house, "account", "ada").await, ["u1"]);
}

pub(crate) async fn objects_of_a_type_come_in_pages_with_their_number(house: &House) {
    let people = (0..5).map(|n| person(&format!("u{n}"), &format!("user{n}")));
    let groups = (0..2).map(|n| Entry { head: Head::new(ObjectType::Group, format!("g{n}")), links: Vec::new(), document: None });
    load(house, people.chain(groups).collect()).await;
    let page = |of: ObjectType, offset, limit| {
        let store = house.store.clone();
        async move {
            let (total, objects) = store.listing(DIRECTORY, &of, offset, limit).await.unwrap();
            (total, keys(&objects).join(" "))
        }
    };
    assert_eq!(page(ObjectType::User, 0, 2).await, (5, "u0 u1".to_owned()));
    assert_eq!(page(ObjectType::User, 4, 2).await, (5, "u4".to_owned()));
    assert_eq!(page(ObjectType::User, 9, 2).await, (5, String::new()));
    assert_eq!(page(ObjectType::Group, 0, 0).await, (2, String::new()));
    assert_eq!(page(ObjectType::Other("robot".to_owned()), 0, 9).await, (0, String::new()));
    assert_eq!(house.store.listing("elsewhere", &ObjectType::User, 0, 9).await.unwrap().0, 0);

    let known = house.store.keyed(DIRECTORY, &["u3", "g1", "nobody", "u3"].map(str::to_owned)).await.unwrap();
    assert_eq!(keys(&known), ["g1", "u3"]);
    let documents = house.store.documents(&[known[0].id, known[1].id]).await.unwrap();
    assert_eq!(documents, [None, Some(b"u3".to_vec())]);
}

pub(crate) async fn links_to_certain_others_are_found_without_the_rest(house: &House) {
    let links = ["u0", "u1", "u2", "stranger"].map(|to| Link::new(LinkRole::Member, to)).to_vec();
    let group = Entry { head: Head::new(ObjectType::Group, "g"), links, document: None };
    load(house, vec![person("u0", "a"), person("u1", "b"), person("u2", "c"), person("u3", "d"), group]).await;
    let group = house.store.object(DIRECTORY, "g").await.unwrap().unwrap().id;
    let asked = ["u1", "u3", "stranger", "nobody", "u1"].map(str::to_owned);
    let mut linked: Vec<String> = house.store.linked(group, LinkRole::Member, &asked).await.unwrap().iter().map(other).collect();
    linked.sort();
    assert_eq!(linked, ["[stranger]", "u1"]);
    assert!(house.store.linked(group, LinkRole::Owner, &asked).await.unwrap().is_empty());
}

pub(crate) async fn a_portrait_shows_an_object_with_the_links_that_are_asked_for(house: &House) {
    let mut group = Entry { head: Head::new(ObjectType::Group, "g1"), links: Vec::new(), document: None };
    group.head.reference = Some("cn=all".to_owned());
    group.links = vec![
        Link::new(LinkRole::Member, "u1"),
        Link::new(LinkRole::AdditionalOwner, "u2"),
        Link::new(LinkRole::Owner, "u1"),
        Link::new(LinkRole::Owner, "nobody"),
    ];
    load(house, vec![person("u1", "ada"), person("u2", "grace"), group]).await;
    let sitter = |directory: &str, name: &str, roles: &[LinkRole]| Sitter {
        directory: directory.to_owned(),
        name: name.to_owned(),
        roles: roles.to_vec(),
    };
    let sitters = vec![
        sitter(DIRECTORY, "CN=All", &[LinkRole::AdditionalOwner, LinkRole::Owner]),
        sitter(DIRECTORY, "u9", &[]),
        sitter("elsewhere", "u1", &[]),
        sitter(DIRECTORY, "u1", &[LinkRole::Manager]),
        sitter(DIRECTORY, "g1", &[LinkRole::Member]),
    ];
    let portraits = house.store.portraits(sitters, 10).await.unwrap();
    let shown: Vec<_> = portraits
        .iter()
        .map(|portrait| {
            portrait.as_ref().map(|one| (one.object.head.key.as_str(), one.links.iter().map(|link| (link.role, other(link))).collect()))
        })
        .collect();
    let links = |links: &[(LinkRole, &str)]| links.iter().map(|(role, to)| (*role, (*to).to_owned())).collect::<Vec<_>>();
    assert_eq!(
        shown,
        [
            Some(("g1", links(&[(LinkRole::AdditionalOwner, "u2"), (LinkRole::Owner, "u1"), (LinkRole::Owner, "[nobody]")]))),
            None,
            None,
            Some(("u1", links(&[]))),
            Some(("g1", links(&[(LinkRole::Member, "u1")]))),
        ]
    );
    let one = house.store.portraits(vec![sitter(DIRECTORY, "g1", &[LinkRole::Owner])], 1).await.unwrap();
    assert_eq!(one[0].as_ref().unwrap().links.len(), 1);
    assert!(!house.store.has_more_members(one[0].as_ref().unwrap().object.id, 1).await.unwrap(), "it has one");
}
