//! Which pod holds which card, from a kubelet of our own: its socket, its two methods, and what it may do wrong.

#[path = "nvml/library.rs"]
mod library;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcloud_e2e::{Running, until};
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::inventory::{Kind, Subject};
use kcloud_monitor::plugins::Settings;
use kcloud_monitor::plugins::capabilities::Grants;
use kcloud_monitor::plugins::capabilities::pod_resources::Kubelet as Granted;
use kcloud_monitor::plugins::contract::Target;
use library::Library;
use tokio::net::UnixListener;

const CARD: &str = "GPU-0a1b2c3d-1111-2222-3333-444455556666";
const OTHER: &str = "GPU-0a1b2c3d-1111-2222-3333-444455557777";

/// A field of a message that is text or another message.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 1 << 14);
    let length = [(bytes.len() & 0x7f) as u8 | 0x80, (bytes.len() >> 7) as u8];
    [&[tag << 3 | 2][..], &length, bytes].concat()
}

fn devices(tag: u8, resource: &str, ids: &[&str]) -> Vec<u8> {
    let ids: Vec<u8> = ids.iter().flat_map(|id| field(2, id.as_bytes())).collect();
    field(tag, &[field(1, resource.as_bytes()), ids].concat())
}

/// One pod with one container that holds this.
fn pod(name: &str, held: &[u8]) -> Vec<u8> {
    let container = field(3, &[&field(1, b"main"), held].concat());
    field(1, &[field(1, name.as_bytes()), field(2, b"ml"), container].concat())
}

/// What it answers to its two methods: a message, or a status of gRPC.
#[derive(Clone)]
struct Says {
    list: Result<Vec<u8>, u8>,
    allocatable: Result<Vec<u8>, u8>,
}

type Asked = Arc<Mutex<Vec<String>>>;

/// A kubelet that serves until it is dropped.
struct Kubelet {
    says: Arc<Mutex<Says>>,
    asked: Asked,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelet {
    fn serve(socket: &Path, says: Says) -> Self {
        let (says, asked) = (Arc::new(Mutex::new(says)), Asked::default());
        let listener = UnixListener::bind(socket).unwrap();
        let (answers, log) = (says.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, log) = (answers.clone(), log.clone());
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let path = request.uri().path().to_owned();
                        let says = answers.lock().unwrap().clone();
                        let answer = match path.as_str() {
                            "/v1.PodResourcesLister/List" => says.list,
                            "/v1.PodResourcesLister/GetAllocatableResources" => says.allocatable,
                            _ => Err(12),
                        };
                        log.lock().unwrap().push(path);
                        let head = axum::http::Response::builder().header("content-type", "application/grpc");
                        let Ok(mut body) = respond.send_response(head.body(()).unwrap(), false) else { return };
                        if let Ok(message) = &answer {
                            let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
                            if body.send_data(framed.into(), false).is_err() {
                                return;
                            }
                        }
                        let mut end = axum::http::HeaderMap::new();
                        end.insert("grpc-status", answer.map_or_else(u16::from, |_| 0).into());
                        end.insert("grpc-message", axum::http::HeaderValue::from_static("as it says"));
                        if body.send_trailers(end).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { says, asked, task }
    }
}

fn settings(socket: PathBuf) -> Settings {
    Settings { grants: Grants { pod_resources: Some(Granted { socket }), ..Grants::default() }, ..settings_of("pod-resources", "kubelet:") }
}

fn settings_of(plugin: &str, address: &str) -> Settings {
    let labels = vec![("node".into(), "worker1".into())];
    let target =
        Target { id: "worker1".into(), address: address.into(), cluster: "cluster1".into(), labels, credential: None, config: "{}".into() };
    Settings {
        interval: Duration::from_millis(300),
        timeout: Duration::from_secs(2),
        targets: vec![(target, None)],
        clusters: vec!["cluster1".into()],
        ..Settings::bare(plugin)
    }
}

fn card(running: &Running, uuid: &str) -> Option<Arc<Subject>> {
    let snapshot = running.host.app.inventory.current();
    snapshot.of_kind(Kind::Accelerator).iter().find(|s| s.label("uuid") == Some(uuid)).cloned()
}

async fn held_by(running: &Running, uuid: &str, pod: Option<&str>) {
    until(&format!("{uuid} is held by {pod:?}"), async || (card(running, uuid)?.label("pod") == pod).then_some(())).await;
}

async fn source_says(running: &Running, words: &str) {
    until(&format!("it says {words:?}"), async || {
        let snapshot = running.host.app.inventory.current();
        let source = snapshot.sources.iter().find(|s| &*s.plugin == "pod-resources")?;
        (source.consecutive_failures > 0 && source.last_error.as_deref()?.contains(words)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_held_by_the_pod_that_the_kubelet_names_and_by_nobody_once_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kubelet.sock");
    let all = devices(1, "nvidia.com/gpu", &[CARD, OTHER]);
    let list = pod("train-0", &devices(2, "nvidia.com/gpu", &[CARD]));
    let kubelet = Kubelet::serve(&socket, Says { list: Ok(list), allocatable: Ok(all) });
    let running = Running::start(&["pod-resources"], vec![settings(socket)]).await;
    held_by(&running, CARD, Some("train-0")).await;
    let held = card(&running, CARD).unwrap();
    let labels = ["namespace", "container", "class", "vendor", "node"].map(|k| held.label(k));
    assert_eq!(labels, ["ml", "main", "gpu", "nvidia", "worker1"].map(Some));
    held_by(&running, OTHER, None).await;
    kubelet.says.lock().unwrap().list = Ok(pod("train-1", &devices(2, "nvidia.com/gpu", &[OTHER])));
    held_by(&running, OTHER, Some("train-1")).await;
    held_by(&running, CARD, None).await;
    let mut asked = kubelet.asked.lock().unwrap().clone();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, ["/v1.PodResourcesLister/GetAllocatableResources", "/v1.PodResourcesLister/List"], "it only reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_is_missing_refuses_or_is_silent_is_said_so_and_read_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kubelet.sock");
    let running = Running::start(&["pod-resources"], vec![settings(socket.clone())]).await;
    source_says(&running, "No such file").await;
    let silent = UnixListener::bind(&socket).unwrap();
    source_says(&running, "did not answer in time").await;
    drop(silent);
    std::fs::remove_file(&socket).unwrap();
    let kubelet = Kubelet::serve(&socket, Says { list: Err(12), allocatable: Err(12) });
    source_says(&running, "does not speak v1").await;
    kubelet.says.lock().unwrap().list = Ok(vec![0xff; 64]);
    source_says(&running, "the kubelet: Internal").await;
    // It does not say what it could give away: what is held is known all the same.
    *kubelet.says.lock().unwrap() = Says { list: Ok(pod("train-0", &devices(2, "nvidia.com/gpu", &[CARD]))), allocatable: Err(2) };
    held_by(&running, CARD, Some("train-0")).await;
}

fn driver(library: &Library) -> Settings {
    Settings { grants: Grants { nvml: Some(library.driver()), ..Grants::default() }, ..settings_of("nvidia-nvml", "nvml:") }
}

/// The kubelet names a MIG instance by its UUID alone, and does not know its card; the driver knows both.
#[tokio::test(flavor = "multi_thread")]
async fn a_mig_instance_that_the_driver_reads_and_the_kubelet_gives_away_is_one() {
    const INSTANCE: &str = "MIG-00000000-1111-2222-3333-444444444444";
    let library = Library::build();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kubelet.sock");
    let list = pod("train-0", &devices(2, "nvidia.com/mig-1g.10gb", &[INSTANCE]));
    let kubelet = Kubelet::serve(&socket, Says { list: Ok(list), allocatable: Ok(Vec::new()) });
    // Who comes first decides nothing.
    let all = [driver(&library), settings(socket)];
    for all in [all.clone().to_vec(), all.into_iter().rev().collect()] {
        let running = Running::start(&["nvidia-nvml", "pod-resources"], all).await;
        let instances = || {
            let snapshot = running.host.app.inventory.current();
            snapshot.of_kind(Kind::Partition).to_vec()
        };
        let memory = Catalogue::known("memory_used_bytes").unwrap();
        let held = until("both speak of the instance", async || {
            let all = instances();
            all.into_iter().find(|s| s.label("pod") == Some("train-0") && s.number(memory).is_some())
        })
        .await;
        assert_eq!(
            (held.label("partition_id"), held.label("namespace"), held.label("device_uuid")),
            (Some("7"), Some("ml"), Some(INSTANCE))
        );
        assert_eq!(instances().len(), 2, "{:#?}", instances());
        let (_, shown) = running.get("/api/v1/accelerators/gpus/GPU-00000001-1111-2222-3333-444444444444/partitions").await;
        let pods: Vec<_> = shown["data"].as_array().unwrap().iter().map(|p| p["pod"].clone()).collect();
        assert_eq!(pods, [serde_json::json!("train-0"), serde_json::Value::Null], "{shown:#}");
    }
    drop(kubelet);
}
