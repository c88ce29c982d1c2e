//! Bulk requests.

use crate::house::{House, user};
use serde_json::{Value, json};

fn bulk(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations})
}

fn group(name: &str, members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
    json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name, "members": members})
}

fn statuses(answer: &Value) -> Vec<&str> {
    answer["Operations"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_is_made_together_may_refer_to_each_other_in_any_order() {
    let house = House::start().await;
    let answer = house
        .post(
            "/Bulk",
            &bulk(json!([
                {"method": "POST", "path": "/Groups", "bulkId": "g", "data": group("Payroll", &["bulkId:a", "bulkId:h"])},
                {"method": "POST", "path": "/Users", "bulkId": "a", "data": user("ada")},
                // Two groups in a circle.
                {"method": "POST", "path": "/Groups", "bulkId": "h", "data": group("Wages", &["bulkId:i"])},
                {"method": "POST", "path": "/Groups", "bulkId": "i", "data": group("Salaries", &["bulkId:h"])},
                {"method": "PATCH", "path": "/Groups/bulkId:h", "data": {
                    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                    "Operations": [{"op": "add", "path": "members", "value": [{"value": "bulkId:a"}]}],
                }},
            ])),
        )
        .await
        .is(200);
    assert_eq!(statuses(&answer.body), ["201", "201", "201", "201", "204"]);
    let location = answer.body["Operations"][0]["location"].as_str().unwrap();
    let payroll = location.strip_prefix("https://tidings.example.org/scim/v2").unwrap();
    let payroll = house.get(&format!("{payroll}?attributes=members.display")).await.is(200);
    let members: Vec<&str> = payroll.body["members"].as_array().unwrap().iter().map(|member| member["display"].as_str().unwrap()).collect();
    assert_eq!(members.len(), 2);
    assert!(members.contains(&"ada") && members.contains(&"Wages"));
    assert_eq!(answer.body["Operations"][1]["bulkId"], "a");
    assert_eq!(answer.body["Operations"][4]["version"].as_str().unwrap().get(..3), Some("W/\""));
    let wages = house.get("/Groups?filter=displayName eq \"Wages\"").await.is(200);
    assert_eq!(wages.body["Resources"][0]["members"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_fails_is_told_and_what_leans_on_it_fails_too() {
    let house = House::start().await;
    let ada = house.user("ada").await;
    let operations = json!([
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": user("ada")},
        {"method": "POST", "path": "/Groups", "bulkId": "g", "data": group("Payroll", &["bulkId:a"])},
        {"method": "POST", "path": "/Groups", "bulkId": "h", "data": group("Wages", &["bulkId:none"])},
        {"method": "POST", "path": "/Cars", "bulkId": "c", "data": {}},
        {"method": "GET", "path": "/Users/x"},
        {"method": "DELETE", "path": format!("/Users/{ada}"), "version": "W/\"99\""},
        {"method": "PUT", "path": format!("/Users/{ada}"), "data": user("lovelace")},
    ]);
    let answer = house.post("/Bulk", &bulk(operations.clone())).await.is(200);
    assert_eq!(statuses(&answer.body), ["409", "409", "400", "400", "400", "412", "200"]);
    assert_eq!(answer.body["Operations"][0]["response"]["scimType"], "uniqueness");
    assert_eq!(house.get("/Groups").await.body["totalResults"], 0);

    let mut request = bulk(operations);
    request["failOnErrors"] = json!(2);
    let answer = house.post("/Bulk", &request).await.is(200);
    assert!(answer.body["Operations"].as_array().unwrap().len() < 7);
}

#[tokio::test]
async fn a_circle_that_breaks_leaves_no_member_who_is_not_there() {
    let house = House::start().await;
    let mut broken = group("Salaries", &["bulkId:h"]);
    broken["displayName"] = json!("");
    let answer = house
        .post(
            "/Bulk",
            &bulk(json!([
                {"method": "POST", "path": "/Groups", "bulkId": "h", "data": group("Wages", &["bulkId:i"])},
                {"method": "POST", "path": "/Groups", "bulkId": "i", "data": broken},
            ])),
        )
        .await
        .is(200);
    assert_eq!(statuses(&answer.body), ["201", "400"]);
    let wages = house.get("/Groups?filter=displayName eq \"Wages\"").await.is(200);
    assert_eq!(wages.body["Resources"][0].get("members"), None);
}

#[tokio::test]
async fn a_bulk_request_has_its_limits() {
    let house = House::start().await;
    let many: Vec<Value> = (0..1001).map(|n| json!({"method": "DELETE", "path": format!("/Users/{n}")})).collect();
    house.post("/Bulk", &bulk(json!(many))).await.is(413);
    house.post("/Bulk", &json!({"Operations": []})).await.is(400);
    house.get("/Bulk").await.is(405);
    let twice = json!([
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": user("ada")},
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": user("grace")},
    ]);
    house.post("/Bulk", &bulk(twice)).await.is(400);
}
