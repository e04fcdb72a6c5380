//! `/system/events`: what happens to plugins, as it happens. It begins with how all of them stand, and begins so again for a reader
//! that was too slow: what has no past needs no resuming.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::super::super::{App, Problem};
use super::events::{response, said};
use super::{HEARTBEAT, Reading, same_site};
use crate::api::rfc3339;
use crate::auth::{AuthError, Principal};
use crate::now_ms;
use crate::plugins::{Registry, Told};
use crate::stream::{Endpoint, Place, stopped};

pub(in crate::api) async fn plugins(
    State(app): State<App>,
    who: Option<Extension<Principal>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Extension(principal) = who.ok_or(AuthError::Missing)?;
    same_site(&headers)?;
    let place = app.streams.enter(Endpoint::SystemEvents)?;
    let stop = place.hub().stopping();
    // Listens before it looks: nothing falls between.
    let told = app.registry.told();
    let registry = app.registry.clone();
    let reading = Reading { auth: app.auth.clone(), principal };
    let mut plugins =
        Plugins { registry, told, reading, _place: place, stop, ready: VecDeque::new(), beat: Instant::now() + HEARTBEAT, is_done: false };
    plugins.ready.push_back(plugins.all());
    let body = futures::stream::unfold(plugins, |mut plugins| async {
        let bytes = plugins.next().await?;
        Some((Ok::<_, Infallible>(bytes), plugins))
    });
    Ok(response(Body::from_stream(body)))
}

struct Plugins {
    registry: Arc<Registry>,
    told: broadcast::Receiver<Arc<Told>>,
    reading: Reading,
    /// Held for as long as it is read.
    _place: Place,
    stop: watch::Receiver<bool>,
    ready: VecDeque<Bytes>,
    beat: Instant,
    is_done: bool,
}

impl Plugins {
    /// How all of them stand.
    fn all(&self) -> Bytes {
        let one = |p: &Arc<crate::plugins::Plugin>| {
            let (state, reason) = p.state();
            json!({ "plugin": p.name, "state": state.name(), "reason": reason, "version": p.generation().map(|g| g.info.version.clone()) })
        };
        let plugins: Vec<_> = self.registry.list().iter().map(one).collect();
        said("plugin_states", &json!({ "type": "plugin_states", "timestamp": rfc3339(now_ms()), "plugins": plugins }))
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.ready.pop_front() {
            return Some(bytes);
        }
        if self.is_done {
            return None;
        }
        let (kind, reason) = tokio::select! {
            told = self.told.recv() => match told {
                Ok(told) => return Some(said("plugin_state", &json!({
                    "type": "plugin_state", "timestamp": rfc3339(told.transition.at_ms), "plugin": told.plugin, "from": told.transition.from.name(),
                    "to": told.transition.to.name(), "reason": told.transition.reason, "version": told.transition.version,
                }))),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    self.ready.push_back(self.all());
                    return Some(said("lag", &json!({ "timestamp": rfc3339(now_ms()), "missed": missed })));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            },
            () = tokio::time::sleep_until(self.beat) => match self.reading.check() {
                Ok(()) => {
                    self.beat = Instant::now() + HEARTBEAT;
                    return Some(Bytes::from_static(b": heartbeat\n\n"));
                }
                Err(why) => ("error", why.to_string()),
            },
            () = self.reading.expired() => ("error", AuthError::Expired.to_string()),
            () = stopped(&mut self.stop) => ("goodbye", "the host stops".to_owned()),
        };
        self.is_done = true;
        Some(said(kind, &json!({ "timestamp": rfc3339(now_ms()), "reason": reason })))
    }
}
