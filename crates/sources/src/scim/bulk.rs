//! Bulk requests (RFC 7644 §3.7): many operations in one body, each a transaction of its own.
//!
//! Ids of what is to be made are given away beforehand, so that resources may refer to each other in any order, also in a circle. An operation waits for those it refers to, as
//! far as there is no circle; if one of them fails, it fails as well.

use super::{
    desk::{Desk, Reply, Request},
    discovery::MOST_OPERATIONS,
    error::ScimError,
    resource::check_schema,
    schema::Kind,
};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const REQUEST: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
const RESPONSE: &str = "urn:ietf:params:scim:api:messages:2.0:BulkResponse";
const MARK: &str = "bulkId:";

/// One operation as it was read.
struct Operation {
    method: Method,
    bulk_id: Option<String>,
    kind: Kind,
    /// The path's id; a reference to another operation until it is resolved.
    id: Option<String>,
    version: Option<String>,
    data: Value,
    /// The bulk ids it refers to.
    refers_to: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// How it stands with the things that operations refer to.
#[derive(Default)]
struct Ledger {
    /// Ids by bulk id, given away beforehand.
    ids: BTreeMap<String, String>,
    /// Bulk ids of what is made.
    made: BTreeSet<String>,
    /// Bulk ids of what could not be made.
    failed: BTreeSet<String>,
    /// Who was made a member before being there: group and member.
    trusted: Vec<(String, String)>,
}

impl Desk {
    /// Does a bulk request.
    ///
    /// # Errors
    /// `invalidSyntax` if the whole cannot be read, 413 for too many operations. What goes wrong with one operation stands in the reply.
    pub(super) async fn bulk(&self, body: Value, request: &Request) -> Result<Reply, ScimError> {
        check_schema(&body, REQUEST)?;
        let tolerated = match body.get("failOnErrors") {
            None | Some(Value::Null) => None,
            Some(most) => {
                Some(most.as_u64().filter(|most| *most > 0).ok_or_else(|| ScimError::value("`failOnErrors` is a number from 1 on"))?)
            }
        };
        let Some(Value::Array(list)) = body.get("Operations") else { return Err(ScimError::syntax("`Operations` must be a list")) };
        if list.len() > MOST_OPERATIONS {
            return Err(ScimError::plain(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {MOST_OPERATIONS} operations are taken at once")));
        }
        let mut ledger = Ledger::default();
        let operations: Vec<Result<Operation, (Value, ScimError)>> = list.iter().map(read).collect();
        for operation in operations.iter().flatten().filter(|operation| operation.method == Method::Post) {
            if let Some(bulk_id) = &operation.bulk_id
                && ledger.ids.insert(bulk_id.clone(), self.feed.mint().to_string()).is_some()
            {
                return Err(ScimError::value("each `bulkId` is used once"));
            }
        }
        let results = self.in_turn(operations, &mut ledger, tolerated, request).await?;
        Ok(Reply::ok(json!({"schemas": [RESPONSE], "Operations": results})))
    }

    /// Does the operations, each when those it refers to are done; the results come in the order of the request.
    async fn in_turn(
        &self,
        operations: Vec<Result<Operation, (Value, ScimError)>>,
        ledger: &mut Ledger,
        tolerated: Option<u64>,
        request: &Request,
    ) -> Result<Vec<Value>, ScimError> {
        let mut results: Vec<Option<Value>> = operations.iter().map(|_| None).collect();
        let mut waiting: Vec<usize> = (0..operations.len()).collect();
        let mut errors = 0;
        while !waiting.is_empty() {
            let ready = |&index: &usize| match &operations[index] {
                Ok(operation) => operation
                    .refers_to
                    .iter()
                    .all(|id| ledger.made.contains(id) || ledger.failed.contains(id) || !ledger.ids.contains_key(id)),
                Err(_) => true,
            };
            // Nobody ready: a circle, which the first one opens.
            let place = waiting.iter().position(ready).unwrap_or(0);
            let index = waiting.remove(place);
            let (result, failed) = match &operations[index] {
                Err((shown, error)) => (told(shown.clone(), &Err(clone_of(error))), true),
                Ok(operation) => {
                    let outcome = self.do_one(operation, ledger, request).await;
                    if let Some(bulk_id) = operation.bulk_id.as_ref().filter(|_| operation.method == Method::Post) {
                        if outcome.is_ok() { &mut ledger.made } else { &mut ledger.failed }.insert(bulk_id.clone());
                    }
                    (told(shown(operation, &self.base, ledger), &outcome), outcome.is_err())
                }
            };
            results[index] = Some(result);
            errors += u64::from(failed);
            if tolerated.is_some_and(|tolerated| errors >= tolerated) {
                break;
            }
        }
        self.take_back(ledger, request).await?;
        Ok(results.into_iter().flatten().collect())
    }

    async fn do_one(&self, operation: &Operation, ledger: &mut Ledger, request: &Request) -> Result<Reply, ScimError> {
        let mut data = operation.data.clone();
        resolve(&mut data, ledger)?;
        let id = match &operation.id {
            Some(id) => Some(resolved(id, ledger)?),
            None => None,
        };
        let request = Request { if_match: operation.version.clone(), ..request.clone() };
        let pending = |bulk_id: &&String| !ledger.made.contains(*bulk_id) && ledger.ids.contains_key(*bulk_id);
        let awaited: BTreeSet<String> = operation.refers_to.iter().filter(pending).map(|bulk_id| ledger.ids[bulk_id].clone()).collect();
        let kind = operation.kind;
        let reply = match (operation.method, id) {
            (Method::Post, _) => {
                let id = operation.bulk_id.as_ref().and_then(|bulk_id| ledger.ids.get(bulk_id)).cloned();
                self.create(kind, data, &request, id, &awaited).await?
            }
            (Method::Put, Some(id)) => self.replace(kind, &id, data, &request, &awaited).await?,
            (Method::Patch, Some(id)) => self.patch(kind, &id, data, &request, &awaited).await?,
            (Method::Delete, Some(id)) => self.delete(kind, &id, &request).await?,
            (_, None) => return Err(ScimError::syntax("`path` must name a resource: /Users/id")),
        };
        if kind == Kind::Group
            && let Some(group) = group_of(operation, ledger)
        {
            ledger.trusted.extend(awaited.into_iter().map(|member| (group.clone(), member)));
        }
        Ok(reply)
    }

    /// Members that were to be made and were not are members no longer.
    async fn take_back(&self, ledger: &Ledger, request: &Request) -> Result<(), ScimError> {
        for (bulk_id, id) in ledger.ids.iter().filter(|(bulk_id, _)| !ledger.made.contains(*bulk_id)) {
            for (group, _) in ledger.trusted.iter().filter(|(_, member)| member == id) {
                tracing::debug!(bulk.id = %bulk_id, "a member that could not be made is taken out of its group again");
                let change = json!({
                    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                    "Operations": [{"op": "remove", "path": format!("members[value eq \"{id}\"]")}],
                });
                self.patch(Kind::Group, group, change, &Request { if_match: None, ..request.clone() }, &BTreeSet::new()).await?;
            }
        }
        Ok(())
    }
}

fn group_of(operation: &Operation, ledger: &Ledger) -> Option<String> {
    match operation.method {
        Method::Post => operation.bulk_id.as_ref().and_then(|bulk_id| ledger.ids.get(bulk_id)).cloned(),
        _ => operation.id.as_ref().and_then(|id| resolved(id, ledger).ok()),
    }
}

fn read(value: &Value) -> Result<Operation, (Value, ScimError)> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let method = text("method").unwrap_or_default().to_ascii_uppercase();
    let shown = json!({"method": method, "bulkId": text("bulkId")});
    let wrong = |why: &str| (shown.clone(), ScimError::syntax(why));
    let method = [Method::Post, Method::Put, Method::Patch, Method::Delete]
        .into_iter()
        .find(|known| known.as_str() == method)
        .ok_or_else(|| wrong("`method` is POST, PUT, PATCH or DELETE"))?;
    let path = text("path").unwrap_or_default();
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let endpoint = parts.next().unwrap_or_default();
    let kind = Kind::ALL.into_iter().find(|kind| kind.endpoint() == endpoint).ok_or_else(|| wrong("`path` leads to /Users or /Groups"))?;
    let id = parts.next().filter(|id| !id.is_empty()).map(str::to_owned);
    if (method == Method::Post) == id.is_some() {
        return Err(wrong("`path` is /Users or /Groups for a POST, and names a resource for all others"));
    }
    let bulk_id = text("bulkId").map(str::to_owned);
    if method == Method::Post && bulk_id.is_none() {
        return Err(wrong("a POST needs a `bulkId`"));
    }
    let data = value.get("data").cloned().unwrap_or_default();
    let mut refers_to = BTreeSet::new();
    references(&data, &mut refers_to);
    if let Some(reference) = id.as_deref().and_then(|id| id.strip_prefix(MARK)) {
        refers_to.insert(reference.to_owned());
    }
    Ok(Operation { method, bulk_id, kind, id, version: text("version").map(str::to_owned), data, refers_to })
}

/// All `bulkId:…` in a value; also where one stands at the end of a `$ref`.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => found.extend(text.strip_prefix(MARK).map(str::to_owned)),
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Object(map) => map.values().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn resolve(value: &mut Value, ledger: &Ledger) -> Result<(), ScimError> {
    match value {
        Value::String(text) if text.starts_with(MARK) => {
            *text = resolved(text, ledger)?;
            Ok(())
        }
        Value::Array(values) => values.iter_mut().try_for_each(|value| resolve(value, ledger)),
        Value::Object(map) => map.values_mut().try_for_each(|value| resolve(value, ledger)),
        _ => Ok(()),
    }
}

/// The id that a reference stands for; another text as it is.
fn resolved(text: &str, ledger: &Ledger) -> Result<String, ScimError> {
    let Some(bulk_id) = text.strip_prefix(MARK) else { return Ok(text.to_owned()) };
    if ledger.failed.contains(bulk_id) {
        return Err(ScimError::plain(StatusCode::CONFLICT, format!("`{text}` could not be made")));
    }
    ledger.ids.get(bulk_id).cloned().ok_or_else(|| ScimError::value(format!("`{text}` is the bulkId of no operation")))
}

/// The parts of a result that say which operation it is of.
fn shown(operation: &Operation, base: &str, ledger: &Ledger) -> Value {
    let mut shown = Map::new();
    shown.insert("method".to_owned(), json!(operation.method.as_str()));
    if let Some(bulk_id) = &operation.bulk_id {
        shown.insert("bulkId".to_owned(), json!(bulk_id));
    }
    if let Some(id) = operation.id.as_ref().and_then(|id| resolved(id, ledger).ok()) {
        shown.insert("location".to_owned(), json!(super::view::location(base, operation.kind, &id)));
    }
    Value::Object(shown)
}

fn told(mut shown: Value, outcome: &Result<Reply, ScimError>) -> Value {
    match outcome {
        Ok(reply) => {
            shown["status"] = json!(reply.status.as_u16().to_string());
            if let Some(location) = &reply.location {
                shown["location"] = json!(location);
            }
            if let Some(version) = &reply.version {
                shown["version"] = json!(version);
            }
        }
        Err(error) => {
            shown["status"] = json!(error.status().as_u16().to_string());
            shown["response"] = error.to_json();
        }
    }
    shown
}

fn clone_of(error: &ScimError) -> ScimError {
    ScimError::syntax(error.detail())
}
