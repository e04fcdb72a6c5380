//! `/system/events`: what happens to plugins, as it happens. It begins with how all of them stand, and begins so again for a reader
//! that was too slow: what has no past needs no resuming.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use tokio::sync::broadcast;

use super::super::super::{App, Problem};
use super::events::response;
use super::{Line, said};
use crate::api::rfc3339;
use crate::auth::{AuthError, Principal};
use crate::now_ms;
use crate::plugins::{Registry, Told, Transition};
use crate::stream::Endpoint;

pub(in crate::api) async fn plugins(State(app): State<App>, who: Option<Extension<Principal>>) -> Result<Response, Problem> {
    let Extension(principal) = who.ok_or(AuthError::Missing)?;
    let place = app.streams.enter(Endpoint::SystemEvents)?;
    // Listens before it looks: nothing falls between.
    let (told, registry) = (app.registry.told(), app.registry.clone());
    let mut plugins = Plugins { registry, told, line: Line::new(&app, principal, place), ready: VecDeque::new() };
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
    line: Line,
    ready: VecDeque<Bytes>,
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
        if self.line.is_done {
            return None;
        }
        let told = tokio::select! {
            told = self.told.recv() => told,
            bytes = self.line.besides() => return Some(bytes),
        };
        match told {
            Ok(told) => {
                let Transition { at_ms, from, to, reason, version } = &told.transition;
                let data = json!({
                    "type": "plugin_state", "timestamp": rfc3339(*at_ms), "plugin": told.plugin, "from": from.name(), "to": to.name(),
                    "reason": reason, "version": version,
                });
                Some(said("plugin_state", &data))
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                self.ready.push_back(self.all());
                Some(said("lag", &json!({ "timestamp": rfc3339(now_ms()), "missed": missed })))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
