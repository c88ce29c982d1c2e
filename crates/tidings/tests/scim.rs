//! Identity providers write by SCIM into the real binary: an independent judge finds nothing, and a new member gets a letter.

mod house;

use house::House;
use serde_json::{Value, json};
use tidings_testkit::{http, scim_judge::judge_scim};

const DIRECTORY: &str = "[[directory]]\nname = \"idp\"\nsource = \"scim\"\n[directory.notify]\nadded_member = true\n";

fn send(house: &House, token: &str, method: &str, path: &str, body: &Value) -> Value {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/scim+json")];
    let reply =
        http::request(method, &format!("{}/scim/v2{path}", house.url), &headers, body.to_string().as_bytes()).expect("the server answers");
    assert!(reply.status < 300, "{} {}", reply.status, reply.text());
    serde_json::from_str(&reply.text()).unwrap_or_default()
}

#[test]
fn whoever_joins_a_group_is_told_by_a_letter() {
    let house = House::start(|config| config.more(DIRECTORY));
    let token = house.create_token("scim:write");
    let user = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "ada",
        "displayName": "Ada King",
        "emails": [{"value": "ada@example.org", "type": "work"}],
    });
    let ada = send(&house, &token, "POST", "/Users", &user)["id"].as_str().expect("an id").to_owned();
    let group = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Payroll"});
    let payroll = send(&house, &token, "POST", "/Groups", &group)["id"].as_str().expect("an id").to_owned();
    let change = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "Add", "path": "members", "value": [{"value": ada}]}],
    });
    send(&house, &token, "PATCH", &format!("/Groups/{payroll}"), &change);
    let item = house.until_state("ada@example.org", "sent");
    assert_eq!((&item["kind"], &item["rule"]), (&json!("membership.joined"), &json!("idp:added_member")));
    let shown = house.json(&["directory", "list"]);
    assert_eq!((&shown[0]["name"], &shown[0]["objects"]), (&json!("idp"), &json!(2)));
}

#[test]
fn the_judge_finds_nothing() {
    let house = House::start(|config| config.more(DIRECTORY));
    let token = house.create_token("scim:write");
    let checks = judge_scim(&format!("{}/scim/v2", house.url), &token);
    let failed: Vec<_> = checks.iter().filter(|check| !check.passed()).collect();
    assert!(failed.is_empty() && checks.len() > 100, "{} checks, of which failed: {failed:#?}", checks.len());
}
