//! The installed program as an operator runs it: files, signals, certificates, a kill.

use std::path::Path;

mod program;

use kcloud_e2e::{fleet, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::api::WebOrigin;
use program::{PASSWORD, Program, binary};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn files_are_taken_over_while_it_runs_and_what_is_wrong_leaves_the_last_good_in_force() {
    let (fleet, address) = fleet(2, Faults::default()).await;
    let program = Program::start(|_| String::new());
    let target = |i: usize| format!("[[targets]]\nid = \"t{i}\"\naddress = \"http://{address}/nodes/{}/metrics\"\n", fleet.node_name(i));
    let settings = program.dir.path().join("plugins.d/nvidia-dcgm.toml");
    let sd = program.dir.path().join("sd.json");
    let head = format!("interval = \"500ms\"\ntarget_files = {{ paths = [{:?}] }}\n[grants]\nhttp = \"targets\"\n", sd);
    std::fs::write(&sd, "[]").unwrap();
    std::fs::write(&settings, head.clone() + &target(0)).unwrap();
    let cards = async |n: u64| (program.get("/api/v1/accelerators/gpus").await?["metadata"]["total_count"].as_u64()? == n).then_some(());
    until("8 cards of a target in plugins.d", async || cards(8).await).await;
    let group =
        format!("[{{\"targets\": [\"{address}\"], \"labels\": {{\"__metrics_path__\": \"/nodes/{}/metrics\"}}}}]", fleet.node_name(1));
    std::fs::write(&sd, group).unwrap();
    until("8 more of a file of targets", async || cards(16).await).await;

    let main = program.dir.path().join("kcloud-monitor.toml");
    let good = std::fs::read_to_string(&main).unwrap();
    std::fs::write(&main, good.clone() + "[clusters.cluster2]\nregion = \"here\"\n").unwrap();
    until("another cluster", async || program.get("/api/v1/clusters/cluster2").await.filter(|b| b["data"]["region"] == "here")).await;
    std::fs::write(&main, good.clone() + "[clusterss.x]\n").unwrap();
    let state =
        until("the mistake is said", async || program.get("/api/v1/system/status").await.filter(|b| b["config"]["state"] == "rejected"))
            .await;
    assert!(!state.to_string().contains("kcloud-monitor.toml"), "no path in a body: {state}");
    assert!(program.log().contains("clusterss"), "{}", program.log());
    assert!(
        program.get("/api/v1/clusters/cluster2").await.is_some_and(|b| b["data"]["name"] == "cluster2"),
        "the last good one is in force"
    );
    std::fs::write(&main, good).unwrap();
    program.signal("-HUP");
    until("it is good again", async || program.get("/api/v1/system/status").await.filter(|b| b["config"]["state"] == "ok")).await;
    assert!(program.log().contains("SIGHUP"));
    assert!(cards(16).await.is_some(), "nothing was lost on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_history_that_was_shown_is_there() {
    let (fleet, address) = fleet(1, Faults::default()).await;
    let mut program = Program::start(|_| String::new());
    let text = format!(
        "interval = \"200ms\"\n[grants]\nhttp = \"targets\"\n[[targets]]\nid = \"t\"\naddress = \"http://{address}/nodes/{}/metrics\"\n",
        fleet.node_name(0)
    );
    std::fs::write(program.dir.path().join("plugins.d/nvidia-dcgm.toml"), text).unwrap();
    let card = fleet.truth(0).cards[0].uuid.clone();
    let mut shown: Vec<(String, f64)> = Vec::new();
    for round in 0..5 {
        let series = |b: Value| -> Option<Vec<(String, f64)>> {
            let all = b["data"]["timeseries"]["temperature_celsius"].as_array()?.clone();
            // The step that is still filling may change.
            let closed = all.len().checked_sub(1)?;
            Some(all[..closed].iter().filter_map(|p| Some((p["timestamp"].as_str()?.to_owned(), p["value"].as_f64()?))).collect())
        };
        let path = format!("/api/v1/accelerators/gpus/{card}/metrics?period=1h&step=1s");
        let now = until("a step more than before", async || {
            let now = program.get(&path).await.and_then(series)?;
            (now.len() > shown.len()).then_some(now)
        })
        .await;
        assert!(shown.iter().all(|p| now.contains(p)), "round {round}: {shown:?} is not in {now:?}");
        shown = now;
        program.child.kill().unwrap();
        program.child.wait().unwrap();
        program.child = Program::spawn(program.dir.path(), &[]);
    }
}

fn certificate(dir: &Path, name: &str) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let write = |file: &str, text: String| {
        // Beside, then renamed, as those that renew certificates do.
        std::fs::write(dir.join("part"), text).unwrap();
        std::fs::rename(dir.join("part"), dir.join(file)).unwrap();
    };
    write("key.pem", made.signing_key.serialize_pem());
    write("chain.pem", made.cert.pem());
    std::fs::write(dir.join(name), made.cert.pem()).unwrap();
    made.cert.pem().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_takes_a_new_certificate_and_keeps_the_last_good_one() {
    let program = Program::start(|dir| {
        certificate(dir, "first.pem");
        format!("tls = {{ certificate = {:?}, key = {:?} }}", dir.join("chain.pem"), dir.join("key.pem"))
    });
    let url = format!("https://localhost:{}/livez", program.port);
    let trusting = |pem: &[u8]| {
        let only = reqwest::Certificate::from_pem(pem).unwrap();
        // A new connection each time: an open one keeps the certificate that it began with.
        reqwest::Client::builder().tls_certs_only([only]).pool_max_idle_per_host(0).build().unwrap()
    };
    let first = trusting(&std::fs::read(program.dir.path().join("first.pem")).unwrap());
    until("HTTPS answers", async || first.get(&url).send().await.ok().filter(|r| r.status() == 200)).await;
    let second = trusting(&certificate(program.dir.path(), "second.pem"));
    assert!(second.get(&url).send().await.is_err(), "not taken yet");
    until("the new certificate is taken", async || second.get(&url).send().await.ok()).await;
    assert!(first.get(&url).send().await.is_err(), "the old one is out of force");
    std::fs::write(program.dir.path().join("chain.pem"), "no certificate").unwrap();
    program.signal("-HUP");
    until("the mistake is said", async || program.log().contains("certificate not taken").then_some(())).await;
    assert!(second.get(&url).send().await.is_ok(), "the last good one goes on");
    assert!(reqwest::get(format!("http://127.0.0.1:{}/livez", program.port)).await.is_err(), "no plain HTTP beside it");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_told_to_and_says_what_keeps_it_from_starting() {
    let mut program = Program::start(|_| String::new());
    until("it answers", async || program.get("/api/v1/system/health").await).await;
    program.signal("-TERM");
    let ended = until("it ends", async || program.child.try_wait().unwrap()).await;
    assert!(ended.success(), "{ended}");
    std::fs::write(program.dir.path().join("plugins.d/absent.toml"), "on_missing = \"fail\"\n").unwrap();
    let ended = Program::spawn(program.dir.path(), &[]).wait().unwrap();
    assert!(!ended.success() && program.log().contains("absent.wasm is missing"), "{}", program.log());
    std::fs::remove_file(program.dir.path().join("plugins.d/absent.toml")).unwrap();
    let port = format!("tls = {{ certificate = {:?}, key = \"/no/such\" }}", program.dir.path().join("none.pem"));
    Program::prepare(program.dir.path(), program.port, &port);
    let ended = Program::spawn(program.dir.path(), &[]).wait().unwrap();
    assert!(!ended.success() && program.log().contains("none.pem"), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tickets_open_what_they_are_for() {
    let program = Program::start(|_| String::new());
    until("it answers", async || program.get("/api/v1/system/health").await).await;
    let data = program.dir.path().join("data");
    let out = binary().args(["token", "create", "grafana", "--scopes", "read", "--data-dir"]).arg(&data).output().unwrap();
    let key = String::from_utf8(out.stdout).unwrap().trim().to_owned();
    assert!(key.starts_with("kcm_"), "{key}");
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", program.port);
    let with = async |path: &str| program.client.get(url(path)).bearer_auth(&key).send().await.unwrap().status().as_u16();
    until("a running host takes the key", async || (with("/api/v1/accelerators/gpus").await == 200).then_some(())).await;
    assert_eq!(with("/api/v1/auth/keys").await, 403, "a key for reading makes no keys");
    let ticket: Value = serde_json::from_str(
        &program.client.post(url("/api/v1/auth/ticket")).bearer_auth(&key).send().await.unwrap().text().await.unwrap(),
    )
    .unwrap();
    let once = url(&format!("/api/v1/clusters?ticket={}", ticket["ticket"].as_str().unwrap()));
    let status = async || program.client.get(&once).send().await.unwrap().status().as_u16();
    assert_eq!((status().await, status().await), (200, 401));
    let body = serde_json::json!({ "name": "export", "scopes": ["read", "export"], "expires_in_days": 1 });
    let made =
        program.client.post(url("/api/v1/auth/keys")).basic_auth("admin", Some(PASSWORD)).body(body.to_string()).send().await.unwrap();
    let made: Value = serde_json::from_str(&made.text().await.unwrap()).unwrap();
    let beyond = program.client.post(url("/api/v1/auth/keys")).bearer_auth(made["api_key"].as_str().unwrap()).body(body.to_string());
    assert_eq!(beyond.send().await.unwrap().status(), 403);
    let gone = url(&format!("/api/v1/auth/keys/{}", made["id"].as_str().unwrap()));
    assert_eq!(program.client.delete(&gone).basic_auth("admin", Some(PASSWORD)).send().await.unwrap().status(), 200);
    assert_eq!(program.client.delete(&gone).basic_auth("admin", Some(PASSWORD)).send().await.unwrap().status(), 404);
    let listed = binary().args(["token", "list", "--data-dir"]).arg(&data).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("grafana") && !listed.contains("export") && !listed.contains(&key), "{listed}");
}

#[test]
fn the_commands_that_look_say_what_they_see() {
    let dir = tempfile::tempdir().unwrap();
    Program::prepare(dir.path(), 1, "");
    let config = dir.path().join("kcloud-monitor.toml");
    let run = |args: &[&str]| {
        let out = binary().args(args).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    };
    let file = config.to_str().unwrap();
    assert_eq!(run(&["config", "check", file]), (Some(0), "ok\n".into()));
    let (code, printed) = run(&["config", "print", file, "--show-origin"]);
    assert!(
        code == Some(0) && printed.contains("log.level = \"info\"  # default") && printed.contains("kcloud-monitor.toml:3"),
        "{printed}"
    );
    let (code, listed) = run(&["plugin", "list", "--config", file]);
    assert!(code == Some(0) && listed.contains("nvidia-dcgm") && listed.contains("would not run: it asks for http"), "{listed}");
    let (code, checked) = run(&["plugin", "check", "nvidia-dcgm", "--config", file]);
    assert!(code == Some(2) && checked.contains("http"), "{checked}");
    std::fs::write(dir.path().join("plugins.d/nvidia-dcgm.toml"), "[grants]\nhttp = \"targets\"\n[config]\ntransport = \"pigeon\"\n")
        .unwrap();
    let (code, checked) = run(&["plugin", "check", "nvidia-dcgm", "--config", file]);
    assert!(code == Some(2) && checked.contains("pigeon") && checked.contains("nvidia-dcgm.toml:4:1"), "{checked}");
    std::fs::write(dir.path().join("plugins.d/nvidia-dcgm.toml"), "[grants]\nhttp = \"targets\"\n").unwrap();
    let (code, checked) = run(&["plugin", "check", "nvidia-dcgm", "--config", file]);
    assert!(code == Some(0) && checked.contains("would run"), "{checked}");
    std::fs::write(dir.path().join("plugins.d/nvidia-dcgm.toml"), "[grant]\n").unwrap();
    let (code, checked) = run(&["config", "check", file]);
    assert!(code == Some(2) && checked.contains("did you mean `grants`"), "{checked}");
}

/// What a command says over this program's configuration.
fn say(program: &Program, args: &[&str]) -> (Option<i32>, String) {
    let out = binary().args(args).arg("--config").arg(program.dir.path().join("kcloud-monitor.toml")).output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_approves_and_orders_from_the_command_line() {
    let (_fleet, address) = fleet(1, Faults::default()).await;
    let program = Program::start(|_| String::new());
    let file = program.dir.path().join("plugins.d/nvidia-dcgm.toml");
    let target = format!("# mine\n[[targets]]\nid = \"worker1\"\naddress = \"http://{address}/nodes/worker1/metrics\"\n");
    std::fs::write(&file, &target).unwrap();
    let state = async |expected: &str| {
        until(expected, async || {
            let (_, said) = say(&program, &["plugin", "status"]);
            said.contains(expected).then_some(said)
        })
        .await
    };
    let said = state("waiting-for-approval").await;
    assert!(said.contains("send HTTP requests"), "{said}");
    let (code, said) = say(&program, &["plugin", "approve", "nvidia-dcgm", "--dry-run"]);
    assert!(code == Some(0) && said.contains("http: send HTTP requests"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), target, "a dry run writes nothing");
    let (code, said) = say(&program, &["plugin", "approve", "nvidia-dcgm"]);
    assert!(code == Some(0) && said.contains("granted: http = \"targets\""), "{said}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("# mine\n"));
    state("active").await;
    until("a card", async || (program.get("/api/v1/accelerators/gpus").await?["metadata"]["total_count"] == 8).then_some(())).await;
    let (code, said) = say(&program, &["plugin", "disable", "nvidia-dcgm"]);
    assert!(code == Some(0) && said.contains("switched off"), "{said}");
    state("disabled").await;
    assert_eq!(say(&program, &["plugin", "enable", "nvidia-dcgm"]).0, Some(0));
    state("active").await;
    let (code, said) = say(&program, &["plugin", "rollback", "nvidia-dcgm"]);
    assert!(code == Some(2) && said.contains("no version before"), "{said}");
    assert_eq!(say(&program, &["plugin", "reload", "nvidia-dcgm"]).0, Some(0));
    assert_eq!(say(&program, &["plugin", "reload", "no-such"]).0, Some(2));
    let (code, said) = say(&program, &["plugin", "status", "nvidia-dcgm", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&said).unwrap()["name"].as_str()), (Some(0), Some("nvidia-dcgm")));
    // Nobody else on this machine reaches the socket.
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(program.dir.path().join("data/run")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compilation_that_wants_too_much_memory_ends_and_the_host_goes_on() {
    // A variable goes before the file.
    let program = Program::start_with(|_| String::new(), &[("KCLOUD_PLUGINS__COMPILE_MEMORY", "24MiB")]);
    std::fs::write(program.dir.path().join("plugins.d/nvidia-dcgm.toml"), "[grants]\nhttp = \"targets\"\n").unwrap();
    let said = until("rejected", async || Some(say(&program, &["plugin", "status"]).1).filter(|s| s.contains("rejected"))).await;
    assert!(said.contains("does not compile") && said.contains("24 MiB"), "{said}");
    assert!(program.get("/api/v1/system/version").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_listed_origins_may_read_with_a_token_and_no_others() {
    let listed = WebOrigin::try_from("https://dashboard.example".to_owned()).unwrap();
    let running = kcloud_e2e::Running::start_with(&[], vec![], |options| options.cors = vec![listed]).await;
    let plain = kcloud_e2e::Running::start(&[], vec![]).await;
    let ask = async |running: &kcloud_e2e::Running, method: reqwest::Method, origin: &str| {
        let request = running.client.request(method, format!("{}/api/v1/system/status", running.base));
        let before = [("access-control-request-method", "GET"), ("access-control-request-headers", "authorization,if-none-match")];
        let answer = before.iter().fold(request.header("origin", origin), |r, (k, v)| r.header(*k, *v)).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        (
            answer.status().as_u16(),
            ["access-control-allow-origin", "access-control-allow-headers", "access-control-allow-credentials"].map(header),
        )
    };
    let (status, [origin, headers, credentials]) = ask(&running, reqwest::Method::OPTIONS, "https://dashboard.example").await;
    assert_eq!((status, origin.as_deref(), credentials), (200, Some("https://dashboard.example"), None));
    assert!(headers.unwrap().contains("authorization"));
    // Also what is refused can be read: a page learns why.
    let (status, [origin, ..]) = ask(&running, reqwest::Method::GET, "https://dashboard.example").await;
    assert_eq!((status, origin.as_deref()), (401, Some("https://dashboard.example")));
    for (running, origin) in [(&running, "https://evil.example"), (&running, "null"), (&plain, "https://dashboard.example")] {
        for method in [reqwest::Method::OPTIONS, reqwest::Method::GET] {
            assert_eq!(ask(running, method, origin).await.1[0], None, "{origin}");
        }
    }
}
