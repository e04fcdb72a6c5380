//! The fleet over HTTP.

use std::future::Future;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::Fleet;

#[derive(Deserialize)]
struct At {
    tick: Option<u64>,
}

/// The routes: `/nodes/NAME/metrics`, `/truth`, `/tick`, `/tick/N` (PUT pins, DELETE lets run),
/// `/faults/down/NAME` (POST takes down, DELETE brings back).
pub fn router(fleet: Arc<Fleet>) -> Router {
    Router::new()
        .route("/nodes/{node}/metrics", get(metrics))
        .route("/truth", get(|State(f): State<Arc<Fleet>>, Query(at): Query<At>| async move { Json(f.truth(at.tick.unwrap_or(f.tick()))) }))
        .route(
            "/tick",
            get(|State(f): State<Arc<Fleet>>| async move { f.tick().to_string() })
                .delete(|State(f): State<Arc<Fleet>>| async move { f.pin(None) }),
        )
        .route("/tick/{tick}", axum::routing::put(|State(f): State<Arc<Fleet>>, Path(t): Path<u64>| async move { f.pin(Some(t)) }))
        .route(
            "/faults/down/{node}",
            post(|State(f): State<Arc<Fleet>>, Path(n): Path<String>| async move { f.set_down(&n, true) })
                .delete(|State(f): State<Arc<Fleet>>, Path(n): Path<String>| async move { f.set_down(&n, false) }),
        )
        .with_state(fleet)
}

/// Serves until `shutdown` is done.
pub async fn serve(fleet: Arc<Fleet>, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    axum::serve(listener, router(fleet)).with_graceful_shutdown(shutdown).await
}

async fn metrics(State(fleet): State<Arc<Fleet>>, Path(node): Path<String>) -> Response {
    match fleet.index(&node) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(_) if fleet.is_down(&node) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(index) => {
            let body = fleet.exposition(index, fleet.tick());
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
        }
    }
}
