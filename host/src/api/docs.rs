//! The document and the two pages that show it. Nothing of them is fetched from another machine.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{App, openapi};

const DOCUMENT: &str = "/openapi.json";
const BUNDLE: &str = "/redoc/redoc.standalone.js";
/// redoc 2.5.4 as published (MIT); 3.x sends telemetry.
const REDOC: &[u8] = include_bytes!("../../assets/redoc/redoc.standalone.js.gz");
/// What these pages need, and nothing from anywhere else: ReDoc asks for a logo on a foreign host.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
     worker-src 'self' blob:; connect-src 'self'; font-src 'self' data:; frame-ancestors 'none'",
);

/// Whether a path belongs to the pages.
pub(super) fn is_page(path: &str) -> bool {
    [DOCUMENT, "/docs", "/redoc", BUNDLE].contains(&path) || path.starts_with("/docs/")
}

async fn redoc() -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>KCloud Monitor API</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head><body style=\"margin:0\">\
         <redoc spec-url=\"{DOCUMENT}\"></redoc><script src=\"{BUNDLE}\"></script></body></html>"
    ))
}

async fn bundle() -> Response {
    let headers =
        [(CONTENT_TYPE, "text/javascript; charset=utf-8"), (CONTENT_ENCODING, "gzip"), (header::CACHE_CONTROL, "public, max-age=86400")];
    (headers, REDOC).into_response()
}

/// Made when it is first asked for: as values it takes ten megabytes, as text one.
async fn document() -> Response {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| openapi::document().to_string().into());
    ([(CONTENT_TYPE, "application/json")], TEXT.clone()).into_response()
}

async fn guarded(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}

pub(super) fn router() -> Router<App> {
    // Swagger UI would ask a validator on the internet.
    let config = Config::from(DOCUMENT).validator_url("none");
    let swagger = SwaggerUi::new("/docs").config(config);
    let pages = Router::new().route("/redoc", get(redoc)).route(BUNDLE, get(bundle)).route(DOCUMENT, get(document)).merge(swagger);
    pages.layer(axum::middleware::from_fn(guarded))
}
