//! The pages of the exporters, each as its real one writes it. To add a vendor's: a file with its [`Dialect`], and a line in [`DIALECTS`].

pub(crate) mod all_smi;
pub(crate) mod amd;
pub(crate) mod ascend;
pub(crate) mod cadvisor;
pub(crate) mod facility;
pub(crate) mod furiosa;
pub(crate) mod google_tpu;
pub(crate) mod intel_gaudi;
pub(crate) mod intel_gpu;
pub(crate) mod ipmi;
pub(crate) mod kepler;
pub(crate) mod kube_state_metrics;
pub(crate) mod libvirt;
pub(crate) mod node_exporter;
pub(crate) mod nvidia_gpu_exporter;
pub(crate) mod openstack;
pub(crate) mod rebellions;
pub(crate) mod tenstorrent;

use crate::other::{OtherCard, OtherModel, OtherReading};
use crate::world::Node;
use crate::{Fleet, Moment};

/// How one exporter writes the cards of a node.
#[derive(Debug)]
pub struct Dialect {
    /// The exporter's part of the route: `/clusters/CLUSTER/nodes/NODE/NAME/metrics`.
    pub name: &'static str,
    /// Models that its nodes carry.
    pub(crate) models: &'static [OtherModel],
    /// Its older generation of names says nothing about memory.
    pub(crate) old_lacks_memory: bool,
    pub(crate) write: fn(&Shown<'_>) -> String,
}

/// Every dialect in which other vendors' cards can be shown.
pub const DIALECTS: &[Dialect] = &[
    all_smi::DIALECT,
    ascend::DIALECT,
    furiosa::DIALECT,
    rebellions::DIALECT,
    amd::DIALECT,
    intel_gaudi::DIALECT,
    intel_gpu::DIALECT,
    tenstorrent::DIALECT,
    google_tpu::DIALECT,
    nvidia_gpu_exporter::DIALECT,
];

/// A dialect by its name.
pub fn dialect(name: &str) -> Option<&'static Dialect> {
    DIALECTS.iter().find(|d| d.name == name)
}

/// What a dialect is given to write: a node, its cards and what each reads now. A node's `is_newer` says which generation of names.
pub struct Shown<'a> {
    pub node: &'a Node,
    pub cards: Vec<(&'a OtherCard, OtherReading)>,
    pub moment: Moment,
}

impl Fleet {
    /// One node's other cards at a moment, in the dialect of its exporter; nothing where it has none.
    pub fn other_exposition(&self, node: usize, moment: impl Into<Moment>) -> Option<String> {
        self.nodes[node].dialect.map(|d| self.shown_in(d, node, moment.into()))
    }

    /// The same in any dialect: a peer of its exporter.
    pub(crate) fn shown_in(&self, dialect: &Dialect, node: usize, moment: Moment) -> String {
        let node = &self.nodes[node];
        let cards = node.others.iter().map(|c| (c, c.read(moment))).collect();
        (dialect.write)(&Shown { node, cards, moment })
    }
}
