//! Asks for what it may not reach, in ways it may not ask, and from servers that are as bad as it is.

use kcloud_collector_sdk::bindings::kcloud::collector::http::{self, BodyStream, HttpError, Request};
use kcloud_collector_sdk::{CollectError, Target};

use crate::{Config, label, mode, say};

pub(crate) fn collect(config: &Config, target: &Target, deadline_ms: u32) -> Option<Result<(), CollectError>> {
    match mode() {
        // As a plugin that means well does it.
        "fetch" => {
            return Some(kcloud_collector_sdk::http::get(target, &config.url, "*/*", deadline_ms).and_then(|a| a.exposition().map(drop)));
        }
        "late" => return Some(kcloud_collector_sdk::http::get(target, &config.url, "*/*", 200).map(drop)),
        // Every way to ask, and what came of each.
        "fetch-all" => {
            let all: Vec<Request> = config.list.iter().map(|url| get(url)).collect();
            let whole = http::send_all(&all, u32::MAX);
            for (request, answer) in all.iter().zip(whole) {
                let answer = answer.map(|a| (a.status, a.body.len())).or_else(|_| http::send(request).map(|a| (a.status, a.body.len())));
                let answer = answer.or_else(|_| http::open(request).map(|s| (s.head().status, 0)));
                match answer {
                    Ok(got) => say(&format!("{} -> GOT {got:?}", request.url)),
                    Err(error) => say(&format!("{} -> {error:?}", request.url)),
                }
            }
        }
        // Each text is a method, or a header with its value.
        "methods" => {
            for method in &config.list {
                let body = Some(b"{\"ResetType\":\"ForceOff\"}".to_vec());
                say(&format!("{method:?} -> {:?}", outcome(http::send(&Request { method: method.clone(), body, ..get(&config.url) }))));
            }
        }
        "headers" => {
            for header in &config.list {
                let (key, value) = header.split_once('=').unwrap_or((header, ""));
                say(&format!("{header:?} -> {:?}", outcome(http::send(&Request { headers: vec![label(key, value)], ..get(&config.url) }))));
            }
        }
        "credentials" => {
            for name in &config.list {
                say(&format!("{name:?} -> {:?}", outcome(http::send(&Request { credential: Some(name.clone()), ..get(&config.url) }))));
            }
        }
        "crowd" => {
            let all = vec![get(&config.url); 5_000];
            let answers = http::send_all(&all, u32::MAX);
            let good = answers.iter().filter(|a| a.is_ok()).count();
            say(&format!("{good} of {} answered; the last: {:?}", answers.len(), answers.last().map(|a| a.as_ref().err())));
        }
        "streams" => {
            let mut open: Vec<BodyStream> = Vec::new();
            let error = loop {
                match http::open(&get(&config.url)) {
                    Ok(stream) => open.push(stream),
                    Err(error) => break error,
                }
            };
            return Some(Err(CollectError::Internal(format!("{} streams: {error:?}", open.len()))));
        }
        // A stream brings what one response may, however it is cut.
        "endless-stream" => {
            let stream = match http::open(&get(&config.url)) {
                Ok(stream) => stream,
                Err(error) => return Some(Err(CollectError::Unreachable(format!("{error:?}")))),
            };
            let mut bytes = 0;
            return Some(loop {
                match stream.read(u32::MAX, u32::MAX) {
                    Ok(Some(piece)) => bytes += piece.len(),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(CollectError::Protocol(format!("after {} MiB: {error:?}", bytes >> 20))),
                }
            });
        }
        // Waits in the host for ever, whatever the host says.
        "wait" => loop {
            drop(http::send(&get(&config.url)));
        },
        // A number that it never was given.
        "foreign-handle" => {
            // What the types rule out is the point here: the host has to.
            #[allow(unsafe_code)]
            let stream = unsafe { BodyStream::from_handle(99) };
            say(&format!("{}", stream.head().status));
        }
        _ => return None,
    }
    Some(Ok(()))
}

fn get(url: &str) -> Request {
    Request { method: "GET".to_owned(), url: url.to_owned(), headers: vec![], body: None, credential: None, timeout_ms: None }
}

fn outcome(answer: Result<http::Response, HttpError>) -> Result<u16, HttpError> {
    answer.map(|a| a.status)
}
