//! Examples of RFC 7644 and of clients, and properties.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn ada() -> Map<String, Value> {
    let ada = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "id": "0aBc",
        "userName": "Ada.King@example.org",
        "name": {"familyName": "King", "givenName": "Ada"},
        "active": true,
        "title": "",
        "loginCount": 12,
        "emails": [
            {"type": "work", "value": "ada@example.org", "primary": true},
            {"type": "home", "value": "ada@example.net"},
        ],
        "schoolYears": ["1827", "1828"],
        "meta": {"resourceType": "User", "lastModified": "2026-11-22T05:00:00Z"},
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Analysis", "manager": {"value": "u7"}},
    });
    let Value::Object(ada) = ada else { unreachable!() };
    ada
}

fn holds(filter: &str) -> bool {
    Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}")).matches(&ada())
}

#[test]
fn what_holds() {
    for filter in [
        r#"userName eq "ada.king@EXAMPLE.org""#,
        r#"USERNAME Eq "ada.king@example.org""#,
        r#"name.familyName co "in""#,
        r#"userName sw "ADA""#,
        r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ada""#,
        r#"URN:ietf:params:scim:schemas:core:2.0:user:name.givenname eq "ada""#,
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "analysis""#,
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq "u7""#,
        r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "u7""#,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr",
        r#"schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User""#,
        r#"emails[type eq "work" and value co "@example.org"]"#,
        r#"emails[type eq "home"].value ew ".net""#,
        r#"emails.type eq "home""#,
        r#"emails co "example.net""#,
        r#"schoolYears eq "1828""#,
        r#"schoolYears[value eq "1828"]"#,
        "emails pr and userName pr",
        "active eq true",
        r#"active eq "True""#,
        "not (active eq false)",
        "not(title pr)",
        "title eq \"\"",
        "nickName eq null",
        "nickName ne \"x\"",
        "nickName.part ne \"x\"",
        "loginCount gt 9 and loginCount le 12.0",
        r#"meta.lastModified gt "2011-05-13T04:42:34Z""#,
        r#"meta.lastModified eq "2026-11-22T06:00:00.000+01:00""#,
        r#"userType eq "x" or title pr or id eq "0aBc""#,
        r#"userType eq "Employee" or (emails co "example.org" and active eq true)"#,
        r#"emails ne "ada@example.org""#,
    ] {
        assert!(holds(filter), "{filter}");
    }
}

#[test]
fn what_does_not_hold() {
    for filter in [
        r#"id eq "0ABC""#,
        "title pr",
        "nickName pr",
        r#"nickName co "a""#,
        "nickName lt 5",
        r#"loginCount gt "9""#,
        r#"emails[type eq "work" and value ew ".net"]"#,
        r#"emails[type eq "work"].value ew ".net""#,
        r#"not (emails co "example.org")"#,
        r#"urn:example:unknown:department eq "Analysis""#,
        "name eq \"Ada\"",
        "active eq false",
        // `and` binds tighter than `or`.
        "active eq false and userName pr or title pr",
    ] {
        assert!(!holds(filter), "{filter}");
    }
}

#[test]
fn what_is_no_filter_is_told_with_its_place() {
    let said = |text: &str| Filter::parse(text).unwrap_err().to_string();
    assert_eq!(said(""), "at character 1: expected the name of an attribute, found the end");
    assert_eq!(said("userName"), "at character 9: expected one of eq, ne, co, sw, ew, gt, ge, lt, le, pr, found the end");
    assert_eq!(said("userName = \"x\""), "at character 10: expected one of eq, ne, co, sw, ew, gt, ge, lt, le, pr, found `=`");
    assert_eq!(said("userName eq x"), "at character 13: expected a value: \"text\", a number, true, false or null, found `x`");
    assert_eq!(
        said("üser pr"),
        "at character 1: expected the name of an attribute: letters, digits, `-` and `_`, a sub-attribute behind one dot, found `üser`"
    );
    assert_eq!(said("title co \"ü\" und id pr"), "at character 14: expected `and`, `or` or the end, found `und`");
    assert_eq!(said("(id pr"), "at character 7: expected `and`, `or` or `)`, found the end");
    assert_eq!(said("emails[type eq \"work\""), "at character 22: expected `and`, `or` or `]`, found the end");
    assert_eq!(said("id eq \"x"), "at character 7: the text that begins here does not end");
    assert_eq!(said("active gt true"), "at character 11: `gt` asks for an order, which this value does not have");
    assert_eq!(said("loginCount co 5"), "at character 15: `co` looks into a text");
    assert_eq!(
        said("a.b.c pr"),
        "at character 1: expected the name of an attribute: letters, digits, `-` and `_`, a sub-attribute behind one dot, found `a.b.c`"
    );
    assert!(said(&format!("{}id pr{}", "(".repeat(51), ")".repeat(51))).ends_with("nested more than 50 deep"));
    assert!(Filter::parse(&format!("{}id pr{}", "(".repeat(50), ")".repeat(50))).is_ok());
    assert!(said(&format!("id eq \"{}\"", "x".repeat(40_000))).ends_with("longer than 32768 bytes"));
}

#[test]
fn paths_of_changes() {
    let path = Path::parse(r#"emails[type eq "work"].value"#).unwrap();
    assert_eq!((path.attribute.name.as_str(), path.sub.as_deref()), ("emails", Some("value")));
    assert!(path.select.is_some());
    let path = Path::parse("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value").unwrap();
    assert_eq!(path.attribute.schema.as_deref(), Some("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"));
    assert_eq!((path.attribute.name.as_str(), path.attribute.sub.as_deref()), ("manager", Some("value")));
    assert_eq!(Path::parse("members[value eq \"x\"]").unwrap().sub, None);
    for wrong in ["", "emails[", "emails[]", "emails[type eq \"work\"].", "name..x", "a b", "emails eq \"x\"", "urn:x:"] {
        assert!(Path::parse(wrong).is_err(), "{wrong}");
    }
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-zA-Z0-9_-]{0,8}"
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let schema = prop::option::of("urn:[a-z]{1,6}:[a-z]{1,6}:2\\.0:[A-Z][a-z]{1,5}");
    (schema, name(), prop::option::of(name())).prop_map(|(schema, name, sub)| Attribute { schema, name, sub })
}

fn compared() -> impl Strategy<Value = Test> {
    prop_oneof![
        Just(Test::Present),
        (prop::sample::select(&Operator::ALL[..]), any::<String>()).prop_map(|(operator, text)| Test::Compare(operator, json!(text))),
        (prop::sample::select(&[Operator::Equal, Operator::Less][..]), any::<i64>())
            .prop_map(|(operator, n)| Test::Compare(operator, json!(n))),
        prop::sample::select(vec![json!(true), json!(false), json!(null), json!(-2.5)])
            .prop_map(|value| Test::Compare(Operator::NotEqual, value)),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let leaf = (attribute(), compared()).prop_map(|(attribute, test)| Filter::Attribute(attribute, test));
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::Or),
            inner.clone().prop_map(|term| Filter::Not(Box::new(term))),
            (attribute(), inner, prop::option::of((name(), compared()))).prop_map(|(attribute, inner, sub)| Filter::Element(
                attribute,
                Box::new(inner),
                sub
            )),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same(filter in filter()) {
        let printed = filter.to_string();
        prop_assert_eq!(Filter::parse(&printed), Ok(filter), "{}", printed);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        let _ = Filter::parse(&text);
        let _ = Path::parse(&text);
    }

    #[test]
    fn no_text_of_its_own_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(&[
        "and", "or", "not", "(", ")", "[", "]", "].value", "userName", "emails", "name.familyName", "urn:a:b:c", "eq", "pr", "gt", "\"", "\"x\"", "\\", "1", "-", "true", "null", ".", ":", "ü", " ",
    ][..]), 0..20), glue in prop::sample::select(&["", " "][..])) {
        let text = words.join(glue);
        if let Ok(filter) = Filter::parse(&text) {
            let _ = filter.matches(&ada());
            prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
        }
    }

    #[test]
    fn negation_turns_every_answer(filter in filter()) {
        let object = ada();
        prop_assert_ne!(Filter::Not(Box::new(filter.clone())).matches(&object), filter.matches(&object));
    }
}
