//! The mirror: what becomes of each change, verb by verb.

use crate::house::{House, hours};
use futures_util::future::join_all;
use serde_json::json;
use tidings_core::{
    directory::{Became, Change, Entry, Head, Link, LinkRole},
    subject::ObjectType,
};
use tidings_store::{Accepted, Difference, MirrorLink, MirrorObject, ObjectId, Record, StoreError, Target, Walk};

pub(crate) const DIRECTORY: &str = "corp";

pub(crate) fn entry(object_type: ObjectType, key: &str) -> Entry {
    let mut head = Head::new(object_type, key);
    head.reference = Some(format!("cn={key}"));
    head.name = Some(format!("The {key}"));
    Entry { head, links: Vec::new(), document: None }
}

pub(crate) fn user(key: &str) -> Entry {
    entry(ObjectType::User, key)
}

pub(crate) fn group(key: &str, members: &[&str]) -> Entry {
    let links = members.iter().map(|member| Link::new(LinkRole::Member, format!("cn={member}"))).collect();
    Entry { links, ..entry(ObjectType::Group, key) }
}

pub(crate) fn is(entry: Entry) -> Change {
    Change::of(Became::Is(entry))
}

pub(crate) fn gone(key: &str) -> Change {
    Change::of(Became::Gone { key: key.to_owned() })
}

fn adjusted(key: &str, added: &[&str], removed: &[&str]) -> Change {
    let added = added.iter().map(|name| Link::new(LinkRole::Member, *name)).collect();
    let removed = removed.iter().map(|name| (LinkRole::Member, (*name).to_owned())).collect();
    Change::of(Became::Adjusted { key: key.to_owned(), head: None, added, removed, document: None })
}

pub(crate) fn record(differences: Vec<Difference>) -> Record {
    Record { directory: DIRECTORY.to_owned(), differences, seen: Vec::new(), generation: None, bookmark: None, acceptances: Vec::new() }
}

/// Compares and records.
pub(crate) async fn take(house: &House, changes: Vec<Change>) -> Vec<Difference> {
    let differences = house.store.compare(DIRECTORY, changes).await.unwrap();
    assert_eq!(house.store.record(record(differences.clone())).await.unwrap(), []);
    differences
}

async fn take_one(house: &House, change: Change) -> Difference {
    let mut differences = take(house, vec![change]).await;
    assert_eq!(differences.len(), 1);
    differences.remove(0)
}

pub(crate) async fn load(house: &House, entries: Vec<Entry>) -> u64 {
    house.store.load(DIRECTORY, entries, 1, None).await.unwrap()
}

async fn find(house: &House, name: &str) -> MirrorObject {
    house.store.object(DIRECTORY, name).await.unwrap().unwrap_or_else(|| panic!("{name} is there"))
}

/// What stands at the other end, by its key; an unknown name in brackets.
pub(crate) fn other(link: &MirrorLink) -> String {
    match &link.other {
        Target::Known(object) => object.head.key.clone(),
        Target::Unknown(name) => format!("[{name}]"),
    }
}

fn others<'a>(links: impl IntoIterator<Item = &'a MirrorLink>) -> Vec<String> {
    let mut others: Vec<String> = links.into_iter().map(other).collect();
    others.sort();
    others
}

async fn links(house: &House, key: &str, role: LinkRole) -> Vec<String> {
    let page = house.store.links(find(house, key).await.id, role, None, 1000).await.unwrap();
    others(&page.links)
}

async fn members(house: &House, key: &str) -> Vec<String> {
    links(house, key, LinkRole::Member).await
}

async fn groups_of(house: &House, key: &str) -> Vec<String> {
    others(&house.store.links_to(find(house, key).await.id, LinkRole::Member, None, 1000).await.unwrap().links)
}

async fn objects(house: &House) -> u64 {
    house.store.directory(DIRECTORY).await.unwrap().objects
}

/// Everybody below a group, gathered by pages of `limit`.
async fn below(house: &House, key: &str, depth: Walk, limit: u32) -> Vec<String> {
    let (group, mut after, mut all, mut rows) = (find(house, key).await.id, None, Vec::new(), Vec::new());
    loop {
        let page = house.store.members(group, depth, after, limit).await.unwrap();
        assert!(page.objects.len() <= limit as usize);
        rows.extend(page.objects.iter().map(|object| object.id));
        all.extend(page.objects.into_iter().map(|object| object.head.key));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert!(rows.is_sorted_by(|a, b| a < b), "in the order of their rows, each once: {rows:?}");
    all.sort();
    all
}

pub(crate) async fn an_object_is_mirrored_whole(house: &House) {
    let mut ada = user("ada");
    ada.head.mail = Some("ada@example.org".parse().unwrap());
    ada.head.locale = Some("de-AT".parse().unwrap());
    ada.head.timezone = Some("Europe/Vienna".to_owned());
    (ada.head.enabled, ada.head.notify) = (false, false);
    for (name, value) in [("title", json!("Engineer")), ("grades", json!([1, 2.5, "x", true])), ("weight", json!(61.123_456_789_012_345))] {
        ada.head.attributes.insert(name.to_owned(), value);
    }
    ada.document = Some(b"{}".to_vec());
    let mut machine = entry(ObjectType::Other("machine".to_owned()), "m1");
    machine.head.reference = None;
    let differences = take(house, vec![is(ada.clone()), is(machine.clone())]).await;
    assert_eq!((&differences[0].before, &differences[0].after), (&None, &Some(ada.head.clone())));

    let mirrored = find(house, "ada").await;
    assert_eq!((&mirrored.head, mirrored.directory.as_str(), mirrored.version), (&ada.head, DIRECTORY, 1));
    assert_eq!((mirrored.created_at, mirrored.changed_at), (house.now(), house.now()));
    assert_eq!(house.store.document(mirrored.id).await.unwrap().as_deref(), Some(b"{}".as_slice()));
    assert_eq!(find(house, "CN=Ada").await, mirrored, "by its reference, in any case");
    assert_eq!(find(house, "m1").await.head, machine.head);
    assert!(house.store.object(DIRECTORY, "Ada").await.unwrap().is_none(), "a key is exact");
    assert!(house.store.object("elsewhere", "ada").await.unwrap().is_none());
    let again = take(house, vec![is(ada), is(machine)]).await;
    assert!(again.iter().all(Difference::is_empty), "{again:?}");
    assert_eq!((objects(house).await, find(house, "ada").await.version), (2, 1));
}

pub(crate) async fn a_change_raises_the_version_and_says_what_it_was(house: &House) {
    take(house, vec![is(user("ada"))]).await;
    let before = find(house, "ada").await;
    house.clock.advance(hours(1));
    let mut after = user("ada");
    after.head.attributes.insert("title".to_owned(), json!("Head of engineering"));
    let difference = take_one(house, is(after.clone())).await;
    assert_eq!((difference.before.as_ref(), difference.after.as_ref()), (Some(&before), Some(&after.head)));
    let mirrored = find(house, "ada").await;
    assert_eq!((mirrored.id, mirrored.version, mirrored.created_at, mirrored.changed_at), (before.id, 2, before.created_at, house.now()));
    assert_eq!(mirrored.head, after.head);
    // The source's own form alone is a change, too, though no news; told again it is none.
    let with_form = Entry { document: Some(b"new".to_vec()), ..after };
    assert!(!take_one(house, is(with_form.clone())).await.is_empty());
    assert!(take_one(house, is(with_form)).await.is_empty());
    assert_eq!(find(house, "ada").await.version, 3);
}

pub(crate) async fn links_are_told_by_what_is_added_removed_and_altered(house: &House) {
    take(house, ["ada", "eve", "linus"].map(|key| is(user(key))).into()).await;
    let mut staff = group("staff", &["ada", "eve"]);
    staff.links.push(Link { muted: true, ..Link::new(LinkRole::Owner, "cn=ada") });
    let difference = take_one(house, is(staff.clone())).await;
    assert_eq!(others(&difference.added), ["ada", "ada", "eve"]);
    assert!(difference.added.iter().any(|link| link.role == LinkRole::Owner && link.muted));

    staff.links[1] = Link::new(LinkRole::Member, "cn=linus");
    staff.links[0].ends_at = Some("2026-12-31T00:00:00.123456789Z".parse().unwrap());
    staff.links[2].muted = false;
    let difference = take_one(house, is(staff.clone())).await;
    assert_eq!((others(&difference.added), others(&difference.removed)), (vec!["linus".to_owned()], vec!["eve".to_owned()]));
    assert_eq!(others(&difference.altered), ["ada", "ada"]);
    assert!(difference.altered.iter().any(|link| link.ends_at == Some("2026-12-31T00:00:00.123Z".parse().unwrap())));
    assert_eq!(members(house, "staff").await, ["ada", "linus"]);
    assert_eq!((find(house, "staff").await.version, find(house, "ada").await.version), (2, 1));
    assert!(take_one(house, is(staff)).await.is_empty(), "moments are compared as they are kept");
}

pub(crate) async fn an_adjustment_tells_only_what_it_says(house: &House) {
    take(house, ["ada", "eve", "linus"].map(|key| is(user(key))).into()).await;
    take(house, vec![is(group("staff", &["ada", "eve"]))]).await;
    let difference = take_one(house, adjusted("staff", &["cn=linus", "cn=ada"], &["cn=eve", "cn=nobody"])).await;
    assert_eq!((others(&difference.added), others(&difference.removed)), (vec!["linus".to_owned()], vec!["eve".to_owned()]));
    assert_eq!(members(house, "staff").await, ["ada", "linus"]);
    // What is both there and not there is there.
    assert!(take_one(house, adjusted("staff", &["cn=ada"], &["cn=ada"])).await.is_empty());
    assert!(take_one(house, adjusted("unheard-of", &["cn=ada"], &[])).await.is_empty());
    let head = Head { name: Some("Everybody".to_owned()), ..group("other-key", &[]).head };
    let adjusted = Became::Adjusted { key: "staff".into(), head: Some(head), added: vec![], removed: vec![], document: None };
    take_one(house, Change::of(adjusted)).await;
    let staff = find(house, "staff").await;
    assert_eq!((staff.head.key.as_str(), staff.head.name.as_deref()), ("staff", Some("Everybody")));
    assert_eq!(members(house, "staff").await, ["ada", "linus"]);
}

pub(crate) async fn a_name_that_nobody_bears_waits_for_its_object(house: &House) {
    let difference = take_one(house, is(group("staff", &["ghost", "ada"]))).await;
    assert_eq!(others(&difference.added), ["[cn=ada]", "[cn=ghost]"]);
    assert_eq!((members(house, "staff").await, objects(house).await), (vec!["[cn=ada]".to_owned(), "[cn=ghost]".to_owned()], 1));
    assert!(house.store.object(DIRECTORY, "cn=ada").await.unwrap().is_none());
    assert_eq!(house.store.objects(None, None, 10).await.unwrap().objects.len(), 1);
    assert!(below(house, "staff", Walk::Direct, 10).await.is_empty() && below(house, "staff", Walk::Nested, 10).await.is_empty());
    let page = house.store.links(find(house, "staff").await.id, LinkRole::Member, None, 1).await.unwrap();
    let row = page.next.expect("one more name");

    let mut ada = user("ada");
    ada.head.reference = Some("CN=Ada".to_owned());
    take(house, vec![is(ada)]).await;
    assert_eq!(members(house, "staff").await, ["[cn=ghost]", "ada"]);
    let rest = house.store.links(find(house, "staff").await.id, LinkRole::Member, Some(row), 10).await.unwrap();
    assert_eq!((rest.links.len(), rest.next), (1, None), "the object took over the row, the page goes on");
    assert_eq!(groups_of(house, "ada").await, ["staff"]);
    assert!(take_one(house, is(group("staff", &["ghost", "ada"]))).await.is_empty());

    let difference = take_one(house, is(group("staff", &["ada"]))).await;
    assert_eq!(others(&difference.removed), ["[cn=ghost]"]);
    take(house, vec![is(user("ghost"))]).await;
    assert!(groups_of(house, "ghost").await.is_empty(), "nobody waits for a name that nothing links to");
}

pub(crate) async fn without_references_links_go_to_keys(house: &House) {
    let plain = |key: &str| Entry { head: Head::new(ObjectType::User, key), links: Vec::new(), document: None };
    let mut linus = plain("u3");
    linus.links.push(Link::new(LinkRole::Manager, "U1"));
    take(house, vec![is(linus)]).await;
    take(house, vec![is(plain("u1"))]).await;
    assert_eq!(links(house, "u3", LinkRole::Manager).await, ["[U1]"], "keys are exact");
    take(house, vec![is(plain("U1"))]).await;
    assert_eq!(links(house, "u3", LinkRole::Manager).await, ["U1"]);
}

pub(crate) async fn a_renamed_object_keeps_its_links(house: &House) {
    take(house, vec![is(user("ada"))]).await;
    take(house, vec![is(group("staff", &["ada"]))]).await;
    // The group was told first, with the new name.
    let early = take_one(house, is(group("club", &["ada king"]))).await;
    assert_eq!(others(&early.added), ["[cn=ada king]"]);
    let mut renamed = user("ada");
    renamed.head.reference = Some("cn=Ada King".to_owned());
    let difference = take_one(house, is(renamed)).await;
    assert!(difference.added.is_empty() && difference.removed.is_empty());
    assert_eq!((members(house, "staff").await, members(house, "club").await), (vec!["ada".to_owned()], vec!["ada".to_owned()]));
    assert!(house.store.object(DIRECTORY, "cn=ada").await.unwrap().is_none());
    assert!(take_one(house, is(group("staff", &["ada king"]))).await.is_empty());
    // Who is still said to have the old name as a member has nobody.
    let difference = take_one(house, is(group("staff", &["ada"]))).await;
    assert_eq!((others(&difference.added), others(&difference.removed)), (vec!["[cn=ada]".to_owned()], vec!["ada".to_owned()]));
    // Also if both are told at once.
    let mut again = user("ada");
    again.head.reference = Some("cn=Ada Lovelace".to_owned());
    let differences = take(house, vec![is(again), is(group("club", &["ada king"]))]).await;
    assert_eq!(
        (others(&differences[1].added), others(&differences[1].removed)),
        (vec!["[cn=ada king]".to_owned()], vec!["ada".to_owned()])
    );
    assert_eq!(members(house, "club").await, ["[cn=ada king]"]);
}

pub(crate) async fn two_who_swap_their_names_keep_their_links(house: &House) {
    take(house, vec![is(user("a")), is(user("b"))]).await;
    take(house, vec![is(group("staff", &["a"]))]).await;
    let (mut a, mut b) = (user("a"), user("b"));
    (a.head.reference, b.head.reference) = (b.head.reference.clone(), a.head.reference.clone());
    take(house, vec![is(a.clone()), is(b.clone())]).await;
    assert_eq!((find(house, "cn=b").await.head.key, find(house, "cn=a").await.head.key), ("a".to_owned(), "b".to_owned()));
    assert_eq!(members(house, "staff").await, ["a"]);
    assert!(take(house, vec![is(a), is(b)]).await.iter().all(Difference::is_empty));
}

pub(crate) async fn who_is_gone_leaves_all_that_linked_to_it(house: &House) {
    let mut linus = user("linus");
    linus.links.push(Link::new(LinkRole::Manager, "cn=ada"));
    take(house, vec![is(user("ada")), is(user("eve"))]).await;
    take(house, vec![is(linus), is(group("staff", &["ada", "eve"])), is(group("club", &["ada", "ghost"]))]).await;
    house.clock.advance(hours(1));
    let ada = find(house, "ada").await;
    let difference = take_one(house, gone("ada")).await;
    assert_eq!((difference.before.as_ref(), difference.after.as_ref()), (Some(&ada), None));
    assert_eq!(others(&difference.orphaned), ["club", "linus", "staff"]);
    assert!(house.store.object(DIRECTORY, "ada").await.unwrap().is_none());
    assert_eq!((members(house, "staff").await, members(house, "club").await), (vec!["eve".to_owned()], vec!["[cn=ghost]".to_owned()]));
    let staff = find(house, "staff").await;
    assert_eq!((staff.version, staff.changed_at, objects(house).await), (2, house.now(), 4));
    assert!(take_one(house, gone("ada")).await.is_empty());

    // A group takes the names with it that only it linked to.
    assert!(take_one(house, gone("club")).await.removed.is_empty(), "its own links go without saying");
    take(house, vec![is(user("ghost"))]).await;
    assert!(groups_of(house, "ghost").await.is_empty());
}

pub(crate) async fn a_departure_in_one_batch_is_told_once(house: &House) {
    take(house, vec![is(user("ada")), is(user("eve"))]).await;
    take(house, vec![is(group("staff", &["ada", "eve"])), is(group("club", &["ada"])), is(group("old", &["ada"]))]).await;
    // First the user is gone, then the group that had it says so, or still has its name; the other way round with another one.
    let changes = vec![gone("old"), is(group("club", &[])), gone("ada"), is(group("staff", &["ada", "eve"]))];
    let differences = take(house, changes).await;
    let told: Vec<_> = differences.iter().map(|one| (others(&one.added), others(&one.removed), others(&one.orphaned))).collect();
    let none = Vec::<String>::new;
    assert_eq!(told[0], (none(), none(), none()));
    assert_eq!(told[1], (none(), vec!["ada".to_owned()], none()));
    assert_eq!(told[2], (none(), none(), vec!["staff".to_owned()]), "not of the club, which said so, and not of what is gone");
    assert_eq!(told[3], (vec!["[cn=ada]".to_owned()], none(), none()));
    assert_eq!(members(house, "staff").await, ["[cn=ada]", "eve"]);
    assert_eq!(find(house, "staff").await.version, 3, "the departure and its own change");

    let differences = take(house, vec![gone("eve"), adjusted("staff", &[], &["cn=eve"])]).await;
    assert!(differences[1].is_empty(), "{differences:?}");
    assert_eq!(members(house, "staff").await, ["[cn=ada]"]);
}

pub(crate) async fn differences_of_several_comparisons_are_written_in_order(house: &House) {
    take(house, vec![is(user("ada")), is(group("staff", &["eve"]))]).await;
    let mut differences = house.store.compare(DIRECTORY, vec![gone("ada")]).await.unwrap();
    differences.extend(house.store.compare(DIRECTORY, vec![is(group("club", &["ada"]))]).await.unwrap());
    differences.extend(house.store.compare(DIRECTORY, vec![is(user("eve"))]).await.unwrap());
    differences.extend(house.store.compare(DIRECTORY, vec![is(group("staff", &[]))]).await.unwrap());
    assert_eq!((others(&differences[1].added), others(&differences[3].removed)), (vec!["ada".to_owned()], vec!["[cn=eve]".to_owned()]));
    house.store.record(record(differences)).await.unwrap();
    assert_eq!(members(house, "club").await, ["[cn=ada]"], "who has gone in between leaves the name");
    assert!(members(house, "staff").await.is_empty(), "who has come in between goes by the name");
}

pub(crate) async fn what_is_made_anew_is_another_object(house: &House) {
    take(house, vec![is(user("ada"))]).await;
    take(house, vec![is(group("staff", &["ada"]))]).await;
    let first = find(house, "ada").await;
    let mut again = user("ada-2");
    again.head.reference = Some("CN=ADA".to_owned());
    // The new one is heard of before the end of the old one is.
    take(house, vec![is(again.clone())]).await;
    assert_eq!(find(house, "cn=ada").await.head.key, "ada-2");
    assert_eq!(members(house, "staff").await, ["ada"], "it does not come into the old one's rights");
    take(house, vec![gone("ada")]).await;
    let second = find(house, "cn=ada").await;
    assert!(second.id != first.id && second.version == 1);
    assert!(members(house, "staff").await.is_empty());
    take(house, vec![gone("ada-2")]).await;
    take(house, vec![is(again)]).await;
    assert!(find(house, "ada-2").await.id > second.id, "a row number is not used again");
}

pub(crate) async fn what_has_moved_is_not_overwritten(house: &House) {
    take(house, vec![is(user("ada"))]).await;
    let mut one = user("ada");
    one.head.name = Some("One".to_owned());
    let stale = house.store.compare(DIRECTORY, vec![is(one), is(user("eve"))]).await.unwrap();
    let mut other = user("ada");
    other.head.name = Some("Other".to_owned());
    take(house, vec![is(other.clone())]).await;
    let refused = house.store.record(Record { bookmark: Some(b"b".to_vec()), ..record(stale.clone()) }).await;
    assert!(matches!(&refused, Err(StoreError::Moved(key)) if key == "ada"), "{refused:?}");
    assert_eq!(find(house, "ada").await.head, other.head);
    assert_eq!((objects(house).await, house.store.directory(DIRECTORY).await.unwrap().bookmark), (1, None));
    // What was new when it was compared and is there now has moved as well; so has what is gone.
    take(house, vec![is(user("eve")), gone("ada")]).await;
    for difference in stale {
        assert!(matches!(house.store.record(record(vec![difference])).await, Err(StoreError::Moved(_))));
    }
}

pub(crate) async fn of_many_who_change_one_object_at_once_one_does(house: &House) {
    take(house, vec![is(user("ada"))]).await;
    for round in 0..5 {
        let mut compared = Vec::new();
        for n in 0..16 {
            let mut ada = user("ada");
            ada.head.name = Some(format!("Ada {round}.{n}"));
            let bookmark = Some(format!("{round}.{n}").into_bytes());
            let differences = house.store.compare(DIRECTORY, vec![is(ada), is(user(&format!("of-{round}-{n}")))]).await.unwrap();
            compared.push((n, Record { bookmark, ..record(differences) }));
        }
        let tasks = compared.into_iter().map(|(n, record)| {
            let store = house.store.clone();
            tokio::spawn(async move { (n, store.record(record).await) })
        });
        let mut won = Vec::new();
        for done in join_all(tasks).await {
            match done.unwrap() {
                (n, Ok(_)) => won.push(n),
                (_, Err(StoreError::Moved(key))) => assert_eq!(key, "ada"),
                (_, Err(other)) => panic!("{other}"),
            }
        }
        assert_eq!(won.len(), 1);
        let (ada, standing) = (find(house, "ada").await, house.store.directory(DIRECTORY).await.unwrap());
        assert_eq!((ada.head.name, ada.version), (Some(format!("Ada {round}.{}", won[0])), round + 2));
        assert_eq!(standing.bookmark, Some(format!("{round}.{}", won[0]).into_bytes()));
        assert_eq!(standing.objects, 2 + u64::try_from(round).unwrap(), "of the others nothing is written");
    }
}

pub(crate) async fn mirror_bookmark_and_events_are_written_as_one(house: &House) {
    let differences = house.store.compare(DIRECTORY, vec![is(user("ada"))]).await.unwrap();
    let mut broken = house.an_event("broken").build();
    broken.items[0].letter = house.id();
    let (good, bookmark) = (house.an_event("good").build(), Some(b"cookie".to_vec()));
    let failing = Record { acceptances: vec![good, broken], bookmark: bookmark.clone(), ..record(differences.clone()) };
    assert!(house.store.record(failing).await.is_err());
    let standing = house.store.directory(DIRECTORY).await.unwrap();
    assert_eq!((standing.objects, standing.bookmark, standing.heard_at), (0, None, None));
    assert!(house.store.object(DIRECTORY, "ada").await.unwrap().is_none());

    let good = house.an_event("good").build();
    let (id, item) = (good.id, good.items[0].id);
    let whole = Record { acceptances: vec![good], bookmark: bookmark.clone(), ..record(differences) };
    assert_eq!(house.store.record(whole).await.unwrap(), [Accepted::New(id)]);
    let standing = house.store.directory(DIRECTORY).await.unwrap();
    assert_eq!((standing.objects, standing.bookmark, standing.heard_at), (1, bookmark.clone(), Some(house.now())));
    assert_eq!(house.detail(item).await.row.event, id);
    // A record without a bookmark leaves the one that is there.
    house.store.record(record(Vec::new())).await.unwrap();
    assert_eq!(house.store.directory(DIRECTORY).await.unwrap().bookmark, bookmark);
}

pub(crate) async fn managers_are_walked_up_and_a_circle_ends(house: &House) {
    let boss = |key: &str, manager: &str| Entry { links: vec![Link::new(LinkRole::Manager, format!("cn={manager}"))], ..user(key) };
    load(house, vec![boss("a", "b"), boss("b", "c"), boss("c", "a"), boss("d", "ghost"), boss("e", "e")]).await;
    let above = async |key: &str, levels| -> Vec<String> {
        let managers = house.store.managers(find(house, key).await.id, levels).await.unwrap();
        managers.into_iter().map(|manager| manager.head.key).collect()
    };
    assert_eq!((above("a", 1).await, above("a", 9).await), (vec!["b".to_owned()], vec!["b".to_owned(), "c".to_owned()]));
    assert!(above("d", 9).await.is_empty() && above("e", 9).await.is_empty() && above("a", 0).await.is_empty());
}

pub(crate) async fn members_are_found_below_nested_groups_each_once(house: &House) {
    load(house, ["u1", "u2", "u3", "u4", "u5", "u6"].map(user).into()).await;
    // `all` has `left` and `right`, both have u3, `right` has `all` again; `late` is named before it is there.
    load(house, vec![group("left", &["u1", "u3", "ghost"]), group("right", &["u6", "u3", "all", "late"])]).await;
    take(house, vec![is(group("all", &["u2", "left", "right"]))]).await;
    take(house, vec![is(group("late", &["u5", "late"]))]).await;
    for limit in [1, 2, 3, 100] {
        assert_eq!(below(house, "all", Walk::Direct, limit).await, ["left", "right", "u2"]);
        assert_eq!(below(house, "all", Walk::Nested, limit).await, ["u1", "u2", "u3", "u5", "u6"]);
        assert_eq!(below(house, "left", Walk::Nested, limit).await, ["u1", "u3"]);
    }
    // What is no group any more is a member itself, and a group again is none.
    let mut flat = entry(ObjectType::Contact, "late");
    take(house, vec![is(flat.clone())]).await;
    assert_eq!(below(house, "all", Walk::Nested, 2).await, ["late", "u1", "u2", "u3", "u6"]);
    flat.head.object_type = ObjectType::Group;
    take(house, vec![is(flat)]).await;
    assert_eq!(below(house, "all", Walk::Nested, 2).await, ["u1", "u2", "u3", "u6"]);
    take(house, vec![gone("right")]).await;
    assert_eq!(below(house, "all", Walk::Nested, 2).await, ["u1", "u2", "u3"]);
}

pub(crate) async fn objects_and_links_are_listed_by_pages(house: &House) {
    let keys: Vec<String> = (0..7).map(|n| format!("u{n}")).collect();
    load(house, keys.iter().map(|key| user(key)).collect()).await;
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    load(house, vec![group("g", &names)]).await;
    house.store.load("elsewhere", vec![user("u0")], 1, None).await.unwrap();
    let (mut after, mut listed) = (None::<ObjectId>, Vec::new());
    loop {
        let page = house.store.objects(Some(DIRECTORY), after, 3).await.unwrap();
        listed.extend(page.objects.into_iter().map(|object| object.head.key));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    listed.sort();
    assert_eq!((listed.len(), listed[0].as_str(), listed[7].as_str()), (8, "g", "u6"));
    assert_eq!(house.store.objects(None, None, 100).await.unwrap().objects.len(), 9);
    let (group, mut after, mut linked) = (find(house, "g").await.id, None, Vec::new());
    loop {
        let page = house.store.links(group, LinkRole::Member, after, 2).await.unwrap();
        linked.extend(page.links.iter().map(other));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    linked.sort();
    assert_eq!(linked, keys);
}

pub(crate) async fn groups_are_found_by_name_in_any_case(house: &House) {
    let named = |entry: Entry, name: &str| is(Entry { head: Head { name: Some(name.to_owned()), ..entry.head }, ..entry });
    take(house, vec![named(group("g1", &[]), "Ärzte"), named(user("u1"), "Ärzte"), named(group("g2", &[]), "Auditors")]).await;
    house
        .store
        .load("elsewhere", vec![Entry { head: Head { name: Some("ärzte".into()), ..group("g1", &[]).head }, ..group("g1", &[]) }], 1, None)
        .await
        .unwrap();
    let found = async |directory, name| house.store.groups_named(directory, name).await.unwrap().len();
    assert_eq!((found(None, "ÄRZTE").await, found(Some(DIRECTORY), "ärzte").await), (2, 1));
    assert_eq!((found(None, "auditor").await, found(Some("nowhere"), "Ärzte").await), (0, 0));
    take(house, vec![named(group("g1", &[]), "Doctors")]).await;
    assert_eq!((found(Some(DIRECTORY), "ärzte").await, found(None, "doctors").await), (0, 1));
}
