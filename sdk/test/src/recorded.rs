//! Recorded answers, served on a free loopback port for as long as the value lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// What a path answers.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// 200 with Prometheus text.
    pub fn text(body: impl Into<String>) -> Self {
        Self { status: 200, content_type: "text/plain; version=0.0.4".to_owned(), body: body.into().into_bytes() }
    }

    /// 200 with JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        Self { status: 200, content_type: "application/json".to_owned(), body: value.to_string().into_bytes() }
    }

    /// A bare status.
    pub fn status(status: u16) -> Self {
        Self { status, content_type: "text/plain".to_owned(), body: Vec::new() }
    }
}

#[derive(Default)]
struct Tape {
    answers: HashMap<String, Answer>,
    asked: Vec<String>,
}

/// A server of recorded answers.
pub struct Recorded {
    base: String,
    tape: Arc<Mutex<Tape>>,
    task: AbortHandle,
}

impl Recorded {
    /// Starts with what each path answers; any other is 404. A path may carry a query, which must then be met as it stands.
    pub async fn start<'a>(answers: impl IntoIterator<Item = (&'a str, Answer)>) -> Result<Self> {
        let answers = answers.into_iter().map(|(path, answer)| (path.to_owned(), answer)).collect();
        let tape = Arc::new(Mutex::new(Tape { answers, asked: Vec::new() }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(play).with_state(tape.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { base, tape, task })
    }

    /// The address of a path, for a target.
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Changes what a path answers.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.tape.lock().unwrap_or_else(|e| e.into_inner()).answers.insert(path.to_owned(), answer);
    }

    /// Paths with their queries, in the order in which they were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.tape.lock().unwrap_or_else(|e| e.into_inner()).asked.clone()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(State(tape): State<Arc<Mutex<Tape>>>, request: Request) -> Response {
    let whole = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let mut tape = tape.lock().unwrap_or_else(|e| e.into_inner());
    let found = tape.answers.get(&whole).or_else(|| tape.answers.get(request.uri().path())).cloned();
    tape.asked.push(whole);
    match found {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(a) => {
            let status = StatusCode::from_u16(a.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(header::CONTENT_TYPE, a.content_type)], a.body).into_response()
        }
    }
}
