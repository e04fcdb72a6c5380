//! Bodies that a guest reads piece by piece, few at a time, none beyond its call unless its target is bound to the instance.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use wasmtime::component::Resource;

use super::Guest;
use super::http::{HttpError, Place, Request, explain};

/// Streams of one instance.
const MAX_STREAMS: usize = 8;

type Chunks = BoxStream<'static, reqwest::Result<bytes::Bytes>>;

/// An open body; dropped with its store at the latest.
pub struct BodyStream {
    pub head: (u16, Vec<(String, String)>),
    body: Body,
    rest: bytes::Bytes,
    budget: usize,
    limit: usize,
}

enum Body {
    Open {
        chunks: Chunks,
        _place: Place,
    },
    Ended,
    /// By the host, at the end of its call.
    Closed,
}

impl BodyStream {
    pub(super) fn new(head: (u16, Vec<(String, String)>), chunks: Chunks, limit: usize, place: Place) -> Self {
        Self { head, body: Body::Open { chunks, _place: place }, rest: bytes::Bytes::new(), budget: limit, limit }
    }

    /// Up to `max` bytes, an empty list when none came within `wait`, none at the end.
    async fn read(&mut self, max: usize, wait: Duration) -> Result<Option<Vec<u8>>, HttpError> {
        if self.rest.is_empty() {
            let chunks = match &mut self.body {
                Body::Open { chunks, .. } => chunks,
                Body::Ended => return Ok(None),
                Body::Closed => return Err(HttpError::Protocol("the stream was closed at the end of the call that opened it".into())),
            };
            match tokio::time::timeout(wait, chunks.next()).await {
                Err(_) => return Ok(Some(Vec::new())),
                Ok(None) => {
                    self.body = Body::Ended;
                    return Ok(None);
                }
                Ok(Some(chunk)) => self.rest = chunk.map_err(explain)?,
            }
        }
        let piece = self.rest.split_to(max.max(1).min(self.rest.len()));
        self.budget = self.budget.checked_sub(piece.len()).ok_or(HttpError::TooLarge(self.limit as u64))?;
        Ok(Some(piece.to_vec()))
    }
}

impl Guest {
    /// Sends a request and returns once its headers are there.
    pub async fn open_stream(&mut self, request: Request) -> wasmtime::Result<Result<Resource<BodyStream>, HttpError>> {
        if self.streams >= MAX_STREAMS {
            return Ok(Err(HttpError::Denied(format!("{MAX_STREAMS} streams are open; drop one first"))));
        }
        Ok(match self.http().open(request).await {
            Ok(stream) => {
                self.streams += 1;
                Ok(self.table.push(stream)?)
            }
            Err(error) => Err(error),
        })
    }

    /// Reads a piece within the call's time and bytes.
    pub async fn read_stream(
        &mut self,
        stream: &Resource<BodyStream>,
        max: usize,
        wait: Duration,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, HttpError>> {
        let wait = wait.min(self.remaining());
        let read = self.table.get_mut(stream)?.read(max, wait).await;
        Ok(match read {
            Ok(Some(piece)) => self.http().take(piece.len()).map(|()| Some(piece)),
            other => other,
        })
    }

    pub fn drop_stream(&mut self, stream: Resource<BodyStream>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        self.streams -= 1;
        Ok(())
    }

    /// Closes what a call left open; the guest's handles stay and say so.
    pub fn close_streams(&mut self) {
        for stream in self.table.iter_mut().filter_map(|entry| entry.downcast_mut::<BodyStream>()) {
            (stream.body, stream.rest) = (Body::Closed, bytes::Bytes::new());
        }
    }
}
