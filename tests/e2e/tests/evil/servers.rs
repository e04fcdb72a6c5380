//! Targets that are as bad as the plugin: bytes written by hand on a loopback port.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is written to each that connects and asks.
#[derive(Clone)]
pub enum Answer {
    Whole(Vec<u8>),
    /// A beginning, then the same again and again with a pause before each.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

/// A server and what it saw.
#[derive(Clone)]
pub struct Server {
    pub port: u16,
    pub asked: Arc<Mutex<Vec<String>>>,
    pub connections: Arc<AtomicUsize>,
    pub open: Arc<AtomicUsize>,
    /// Requests at once, at most.
    pub most: Arc<AtomicUsize>,
}

impl Server {
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let zero = Arc::<AtomicUsize>::default;
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, asked: Arc::default(), connections: zero(), open: zero(), most: zero() };
        let (own, under_way) = (server.clone(), zero());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (own, answer, under_way) = (own.clone(), answer.clone(), under_way.clone());
                own.connections.fetch_add(1, Ordering::SeqCst);
                own.open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    // However it ends: the other side may hang up at any time.
                    let _ended = own.talk(stream, answer, &under_way).await;
                    own.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    /// One that answers well.
    pub async fn good() -> Self {
        Self::start(Answer::Whole(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na 1\n".to_vec())).await
    }

    /// One that hears and never says a word.
    pub async fn silent() -> Self {
        Self::start(Answer::Endless(vec![], vec![], Duration::from_millis(100))).await
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.port)
    }

    pub fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    async fn talk(&self, mut stream: TcpStream, answer: Answer, under_way: &AtomicUsize) -> std::io::Result<()> {
        let (mut buffer, mut head) = ([0; 8_192], Vec::new());
        loop {
            let n = stream.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            head.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&head).into_owned();
            if !text.contains("\r\n\r\n") {
                continue;
            }
            self.asked.lock().unwrap().push(text);
            head.clear();
            self.most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let said = say(&mut stream, &answer).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            said?;
        }
    }
}

async fn say(stream: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    match answer {
        Answer::Whole(bytes) => stream.write_all(bytes).await,
        Answer::Endless(first, again, pause) => {
            stream.write_all(first).await?;
            let mut end = [0; 1];
            loop {
                // Nothing more is asked meanwhile: what comes is the end.
                match tokio::time::timeout(*pause, stream.read(&mut end)).await {
                    Ok(Ok(0)) | Ok(Err(_)) => return Ok(()),
                    _ => stream.write_all(again).await?,
                }
            }
        }
    }
}

/// An answer whose body of a gibibyte of zeroes is compressed into one mebibyte.
pub fn bomb() -> Vec<u8> {
    let mut zeroes = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..1_024 {
        zeroes.write_all(&[0; 1 << 20]).unwrap();
    }
    let body = zeroes.finish().unwrap();
    let mut all = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    all.extend(body);
    all
}
