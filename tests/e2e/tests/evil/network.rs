//! The network: what was not granted is not reached in any spelling, and what was granted may be as bad as it likes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kcloud_bmc_sim::{Bmc, Running as Bmcs, Setup};
use kcloud_e2e::until;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;
use kcloud_monitor::plugins::capabilities::{Credential, Secret, ipmi};
use tokio::net::TcpListener;

use crate::servers::{Answer, Server, bomb};
use crate::stage::{Evil, Stage, named, play, told};

/// Every attempt, of each contract, ended in a refusal.
async fn all_denied(stage: &Stage, mode: &str, attempts: usize) {
    for lines in stage.log(mode).await {
        let denied = lines.iter().filter(|l| l.contains("HttpError::Denied(")).count();
        assert!(denied >= attempts && denied == lines.len(), "{lines:#?}");
    }
}

#[test]
fn this_machine_is_not_reached_in_any_spelling() {
    play(async {
        let (granted, decoy) = (Server::good().await, Server::good().await);
        let port = decoy.port;
        let spellings = [
            "127.0.0.1",
            "localhost",
            "LOCALHOST.",
            "127.1",
            "127.0.0.1.",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "①②⑦.⓪.⓪.①",
            "a.localhost",
        ];
        let urls: Vec<String> = spellings.iter().map(|host| format!("http://{host}:{port}/")).collect();
        let list: Vec<&str> = urls.iter().map(String::as_str).collect();
        // Of a range that holds everything only addresses of others are open.
        let ranges = [format!("0.0.0.0/0:{port}"), format!("[::]/0:{port}")];
        let wide = |e: Evil| e.with(|s| s.grants.http = Some(Policy::new(ranges.iter().map(String::as_str))));
        let wide = named("wide", "fetch-all", &granted.url(), &list).into_iter().map(wide);
        let stage = Stage::set(told("fetch-all", &granted.url(), &list).into_iter().chain(wide)).await;
        all_denied(&stage, "fetch-all", list.len()).await;
        all_denied(&stage, "wide", list.len()).await;
        assert_eq!(decoy.connections.load(Ordering::SeqCst), 0, "{:?}", decoy.asked.lock().unwrap());
        stage.end().await;
    });
}

#[test]
fn a_metadata_service_is_not_reached_in_any_spelling() {
    play(async {
        let hosts = [
            "169.254.169.254",
            "169.254.169.254.",
            "169.254.43518",
            "2852039166",
            "0xA9FEA9FE",
            "0251.0376.0251.0376",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "100.100.100.200",
            "168.63.129.16",
            "metadata.google.internal",
            "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
        ];
        let urls: Vec<String> = hosts.iter().map(|host| format!("http://{host}/latest/meta-data/iam/security-credentials/")).collect();
        let mut list: Vec<&str> = urls.iter().map(String::as_str).collect();
        list.extend([
            "file:///etc/passwd",
            "ftp://169.254.169.254/",
            "gopher://169.254.169.254/_x",
            "http:/\\169.254.169.254/",
            "//169.254.169.254/",
            "http://u:x@127.0.0.1:9/",
        ]);
        let wide = |e: Evil| e.with(|s| s.grants.http = Some(Policy::new(["0.0.0.0/0:80", "[::]/0:80", "http://127.0.0.1:9/"])));
        let stage = Stage::set(told("fetch-all", "", &list).into_iter().map(wide)).await;
        all_denied(&stage, "fetch-all", list.len()).await;
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_is_told_to_read_beyond_its_targets_says_that_the_operator_did_not_grant_it() {
    play(async {
        let stage =
            Stage::set(told("fetch", "", &[]).into_iter().map(|e| e.with(|s| s.config["url"] = "http://10.0.0.1:9400/metrics".into())))
                .await;
        stage
            .fails(
                "fetch",
                "operator",
                "not granted: http://10.0.0.1:9400 is neither a target of this plugin nor an origin in its [grants] http",
            )
            .await;
        stage.end().await;
    });
}

#[test]
fn a_target_that_sends_it_elsewhere_is_not_followed() {
    play(async {
        let decoy = Server::good().await;
        let bounce =
            format!("HTTP/1.1 302 Found\r\nlocation: {}\r\nrefresh: 0; url={}\r\ncontent-length: 0\r\n\r\n", decoy.url(), decoy.url());
        let target = Server::start(Answer::Whole(bounce.into_bytes())).await;
        let stage = Stage::set(told("fetch", &target.url(), &[])).await;
        stage.fails("fetch", "target", "HTTP 302: redirects are not followed").await;
        assert!(target.requests() > 0 && decoy.connections.load(Ordering::SeqCst) == 0);
        stage.end().await;
    });
}

#[test]
fn nothing_but_reading_is_asked_of_a_target() {
    play(async {
        let target = Server::good().await;
        let methods = ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "OPTIONS", "get", "", "GET / HTTP/1.1\r\nx: y\r\n\r\nDELETE"];
        let headers = [
            "host=169.254.169.254",
            "Authorization=Basic eA==",
            "cookie=a=b",
            "connection=upgrade",
            "transfer-encoding=chunked",
            "content-length=9",
            "proxy-authorization=x",
            "x-http-method-override=DELETE",
            "x_forwarded_for=127.0.0.1",
            "a=b\r\nDELETE / HTTP/1.1",
            "a b=c",
            "=c",
        ];
        let credentials = ["", "admin", "bound-elsewhere", "../bound-elsewhere"];
        let bound = Credential {
            secret: Secret::Header(Arc::new(|| Ok(("authorization".to_owned(), "Bearer top-secret".to_owned())))),
            origins: vec!["http://127.0.0.1:10".to_owned()],
        };
        let evils = [
            told("methods", &target.url(), &methods),
            told("headers", &target.url(), &headers),
            told("credentials", &target.url(), &credentials),
        ];
        let stage = Stage::set(
            evils.into_iter().flatten().map(|e| e.with(|s| drop(s.credentials.insert("bound-elsewhere".into(), bound.clone())))),
        )
        .await;
        all_denied(&stage, "methods", methods.len()).await;
        all_denied(&stage, "headers", headers.len()).await;
        all_denied(&stage, "credentials", credentials.len()).await;
        assert_eq!(target.connections.load(Ordering::SeqCst), 0);
        assert!(!stage.view("credentials").await.to_string().contains("top-secret"));
        stage.end().await;
    });
}

#[test]
fn a_target_that_answers_a_byte_at_a_time_costs_the_time_out_and_no_more() {
    play(async {
        let loris = Server::start(Answer::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".to_vec(), Duration::from_millis(100))).await;
        let drip = Server::start(Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b"x".to_vec(), Duration::from_millis(100))).await;
        let evils = named("loris", "fetch", &loris.url(), &[]).into_iter().chain(named("drip", "fetch", &drip.url(), &[]));
        let stage = Stage::set(evils.map(|e| e.with(|s| s.timeout = Duration::from_secs(1)))).await;
        for name in ["loris", "drip"] {
            stage.fails(name, "target", "time").await;
        }
        until("the connections are closed", async || {
            (loris.open.load(Ordering::SeqCst) + drip.open.load(Ordering::SeqCst) < 4).then_some(())
        })
        .await;
        stage.end().await;
    });
}

#[test]
fn a_body_without_end_and_a_bomb_are_counted_as_they_come() {
    play(async {
        let endless = Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'#'; 64 << 10], Duration::from_micros(100));
        let headers = Answer::Endless(
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            format!("a: {}\r\n", "x".repeat(8_000)).into_bytes(),
            Duration::from_micros(100),
        );
        let (endless, bomb, headers) =
            (Server::start(endless).await, Server::start(Answer::Whole(bomb())).await, Server::start(headers).await);
        let of = |name: &str, mode: &str, server: &Server| named(name, mode, &server.url(), &[]);
        let evils = [
            of("endless", "fetch", &endless),
            of("bomb", "fetch", &bomb),
            of("headers", "fetch", &headers),
            of("stream", "endless-stream", &endless),
        ];
        let patient = |e: Evil| {
            e.with(|s| {
                s.timeout = Duration::from_secs(10);
                s.limits.http_body_bytes = 2 << 20;
            })
        };
        let stage = Stage::set(evils.into_iter().flatten().map(patient)).await;
        stage.fails("endless", "target", "the answer is larger than 2097152 bytes").await;
        stage.fails("bomb", "target", "the answer is larger than 2097152 bytes").await;
        stage.fails("stream", "target", "TooLarge(2097152)").await;
        stage.fails("headers", "target", "").await;
        stage.end().await;
    });
}

#[test]
fn a_crowd_of_requests_is_sent_a_few_at_a_time_and_streams_are_numbered() {
    play(async {
        let (target, silent) = (
            Server::good().await,
            Server::start(Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![], Duration::from_millis(100))).await,
        );
        let crowd = told("crowd", &target.url(), &[]).into_iter().map(|e| e.with(|s| s.timeout = Duration::from_secs(30)));
        let stage = Stage::set(crowd.chain(told("streams", &silent.url(), &[]))).await;
        stage.fails("streams", "plugin", "8 streams: HttpError::Denied(").await;
        let said = stage.all("crowd", "answered", |v| Some(v["log_tail"].to_string().contains("4096 of 5000 answered"))).await;
        assert!(said.iter().all(|v| v["log_tail"].to_string().contains("at most 4096 requests in one call")), "{said:#?}");
        // Of both contracts together.
        assert!(target.most.load(Ordering::SeqCst) <= 32, "{} at once", target.most.load(Ordering::SeqCst));
        stage.end().await;
    });
}

#[test]
fn a_call_that_never_comes_back_from_the_host_ends_with_its_time_out() {
    play(async {
        let silent = Server::silent().await;
        let stage = Stage::set(told("wait", &silent.url(), &[]).into_iter().map(|e| e.with(|s| s.timeout = Duration::from_secs(1)))).await;
        // It only waited: whom it waited for is to blame.
        stage.fails("wait", "target", "took longer than its time-out of").await;
        stage.end().await;
    });
}

#[test]
fn a_plugin_that_is_removed_while_it_waits_is_cancelled_and_hangs_up() {
    play(async {
        let silent = Server::silent().await;
        let stage = Stage::set(told("wait", &silent.url(), &[]).into_iter().map(|e| e.with(|s| s.timeout = Duration::from_secs(3)))).await;
        until("both wait", async || (silent.open.load(Ordering::SeqCst) >= 2).then_some(())).await;
        stage.end().await;
        until("both hung up", async || (silent.open.load(Ordering::SeqCst) == 0).then_some(())).await;
    });
}

#[test]
fn a_name_that_leads_to_this_machine_is_refused_when_it_is_looked_up() {
    play(async {
        // A name that the operator granted, and whose owner points it at the host: what `address.rs` refuses at each connection. An
        // answer that changes between two connections is tried in `http_tests.rs`, where the look-up can be one's own.
        let Some((name, decoy)) = own_name().await else {
            eprintln!("NOT RUN: this machine has no name of its own that leads to loopback");
            return;
        };
        let url = format!("http://{name}:{}/metrics", decoy.local_addr().unwrap().port());
        let stage = Stage::set(told("fetch", &url, &[])).await;
        stage.fails("fetch", "operator", "leads only to addresses that a name may not lead to").await;
        stage.end().await;
    });
}

/// A name in `/etc/hosts` that is none of `localhost` and leads only to loopback.
async fn own_name() -> Option<(String, TcpListener)> {
    let hosts = std::fs::read_to_string("/etc/hosts").ok()?;
    let names = hosts.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(char::is_whitespace));
    let loopback = names.filter(|(address, _)| address.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback()));
    let mut others = loopback.flat_map(|(_, names)| names.split_whitespace()).filter(|n| !n.ends_with("localhost"));
    let name = others.next()?.to_owned();
    let all: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await.ok()?.collect();
    let decoy = TcpListener::bind("127.0.0.1:0").await.ok()?;
    all.iter().all(|a| a.ip().is_loopback()).then_some((name, decoy))
}

#[test]
fn no_bmc_gets_a_command_that_does_not_only_read() {
    play(async {
        let bmc = Bmcs::start(Bmc::new(Setup::default())).await.unwrap();
        // Off, reset, boot device; thresholds, event enables; cold reset, users, a command in another; FRU, records, log; DCMI's power limit and
        // another group's reading; vendors' own; targets that are none of its own.
        let commands = [
            "t 0 2 0",
            "t 0 2 3",
            "t 0 8 5 0",
            "t 4 38 1",
            "t 4 40 1",
            "t 4 48 1",
            "t 6 2",
            "t 6 69 2",
            "t 6 71 2 2",
            "t 6 52 64",
            "t 6 59 4",
            "t 6 60",
            "t 10 18 0",
            "t 10 39",
            "t 10 71 0",
            "t 10 73 0",
            "t 44 4 220",
            "t 44 2 0",
            "t 44 2",
            "t 46 1",
            "t 48 112",
            "other 6 1",
            "ipmi://127.0.0.1 6 1",
        ];
        let password =
            Credential { secret: Secret::password(|| Ok(("monitor".to_owned(), "secret1".to_owned()))), origins: vec![bmc.url()] };
        let place = ipmi::Place::of(&bmc.url()).unwrap();
        let reached = ipmi::Bmc { place, credential: "bmc".into(), privilege: Default::default(), suites: ipmi::Suite::ALL.to_vec() };
        let given = |e: Evil| {
            e.with(|s| {
                s.grants.ipmi = Some(ipmi::Policy::new([("t".to_owned(), reached.clone())]));
                s.credentials.insert("bmc".into(), password.clone());
            })
        };
        let stage = Stage::set(told("ipmi", "", &commands).into_iter().map(given)).await;
        for lines in stage.log("ipmi").await {
            let denied = lines.iter().filter(|l| l.contains("IpmiError::Denied(")).count();
            assert!(denied >= commands.len() && denied == lines.len(), "{lines:#?}");
        }
        assert_eq!(bmc.bmc.stats().logins, 0, "the good command beside it is not sent either");
        stage.end().await;
    });
}
