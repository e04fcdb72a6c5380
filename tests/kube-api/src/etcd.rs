//! A real etcd, by its JSON gateway.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("etcd: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// What was asked for lies before what etcd keeps.
    #[error("etcd: the revision has been compacted")]
    Compacted,
    #[error("etcd: {0}")]
    Answer(String),
}

/// A process with a directory of its own; it ends with the value.
pub struct Etcd {
    child: Child,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Etcd {
    /// Starts one on free loopback ports; `None`, loudly, where it is not installed.
    pub async fn start() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let (client, peer) = (format!("http://127.0.0.1:{}", port()), format!("http://127.0.0.1:{}", port()));
        let started = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client, "--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"])
            .args(["--log-level", "error", "--quota-backend-bytes", "4294967296"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            eprintln!("NOT RUN: etcd is missing; `apt-get install etcd-server` (cargo xtask test tries to)");
            return None;
        };
        let etcd = Self { child, client: Client { base: client, http: reqwest::Client::new() }, _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(30);
        while etcd.client.range("/", 1, None).await.is_err() {
            assert!(Instant::now() < deadline, "etcd did not answer within 30 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(etcd)
    }

    /// A client with connections of its own.
    pub fn client(&self) -> Client {
        Client { base: self.client.base.clone(), http: reqwest::Client::new() }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("etcd did not end: {error}");
        }
    }
}

#[derive(Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub struct Pair {
    pub key: String,
    pub value: Vec<u8>,
    pub created: u64,
    pub revision: u64,
}

/// A page of keys.
#[derive(Debug)]
pub struct Page {
    pub pairs: Vec<Pair>,
    pub revision: u64,
    pub has_more: bool,
    pub count: u64,
}

pub fn text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_str().and_then(|t| STANDARD.decode(t).ok()).unwrap_or_default()
}

/// The gateway writes 64-bit numbers as text and leaves zeros out.
pub fn number(value: &Value) -> u64 {
    value.as_str().and_then(|t| t.parse().ok()).or(value.as_u64()).unwrap_or(0)
}

/// The end of all keys that begin so.
pub fn end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

pub fn pair(kv: &Value) -> Pair {
    Pair {
        key: String::from_utf8_lossy(&bytes(&kv["key"])).into_owned(),
        value: bytes(&kv["value"]),
        created: number(&kv["create_revision"]),
        revision: number(&kv["mod_revision"]),
    }
}

impl Client {
    async fn call(&self, path: &str, body: Value) -> Result<Value, Error> {
        let answer: Value = self.http.post(format!("{}/v3/{path}", self.base)).json(&body).send().await?.json().await?;
        match answer["error"].as_str() {
            None => Ok(answer),
            Some(error) if error.contains("compacted") => Err(Error::Compacted),
            Some(error) => Err(Error::Answer(error.to_owned())),
        }
    }

    /// Keys from `from` on that begin with `prefix`, at a revision or now.
    pub async fn range_from(&self, prefix: &str, from: &str, limit: u64, revision: Option<u64>) -> Result<Page, Error> {
        let body = json!({ "key": text(from.as_bytes()), "range_end": text(&end(prefix)), "limit": limit.to_string(),
            "revision": revision.unwrap_or(0).to_string() });
        let answer = self.call("kv/range", body).await?;
        let pairs = answer["kvs"].as_array().into_iter().flatten().map(pair).collect();
        let now = number(&answer["header"]["revision"]);
        Ok(Page { pairs, revision: revision.unwrap_or(now), has_more: answer["more"] == true, count: number(&answer["count"]) })
    }

    pub async fn range(&self, prefix: &str, limit: u64, revision: Option<u64>) -> Result<Page, Error> {
        self.range_from(prefix, prefix, limit, revision).await
    }

    pub async fn get(&self, key: &str) -> Result<Option<Pair>, Error> {
        let answer = self.call("kv/range", json!({ "key": text(key.as_bytes()) })).await?;
        Ok(answer["kvs"].as_array().and_then(|all| all.first()).map(pair))
    }

    /// Writes where the key is at `at` (0: is not there; `None`: is there); the new revision, or `None` where it was not so.
    pub async fn put(&self, key: &str, value: &[u8], at: Option<u64>) -> Result<Option<u64>, Error> {
        let key = text(key.as_bytes());
        let compare = match at {
            Some(0) => json!({ "key": key, "target": "VERSION", "version": "0" }),
            Some(revision) => json!({ "key": key, "target": "MOD", "mod_revision": revision.to_string() }),
            None => json!({ "key": key, "target": "VERSION", "result": "GREATER", "version": "0" }),
        };
        let put = json!({ "requestPut": { "key": key, "value": text(value) } });
        let answer = self.call("kv/txn", json!({ "compare": [compare], "success": [put] })).await?;
        Ok((answer["succeeded"] == true).then(|| number(&answer["header"]["revision"])))
    }

    /// Writes many at once, at most 128.
    pub async fn put_all(&self, all: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let puts: Vec<Value> = all.iter().map(|(k, v)| json!({ "requestPut": { "key": text(k.as_bytes()), "value": text(v) } })).collect();
        self.call("kv/txn", json!({ "success": puts })).await.map(drop)
    }

    pub async fn delete(&self, key: &str) -> Result<Option<Pair>, Error> {
        let answer = self.call("kv/deleterange", json!({ "key": text(key.as_bytes()), "prev_kv": true })).await?;
        Ok(answer["prev_kvs"].as_array().and_then(|all| all.first()).map(pair))
    }

    /// Forgets everything before now: whoever is behind gets 410.
    pub async fn compact(&self) -> Result<(), Error> {
        let now = self.range("/", 1, None).await?.revision;
        self.call("kv/compaction", json!({ "revision": now.to_string(), "physical": true })).await.map(drop)
    }

    /// A watch over all keys that begin so, from a revision on: lines of JSON.
    pub async fn watch(&self, prefix: &str, from: u64) -> Result<reqwest::Response, Error> {
        let request = json!({ "create_request": { "key": text(prefix.as_bytes()), "range_end": text(&end(prefix)),
            "start_revision": from.to_string(), "prev_kv": true } });
        Ok(self.http.post(format!("{}/v3/watch", self.base)).json(&request).send().await?)
    }
}
