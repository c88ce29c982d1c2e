//! The requests that Okta documents ("Okta and SCIM Version 2.0"), with made-up people.

use crate::house::House;
use serde_json::{Value, json};

fn isaac() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "isaac@example.org",
        "name": {"givenName": "Isaac", "familyName": "Brock"},
        "emails": [{"primary": true, "value": "isaac@example.org", "type": "work"}],
        "displayName": "Isaac Brock",
        "locale": "en-US",
        "externalId": "00ujl29u0le5T6Aj10h7",
        "groups": [],
        "password": "1mz050nq",
        "active": true,
    })
}

#[tokio::test]
async fn a_user_is_made_replaced_and_deactivated() {
    let house = House::start().await;
    let found = house.get("/Users?filter=userName eq \"isaac@example.org\"&startIndex=1&count=100").await.is(200);
    assert_eq!(found.body["totalResults"], 0);
    let made = house.post("/Users", &isaac()).await.is(201);
    let (id, path) = (made.id(), format!("/Users/{}", made.id()));
    assert!(!made.body.to_string().contains("1mz050nq"));

    let mut other = isaac();
    other["id"] = json!(id);
    other["name"] = json!({"givenName": "Another", "middleName": "Excited", "familyName": "User"});
    other["emails"][0]["value"] = json!("another@example.org");
    other["displayName"] = json!("Another User");
    other["meta"] = json!({"resourceType": "User"});
    let replaced = house.put(&path, &other).await.is(200);
    assert_eq!(replaced.body["name"], json!({"givenName": "Another", "middleName": "Excited", "familyName": "User"}));
    assert_eq!(replaced.body["meta"]["created"], made.body["meta"]["created"]);

    let off = house.patch(&path, json!([{"op": "replace", "value": {"active": false}}])).await.is(200);
    assert_eq!(off.body["active"], false);
    let on = house.patch(&path, json!([{"op": "replace", "value": {"active": true}}])).await.is(200);
    assert_eq!(on.body["active"], true);
    assert_eq!(house.kinds_after(1).await, ["object.changed"; 3]);

    // Neither the database file nor its log holds the password.
    let stored = house.store.document(house.store.object("hr", &id).await.unwrap().unwrap().id).await.unwrap().unwrap();
    assert!(!String::from_utf8(stored).unwrap().contains("1mz050nq"));
}

#[tokio::test]
async fn users_and_groups_come_in_pages() {
    let house = House::start().await;
    for n in 0..7 {
        house.user(&format!("user{n}")).await;
    }
    house.group("Everybody", &[]).await;
    let mut names = Vec::new();
    for start in [1, 4, 7, 10] {
        let page = house.get(&format!("/Users?startIndex={start}&count=3")).await.is(200);
        assert_eq!((&page.body["totalResults"], &page.body["startIndex"]), (&json!(7), &json!(start)));
        let resources = page.body["Resources"].as_array().unwrap();
        assert_eq!(page.body["itemsPerPage"], resources.len());
        names.extend(resources.iter().map(|user| user["userName"].as_str().unwrap().to_owned()));
    }
    assert_eq!(names, (0..7).map(|n| format!("user{n}")).collect::<Vec<_>>());
    assert_eq!(house.get("/Groups?startIndex=1&count=100").await.is(200).body["totalResults"], 1);
    assert_eq!(
        house.get("/Users?count=0").await.is(200).body,
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": 7, "startIndex": 1, "itemsPerPage": 0, "Resources": [],
        })
    );
}

#[tokio::test]
async fn a_group_is_pushed() {
    let house = House::start().await;
    let (ada, grace, eve) = (house.user("ada").await, house.user("grace").await, house.user("eve").await);
    let id = house.group("Test SCIMv2", &[]).await;
    let path = format!("/Groups/{id}");
    let found = house.get("/Groups?filter=displayName eq \"Test SCIMv2\"&startIndex=1&count=100").await.is(200);
    assert_eq!(found.body["totalResults"], 1);
    // The id within a value without a path is what it is, and changes nothing.
    house.patch(&path, json!([{"op": "replace", "value": {"id": id, "displayName": "Test SCIMv2 renamed"}}])).await.is(204);
    let known = house.events().await.len();
    house
        .patch(
            &path,
            json!([
                {"op": "remove", "path": format!("members[value eq \"{eve}\"]")},
                {"op": "add", "path": "members", "value": [{"value": ada, "display": "ada@example.org"}, {"value": eve}]},
            ]),
        )
        .await
        .is(204);
    house.patch(&path, json!([{"op": "replace", "path": "members", "value": [{"value": ada}, {"value": grace}]}])).await.is(204);
    let group = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
        "id": id,
        "displayName": "Test SCIMv0",
        "members": [{"value": grace, "display": "grace"}],
    });
    let put = house.put(&path, &group).await.is(200);
    assert_eq!(put.body["members"].as_array().unwrap().len(), 1);
    assert_eq!(
        house.kinds_after(known).await,
        ["membership.joined", "membership.joined", "membership.joined", "membership.left", "object.changed", "membership.left"]
    );
    house.delete(&path).await.is(204);
}
