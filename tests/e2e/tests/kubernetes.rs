//! The host and the kubernetes plugin over a Kubernetes API of our own on a real etcd, judged by the real `kubectl`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kcloud_e2e::world::{Is, Says};
use kcloud_e2e::{Running, until};
use kcloud_kube_api::objects::{node, one_of_many, pod, stored};
use kcloud_kube_api::{Etcd, KubeApi};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::inventory::{Kind, Subject, Value::Number};
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::capabilities::http_policy::Policy;
use kcloud_monitor::plugins::capabilities::{Credential, Grants, Secret};
use kcloud_monitor::plugins::contract::Target;
use kcloud_monitor::plugins::limits::Limits;
use serde_json::{Value, json};

/// The real client, with nothing of this machine's configuration.
struct Kubectl {
    dir: tempfile::TempDir,
    server: String,
}

impl Kubectl {
    fn new(api: &KubeApi) -> Option<Self> {
        let found = Command::new("kubectl").args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        if !found {
            eprintln!("NOT RUN: kubectl is missing; `apt-get install kubernetes-client` (cargo xtask test tries to)");
            return None;
        }
        Some(Self { dir: tempfile::tempdir().unwrap(), server: api.base() })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.env("HOME", self.dir.path()).env("KUBECONFIG", "/dev/null").args(["--server", &self.server]).args(args);
        command
    }

    fn try_run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn run(&self, args: &[&str]) -> String {
        let out = self.try_run(args);
        assert!(out.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[args, &["-o", "json"]].concat())).unwrap()
    }

    /// Creates objects from one list.
    fn create(&self, objects: &[Value]) {
        self.apply("create", objects);
    }

    fn apply(&self, verb: &str, objects: &[Value]) {
        let file = self.dir.path().join("objects.json");
        std::fs::write(&file, json!({ "kind": "List", "apiVersion": "v1", "items": objects }).to_string()).unwrap();
        self.run(&[verb, "--validate=false", "-f", file.to_str().unwrap()]);
    }
}

/// What `kubectl` says of each pod: life, place, phase, requests, containers.
type Pods = BTreeMap<(String, String), (String, String, String, f64, f64, Vec<String>)>;

fn cores_of(quantity: &str) -> f64 {
    quantity.strip_suffix('m').map_or_else(|| quantity.parse::<f64>().unwrap(), |m| m.parse::<f64>().unwrap() / 1e3)
}

fn by_kubectl(kubectl: &Kubectl) -> Pods {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let all = kubectl.json(&["get", "pods", "-A"]);
    let one = |p: &Value| {
        let containers = p["spec"]["containers"].as_array().unwrap();
        let requests = |resource: &'static str| {
            let one = move |c: &Value| c["resources"]["requests"][resource].as_str().unwrap_or("0").to_owned();
            containers.iter().map(one).collect::<Vec<_>>()
        };
        let cores = requests("cpu").iter().map(|q| cores_of(q)).sum();
        let gpus = requests("nvidia.com/gpu").iter().map(|q| q.parse::<f64>().unwrap()).sum();
        let mut names: Vec<String> = containers.iter().map(|c| text(&c["name"])).collect();
        names.sort();
        let key = (text(&p["metadata"]["namespace"]), text(&p["metadata"]["name"]));
        let phase = text(&p["status"]["phase"]).to_lowercase();
        (key, (text(&p["metadata"]["uid"]), text(&p["spec"]["nodeName"]), phase, cores, gpus, names))
    };
    all["items"].as_array().unwrap().iter().map(one).collect()
}

fn by_the_host(running: &Running) -> Pods {
    let snapshot = running.host.app.inventory.current();
    let metric = |name: &str| Catalogue::known(name).unwrap();
    let label = |s: &Subject, key: &str| s.label(key).unwrap_or_default().to_owned();
    let mut containers: HashMap<Arc<str>, Vec<String>> = HashMap::new();
    for c in snapshot.of_kind(Kind::Container) {
        containers.entry(c.parent.clone().unwrap_or_default()).or_default().push(label(c, "name"));
    }
    let states = ["pending", "running", "succeeded", "failed", "unknown"];
    let one = |p: &Arc<Subject>| {
        let mut names = containers.remove(&p.id).unwrap_or_default();
        names.sort();
        let number = |name: &str| p.number(metric(name)).unwrap_or(f64::NAN);
        let phase = p.number(metric("phase")).map_or("", |i| states[i as usize]).to_owned();
        let node = p.node.as_deref().unwrap_or_default().to_owned();
        (
            (label(p, "namespace"), label(p, "name")),
            (label(p, "uid"), node, phase, number("cpu_request_cores"), number("gpu_request_count"), names),
        )
    };
    snapshot.of_kind(Kind::Pod).iter().map(one).collect()
}

/// What an answer of the host's API says of each pod.
async fn by_the_route(running: &Running) -> Vec<Value> {
    let (status, body) = running.get("/api/v1/infrastructure/pods?limit=1000").await;
    assert_eq!(status, 200, "{body}");
    let mut all: Vec<Value> = body["data"]["pods"].as_array().or(body["data"].as_array()).unwrap().clone();
    all.sort_by_key(|p| (p["namespace"].to_string(), p["pod_name"].to_string()));
    all
}

fn settings(api: &KubeApi, change: impl FnOnce(&mut Settings)) -> Vec<Settings> {
    let target = Target {
        id: "cluster1".into(),
        address: api.base(),
        cluster: "cluster1".into(),
        labels: vec![],
        credential: None,
        config: "{}".into(),
    };
    let base = api.base();
    let mut settings = Settings {
        grants: Grants { http: Some(Policy::new([base.as_str()])), ..Grants::default() },
        config: json!({ "page_size": 10 }),
        interval: Duration::from_millis(200),
        targets: vec![(target, None)],
        limits: Limits { cpu: Duration::from_secs(5), ..Limits::default() },
        ..Settings::bare("kubernetes")
    };
    change(&mut settings);
    vec![settings]
}

/// Waits until the host shows what `kubectl` does.
async fn agree(running: &Running, kubectl: &Kubectl, when: &str) {
    let expected = by_kubectl(kubectl);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let shown = by_the_host(running);
        if shown == expected {
            return;
        }
        if std::time::Instant::now() > deadline {
            let (_, body) = running.get("/api/v1/system/plugins/kubernetes").await;
            panic!("{when}: the host shows {shown:#?}\nkubectl {expected:#?}\n{body}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn fleet() -> Vec<Value> {
    let mut all: Vec<Value> = (1..=3).map(|i| node(&format!("worker{i}"))).collect();
    all.extend(["ml", "web"].map(|n| json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": { "name": n } })));
    let phases = ["Running", "Pending", "Succeeded", "Failed"];
    all.extend((0..37usize).map(|i| {
        let namespace = if i % 3 == 0 { "web" } else { "ml" };
        let worker = if i % 4 == 1 { String::new() } else { format!("worker{}", i % 3 + 1) };
        pod(namespace, &format!("p{i}"), &worker, phases[i % 4], i as u32 % 3)
    }));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_takes_our_api_for_one() {
    let Some(etcd) = Etcd::start().await else { return };
    let api = KubeApi::start(&etcd, None).unwrap();
    let Some(kubectl) = Kubectl::new(&api) else { return };
    kubectl.create(&fleet());
    assert_eq!(by_kubectl(&kubectl).len(), 37);
    let out = kubectl.try_run(&["get", "pods", "-A", "--chunk-size=10", "-v=6"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(said.matches("limit=10").count(), 4, "four pages: {said}");
    assert_eq!(said.matches("continue=").count(), 3);
    assert_eq!(kubectl.json(&["get", "nodes"])["items"].as_array().unwrap().len(), 3);
    let again = kubectl.try_run(&["create", "--validate=false", "-f", kubectl.dir.path().join("objects.json").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("already exists"));

    // A watch of the real client sees what another one does.
    let log = kubectl.dir.path().join("watch.log");
    let file = std::fs::File::create(&log).unwrap();
    let mut watch = kubectl.command(&["get", "pods", "-n", "ml", "-w", "--output-watch-events"]).stdout(file).spawn().unwrap();
    let has = |text: &'static str| {
        let log = log.clone();
        async move || std::fs::read_to_string(&log).unwrap_or_default().lines().any(|l| l.contains(text)).then_some(())
    };
    until("the watch begins", has("p1 ")).await;
    kubectl.run(&["delete", "pod", "p1", "-n", "ml", "--wait=false"]);
    until("it is deleted", has("DELETED")).await;
    watch.kill().unwrap();
    watch.wait().unwrap();

    // What etcd compacted is gone for good.
    let first = kubectl.run(&["get", "--raw", "/api/v1/pods?limit=5"]);
    let first: Value = serde_json::from_str(&first).unwrap();
    kubectl.create(&["late", "later"].map(|name| pod("ml", name, "worker1", "Running", 0)));
    api.etcd.compact().await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let out = kubectl.try_run(&["get", "--raw", &format!("/api/v1/pods?limit=5&continue={token}")]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.to_lowercase().contains("too old") || said.contains("Gone") || said.contains("Expired"), "{said}");
    let old = first["metadata"]["resourceVersion"].as_str().unwrap();
    let said = kubectl.run(&["get", "--raw", &format!("/api/v1/pods?watch=1&resourceVersion={old}&timeoutSeconds=5")]);
    assert!(said.contains("\"ERROR\"") && said.contains("410"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_shows_what_kubectl_shows_through_all_that_happens() {
    let Some(etcd) = Etcd::start().await else { return };
    let api = KubeApi::start(&etcd, None).unwrap();
    let Some(kubectl) = Kubectl::new(&api) else { return };
    kubectl.create(&fleet());
    let running = Running::start(&["kubernetes"], settings(&api, |_| ())).await;
    agree(&running, &kubectl, "at first").await;
    let (rows, expected) = (by_the_route(&running).await, by_kubectl(&kubectl));
    assert_eq!(rows.len(), expected.len());
    for (row, ((namespace, name), (uid, node, phase, cores, gpus, containers))) in rows.iter().zip(expected) {
        assert_eq!((&row["namespace"], &row["pod_name"], &row["uid"]), (&json!(namespace), &json!(name), &json!(uid)), "{row}");
        assert_eq!(row["node_name"].as_str().unwrap_or_default(), node, "{row}");
        assert_eq!(row["phase"].as_str().unwrap().to_lowercase(), phase, "{row}");
        assert_eq!(row["cpu_request"].as_str().map(cores_of), Some(cores), "{row}");
        assert_eq!((row["gpu_count"].as_f64(), &row["container_names"]), (Some(gpus), &json!(containers)), "{row}");
        assert_eq!(row["labels"]["example.com/team"], "a", "{row}");
    }
    let snapshot = running.host.app.inventory.current();
    let of = |name: &str| Catalogue::known(name).unwrap();
    let worker = snapshot.of_kind(Kind::Node).iter().find(|s| s.label("node") == Some("worker1")).unwrap();
    assert_eq!((worker.number(of("gpu_capacity_count")), worker.label("roles")), (Some(8.0), Some("worker")));

    kubectl.run(&["delete", "pod", "p1", "p2", "-n", "ml", "--wait=false"]);
    kubectl.create(&[pod("ml", "new", "worker2", "Pending", 4)]);
    let mut changed = kubectl.json(&["get", "pod", "p4", "-n", "ml"]);
    changed["status"]["phase"] = "Failed".into();
    kubectl.apply("replace", &[changed]);
    agree(&running, &kubectl, "after changes").await;
    let worker = running.host.app.inventory.current();
    let worker = worker.of_kind(Kind::Node).iter().find(|s| s.label("node") == Some("worker1")).unwrap();
    assert_eq!(worker.label("roles"), Some("worker"), "a delta that names it as a parent leaves it as it was");

    // A new life under an old name.
    kubectl.run(&["delete", "pod", "new", "-n", "ml", "--wait=false"]);
    kubectl.create(&[pod("ml", "new", "worker3", "Running", 1)]);
    agree(&running, &kubectl, "after a new life").await;

    // The API goes; what happens meanwhile is compacted away; then it is there again, on the same port.
    let address = api.address;
    let elsewhere = KubeApi::start(&etcd, None).unwrap();
    drop(api);
    let failed = async || {
        let (_, body) = running.get("/api/v1/system/plugins/kubernetes").await;
        body["data"]["targets"].to_string().contains("unreachable").then_some(())
    };
    until("the target's failure shows", failed).await;
    let other = Kubectl::new(&elsewhere).unwrap();
    other.run(&["delete", "pod", "p5", "-n", "ml", "--wait=false"]);
    other.create(&[pod("web", "meanwhile", "worker1", "Running", 2)]);
    elsewhere.etcd.compact().await.unwrap();
    assert!(by_the_host(&running).contains_key(&("ml".into(), "p5".into())), "nothing is taken for gone while nobody answers");
    let api = until("the port is free again", async || KubeApi::start(&etcd, Some(address)).ok()).await;
    agree(&running, &kubectl, "after an outage with 410").await;
    drop(api);
}

fn event(name: &str, kind: &str, of: (&str, &str), reason: &str, count: u32) -> Value {
    json!({ "kind": "Event", "apiVersion": "v1", "metadata": { "name": name, "namespace": "ml" }, "type": kind, "reason": reason,
        "message": format!("{reason} of {}", of.1), "count": count, "lastTimestamp": "2026-01-02T03:04:05Z",
        "involvedObject": { "kind": of.0, "namespace": if of.0 == "Node" { "" } else { "ml" }, "name": of.1 } })
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_of_the_cluster_are_events_of_their_pods_and_nodes() {
    let Some(etcd) = Etcd::start().await else { return };
    let api = KubeApi::start(&etcd, None).unwrap();
    let Some(kubectl) = Kubectl::new(&api) else { return };
    kubectl.create(&fleet());
    kubectl.create(&[event("before", "Warning", ("Pod", "p1"), "BackOff", 2), event("usual", "Normal", ("Pod", "p1"), "Pulled", 1)]);
    let running = Running::start(&["kubernetes"], settings(&api, |_| ())).await;
    let shown = || {
        let snapshot = running.host.app.inventory.current();
        let all = snapshot.events.iter().map(|e| (e.subject.to_string(), e.code.to_string(), e.message.to_string()));
        all.collect::<Vec<_>>()
    };
    let row = |id: &str, reason: &str, text: &str| (id.to_owned(), format!("k8s:{reason}"), text.to_owned());
    until("the one that was there", async || shown().contains(&row("pod/cluster1/ml/p1", "BackOff", "BackOff of p1")).then_some(())).await;
    kubectl.create(&[
        event("node", "Warning", ("Node", "worker2"), "NodeNotReady", 1),
        event("job", "Warning", ("Job", "train"), "BackoffLimitExceeded", 1),
        event("gone", "Warning", ("Pod", "went"), "FailedScheduling", 1),
    ]);
    let mut again = kubectl.json(&["get", "event", "before", "-n", "ml"]);
    again["count"] = 3.into();
    kubectl.apply("replace", &[again]);
    let all = until("those that came", async || Some(shown()).filter(|all| all.len() >= 5)).await;
    assert!(all.contains(&row("node/cluster1/worker2", "NodeNotReady", "NodeNotReady of worker2")), "{all:?}");
    assert!(all.iter().any(|(_, _, text)| text == "Job/train: BackoffLimitExceeded of train"), "{all:?}");
    assert!(all.iter().any(|(_, _, text)| text == "Pod/went: FailedScheduling of went"), "{all:?}");
    assert_eq!(all.iter().filter(|(_, code, _)| code == "k8s:BackOff").count(), 2, "seen once more is told once more: {all:?}");
    assert_eq!(all.len(), 5, "nothing that is usual: {all:?}");
    let snapshot = running.host.app.inventory.current();
    assert!(snapshot.get("pod/cluster1/ml/went").is_none(), "an event makes no pod");
    assert_eq!(snapshot.events.iter().map(|e| e.at_ms).max(), Some(1_767_323_045_000));
}

/// HAMi writes on a pod which cards it shares: their watts are the pods'.
#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_a_scheduler_shares_out_belongs_to_the_pods_that_say_so() {
    const CARD: &str = "GPU-0aa6b97c-d386-26ba-a94a-b9d27c2e3a71";
    let Some(etcd) = Etcd::start().await else { return };
    let api = KubeApi::start(&etcd, None).unwrap();
    let put = async |name: &str, phase: &str| {
        let mut object = pod("ml", name, "worker1", phase, 0);
        object["metadata"]["uid"] = name.into();
        object["metadata"]["annotations"] = json!({ "hami.io/vgpu-devices-allocated": format!("{CARD},NVIDIA,1000,30:;") });
        api.etcd.put_all(&[stored("nodes", &node("worker1")), stored("pods", &object)]).await.unwrap();
    };
    put("p1", "Running").await;
    // Who may create pods can write that, too: it is believed where the operator says so.
    let wary = Running::start(&["kubernetes"], settings(&api, |_| ())).await;
    until("the pod is there", async || (by_the_route(&wary).await.len() == 1).then_some(())).await;
    assert!(wary.host.app.inventory.current().get(CARD).is_none());
    let running = Running::start(&["kubernetes"], settings(&api, |s| s.config = json!({ "shared_cards": true }))).await;
    let watts = async |wanted: &[(&str, Option<f64>)]| {
        until(&format!("{wanted:?}"), async || {
            // Read again and again, as an exporter is.
            let mut says = Says::default();
            let identity = [("uuid", CARD), ("node", "worker1")];
            says.of(Kind::Accelerator, None, &identity, &[("class", "gpu"), ("vendor", "nvidia")], &[("power_watts", Is::Number(300.0))]);
            says.say(&running.host.app.inventory, "exporter", "cluster1");
            let rows = by_the_route(&running).await;
            let said: Vec<_> = rows.iter().map(|r| (r["pod_name"].as_str().unwrap(), r["current_power_watts"].as_f64())).collect();
            (said == wanted).then_some(())
        })
        .await;
    };
    watts(&[("p1", Some(300.0))]).await;
    put("p2", "Running").await;
    watts(&[("p1", Some(150.0)), ("p2", Some(150.0))]).await;
    put("p1", "Succeeded").await;
    watts(&[("p1", None), ("p2", Some(300.0))]).await;
    api.etcd.delete("/registry/pods/ml/p2").await.unwrap();
    watts(&[("p1", None)]).await;
    let snapshot = running.host.app.inventory.current();
    let card = snapshot.get(CARD).unwrap();
    assert_eq!((card.label("pod"), card.label("holders")), (None, None), "{card:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_retires_is_followed_by_one_that_lists_anew() {
    let Some(etcd) = Etcd::start().await else { return };
    let api = KubeApi::start(&etcd, None).unwrap();
    let Some(kubectl) = Kubectl::new(&api) else { return };
    kubectl.create(&fleet());
    let running = Running::start(&["kubernetes"], settings(&api, |s| s.limits.max_calls = 3)).await;
    agree(&running, &kubectl, "at first").await;
    for i in 0..4 {
        kubectl.run(&["delete", "pod", &format!("p{}", 3 * i + 1), "-n", "ml", "--wait=false"]);
        agree(&running, &kubectl, "whoever reads it").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_rotates_is_followed() {
    let Some(etcd) = Etcd::start().await else { return };
    let api = KubeApi::start(&etcd, None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let rotate = |token: &str| {
        std::fs::write(&file, token).unwrap();
        *api.tokens.write().unwrap() = [token.to_owned()].into();
    };
    rotate("first");
    let put = async |name: &str| {
        let url = format!("{}/api/v1/namespaces/ml/pods", api.base());
        let token = std::fs::read_to_string(&file).unwrap();
        let sent =
            reqwest::Client::new().post(url).bearer_auth(token).json(&pod("ml", name, "worker1", "Running", 0)).send().await.unwrap();
        assert_eq!(sent.status(), 201);
    };
    put("one").await;
    let read = credential(&file);
    let running = Running::start(
        &["kubernetes"],
        settings(&api, |s| {
            s.targets[0].0.credential = Some("cluster1".into());
            s.credentials =
                HashMap::from([("cluster1".to_owned(), Credential { secret: Secret::Header(read), origins: vec![api.base()] })]);
        }),
    )
    .await;
    let has = async |name: &str| by_the_host(&running).contains_key(&("ml".into(), name.into())).then_some(());
    until("the first pod", async || has("one").await).await;
    rotate("second");
    put("two").await;
    until("the second pod", async || has("two").await).await;
    // A watch that is open stays so; the next one and `/version` need the new token.
    *api.tokens.write().unwrap() = ["third".to_owned()].into();
    let refused = async || {
        let (_, body) = running.get("/api/v1/system/plugins/kubernetes").await;
        body["data"]["targets"].to_string().contains("credential").then_some(())
    };
    until("the refusal shows", refused).await;
    rotate("third");
    put("three").await;
    until("the third pod", async || has("three").await).await;
}

/// As the host's configuration makes it of `bearer_file`.
fn credential(file: &Path) -> Arc<dyn Fn() -> Result<(String, String), String> + Send + Sync> {
    let file = file.to_owned();
    Arc::new(move || {
        let token = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
        Ok(("authorization".to_owned(), format!("Bearer {token}")))
    })
}

/// A few thousand pods by default; `KCLOUD_PODS=100000` for as many as the host must take.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_cluster_is_listed_in_pages_and_then_only_followed() {
    let Some(etcd) = Etcd::start().await else { return };
    let pods: usize = std::env::var("KCLOUD_PODS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let api = KubeApi::start(&etcd, None).unwrap();
    let client = etcd.client();
    let nodes = pods.div_ceil(100);
    let mut all: Vec<_> = (0..nodes).map(|i| stored("nodes", &node(&format!("worker{i}")))).collect();
    all.extend((0..pods).map(|i| stored("pods", &one_of_many(i, &format!("worker{}", i % nodes), "Running"))));
    for some in all.chunks(100) {
        client.put_all(some).await.unwrap();
    }
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()).unwrap() / 1024.0
    };
    let (begun, before) = (std::time::Instant::now(), resident());
    let running = Running::start(
        &["kubernetes"],
        settings(&api, |s| {
            s.config = json!({ "page_size": 500 });
            s.interval = Duration::from_secs(2);
            s.timeout = Duration::from_secs(120);
            s.limits = Limits {
                cpu: Duration::from_secs(60),
                memory: 512 << 20,
                http_call_bytes: 4 << 30,
                points: 200_000,
                subjects: 50_000,
                output_bytes: 64 << 20,
                ..Limits::default()
            };
        }),
    )
    .await;
    let count = |running: &Running| running.host.app.inventory.current().of_kind(Kind::Pod).len();
    let deadline = begun + Duration::from_secs(300);
    while count(&running) < pods {
        if std::time::Instant::now() > deadline {
            panic!("{} of {pods}: {}", count(&running), running.get("/api/v1/system/plugins/kubernetes").await.1);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, plugin) = running.get("/api/v1/system/plugins/kubernetes").await;
    eprintln!("{pods} pods listed in {:.1} s, {:.0} MiB more", begun.elapsed().as_secs_f64(), resident() - before);
    eprintln!("{plugin:#}");
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let after: Vec<f64> = stat.rsplit(')').next().unwrap().split_whitespace().filter_map(|f| f.parse().ok()).collect();
        (after[10] + after[11]) / 100.0
    };
    let (begun, cpu) = (std::time::Instant::now(), ticks());
    for round in 0..3 {
        let phase = if round % 2 == 0 { "Failed" } else { "Running" };
        let changed: Vec<_> = (0..100).map(|i| stored("pods", &one_of_many(i, "worker0", phase))).collect();
        client.put_all(&changed).await.unwrap();
        let wanted = if round % 2 == 0 { 3.0 } else { 1.0 };
        let phase = Catalogue::known("phase").unwrap();
        let now = || {
            let snapshot = running.host.app.inventory.current();
            let is = |p: &&Arc<Subject>| matches!(p.reading(phase).map(|r| r.value), Some(Number(v, _)) if v == wanted);
            snapshot.of_kind(Kind::Pod).iter().filter(is).count()
        };
        until("the change shows", async || (if round % 2 == 0 { now() == 100 } else { now() == pods }).then_some(())).await;
    }
    eprintln!(
        "three rounds of 100 changes in {:.1} s and {:.2} s of CPU, {:.0} MiB",
        begun.elapsed().as_secs_f64(),
        ticks() - cpu,
        resident() - before
    );
    client.delete("/registry/pods/ns7/p7").await.unwrap();
    until("one is gone", async || (count(&running) == pods - 1).then_some(())).await;
}
