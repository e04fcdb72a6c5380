//! Reports of a running host: totals worked out by hand, real readers of the files, plans that catch up, the command line.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use kcloud_e2e::{Running, until};
use kcloud_monitor::history::{Embedded, History, Keep, Point};
use kcloud_monitor::host::Options;
use kcloud_monitor::power;
use kcloud_monitor::report::{At, Delivery, Format, Lang, Plan, Price, Settings, Template, Weekday, Zone};
use serde_json::json;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// When yesterday began, in UTC.
fn yesterday() -> i64 {
    kcloud_monitor::now_ms().div_euclid(DAY) * DAY - DAY
}

fn date(ms: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(ms / 1_000).unwrap().date().to_string()
}

/// Yesterday: 3 kW until noon, nothing for two hours, then 5 kW; 2 kW the day before. Two servers, one of them with a bad name.
fn put_past(options: &mut Options) {
    options.history_keep = Keep { raw: std::time::Duration::from_secs(10 * 86_400), ..Keep::default() };
    let history = Embedded::open(&options.history_dir, options.history_keep).unwrap();
    let start = yesterday();
    let mut sequence = 0;
    let mut draws = |subject: &str, metric: &str, (from, to): (i64, i64), value: f64| {
        let (subject, metric): (Arc<str>, Arc<str>) = (subject.into(), metric.into());
        let point = |at_ms| Point { subject: subject.clone(), metric: metric.clone(), at_ms, value: Some(value) };
        // As they come: hour by hour.
        for hour in (from..to).step_by(60 * MINUTE as usize) {
            let end = (hour + 60 * MINUTE).min(to);
            sequence += 1;
            history.commit(sequence, end, &(hour..end).step_by(MINUTE as usize).map(point).collect::<Vec<_>>()).unwrap();
        }
    };
    let sum = power::cluster_series("cluster1");
    draws(&sum, power::CLUSTER_WATTS, (start - DAY, start), 2_000.0);
    for (span, watts) in [((start, start + 12 * HOUR), 3_000.0), ((start + 14 * HOUR, start + DAY), 5_000.0)] {
        draws(&sum, power::CLUSTER_WATTS, span, watts);
        draws("node/cluster1/worker1", power::SERVER_WATTS, span, watts - 1_000.0);
        draws("node/cluster1/=cmd()<script>", power::SERVER_WATTS, span, 1_000.0);
        draws(&power::group_series("cluster1", power::By::Namespace, "학습"), power::GROUP_WATTS, span, 1_500.0);
    }
}

async fn running() -> Running {
    let running = Running::start_with(&[], Vec::new(), put_past).await;
    let price = Some(Price { per_kwh: 150.0, currency: "KRW".into() });
    running.host.app.reports.set(Settings { price, ..Settings::default() });
    running
}

async fn file(running: &Running, query: &str) -> (String, Vec<u8>) {
    let request = running.client.get(format!("{}/api/v1/export/report?{query}", running.base)).basic_auth("admin", Some("changeme"));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{query}");
    let name = response.headers()["content-disposition"].to_str().unwrap().split('"').nth(1).unwrap().to_owned();
    (name, response.bytes().await.unwrap().to_vec())
}

fn tool(program: &str, arguments: &[&str], input: &Path) -> String {
    let out = Command::new(program).args(arguments).arg(input).arg("-").output();
    let out = out.unwrap_or_else(|e| panic!("{program} reads what is made here (Debian: poppler-utils): {e}"));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_file_says_the_same_energy_to_its_own_readers() {
    let running = running().await;
    let day = date(yesterday());
    // 3 kW × 12 h + 5 kW × 10 h = 86 kWh, at 150 KRW.
    let (name, pdf) = file(&running, "template=daily").await;
    assert_eq!(name, format!("kcloud-daily-{day}.pdf"));
    let path = running.dir.path().join(&name);
    std::fs::write(&path, pdf).unwrap();
    let text = tool("pdftotext", &["-layout"], &path);
    for expected in [
        "86.0 kWh",
        "12,900 KRW",
        "5,000 W",
        "91.7 %",
        "+79.2 % against the day before",
        "2.0 h of 24.0 h were not observed",
        "=cmd()<script>",
        "학습",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let (_, pdf) = file(&running, "template=daily&lang=ko&cluster=cluster1").await;
    std::fs::write(&path, pdf).unwrap();
    let text = tool("pdftotext", &["-layout"], &path);
    for expected in ["일간 전력 보고서", "평균 전력", "전일 대비 +79.2 %", "24.0시간 중 2.0시간은 관측되지 않았습니다", "86.0 kWh"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let (_, json) = file(&running, "format=json").await;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["total"]["energy_kwh"], &json["total"]["cost"], &json["total"]["gaps"]), (&json!(86.0), &json!(12_900.0), &json!(1)));
    assert_eq!(json["nodes"].as_array().unwrap().iter().map(|n| n["energy_kwh"].as_f64().unwrap()).collect::<Vec<_>>(), [64.0, 22.0]);
    let (name, csv) = file(&running, "format=csv&timezone=Z").await;
    assert!(name.ends_with(".csv"));
    let csv = String::from_utf8(csv).unwrap();
    assert!(csv.lines().any(|l| l.starts_with("total,,,,") && l.contains(",86,12900,KRW,")), "{csv}");
    assert!(csv.contains(",'=cmd()<script>,"), "{csv}");
    let (name, html) = file(&running, "format=html").await;
    let html = String::from_utf8(html).unwrap();
    assert!(name.ends_with(".html") && html.contains("86.0 kWh") && html.contains("=cmd()&lt;script&gt;") && !html.contains("<script"));
    let (name, excel) = file(&running, "format=excel&lang=ko").await;
    assert!(name.ends_with(".xlsx"));
    let path = running.dir.path().join(&name);
    std::fs::write(&path, excel).unwrap();
    let parts = "import sys,zipfile\nz=zipfile.ZipFile(sys.argv[1])\nfor n in z.namelist():\n  print(n, z.read(n).decode())";
    let out = Command::new("python3").args(["-c", parts]).arg(&path).output().expect("python3 opens the workbook");
    let text = String::from_utf8(out.stdout).unwrap();
    // Numbers are numbers, a bad name is a string, charts are Excel's own.
    for expected in ["<v>86.0</v>", "=cmd()&lt;script&gt;", "학습", "xl/charts/chart1.xml", "state=\"frozen\""] {
        assert!(text.contains(expected), "{expected}");
    }
    assert!(!text.contains("<f>"), "no formula");
    let (name, parquet) = file(&running, "format=parquet").await;
    assert!(name.ends_with(".parquet") && parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_wish_is_refused_by_name_and_only_who_may_export_gets_a_report() {
    let running = running().await;
    for (query, parameter) in [
        ("template=hourly", "template"),
        ("format=docx", "format"),
        ("lang=fr", "lang"),
        ("timezone=KST", "timezone"),
        ("start_date=yesterday", "start_date"),
        ("template=custom", "start_date"),
        ("template=custom&start_date=2026-01-02&end_date=2026-01-01", "end_date"),
        ("start_date=2999-01-01", "start_date"),
        ("colour=red", "colour"),
    ] {
        let (status, body) = running.get(&format!("/api/v1/export/report?{query}")).await;
        assert_eq!((status, &body["error"]["details"]["parameter"]), (400, &json!(parameter)), "{query}: {body}");
    }
    assert_eq!(running.get("/api/v1/export/report?cluster=nowhere").await.0, 404);
    let (_, key) = {
        let request = running.client.post(format!("{}/api/v1/auth/keys", running.base)).basic_auth("admin", Some("changeme"));
        let body: serde_json::Value =
            request.json(&json!({ "name": "reader", "scopes": ["read"] })).send().await.unwrap().json().await.unwrap();
        (200, body["api_key"].as_str().unwrap_or_default().to_owned())
    };
    let request = running.client.get(format!("{}/api/v1/export/report", running.base)).bearer_auth(key);
    assert_eq!(request.send().await.unwrap().status(), 403);
}

/// A server that refuses the first file.
async fn moody() -> (String, Arc<AtomicUsize>, Arc<std::sync::Mutex<Vec<(String, usize)>>>) {
    type Seen = (Arc<AtomicUsize>, Arc<std::sync::Mutex<Vec<(String, usize)>>>);
    async fn take(State((asked, seen)): State<Seen>, headers: HeaderMap, body: axum::body::Bytes) -> StatusCode {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        let name = headers["idempotency-key"].to_str().unwrap().to_owned();
        seen.lock().unwrap().push((name, body.len()));
        StatusCode::NO_CONTENT
    }
    let seen: Seen = Default::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/reports", listener.local_addr().unwrap());
    let router =
        axum::Router::new().route("/reports", post(take)).with_state(seen.clone()).layer(axum::extract::DefaultBodyLimit::max(64 << 20));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen.0, seen.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_catches_up_once_after_a_downtime_tries_again_and_remembers() {
    let (url, asked, seen) = moody().await;
    let out = tempfile::tempdir().unwrap();
    let plan = Plan {
        name: "nightly".into(),
        template: Template::Daily,
        at: At { hour: 0, minute: 0 },
        weekday: Weekday::default(),
        day: 1,
        zone: Zone::default(),
        lang: Lang::Ko,
        formats: vec![Format::Pdf, Format::Csv],
        clusters: vec!["cluster1".into()],
        delivery: Delivery {
            directory: Some(out.path().to_owned()),
            webhook: Some(kcloud_monitor::history::Endpoint::new(&url, None, None, std::time::Duration::from_secs(10)).unwrap()),
        },
    };
    let settings = Settings { plans: vec![plan], ..Settings::default() };
    let running = Running::start_with(&[], Vec::new(), |options| {
        put_past(options);
        // It was made three days ago, then the host was down.
        std::fs::create_dir_all(&options.reports_dir).unwrap();
        let kept = json!({ "nightly": { "done_ms": yesterday() - 2 * DAY } });
        std::fs::write(options.reports_dir.join("schedule.json"), kept.to_string()).unwrap();
    })
    .await;
    running.host.app.reports.set(settings.clone());
    let state = async |running: &Running| running.get("/api/v1/export/templates").await.1["schedules"][0].clone();
    let failed = until("a failed run", async || {
        let state = state(&running).await;
        (state["last_run"]["result"] == "failed").then_some(state)
    })
    .await;
    assert!(failed["last_run"]["error"].as_str().unwrap().contains("answered 500") && failed["retry_at"].is_string(), "{failed}");
    let done = until("a good run", async || {
        let state = state(&running).await;
        (state["last_run"]["result"] == "ok").then_some(state)
    })
    .await;
    let names = ["pdf", "csv"].map(|kind| format!("nightly-kcloud-daily-cluster1-{}.{kind}", date(yesterday())));
    assert_eq!(done["last_run"]["files"], json!(names));
    let mut there: Vec<String> = std::fs::read_dir(out.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    let mut expected = names.to_vec();
    expected.sort();
    assert_eq!(there, expected, "one day only, and nothing half-written");
    let sizes: Vec<(String, usize)> = seen.lock().unwrap().clone();
    assert_eq!(sizes.iter().map(|s| &s.0).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    assert!(sizes.iter().all(|(name, size)| std::fs::metadata(out.path().join(name)).unwrap().len() == *size as u64));
    let (_, metrics) = running.get("/api/v1/system/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains(r#"kcloud_report_runs_total{schedule="nightly",result="ok"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"kcloud_report_runs_total{schedule="nightly",result="failed"} 1"#));
    // A restart knows what was done.
    let count = asked.load(Ordering::SeqCst);
    let running = running.restart(Vec::new()).await;
    running.host.app.reports.set(settings);
    let kept = state(&running).await;
    assert_eq!((&kept["last_run"]["result"], &kept["last_success"]), (&json!("ok"), &done["last_success"]));
    assert_eq!(asked.load(Ordering::SeqCst), count);
}

fn command(running: &Running, arguments: &[&str], to: &Path) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kcloud-monitor-under-test"));
    command.args(arguments).current_dir(to).stdin(Stdio::null());
    command.env("KCLOUD_URL", &running.base).env("KCLOUD_USER", "admin").env("KCLOUD_PASSWORD", "changeme");
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_writes_whole_files_or_none_and_watches() {
    let running = running().await;
    let to = tempfile::tempdir().unwrap();
    let names = || std::fs::read_dir(to.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    let run = |arguments: &[&str]| tokio::task::block_in_place(|| command(&running, arguments, to.path()));
    let out = run(&["export", "report", "--format", "json", "--template", "daily"]);
    assert!(out.status.success() && out.stdout.is_empty(), "{out:?}");
    assert_eq!(names(), [format!("kcloud-daily-{}.json", date(yesterday()))]);
    let out = run(&["export", "report", "--format", "csv", "--output", "-"]);
    assert!(out.status.success() && out.stdout.starts_with(b"section,"), "{out:?}");
    let out = run(&["export", "report", "--template", "hourly"]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && said.contains("daily, weekly, monthly, custom"), "{said}");
    assert_eq!(names().len(), 1, "no half file");
    let out = run(&["watch", "power", "--count", "1", "--output", "json"]);
    assert!(out.status.success(), "{out:?}");
    let out = run(&["watch", "gpus", "--count", "1"]);
    assert!(String::from_utf8(out.stdout).unwrap().starts_with("0 GPUs"));
    let out = run(&["watch", "power", "--count", "1", "--by", "planet"]);
    assert!(!out.status.success() && String::from_utf8(out.stderr).unwrap().contains("breakdown_by"));
}
