//! Shapes of `/clusters`.

use super::{Fields, Shapes};

#[rustfmt::skip]
const CLUSTER: Fields = &[
    ("name", "s", ""),
    ("region", "s?", ""),
    ("description", "s?", ""),
    ("health_status", "healthy|degraded|unreachable|unknown", "degraded: some sources fail; unreachable: all do; unknown: there is none"),
    ("last_health_check", "t?", "When a source last answered"),
    ("total_sources", "i", ""),
    ("failing_sources", "i", ""),
    ("total_nodes", "i", ""),
    ("total_pods", "i", ""),
    ("total_vms", "i", ""),
    ("total_accelerators", "i", ""),
];

#[rustfmt::skip]
const CLUSTER_NODE: Fields = &[
    ("node_name", "s?", ""),
    ("instance", "s?", ""),
    ("internal_ip", "s?", ""),
    ("role", "master|worker|gpu_worker|npu_worker?", ""),
    ("status", "ready|not_ready|unknown|maintenance", ""),
    ("cpu_architecture", "s?", ""),
    ("os_image", "s?", ""),
    ("kernel_version", "s?", ""),
    ("kubelet_version", "s?", ""),
    ("container_runtime", "s?", ""),
    ("system_uuid", "s?", ""),
    ("pod_cidr", "s?", ""),
    ("has_kepler", "b", ""),
];

#[rustfmt::skip]
pub(super) const SHAPES: Shapes = &[
    ("Cluster", &[CLUSTER]),
    ("ClusterDetail", &[CLUSTER, &[
        ("cluster_name", "s", ""),
        ("nodes", "[@ClusterNode]", ""),
        ("active_pods", "i", "Running"),
        ("namespaces", "[s]", ""),
    ]]),
    ("ClusterSummary", &[&[
        ("cluster_name", "s", ""),
        ("health_status", "healthy|degraded|unreachable|unknown", ""),
        ("last_health_check", "t?", ""),
        ("region", "s?", ""),
        ("description", "s?", ""),
        ("total_sources", "i", ""),
        ("failing_sources", "i", ""),
        ("resources", "@ClusterResources", ""),
    ]]),
    ("ClusterResources", &[&[
        ("cluster_name", "s", ""),
        ("total_nodes", "i", ""),
        ("nodes", "[@ClusterNode]", ""),
        ("total_pods", "i", "That are heard of"),
        ("active_pods", "i", "Running"),
        ("namespaces", "[s]", ""),
        ("total_accelerators", "i", ""),
        ("total_vms", "i", ""),
    ]]),
    ("ClusterNode", &[CLUSTER_NODE]),
    ("ClusterTopology", &[&[
        ("cluster_name", "s", ""),
        ("nodes", "[@TopologyNode]", ""),
        ("pods", "[@TopologyPod]", "With include_pods"),
        ("connections", "[@Connection]", "Cards and pods, each to its node"),
        ("summary", "{i}", "total_nodes, total_pods, master_nodes, worker_nodes, nodes_with_kepler"),
    ]]),
    ("TopologyNode", &[CLUSTER_NODE, &[("name", "s?", ""), ("pod_count", "i", ""), ("~pods", "[@PodName]", "")]]),
    ("TopologyPod", &[&[
        ("name", "s?", ""),
        ("namespace", "s?", ""),
        ("node", "s?", ""),
        ("host_ip", "s?", ""),
        ("pod_ip", "s?", ""),
        ("uid", "s?", ""),
        ("created_by_kind", "s?", ""),
        ("created_by_name", "s?", ""),
    ]]),
    ("Connection", &[&[("source", "s?", "Node"), ("target", "s", "Card id, or namespace/pod"), ("type", "node_accelerator|node_pod", "")]]),
];
