//! `demo`: the host over a simulated fleet, through the real plugins. What each of them reads of it stands in [`fleet_settings`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kcloud_fleet_sim::{DIALECTS, Faults, Fleet, FleetConfig, Node, Origins, Others, Shape};
use tokio::net::TcpListener;

use super::Demo;
use crate::api::ClusterInfo;
use crate::auth::Auth;
use crate::history::Keep;
use crate::host::{Host, Look, Options};
use crate::plugins::Settings;
use crate::plugins::capabilities::globs::Globs;
use crate::plugins::capabilities::{Credential, Grants, Secret, http_policy};
use crate::plugins::contract::Target;
use crate::plugins::engine::Compiler;
use crate::plugins::verify::Policy;
use crate::power::Facility;

pub(super) async fn demo(args: Demo) -> anyhow::Result<()> {
    let Demo { listen, nodes, gpus_per_node, other_cards, pods, seed, data_dir, plugins_dir } = args;
    anyhow::ensure!(listen.ip().is_loopback(), "the demo's password is known to everybody: it listens on loopback only, not on {listen}");
    let data_dir = data_dir.unwrap_or_else(|| std::env::temp_dir().join(format!("kcloud-monitor-demo-{}", std::process::id())));
    std::fs::create_dir_all(&data_dir)?;
    let beside = std::env::current_exe()?.parent().map(|p| p.join("plugins")).unwrap_or_default();
    let plugins_dir = plugins_dir.unwrap_or(beside);
    anyhow::ensure!(
        plugins_dir.join("nvidia-dcgm.wasm").is_file(),
        "{} has no nvidia-dcgm.wasm; `cargo xtask build` makes it",
        plugins_dir.display()
    );
    let mut shape = Shape::demo();
    if let (Some(pods), Some(first)) = (pods, shape.clusters.first_mut()) {
        first.pods = pods;
    }
    let names = components(&plugins_dir)?;
    let there = DIALECTS.iter().filter(|d| other_cards > 0 && names.iter().any(|n| n == d.name));
    let others = there.map(|dialect| Others { dialect, nodes: 1, cards_per_node: other_cards }).collect();
    let config = FleetConfig { seed, nodes, gpus_per_node, tick: Duration::from_secs(1), faults: Faults::demo(), others };
    let fleet = Arc::new(Fleet::whole(config, shape));
    let origins = Origins::serve(&fleet).await?;
    let settings = fleet_settings(&fleet, &origins, &names);
    let facilities = facilities(&fleet);
    let truth = fleet.truth(0);
    let (count, others) = (truth.total, truth.others.len());
    let options = Options {
        plugins_dir,
        state_dir: data_dir.join("state"),
        kept_dir: data_dir.join("plugins-kept"),
        history_dir: data_dir.join("history"),
        history_keep: Keep { max_bytes: 1 << 30, ..Keep::default() },
        alerts_dir: data_dir.join("alerts"),
        reports_dir: data_dir.join("reports"),
        exports: crate::export::Exports::open(&data_dir.join("exports"), crate::export::Limits::default())?,
        beyond: crate::host::Beyond::default(),
        cache_dir: None,
        compiler: Some(Compiler {
            program: std::env::current_exe()?,
            cache_dir: std::path::absolute(data_dir.join("cache"))?,
            memory: 1 << 30,
            timeout: crate::config::Plugins::default().compile_timeout.0,
        }),
        policy: Policy { is_loopback: true, ..Policy::default() },
        auth: Auth::in_memory("admin", "changeme")?,
        plugins_config_dir: None,
        clusters: clusters(&fleet),
        forget_after: Duration::from_secs(7 * 86_400),
        stream: crate::stream::Limits::default(),
        cors: Vec::new(),
        is_agent: false,
    };
    crate::net::open_many_files();
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let host = Host::start(options, move || Look { facilities: Some(facilities.clone()), ..settings.clone().into() }).await?;
    let (nodes, gpus, pods, vms) = (count.nodes, count.gpus, count.pods, count.vms);
    println!(
        "KCloud Monitor demo: {nodes} nodes, {gpus} NVIDIA GPUs, {others} cards of other vendors, {pods} pods, {vms} VMs in two clusters (simulated, seed {seed})"
    );
    println!("  http://{address}/docs   user admin, password changeme");
    println!("  curl -u admin:changeme http://{address}/api/v1/accelerators/gpus/summary");
    println!("  what it must say: http://{}/truth", origins.pages);
    host.serve(listener, super::stopped()).await
}

/// The components that lie in a directory.
fn components(dir: &Path) -> std::io::Result<Vec<String>> {
    let name = |path: &Path| (path.extension()? == "wasm").then(|| path.file_stem()?.to_str().map(str::to_owned))?;
    let mut names: Vec<String> = std::fs::read_dir(dir)?.filter_map(|e| name(&e.ok()?.path())).collect();
    names.sort();
    Ok(names)
}

/// The clusters of a simulated fleet, as they would be configured.
pub fn clusters(fleet: &Fleet) -> Vec<ClusterInfo> {
    let one = |name: &String| ClusterInfo { name: name.clone(), region: None, description: Some("simulated".into()) };
    fleet.clusters().iter().map(|c| one(&c.name)).collect()
}

/// The hall that they all stand in, and the meter at its door: the chassis that its Redfish service tells.
pub fn facilities(fleet: &Fleet) -> Vec<Facility> {
    let meter = format!("chassis/{}/127.0.0.1/main", fleet.clusters()[0].name);
    vec![Facility { name: "hall1".to_owned(), clusters: Vec::new(), meters: vec![meter], power_watts: None }]
}

/// What each of these components reads of the fleet, as an operator would write it. Those that the demo has no source for are
/// switched off: their state says so.
pub fn fleet_settings(fleet: &Fleet, origins: &Origins, components: &[String]) -> Vec<Settings> {
    let base = format!("http://{}", origins.pages);
    let cluster = |n: &Node| fleet.clusters()[n.cluster].name.clone();
    // One target a node for which this gives an address.
    let nodes = |address: &dyn Fn(usize, &Node) -> Option<String>| -> Vec<Target> {
        let target = |(at, n): (usize, &Node)| {
            let id = if n.cluster == 0 { n.name.clone() } else { format!("{}-{}", cluster(n), n.name) };
            Some(Target { labels: vec![("node".to_owned(), n.name.clone())], ..target(id, address(at, n)?, cluster(n)) })
        };
        fleet.nodes().iter().enumerate().filter_map(target).collect()
    };
    let of_nodes = |exporter: &str, is_there: &dyn Fn(&Node) -> bool| {
        nodes(&|_, n| is_there(n).then(|| format!("{base}/clusters/{}/nodes/{}/{exporter}/metrics", cluster(n), n.name)))
    };
    let of_clusters = |exporter: &str, is_there: &dyn Fn(&kcloud_fleet_sim::Cluster) -> bool| -> Vec<Target> {
        let there = fleet.clusters().iter().filter(|c| is_there(c));
        there.map(|c| target(c.name.clone(), format!("{base}/clusters/{}/{exporter}/metrics", c.name), c.name.clone())).collect()
    };
    let has_vms = |n: &Node| fleet.vms().iter().any(|v| std::ptr::eq(&fleet.nodes()[v.node], n));
    let bmc = |at: usize| origins.bmcs.iter().find(|b| b.0 == at).map(|b| format!("http://{}", b.1));
    let one = |name: &String| {
        let mut targets = match name.as_str() {
            "nvidia-dcgm" => of_nodes("dcgm", &|n| !n.cards.is_empty()),
            "node-exporter" => of_nodes("node-exporter", &|_| true),
            "cadvisor" => of_nodes("cadvisor", &|_| true),
            "kepler" => of_nodes("kepler", &|_| true),
            "libvirt" => of_nodes("libvirt", &has_vms),
            "kube-state-metrics" => of_clusters("kube-state-metrics", &|_| true),
            "openstack" => of_clusters("openstack", &|c| c.vms > 0),
            "ipmi-exporter" => nodes(&|_, n| n.bmc.ipmi.map(|_| format!("{base}/clusters/{}/ipmi?target={}-bmc", cluster(n), n.name))),
            "redfish" => {
                let meter = target("facility".to_owned(), format!("http://{}", origins.meter), fleet.clusters()[0].name.clone());
                nodes(&|at, _| bmc(at)).into_iter().chain([meter]).collect()
            }
            other if fleet.nodes().iter().any(|n| n.dialect.is_some_and(|d| d.name == other)) => {
                of_nodes(other, &|n| n.dialect.is_some_and(|d| d.name == other))
            }
            _ => return Settings { enabled: false, ..Settings::bare(name) },
        };
        let mut credentials = HashMap::new();
        if name == "redfish" {
            targets.iter_mut().for_each(|t| t.credential = Some("bmc".to_owned()));
            let header = Arc::new(|| Ok(("authorization".to_owned(), kcloud_fleet_sim::BMC_BASIC.to_owned())));
            let origins = targets.iter().map(|t| t.address.clone()).collect();
            credentials.insert("bmc".to_owned(), Credential { secret: Secret::Header(header), origins });
        }
        Settings { credentials, interval: Duration::from_secs(if name == "nvidia-dcgm" { 2 } else { 5 }), ..reading(name, targets) }
    };
    components.iter().map(one).collect()
}

fn target(id: String, address: String, cluster: String) -> Target {
    Target { id, address, cluster, labels: Vec::new(), credential: None, config: "{}".to_owned() }
}

/// A plugin that may reach its targets and nothing else.
fn reading(name: &str, targets: Vec<Target>) -> Settings {
    let http = Some(http_policy::Policy::new(targets.iter().map(|t| t.address.as_str())));
    let targets = targets.into_iter().map(|t| (t, None)).collect();
    // Some can read dumps in files, too, and ask for the right; here there are none.
    let files = Globs::new(&[]).ok();
    Settings { targets, grants: Grants { http, files, ..Grants::default() }, ..Settings::bare(name) }
}

/// The cards alone: one target a node of the first cluster that has some.
pub fn demo_settings(fleet: &Fleet, address: SocketAddr) -> Vec<Settings> {
    let target = |i: usize| {
        let node = fleet.node_name(i);
        let address = format!("http://{address}/nodes/{node}/metrics");
        Target { labels: vec![("node".to_owned(), node.clone())], ..target(node, address, "cluster1".to_owned()) }
    };
    let targets = (0..fleet.node_count()).map(target).collect();
    vec![Settings { interval: Duration::from_secs(2), ..reading("nvidia-dcgm", targets) }]
}
