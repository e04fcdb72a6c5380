//! `/auth`: from a password to a token.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{App, Problem};
use crate::auth::{AuthError, Principal, TOKEN_LIFE};

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
    Ok(Json(json!({ "valid": true, "username": &*principal.name, "message": "the credentials are valid" })))
}
