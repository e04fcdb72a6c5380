//! Routes: discovery, collections, objects.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::etcd::{Client, Error, Pair};
use crate::watch::{Ask, watch};
use crate::{RESOURCES, Resource, Tokens};

#[derive(Clone)]
struct Api {
    etcd: Client,
    tokens: Tokens,
}

pub fn router(etcd: Client, tokens: Tokens) -> Router {
    Router::new().fallback(any).with_state(Api { etcd, tokens })
}

/// What a path names.
struct Path {
    resource: Resource,
    namespace: Option<String>,
    name: Option<String>,
}

impl Path {
    fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", "v1", rest @ ..] => ("v1".to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        let of = |plural: &str| RESOURCES.into_iter().find(|r| r.plural == plural && r.group == group);
        let (namespace, plural, name) = match rest {
            ["namespaces", namespace, plural, name @ ..] => (Some((*namespace).to_owned()), *plural, name.first()),
            [plural, name @ ..] => (None, *plural, name.first()),
            [] => return None,
        };
        Some(Self { resource: of(plural)?, namespace, name: name.map(|n| (*n).to_owned()) })
    }

    fn prefix(&self) -> String {
        let namespace = self.namespace.as_ref().filter(|_| self.resource.is_namespaced).map(|n| format!("{n}/")).unwrap_or_default();
        format!("/registry/{}/{namespace}", self.resource.plural)
    }
}

/// Where a list in pages goes on.
#[derive(Serialize, Deserialize)]
struct Continue {
    revision: u64,
    start: String,
}

async fn any(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let given = headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let is_let_in = {
        let tokens = api.tokens.read().unwrap_or_else(|e| e.into_inner());
        tokens.is_empty() || given.is_some_and(|t| tokens.contains(t))
    };
    if !is_let_in {
        return status(401, "Unauthorized", "Unauthorized");
    }
    if let Some(known) = discovery(uri.path()) {
        return Json(known).into_response();
    }
    let Some(path) = Path::parse(uri.path()) else {
        return status(404, "NotFound", "the server could not find the requested resource");
    };
    let is_bare = headers.get("accept").and_then(|v| v.to_str().ok()).is_some_and(|a| a.contains("as=PartialObjectMetadata"));
    let answered = match (&path.name, method) {
        (None, Method::GET) => collection(&api.etcd, &path, &query, is_bare).await,
        (None, Method::POST) => create(&api.etcd, &path, &body).await,
        (Some(name), method) => one(&api.etcd, &path, name, method, &body).await,
        _ => Ok(status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")),
    };
    answered.unwrap_or_else(|error| match error {
        Error::Compacted => (StatusCode::GONE, Json(expired("The provided continue parameter is too old"))).into_response(),
        other => status(500, "InternalError", &other.to_string()),
    })
}

fn discovery(path: &str) -> Option<Value> {
    let resources = |group: &str| {
        let all = RESOURCES.iter().filter(|r| r.group == group);
        let one = |r: &Resource| {
            json!({ "name": r.plural, "singularName": r.kind.to_lowercase(), "namespaced": r.is_namespaced, "kind": r.kind,
                "verbs": ["create", "delete", "get", "list", "update", "watch"] })
        };
        json!({ "kind": "APIResourceList", "groupVersion": group, "resources": all.map(one).collect::<Vec<_>>() })
    };
    let group = |name: &str| {
        let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
        json!({ "name": name, "versions": [version], "preferredVersion": version })
    };
    Some(match path.trim_end_matches('/') {
        "/version" => json!({ "major": "1", "minor": "32", "gitVersion": "v1.32.0" }),
        "/api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        "/apis" => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group("apps"), group("batch")] }),
        "/api/v1" => resources("v1"),
        "/apis/apps/v1" => resources("apps/v1"),
        "/apis/batch/v1" => resources("batch/v1"),
        _ => return None,
    })
}

/// An object as it is stored, with its version.
pub fn object(pair: &Pair) -> Value {
    let mut object: Value = serde_json::from_slice(&pair.value).unwrap_or_default();
    object["metadata"]["resourceVersion"] = pair.revision.to_string().into();
    object
}

/// Whether a field of an object is what a selector says.
pub fn is_selected(object: &Value, field: Option<&(String, String)>) -> bool {
    field.is_none_or(|(name, value)| object[name.as_str()].as_str() == Some(value))
}

/// The whole object, or its metadata alone.
pub fn shape(object: Value, is_bare: bool) -> Value {
    match is_bare {
        false => object,
        true => json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] }),
    }
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code })
}

pub fn expired(message: &str) -> Value {
    failure(410, "Expired", message)
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let http = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (http, Json(failure(code, reason, message))).into_response()
}

async fn collection(etcd: &Client, path: &Path, query: &HashMap<String, String>, is_bare: bool) -> Result<Response, Error> {
    let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
    let number = |key: &str| text(key).parse::<u64>().unwrap_or(0);
    let is_on = |key: &str| matches!(text(key), "1" | "true");
    let prefix = path.prefix();
    // `type=Warning`: a field and what it must be.
    let field = text("fieldSelector").split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    if is_on("watch") {
        let seconds = query.get("timeoutSeconds").and_then(|s| s.parse().ok()).unwrap_or(300);
        let (version, bookmarks) = (number("resourceVersion"), is_on("allowWatchBookmarks"));
        return watch(etcd.clone(), Ask { resource: path.resource, prefix, version, bookmarks, seconds, is_bare, field }).await;
    }
    let token = match text("continue") {
        "" => None,
        token => match URL_SAFE_NO_PAD.decode(token).ok().and_then(|t| serde_json::from_slice::<Continue>(&t).ok()) {
            None => return Ok(status(400, "BadRequest", "continue key is not valid")),
            known => known,
        },
    };
    let from = token.as_ref().map_or(prefix.as_str(), |t| t.start.as_str());
    let page = etcd.range_from(&prefix, from, number("limit"), token.as_ref().map(|t| t.revision)).await?;
    let mut meta = json!({ "resourceVersion": page.revision.to_string() });
    if let (true, Some(last)) = (page.has_more, page.pairs.last()) {
        let next = Continue { revision: page.revision, start: format!("{}\0", last.key) };
        meta["continue"] = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&next).unwrap_or_default()).into();
        meta["remainingItemCount"] = (page.count - page.pairs.len() as u64).into();
    }
    let items: Vec<Value> = page.pairs.iter().map(object).filter(|o| is_selected(o, field.as_ref())).map(|o| shape(o, is_bare)).collect();
    let (kind, version) = match is_bare {
        true => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1"),
        false => (format!("{}List", path.resource.kind), path.resource.group),
    };
    Ok(Json(json!({ "kind": kind, "apiVersion": version, "metadata": meta, "items": items })).into_response())
}

/// What the server itself puts into an object that is new.
fn made(path: &Path, object: &mut Value) -> String {
    static MADE: AtomicU64 = AtomicU64::new(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    let uid = format!("{:08x}-{:04x}-4000-8000-{:012x}", now >> 32, (now >> 16) & 0xffff, MADE.fetch_add(1, Ordering::Relaxed));
    let at = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    object["kind"] = path.resource.kind.into();
    object["apiVersion"] = path.resource.group.into();
    let meta = &mut object["metadata"];
    if let (true, Some(namespace)) = (path.resource.is_namespaced, &path.namespace) {
        meta["namespace"] = namespace.as_str().into();
    }
    meta["uid"] = uid.into();
    meta["creationTimestamp"] = at.format(&Rfc3339).unwrap_or_default().into();
    if let Some(all) = meta.as_object_mut() {
        all.remove("resourceVersion");
    }
    meta["name"].as_str().unwrap_or_default().to_owned()
}

async fn create(etcd: &Client, path: &Path, body: &[u8]) -> Result<Response, Error> {
    let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
        return Ok(status(400, "BadRequest", "the object provided is no JSON"));
    };
    let name = made(path, &mut object);
    let revision = etcd.put(&format!("{}{name}", path.prefix()), object.to_string().as_bytes(), Some(0)).await?;
    Ok(match revision {
        None => status(409, "AlreadyExists", &format!("{} {name:?} already exists", path.resource.plural)),
        Some(revision) => {
            object["metadata"]["resourceVersion"] = revision.to_string().into();
            (StatusCode::CREATED, Json(object)).into_response()
        }
    })
}

async fn one(etcd: &Client, path: &Path, name: &str, method: Method, body: &[u8]) -> Result<Response, Error> {
    let key = format!("{}{name}", path.prefix());
    let missing = || status(404, "NotFound", &format!("{} {name:?} not found", path.resource.plural));
    match method {
        Method::GET => Ok(etcd.get(&key).await?.map_or_else(missing, |pair| Json(object(&pair)).into_response())),
        Method::DELETE => Ok(etcd.delete(&key).await?.map_or_else(missing, |pair| Json(object(&pair)).into_response())),
        Method::PUT => {
            let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
                return Ok(status(400, "BadRequest", "the object provided is no JSON"));
            };
            let at = object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok());
            if let Some(meta) = object["metadata"].as_object_mut() {
                meta.remove("resourceVersion");
            }
            Ok(match etcd.put(&key, object.to_string().as_bytes(), at).await? {
                None => status(409, "Conflict", &format!("{} {name:?}: the object has been modified", path.resource.plural)),
                Some(revision) => {
                    object["metadata"]["resourceVersion"] = revision.to_string().into();
                    Json(object).into_response()
                }
            })
        }
        _ => Ok(status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")),
    }
}
