//! Queries: filters, order, pages, parts of resources; and groups too large to be read whole.

use crate::house::{House, user};
use serde_json::{Value, json};

async fn company(house: &House) -> (Vec<String>, String) {
    let mut ids = Vec::new();
    for (name, title, active) in [("ada", "Engineer", true), ("grace", "admiral", true), ("linus", "Engineer", false), ("eve", "", true)] {
        let mut body = user(name);
        body["displayName"] = json!(name.to_uppercase());
        body["active"] = json!(active);
        if !title.is_empty() {
            body["title"] = json!(title);
        }
        body["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"] = json!({"department": "R&D"});
        ids.push(house.post("/Users", &body).await.is(201).id());
    }
    let group = house.group("Payroll", &[&ids[0], &ids[1]]).await;
    (ids, group)
}

fn names(answer: &Value) -> Vec<&str> {
    answer["Resources"].as_array().unwrap().iter().map(|one| one["userName"].as_str().or(one["displayName"].as_str()).unwrap()).collect()
}

#[tokio::test]
async fn filters_find_what_they_say() {
    let house = House::start().await;
    let (ids, group) = company(&house).await;
    for (filter, found) in [
        ("title eq \"engineer\"".to_owned(), &["ada", "linus"][..]),
        ("title eq \"engineer\" and active eq true".to_owned(), &["ada"]),
        ("not (title pr)".to_owned(), &["eve"]),
        ("userName sw \"A\" or userName ew \"E\"".to_owned(), &["ada", "grace", "eve"]),
        (
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq \"r&d\"".replace('&', "%26"),
            &["ada", "grace", "linus", "eve"],
        ),
        (format!("id eq \"{}\"", ids[2]), &["linus"]),
        (format!("groups.value eq \"{group}\""), &["ada", "grace"]),
        ("groups[display eq \"payroll\"]".to_owned(), &["ada", "grace"]),
        ("meta.lastModified gt \"2026-01-01T00:00:00Z\" and userName eq \"eve\"".to_owned(), &["eve"]),
        ("meta.created lt \"2026-01-01T00:00:00Z\"".to_owned(), &[]),
        ("displayName eq \"LINUS\"".to_owned(), &["linus"]),
    ] {
        let answer = house.get(&format!("/Users?filter={filter}")).await.is(200);
        assert_eq!(names(&answer.body), found, "{filter}");
        assert_eq!(answer.body["totalResults"], found.len(), "{filter}");
    }
    assert_eq!(house.get("/Groups?filter=members pr").await.is(200).body["totalResults"], 1);
    assert_eq!(house.get("/Groups?filter=not (members pr)").await.is(200).body["totalResults"], 0);
    assert_eq!(house.get(&format!("/Groups?filter=not (members.value eq \"{}\")", ids[3])).await.is(200).body["totalResults"], 1);
    assert_eq!(house.get("/Groups?filter=members.display eq \"ADA\"").await.is(400).body["scimType"], "invalidFilter");
}

#[tokio::test]
async fn lists_are_sorted_and_paged() {
    let house = House::start().await;
    company(&house).await;
    let sorted = |by: &'static str, more: &'static str| {
        let house = &house;
        async move { names(&house.get(&format!("/Users?sortBy={by}{more}")).await.is(200).body).join(" ") }
    };
    assert_eq!(sorted("userName", "").await, "ada eve grace linus");
    assert_eq!(sorted("userName", "&sortOrder=descending").await, "linus grace eve ada");
    assert_eq!(sorted("emails.value", "&startIndex=2&count=2").await, "eve grace");
    assert_eq!(sorted("title", "").await, "grace ada linus eve");
    assert_eq!(sorted("title", "&sortOrder=descending").await, "eve ada linus grace");
    assert_eq!(sorted("active", "&filter=title pr").await, "linus ada grace");
    let page = house.get("/Users?filter=active eq true&startIndex=2&count=1").await.is(200);
    assert_eq!((names(&page.body), &page.body["totalResults"]), (vec!["grace"], &json!(3)));
    assert_eq!(house.get("/Users?startIndex=-3&count=-1").await.is(200).body["Resources"], json!([]));
    assert_eq!(house.get("/Users?startIndex=99").await.is(200).body["totalResults"], 4);
    // The root knows both kinds.
    let all = house.get("/?filter=displayName pr").await.is(200);
    assert_eq!(all.body["totalResults"], 5);
}

#[tokio::test]
async fn parts_of_resources_are_shown_as_asked() {
    let house = House::start().await;
    let (ids, group) = company(&house).await;
    let path = format!("/Users/{}", ids[0]);
    let keys = |answer: &Value| answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let some = house
        .get(&format!("{path}?attributes=userName,emails.value,urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"))
        .await;
    assert_eq!(keys(&some.body), ["schemas", "id", "userName", "emails", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]);
    assert_eq!(some.body["emails"], json!([{"value": "ada@example.org"}]));
    let whole = house.get(&format!("{path}?attributes=urn:ietf:params:scim:schemas:extension:enterprise:2.0:User")).await;
    assert_eq!(keys(&whole.body), ["schemas", "id", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]);
    let less = house
        .get(&format!("{path}?excludedAttributes=emails.type,GROUPS,id,meta,urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"))
        .await;
    assert_eq!(keys(&less.body), ["schemas", "id", "userName", "emails", "displayName", "active", "title"]);
    assert_eq!(less.body["emails"], json!([{"value": "ada@example.org", "primary": true}]));
    // Asked for, a group that was changed is shown.
    let shown = house
        .patch(&format!("/Groups/{group}?attributes=displayName"), json!([{"op": "replace", "path": "displayName", "value": "Wages"}]))
        .await
        .is(200);
    assert_eq!(keys(&shown.body), ["schemas", "id", "displayName"]);

    let search = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "attributes": ["displayName", "userName"],
        "filter": "displayName sw \"a\" or displayName eq \"wages\"",
        "startIndex": 1,
        "count": 10,
    });
    let found = house.post("/.search", &search).await.is(200);
    assert_eq!(names(&found.body), ["ada", "Wages"]);
    assert_eq!(keys(&found.body["Resources"][1]), ["schemas", "id", "displayName"]);
    let found = house.post("/Groups/.search", &search).await.is(200);
    assert_eq!(names(&found.body), ["Wages"]);
    house.post("/Users/.search", &json!({})).await.is(400);
}

#[tokio::test]
async fn a_member_of_a_large_group_comes_and_goes_without_the_group_being_read() {
    use tidings_core::{
        directory::{Entry, Head, Link, LinkRole},
        subject::ObjectType,
    };
    const MEMBERS: usize = 20_000;
    let house = House::start().await;
    let person = |n: usize| Entry { head: Head::new(ObjectType::User, format!("p{n}")), links: Vec::new(), document: None };
    let mut group = Head::new(ObjectType::Group, "everybody");
    group.name = Some("Everybody".to_owned());
    let links = (0..MEMBERS).map(|n| Link::new(LinkRole::Member, format!("p{n}"))).collect();
    let document = Some(br#"{"displayName":"Everybody"}"#.to_vec());
    let mirror = house.feed.mirror();
    let generation = mirror.begin_refresh("hr").await.unwrap();
    mirror.load("hr", (0..MEMBERS).map(person).collect(), generation, None).await.unwrap();
    let mut few = Head::new(ObjectType::Group, "few");
    few.name = Some("Few".to_owned());
    let links_of_few = vec![Link::new(LinkRole::Member, "p0".to_owned())];
    let few = Entry { head: few, links: links_of_few, document: Some(br#"{"displayName":"Few"}"#.to_vec()) };
    mirror.load("hr", vec![Entry { head: group, links, document }, few], generation, None).await.unwrap();

    let ada = house.user("ada").await;
    let known = house.events().await.len();
    // The quickest of some, of which none waited for the disk more than it must.
    let mut quickest = [std::time::Duration::MAX; 2];
    for _ in 0..10 {
        for (group, quickest) in ["few", "everybody"].into_iter().zip(&mut quickest) {
            let (path, begun) = (format!("/Groups/{group}"), std::time::Instant::now());
            house.patch(&path, json!([{"op": "add", "path": "members", "value": [{"value": ada}]}])).await.is(204);
            house.patch(&path, json!([{"op": "remove", "path": format!("members[value eq \"{ada}\"]")}])).await.is(204);
            *quickest = begun.elapsed().min(*quickest);
        }
    }
    assert_eq!(house.kinds_after(known).await.len(), 40);
    let begun = std::time::Instant::now();
    let whole = house.get("/Groups/everybody").await.is(200);
    let read = begun.elapsed();
    assert_eq!(whole.body["members"].as_array().unwrap().len(), MEMBERS);
    // Two changes of the large group cost what those of a small one do: neither has read it.
    let [few, everybody] = quickest;
    assert!(everybody < few + read / 2, "changes take {everybody:?}, those of a small group {few:?}, reading the group {read:?}");
    let brief = house.get("/Groups/everybody?excludedAttributes=members").await.is(200);
    assert_eq!(brief.body["displayName"], "Everybody");
}
