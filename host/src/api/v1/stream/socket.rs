//! WebSockets. A connection reads any number of topics, up to a limit; the client says which, by its address and by commands.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::super::super::params::Params;
use super::super::super::{App, Problem};
use super::super::listing::known_cluster;
use super::{HEARTBEAT, Reading};
use crate::api::rfc3339;
use crate::auth::{AuthError, Principal};
use crate::now_ms;
use crate::stream::topic::{self, Topic};
use crate::stream::{Endpoint, Next, Place, Reader, stopped};

/// Topics of one connection.
const TOPICS: usize = 16;
/// Of a command.
const MAX_COMMAND: usize = 4 << 10;
/// Buffers of a connection: commands are small, and what goes out is shared.
const BUFFER: usize = 1 << 10;
/// A client that has not been heard of for so long, not even as an answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// For the last words.
const LAST: Duration = Duration::from_secs(1);

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;
type Who = Option<Extension<Principal>>;

pub(in crate::api) async fn power(State(app): State<App>, who: Who, params: Params, up: Upgrade) -> Result<Response, Problem> {
    open(&app, who, &params, up, Endpoint::Power)
}

pub(in crate::api) async fn metrics(State(app): State<App>, who: Who, params: Params, up: Upgrade) -> Result<Response, Problem> {
    open(&app, who, &params, up, Endpoint::Metrics)
}

fn topic_of(endpoint: Endpoint, params: &Params) -> Result<Topic, Problem> {
    match endpoint {
        Endpoint::Metrics => Topic::metrics(params),
        _ => Topic::power(params),
    }
}

fn open(app: &App, who: Who, params: &Params, up: Upgrade, endpoint: Endpoint) -> Result<Response, Problem> {
    let Extension(principal) = who.ok_or(AuthError::Missing)?;
    let topic = topic_of(endpoint, params)?;
    known_cluster(app, params)?;
    let up = up.map_err(|_| Problem::upgrade_required())?;
    let place = app.streams.enter(endpoint)?;
    let (reader, _) = app.streams.read(topic, None, &principal.name)?;
    let clusters = app.clusters().iter().map(|c| c.name.clone()).collect();
    let reading = Reading { auth: app.auth.clone(), principal };
    let up = up.read_buffer_size(BUFFER).write_buffer_size(0).max_message_size(MAX_COMMAND).max_frame_size(MAX_COMMAND);
    Ok(up.on_upgrade(move |socket| Session { socket, readers: vec![reader], reading, place, endpoint, clusters }.run()))
}

struct Session {
    socket: WebSocket,
    readers: Vec<Reader>,
    reading: Reading,
    place: Place,
    /// What a command is about that does not say it.
    endpoint: Endpoint,
    clusters: Vec<String>,
}

/// The connection is at its end; nothing more can be said.
struct Gone;

impl From<axum::Error> for Gone {
    fn from(_: axum::Error) -> Self {
        Self
    }
}

/// The next of any of the topics, with its place among them.
async fn next(readers: &mut [Reader]) -> (usize, Next) {
    match readers {
        [] => std::future::pending().await,
        [one] => (0, one.next().await),
        all => {
            let waits = all.iter_mut().map(|r| Box::pin(r.next()));
            let (next, i, _) = futures::future::select_all(waits).await;
            (i, next)
        }
    }
}

impl Session {
    async fn run(mut self) {
        let mut stop = self.place.hub().stopping();
        let mut beat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        let (mut heard, mut said) = (Instant::now(), Instant::now());
        loop {
            let done = tokio::select! {
                (i, next) = next(&mut self.readers) => {
                    said = Instant::now();
                    self.pass(i, next).await
                }
                message = self.socket.recv() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.command(&text).await,
                        Some(Ok(Message::Binary(_))) => self.end(close_code::UNSUPPORTED, "commands are JSON in text messages").await,
                        // Pongs are news of the client, and pings are answered below.
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        Some(Err(_)) => self.end(close_code::PROTOCOL, &format!("a command has at most {MAX_COMMAND} bytes of UTF-8")).await,
                        Some(Ok(Message::Close(_))) | None => Err(Gone),
                    }
                }
                _ = beat.tick() => match self.reading.check() {
                    Err(why) => self.end(close_code::POLICY, &why.to_string()).await,
                    Ok(()) if heard.elapsed() >= SILENCE => Err(Gone),
                    Ok(()) => self.beat(said.elapsed() >= HEARTBEAT).await,
                },
                () = self.reading.expired() => self.end(close_code::POLICY, &AuthError::Expired.to_string()).await,
                () = stopped(&mut stop) => self.end(close_code::AWAY, "the host stops").await,
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn say(&mut self, what: Value) -> Result<(), Gone> {
        Ok(self.socket.send(Message::Text(what.to_string().into())).await?)
    }

    /// Hands on what a topic has.
    async fn pass(&mut self, i: usize, next: Next) -> Result<(), Gone> {
        let counts = self.place.hub().counts();
        match next {
            Next::Frame(frame) => {
                counts.sent.fetch_add(1, Ordering::Relaxed);
                counts.sent_bytes.fetch_add(frame.text.len() as u64, Ordering::Relaxed);
                Ok(self.socket.send(Message::Text(frame.text.clone())).await?)
            }
            Next::Lag(missed) => {
                counts.missed.fetch_add(missed, Ordering::Relaxed);
                let topic = self.readers[i].channel().name().to_owned();
                self.say(json!({ "type": "lag", "timestamp": rfc3339(now_ms()), "topic": topic, "missed": missed })).await
            }
            Next::End => {
                self.readers.swap_remove(i);
                Ok(())
            }
        }
    }

    /// Asks whether the client is there, and where nothing else was said, says that the host is.
    async fn beat(&mut self, is_idle: bool) -> Result<(), Gone> {
        self.socket.send(Message::Ping(bytes::Bytes::new())).await?;
        match is_idle {
            true => self.say(json!({ "type": "heartbeat", "timestamp": rfc3339(now_ms()), "sequence": self.place.hub().sequence() })).await,
            false => Ok(()),
        }
    }

    /// The last words: why, then the close frame.
    async fn end(&mut self, code: u16, reason: &str) -> Result<(), Gone> {
        let kind = if code == close_code::AWAY { "goodbye" } else { "error" };
        let error = match code {
            close_code::POLICY => json!({ "code": "UNAUTHORIZED", "message": reason }),
            _ => json!({ "code": "INVALID_PARAMETER", "message": reason }),
        };
        let mut last = json!({ "type": kind, "timestamp": rfc3339(now_ms()), "reason": reason });
        if kind == "error" {
            last["error"] = error;
        }
        let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from(reason) }));
        let words = async {
            self.say(last).await?;
            Ok::<(), Gone>(self.socket.send(close).await?)
        };
        // A client that takes nothing gets no last words.
        drop(tokio::time::timeout(LAST, words).await);
        Err(Gone)
    }

    async fn command(&mut self, text: &str) -> Result<(), Gone> {
        let answer = match self.obey(text) {
            Ok(answer) => answer,
            Err(problem) => json!({ "type": "error", "timestamp": rfc3339(now_ms()), "error": problem.error() }),
        };
        self.say(answer).await
    }

    fn obey(&mut self, text: &str) -> Result<Value, Problem> {
        const ACTIONS: &str = "subscribe, unsubscribe, set_interval, ping";
        let form = r#"a JSON object such as {"action": "subscribe", "resource_type": "gpus"}"#;
        let mut said: Map<String, Value> = serde_json::from_str(text).map_err(|e| Problem::parameter("message", &e.to_string(), form))?;
        let action = said.remove("action").unwrap_or(Value::Null);
        let now = rfc3339(now_ms());
        match action.as_str() {
            Some("ping") => Ok(json!({ "type": "pong", "timestamp": now, "sequence": self.place.hub().sequence() })),
            Some("subscribe") => {
                let topic = self.topic(said)?;
                let name = topic.name();
                if self.readers.iter().all(|r| r.channel().topic != topic) {
                    if self.readers.len() >= TOPICS {
                        return Err(Problem::parameter(
                            "action",
                            "subscribe",
                            format!("{TOPICS} topics a connection; unsubscribe one first"),
                        ));
                    }
                    let (reader, _) = self.place.hub().read(topic, None, self.reading.name())?;
                    self.readers.push(reader);
                }
                Ok(json!({ "type": "subscribed", "timestamp": now, "topic": name }))
            }
            Some("unsubscribe") => {
                let which = self.which(said)?;
                let topics: Vec<String> = which.iter().map(Topic::name).collect();
                self.readers.retain(|r| !which.contains(&r.channel().topic));
                Ok(json!({ "type": "unsubscribed", "timestamp": now, "topics": topics }))
            }
            Some("set_interval") => {
                let given = said.remove("interval").unwrap_or(Value::Null);
                let map = Map::from_iter([("interval".to_owned(), given)]);
                let interval = Params::from_json(&map, &["interval"])?.number("interval", 0, 1, 60).ok().filter(|n| *n > 0);
                let given = map["interval"].to_string();
                let seconds = interval.ok_or_else(|| Problem::parameter("interval", &given, "a whole number from 1 to 60"))? as u8;
                let which = self.which(said)?;
                let mut topics = Vec::new();
                for old in which {
                    let topic = Topic { interval_seconds: seconds, ..old.clone() };
                    topics.push(topic.name());
                    let (reader, _) = self.place.hub().read(topic.clone(), None, self.reading.name())?;
                    // It may be read already, beside the one that becomes it.
                    self.readers.retain(|r| r.channel().topic != old && r.channel().topic != topic);
                    self.readers.push(reader);
                }
                Ok(json!({ "type": "interval_set", "timestamp": now, "interval_seconds": seconds, "topics": topics }))
            }
            _ => Err(Problem::parameter("action", action.as_str().unwrap_or(&action.to_string()), ACTIONS)),
        }
    }

    /// The topic that a command describes.
    fn topic(&self, mut said: Map<String, Value>) -> Result<Topic, Problem> {
        let endpoint = match said.remove("stream").as_ref().map(Value::as_str) {
            None => self.endpoint,
            Some(Some("power")) => Endpoint::Power,
            Some(Some("metrics")) => Endpoint::Metrics,
            Some(other) => return Err(Problem::parameter("stream", other.unwrap_or("no text"), "power, metrics")),
        };
        let allowed = if endpoint == Endpoint::Metrics { topic::METRICS } else { topic::POWER };
        let params = Params::from_json(&said, allowed)?;
        match params.cluster.as_ref().filter(|c| !self.clusters.contains(c)) {
            Some(unknown) => Err(Problem::not_found("cluster", unknown)),
            None => topic_of(endpoint, &params),
        }
    }

    /// The topics that a command is about: the one it names or describes, or all.
    fn which(&self, mut said: Map<String, Value>) -> Result<Vec<Topic>, Problem> {
        let all = || self.readers.iter().map(|r| r.channel().topic.clone()).collect::<Vec<_>>();
        let unknown = |name: &str| {
            let read: Vec<&str> = self.readers.iter().map(|r| r.channel().name()).collect();
            Problem::parameter("topic", name, if read.is_empty() { "no topic is read".to_owned() } else { read.join(" ") })
        };
        if said.is_empty() {
            return Ok(all());
        }
        let found = match said.remove("topic") {
            Some(name) => {
                let name = name.as_str().unwrap_or_default().to_owned();
                all().into_iter().find(|t| t.name() == name).ok_or_else(|| unknown(&name))?
            }
            None => {
                let topic = self.topic(said)?;
                all().into_iter().find(|t| *t == topic).ok_or_else(|| unknown(&topic.name()))?
            }
        };
        Ok(vec![found])
    }
}
