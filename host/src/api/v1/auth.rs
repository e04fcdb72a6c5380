//! `/auth`: from a password to a token, a ticket or an API key.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::params::Id;
use super::super::{App, Problem};
use crate::auth::{AuthError, Principal, Scope, TICKET_LIFE, TOKEN_LIFE};

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

fn issued(app: &App, principal: &Principal) -> Result<Value, Problem> {
    let token = app.auth.token(principal)?;
    Ok(json!({ "access_token": token, "token_type": "bearer", "expires_in": TOKEN_LIFE.as_secs() }))
}

pub(in crate::api) async fn login(
    State(app): State<App>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let shape = |e: serde_json::Error| Problem::parameter("body", &e.to_string(), r#"{"username": "…", "password": "…"}"#);
    let login: Login = serde_json::from_slice(&body).map_err(shape)?;
    let peer = peer.map_or_else(String::new, |p| p.0.0.ip().to_string());
    let principal = app.auth.password(&login.username, &login.password, &peer).await?;
    let mut answer = issued(&app, &principal)?;
    answer["username"] = json!(&*principal.name);
    Ok(Json(answer))
}

pub(in crate::api) async fn token(State(app): State<App>, principal: Option<Extension<Principal>>) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    Ok(Json(issued(&app, &principal)?))
}

pub(in crate::api) async fn verify(principal: Option<Extension<Principal>>) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    Ok(Json(json!({ "valid": true, "username": &*principal.name, "scopes": principal.scopes, "message": "the credentials are valid" })))
}

pub(in crate::api) async fn ticket(State(app): State<App>, principal: Option<Extension<Principal>>) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    Ok(Json(json!({ "ticket": app.auth.ticket(&principal), "expires_in": TICKET_LIFE.as_secs() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    name: String,
    scopes: Vec<Scope>,
    expires_in_days: Option<u32>,
}

pub(in crate::api) async fn keys(State(app): State<App>) -> Json<Value> {
    Json(json!({ "data": app.auth.keys() }))
}

/// Writing the file of keys waits for the disk, and changing them is rare: on a thread of its own.
async fn change<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal())?;
    done.map_err(|error| Problem::parameter("body", "", format!("{error:#}")))
}

pub(in crate::api) async fn create_key(
    State(app): State<App>,
    principal: Option<Extension<Principal>>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let Extension(principal) = principal.ok_or(AuthError::Missing)?;
    let form = r#"{"name": "…", "scopes": ["read", "export", "admin"], "expires_in_days": 90}"#;
    let asked: KeyRequest = serde_json::from_slice(&body).map_err(|e| Problem::parameter("body", &e.to_string(), form))?;
    if let Some(beyond) = asked.scopes.iter().find(|s| !principal.scopes.contains(s)) {
        return Err(AuthError::Scope(*beyond).into());
    }
    let life = asked.expires_in_days.map(|d| std::time::Duration::from_secs(u64::from(d) * 86_400));
    let scopes = asked.scopes.clone();
    let (id, key) = change(move || app.auth.create_key(&asked.name, &asked.scopes, life)).await?;
    Ok(Json(json!({ "id": id, "api_key": key, "scopes": scopes })))
}

pub(in crate::api) async fn revoke_key(State(app): State<App>, Id(id): Id) -> Result<Json<Value>, Problem> {
    let asked = id.clone();
    match change(move || app.auth.revoke_key(&asked)).await? {
        true => Ok(Json(json!({ "id": id, "message": "the key is revoked" }))),
        false => Err(Problem::not_found("API key", &id)),
    }
}
