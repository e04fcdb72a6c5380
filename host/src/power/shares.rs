//! Who uses the watts: pods and virtual machines.
//!
//! A card's watts go to those that hold it, whole where one does (idle watts too: nobody else can use it), else split by the
//! first of these that is known of all parts: utilization (times size, of partitions), memory in use (of processes), size, equally.
//! What no one holds is nobody's.
//! CPU and memory are what a model (Kepler) says.

use std::collections::HashMap;
use std::sync::Arc;

use super::{IDS, Now, Watts};
use crate::inventory::{Kind, Quality, Snapshot, Subject, pci};

/// What one pod or virtual machine draws, as far as it is known.
#[derive(Debug, Clone)]
pub struct Share {
    /// Of the pod or VM; what that would be where only a card names it.
    pub id: Arc<str>,
    pub kind: Kind,
    pub cluster: Arc<str>,
    /// Id of the node that it runs on.
    pub node: Option<Arc<str>>,
    /// Empty for a VM.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
    pub accelerators: Option<f64>,
    pub other: Option<f64>,
    /// Where a source says only the whole, with what it holds of cards or without, nobody knows.
    said: Option<f64>,
    /// What the pods draw that run in it: a VM that is a node itself contains them.
    pub inside: f64,
    /// The least certain of what is in it.
    pub quality: Quality,
    pub source: u16,
    /// Of the oldest reading in it.
    pub at_ms: i64,
    /// Cards or parts of cards that it holds, also those whose watts are not known.
    pub cards: u32,
}

impl Share {
    pub fn watts(&self) -> Option<f64> {
        let parts = [self.cpu, self.memory, self.accelerators, self.other];
        let sum = parts.iter().any(Option::is_some).then(|| parts.into_iter().flatten().sum::<f64>());
        match (sum, self.said) {
            // The whole may or may not hold the cards: at least the larger is true.
            (Some(sum), Some(said)) => Some(sum.max(said)),
            (sum, said) => sum.or(said),
        }
    }

    /// What is in no other share: that of a VM without the pods in it.
    pub fn own_watts(&self) -> Option<f64> {
        self.watts().map(|watts| (watts - self.inside).max(0.0))
    }

    fn add(&mut self, w: &Watts) {
        self.quality = self.quality.max(w.quality);
        self.at_ms = self.at_ms.min(w.at_ms);
    }
}

/// All of them whose watts, or cards, are known.
#[derive(Debug, Default)]
pub struct Workloads {
    pub shares: Vec<Share>,
    by_id: HashMap<Arc<str>, usize>,
}

impl Workloads {
    pub fn of(snapshot: &Snapshot) -> Self {
        let now = Now::of(snapshot);
        let mut all = Self::default();
        for kind in [Kind::Pod, Kind::Vm] {
            for s in snapshot.of_kind(kind) {
                all.modelled(&now, s);
            }
        }
        all.cards(snapshot, &now);
        all.nest(snapshot);
        all
    }

    /// A pod or VM by its id.
    pub fn share(&self, id: &str) -> Option<&Share> {
        self.by_id.get(id).map(|i| &self.shares[*i])
    }

    /// What a model says of CPU, memory and the rest.
    fn modelled(&mut self, now: &Now, s: &Subject) {
        let [whole, cpu, memory, accelerator, other] =
            [IDS.power, IDS.cpu, IDS.memory, IDS.accelerator, IDS.other].map(|m| now.watts(s, m));
        let Some(first) = [cpu, memory, accelerator, other, whole].into_iter().flatten().next() else { return };
        let share = self.entry(&s.id, || Share {
            id: s.id.clone(),
            kind: s.kind,
            cluster: s.cluster.clone(),
            node: s.parent.clone(),
            namespace: s.label_shared("namespace").unwrap_or_default(),
            name: s.label_shared("name").unwrap_or_else(|| s.id.clone()),
            cpu: None,
            memory: None,
            accelerators: None,
            other: None,
            said: None,
            inside: 0.0,
            quality: first.quality,
            source: first.source,
            at_ms: first.at_ms,
            cards: 0,
        });
        for w in [cpu, memory, accelerator, other, whole].iter().flatten() {
            share.add(w);
        }
        let watts = |w: Option<Watts>| w.map(|w| w.watts);
        (share.cpu, share.memory, share.accelerators, share.other) = (watts(cpu), watts(memory), watts(accelerator), watts(other));
        // With its parts at hand the whole says nothing more.
        share.said = watts(whole).filter(|_| cpu.is_none());
    }

    fn entry(&mut self, id: &Arc<str>, new: impl FnOnce() -> Share) -> &mut Share {
        let place = *self.by_id.entry(id.clone()).or_insert_with(|| {
            self.shares.push(new());
            self.shares.len() - 1
        });
        &mut self.shares[place]
    }

    /// Gives each card's watts to those that hold it. What a model says of cards gives way to it.
    fn cards(&mut self, snapshot: &Snapshot, now: &Now) {
        let mut parts: HashMap<&str, Vec<&Arc<Subject>>> = HashMap::new();
        for kind in [Kind::Partition, Kind::Process] {
            for s in snapshot.of_kind(kind) {
                if let Some(card) = s.parent.as_deref() {
                    parts.entry(card).or_default().push(s);
                }
            }
        }
        let by_address = passed_through(snapshot);
        let account = snapshot.account();
        for server in &account.servers {
            for (card, watts) in account.cards_of(snapshot, server) {
                let beneath: &[&Arc<Subject>] = parts.get(&*card.id).map_or(&[], Vec::as_slice);
                let of_kind = |kind| -> Vec<&Subject> { beneath.iter().filter(|s| s.kind == kind).map(|s| &***s).collect() };
                let (partitions, mut processes) = (of_kind(Kind::Partition), of_kind(Kind::Process));
                processes.retain(|s| holder(s).is_some());
                let held: Vec<&Subject> = match () {
                    _ if partitions.iter().any(|p| holder(p).is_some()) => partitions,
                    _ if holder(card).is_some() => vec![card],
                    _ => processes,
                };
                let is_whole = matches!(held.as_slice(), [one] if one.kind == Kind::Accelerator);
                if held.is_empty() {
                    let pods = holders(card);
                    if !pods.is_empty() {
                        let part = |w: Watts| Watts { watts: w.watts / pods.len() as f64, quality: w.quality.max(Quality::Modelled), ..w };
                        pods.iter().for_each(|who| self.give(snapshot, card, who.of(&card.cluster), watts.map(part), server));
                        continue;
                    }
                    let address = card.label("pci_address").map(pci).and_then(|a| by_address.get(&(server.id.clone(), a)));
                    if let Some(vm) = address {
                        self.give(snapshot, card, (Kind::Vm, vm.clone()), watts, server);
                    }
                    continue;
                }
                let weights = weights(now, &held);
                for (part, weight) in held.iter().zip(weights) {
                    let Some(who) = holder(part) else { continue };
                    let quality = if is_whole { Quality::Measured } else { Quality::Modelled };
                    let given = watts.map(|w| Watts { watts: w.watts * weight, quality: w.quality.max(quality), ..w });
                    self.give(snapshot, card, who.of(&card.cluster), given, server);
                }
            }
        }
    }

    /// Notes what of a VM's watts its own pods draw.
    fn nest(&mut self, snapshot: &Snapshot) {
        let account = snapshot.account();
        if account.servers.iter().all(|s| s.guest_vm.is_none()) {
            return;
        }
        let vm_of = |node: &Arc<str>| account.server(node)?.guest_vm.clone();
        let inside: Vec<(Arc<str>, f64)> =
            self.shares.iter().filter(|s| s.kind == Kind::Pod).filter_map(|s| Some((vm_of(s.node.as_ref()?)?, s.watts()?))).collect();
        for (vm, watts) in inside {
            if let Some(place) = self.by_id.get(&vm) {
                self.shares[*place].inside += watts;
            }
        }
    }

    fn give(&mut self, snapshot: &Snapshot, card: &Subject, (kind, id): (Kind, Arc<str>), watts: Option<Watts>, server: &super::Server) {
        let known = snapshot.get(&id);
        let (of_cluster, own) = id.split_once('/').unwrap_or(("", &id));
        let rest = own.strip_prefix(&*card.cluster).unwrap_or(own).trim_start_matches('/');
        let (namespace, name) = if of_cluster == "pod" { rest.split_once('/').unwrap_or(("", rest)) } else { ("", own) };
        let new = || Share {
            id: id.clone(),
            kind,
            cluster: card.cluster.clone(),
            node: known.and_then(|s| s.parent.clone()).or_else(|| Some(server.id.clone())),
            namespace: namespace.into(),
            name: known.and_then(|s| s.label("name")).unwrap_or(name).into(),
            cpu: None,
            memory: None,
            accelerators: None,
            other: None,
            said: None,
            inside: 0.0,
            quality: Quality::Measured,
            source: watts.map_or(0, |w| w.source),
            at_ms: watts.map_or(snapshot.at_ms, |w| w.at_ms),
            cards: 0,
        };
        let share = self.entry(&id, new);
        if let Some(w) = watts {
            share.add(&w);
            // The first card takes the place of what a model said of them.
            let before = if share.cards == 0 { 0.0 } else { share.accelerators.unwrap_or(0.0) };
            share.accelerators = Some(before + w.watts);
        }
        share.cards += 1;
    }
}

/// Who holds a card or a part of one.
enum Holder<'a> {
    Pod(&'a str, &'a str),
    Vm(&'a str),
}

impl Holder<'_> {
    fn of(&self, cluster: &str) -> (Kind, Arc<str>) {
        match self {
            Self::Pod(namespace, pod) => (Kind::Pod, format!("pod/{cluster}/{namespace}/{pod}").into()),
            Self::Vm(uuid) => (Kind::Vm, format!("vm/{uuid}").into()),
        }
    }
}

fn holder(s: &Subject) -> Option<Holder<'_>> {
    let label = |key| s.label(key).filter(|v| !v.is_empty());
    match (label("namespace"), label("pod"), label("vm_uuid")) {
        (Some(namespace), Some(pod), _) => Some(Holder::Pod(namespace, pod)),
        (.., Some(uuid)) => Some(Holder::Vm(uuid)),
        _ => None,
    }
}

/// The pods that share a card of which nobody says how: `namespace/pod` or `namespace/pod/container`, each pod once.
fn holders(card: &Subject) -> Vec<Holder<'_>> {
    let names = card.label("holders").unwrap_or_default().split(',');
    let mut pods: Vec<(&str, &str)> =
        names.filter_map(|n| n.split_once('/')).map(|(ns, rest)| (ns, rest.split('/').next().unwrap_or(rest))).collect();
    pods.sort_unstable();
    pods.dedup();
    pods.into_iter().map(|(namespace, pod)| Holder::Pod(namespace, pod)).collect()
}

/// What part of a card's watts each part gets; they add up to 1.
fn weights(now: &Now, parts: &[&Subject]) -> Vec<f64> {
    let all = |weight: &dyn Fn(&Subject) -> Option<f64>| {
        let all: Vec<f64> = parts.iter().map(|s| weight(s)).collect::<Option<_>>()?;
        let sum: f64 = all.iter().sum();
        (sum > 0.0).then(|| all.iter().map(|w| w / sum).collect())
    };
    let size = |s: &Subject| now.number(s, IDS.memory_total);
    let load = |s: &Subject| now.number(s, IDS.utilization);
    // Of processes there is no size: their load is of the whole card.
    let has_size = parts.iter().all(|s| size(s).is_some());
    let weighed = |s: &Subject| Some(load(s)? * if has_size { size(s)? } else { 1.0 });
    let used = |s: &Subject| now.number(s, IDS.memory_used);
    let equally = || vec![1.0 / parts.len() as f64; parts.len()];
    all(&weighed).or_else(|| if has_size { None } else { all(&used) }).or_else(|| all(&size)).unwrap_or_else(equally)
}

/// Cards that virtual machines hold, by node and address, as the machines' own sources say.
fn passed_through(snapshot: &Snapshot) -> HashMap<(Arc<str>, String), Arc<str>> {
    let of = |vm: &Arc<Subject>| -> Option<Vec<_>> {
        let (host, devices) = (vm.parent.clone()?, vm.label("pci_devices")?);
        Some(devices.split(',').map(|d| ((host.clone(), pci(d.trim())), vm.id.clone())).collect())
    };
    snapshot.of_kind(Kind::Vm).iter().filter_map(of).flatten().collect()
}
