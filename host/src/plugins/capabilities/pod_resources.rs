//! The kubelet of this machine for guests: which container holds which device (PodResources API, v1, over its Unix socket).
//!
//! In: nothing. Out: containers with their devices, and the devices that there are. It must never call anything but the two reading
//! methods, nor connect to a socket that the operator did not name.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout_at;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::Guest;

/// Where the kubelet listens unless its root lies elsewhere.
pub const SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 16 << 20;
/// Reads of one call.
const MAX_READS: usize = 16;
/// Kept of a call's wall time, so that a guest can still say what it has.
const MARGIN: Duration = Duration::from_millis(250);

/// The kubelet that is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubelet {
    pub socket: PathBuf,
}

/// Devices of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    pub resource: String,
    pub ids: Vec<String>,
}

/// A container that holds devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub devices: Vec<Devices>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub holders: Vec<Holder>,
    /// `None` where the kubelet does not say.
    pub allocatable: Option<Vec<Devices>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodResourcesError {
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Timeout(String),
}

/// Messages of `k8s.io/kubelet/pkg/apis/podresources/v1`, as far as they are read.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Nothing {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct List {
        #[prost(message, repeated, tag = "1")]
        pub(super) pods: Vec<Pod>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Pod {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) namespace: String,
        #[prost(message, repeated, tag = "3")]
        pub(super) containers: Vec<Container>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Container {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, repeated, tag = "2")]
        pub(super) devices: Vec<Devices>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Devices {
        #[prost(string, tag = "1")]
        pub(super) resource: String,
        #[prost(string, repeated, tag = "2")]
        pub(super) ids: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Allocatable {
        #[prost(message, repeated, tag = "1")]
        pub(super) devices: Vec<Devices>,
    }
}

/// Names are shown and become labels: no control characters.
fn plain(text: String) -> String {
    if text.chars().any(char::is_control) { text.chars().filter(|c| !c.is_control()).collect() } else { text }
}

/// A resource that a kubelet names once a NUMA node is named once.
fn devices(all: Vec<wire::Devices>) -> Vec<Devices> {
    let mut found: Vec<Devices> = Vec::new();
    for wire::Devices { resource, ids } in all {
        let (resource, ids) = (plain(resource), ids.into_iter().map(plain));
        match found.iter_mut().find(|d| d.resource == resource) {
            Some(known) => known.ids.extend(ids),
            None => found.push(Devices { resource, ids: ids.collect() }),
        }
    }
    found
}

fn holders(list: wire::List) -> Vec<Holder> {
    let of_pod = |pod: wire::Pod| {
        let (namespace, name) = (plain(pod.namespace), plain(pod.name));
        pod.containers.into_iter().map(move |c| Holder {
            namespace: namespace.clone(),
            pod: name.clone(),
            container: plain(c.name),
            devices: devices(c.devices),
        })
    };
    list.pods.into_iter().flat_map(of_pod).filter(|h| !h.devices.is_empty()).collect()
}

fn refused(socket: &Path, error: &Error) -> PodResourcesError {
    let text = format!("{}: {error}", socket.display());
    match error.kind() {
        ErrorKind::PermissionDenied => PodResourcesError::Denied(text),
        _ => PodResourcesError::Unavailable(text),
    }
}

fn said(status: &Status) -> PodResourcesError {
    PodResourcesError::Unavailable(match status.code() {
        Code::Unimplemented => "the kubelet does not speak v1 of the PodResources API (Kubernetes 1.20 does)".to_owned(),
        code => format!("the kubelet: {code:?}: {}", plain(status.message().chars().take(300).collect())),
    })
}

async fn ask<T: prost::Message + Default + 'static>(grpc: &mut Grpc<Channel>, method: &'static str) -> Result<T, Status> {
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let answer = grpc.unary(Request::new(wire::Nothing {}), PathAndQuery::from_static(method), ProstCodec::default()).await?;
    Ok(answer.into_inner())
}

async fn read(socket: &Path) -> Result<Answer, PodResourcesError> {
    let stream = UnixStream::connect(socket).await.map_err(|e| refused(socket, &e))?;
    let mut once = Some(TokioIo::new(stream));
    let connect = tower::service_fn(move |_| {
        let stream = once.take().ok_or_else(|| Error::new(ErrorKind::NotConnected, "the kubelet closed the connection"));
        async move { stream }
    });
    let channel = Endpoint::from_static("http://kubelet").connect_with_connector(connect).await;
    let channel = channel.map_err(|e| PodResourcesError::Unavailable(format!("{}: {e}", socket.display())))?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER);
    let list: wire::List = ask(&mut grpc, "/v1.PodResourcesLister/List").await.map_err(|e| said(&e))?;
    let allocatable = match ask::<wire::Allocatable>(&mut grpc, "/v1.PodResourcesLister/GetAllocatableResources").await {
        Ok(all) => Some(devices(all.devices)),
        // Since 1.23, and a kubelet can be told not to.
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::Unknown) => None,
        Err(status) => return Err(said(&status)),
    };
    Ok(Answer { holders: holders(list), allocatable })
}

impl Guest {
    /// Asks the kubelet of this machine.
    pub async fn read_pod_resources(&mut self) -> Result<Answer, PodResourcesError> {
        let rights = self.shared.rights();
        let denied = |why: &str| PodResourcesError::Denied(why.to_owned());
        let kubelet = rights.grants.pod_resources.as_ref().ok_or_else(|| denied("[grants] pod-resources is not given"))?;
        self.used.pod_resources_reads += 1;
        if self.used.pod_resources_reads > MAX_READS {
            return Err(PodResourcesError::Denied(format!("a call asks the kubelet at most {MAX_READS} times")));
        }
        let until = self.deadline.checked_sub(MARGIN.min(self.remaining() / 8)).unwrap_or_else(Instant::now);
        let answered = timeout_at(until.into(), read(&kubelet.socket)).await;
        answered.unwrap_or_else(|_| Err(PodResourcesError::Timeout("the kubelet did not answer in time".to_owned())))
    }
}
