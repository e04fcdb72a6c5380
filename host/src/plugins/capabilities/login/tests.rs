//! Logins over TLS against services that expire, refuse, lack and are slow.

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;

use serde_json::json;

use super::super::http::tests::{Answer, Heard, Pki, get, guest_with, serve, with_credential};
use super::super::http::{Request, Response};
use super::super::http_policy::Policy;
use super::super::tls::{Spec, Trust};
use super::super::{Commons, Credential, Guest, Secret};
use super::*;

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// A Redfish service with one account.
#[derive(Default)]
struct Bmc {
    sessions: HashSet<String>,
    logins: usize,
    /// Of the account, where it is not `secret1`.
    password: Option<String>,
    has_no_sessions: bool,
    pause: Duration,
    /// Where its root says that sessions are.
    place: Option<String>,
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

impl Bmc {
    fn hear(&mut self, text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let header =
            |name: &str| head.split("\r\n").find_map(|l| l.split_once(": ").filter(|(k, _)| *k == name)).map(|(_, v)| v.to_owned());
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let password = self.password.clone().unwrap_or_else(|| "secret1".to_owned());
        match (method, path) {
            ("GET", "/redfish/v1/") if self.has_no_sessions => Answer::Whole(answer("200 OK", "", r#"{"Id": "RootService"}"#)),
            ("GET", "/redfish/v1/") => {
                let place = self.place.as_deref().unwrap_or(SESSIONS);
                Answer::Whole(answer("200 OK", "", &json!({ "Links": { "Sessions": { "@odata.id": place } } }).to_string()))
            }
            ("POST", SESSIONS) => {
                self.logins += 1;
                let said: serde_json::Value = serde_json::from_str(body).unwrap();
                if said != json!({ "UserName": "monitor", "Password": password }) {
                    return Answer::Whole(answer("401 Unauthorized", "", ""));
                }
                let token = format!("token-{}", self.logins);
                self.sessions.insert(token.clone());
                let headers = format!("x-auth-token: {token}\r\nlocation: {SESSIONS}/{}\r\nset-cookie: s={token}\r\n", self.logins);
                Answer::Late(self.pause, answer("201 Created", &headers, "{}"))
            }
            ("DELETE", path) => {
                self.sessions.remove(&path.replace(&format!("{SESSIONS}/"), "token-"));
                Answer::Whole(answer("204 No Content", "", ""))
            }
            ("GET", "/never") => Answer::Whole(answer("401 Unauthorized", "", "")),
            _ => {
                let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("monitor:{password}"));
                let by_token = header("x-auth-token").is_some_and(|t| self.sessions.contains(&t));
                match by_token || header("authorization").is_some_and(|a| a == format!("Basic {basic}")) {
                    // A service that gives the token away again.
                    true => {
                        let token = header("x-auth-token").unwrap_or_default();
                        Answer::Whole(answer("200 OK", &format!("x-auth-token: {token}\r\nset-cookie: s={token}\r\nx-other: 1\r\n"), "ok"))
                    }
                    false => Answer::Whole(answer("401 Unauthorized", "www-authenticate: Basic\r\n", "")),
                }
            }
        }
    }
}

struct Stage {
    bmc: Arc<Mutex<Bmc>>,
    heard: Heard,
    base: String,
    secret: tempfile::NamedTempFile,
    commons: Commons,
    pki: Pki,
}

impl Stage {
    async fn set(bmc: Bmc) -> Self {
        let (pki, bmc) = (Pki::new(), Arc::new(Mutex::new(bmc)));
        let hearing = bmc.clone();
        let served = pki.serve_with("right-server", false, rustls::DEFAULT_VERSIONS, move |text| lock(&hearing).hear(text));
        let (address, heard): (SocketAddr, Heard) = served.await;
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        writeln!(secret, "secret1").unwrap();
        Self { bmc, heard, base: format!("https://{address}"), secret, commons: Commons::new().unwrap(), pki }
    }

    fn guest_over(&self, basic_fallback: bool, spec: Spec) -> Guest {
        let mut policy = Policy::new([self.base.as_str()]);
        // Even a plugin that may post there does not log in itself.
        policy.allow_method(&format!("POST {}{SESSIONS}", self.base)).unwrap();
        assert!(policy.trust(None, Arc::new(Trust::new("bmc", spec))));
        let way = Way::Redfish { username: "monitor".into(), basic_fallback };
        let login = Login { name: "bmc".into(), secret_file: self.secret.path().to_owned(), way };
        let credential = Credential { secret: Secret::Login(Arc::new(login)), origins: vec![self.base.clone()] };
        guest_with(policy, credential, self.commons.clone(), |_| {})
    }

    fn guest(&self, basic_fallback: bool) -> Guest {
        self.guest_over(basic_fallback, Spec { ca_file: Some(self.pki.path("right.pem")), ..Spec::default() })
    }

    async fn ask(&self, guest: &Guest, path: &str) -> Result<Response, HttpError> {
        guest.http().send(with_credential(&format!("{}{path}", self.base))).await
    }

    fn logins(&self) -> usize {
        lock(&self.bmc).logins
    }

    fn heard(&self, head: &str) -> usize {
        lock(&self.heard).iter().filter(|t| t.starts_with(head)).count()
    }

    async fn until(&self, what: &str, check: impl Fn(&Bmc) -> bool) {
        let began = Instant::now();
        while !check(&lock(&self.bmc)) {
            assert!(began.elapsed() < Duration::from_secs(10), "not within ten seconds: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn many_requests_open_one_session_and_the_guest_sees_nothing_of_it() {
    let stage = Stage::set(Bmc::default()).await;
    let (first, second) = (stage.guest(false), stage.guest(false));
    let answers = join_all((0..8).map(|i| stage.ask(if i % 2 == 0 { &first } else { &second }, "/redfish/v1/Chassis"))).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
        assert!(answer.headers.iter().any(|(k, _)| k == "x-other"));
        assert!(!format!("{answer:?}").contains("token-"), "{answer:?}");
    }
    assert_eq!(stage.logins(), 1);
    // Without naming the credential it is nobody.
    assert_eq!(first.http().send(get(&format!("{}/redfish/v1/Chassis", stage.base))).await.unwrap().status, 401);
}

#[tokio::test]
async fn a_guest_does_not_reach_where_the_host_logs_in() {
    let stage = Stage::set(Bmc::default()).await;
    let guest = stage.guest(false);
    for path in [
        SESSIONS,
        "/redfish/v1/SessionService/Sessions/1",
        "/redfish/v1/SessionService",
        "/redfish/v1/sessionservice/SESSIONS/",
        "/redfish/v1//SessionService//Sessions",
        "/redfish/v1/SessionService%2fSessions",
        "/redfish/v1/%53essionService/x",
        "/redfish/v1/%2553essionService/x",
        "/redfish/v1/SessionService;a=b/Sessions;c",
        "/redfish/v1/Systems/..%2fSessionService",
        "/redfish/v1/Systems%5c..%5cSessions",
        "/redfish/v1/Sessions?$expand=.",
    ] {
        for method in ["GET", "POST"] {
            for credential in [None, Some("own".to_owned())] {
                let request = Request { method: method.into(), credential, ..get(&format!("{}{path}", stage.base)) };
                let refused = guest.http().send(request).await;
                assert!(matches!(refused, Err(HttpError::Denied(_))), "{method} {path}: {refused:?}");
            }
        }
    }
    assert!(lock(&stage.heard).is_empty());
}

#[tokio::test]
async fn a_session_that_is_over_is_opened_anew_once_and_the_request_is_answered() {
    let stage = Stage::set(Bmc::default()).await;
    let guest = stage.guest(false);
    assert_eq!(stage.ask(&guest, "/a").await.unwrap().status, 200);
    lock(&stage.bmc).sessions.clear();
    let answers = join_all((0..4).map(|_| stage.ask(&guest, "/a"))).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap().status == 200), "{answers:?}");
    assert_eq!(stage.logins(), 2);
    // What is refused whoever asks is not asked about again and again.
    for _ in 0..5 {
        assert_eq!(stage.ask(&guest, "/never").await.unwrap().status, 401);
    }
    assert_eq!((stage.logins(), stage.ask(&guest, "/a").await.unwrap().status), (2, 200));
}

#[tokio::test]
async fn a_refused_login_is_a_401_and_is_not_repeated_until_the_secret_changes() {
    let stage = Stage::set(Bmc { password: Some("secret2".into()), ..Bmc::default() }).await;
    let guest = stage.guest(true);
    for _ in 0..6 {
        let answer = stage.ask(&guest, "/a").await.unwrap();
        let why = String::from_utf8(answer.body).unwrap();
        assert!(answer.status == 401 && why.contains("refused to open a session for \"monitor\""), "{why}");
        assert!(!why.contains("secret1") && !why.contains("secret2"), "{why}");
    }
    assert_eq!((stage.logins(), stage.heard("GET /a")), (1, 0));
    std::fs::write(stage.secret.path(), "secret2\n").unwrap();
    assert_eq!(stage.ask(&guest, "/a").await.unwrap().status, 200);
    assert_eq!(stage.logins(), 2);
}

#[test]
fn refusals_wait_longer_each_time_and_half_an_hour_at_most() {
    let client = Client::new();
    let mut state = State { client, held: None, old: None, under_way: None, refused: None, renewed: None, used: Instant::now() };
    let mut waits = Vec::new();
    for _ in 0..8 {
        state.refuse([1; 32], "no".into());
        waits.push(state.refused.as_ref().unwrap().until.duration_since(Instant::now()).as_secs().div_ceil(60));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    state.refuse([2; 32], "another secret".into());
    assert!(state.refused.unwrap().until.duration_since(Instant::now()) <= REFUSED[0]);
}

#[tokio::test]
async fn a_service_without_sessions_gets_basic_where_the_operator_wants_that() {
    let stage = Stage::set(Bmc { has_no_sessions: true, ..Bmc::default() }).await;
    let refused = stage.ask(&stage.guest(false), "/a").await.unwrap_err();
    assert!(matches!(&refused, HttpError::Denied(e) if e.contains("basic_fallback")), "{refused:?}");
    let guest = stage.guest(true);
    assert_eq!(stage.ask(&guest, "/a").await.unwrap().status, 200);
    assert_eq!((stage.logins(), stage.heard("GET /a")), (0, 1));
    // What the account may not see is no reason to doubt the password.
    for path in ["/never", "/a", "/never", "/a"] {
        assert_eq!(stage.ask(&guest, path).await.unwrap().status, if path == "/a" { 200 } else { 401 });
    }
    // A password that is refused then is left alone, too.
    lock(&stage.bmc).password = Some("secret2".into());
    for _ in 0..5 {
        assert_eq!(stage.ask(&guest, "/a").await.unwrap().status, 401);
    }
    assert_eq!(stage.heard("GET /a"), 5, "three that were answered, two that were refused");
    std::fs::write(stage.secret.path(), "secret2").unwrap();
    assert_eq!(stage.ask(&guest, "/a").await.unwrap().status, 200);
}

#[tokio::test]
async fn sessions_are_given_back_at_the_end_and_none_is_opened_after_it() {
    let stage = Stage::set(Bmc::default()).await;
    let guest = stage.guest(false);
    stage.ask(&guest, "/a").await.unwrap();
    assert_eq!(lock(&stage.bmc).sessions.len(), 1);
    stage.commons.logins.end().await;
    assert!(lock(&stage.bmc).sessions.is_empty());
    let late = stage.ask(&guest, "/a").await;
    assert!(matches!(&late, Err(HttpError::Denied(e)) if e.contains("stopping")), "{late:?}");
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn a_login_outlives_the_call_that_began_it() {
    let stage = Stage::set(Bmc { pause: Duration::from_millis(300), ..Bmc::default() }).await;
    let mut guest = stage.guest(false);
    guest.deadline = Instant::now() + Duration::from_millis(100);
    assert!(matches!(stage.ask(&guest, "/a").await, Err(HttpError::Timeout)));
    guest.deadline = Instant::now() + Duration::from_secs(20);
    assert_eq!(stage.ask(&guest, "/a").await.unwrap().status, 200);
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn a_changed_credential_gives_the_session_of_the_old_one_back() {
    let stage = Stage::set(Bmc::default()).await;
    stage.ask(&stage.guest(false), "/a").await.unwrap();
    stage.ask(&stage.guest(true), "/a").await.unwrap();
    stage.until("the first session is closed", |bmc| bmc.sessions == HashSet::from(["token-2".to_owned()])).await;
}

#[tokio::test]
async fn no_secret_is_sent_to_whom_nobody_verified_nor_where_the_service_points() {
    let (elsewhere, visited) = serve(|_| Answer::Whole(answer("201 Created", "x-auth-token: t\r\n", ""))).await;
    for place in [format!("http://{elsewhere}{SESSIONS}"), "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset".to_owned()] {
        let stage = Stage::set(Bmc { place: Some(place), ..Bmc::default() }).await;
        let lax = stage.guest_over(false, Spec { insecure: true, ..Spec::default() });
        assert!(matches!(stage.ask(&lax, "/a").await, Err(HttpError::Denied(e)) if e.contains("insecure")));
        assert!(lock(&stage.heard).is_empty());
        assert_eq!(stage.ask(&stage.guest(false), "/a").await.unwrap().status, 200);
        assert_eq!(stage.heard(&format!("POST {SESSIONS} ")), 1);
    }
    assert!(lock(&visited).is_empty());
}

#[tokio::test]
async fn a_keystone_token_is_fetched_once_renewed_before_it_ends_and_never_shown() {
    let issued = Arc::new(Mutex::new(0));
    let (count, pki) = (issued.clone(), Pki::new());
    let answering = move |text: &str| {
        let token = |n: i32| format!("token-{n}");
        if text.starts_with("POST /v3/auth/tokens ") {
            let body: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert_eq!(body["auth"]["identity"]["password"]["user"]["password"], "secret1");
            assert_eq!(body["auth"]["scope"]["project"]["name"], "admin");
            *lock(&count) += 1;
            let body = json!({ "token": { "issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": "2026-01-01T00:00:01.000000Z" } });
            return Answer::Whole(answer("201 Created", &format!("x-subject-token: {}\r\n", token(*lock(&count))), &body.to_string()));
        }
        let given = format!("x-auth-token: {}\r\n", token(*lock(&count)));
        let status = if text.contains(&given) { "200 OK" } else { "401 Unauthorized" };
        Answer::Whole(answer(status, &format!("x-subject-token: {}\r\n", token(*lock(&count))), "{}"))
    };
    let (address, heard) = pki.serve_with("right-server", false, rustls::DEFAULT_VERSIONS, answering).await;
    let base = format!("https://{address}");
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    write!(secret, "secret1").unwrap();
    let trust = Arc::new(Trust::new("os", Spec { ca_file: Some(pki.path("right.pem")), ..Spec::default() }));
    let who = Who::User { name: "monitor".into(), domain: "Default".into(), project: "admin".into(), project_domain: "Default".into() };
    let keystone = Keystone { auth_url: format!("{base}/v3"), who, trust: Some(trust.clone()) };
    let login = Login { name: "os".into(), secret_file: secret.path().to_owned(), way: Way::Keystone(keystone) };
    let mut policy = Policy::new([base.as_str()]);
    assert!(policy.trust(None, trust));
    let commons = Commons::new().unwrap();
    let guest =
        guest_with(policy, Credential { secret: Secret::Login(Arc::new(login)), origins: vec![base.clone()] }, commons.clone(), |_| {});
    let url = format!("{base}/v2.1/servers/detail");
    let answers = guest.http().send_all(vec![with_credential(&url); 5], 5).await;
    assert!(answers.iter().all(|a| a.as_ref().is_ok_and(|a| a.status == 200 && !format!("{a:?}").contains("token-"))), "{answers:?}");
    assert_eq!(*lock(&issued), 1);
    let denied = guest.http().send(with_credential(&format!("{base}/v3/auth/tokens"))).await;
    assert!(matches!(denied, Err(HttpError::Denied(_))));
    let began = Instant::now();
    while *lock(&issued) < 2 {
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(guest.http().send(with_credential(&url)).await.unwrap().status, 200, "never with a token that is over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(500), "not sooner than it must");
    commons.logins.end().await;
    let revoked = lock(&heard).iter().any(|t| t.starts_with("DELETE /v3/auth/tokens ") && t.contains("x-subject-token: token-"));
    assert!(revoked);
}
