//! A token of OpenStack's Keystone, API v3.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::http::{HttpError, explain};
use super::super::tls::Trust;
use super::{Failed, Held, SUBJECT, TOKEN, body, secret_value};

/// A token is renewed when a tenth of its life is left, or this much.
const MARGIN: Duration = Duration::from_secs(300);

/// Where the host logs in, and as whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Keystone {
    /// With the version: `https://keystone:5000/v3`.
    pub auth_url: String,
    pub who: Who,
    /// Of the identity service; the system's authorities where there is none.
    pub trust: Option<Arc<Trust>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A user with a password, for one project.
    User { name: String, domain: String, project: String, project_domain: String },
    /// By its id; its secret is the password, its project its own.
    Application(String),
}

impl Keystone {
    fn place(&self) -> Result<Url, Failed> {
        let text = format!("{}/auth/tokens", self.auth_url.trim_end_matches('/'));
        Ok(Url::parse(&text).map_err(|e| HttpError::Denied(format!("auth_url: {e}")))?)
    }

    /// `client` is the one of the request that needs the token; the identity service may want another.
    pub(super) async fn log_in(&self, client: &Client, secret: &str) -> Result<Held, Failed> {
        let place = self.place()?;
        let client = match &self.trust {
            Some(trust) => trust.client().map_err(HttpError::Tls)?,
            None => client.clone(),
        };
        let auth = match &self.who {
            Who::User { name, domain, project, project_domain } => json!({
                "identity": {
                    "methods": ["password"],
                    "password": { "user": { "name": name, "domain": { "name": domain }, "password": secret } },
                },
                "scope": { "project": { "name": project, "domain": { "name": project_domain } } },
            }),
            Who::Application(id) => json!({
                "identity": { "methods": ["application_credential"], "application_credential": { "id": id, "secret": secret } },
            }),
        };
        let answer = client.post(place.clone()).json(&json!({ "auth": auth })).send().await.map_err(explain)?;
        let status = answer.status();
        match status {
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Failed::Refused(format!("the identity service refused a token: HTTP {status}")));
            }
            _ if !status.is_success() => return Err(HttpError::Protocol(format!("the identity service answers HTTP {status}")).into()),
            _ => {}
        }
        let token = answer.headers().get(SUBJECT).and_then(|t| t.to_str().ok()).map(secret_value).transpose()?;
        let token = token.ok_or_else(|| HttpError::Protocol("the identity service answers without x-subject-token".into()))?;
        let said: Value = serde_json::from_slice(&body(answer).await?).unwrap_or_default();
        let at = |key: &str| OffsetDateTime::parse(said["token"][key].as_str()?, &Rfc3339).ok();
        // By the server's own clock; without it, its 401 says when a token is over.
        let life = at("issued_at").zip(at("expires_at")).and_then(|(from, to)| Duration::try_from(to - from).ok());
        let renew_at = life.map(|life| Instant::now() + life.saturating_sub(MARGIN.min(life / 10)));
        let end = Some((place, Some((SUBJECT, token.clone()))));
        Ok(Held { end, renew_at, ..Held::new(TOKEN, token) })
    }
}
