//! A session of a Redfish service (DSP0266, "Redfish session login authentication").

use std::time::Instant;

use base64::Engine;
use reqwest::header::{AUTHORIZATION, LOCATION};
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};

use super::super::http::{HttpError, explain};
use super::super::http_policy::Origin;
use super::{BASIC_FOR, Failed, Held, TOKEN, body, secret_value};

const ROOT: &str = "/redfish/v1/";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Opens a session where the service's root says that they are; the root is open to everybody.
pub(super) async fn log_in(origin: &Origin, client: &Client, username: &str, password: &str, basic_fallback: bool) -> Result<Held, Failed> {
    let root = client.get(at(origin, ROOT)?).header("accept", "application/json").send().await.map_err(explain)?;
    let status = root.status();
    if status.is_server_error() {
        return Err(HttpError::Protocol(format!("the service's root answers HTTP {status}")).into());
    }
    // Some demand a login for the root, some say it in broken JSON: then the usual place is tried.
    let root: Option<Value> = serde_json::from_slice(&body(root).await?).ok().filter(|_| status.is_success());
    if root.as_ref().is_some_and(|r| r["Links"]["Sessions"].is_null() && r["SessionService"].is_null()) {
        return without(origin, username, password, basic_fallback, "its root names no sessions");
    }
    let named = root.as_ref().and_then(|r| r["Links"]["Sessions"]["@odata.id"].as_str());
    let place = named.and_then(|path| at(origin, path).ok()).filter(|url| url.path().trim_end_matches('/').ends_with("/Sessions"));
    let place = place.map_or_else(|| at(origin, SESSIONS), Ok)?;
    let request =
        client.post(place.clone()).header("accept", "application/json").json(&json!({ "UserName": username, "Password": password }));
    let answer = request.send().await.map_err(explain)?;
    let status = answer.status();
    match status {
        // Some say 400 to a wrong password.
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(Failed::Refused(format!("{origin} refused to open a session for {username:?}: HTTP {status}")));
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            return without(origin, username, password, basic_fallback, &format!("it answers HTTP {status} to a login"));
        }
        _ if !status.is_success() => return Err(HttpError::Protocol(format!("opening a session: HTTP {status}")).into()),
        _ => {}
    }
    let Some(token) = answer.headers().get(TOKEN).and_then(|t| t.to_str().ok()).map(secret_value).transpose()? else {
        return without(origin, username, password, basic_fallback, "it answers a login without a token");
    };
    let location = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
    let named = || async { serde_json::from_slice::<Value>(&body(answer).await.ok()?).ok()?["@odata.id"].as_str().map(str::to_owned) };
    let location = match location {
        Some(location) => Some(location),
        None => named().await,
    };
    // Without a place it cannot be given back; the service ends it when it is idle.
    let end = location.and_then(|l| at(origin, place.join(&l).ok()?.as_str()).ok()).map(|url| (url, None));
    Ok(Held { end, ..Held::new(TOKEN, token) })
}

fn without(origin: &Origin, username: &str, password: &str, basic_fallback: bool, why: &str) -> Result<Held, Failed> {
    if !basic_fallback {
        let text = format!("{origin} has no sessions ({why}); basic_fallback = true sends name and password with each request");
        return Err(HttpError::Denied(text).into());
    }
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    let value = secret_value(&format!("Basic {pair}"))?;
    Ok(Held { renew_at: Some(Instant::now() + BASIC_FOR), ..Held::new(AUTHORIZATION, value) })
}

/// A place of this origin and no other, whatever the service says.
fn at(origin: &Origin, place: &str) -> Result<Url, Failed> {
    let wrong = |e: String| Failed::Http(HttpError::Protocol(e));
    let base = Url::parse(&origin.to_string()).map_err(|e| wrong(e.to_string()))?;
    let url = base.join(place).map_err(|e| wrong(e.to_string()))?;
    match Origin::of(url.as_str()) {
        Ok(of) if of == *origin => Ok(url),
        _ => Err(wrong(format!("{origin} names a place elsewhere"))),
    }
}
