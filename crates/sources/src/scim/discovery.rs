//! What the service can do, for clients that ask (RFC 7644 §4).

use super::{query::MOST_COUNT, schema};
use serde_json::{Value, json};

/// Operations of a bulk request at most.
pub(super) const MOST_OPERATIONS: usize = 1000;

/// `/ServiceProviderConfig` (RFC 7643 §5).
pub(super) fn service_provider_config(base: &str, max_body: usize) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": true},
        "bulk": {"supported": true, "maxOperations": MOST_OPERATIONS, "maxPayloadSize": max_body},
        "filter": {"supported": true, "maxResults": MOST_COUNT},
        "changePassword": {"supported": false},
        "sort": {"supported": true},
        "etag": {"supported": true},
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "A token with the scope scim:write, made by `tidings token create --scope scim:write`.",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": {"resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig")},
    })
}

/// All resource types.
pub(super) fn resource_types(base: &str) -> Vec<Value> {
    schema::Kind::ALL.into_iter().map(|kind| kind.to_json(base)).collect()
}

/// All schemas.
pub(super) fn schemas(base: &str) -> Vec<Value> {
    schema::ALL.into_iter().map(|schema| schema.to_json(base)).collect()
}
