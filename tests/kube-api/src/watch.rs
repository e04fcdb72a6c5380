//! A watch: what etcd says of a prefix, as lines of the API.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};

use crate::Resource;
use crate::etcd::{Client, Error, Pair, number, pair};
use crate::serve::{expired, is_selected, object, shape};

/// A kube-apiserver sends one a minute; tests are shorter.
const BOOKMARK: Duration = Duration::from_millis(500);

pub struct Ask {
    pub resource: Resource,
    pub prefix: String,
    /// 0: what there is now comes first.
    pub version: u64,
    pub bookmarks: bool,
    pub seconds: u64,
    pub is_bare: bool,
    pub field: Option<(String, String)>,
}

pub async fn watch(etcd: Client, ask: Ask) -> Result<Response, Error> {
    let (lines, sent) = mpsc::channel::<Bytes>(64);
    tokio::spawn(async move {
        // The one who asked went: nobody is left to hear of it.
        if let Err(error) = follow(&etcd, &ask, &lines).await {
            _ = lines.send(line("ERROR", json!({ "kind": "Status", "code": 500, "message": error.to_string() }))).await;
        }
    });
    let body = futures::stream::unfold(sent, |mut sent| async { sent.recv().await.map(|l| (Ok::<_, std::convert::Infallible>(l), sent)) });
    Ok(([("content-type", "application/json")], Body::from_stream(body)).into_response())
}

fn line(kind: &str, object: Value) -> Bytes {
    Bytes::from(json!({ "type": kind, "object": object }).to_string() + "\n")
}

async fn follow(etcd: &Client, ask: &Ask, lines: &mpsc::Sender<Bytes>) -> Result<(), Error> {
    let mut version = ask.version;
    let say = |kind: &'static str, pair: &Pair, version: u64| {
        let mut object = object(pair);
        object["metadata"]["resourceVersion"] = version.to_string().into();
        line(kind, shape(object, ask.is_bare))
    };
    if version == 0 {
        let page = etcd.range(&ask.prefix, 0, None).await?;
        version = page.revision;
        for pair in page.pairs.iter().filter(|p| is_selected(&object(p), ask.field.as_ref())) {
            if lines.send(say("ADDED", pair, pair.revision)).await.is_err() {
                return Ok(());
            }
        }
    }
    let mut events = etcd.watch(&ask.prefix, version + 1).await?.bytes_stream();
    let (end, mut bookmark) = (sleep_until(Instant::now() + Duration::from_secs(ask.seconds)), interval(BOOKMARK));
    tokio::pin!(end);
    let mut rest = Vec::new();
    loop {
        let chunk = tokio::select! {
            () = &mut end => return Ok(()),
            () = lines.closed() => return Ok(()),
            _ = bookmark.tick(), if ask.bookmarks => {
                let mark = json!({ "kind": ask.resource.kind, "apiVersion": ask.resource.group,
                    "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null } });
                if lines.send(line("BOOKMARK", mark)).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            chunk = events.next() => match chunk {
                None => return Ok(()),
                Some(chunk) => chunk?,
            },
        };
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let said: Vec<u8> = rest.drain(..=end).collect();
            let said: Value = serde_json::from_slice(&said).map_err(|e| Error::Answer(e.to_string()))?;
            let compacted = number(&said["result"]["compact_revision"]);
            if compacted > 0 {
                let text = format!("too old resource version: {} ({compacted})", ask.version);
                _ = lines.send(line("ERROR", expired(&text))).await;
                return Ok(());
            }
            for event in said["result"]["events"].as_array().into_iter().flatten() {
                let now = pair(&event["kv"]);
                version = now.revision;
                let of = if event["type"] == "DELETE" { pair(&event["prev_kv"]) } else { now.clone() };
                if !is_selected(&object(&of), ask.field.as_ref()) {
                    continue;
                }
                let text = match (event["type"] == "DELETE", now.created == now.revision) {
                    (true, _) => say("DELETED", &pair(&event["prev_kv"]), version),
                    (false, true) => say("ADDED", &now, version),
                    (false, false) => say("MODIFIED", &now, version),
                };
                if lines.send(text).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
