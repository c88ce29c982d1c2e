//! Who may come in, what is refused and how, versions, and our own extensions.

use crate::house::{Answer, House, MAX_BODY, user};
use axum::http::Method;
use serde_json::{Value, json};

const TIDINGS_GROUP: &str = "urn:ietf:params:scim:schemas:extension:tidings:2.0:Group";
const TIDINGS_USER: &str = "urn:ietf:params:scim:schemas:extension:tidings:2.0:User";

#[track_caller]
fn scim_type(answer: Answer, status: u16, kind: &str) {
    let answer = answer.is(status);
    assert_eq!(answer.body["scimType"], kind, "{}", answer.body);
    assert_eq!(answer.body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
    assert_eq!(answer.body["status"], json!(status.to_string()));
}

#[tokio::test]
async fn nobody_comes_in_without_the_right_token() {
    let house = House::start().await;
    let bare = house.send(Method::GET, "/scim/v2/Users", &[], Vec::new()).await.is(401);
    assert_eq!(bare.header("www-authenticate"), "Bearer");
    let wrong = house.send(Method::GET, "/scim/v2/Nothing", &[("authorization", "Bearer tid_none")], Vec::new()).await.is(401);
    assert_eq!(wrong.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    let stranger = format!("Bearer {}", house.stranger);
    let refused = house.send(Method::GET, "/scim/v2/Users", &[("authorization", &stranger)], Vec::new()).await.is(403);
    assert_eq!(refused.header("www-authenticate"), "Bearer error=\"insufficient_scope\", scope=\"scim:write\"");
    house.send(Method::GET, "/scim/v2/ServiceProviderConfig", &[], Vec::new()).await.is(200);
    house.send(Method::GET, "/scim/v2/Schemas", &[], Vec::new()).await.is(401);
}

#[tokio::test]
async fn what_is_not_there_or_not_done_is_said() {
    let house = House::start().await;
    house.get("/Cars").await.is(404);
    house.get("/Users/none").await.is(404);
    house.get("/Users/a/b/c").await.is(404);
    house.get("/Me").await.is(501);
    house.patch("/Users/none", json!([{"op": "remove", "path": "title"}])).await.is(404);
    house.delete("/Groups/none").await.is(404);
    let group = house.group("Payroll", &[]).await;
    house.get(&format!("/Users/{group}")).await.is(404);
    let refused = house.delete("/Users").await.is(405);
    assert_eq!(refused.header("allow"), "GET, POST");
    let refused = house.post("/Schemas", &json!({})).await.is(405);
    assert_eq!(refused.header("allow"), "GET");
    let text = [("authorization", format!("Bearer {}", house.token())), ("content-type", "text/plain".to_owned())];
    let headers: Vec<(&str, &str)> = text.iter().map(|(name, value)| (*name, value.as_str())).collect();
    house.send(Method::POST, "/scim/v2/Users", &headers, b"{}".to_vec()).await.is(415);
}

#[tokio::test]
async fn garbage_is_refused_and_leaves_nothing() {
    let house = House::start().await;
    let bearer = format!("Bearer {}", house.token());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for body in [&b""[..], b"{", b"[]", b"null", b"\"x\"", b"\xff\xfe", b"{\"userName\": \"x\"}"] {
        let answer = house.send(Method::POST, "/scim/v2/Users", &headers, body.to_vec()).await.is(400);
        assert!(["invalidSyntax", "invalidValue"].contains(&answer.body["scimType"].as_str().unwrap()));
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    house.send(Method::POST, "/scim/v2/Users", &headers, deep.into_bytes()).await.is(400);
    house.send(Method::POST, "/scim/v2/Users", &headers, vec![b' '; MAX_BODY + 1]).await.is(413);
    for (name, value) in [
        ("userName", json!(null)),
        ("userName", json!("  ")),
        ("userName", json!(["a"])),
        ("active", json!("perhaps")),
        ("emails", json!("not an object, and no list")),
        ("name", json!([1])),
        ("emails", json!([{"value": "a@example.org", "primary": true}, {"value": "b@example.org", "primary": true}])),
        ("schemas", json!(["urn:ietf:params:scim:schemas:core:2.0:Group"])),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User", json!("x")),
    ] {
        let mut body = user("ada");
        body[name] = value;
        let answer = house.post("/Users", &body).await;
        if name != "emails" || answer.status != 201 {
            scim_type(answer, 400, "invalidValue");
        } else {
            house.delete(&format!("/Users/{}", answer.id())).await.is(204);
        }
    }
    for filter in
        ["userName", "userName eq", "(userName pr", "1 eq 2", "active gt true", &format!("{}id pr{}", "(".repeat(500), ")".repeat(500))]
    {
        scim_type(house.get(&format!("/Users?filter={filter}")).await, 400, "invalidFilter");
    }
    scim_type(house.get("/Users?startIndex=one").await, 400, "invalidValue");
    scim_type(house.get("/Users?attributes=a b").await, 400, "invalidPath");
    assert_eq!(house.get("/Users").await.body["totalResults"], 0);
}

#[tokio::test]
async fn a_user_name_is_taken_once() {
    let house = House::start().await;
    let ada = house.user("ada").await;
    scim_type(house.post("/Users", &user("ADA")).await, 409, "uniqueness");
    let grace = house.user("grace").await;
    scim_type(
        house.patch(&format!("/Users/{grace}"), json!([{"op": "replace", "path": "userName", "value": "Ada"}])).await,
        409,
        "uniqueness",
    );
    scim_type(house.put(&format!("/Users/{grace}"), &user("ada")).await, 409, "uniqueness");
    house.put(&format!("/Users/{ada}"), &user("ADA")).await.is(200);
    // Of many who want a name at once, one gets it.
    let wanted: Vec<Value> = (0..20).map(|_| user("linus")).collect();
    let answers = futures_util::future::join_all(wanted.iter().map(|body| house.post("/Users", body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 409).count(), 19);
}

#[tokio::test]
async fn an_older_version_is_not_written_over() {
    let house = House::start().await;
    let made = house.post("/Users", &user("ada")).await.is(201);
    let (path, tag) = (format!("/scim/v2/Users/{}", made.id()), made.header("etag").to_owned());
    let same = house.ask(Method::GET, &path, &[("if-none-match", &tag)], None).await.is(304);
    assert_eq!((same.header("etag"), &same.body), (tag.as_str(), &Value::Null));
    let change = |title: &str| json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "add", "path": "title", "value": title}]});
    let changed = house.ask(Method::PATCH, &path, &[("if-match", &tag)], Some(&change("Countess"))).await.is(200);
    let new = changed.header("etag").to_owned();
    assert_ne!(new, tag);
    let late = house.ask(Method::PATCH, &path, &[("if-match", &tag)], Some(&change("Baroness"))).await.is(412);
    assert_eq!(late.header("etag"), new);
    house.ask(Method::PUT, &path, &[("if-match", &tag)], Some(&user("ada"))).await.is(412);
    house.ask(Method::DELETE, &path, &[("if-match", &tag)], None).await.is(412);
    house.ask(Method::GET, &path, &[("if-none-match", &tag)], None).await.is(200);
    // What changes nothing makes no version.
    let again = house.ask(Method::PATCH, &path, &[("if-match", "*")], Some(&change("Countess"))).await.is(200);
    assert_eq!(again.header("etag"), new);
    house.ask(Method::DELETE, &path, &[("if-match", &format!("W/\"0\", {new}"))], None).await.is(204);
}

#[tokio::test]
async fn no_change_of_many_at_once_is_lost() {
    let house = House::start().await;
    let mut people = Vec::new();
    for n in 0..30 {
        people.push(house.user(&format!("user{n}")).await);
    }
    let group = house.group("Everybody", &[]).await;
    let path = format!("/Groups/{group}");
    let joins = people.iter().map(|id| house.patch(&path, json!([{"op": "add", "path": "members", "value": [{"value": id}]}])));
    for answer in futures_util::future::join_all(joins).await {
        answer.is(204);
    }
    assert_eq!(house.get(&path).await.body["members"].as_array().unwrap().len(), 30);
    // Members may be deleted while others come and go.
    let (gone, staying) = people.split_at(10);
    let paths: Vec<String> = gone.iter().map(|id| format!("/Users/{id}")).collect();
    let leaves = staying.iter().map(|id| house.patch(&path, json!([{"op": "remove", "path": format!("members[value eq \"{id}\"]")}])));
    let (deleted, left) =
        tokio::join!(futures_util::future::join_all(paths.iter().map(|path| house.delete(path))), futures_util::future::join_all(leaves));
    deleted.into_iter().chain(left).for_each(|answer| _ = answer.is(204));
    assert_eq!(house.get(&path).await.body.get("members"), None);
}

#[tokio::test]
async fn changes_go_where_they_are_aimed_or_nowhere() {
    let house = House::start().await;
    let mut body = user("ada");
    body["phoneNumbers"] = json!([{"type": "work", "value": "1"}, {"type": "home", "value": "2", "primary": true}]);
    body["urn:example:params:scim:schemas:2.0:Cat"] = json!({"name": "Mia", "lives": 9});
    body["colour"] = json!("blue");
    let made = house.post("/Users", &body).await.is(201);
    assert_eq!(made.body["urn:example:params:scim:schemas:2.0:Cat"], json!({"name": "Mia", "lives": 9}));
    assert_eq!(made.body.get("colour"), None, "an attribute that the schema does not have is left out");
    let path = format!("/Users/{}", made.id());
    for (operation, kind) in [
        (json!({"op": "replace", "path": "id", "value": "x"}), "mutability"),
        (json!({"op": "replace", "path": "meta.created", "value": "x"}), "mutability"),
        (json!({"op": "add", "path": "groups", "value": [{"value": "x"}]}), "mutability"),
        (json!({"op": "remove"}), "noTarget"),
        (json!({"op": "replace", "path": "emails[type eq \"home\"].value", "value": "x@example.org"}), "noTarget"),
        (json!({"op": "replace", "path": "colour", "value": "x"}), "invalidPath"),
        (json!({"op": "replace", "path": "name.colour", "value": "x"}), "invalidPath"),
        (json!({"op": "replace", "path": "emails[type eq", "value": "x"}), "invalidPath"),
        (json!({"op": "replace", "path": "title[value eq \"x\"]", "value": "x"}), "invalidPath"),
        (json!({"op": "remove", "path": "userName"}), "invalidValue"),
        (json!({"op": "replace", "path": "active", "value": "perhaps"}), "invalidValue"),
        (json!({"op": "add", "path": "title"}), "invalidValue"),
        (json!({"op": "jump", "path": "title", "value": "x"}), "invalidSyntax"),
    ] {
        // The first operation is undone with the second.
        scim_type(house.patch(&path, json!([{"op": "add", "path": "title", "value": "X"}, operation])).await, 400, kind);
    }
    assert_eq!(house.get(&path).await.body, made.body);

    let changed = house
        .patch(
            &path,
            json!([
                {"op": "add", "path": "phoneNumbers", "value": [{"type": "fax", "value": "3", "primary": true}, {"type": "work", "value": "1"}]},
                {"op": "replace", "path": "phoneNumbers[type eq \"home\"].display", "value": "At home"},
                {"op": "remove", "path": "phoneNumbers[type eq \"work\"]"},
                {"op": "add", "path": "name", "value": {"givenName": "Ada"}},
                {"op": "replace", "path": "urn:example:params:scim:schemas:2.0:Cat:lives", "value": 8},
                {"op": "replace", "path": "password", "value": "secret"},
            ]),
        )
        .await;
    // The name of an extension that ends in a version is the extension itself.
    let changed = changed.is(200);
    assert_eq!(
        changed.body["phoneNumbers"],
        json!([{"type": "home", "value": "2", "primary": false, "display": "At home"}, {"type": "fax", "value": "3", "primary": true}])
    );
    assert_eq!(changed.body["urn:example:params:scim:schemas:2.0:Cat"]["lives"], 8);
    assert!(!changed.body.to_string().contains("secret"));
}

#[tokio::test]
async fn owners_terms_and_wishes_are_written_by_our_own_extensions() {
    let house = House::start().await;
    let (ada, grace, eve) = (house.user("ada").await, house.user("grace").await, house.user("eve").await);
    let mut quiet = user("quiet");
    quiet[TIDINGS_USER] = json!({"notify": false});
    let quiet = house.post("/Users", &quiet).await.is(201);
    assert!(!house.store.object("hr", &quiet.id()).await.unwrap().unwrap().head.notify);
    let group = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group", TIDINGS_GROUP],
        "displayName": "Payroll",
        "members": [{"value": eve, "endsAt": "2026-12-31T00:00:00Z"}],
        TIDINGS_GROUP: {"public": true, "mail": "payroll@example.org", "owner": ada, "additionalOwners": [{"value": grace, "notify": false}]},
    });
    let known = house.events().await.len();
    let made = house.post("/Groups", &group).await.is(201);
    let path = format!("/Groups/{}", made.id());
    let head = house.store.object("hr", &made.id()).await.unwrap().unwrap().head;
    assert!(head.public);
    assert_eq!(head.mail.unwrap().as_str(), "payroll@example.org");
    let location = |id: &str| format!("https://tidings.example.org/scim/v2/Users/{id}");
    assert_eq!(made.body[TIDINGS_GROUP]["owner"], json!({"value": ada, "$ref": location(&ada), "notify": true}));
    assert_eq!(made.body[TIDINGS_GROUP]["additionalOwners"], json!([{"value": grace, "$ref": location(&grace), "notify": false}]));
    assert_eq!(made.body["members"][0]["endsAt"], "2026-12-31T00:00:00Z");

    // A client that knows nothing of owners leaves them alone, and a member's term stays.
    let plain = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Wages", "members": [{"value": eve}]});
    let put = house.put(&path, &plain).await.is(200);
    assert_eq!(put.body[TIDINGS_GROUP], made.body[TIDINGS_GROUP]);
    assert_eq!(put.body["members"], made.body["members"]);
    house.patch(&path, json!([{"op": "add", "path": "members", "value": [{"value": eve}]}])).await.is(204);
    assert_eq!(house.get(&path).await.body["members"], made.body["members"]);

    let longer = json!([{"op": "replace", "path": format!("members[value eq \"{eve}\"].endsAt"), "value": "2027-01-31T00:00:00Z"}]);
    house.patch(&path, longer).await.is(204);
    assert_eq!(house.get(&path).await.body["members"][0]["endsAt"], "2027-01-31T00:00:00Z");
    scim_type(
        house
            .patch(
                &path,
                json!([{"op": "replace", "path": format!("members[value eq \"{ada}\"].endsAt"), "value": "2027-01-31T00:00:00Z"}]),
            )
            .await,
        400,
        "noTarget",
    );
    house.patch(&path, json!([{"op": "remove", "path": format!("{TIDINGS_GROUP}:additionalOwners[value eq \"{grace}\"]")}])).await.is(204);
    scim_type(house.patch(&path, json!([{"op": "add", "path": "members", "value": [{"value": "nobody"}]}])).await, 400, "invalidValue");
    scim_type(
        house
            .patch(&path, json!([{"op": "add", "path": format!("{TIDINGS_GROUP}:additionalOwners"), "value": [{"value": "nobody"}]}]))
            .await,
        400,
        "invalidValue",
    );

    let events = house.events().await.split_off(known);
    let mut told: Vec<(&str, &str)> =
        events.iter().map(|(kind, data)| (kind.as_str(), data["details"]["role"].as_str().unwrap_or_default())).collect();
    // Owners come in no order.
    told[1..3].sort_unstable();
    assert_eq!(
        told,
        [
            ("object.created", ""),
            ("management.added", "additional_owner"),
            ("management.added", "owner"),
            ("membership.joined", ""),
            ("object.changed", ""),
            ("management.removed", "additional_owner"),
        ]
    );
    assert_eq!(events[3].1["details"]["ends_at"], "2026-12-31T00:00:00Z");
    assert_eq!(events[3].1["object"]["owners"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn several_directories_stand_beside_each_other_and_a_first_load_may_be_silent() {
    let house = House::with(&[("hr", false), ("partners", true)], "https://tidings.example.org/").await;
    house.get("/Users").await.is(404);
    let here = house.post("/hr/Users", &user("ada")).await.is(201);
    let there = house.post("/partners/Users", &user("ada")).await.is(201);
    assert_eq!(there.header("location"), format!("https://tidings.example.org/scim/v2/partners/Users/{}", there.id()));
    house.get(&format!("/partners/Users/{}", here.id())).await.is(404);
    assert_eq!(house.events().await.len(), 1);
    house.feed.mirror().end_refresh("partners", None).await.unwrap();
    house.post("/partners/Users", &user("grace")).await.is(201);
    assert_eq!(house.events().await.len(), 2);

    // Another configuration: one directory is left, and is found by its name as before, and without one.
    house.scim.open(vec![tidings_sources::scim::ScimDirectory { name: "partners".to_owned(), silent_at_first: true }]);
    assert_eq!(house.get("/Users").await.is(200).body["totalResults"], 2);
    assert_eq!(house.get("/partners/Users").await.is(200).body["totalResults"], 2);
    house.get(&format!("/hr/Users/{}", here.id())).await.is(404);
    house.scim.open(Vec::new());
    house.get("/Users").await.is(404);
}
