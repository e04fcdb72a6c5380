//! What every request passes: request id, counting, panics caught, and who asks.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rand::Rng;

use super::params::Params;
use super::{App, Problem, routes};
use crate::auth::{AuthError, Principal, Proof, Scope};

const REQUEST_ID: &str = "x-request-id";
/// Gives each request an id and counts it by its route's template, never by its path.
pub(super) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let given = request.headers().get(REQUEST_ID).filter(|v| v.len() <= 128 && v.as_bytes().iter().all(|b| b.is_ascii_graphic()));
    let id = given.cloned().unwrap_or_else(|| {
        let id = format!("{:016x}", rand::rng().random::<u64>());
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    });
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |p| p.as_str().to_owned());
    // A task of its own, so that a panic ends in an answer.
    let mut response = match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, request_id = ?id, "a handler failed");
            Problem::internal().into_response()
        }
    };
    response.headers_mut().insert(REQUEST_ID, id);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    app.counters.request(&route, response.status().as_u16(), began.elapsed());
    response
}

/// Marks requests that came over the host's own socket; no header can.
#[derive(Clone, Copy)]
pub(super) struct Local;

/// Lets in who may, and puts them into the request.
pub(super) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let route = routes::find(request.method().as_str(), path);
    // Also where a handler takes none: what has no effect is not passed by in silence.
    let unknown = route.and_then(|r| Params::parse(request.uri().query(), r.query).err());
    if routes::is_open(request.uri().path()) {
        return match unknown {
            Some(problem) => problem.into_response(),
            None => next.run(request).await,
        };
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map_or_else(String::new, |c| c.0.ip().to_string());
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let needed = route.map_or(Scope::Read, |r| r.scope);
    // What a ticket opens makes no other: it would never end.
    let ticket = request.uri().query().and_then(ticket).filter(|_| !path.starts_with("/api/v1/auth/"));
    let found = match (authorization, ticket) {
        _ if request.extensions().get::<Local>().is_some() => {
            Ok(Principal { name: "the command line".into(), scopes: Scope::ALL.to_vec(), proof: Proof::Local, until_ms: None })
        }
        (None, Some(ticket)) => app.auth.redeem(&ticket, needed),
        (authorization, _) => app.auth.authenticate(authorization.as_deref(), &peer).await,
    };
    // What only reads once gives a foreign page nothing: it cannot see the answer.
    let acts = !matches!(*request.method(), Method::GET | Method::HEAD) || route.is_some_and(routes::Route::is_stream);
    if acts && is_foreign(request.headers()) {
        return Problem::forbidden("a page of another origin comes with a ticket or a token, not with a password").into_response();
    }
    match found {
        Ok(principal) if principal.scopes.contains(&needed) && unknown.is_some() => {
            unknown.unwrap_or_else(Problem::internal).into_response()
        }
        Ok(principal) if principal.scopes.contains(&needed) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Ok(_) => Problem::from(AuthError::Scope(needed)).into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// A page of another site can make a browser send the password that it remembers. What a page has to know to ask (a token, a ticket) it
/// may use from anywhere. A browser says itself where a page is from; one that does not, over plain HTTP, names the origin.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let is_basic = text("authorization").is_some_and(|a| a.get(..6).is_some_and(|s| s.eq_ignore_ascii_case("basic ")));
    let site = text("origin").and_then(|o| o.split_once("://")).map(|(_, host)| host);
    is_basic
        && match text("sec-fetch-site") {
            Some(from) => matches!(from, "cross-site" | "same-site"),
            None => headers.contains_key("origin") && (site.is_none() || site != text("host")),
        }
}

/// `?ticket=…`; its text needs no decoding.
fn ticket(query: &str) -> Option<String> {
    query.split('&').find_map(|p| p.strip_prefix("ticket=")).map(str::to_owned)
}
