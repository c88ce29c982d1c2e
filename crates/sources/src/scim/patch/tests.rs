//! Whatever a PATCH says, it is refused, or leaves a resource as its schema wants it.

use super::*;
use crate::scim::{entry, resource};
use proptest::prelude::*;
use serde_json::json;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn ada() -> Map<String, Value> {
    let body = json!({
        "schemas": [Kind::User.core().id],
        "userName": "ada",
        "active": true,
        "name": {"givenName": "Ada", "familyName": "King"},
        "emails": [{"type": "work", "value": "ada@example.org", "primary": true}, {"type": "home", "value": "ada@example.net"}],
        ENTERPRISE: {"department": "Analysis", "manager": {"value": "u7"}},
        "urn:example:2.0:Cat": {"name": "Mia"},
    });
    resource::read(Kind::User, body).unwrap()
}

/// As a request would bring it.
fn body(operations: &Value) -> Value {
    json!({"schemas": [PATCH_OP], "Operations": operations})
}

fn patched(operations: &Value) -> Result<Map<String, Value>, ScimError> {
    let mut resource = ada();
    for operation in read(Kind::User, body(operations))? {
        operation.apply(&mut resource)?;
    }
    Ok(resource)
}

#[test]
fn what_is_empty_in_an_extension_that_we_do_not_know_is_not_there() {
    for empty in [json!([]), json!({}), Value::Null] {
        let whole = patched(&json!([{"op": "add", "path": "urn:example:2.0:Cat", "value": empty}])).unwrap();
        assert_eq!(whole.get("urn:example:2.0:Cat"), None, "{empty}");
        let one = patched(&json!([{"op": "replace", "path": "urn:example:2.0:Cat:name", "value": empty}])).unwrap();
        assert_eq!(one.get("urn:example:2.0:Cat"), None, "{empty}");
    }
}

#[test]
fn a_reference_goes_with_the_value_it_belonged_to() {
    let with = |value: Value| {
        let resource = patched(&json!([{"op": "replace", "path": format!("{ENTERPRISE}:manager"), "value": value}])).unwrap();
        entry::links(Kind::User, &resource).first().map(|link| link.to.clone())
    };
    assert_eq!(with(json!({"value": "u8", "$ref": "https://x/Users/u8"})).as_deref(), Some("u8"));
    assert_eq!(with(json!({"$ref": "https://x/Users/u9"})).as_deref(), Some("u9"));
    assert_eq!(with(json!("u10")).as_deref(), Some("u10"));
    assert_eq!(with(json!(null)), None);
    assert_eq!(with(json!("")), None);
}

#[test]
fn an_extension_is_changed_whole() {
    let whole = |verb: &str, value: Value| patched(&json!([{"op": verb, "path": ENTERPRISE, "value": value}])).unwrap()[ENTERPRISE].clone();
    assert_eq!(
        whole("add", json!({"DIVISION": "North"})),
        json!({"department": "Analysis", "manager": {"value": "u7"}, "division": "North"})
    );
    assert!(!patched(&json!([{"op": "remove", "path": ENTERPRISE}])).unwrap().contains_key(ENTERPRISE));
    assert!(!patched(&json!([{"op": "remove", "path": "urn:example:2.0:Cat"}])).unwrap().contains_key("urn:example:2.0:Cat"));
}

fn paths() -> impl Strategy<Value = Option<String>> {
    const KNOWN: [&str; 29] = [
        "userName",
        "active",
        "name",
        "name.givenName",
        "NAME.formatted",
        "emails",
        "emails.type",
        "emails[type eq \"work\"]",
        "emails[type eq \"new\"].value",
        "emails[primary eq true].primary",
        "emails[value co \"@\"]",
        "roles[value eq \"x\" and type eq \"y\"].display",
        "photos",
        "groups",
        "id",
        "schemas",
        "password",
        "urn:ietf:params:scim:schemas:core:2.0:User:title",
        "urn:example:2.0:Cat",
        "urn:example:2.0:Cat:name",
        "urn:example:Dog:name",
        "addresses[",
        "",
        "a b",
        "x509Certificates",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
        "urn:ietf:params:scim:schemas:extension:tidings:2.0:User:notify",
    ];
    prop::option::of(prop_oneof![prop::sample::select(&KNOWN[..]).prop_map(str::to_owned), "\\PC{0,12}"])
}

fn values() -> impl Strategy<Value = Value> {
    let simple = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(|n| json!(n)),
        "\\PC{0,8}".prop_map(Value::String),
        Just(json!("True")),
        Just(json!("work")),
    ];
    let keys = prop::sample::select(
        &["value", "type", "primary", "display", "$ref", "givenName", "active", "emails", "title", "userName", "manager", "odd"][..],
    );
    simple.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec((keys.clone(), inner), 0..4)
                .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_left_is_as_the_schema_wants_it(
        operations in prop::collection::vec((prop::sample::select(&["add", "Replace", "remove", "jump"][..]), paths(), values()), 1..5),
    ) {
        let operations: Vec<Value> = operations.into_iter().map(|(op, path, value)| json!({"op": op, "path": path, "value": value})).collect();
        if let Ok(resource) = patched(&json!(operations)) {
            let mut body = resource.clone();
            body.insert("schemas".to_owned(), json!([Kind::User.core().id]));
            if resource::check_required(Kind::User, &resource).is_ok() {
                let read_again = resource::read(Kind::User, Value::Object(body)).unwrap();
                prop_assert_eq!(read_again, resource.clone());
            }
            // Whatever it holds now, it becomes an entry.
            let head = entry::head(Kind::User, "u1", &resource);
            prop_assert!(head.name.is_none_or(|name| !name.chars().any(char::is_control)));
            let _ = (entry::links(Kind::User, &resource), entry::document(&resource));
        }
    }
}
