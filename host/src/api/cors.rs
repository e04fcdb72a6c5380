//! Which pages of other origins may read answers: those that the operator lists, with a token or a ticket that they know.
//!
//! No cookie and no password that a browser remembers counts for them: answers never allow credentials.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// A browser asks again after this.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// `scheme://host[:port]`, as a browser writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebOrigin(HeaderValue);

impl TryFrom<String> for WebOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no origin; write such as \"https://dashboard.example\" or \"http://127.0.0.1:3000\", without a path");
        let url = Url::parse(&text).map_err(|_| wrong())?;
        let origin = url.origin().ascii_serialization();
        let is_plain =
            matches!(url.scheme(), "http" | "https") && !origin.contains('*') && text.trim_end_matches('/').eq_ignore_ascii_case(&origin);
        let value = HeaderValue::from_str(&origin).ok().filter(|_| is_plain);
        value.map(Self).ok_or_else(wrong)
    }
}

impl From<WebOrigin> for String {
    fn from(origin: WebOrigin) -> Self {
        // Made of ASCII text.
        origin.0.to_str().unwrap_or_default().to_owned()
    }
}

/// Answers what browsers ask before, and says to pages of these origins that they may read.
pub(super) fn layer(origins: &[WebOrigin]) -> Option<CorsLayer> {
    let own = |name: &'static str| HeaderName::from_static(name);
    let layer = || {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().map(|o| o.0.clone())))
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_NONE_MATCH,
                header::RANGE,
                own("last-event-id"),
                own("x-request-id"),
            ])
            .expose_headers([
                header::CONTENT_DISPOSITION,
                header::ETAG,
                header::LINK,
                header::LOCATION,
                header::RETRY_AFTER,
                header::WWW_AUTHENTICATE,
                own("x-export-rows-expected"),
                own("x-request-id"),
            ])
            .max_age(MAX_AGE)
    };
    (!origins.is_empty()).then(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_alone() {
        for (text, as_sent) in [
            ("https://dashboard.example", "https://dashboard.example"),
            ("HTTPS://Dashboard.Example/", "https://dashboard.example"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("https://대시보드.example", ""),
        ] {
            let read = WebOrigin::try_from(text.to_owned());
            match as_sent {
                "" => assert!(read.is_err(), "{text}: as a browser sends it, in ASCII"),
                sent => assert_eq!(String::from(read.unwrap()), sent),
            }
        }
        for text in
            ["*", "null", "dashboard.example", "https://a.example/path", "https://u@a.example", "ftp://a.example", "https://*.example", ""]
        {
            let error = WebOrigin::try_from(text.to_owned()).map(String::from).unwrap_err();
            assert!(error.contains("is no origin") && error.contains("https://"), "{text}: {error}");
        }
    }
}
