//! The requests that Entra ID documents ("Develop and plan provisioning for a SCIM endpoint", "Known issues … SCIM 2.0 protocol compliance"), with made-up people.

use crate::house::House;
use serde_json::{Value, json};

fn new_user() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": "8d2a-4f8e",
        "userName": "Ada.King@example.org",
        "active": true,
        "emails": [{"primary": true, "type": "work", "value": "ada@example.org"}],
        "meta": {"resourceType": "User"},
        "name": {"formatted": "Ada King", "familyName": "King", "givenName": "Ada"},
        "roles": [],
    })
}

#[tokio::test]
async fn a_user_is_asked_for_and_made_and_asked_for_again() {
    let house = House::start().await;
    let none = house.get("/Users?filter=userName eq \"ada.king@example.org\"").await.is(200);
    assert_eq!((&none.body["totalResults"], &none.body["Resources"]), (&json!(0), &json!([])));

    let made = house.post("/Users", &new_user()).await.is(201);
    let id = made.id();
    assert_eq!(made.header("location"), format!("https://tidings.example.org/scim/v2/Users/{id}"));
    assert_eq!(made.header("etag"), made.body["meta"]["version"].as_str().unwrap());
    assert_eq!(made.body["meta"]["resourceType"], "User");
    assert_eq!(made.body["name"]["familyName"], "King");
    assert_eq!(made.body.get("roles"), None);

    for filter in [
        "userName eq \"ada.king@EXAMPLE.org\"",
        "externalId eq \"8d2a-4f8e\"",
        "emails[type eq \"work\"].value eq \"ada@example.org\"",
        "emails.value eq \"ADA@example.org\"",
        "userName eq \"ada.king@example.org\" and active eq true",
    ] {
        let found = house.get(&format!("/Users?filter={filter}")).await.is(200);
        assert_eq!((&found.body["totalResults"], &found.body["Resources"][0]["id"]), (&json!(1), &json!(id)), "{filter}");
    }
    assert_eq!(house.get("/Users?filter=externalId eq \"8D2A-4F8E\"").await.is(200).body["totalResults"], 0);

    let events = house.events().await;
    let [(kind, data)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(kind, "object.created");
    assert_eq!(data["actor"], json!({"type": "account", "name": "entra"}));
    let expected = json!({"id": id, "name": "Ada King", "mail": "ada@example.org", "enabled": true, "account": "Ada.King@example.org", "directory": "hr"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&data["object"][name], value, "{name}");
    }
}

#[tokio::test]
async fn a_user_is_changed_as_the_documents_show() {
    let house = House::start().await;
    let id = house.post("/Users", &new_user()).await.is(201).id();
    let path = format!("/Users/{id}");

    let moved = house
        .patch(
            &path,
            json!([
                {"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "countess@example.org"},
                {"op": "Replace", "path": "name.familyName", "value": "Lovelace"},
            ]),
        )
        .await
        .is(200);
    assert_eq!(moved.body["emails"], json!([{"primary": true, "type": "work", "value": "countess@example.org"}]));
    assert_eq!(moved.body["name"], json!({"formatted": "Ada Lovelace", "familyName": "Lovelace", "givenName": "Ada"}));

    let renamed = house.patch(&path, json!([{"op": "Replace", "path": "userName", "value": "countess@example.org"}])).await.is(200);
    assert_eq!(renamed.body["userName"], "countess@example.org");
    assert_eq!(house.get("/Users?filter=userName eq \"ada.king@example.org\"").await.body["totalResults"], 0);
    assert_eq!(house.get("/Users?filter=userName eq \"countess@example.org\"").await.body["totalResults"], 1);

    let disabled = house.patch(&path, json!([{"op": "Replace", "path": "active", "value": "False"}])).await.is(200);
    assert_eq!(disabled.body["active"], false);
    let enabled = house.patch(&path, json!([{"op": "replace", "path": "active", "value": true}])).await.is(200);
    assert_eq!(enabled.body["active"], true);

    let nick = house.patch(&path, json!([{"op": "Add", "path": "nickName", "value": "Enchantress"}])).await.is(200);
    assert_eq!(nick.body["nickName"], "Enchantress");

    let many = house
        .patch(
            &path,
            json!([
                {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "ada@example.net"},
                {"op": "replace", "value": {
                    "displayName": "Lady Lovelace",
                    "name.givenName": "Augusta",
                    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber": "1815",
                }},
                {"op": "Add", "path": "addresses[type eq \"work\"].locality", "value": "London"},
                {"op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "+44 20 1815"},
            ]),
        )
        .await
        .is(200);
    assert_eq!(many.body["displayName"], "Lady Lovelace");
    assert_eq!(many.body["name"]["givenName"], "Augusta");
    assert_eq!(many.body["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"], json!({"employeeNumber": "1815"}));
    assert_eq!(many.body["addresses"], json!([{"type": "work", "locality": "London"}]));
    assert_eq!(many.body["phoneNumbers"], json!([{"type": "mobile", "value": "+44 20 1815"}]));
    assert_eq!(house.get(&path).await.is(200).body, many.body);

    let events = house.events().await;
    let changes: Vec<(&Value, &Value)> =
        events.iter().filter(|(kind, _)| kind == "object.changed").map(|(_, data)| (&data["before"], &data["after"])).collect();
    assert_eq!(changes.len(), 6, "{changes:?}");
    assert_eq!(changes[2], (&json!({"enabled": true}), &json!({"enabled": false})));
    assert_eq!(changes[1].1, &json!({"account": "countess@example.org"}));
}

#[tokio::test]
async fn a_manager_is_set_changed_and_taken_away() {
    const MANAGER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager";
    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let house = House::start().await;
    let (ada, grace, eve) = (house.user("ada").await, house.user("grace").await, house.user("eve").await);
    let path = format!("/Users/{ada}");
    let known = house.events().await.len();

    let managed = house.patch(&path, json!([{"op": "Add", "path": MANAGER, "value": grace}])).await.is(200);
    assert_eq!(
        managed.body[ENTERPRISE]["manager"],
        json!({"value": grace, "$ref": format!("https://tidings.example.org/scim/v2/Users/{grace}")})
    );
    let managed = house.patch(&path, json!([{"op": "Replace", "path": MANAGER, "value": {"value": eve}}])).await.is(200);
    assert_eq!(managed.body[ENTERPRISE]["manager"]["value"], json!(eve));
    // The name that somebody else's system has for the manager leads to the same person.
    house.patch(&path, json!([{"op": "replace", "path": format!("{MANAGER}.value"), "value": "GRACE"}])).await.is(200);
    assert_eq!(house.get(&path).await.body[ENTERPRISE]["manager"]["value"], json!(grace));
    let found = house.get(&format!("/Users?filter={MANAGER}.value eq \"{grace}\"")).await.is(200);
    assert_eq!(found.body["Resources"][0]["id"], json!(ada));
    let alone = house.patch(&path, json!([{"op": "Remove", "path": MANAGER}])).await.is(200);
    assert_eq!(alone.body.get(ENTERPRISE), None);

    let events: Vec<(String, Value)> = house.events().await.split_off(known);
    let told: Vec<(&str, &Value)> = events.iter().map(|(kind, data)| (kind.as_str(), &data["member"]["name"])).collect();
    assert_eq!(
        told,
        [
            ("management.added", &json!("grace")),
            ("management.added", &json!("eve")),
            ("management.removed", &json!("grace")),
            ("management.added", &json!("grace")),
            ("management.removed", &json!("eve")),
            ("management.removed", &json!("grace")),
        ]
    );
}

#[tokio::test]
async fn a_group_is_made_empty_and_filled_and_emptied() {
    let house = House::start().await;
    let (ada, grace) = (house.user("ada").await, house.user("grace").await);
    let group = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
        "externalId": "8aa1a0c0",
        "displayName": "Payroll",
        "meta": {"resourceType": "Group"},
    });
    let id = house.post("/Groups", &group).await.is(201).id();
    let path = format!("/Groups/{id}");
    let known = house.events().await.len();
    let found = house.get("/Groups?excludedAttributes=members&filter=displayName eq \"payroll\"").await.is(200);
    assert_eq!(found.body["Resources"][0]["id"], json!(id));

    house.patch(&path, json!([{"op": "Replace", "path": "displayName", "value": "Payroll Zürich"}])).await.is(204);
    let filled =
        house.patch(&path, json!([{"op": "Add", "path": "members", "value": [{"$ref": null, "value": ada}, {"value": grace}]}])).await;
    assert_eq!((filled.status.as_u16(), filled.header("etag")), (204, "W/\"3\""));
    // Once more: nothing changes, nothing is told.
    house.patch(&path, json!([{"op": "Add", "path": "members", "value": [{"value": ada}]}])).await.is(204);

    // Whether somebody is a member.
    for (filter, there) in [
        (format!("id eq \"{id}\" and members eq \"{ada}\""), 1),
        (format!("id eq \"{id}\" and members[value eq \"{ada}\"]"), 1),
        (format!("members.value eq \"{grace}\""), 1),
        (format!("id eq \"{id}\" and members eq \"nobody\""), 0),
    ] {
        let found = house.get(&format!("/Groups?attributes=id&filter={filter}")).await.is(200);
        assert_eq!(found.body["totalResults"], there, "{filter}");
    }

    let whole = house.get(&path).await.is(200);
    let location = |id: &str| format!("https://tidings.example.org/scim/v2/Users/{id}");
    assert_eq!(
        whole.body["members"],
        json!([
            {"value": ada, "$ref": location(&ada), "type": "User"},
            {"value": grace, "$ref": location(&grace), "type": "User"},
        ])
    );
    let named = house.get(&format!("{path}?attributes=members.display,members.type")).await.is(200);
    assert_eq!(named.body["members"], json!([{"display": "ada", "type": "User"}, {"display": "grace", "type": "User"}]));
    assert_eq!(house.get(&format!("{path}?excludedAttributes=members")).await.is(200).body.get("members"), None);
    let groups = house.get(&format!("/Users/{ada}")).await.is(200).body["groups"].clone();
    assert_eq!(groups[0]["display"], "Payroll Zürich");

    house.patch(&path, json!([{"op": "Remove", "path": "members", "value": [{"value": ada}]}])).await.is(204);
    house.patch(&path, json!([{"op": "remove", "path": format!("members[value eq \"{grace}\"]")}])).await.is(204);
    house.patch(&path, json!([{"op": "remove", "path": format!("members[value eq \"{grace}\"]")}])).await.is(204);
    assert_eq!(house.get(&path).await.body.get("members"), None);
    house.delete(&path).await.is(204);
    house.get(&path).await.is(404);

    let events = house.events().await.split_off(known);
    let told: Vec<(&str, Option<&str>)> = events.iter().map(|(kind, data)| (kind.as_str(), data["member"]["name"].as_str())).collect();
    assert_eq!(
        told,
        [
            ("object.changed", None),
            ("membership.joined", Some("ada")),
            ("membership.joined", Some("grace")),
            ("membership.left", Some("ada")),
            ("membership.left", Some("grace")),
            ("object.deleted", None),
        ]
    );
}

#[tokio::test]
async fn a_user_who_is_deleted_leaves_the_groups() {
    let house = House::start().await;
    let ada = house.user("ada").await;
    let group = house.group("Payroll", &[&ada]).await;
    let known = house.events().await.len();
    house.delete(&format!("/Users/{ada}")).await.is(204);
    house.get(&format!("/Users/{ada}")).await.is(404);
    house.delete(&format!("/Users/{ada}")).await.is(404);
    assert_eq!(house.get(&format!("/Groups/{group}")).await.is(200).body.get("members"), None);
    assert_eq!(house.kinds_after(known).await, ["object.deleted", "membership.left"]);
    // The name is free again, and who bears it is somebody else.
    assert_ne!(house.user("ada").await, ada);
}

#[tokio::test]
async fn discovery_lists_schemas_and_types() {
    let house = House::start().await;
    let schemas = house.get("/Schemas").await.is(200);
    assert_eq!(schemas.body["totalResults"], 5);
    assert!(!schemas.body.to_string().contains("null"));
    let user = house.get("/Schemas/urn:ietf:params:scim:schemas:core:2.0:User").await.is(200);
    let name = user.body["attributes"].as_array().unwrap().iter().find(|one| one["name"] == "userName").unwrap();
    assert_eq!((&name["uniqueness"], &name["required"], &name["mutability"]), (&json!("server"), &json!(true), &json!("readWrite")));
    let types = house.get("/ResourceTypes").await.is(200);
    assert_eq!(types.body["Resources"][1]["endpoint"], "/Groups");
    house.get("/ResourceTypes/User").await.is(200);
    house.get("/ResourceTypes/Car").await.is(404);
    let config = house.get("/ServiceProviderConfig").await.is(200);
    assert_eq!(config.body["bulk"]["maxOperations"], 1000);
    house.get("/Schemas?filter=id eq \"x\"").await.is(403);
}
