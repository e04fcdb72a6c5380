//! Errors as RFC 9457 problems that also carry the documented `error` and `timestamp`.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::auth::AuthError;
use crate::history::HistoryError;

/// An error that a client gets. Holds nothing of the server's inside: no path, no query, no backend.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    details: Value,
    retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), details: json!({}), retry_after: None }
    }

    /// A parameter that cannot be used: which, what was given, what is allowed.
    pub fn parameter(name: &str, given: &str, allowed: impl Into<String>) -> Self {
        let allowed = allowed.into();
        let given: String = given.chars().take(200).collect();
        let mut p =
            Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER", format!("parameter {name:?} cannot be {given:?}; allowed: {allowed}"));
        p.details = json!({ "parameter": name, "given": given, "allowed": allowed });
        p
    }

    pub fn not_found(what: &str, id: &str) -> Self {
        let id: String = id.chars().take(200).collect();
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("there is no {what} {id:?}"))
    }

    /// Several things answer to an id.
    pub fn ambiguous(id: &str, candidates: Vec<String>) -> Self {
        let mut p =
            Self::new(StatusCode::CONFLICT, "AMBIGUOUS_ID", format!("{id:?} is the name of {} devices; say which", candidates.len()));
        p.details = json!({ "candidates": candidates });
        p
    }

    /// What is asked for does not fit the state of things; says why.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", detail)
    }

    /// What the credentials would allow and this host does not.
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail)
    }

    /// A stream that was asked for as an ordinary answer.
    pub fn upgrade_required() -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "UPGRADE_REQUIRED", "this is a WebSocket: ask with `Upgrade: websocket`, version 13")
    }

    pub fn unavailable(detail: &str, retry_after: u64) -> Self {
        let mut p = Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", detail);
        p.retry_after = Some(retry_after);
        p
    }

    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "the host failed on this request; its log has the request id")
    }
}

/// What a client hears of history that does not answer; why stands in the log alone, with nothing of where it is.
impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        if !matches!(error, HistoryError::Nothing) {
            tracing::error!(%error, "history");
        }
        match error {
            HistoryError::Nothing => Self::conflict("this host is an agent and keeps no history; the host that reads it does"),
            HistoryError::Engine(_) => Self::new(
                StatusCode::BAD_GATEWAY,
                "PROMETHEUS_ERROR",
                "the history engine does not answer; what is newest is there without it",
            ),
            _ => Self::unavailable("the history store does not answer", 5),
        }
    }
}

/// A path that is not text in UTF-8.
impl From<axum::extract::rejection::PathRejection> for Problem {
    fn from(e: axum::extract::rejection::PathRejection) -> Self {
        Self::parameter("path", &e.body_text(), "percent-encoded UTF-8")
    }
}

impl From<AuthError> for Problem {
    fn from(e: AuthError) -> Self {
        match e {
            AuthError::Throttled { retry_after_seconds } => {
                let mut p = Self::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", e.to_string());
                p.retry_after = Some(retry_after_seconds);
                p
            }
            AuthError::Scope(_) => Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", e.to_string()),
            AuthError::Unavailable(_) => Self::unavailable("authentication is not possible now", 1),
            _ => Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", e.to_string()),
        }
    }
}

impl Problem {
    /// What was wrong and what is allowed.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The documented `error`.
    pub(crate) fn error(&self) -> Value {
        json!({ "code": self.code, "message": self.detail, "details": self.details })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:kcloud:problem:{}", self.code.to_ascii_lowercase().replace('_', "-")),
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "error": self.error(),
            "timestamp": super::envelope::rfc3339(crate::now_ms()),
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"KCloud Monitor\", Bearer"));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

pub(super) async fn not_found(uri: Uri) -> Problem {
    Problem::not_found("route", uri.path())
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "this route does not take this method")
}
