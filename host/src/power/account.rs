//! Servers: each by the most trusted way in which it is known now, with its parts beneath and what remains.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::{IDS, Method, Now, Watts};
use crate::inventory::{Kind, Quality, Snapshot, Subject};

/// What all servers of a snapshot draw. A pure function of it.
#[derive(Debug, Default)]
pub struct Account {
    /// In order of cluster and name.
    pub servers: Vec<Server>,
    /// Cards as places in `of_kind(Accelerator)`, those of one server together.
    cards: Vec<(usize, Option<Watts>)>,
    by_id: HashMap<Arc<str>, usize>,
    /// Chassis with watts that stand below no node: an enclosure, a PDU. Nobody knows what they contain, so that they are not added.
    pub unattached_chassis: usize,
}

/// One machine.
#[derive(Debug)]
pub struct Server {
    /// Of its `node`; what that would be where only its parts are known.
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub cluster: Arc<str>,
    /// Every way in which its watts are known now, the most trusted first.
    pub ways: Vec<(Method, Watts)>,
    /// CPU packages.
    pub cpu: Option<Watts>,
    pub memory: Option<Watts>,
    pub accelerators: Option<Watts>,
    /// The server that it is a virtual machine of; its watts are in that one's.
    pub guest_of: Option<Arc<str>>,
    /// Which of its virtual machines it is then.
    pub guest_vm: Option<Arc<str>>,
    /// Other chassis of the trusted method that draw less by a twentieth or more: the one that draws most is taken, since they may
    /// contain each other.
    pub rivals: u32,
    cards: Range<usize>,
}

impl Server {
    /// What it draws, and how that is known.
    pub fn total(&self) -> Option<(Method, &Watts)> {
        self.ways.first().map(|(method, watts)| (*method, watts))
    }

    pub fn watts(&self) -> Option<f64> {
        self.total().map(|(_, w)| w.watts)
    }

    /// What it draws beyond its known parts. Below 0 where the parts say more than the whole: their clocks or meters differ.
    pub fn rest(&self) -> Option<f64> {
        let parts: f64 = [&self.cpu, &self.memory, &self.accelerators].into_iter().flatten().map(|w| w.watts).sum();
        Some(self.watts()? - parts)
    }

    pub fn card_count(&self) -> usize {
        self.cards.len()
    }
}

/// A sum over servers, or cards, with how complete it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sum {
    pub watts: Option<f64>,
    pub known: usize,
    pub of: usize,
    /// Of the oldest reading in it.
    pub oldest_ms: Option<i64>,
}

impl Sum {
    pub fn of(all: impl Iterator<Item = Option<Watts>>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            watts: one.map_or(sum.watts, |w| Some(sum.watts.unwrap_or(0.0) + w.watts)),
            known: sum.known + usize::from(one.is_some()),
            of: sum.of + 1,
            oldest_ms: one.map_or(sum.oldest_ms, |w| Some(sum.oldest_ms.map_or(w.at_ms, |at| at.min(w.at_ms)))),
        })
    }
}

/// How much a source is believed, the operator's `priority`; less comes later.
type Trust = std::cmp::Reverse<i32>;

fn trust(snapshot: &Snapshot, source: u16) -> Trust {
    std::cmp::Reverse(snapshot.sources.get(source as usize).map_or(i32::MIN, |s| s.priority))
}

/// What is found of a server before it is weighed.
#[derive(Default)]
struct Found {
    chassis: Vec<(Trust, Method, Watts)>,
    /// Input of each supply that is there, by who reads it: two protocols of one BMC tell the same supplies.
    supplies: Vec<(Option<u16>, Option<Watts>)>,
}

impl Found {
    /// What the supplies take in, as one reader tells: the more trusted first, all of them before some, more before less.
    fn inputs(&self, trust: impl Fn(u16) -> Trust) -> Option<Watts> {
        let mut readers: Vec<u16> = self.supplies.iter().filter_map(|(reader, _)| *reader).collect();
        readers.sort_unstable();
        readers.dedup();
        let of = |reader: u16| {
            let all = || self.supplies.iter().filter(|(r, _)| r.is_none_or(|r| r == reader));
            Watts::sum(all().filter_map(|(_, w)| *w), all().count())
        };
        let known = readers.into_iter().filter_map(of);
        known.max_by(|a, b| trust(b.source).cmp(&trust(a.source)).then(a.is_whole().cmp(&b.is_whole())).then(a.watts.total_cmp(&b.watts)))
    }
}

impl Account {
    pub fn of(snapshot: &Snapshot) -> Self {
        let now = Now::of(snapshot);
        let mut account = Self::default();
        let mut by_name = ByName::new();
        for node in snapshot.of_kind(Kind::Node) {
            let name = node.node.clone().unwrap_or_else(|| node.label("node").unwrap_or(&node.id).into());
            let place = account.place(&mut by_name, &node.cluster, &name, Some(&node.id));
            let server = &mut account.servers[place];
            server.cpu = now.watts(node, IDS.cpu);
            server.memory = now.watts(node, IDS.memory);
        }
        let mut found: Vec<Found> = Vec::new();
        for kind in [Kind::Chassis, Kind::Sensor, Kind::Psu] {
            for s in snapshot.of_kind(kind) {
                account.take(snapshot, &now, s, &mut by_name, &mut found);
            }
        }
        let guests = account.guests(snapshot);
        account.cards(snapshot, &now, &mut by_name, &guests);
        found.resize_with(account.servers.len(), Found::default);
        for (server, found) in account.servers.iter_mut().zip(found) {
            let node = snapshot.get(&server.id);
            server.weigh(found, &account.cards[server.cards.clone()], node.map(|n| (&now, &**n)), |s| trust(snapshot, s));
        }
        // Places in `by_id` follow the order.
        account.servers.sort_by(|a, b| (&a.cluster, &a.name).cmp(&(&b.cluster, &b.name)));
        account.by_id = account.servers.iter().enumerate().map(|(i, s)| (s.id.clone(), i)).collect();
        account
    }

    /// A server by the id of its node.
    pub fn server(&self, node_id: &str) -> Option<&Server> {
        self.by_id.get(node_id).map(|i| &self.servers[*i])
    }
}

impl Account {
    /// Machines that stand for themselves: no virtual ones, whose watts are in their hosts'.
    pub fn machines(&self, cluster: Option<&str>) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(move |s| s.guest_of.is_none() && cluster.is_none_or(|c| *s.cluster == *c))
    }

    /// What a cluster's servers draw; of all clusters where none is named.
    pub fn total(&self, cluster: Option<&str>) -> Sum {
        Sum::of(self.machines(cluster).map(|s| s.total().map(|(_, w)| *w)))
    }

    /// Cards of a server with their watts.
    pub fn cards_of<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        server: &Server,
    ) -> impl Iterator<Item = (&'a Arc<Subject>, Option<Watts>)> + use<'a> {
        let all = snapshot.of_kind(Kind::Accelerator);
        self.cards[server.cards.clone()].iter().filter_map(|(i, watts)| Some((all.get(*i)?, *watts)))
    }
}

impl Account {
    /// The place of a server, which is made where it is not known yet.
    fn place(&mut self, by_name: &mut ByName, cluster: &Arc<str>, name: &Arc<str>, id: Option<&Arc<str>>) -> usize {
        *by_name.entry((cluster.clone(), name.clone())).or_insert_with(|| {
            let id = id.cloned().unwrap_or_else(|| format!("node/{cluster}/{name}").into());
            self.servers.push(Server {
                id: id.clone(),
                name: name.clone(),
                cluster: cluster.clone(),
                ways: Vec::new(),
                cpu: None,
                memory: None,
                accelerators: None,
                guest_of: None,
                guest_vm: None,
                rivals: 0,
                cards: 0..0,
            });
            self.by_id.insert(id, self.servers.len() - 1);
            self.servers.len() - 1
        })
    }

    /// Takes what a chassis, sensor or supply says of the server that it stands below.
    fn take(&mut self, snapshot: &Snapshot, now: &Now, s: &Subject, by_name: &mut ByName, found: &mut Vec<Found>) {
        let metric = if s.kind == Kind::Psu { IDS.power_input } else { IDS.power };
        if s.kind == Kind::Sensor && (s.reading(metric).is_none() || !is_total(s)) {
            return;
        }
        let above = s.parent.as_deref().and_then(|id| snapshot.get(id));
        // The outermost: below a node, or what names its node itself.
        let in_chassis = above.is_some_and(|p| p.kind == Kind::Chassis);
        let mut top = above;
        while let Some(chassis) = top.filter(|p| p.kind == Kind::Chassis)
            && let Some(next) = chassis.parent.as_deref().and_then(|id| snapshot.get(id))
        {
            top = Some(next);
        }
        let node = match top {
            Some(node) if node.kind == Kind::Node => Some(node.node.clone().unwrap_or_else(|| node.id.clone())),
            Some(chassis) => chassis.node.clone().or_else(|| s.node.clone()),
            None => s.node.clone(),
        };
        let watts = now.watts(s, metric);
        let Some(name) = node else {
            self.unattached_chassis += usize::from(s.kind == Kind::Chassis && !in_chassis && watts.is_some());
            return;
        };
        let place = self.place(by_name, &s.cluster, &name, None);
        found.resize_with(found.len().max(place + 1), Found::default);
        let found = &mut found[place];
        let is_nested = above.is_some_and(|p| {
            p.kind == Kind::Chassis && p.parent.as_deref().and_then(|id| snapshot.get(id)).is_some_and(|p| p.kind == Kind::Chassis)
        });
        match s.kind {
            // A chassis in a chassis is a part of it; so is a supply's or a board's sensor.
            Kind::Chassis if !in_chassis => found.chassis.extend(watts.map(|w| (trust(snapshot, w.source), method(snapshot, s, &w), w))),
            Kind::Sensor if !is_nested => found.chassis.extend(watts.map(|w| (trust(snapshot, w.source), Method::Sensor, w))),
            Kind::Psu if s.label("state") != Some("absent") => {
                let reader = s.readings.first().map(|r| r.source);
                found.supplies.push((reader, watts.or_else(|| now.watts(s, IDS.power))));
            }
            _ => {}
        }
    }

    /// Marks virtual machines that are nodes themselves: a VM's UUID is what its system calls its own.
    fn guests(&mut self, snapshot: &Snapshot) -> HashMap<usize, usize> {
        let vm_of = |vm: &Arc<Subject>| Some((vm.label("uuid")?.to_ascii_lowercase(), (vm.parent.clone()?, vm.id.clone())));
        let machines: HashMap<String, (Arc<str>, Arc<str>)> = snapshot.of_kind(Kind::Vm).iter().filter_map(vm_of).collect();
        let mut guests = HashMap::new();
        if machines.is_empty() {
            return guests;
        }
        for node in snapshot.of_kind(Kind::Node) {
            let vm = node.label("system_uuid").and_then(|uuid| machines.get(&uuid.to_ascii_lowercase()));
            let Some((host_id, vm)) = vm.filter(|(host, _)| *host != node.id) else { continue };
            if let Some((guest, host)) = self.by_id.get(&node.id).copied().zip(self.by_id.get(host_id).copied()) {
                self.servers[guest].guest_of = Some(host_id.clone());
                self.servers[guest].guest_vm = Some(vm.clone());
                guests.insert(guest, host);
            }
        }
        guests
    }

    /// Sorts cards by server. One that a virtual machine sees is in its host.
    fn cards(&mut self, snapshot: &Snapshot, now: &Now, by_name: &mut ByName, guests: &HashMap<usize, usize>) {
        let mut placed: Vec<(usize, usize, Option<Watts>)> = Vec::new();
        for (i, card) in snapshot.of_kind(Kind::Accelerator).iter().enumerate() {
            let known = card.parent.as_deref().and_then(|id| self.by_id.get(id)).copied();
            // A card that nobody places is a server's of its own: its watts count, and stand for no other's.
            let place = known.unwrap_or_else(|| self.place(by_name, &card.cluster, card.node.as_ref().unwrap_or(&card.id), None));
            placed.push((guests.get(&place).copied().unwrap_or(place), i, now.watts(card, IDS.power)));
        }
        placed.sort_by_key(|(place, ..)| *place);
        for (at, (place, i, watts)) in placed.into_iter().enumerate() {
            let range = &mut self.servers[place].cards;
            *range = if range.end == 0 { at..at + 1 } else { range.start..at + 1 };
            self.cards.push((i, watts));
        }
    }
}

type ByName = HashMap<(Arc<str>, Arc<str>), usize>;

impl Server {
    /// Orders what is known: by the trust in who says it, then by the way. `zones` are the node's own readings.
    fn weigh(&mut self, found: Found, cards: &[(usize, Option<Watts>)], zones: Option<(&Now, &Subject)>, trust: impl Fn(u16) -> Trust) {
        let zone = |metric| zones.and_then(|(now, node)| now.watts(node, metric));
        let read = Watts::sum(cards.iter().filter_map(|(_, w)| *w), cards.len());
        // The cards themselves where all are read, else what is said of them together.
        self.accelerators = read.filter(Watts::is_whole).or_else(|| zone(IDS.accelerator)).or(read);
        let supplies = found.inputs(&trust).map(derived);
        let mut all = found.chassis;
        // Of one method the one that draws most comes first: it contains the others, or says more.
        all.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.watts.total_cmp(&a.2.watts)));
        // The same whole, read twice, differs by little.
        let is_rival = |way: &&(Trust, Method, Watts)| {
            all.first().is_some_and(|best| (way.0, way.1) == (best.0, best.1) && way.2.watts < 0.95 * best.2.watts)
        };
        self.rivals = all.iter().filter(is_rival).count() as u32;
        let mut ways: Vec<(Method, Watts)> = Vec::with_capacity(all.len() + 2);
        for (_, method, watts) in all {
            if ways.iter().all(|(known, _)| *known != method) {
                ways.push((method, watts));
            }
        }
        let parts = [self.cpu, self.memory, self.accelerators, zone(IDS.other)].into_iter().flatten();
        let parts = parts.reduce(Watts::plus).map(|sum| {
            // A card that is not read is missing in the sum, and so is a zone of which nobody tells.
            let of = sum.of + u32::from(self.cpu.is_none()) + u32::from(self.memory.is_none());
            derived(Watts { of, ..sum })
        });
        // Supplies of which one is not read say no more than parts do: it draws at least that.
        match supplies {
            Some(whole) if whole.is_whole() => ways.push((Method::Psu, whole)),
            Some(some) if parts.is_none_or(|p| p.watts < some.watts) => ways.push((Method::Parts, some)),
            _ => {}
        }
        if !ways.iter().any(|(method, _)| *method == Method::Parts) {
            ways.extend(parts.map(|p| (Method::Parts, p)));
        }
        // What is only added up of parts is the last resort, whoever says it.
        ways.sort_by_key(|(method, w)| (*method == Method::Parts, trust(w.source), *method));
        self.ways = ways;
    }
}

fn derived(sum: Watts) -> Watts {
    Watts { quality: sum.quality.max(Quality::Derived), ..sum }
}

/// How a chassis' watts were measured: as it says itself, else as the plugin is named.
fn method(snapshot: &Snapshot, chassis: &Subject, watts: &Watts) -> Method {
    let plugin = snapshot.sources.get(watts.source as usize).map_or("", |s| &*s.plugin);
    let known = |name: &str| Method::ALL.into_iter().find(|m| m.name() == name && *m != Method::Parts);
    match chassis.label("method").and_then(known) {
        Some(method) => method,
        None if plugin.contains("redfish") => Method::Redfish,
        None if plugin.contains("kepler") => Method::Kepler,
        None => Method::Sensor,
    }
}

/// Whether a power sensor is of the whole machine, by the names that BMCs give it (ipmi_exporter's documentation, vendors' SDRs).
fn is_total(sensor: &Subject) -> bool {
    const TOTALS: [&str; 10] = [
        "pwrconsumption",
        "pwconsumption",
        "powerconsumption",
        "systemlevel",
        "systempower",
        "syspower",
        "totalpower",
        "powertotal",
        "powermeter",
        "inputpowertotal",
    ];
    let name: String = sensor.label("name").unwrap_or("").chars().filter(char::is_ascii_alphanumeric).collect();
    let name = name.to_ascii_lowercase();
    // "PSU1 Total Power", "CPU Total Power", "Fan Total Power" are parts.
    let is_part =
        ["psu", "ps1", "ps2", "cpu", "mem", "dimm", "fan", "gpu", "storage", "hdd", "pcie"].iter().any(|part| name.contains(part));
    !is_part && TOTALS.iter().any(|total| name.contains(total))
}
