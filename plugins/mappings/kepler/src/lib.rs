//! From Kepler's joules and watts to what nodes, pods, containers, virtual machines and cards draw, in the names of both of its
//! generations (up to 0.9, and from 0.10), whichever way the rows came. What it splits over workloads is a model's result.

mod keys;
mod share;
mod table;
mod whole;

use kcloud_collector_sdk::exporter::{Def, Out, Page, Row, Source, is_uuid};
use kcloud_collector_sdk::promql::Ask;
use kcloud_collector_sdk::{CollectError, GapReason, Quality, SubjectRef};

use keys::{Key, PodKey, Spot, Tenants};
use share::Share;
use table::Who;

/// Reads Kepler.
#[derive(Default)]
pub struct Kepler {
    /// What it says of a node is a model's result, too: it runs in a virtual machine, or with its fake meter.
    pub modelled: bool,
    /// Processes are wanted, too: thousands a node.
    pub processes: bool,
}

/// One read of one Kepler.
struct Reading<'p, 'r, 'o, 'b> {
    page: &'p Page<'r>,
    out: &'o mut Out<'b>,
    node: Option<SubjectRef>,
    /// Of what it says of the node.
    quality: Quality,
    /// A machine without a meter, mostly a virtual one: it says 0 of everything.
    is_dead: bool,
    unplaced: usize,
    nameless: usize,
}

impl Source for Kepler {
    const NAME: &'static str = "kepler";
    const LIKE: &'static str = "kepler_.*";
    const METRICS: &'static [Def] = table::METRICS;

    fn asks(&self) -> &'static [Ask] {
        match self.processes {
            true => table::ASKS,
            false => &table::ASKS[..1],
        }
    }

    fn read(&mut self, page: &Page<'_>, out: &mut Out<'_>) -> Result<(), CollectError> {
        let rows = || table::FAMILIES.iter().flat_map(|f| page.rows(f.name)).filter(|r| r.value.is_finite());
        let is_dead = rows().next().is_some() && rows().all(|r| r.value == 0.0);
        let is_model = |row: &Row<'_>| {
            let says = |name: &str, what: &[&str]| row.get(name).is_some_and(|v| what.iter().any(|w| v.contains(w)));
            says("source", &["model", "estimat"]) || says("path", &["fake"])
        };
        let mut of_node = table::FAMILIES.iter().filter(|f| f.who == Who::Node).flat_map(|f| page.rows(f.name));
        let quality = match self.modelled || of_node.any(is_model) {
            true => Quality::Modelled,
            false => Quality::Measured,
        };
        let node = keys::node_name(page).map(|name| out.node(&name));
        if node.is_none() {
            out.problem("nobody says which node this is: give the target labels.node; what is said of the node is left out");
        }
        let mut reading = Reading { page, out, node, quality, is_dead, unplaced: 0, nameless: 0 };
        reading.shares();
        reading.platform();
        reading.cards();
        if let (Some(row), Some(node)) = (page.first("kepler_node_cpu_usage_ratio"), node) {
            reading.out.put("utilization_ratio", node, row.value, row.at_ms);
        }
        for (count, what) in
            [(reading.unplaced, "containers of pods that it does not name"), (reading.nameless, "virtual machines without a UUID")]
        {
            if count > 0 {
                reading.out.batch.problem(CollectError::Unsupported(format!("{count} {what} are left out")), None);
            }
        }
        Ok(())
    }
}

impl Reading<'_, '_, '_, '_> {
    fn shares(&mut self) {
        let mut tenants = Tenants::new(self.page);
        let mut shares: Vec<Share> = Vec::new();
        for family in table::FAMILIES {
            let rows = self.page.rows(family.name);
            let spots: Vec<Spot> = rows.iter().map(|row| tenants.spot(family.who, row)).collect();
            // The sum and its parts, in some versions.
            let has_sum = spots.iter().any(|s| s.is_sum);
            for (row, spot) in rows.iter().zip(spots) {
                if let (Some(tenant), Some(part)) = (spot.tenant, family.part.or(spot.zone))
                    && (spot.is_sum || !has_sum)
                    && row.value.is_finite()
                {
                    shares.resize(shares.len().max(tenant + 1), Share::default());
                    shares[tenant].add(part, family.is_power, row);
                }
            }
        }
        self.unplaced = tenants.unplaced.len();
        // Up to 0.9 a pod is what its containers are together.
        for place in 0..shares.len() {
            if let Key::Container { pod: Some(pod), .. } = &tenants.all()[place]
                && pod.uid.is_empty()
            {
                let (pod, share) = (tenants.place(Key::Pod(pod.clone())), shares[place].clone());
                shares.resize(shares.len().max(pod + 1), Share::default());
                shares[pod].join(&share);
            }
        }
        for (key, share) in tenants.all().iter().zip(&shares) {
            if !share.is_empty()
                && let Some(subject) = self.subject(key)
            {
                self.write(key, subject, share);
            }
        }
    }

    fn write(&mut self, key: &Key, subject: SubjectRef, share: &Share) {
        match key {
            Key::Node => self.zones(subject, share),
            Key::System => {
                if let Some(joules) = share.joules().total().filter(|_| !self.is_dead) {
                    self.out.put("x_kepler_system_joules_total", subject, joules, share.at_ms);
                }
            }
            _ => self.tenant(subject, share),
        }
    }

    /// A pod, a container, a process, a virtual machine.
    fn tenant(&mut self, subject: SubjectRef, share: &Share) {
        if self.is_dead {
            self.out.gap("energy_joules", subject, GapReason::Unsupported);
            return;
        }
        for (parts, names, whole) in [(share.joules(), table::JOULES, "energy_joules"), (share.watts(), table::WATTS, "power_watts")] {
            let of_parts = names.iter().filter_map(|(part, metric)| Some((*metric, parts.get(*part)?)));
            for (metric, value) in of_parts.chain(parts.total().map(|total| (whole, total))) {
                self.out.put_as(Quality::Modelled, metric, subject, value, share.at_ms);
            }
        }
    }

    fn zones(&mut self, node: SubjectRef, share: &Share) {
        let (joules, watts) = (share.joules(), share.watts());
        for (parts, names) in [(joules, table::JOULES), (joules, table::ZONES), (watts, table::WATTS), (watts, table::ZONE_WATTS)] {
            for (part, metric) in names {
                match parts.get(*part) {
                    // No zone of a machine that runs stands still: there is no such meter.
                    Some(0.0) => self.out.gap(metric, node, GapReason::Unsupported),
                    Some(value) => self.out.put_as(self.quality, metric, node, value, share.at_ms),
                    None => {}
                }
            }
        }
    }

    fn subject(&mut self, key: &Key) -> Option<SubjectRef> {
        match key {
            Key::Node | Key::System => self.node,
            Key::Pod(pod) => Some(self.pod(pod)),
            Key::Container { pod, name, id } => {
                let parent = match pod {
                    Some(pod) => self.pod(pod),
                    None => self.node?,
                };
                Some(self.out.container(parent, name, Some(id.as_str()).filter(|id| !id.is_empty())))
            }
            Key::Process { pid, command } => {
                let process = self.out.subject("process", "pid", pid, Some(self.node?));
                self.out.label(process, "command", Some(command));
                Some(process)
            }
            Key::Vm { id, name } if is_uuid(id) => {
                let vm = self.out.vm(id, self.node);
                self.out.label(vm, "instance_name", Some(name));
                Some(vm)
            }
            Key::Vm { .. } => {
                self.nameless += 1;
                None
            }
        }
    }

    fn pod(&mut self, pod: &PodKey) -> SubjectRef {
        self.out.pod(self.node, &pod.namespace, &pod.name, Some(pod.uid.as_str()).filter(|uid| !uid.is_empty()))
    }
}
