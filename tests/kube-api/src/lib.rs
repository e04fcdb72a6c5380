//! A Kubernetes API for tests, over a real etcd: the part of it that a client which lists and watches sees.
//!
//! In: requests for nodes, pods, namespaces, events, ReplicaSets and jobs, as `kubectl` makes them. Out: what a kube-apiserver answers, in
//! what matters to such a client: the resource version is etcd's revision, a list in pages is of one revision, a watch goes on from one, and
//! what etcd has compacted is 410. No admission, no defaulting, no controllers.

mod etcd;
pub mod objects;
mod serve;
mod watch;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub use etcd::{Client, Error, Etcd};

/// A resource that is served.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    pub group: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub is_namespaced: bool,
}

pub const RESOURCES: [Resource; 6] = [
    Resource { group: "v1", plural: "nodes", kind: "Node", is_namespaced: false },
    Resource { group: "v1", plural: "namespaces", kind: "Namespace", is_namespaced: false },
    Resource { group: "v1", plural: "pods", kind: "Pod", is_namespaced: true },
    Resource { group: "v1", plural: "events", kind: "Event", is_namespaced: true },
    Resource { group: "apps/v1", plural: "replicasets", kind: "ReplicaSet", is_namespaced: true },
    Resource { group: "batch/v1", plural: "jobs", kind: "Job", is_namespaced: true },
];

/// Bearer tokens that are let in; none lets everybody in.
pub type Tokens = Arc<RwLock<HashSet<String>>>;

/// A served API; it ends with the value, with every connection that it has.
pub struct KubeApi {
    pub address: SocketAddr,
    pub etcd: Client,
    pub tokens: Tokens,
    /// Its own, so that its connections end with it.
    runtime: Option<Runtime>,
}

impl KubeApi {
    /// Serves what an etcd holds on a free loopback port, or on one that was served before.
    pub fn start(etcd: &Etcd, on: Option<SocketAddr>) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(on.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let tokens = Tokens::default();
        let (of_server, router) = (etcd.client(), tokens.clone());
        runtime.spawn(async move {
            let served = async { axum::serve(TcpListener::from_std(listener)?, serve::router(of_server, router)).await };
            if let Err(error) = served.await {
                eprintln!("the API ended: {error}");
            }
        });
        Ok(Self { address, etcd: etcd.client(), tokens, runtime: Some(runtime) })
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
