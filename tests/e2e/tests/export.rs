//! Files of many rows, as analysts fetch them: over HTTP from a running host, compared with its history.

mod program;

use std::process::{Command, Stdio};

use kcloud_e2e::{Running, fleet, until, world};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;
use kcloud_monitor::export::{Exports, Limits};
use kcloud_monitor::history::Aggregate;
use kcloud_monitor::inventory::Kind;
use program::{PASSWORD, Program};
use serde_json::{Value, json};

async fn running() -> Running {
    let (fleet, address) = fleet(2, Faults::default()).await;
    let running = Running::start(&["nvidia-dcgm"], demo_settings(&fleet, address)).await;
    world::put(&running.host.app.inventory);
    until("18 cards", async || (running.get("/api/v1/accelerators/gpus").await.1["metadata"]["total_count"] == 18).then_some(())).await;
    running
}

async fn send(running: &Running, method: reqwest::Method, path: &str) -> reqwest::Response {
    let request = running.client.request(method, format!("{}/api/v1/export/{path}", running.base));
    request.basic_auth("admin", Some("changeme")).send().await.unwrap()
}

async fn bytes(running: &Running, path: &str) -> Vec<u8> {
    let response = send(running, reqwest::Method::GET, path).await;
    assert_eq!(response.status(), 200, "{path}");
    response.bytes().await.unwrap().to_vec()
}

/// A window of whole seconds that ended, as a query.
async fn closed_window(running: &Running) -> (i64, i64, String) {
    let start = kcloud_monitor::now_ms() / 1_000 * 1_000 - 1_000;
    let end = start + 4_000;
    until("the window is over", async || (running.host.app.inventory.current().at_ms > end + 1_000).then_some(())).await;
    (start, end, format!("start_time={}&end_time={}", rfc3339(start), rfc3339(end)))
}

/// RFC 3339 of whole seconds.
fn rfc3339(ms: i64) -> String {
    let days = ms.div_euclid(86_400_000);
    let (z, s) = (days + 719_468, ms.rem_euclid(86_400_000) / 1_000);
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let y = yoe + era * 400 + i64::from(m <= 2);
    format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}Z", s / 3_600, s / 60 % 60, s % 60)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_what_history_holds() {
    let running = running().await;
    let (start, end, window) = closed_window(&running).await;
    let body =
        bytes(&running, &format!("metrics?metric_name=power,temperature,memory_used_bytes&resource_type=gpus&step=raw&{window}")).await;
    let whole: Value = serde_json::from_slice(&body).unwrap();
    let rows = whole["data"].as_array().unwrap();
    let snapshot = running.host.app.inventory.current();
    let mut seen = 0;
    for card in snapshot.of_kind(Kind::Accelerator) {
        for (column, metric) in
            [("power_watts", "power_watts"), ("temperature_celsius", "temperature_celsius"), ("memory_used_bytes", "memory_used_bytes")]
        {
            let history = running.host.app.history.raw(&card.id, metric, start, end).unwrap();
            let exported: Vec<f64> = rows.iter().filter(|r| r["resource_id"] == *card.id).filter_map(|r| r[column].as_f64()).collect();
            let values: Vec<f64> = history.iter().filter_map(|(_, v)| *v).collect();
            assert_eq!(exported.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
            seen += values.len();
        }
    }
    assert!(seen > 16 * 3, "{seen} values");
    assert_eq!(whole["metadata"]["total_count"], rows.len());
    assert_eq!(whole["metadata"]["columns"]["memory_used_bytes"]["unit"], "bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_named_with_what_is_allowed() {
    let running = running().await;
    for (query, expected) in [
        ("metrics?format=xml", "csv"),
        ("metrics?metric_name=wats", "temperature_celsius"),
        ("metrics?resource_type=cars", "sensors"),
        ("metrics?step=0s", "number with a unit"),
        ("metrics?step=raw&aggregate=average", "nothing with step=raw"),
        ("metrics?resource_type=all&period=1w&step=1s", "/api/v1/export/jobs"),
        ("metrics?color=red", "metric_name"),
        ("power?breakdown_by=workload", "namespace"),
        ("power?breakdown_by=node&resource_type=gpus", "one of the two"),
        ("power?start_time=2026-01-01", "RFC 3339"),
    ] {
        let response = send(&running, reqwest::Method::GET, query).await;
        assert_eq!(response.status(), 400, "{query}");
        let body = response.text().await.unwrap();
        assert!(body.contains(expected), "{query}: {body}");
    }
    assert_eq!(send(&running, reqwest::Method::GET, "power?cluster=nowhere").await.status(), 404);
    let nobody = running.client.get(format!("{}/api/v1/export/power", running.base)).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_what_it_is_and_is_not_sent_again_while_nothing_changed() {
    let running = running().await;
    let path = "power?format=csv&start_time=2026-01-01T00:00:00Z&end_time=2026-01-02T09:00:00%2B09:00&breakdown_by=vendor";
    let head = send(&running, reqwest::Method::HEAD, path).await;
    let header = |r: &reqwest::Response, name: &str| r.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(head.status(), 200);
    assert_eq!(header(&head, "content-type"), "text/csv; charset=utf-8");
    assert_eq!(header(&head, "content-disposition"), "attachment; filename=\"kcloud-power_20260101T000000Z_20260102T000000Z.csv\"");
    let expected: usize = header(&head, "x-export-rows-expected").parse().unwrap();
    let body = bytes(&running, path).await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(text.lines().count(), expected + 1, "{text}");
    assert!(text.contains(",unattributed,") && text.contains(",nvidia,"), "{text}");
    let again = running.client.get(format!("{}/api/v1/export/{path}", running.base)).basic_auth("admin", Some("changeme"));
    let again = again.header("if-none-match", header(&head, "etag")).send().await.unwrap();
    assert_eq!(again.status(), 304);
    // Parts and total add up as means alone: of anything else nothing is said to be left.
    let most = String::from_utf8(bytes(&running, &format!("{path}&aggregate=maximum")).await).unwrap();
    assert!(!most.contains(",unattributed,") && most.contains(",nvidia,"), "{most}");
    let formats = running.get("/api/v1/export/formats").await.1;
    assert_eq!(formats["formats"]["csv"]["file_extension"], ".csv");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_stops_the_work() {
    let running = running().await;
    // Many empty rows: long enough to go away from, and nothing to wait for.
    let mut response = send(&running, reqwest::Method::GET, "metrics?format=csv&resource_type=gpus&period=12h&step=1s").await;
    assert_eq!(response.status(), 200);
    assert!(!response.chunk().await.unwrap().unwrap().is_empty());
    assert_eq!(running.host.app.exports.active(), 1);
    drop(response);
    until("the work ended", async || (running.host.app.exports.active() == 0).then_some(())).await;
    let text = running.get("/api/v1/system/metrics").await.1.as_str().unwrap().to_owned();
    assert!(text.contains("kcloud_export_files_total{as=\"answer\",format=\"csv\",result=\"stopped\"} 1"), "{text}");
    let rows: u64 =
        text.lines().find_map(|l| l.strip_prefix("kcloud_export_rows_total{as=\"answer\",format=\"csv\"} ")).unwrap().parse().unwrap();
    assert!(rows < 500_000, "{rows} rows were written for nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_to_its_end_does_not_end_like_a_whole_one() {
    let running = running().await;
    let mut response = send(&running, reqwest::Method::GET, "metrics?format=csv&resource_type=gpus&period=12h&step=1s").await;
    assert!(!response.chunk().await.unwrap().unwrap().is_empty());
    // The host is on its way down while it is read.
    running.host.app.exports.end();
    let end = loop {
        match response.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "half a file was given out as a whole one");
}

/// Names that break files: formulas, quotes, line ends, Korean, emoji, NUL, and one of ten thousand characters.
fn nasty() -> Vec<String> {
    let mut all: Vec<String> =
        ["=1+2", "+82-2", "-5", "@SUM(A1)", "a\"b,c;d", "one\ntwo\r\nthree", "🔥 가속기 온도계", "nul\0inside", "\ttab", "서울 1호기"]
            .map(str::to_owned)
            .into();
    all.push("가".repeat(10_000));
    all
}

/// Cards with these names in the model, and some observations of each in history.
async fn put_nasty(running: &Running) {
    for round in 0..3 {
        let mut says = world::Says::default();
        for (i, name) in nasty().iter().enumerate() {
            let uuid = format!("GPU-nasty-{i}");
            let watts = 100.0 + i as f64 / 3.0 + f64::from(round) * 0.1;
            says.of(
                Kind::Accelerator,
                None,
                &[("uuid", &uuid), ("node", "worker9")],
                &[("class", "gpu"), ("name", name)],
                &[("power_watts", world::Is::Number(watts))],
            );
        }
        says.say(&running.host.app.inventory, "made", "cluster1");
        let published = running.host.app.inventory.current().sequence;
        until("it is published", async || (running.host.app.inventory.current().sequence > published).then_some(())).await;
    }
}

/// The tools of analysts in an environment of their own under target/, made on the first run.
fn analysts() -> Result<std::path::PathBuf, String> {
    let dir = kcloud_e2e::root().join("target/tools/analysts");
    let (python, done) = (dir.join("bin/python"), dir.join("complete"));
    if done.is_file() {
        return Ok(python);
    }
    let run = |command: &mut Command| match command.stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("{command:?}: {other:?}")),
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    let packages = ["pyarrow==26.0.1", "duckdb==2.0.1", "pandas==3.1.1", "openpyxl==3.1.5"];
    run(Command::new(dir.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    std::fs::write(&done, "").map_err(|e| e.to_string())?;
    Ok(python)
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_analysts_read_every_format_with_the_values_of_history() {
    let python = match tokio::task::spawn_blocking(analysts).await.unwrap() {
        Ok(python) => python,
        Err(why) => {
            eprintln!("NOT RUN: pyarrow, duckdb, pandas and openpyxl from PyPI could not be installed: {why}");
            return;
        }
    };
    let running = running().await;
    put_nasty(&running).await;
    let (start, end, window) = closed_window(&running).await;
    let (start, window) = (start - 4_000, window.replace(&rfc3339(start), &rfc3339(start - 4_000)));
    let dir = tempfile::tempdir().unwrap();
    for (file, format) in [
        ("rows.csv", "csv"),
        ("bom.csv", "csv&bom=true"),
        ("rows.parquet", "parquet"),
        ("rows.json", "json"),
        ("rows.ndjson", "ndjson"),
        ("rows.xlsx", "excel"),
    ] {
        let path = format!("metrics?metric_name=power&resource_type=gpus&step=1s&{window}&format={format}");
        std::fs::write(dir.path().join(file), bytes(&running, &path).await).unwrap();
    }
    let snapshot = running.host.app.inventory.current();
    let (mut rows, mut names) = (Vec::new(), Vec::new());
    for card in snapshot.of_kind(Kind::Accelerator) {
        let steps = running.host.app.history.range(&card.id, "power_watts", (start, end), 1_000, Aggregate::Average).unwrap();
        rows.extend(steps.iter().map(|(at, v)| json!({ "id": &*card.id, "at": at, "watts": v })));
        names.push(json!({ "id": &*card.id, "name": card.label("name").or(card.label("device")) }));
    }
    let known = nasty();
    let kept = names.iter().filter(|n| known.iter().any(|k| n["name"] == **k)).count();
    assert!(kept == known.len() && rows.iter().any(|r| r["watts"].is_null()) && rows.iter().any(|r| r["watts"].is_f64()), "{kept}");
    std::fs::write(dir.path().join("truth.json"), json!({ "rows": rows, "names": names }).to_string()).unwrap();
    let script = kcloud_e2e::root().join("tests/e2e/tests/export/read.py");
    let folder = dir.path().to_owned();
    let out = tokio::task::spawn_blocking(move || Command::new(python).arg(script).arg(folder).output().unwrap()).await.unwrap();
    let (said, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}\n{error}");
    let read: Value = serde_json::from_str(&said).unwrap();
    assert!(read.as_object().unwrap().len() >= 10 && read.as_object().unwrap().values().all(|n| *n == rows.len()), "{read}");
    libre_office(dir.path());
}

/// LibreOffice makes a PDF of the workbook, in which `pdftotext` finds what was written.
fn libre_office(dir: &std::path::Path) {
    if Command::new("soffice").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("NOT RUN: no LibreOffice; `apt-get install --no-install-recommends libreoffice-calc` (cargo xtask test tries to)");
        return;
    }
    let profile = format!("-env:UserInstallation=file://{}/profile", dir.display());
    let mut convert = Command::new("soffice");
    convert.args([profile.as_str(), "--headless", "--convert-to", "pdf", "--outdir"]).arg(dir).arg(dir.join("rows.xlsx"));
    let out = convert.output().unwrap();
    assert!(out.status.success() && dir.join("rows.pdf").is_file(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = match Command::new("pdftotext").args(["-layout"]).arg(dir.join("rows.pdf")).arg("-").output() {
        Ok(out) => String::from_utf8_lossy(&out.stdout).into_owned(),
        Err(error) => return eprintln!("NOT RUN: no pdftotext ({error}); `apt-get install poppler-utils`"),
    };
    for expected in ["KCloud Monitor: metrics of gpus", "power_watts", "서울 1호기", "@SUM(A1)", "=1+2"] {
        assert!(text.contains(expected), "{expected} is not in the PDF: {}", &text[..text.floor_char_boundary(4_000)]);
    }
}

async fn post(running: &Running, body: Value) -> (u16, Value) {
    let request = running.client.post(format!("{}/api/v1/export/jobs", running.base)).basic_auth("admin", Some("changeme"));
    let response = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
    let (status, location) = (response.status().as_u16(), response.headers().get("location").map(|l| l.to_str().unwrap().to_owned()));
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    if status == 202 {
        assert_eq!(location.as_deref(), Some(format!("/api/v1/export/jobs/{}", answer["id"].as_str().unwrap()).as_str()));
    }
    (status, answer)
}

async fn job_is(running: &Running, id: &str, state: &str) -> Value {
    until(&format!("the job is {state}"), async || {
        let (status, job) = running.get(&format!("/api/v1/export/jobs/{id}")).await;
        assert_eq!(status, 200, "{job}");
        assert!(job["state"] == state || !["failed", "done"].contains(&job["state"].as_str().unwrap()), "{job}");
        (job["state"] == state).then_some(job)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_writes_the_file_of_the_answer_and_gives_parts_of_it() {
    let running = running().await;
    let (_, _, window) = closed_window(&running).await;
    let query = "metric_name=power,temperature&resource_type=gpus&step=1s&format=csv";
    let answer = bytes(&running, &format!("metrics?{query}&{window}")).await;
    let mut order =
        json!({ "what": "metrics", "metric_name": ["power", "temperature"], "resource_type": "gpus", "step": "1s", "format": "csv" });
    for pair in window.split('&') {
        let (name, value) = pair.split_once('=').unwrap();
        order[name] = json!(value);
    }
    let (status, job) = post(&running, order.clone()).await;
    assert_eq!((status, &job["owner"]), (202, &json!("admin")));
    let id = job["id"].as_str().unwrap().to_owned();
    let job = job_is(&running, &id, "done").await;
    assert_eq!((&job["percent"], &job["rows"], job["bytes"].as_u64()), (&json!(100.0), &job["rows_expected"], Some(answer.len() as u64)));
    let file = job["file"].as_str().unwrap().to_owned();
    let get = async |range: Option<&str>| {
        let mut request = running.client.get(format!("{}{file}", running.base)).basic_auth("admin", Some("changeme"));
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let response = request.send().await.unwrap();
        let name = response.headers().get("content-disposition").map(|v| v.to_str().unwrap().to_owned());
        (response.status().as_u16(), name, response.bytes().await.unwrap().to_vec())
    };
    let (status, name, whole) = get(None).await;
    assert_eq!((status, &whole), (200, &answer));
    assert!(name.unwrap().ends_with(".csv\""));
    let (status, _, part) = get(Some("bytes=10-19")).await;
    assert_eq!((status, part.as_slice()), (206, &answer[10..20]));
    assert_eq!(get(Some(&format!("bytes={}-", answer.len() + 5))).await.0, 416);
    assert_eq!(running.get("/api/v1/export/jobs").await.1["metadata"]["total_count"], 1);
    let gone = running.client.delete(format!("{}/api/v1/export/jobs/{id}", running.base)).basic_auth("admin", Some("changeme"));
    assert_eq!(gone.send().await.unwrap().status(), 200);
    assert_eq!((running.get(&format!("/api/v1/export/jobs/{id}")).await.0, get(None).await.0), (404, 404));
    for (wrong, expected) in [
        (json!({ "what": "cars" }), "metrics, power"),
        (json!({ "what": "power", "color": "red" }), "breakdown_by"),
        (json!({ "what": "metrics", "metric_name": "wats" }), "temperature_celsius"),
        (json!([]), "\\\"what\\\""),
    ] {
        let (status, answer) = post(&running, wrong.clone()).await;
        assert!(status == 400 && answer.to_string().contains(expected), "{wrong}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_can_be_watched_and_ended_and_is_its_owners_alone() {
    let running = running().await;
    // Far more than one machine writes while somebody looks.
    let order =
        json!({ "what": "metrics", "metric_name": "power", "resource_type": "gpus", "step": "1s", "period": "60d", "format": "parquet" });
    let (_, job) = post(&running, order.clone()).await;
    let id = job["id"].as_str().unwrap().to_owned();
    let far = until("it is under way", async || {
        let job = running.get(&format!("/api/v1/export/jobs/{id}")).await.1;
        (job["state"] == "running" && job["percent"].as_f64()? >= 1.0).then_some(job)
    })
    .await;
    assert!(
        far["rows"].as_u64() > Some(0)
            && far["seconds_left"].as_f64() > Some(0.0)
            && far["rows_expected"].as_u64() >= Some(18 * 60 * 86_400),
        "{far}"
    );
    let file = running.get(&format!("/api/v1/export/jobs/{id}/file")).await;
    assert_eq!((file.0, &file.1["error"]["code"]), (409, &json!("CONFLICT")));
    // Another with the scope `export` does not see it.
    let key = running.client.post(format!("{}/api/v1/auth/keys", running.base)).basic_auth("admin", Some("changeme"));
    let key = key.body(json!({ "name": "other", "scopes": ["read", "export"] }).to_string()).send().await.unwrap().text().await.unwrap();
    let key = serde_json::from_str::<Value>(&key).unwrap()["api_key"].as_str().unwrap().to_owned();
    let other = async |method: reqwest::Method, path: &str| {
        let request = running.client.request(method, format!("{}/api/v1/export/jobs{path}", running.base)).bearer_auth(&key);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(other(reqwest::Method::GET, &format!("/{id}")).await.0, 404);
    assert_eq!(other(reqwest::Method::DELETE, &format!("/{id}")).await.0, 404);
    assert!(other(reqwest::Method::GET, "").await.1.contains("\"total_count\":0"));
    let end = running.client.delete(format!("{}/api/v1/export/jobs/{id}", running.base)).basic_auth("admin", Some("changeme"));
    assert_eq!(end.send().await.unwrap().status(), 200);
    let job = job_is(&running, &id, "cancelled").await;
    assert_eq!((&job["bytes"], &job["file"]), (&json!(0), &Value::Null));
    let left: Vec<_> = std::fs::read_dir(running.dir.path().join("exports")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().ends_with(".part") || n.to_string_lossy().ends_with(".file")), "{left:?}");
    let text = running.get("/api/v1/system/metrics").await.1.as_str().unwrap().to_owned();
    assert!(text.contains("kcloud_export_jobs{state=\"cancelled\"} 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_grows_beyond_its_limit_fails_and_says_so() {
    let (fleet, address) = fleet(1, Faults::default()).await;
    let limits = Limits { max_file_bytes: 300_000, max_jobs: 4, ..Limits::default() };
    let running = Running::start_with(&["nvidia-dcgm"], demo_settings(&fleet, address), |o| {
        o.exports = Exports::open(&o.state_dir.with_file_name("small"), limits).unwrap();
    })
    .await;
    until("8 cards", async || (running.get("/api/v1/accelerators/gpus").await.1["metadata"]["total_count"] == 8).then_some(())).await;
    let order = json!({ "what": "metrics", "resource_type": "gpus", "step": "1s", "period": "1d", "format": "ndjson" });
    let id = post(&running, order.clone()).await.1["id"].as_str().unwrap().to_owned();
    let job = until("it failed", async || {
        let job = running.get(&format!("/api/v1/export/jobs/{id}")).await.1;
        (job["state"] == "failed").then_some(job)
    })
    .await;
    assert!(job["error"].as_str().unwrap().contains("larger than 300000 bytes"), "{job}");
    post(&running, order.clone()).await;
    let (status, answer) = post(&running, order).await;
    assert!(status == 503 && answer.to_string().contains("2 jobs are kept"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_a_job_that_was_under_way_says_that_it_was_interrupted() {
    let (fleet, address) = fleet(1, Faults::default()).await;
    let mut program = Program::start(|_| String::new());
    let text = format!(
        "interval = \"200ms\"\n[grants]\nhttp = \"targets\"\n[[targets]]\nid = \"t\"\naddress = \"http://{address}/nodes/{}/metrics\"\n",
        fleet.node_name(0)
    );
    std::fs::write(program.dir.path().join("plugins.d/nvidia-dcgm.toml"), text).unwrap();
    until("8 cards", async || (program.get("/api/v1/accelerators/gpus").await?["metadata"]["total_count"] == 8).then_some(())).await;
    let send = async |method: reqwest::Method, path: &str, body: String| {
        let request =
            program.client.request(method, format!("http://127.0.0.1:{}{path}", program.port)).basic_auth("admin", Some(PASSWORD));
        let response = request.body(body).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    };
    let order = async |order: Value| {
        let (status, answer) = send(reqwest::Method::POST, "/api/v1/export/jobs", order.to_string()).await;
        assert_eq!(status, 202, "{}", String::from_utf8_lossy(&answer));
        serde_json::from_slice::<Value>(&answer).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let done = order(json!({ "what": "power", "format": "excel" })).await;
    let state = async |id: &str, state: &str| {
        let job = program.get(&format!("/api/v1/export/jobs/{id}")).await?;
        (job["state"] == state && (state != "running" || job["rows"].as_u64()? > 100_000)).then_some(job)
    };
    until("a small one is done", async || state(&done, "done").await).await;
    let (_, file) = send(reqwest::Method::GET, &format!("/api/v1/export/jobs/{done}/file"), String::new()).await;
    let mut long = Vec::new();
    for format in ["csv", "excel"] {
        let id = order(
            json!({ "what": "metrics", "metric_name": "power", "resource_type": "gpus", "period": "90d", "step": "1s", "format": format }),
        )
        .await;
        until("a long one is under way", async || state(&id, "running").await).await;
        long.push(id);
    }
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    program.child = Program::spawn(program.dir.path(), &[]);
    for id in &long {
        let path = format!("/api/v1/export/jobs/{id}");
        let job = until("the job is known", async || program.get(&path).await.filter(|j| j["state"] == "interrupted")).await;
        assert!(job["file"].is_null() && job["error"].as_str().unwrap().contains("ended before"), "{job}");
        let request = program.client.get(format!("http://127.0.0.1:{}{path}/file", program.port)).basic_auth("admin", Some(PASSWORD));
        assert_eq!(request.send().await.unwrap().status(), 409);
    }
    let request = program.client.get(format!("http://127.0.0.1:{}/api/v1/export/jobs/{done}/file", program.port));
    let again = request.basic_auth("admin", Some(PASSWORD)).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(again.as_ref(), file, "what was done is whole");
    let left: Vec<_> = std::fs::read_dir(program.dir.path().join("data/exports")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.iter().filter(|n| n.to_string_lossy().ends_with(".file")).count(), 1, "{left:?}");
    assert!(!left.iter().any(|n| n.to_string_lossy().ends_with(".part")), "{left:?}");
    assert_eq!(std::fs::read_dir(program.dir.path().join("data/exports/scratch")).unwrap().count(), 0);
}
