//! The client against servers that misbehave, over loopback.

use std::io::Write;
use std::sync::atomic::AtomicUsize;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::http_policy::Policy;
use super::super::state::hex;
use super::super::tls::{Spec, Trust};
use super::super::{Commons, Credential, Grants};
use super::*;
use crate::plugins::limits::Limits;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What a server writes.
pub(in crate::plugins::capabilities) enum Answer {
    Whole(Vec<u8>),
    Late(Duration, Vec<u8>),
    /// The connection is dropped after it.
    Abrupt(Vec<u8>),
    /// A beginning, then the same again and again, with a pause before each.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

pub(in crate::plugins::capabilities) type Heard = Arc<Mutex<Vec<String>>>;

fn ok() -> Answer {
    Answer::Whole(OK.to_vec())
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &impl Fn(&str) -> Answer, heard: &Heard) -> io::Result<()> {
    let (mut buffer, mut head) = ([0; 8192], Vec::new());
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&head).into_owned();
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = text.to_ascii_lowercase().split("content-length: ").nth(1).and_then(|t| t.split("\r\n").next()?.parse().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        heard.lock().unwrap().push(text.clone());
        head.clear();
        let mut answer = answer(&text);
        if let Answer::Late(pause, bytes) = answer {
            tokio::time::sleep(pause).await;
            answer = Answer::Whole(bytes);
        }
        match answer {
            Answer::Late(..) => unreachable!("it is whole by now"),
            Answer::Abrupt(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.flush().await;
            }
            Answer::Whole(bytes) => {
                stream.write_all(&bytes).await?;
                if bytes.windows(17).any(|w| w == b"connection: close") {
                    return stream.shutdown().await;
                }
            }
            Answer::Endless(first, again, pause) => {
                stream.write_all(&first).await?;
                loop {
                    tokio::time::sleep(pause).await;
                    stream.write_all(&again).await?;
                }
            }
        }
    }
}

pub(in crate::plugins::capabilities) async fn serve(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> (SocketAddr, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heard, answer) = (listener.local_addr().unwrap(), Heard::default(), Arc::new(answer));
    let noted = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, noted) = (answer.clone(), noted.clone());
            tokio::spawn(async move { talk(stream, &*answer, &noted).await });
        }
    });
    (address, heard)
}

/// A guest whose one target is this URL, with a credential that is bound to `bound`.
fn guest_of(policy: Policy, bound: &str, commons: Commons, change: impl FnOnce(&mut Limits)) -> Guest {
    let header = Arc::new(|| Ok(("authorization".to_owned(), "Bearer secret".to_owned())));
    guest_with(policy, Credential { secret: Secret::Header(header), origins: vec![bound.to_owned()] }, commons, change)
}

/// The same with this credential as its own.
pub(in crate::plugins::capabilities) fn guest_with(
    policy: Policy,
    credential: Credential,
    commons: Commons,
    change: impl FnOnce(&mut Limits),
) -> Guest {
    let mut limits = Limits::default();
    change(&mut limits);
    let credentials = HashMap::from([("own".to_owned(), credential)]);
    let grants = Grants { http: Some(policy), ..Grants::default() };
    let mut guest = Guest::new(Arc::new(Shared::new("p", limits, grants, credentials, commons, None, Arc::default())));
    guest.deadline = Instant::now() + Duration::from_secs(20);
    guest
}

fn limited(url: &str, change: impl FnOnce(&mut Limits)) -> Guest {
    guest_of(Policy::new([url]), url, Commons::new().unwrap(), change)
}

pub(in crate::plugins::capabilities) fn get(url: &str) -> Request {
    Request { method: "GET".into(), url: url.into(), headers: vec![], body: None, credential: None, timeout: None }
}

pub(in crate::plugins::capabilities) fn with_credential(url: &str) -> Request {
    Request { credential: Some("own".into()), ..get(url) }
}

#[tokio::test]
async fn a_granted_method_is_the_one_that_is_sent() {
    let (address, heard) = serve(|_| ok()).await;
    let base = format!("http://{address}");
    let mut policy = Policy::new([base.as_str()]);
    policy.allow_method(&format!("POST {base}/login")).unwrap();
    let guest = guest_of(policy, &base, Commons::new().unwrap(), |_| {});
    let post = |path: &str| Request { method: "POST".into(), body: Some(b"name".to_vec()), ..get(&format!("{base}{path}")) };
    assert_eq!(guest.http().send(post("/login?a=b")).await.unwrap().body, b"ok");
    assert!(matches!(guest.http().send(post("/reset")).await, Err(HttpError::Denied(_))));
    assert!(matches!(guest.http().send(Request { body: Some(vec![1]), ..get(&base) }).await, Err(HttpError::Denied(_))));
    let large = Request { body: Some(vec![0; MAX_BODY + 1]), ..post("/login") };
    assert!(matches!(guest.http().send(large).await, Err(HttpError::Denied(_))));
    let heard = heard.lock().unwrap();
    assert!(heard.len() == 1 && heard[0].starts_with("POST /login?a=b HTTP/1.1\r\n") && heard[0].ends_with("name"), "{heard:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let (elsewhere, visited) = serve(|_| ok()).await;
    let there = format!("HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    let (address, _) = serve(move |_| Answer::Whole(there.clone().into_bytes())).await;
    let url = format!("http://{address}");
    let answer = limited(&url, |_| {}).http().send(with_credential(&url)).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(visited.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked() {
    // Read when a client is made: in a process of its own.
    if std::env::var_os("KCLOUD_TEST_PROXY").is_none() {
        let (proxy, asked) = serve(|_| ok()).await;
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "plugins::capabilities::http::tests::a_proxy_of_the_environment_is_not_asked", "--nocapture"]);
        child.env("KCLOUD_TEST_PROXY", "1");
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            child.env(name, format!("http://{proxy}"));
        }
        let output = child.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        assert!(asked.lock().unwrap().is_empty());
        return;
    }
    let (address, heard) = serve(|_| ok()).await;
    let url = format!("http://{address}");
    limited(&url, |_| {}).http().send(get(&url)).await.unwrap();
    assert_eq!(heard.lock().unwrap().len(), 1);
}

/// A host whose name server answers these, one after the other; the last again and again.
fn resolving(answers: &'static [&'static [&'static str]]) -> (Commons, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let look_up = move |_| {
        let answer = answers[counted.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)];
        async move { Ok(answer.iter().map(|a| SocketAddr::new(a.parse().unwrap(), 0)).collect()) }.boxed()
    };
    let http = with_look_up(Arc::new(look_up)).build().unwrap();
    (Commons { http, ..Commons::new().unwrap() }, asked)
}

#[tokio::test]
async fn a_name_that_changes_its_answer_is_refused_at_the_next_connection() {
    let close = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_vec();
    let (address, heard) = serve(move |text| if text.contains("/last") { Answer::Whole(close.clone()) } else { ok() }).await;
    let base = format!("http://localhost:{}", address.port());
    let (commons, asked) = resolving(&[&["127.0.0.1"], &["169.254.169.254", "::ffff:a9fe:a9fe", "fd00:ec2::254"]]);
    let guest = guest_of(Policy::new([base.as_str()]), &base, commons, |_| {});
    for path in ["/", "/", "/last"] {
        guest.http().send(get(&format!("{base}{path}"))).await.unwrap();
    }
    // One connection so far, kept, to the address that was checked.
    assert_eq!((asked.load(Ordering::Relaxed), heard.lock().unwrap().len()), (1, 3));
    let refused = guest.http().send(get(&base)).await.unwrap_err();
    assert!(matches!(&refused, HttpError::Denied(e) if e.contains("leads only to")), "{refused:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_name_server_that_hangs_is_asked_once_a_name_however_often_a_guest_asks() {
    let (asked, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
    let (counted, told) = (asked.clone(), answered.clone());
    let look_up = move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let told = told.clone();
        async move {
            told.notified().await;
            Err(io::Error::other("gone"))
        }
        .boxed()
    };
    let commons = Commons { http: with_look_up(Arc::new(look_up)).build().unwrap(), ..Commons::new().unwrap() };
    let guest = guest_of(Policy::new(["http://prom.example"]), "http://prom.example", commons, |_| {});
    let hasty = Request { timeout: Some(Duration::from_millis(20)), ..get("http://prom.example") };
    assert!(guest.http().send_all(vec![hasty.clone(); 20], 4).await.iter().all(|a| matches!(a, Err(HttpError::Timeout))));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    answered.notify_one();
    let began = Instant::now();
    while asked.load(Ordering::Relaxed) < 2 {
        assert!(guest.http().send(hasty.clone()).await.is_err() && began.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_public_name_that_turns_to_this_machine_is_refused() {
    let (address, heard) = serve(|_| ok()).await;
    let base = format!("http://prom.example:{}", address.port());
    // Of the first answer only what is public is tried, and nobody is there.
    let (commons, _) = resolving(&[&["127.0.0.1", "::1", "0.0.0.0", "192.0.2.1"], &["127.0.0.1"], &["::ffff:127.0.0.1"], &["::1"]]);
    let guest = guest_of(Policy::new([base.as_str()]), &base, commons, |_| {});
    let first = guest.http().send(Request { timeout: Some(Duration::from_millis(300)), ..get(&base) }).await.unwrap_err();
    assert!(matches!(first, HttpError::Timeout | HttpError::Connect(_)), "{first:?}");
    for _ in 0..3 {
        assert!(matches!(guest.http().send(get(&base)).await, Err(HttpError::Denied(_))));
    }
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_credential_goes_to_the_origin_that_it_is_bound_to_and_no_other() {
    let (address, heard) = serve(|_| ok()).await;
    let url = format!("http://{address}");
    limited(&url, |_| {}).http().send(with_credential(&url)).await.unwrap();
    assert!(heard.lock().unwrap()[0].contains("authorization: Bearer secret"));
    for bound in [format!("https://{address}"), "http://127.0.0.1:1".to_owned(), format!("http://localhost:{}", address.port())] {
        let guest = guest_of(Policy::new([url.as_str()]), &bound, Commons::new().unwrap(), |_| {});
        let refused = guest.http().send(with_credential(&url)).await.unwrap_err();
        assert!(matches!(&refused, HttpError::Denied(e) if e.contains("is not bound to")), "{refused:?}");
    }
    let unknown = Request { credential: Some("root".into()), ..get(&url) };
    assert!(matches!(limited(&url, |_| {}).http().send(unknown).await, Err(HttpError::Denied(_))));
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn answers_that_do_not_end_are_cut() {
    let chunk = Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 64 << 10], Duration::ZERO);
    let header = Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(5_000), Duration::ZERO);
    let slow = Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"a".to_vec(), Duration::from_millis(5));
    let slow_body = Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b"a".to_vec(), Duration::from_millis(5));
    let lie = Answer::Whole(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nok".to_vec());
    let wide = Answer::Whole(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\na: {}\r\n\r\n", "x".repeat(70_000)).into_bytes());
    for (answer, expected) in
        [(chunk, "larger"), (header, "head|larger"), (slow, "timed out"), (slow_body, "timed out"), (lie, "timed out"), (wide, "larger")]
    {
        let answer = Mutex::new(Some(answer));
        let (address, _) = serve(move |_| answer.lock().unwrap().take().unwrap_or_else(ok)).await;
        let url = format!("http://{address}");
        let mut guest = limited(&url, |l| l.http_body_bytes = 1 << 20);
        guest.deadline = Instant::now() + Duration::from_millis(700);
        let error = guest.http().send(get(&url)).await.unwrap_err().to_string();
        assert!(expected.split('|').any(|e| error.contains(e)), "{expected}: {error}");
    }
}

/// The most memory that this process ever used, in bytes.
fn high_water() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn a_gibibyte_of_zeros_in_a_mebibyte_leaves_the_hosts_memory_flat() {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..1_024).for_each(|_| bomb.write_all(&zeros).unwrap());
    let bomb = bomb.finish().unwrap();
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len()).into_bytes();
    answer.extend(bomb);
    let (address, _) = serve(move |_| Answer::Whole(answer.clone())).await;
    let url = format!("http://{address}");
    let mut guest = limited(&url, |_| {});
    let before = high_water();
    assert!(matches!(guest.http().send(get(&url)).await, Err(HttpError::TooLarge(n)) if n == 32 << 20));
    let stream = guest.open_stream(get(&url)).await.unwrap().unwrap();
    let mut total = 0;
    let ended = loop {
        match guest.read_stream(&stream, usize::MAX, Duration::from_secs(5)).await.unwrap() {
            Ok(Some(piece)) => total += piece.len(),
            other => break other,
        }
    };
    assert!(matches!(ended, Err(HttpError::TooLarge(_))) && total <= 32 << 20, "{total}");
    assert!(high_water() - before < 128 << 20, "{} bytes", high_water() - before);
}

#[tokio::test]
async fn what_one_call_brings_in_is_summed_over_everything_it_sends() {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".to_vec();
    answer.extend([b'x'; 100_000]);
    let (address, heard) = serve(move |_| Answer::Whole(answer.clone())).await;
    let url = format!("http://{address}");
    let mut guest = limited(&url, |l| l.http_call_bytes = 1_050_000);
    let all = guest.http().send_all(vec![get(&url); 50], 1).await;
    assert_eq!(all.iter().filter(|a| a.is_ok()).count(), 10);
    assert!(all.iter().all(|a| matches!(a, Ok(_) | Err(HttpError::TooLarge(1_050_000)))));
    assert!(heard.lock().unwrap().len() < 20, "it went on asking");
    assert!(matches!(guest.open_stream(get(&url)).await.unwrap(), Err(HttpError::TooLarge(_))));
    // The next call begins anew, and is counted in requests too.
    guest.used = Used::default();
    assert!(guest.http().send(get(&url)).await.is_ok());
    let many = guest.http().send_all(vec![Request { timeout: Some(Duration::ZERO), ..get(&url) }; MAX_REQUESTS + 5], 16).await;
    let refused = many.iter().filter(|a| matches!(a, Err(HttpError::Denied(e)) if e.contains("requests in one call"))).count();
    assert_eq!((many.len(), refused), (MAX_REQUESTS + 5, 6));
}

#[tokio::test]
async fn requests_under_way_are_limited_over_all_instances_of_a_plugin() {
    let (address, heard) = serve(|_| Answer::Endless(Vec::new(), Vec::new(), Duration::from_secs(60))).await;
    let url = format!("http://{address}");
    let first = limited(&url, |l| (l.http_outstanding, l.http_parallel) = (3, 10));
    let mut second = Guest::new(first.shared.clone());
    second.deadline = first.deadline;
    let stuck = first.shared.clone();
    let calls = (0..3).map(|_| {
        let (mut guest, url) = (Guest::new(stuck.clone()), url.clone());
        guest.deadline = first.deadline;
        tokio::spawn(async move { guest.http().send(get(&url)).await.map(drop) })
    });
    let calls: Vec<_> = calls.collect();
    let began = Instant::now();
    while heard.lock().unwrap().len() < 3 {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    let late = second.http().send(Request { timeout: Some(Duration::from_millis(50)), ..get(&url) }).await.unwrap_err();
    assert!(matches!(&late, HttpError::Denied(e) if e.contains("http_outstanding")), "{late:?}");
    // Another plugin has places of its own.
    let (open, _) = serve(|_| ok()).await;
    let other = format!("http://{open}");
    limited(&other, |_| {}).http().send(get(&other)).await.unwrap();
    // What all plugins together have is shared.
    let _taken = first.shared.commons.requests.clone().acquire_many_owned(super::super::HOST_REQUESTS as u32 - 3).await.unwrap();
    let third = guest_of(Policy::new([other.as_str()]), &other, first.shared.commons.clone(), |_| {});
    let late = third.http().send(Request { timeout: Some(Duration::from_millis(50)), ..get(&other) }).await;
    assert!(matches!(late, Err(HttpError::Timeout)), "{late:?}");
    calls.iter().for_each(|c| c.abort());
    for call in calls {
        assert!(call.await.unwrap_err().is_cancelled());
    }
    assert_eq!(second.shared.requests.available_permits(), 3);
}

#[tokio::test]
async fn streams_are_few_and_end_with_their_call() {
    let (address, _) = serve(|_| Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec(), b"x".to_vec(), Duration::from_millis(1))).await;
    let url = format!("http://{address}");
    let mut guest = limited(&url, |_| {});
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(guest.open_stream(get(&url)).await.unwrap().unwrap());
    }
    assert!(matches!(guest.open_stream(get(&url)).await.unwrap(), Err(HttpError::Denied(e)) if e.contains("8 streams")));
    assert!(guest.read_stream(&open[0], 5, Duration::from_secs(5)).await.unwrap().unwrap().is_some_and(|b| !b.is_empty()));
    assert_eq!(guest.shared.requests.available_permits(), 56);
    guest.close_streams();
    assert_eq!(guest.shared.requests.available_permits(), 64);
    let closed = guest.read_stream(&open[0], 5, Duration::from_secs(5)).await.unwrap();
    assert!(matches!(closed, Err(HttpError::Protocol(e)) if e.contains("end of the call")));
    for stream in open {
        guest.drop_stream(stream).unwrap();
    }
    let stream = guest.open_stream(get(&url)).await.unwrap().unwrap();
    assert!(guest.read_stream(&stream, 1, Duration::from_secs(5)).await.unwrap().unwrap().is_some_and(|b| b.len() == 1));
    let shared = guest.shared.clone();
    drop(guest);
    assert_eq!(shared.requests.available_permits(), 64);
}

/// Authorities and what they signed, as PEM files in a directory.
pub(in crate::plugins::capabilities) struct Pki {
    dir: tempfile::TempDir,
}

impl Pki {
    pub(in crate::plugins::capabilities) fn new() -> Self {
        let pki = Self { dir: tempfile::tempdir().unwrap() };
        for authority in ["right", "wrong"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, authority);
            pki.write(&format!("{authority}.pem"), params.self_signed(&key).unwrap().pem());
            let issuer = rcgen::Issuer::new(params, key);
            for (name, subject) in [("server", "127.0.0.1"), ("bmc", "bmc1"), ("client", "kcloud-monitor")] {
                let key = rcgen::KeyPair::generate().unwrap();
                let leaf = rcgen::CertificateParams::new(vec![subject.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
                pki.write(&format!("{authority}-{name}.pem"), leaf.pem());
                pki.write(&format!("{authority}-{name}.key"), key.serialize_pem());
            }
        }
        pki
    }

    pub(in crate::plugins::capabilities) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: String) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn certificates(&self, name: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(self.path(name)).unwrap().map(|c| c.unwrap()).collect()
    }

    /// An HTTPS server with this certificate, that may demand one of the right authority's.
    async fn serve(&self, name: &str, demands_client: bool) -> (SocketAddr, Heard) {
        self.serve_with(name, demands_client, rustls::DEFAULT_VERSIONS, |_| ok()).await
    }

    pub(in crate::plugins::capabilities) async fn serve_with(
        &self,
        name: &str,
        demands_client: bool,
        versions: &[&'static rustls::SupportedProtocolVersion],
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> (SocketAddr, Heard) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
        let builder = match demands_client {
            false => builder.with_no_client_auth(),
            true => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(self.certificates("right.pem").remove(0)).unwrap();
                let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        let config = builder.with_single_cert(self.certificates(&format!("{name}.pem")), key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Heard::default());
        let (noted, answer) = (heard.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, noted, answer) = (acceptor.clone(), noted.clone(), answer.clone());
                tokio::spawn(async move { talk(acceptor.accept(stream).await?, &*answer, &noted).await });
            }
        });
        (address, heard)
    }
}

fn trusting(url: &str, spec: Spec) -> Guest {
    assert_eq!(spec.problem(), None);
    let mut policy = Policy::new([url]);
    assert!(policy.trust(Some(&Origin::of(url).unwrap()), Arc::new(Trust::new("bmc", spec))));
    guest_of(policy, url, Commons::new().unwrap(), |_| {})
}

#[tokio::test]
async fn a_server_is_believed_for_the_authority_or_the_pin_that_its_target_names() {
    let pki = Pki::new();
    let (address, heard) = pki.serve("right-server", false).await;
    let url = format!("https://{address}");
    let ca = |name: &str| Spec { ca_file: Some(pki.path(name)), ..Spec::default() };
    let fingerprint = hex(&Sha256::digest(&pki.certificates("right-server.pem")[0]));
    let pinned = |pin: &str| Spec { pin_sha256: vec!["00".repeat(32), pin.to_owned()], ..Spec::default() };
    let colons: Vec<String> = fingerprint.as_bytes().chunks(2).map(|c| String::from_utf8_lossy(c).to_uppercase()).collect();
    for good in [ca("right.pem"), pinned(&fingerprint), pinned(&colons.join(":"))] {
        let answer = trusting(&url, good).http().send(with_credential(&url)).await;
        assert_eq!(answer.unwrap().body, b"ok");
    }
    assert_eq!(heard.lock().unwrap().len(), 3);
    for (bad, expected) in [
        (ca("wrong.pem"), "UnknownIssuer"),
        (Spec::default(), "UnknownIssuer"),
        (pinned(&"11".repeat(32)), &*fingerprint),
        (Spec { server_name: Some("bmc1".into()), ..ca("right.pem") }, "bmc1"),
        (ca("none.pem"), "[tls.bmc] ca_file"),
        (ca("right-server.key"), "[tls.bmc] ca_file"),
    ] {
        let error = trusting(&url, bad).http().send(with_credential(&url)).await.unwrap_err();
        assert!(matches!(&error, HttpError::Tls(e) if e.contains(expected)), "{expected}: {error:?}");
    }
    // Nothing was sent to whom it would not believe, nor by the client that knows of no [tls].
    assert!(matches!(limited(&url, |_| {}).http().send(get(&url)).await, Err(HttpError::Tls(_))));
    assert_eq!(heard.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_connection_that_ends_without_tls_saying_so_ends_json_and_nothing_else() {
    let pki = Pki::new();
    let answer = |text: &str| {
        let kind = if text.contains("/json") { "application/json" } else { "text/plain" };
        let length = if text.contains("/length") { "content-length: 9\r\n" } else { "" };
        Answer::Abrupt(format!("HTTP/1.0 200 OK\r\ncontent-type: {kind}\r\n{length}\r\n{{}}").into_bytes())
    };
    let (address, _) = pki.serve_with("right-server", false, rustls::DEFAULT_VERSIONS, answer).await;
    let url = |path: &str| format!("https://{address}{path}");
    let guest = trusting(&url(""), Spec { ca_file: Some(pki.path("right.pem")), ..Spec::default() });
    assert_eq!(guest.http().send(get(&url("/json"))).await.unwrap().body, b"{}");
    for bad in ["/text", "/json/length"] {
        assert!(matches!(guest.http().send(get(&url(bad))).await, Err(HttpError::Protocol(_))), "{bad}");
    }
}

#[tokio::test]
async fn an_old_server_with_tls_1_2_is_believed_in_the_same_ways() {
    let pki = Pki::new();
    let (address, _) = pki.serve_with("right-server", true, &[&rustls::version::TLS12], |_| ok()).await;
    let url = format!("https://{address}");
    let client =
        Spec { certificate_file: Some(pki.path("right-client.pem")), key_file: Some(pki.path("right-client.key")), ..Spec::default() };
    let pin = hex(&Sha256::digest(&pki.certificates("right-server.pem")[0]));
    trusting(&url, Spec { pin_sha256: vec![pin], ..client.clone() }).http().send(with_credential(&url)).await.unwrap();
    for bad in [Spec { pin_sha256: vec!["11".repeat(32)], ..client.clone() }, Spec { ca_file: Some(pki.path("wrong.pem")), ..client }] {
        assert!(matches!(trusting(&url, bad).http().send(with_credential(&url)).await, Err(HttpError::Tls(_))));
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_passes_where_the_operator_wrote_that_name() {
    let pki = Pki::new();
    let (address, _) = pki.serve("right-bmc", false).await;
    let url = format!("https://{address}");
    let spec = |name: Option<&str>| Spec { ca_file: Some(pki.path("right.pem")), server_name: name.map(str::to_owned), ..Spec::default() };
    trusting(&url, spec(Some("bmc1"))).http().send(get(&url)).await.unwrap();
    assert!(matches!(trusting(&url, spec(None)).http().send(get(&url)).await, Err(HttpError::Tls(_))));
}

#[tokio::test]
async fn a_credential_is_never_sent_to_whom_nobody_verified() {
    let pki = Pki::new();
    let (address, heard) = pki.serve("wrong-server", false).await;
    let url = format!("https://{address}");
    let guest = trusting(&url, Spec { insecure: true, ..Spec::default() });
    guest.http().send(get(&url)).await.unwrap();
    let refused = guest.http().send(with_credential(&url)).await.unwrap_err();
    assert!(matches!(&refused, HttpError::Denied(e) if e.contains("insecure")), "{refused:?}");
    assert_eq!(heard.lock().unwrap().len(), 1);
}

async fn ends_in(guest: &Guest, url: &str, expected: impl Fn(&Result<Response, HttpError>) -> bool) {
    let began = Instant::now();
    loop {
        let answer = guest.http().send(get(url)).await;
        if expected(&answer) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_gets_the_one_of_its_target_and_files_are_read_again() {
    let pki = Pki::new();
    let (address, _) = pki.serve("right-server", true).await;
    let url = format!("https://{address}");
    let with = |client: &str| Spec {
        ca_file: Some(pki.path("right.pem")),
        certificate_file: Some(pki.path(&format!("{client}.pem"))),
        key_file: Some(pki.path(&format!("{client}.key"))),
        ..Spec::default()
    };
    trusting(&url, with("right-client")).http().send(get(&url)).await.unwrap();
    for bad in [with("wrong-client"), Spec { certificate_file: None, key_file: None, ..with("right-client") }] {
        let error = trusting(&url, bad).http().send(get(&url)).await.unwrap_err();
        assert!(matches!(error, HttpError::Tls(_)), "{error:?}");
    }
    // Rotated: a client certificate that the server takes replaces one that it does not.
    let copy = |from: &str, to: &str| {
        for kind in ["pem", "key"] {
            std::fs::copy(pki.path(&format!("{from}.{kind}")), pki.path(&format!("{to}.{kind}"))).unwrap();
        }
    };
    copy("wrong-client", "rotated");
    let mut guest = trusting(&url, with("rotated"));
    guest.deadline = Instant::now() + Duration::from_secs(60);
    assert!(guest.http().send(get(&url)).await.is_err());
    copy("right-client", "rotated");
    ends_in(&guest, &url, Result::is_ok).await;
}
