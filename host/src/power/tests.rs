use std::sync::Arc;

use super::*;
use crate::inventory::batch::{Batch, BatchPoint, BatchSubject, Coverage};
use crate::inventory::{Inventory, Kind, SourceInfo};

const SECOND: i64 = 1_000;

/// A world that is told by hand: each row is a subject with its parent, labels and readings.
pub(crate) struct World {
    pub inventory: Inventory,
    pub now: i64,
}

pub(crate) type Row<'a> = (Kind, Option<u32>, &'a [(&'a str, &'a str)], &'a [(&'a str, f64)]);

impl World {
    pub(crate) fn new() -> Self {
        Self { inventory: Inventory::new(0), now: 1_000_000 * SECOND }
    }

    pub(crate) fn info(plugin: &str, cluster: &str) -> SourceInfo {
        SourceInfo {
            plugin: plugin.into(),
            target: format!("{plugin}-{cluster}").into(),
            cluster: cluster.into(),
            interval_ms: 15 * SECOND,
            priority: 0,
            max_subjects: 100_000,
            max_values: 1_000_000,
        }
    }

    pub(crate) fn say(&self, plugin: &str, cluster: &str, rows: &[Row<'_>]) {
        self.say_with(plugin, cluster, 0, rows);
    }

    /// Of a plugin with an operator's priority.
    pub(crate) fn say_with(&self, plugin: &str, cluster: &str, priority: i32, rows: &[Row<'_>]) {
        let (mut subjects, mut points) = (Vec::new(), Vec::new());
        let quality = if plugin == "kepler" { Quality::Modelled } else { Quality::Measured };
        for (i, (kind, parent, labels, readings)) in rows.iter().enumerate() {
            let identity = ["node", "uuid", "name", "namespace", "entity", "partition_id", "pid", "pci_address", "device"];
            let (identity, labels) =
                labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).partition(|(k, _)| identity.contains(&k.as_str()));
            subjects.push(BatchSubject { kind: *kind, identity, labels, parent: *parent, observed_at_ms: None });
            for (metric, value) in *readings {
                let metric = Catalogue::known(metric).unwrap();
                points.push(BatchPoint { subject: i as u32, metric, value: *value, quality, at_ms: None });
            }
        }
        let batch = Batch { coverage: Coverage::Whole, subjects, points, ..Batch::default() };
        let info = SourceInfo { priority, ..Self::info(plugin, cluster) };
        assert_eq!(self.inventory.apply(&info, batch, self.now), Vec::<String>::new());
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        if let Some(next) = self.inventory.prepare(self.now, i64::MAX) {
            self.inventory.publish(next.snapshot);
        }
        self.inventory.current()
    }
}

pub(crate) const NODE: Row<'static> = (Kind::Node, None, &[("node", "worker1")], &[]);

pub(crate) fn chassis(method: &'static str) -> [(&'static str, &'static str); 2] {
    [("name", method), ("method", method)]
}

/// Eight cards of 300 W on worker1, the first of which `pod` holds.
fn cards(pod: &'static str) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let who = [("namespace", "ml"), ("pod", pod), ("class", "gpu"), ("vendor", "nvidia")];
    (0..8).map(|i| (format!("GPU-{i}"), if i == 0 { who.to_vec() } else { who[2..].to_vec() })).collect()
}

pub(crate) fn say_cards(world: &World, watts: &[f64]) {
    let all = cards("train-0");
    let labels: Vec<Vec<(&str, &str)>> =
        all.iter().map(|(uuid, l)| [("uuid", uuid.as_str())].into_iter().chain(l.iter().copied()).collect()).collect();
    let readings: Vec<Vec<(&str, f64)>> = (0..8).map(|i| watts.get(i).map(|w| ("power_watts", *w)).into_iter().collect()).collect();
    let rows: Vec<Row<'_>> =
        std::iter::once(NODE).chain((0..8).map(|i| (Kind::Accelerator, Some(0), labels[i].as_slice(), readings[i].as_slice()))).collect();
    world.say("nvidia-dcgm", "cluster1", &rows);
}

#[test]
fn every_metric_that_the_account_reads_is_in_the_catalogue() {
    let Ids { power, power_input, cpu, memory, accelerator, other, utilization, memory_used, memory_total } = &*IDS;
    for id in [power, power_input, cpu, memory, accelerator, other, utilization, memory_used, memory_total] {
        assert!(Catalogue::metric(*id).is_some());
    }
}

#[test]
fn the_total_is_what_the_servers_draw_and_not_0() {
    let world = World::new();
    say_cards(&world, &[300.0; 8]);
    world.say("ipmi", "cluster1", &[NODE, (Kind::Chassis, Some(0), &chassis("dcmi"), &[("power_watts", 3_500.0)])]);
    let snapshot = world.snapshot();
    let account = snapshot.account();
    assert_eq!(account.total(None).watts, Some(3_500.0));
    let server = account.server("node/cluster1/worker1").unwrap();
    assert_eq!(server.accelerators.unwrap().watts, 2_400.0);
    assert_eq!(server.rest(), Some(1_100.0));
    assert_eq!(server.card_count(), 8);
}

#[test]
fn a_hostile_batch_of_less_trust_decides_nothing_of_a_server() {
    let world = World::new();
    let dcmi: Row<'_> = (Kind::Chassis, Some(0), &chassis("dcmi"), &[("power_watts", 3_500.0)]);
    let psu = |watts: &'static [(&'static str, f64)]| -> Row<'static> { (Kind::Psu, Some(0), &[("name", "PSU1")], watts) };
    // The stranger comes first, so that nothing hangs on the order.
    let hostile = |priority: i32| {
        let own = [("name", "dcmi"), ("method", "meter")];
        let rows = [
            NODE,
            // The other's own chassis under another method, a meter that nobody has, and another DCMI that draws more.
            (Kind::Chassis, Some(0), own.as_slice(), [("power_watts", 1.0)].as_slice()),
            (Kind::Chassis, Some(0), &[("name", "pdu"), ("method", "meter")], &[("power_watts", 2.0)]),
            (Kind::Chassis, Some(0), &[("name", "dcmi2"), ("method", "dcmi")], &[("power_watts", 900_000.0)]),
            (Kind::Sensor, Some(0), &[("name", "Total Power")], &[("power_watts", 800_000.0)]),
            (Kind::Psu, Some(0), &[("name", "PSU9")], &[("power_input_watts", 700_000.0)]),
        ];
        world.say_with("stranger", "cluster1", priority, &rows);
    };
    hostile(-1);
    world.say("ipmi", "cluster1", &[NODE, dcmi, psu(&[("power_input_watts", 3_600.0)])]);
    let of = |world: &World| {
        let snapshot = world.snapshot();
        let server = snapshot.account().server("node/cluster1/worker1").unwrap();
        (server.total().map(|(m, w)| (m, w.watts)), server.ways.iter().map(|(m, w)| (*m, w.watts)).collect::<Vec<_>>(), server.rivals)
    };
    let (total, ways, rivals) = of(&world);
    assert_eq!((total, rivals), (Some((Method::Dcmi, 3_500.0)), 0));
    let first: Vec<_> = ways.iter().take(2).copied().collect();
    assert_eq!(first, [(Method::Dcmi, 3_500.0), (Method::Psu, 3_600.0)], "what is trusted before what is not: {ways:?}");
    assert!(ways.contains(&(Method::Meter, 2.0)), "what the stranger says stays visible: {ways:?}");
    // A stranger that was given as much trust is believed, as the documents say.
    hostile(0);
    assert_eq!(of(&world).0.map(|t| t.0), Some(Method::Meter));
    // Once it is silent nothing of it is left to be believed.
    hostile(-1);
    assert_eq!(of(&world).0, Some((Method::Dcmi, 3_500.0)));
}

#[test]
fn platform_watts_and_the_cards_in_them_are_not_added() {
    let world = World::new();
    say_cards(&world, &[300.0; 8]);
    let zones =
        [("cpu_power_watts", 400.0), ("memory_power_watts", 100.0), ("accelerator_power_watts", 2_390.0), ("other_power_watts", 250.0)];
    let node: Row<'_> = (Kind::Node, None, &[("node", "worker1")], &zones);
    world.say("kepler", "cluster1", &[node, (Kind::Chassis, Some(0), &chassis("kepler"), &[("power_watts", 3_200.0)])]);
    let snapshot = world.snapshot();
    let server = snapshot.account().server("node/cluster1/worker1").unwrap();
    let (method, total) = server.total().unwrap();
    assert_eq!((method, total.watts, total.quality), (Method::Kepler, 3_200.0, Quality::Modelled));
    // The cards' own reading, not the zone that repeats them; the rest is what is left.
    assert_eq!(server.accelerators.unwrap().watts, 2_400.0);
    assert_eq!(server.rest(), Some(300.0));
}

#[test]
fn a_server_is_known_by_the_most_trusted_way_that_answers() {
    let ways = ["meter", "dcmi", "redfish", "sensor", "kepler"];
    let expected =
        [(Method::Meter, 1_000.0), (Method::Dcmi, 1_001.0), (Method::Redfish, 1_002.0), (Method::Sensor, 1_003.0), (Method::Psu, 1_010.0)];
    for (from, (method, watts)) in expected.into_iter().enumerate() {
        let world = World::new();
        let labels = ways.map(chassis);
        let readings: Vec<_> = (0..ways.len()).map(|i| [("power_watts", 1_000.0 + i as f64)]).collect();
        let supplies = [[("entity", "10.1"), ("name", "PSU")], [("entity", "10.2"), ("name", "PSU")]];
        let mut rows: Vec<Row<'_>> = vec![NODE];
        rows.extend((from..ways.len()).map(|i| (Kind::Chassis, Some(0), labels[i].as_slice(), readings[i].as_slice())));
        rows.extend(supplies.iter().map(|s| (Kind::Psu, Some(0), s.as_slice(), [("power_input_watts", 505.0)].as_slice())));
        world.say("bmc", "cluster1", &rows);
        let snapshot = world.snapshot();
        let server = snapshot.account().server("node/cluster1/worker1").unwrap();
        assert_eq!(server.total().map(|(m, w)| (m, w.watts)), Some((method, watts)));
        assert_eq!(server.ways.len(), ways.len() + 1 - from, "the other ways stay visible: {:?}", server.ways);
    }
}

#[test]
fn a_bay_without_a_supply_counts_as_nothing_and_a_supply_that_is_not_read_makes_the_sum_a_part() {
    let world = World::new();
    let one = (Kind::Psu, Some(0), [("name", "PSU1"), ("state", "ok")].as_slice(), [("power_input_watts", 700.0)].as_slice());
    let empty = (Kind::Psu, Some(0), [("name", "PSU2"), ("state", "absent")].as_slice(), [].as_slice());
    world.say("ipmi", "cluster1", &[NODE, one, empty]);
    let way = |world: &World| world.snapshot().account().servers[0].total().map(|(m, w)| (m, w.watts, w.is_whole(), w.quality)).unwrap();
    assert_eq!(way(&world), (Method::Psu, 700.0, true, Quality::Derived));
    let silent = (Kind::Psu, Some(0), [("name", "PSU2"), ("state", "ok")].as_slice(), [].as_slice());
    world.say("ipmi", "cluster1", &[NODE, one, silent]);
    assert_eq!(way(&world), (Method::Parts, 700.0, false, Quality::Derived));
}

#[test]
fn supplies_that_two_protocols_tell_are_there_once() {
    let world = World::new();
    for (plugin, names) in [("ipmi", ["PS1 Input", "PS2 Input"]), ("redfish", ["PSU 1", "PSU 2"])] {
        let of = |name| [("name", name)];
        let (a, b) = (of(names[0]), of(names[1]));
        let input = |watts| [("power_input_watts", watts)];
        let top = [("name", plugin)];
        let rows: [Row<'_>; 4] =
            [NODE, (Kind::Chassis, Some(0), &top, &[]), (Kind::Psu, Some(1), &a, &input(400.0)), (Kind::Psu, Some(1), &b, &input(410.0))];
        world.say(plugin, "cluster1", &rows);
    }
    let snapshot = world.snapshot();
    let (method, total) = snapshot.account().servers[0].total().unwrap();
    assert_eq!((method, total.watts, total.of), (Method::Psu, 810.0, 2));
}

#[test]
fn one_whole_that_two_plugins_read_is_no_rival_of_itself() {
    let world = World::new();
    for (plugin, watts) in [("ipmi", 900.0), ("ipmi-exporter", 910.0)] {
        world.say(
            plugin,
            "cluster1",
            &[NODE, (Kind::Chassis, Some(0), &[("name", plugin), ("method", "dcmi")], &[("power_watts", watts)])],
        );
    }
    let snapshot = world.snapshot();
    assert_eq!((snapshot.account().servers[0].watts(), snapshot.account().servers[0].rivals), (Some(910.0), 0));
}

#[test]
fn a_chassis_in_a_chassis_is_not_added_and_its_sensors_are_not_the_whole() {
    let world = World::new();
    let sensor = [("name", "Total Power"), ("sensor_type", "power")];
    let rows: [Row<'_>; 5] = [
        NODE,
        (Kind::Chassis, Some(0), &[("name", "1"), ("method", "redfish")], &[("power_watts", 5_000.0)]),
        (Kind::Chassis, Some(1), &[("name", "HGX"), ("method", "redfish")], &[("power_watts", 4_000.0)]),
        (Kind::Sensor, Some(2), &sensor, &[("power_watts", 3_990.0)]),
        (Kind::Sensor, Some(1), &[("name", "PSU1 Total Power")], &[("power_watts", 2_500.0)]),
    ];
    world.say("redfish", "cluster1", &rows);
    let snapshot = world.snapshot();
    let server = &snapshot.account().servers[0];
    assert_eq!(server.ways.iter().map(|(m, w)| (*m, w.watts)).collect::<Vec<_>>(), [(Method::Redfish, 5_000.0)]);
}

#[test]
fn an_enclosure_that_stands_below_no_node_is_not_added() {
    let world = World::new();
    world.say("redfish", "cluster1", &[(Kind::Chassis, None, &[("name", "rack1"), ("method", "redfish")], &[("power_watts", 30_000.0)])]);
    let snapshot = world.snapshot();
    assert_eq!((snapshot.account().total(None).watts, snapshot.account().unattached_chassis), (None, 1));
}

#[test]
fn cards_of_a_node_without_a_meter_still_count_as_what_is_known_of_it() {
    let world = World::new();
    say_cards(&world, &[300.0; 7]);
    let snapshot = world.snapshot();
    let (method, total) = snapshot.account().servers[0].total().unwrap();
    assert_eq!((method, total.watts, total.quality, total.read), (Method::Parts, 2_100.0, Quality::Derived, 7));
    assert!(total.of > 8, "neither CPU nor memory is known");
    assert_eq!(snapshot.account().total(None).watts, Some(2_100.0));
}

#[test]
fn a_fleet_of_which_nothing_is_read_has_no_total() {
    let world = World::new();
    world.say("kubernetes", "cluster1", &[NODE]);
    let snapshot = world.snapshot();
    assert_eq!(snapshot.account().total(None), Sum { watts: None, known: 0, of: 1, oldest_ms: None });
    assert_eq!(snapshot.account().servers[0].rest(), None);
}

#[test]
fn what_a_silent_bmc_said_last_is_not_what_is_drawn_now() {
    let mut world = World::new();
    let say = |world: &World, plugin| {
        world.say(plugin, "cluster1", &[NODE, (Kind::Chassis, Some(0), &chassis("dcmi"), &[("power_watts", 900.0)])])
    };
    let zones: Row<'_> = (Kind::Node, None, &[("node", "worker1")], &[("cpu_power_watts", 200.0)]);
    say(&world, "ipmi");
    world.say("kepler", "cluster1", &[zones]);
    assert_eq!(world.snapshot().account().total(None).watts, Some(900.0));
    world.now += 60 * SECOND;
    world.say("kepler", "cluster1", &[zones]);
    let snapshot = world.snapshot();
    let (method, total) = snapshot.account().servers[0].total().unwrap();
    assert_eq!((method, total.watts), (Method::Parts, 200.0));
    // Now the zone's source is the silent one, though the node is still heard of.
    world.now += 60 * SECOND;
    say(&world, "ipmi");
    assert_eq!(world.snapshot().account().servers[0].cpu, None);
}

#[test]
fn parts_that_say_more_than_the_whole_leave_a_remainder_below_0() {
    let world = World::new();
    say_cards(&world, &[300.0; 8]);
    world.say("ipmi", "cluster1", &[NODE, (Kind::Chassis, Some(0), &chassis("dcmi"), &[("power_watts", 2_000.0)])]);
    assert_eq!(world.snapshot().account().servers[0].rest(), Some(-400.0));
}

#[test]
fn a_node_that_is_a_virtual_machine_is_in_its_host() {
    let world = World::new();
    world.say("libvirt", "cluster1", &[(Kind::Node, None, &[("node", "host1")], &[]), (Kind::Vm, Some(0), &[("uuid", "4C4C-AA")], &[])]);
    world.say(
        "ipmi",
        "cluster1",
        &[(Kind::Node, None, &[("node", "host1")], &[]), (Kind::Chassis, Some(0), &chassis("dcmi"), &[("power_watts", 800.0)])],
    );
    let guest: Row<'_> = (Kind::Node, None, &[("node", "worker1"), ("system_uuid", "4c4c-aa")], &[("cpu_power_watts", 90.0)]);
    let card: Row<'_> = (Kind::Accelerator, Some(0), &[("uuid", "GPU-1")], &[("power_watts", 250.0)]);
    world.say("kubelet", "cluster1", &[guest, card]);
    let snapshot = world.snapshot();
    let account = snapshot.account();
    assert_eq!(account.total(None).watts, Some(800.0));
    assert_eq!(account.server("node/cluster1/worker1").unwrap().guest_of.as_deref(), Some("node/cluster1/host1"));
    assert_eq!(account.server("node/cluster1/host1").unwrap().rest(), Some(550.0));
}

#[test]
fn names_that_collide_between_clusters_stay_apart() {
    let world = World::new();
    for (cluster, watts) in [("cluster1", 500.0), ("cluster2", 700.0)] {
        world.say("ipmi", cluster, &[NODE, (Kind::Chassis, Some(0), &chassis("dcmi"), &[("power_watts", watts)])]);
    }
    let snapshot = world.snapshot();
    let of = |cluster| snapshot.account().total(cluster).watts;
    assert_eq!((of(None), of(Some("cluster1")), of(Some("cluster2"))), (Some(1_200.0), Some(500.0), Some(700.0)));
}

#[test]
fn a_cards_watts_go_to_the_pod_that_holds_it_with_what_is_modelled_of_its_cpu() {
    let world = World::new();
    say_cards(&world, &[300.0; 8]);
    let pod = [("namespace", "ml"), ("name", "train-0")];
    let zones = [("cpu_power_watts", 40.0), ("memory_power_watts", 10.0), ("accelerator_power_watts", 280.0), ("power_watts", 330.0)];
    world.say("kepler", "cluster1", &[NODE, (Kind::Pod, Some(0), &pod, &zones)]);
    let snapshot = world.snapshot();
    let share = snapshot.workloads().share("pod/cluster1/ml/train-0").unwrap();
    assert_eq!((share.watts(), share.accelerators, share.cards), (Some(350.0), Some(300.0), 1));
    assert_eq!((share.quality, &*share.namespace, &*share.name), (Quality::Modelled, "ml", "train-0"));
}

#[test]
fn a_pod_that_only_a_card_names_has_its_watts_too() {
    let world = World::new();
    say_cards(&world, &[300.0; 8]);
    let snapshot = world.snapshot();
    let share = snapshot.workloads().share("pod/cluster1/ml/train-0").unwrap();
    assert_eq!((share.watts(), share.quality, &*share.namespace, &*share.name), (Some(300.0), Quality::Measured, "ml", "train-0"));
    assert_eq!(snapshot.workloads().shares.len(), 1);
}

type Readings<'a> = &'a [(&'a str, f64)];

/// Watts of pods `a` and `b` on a card of 400 W whose parts read so.
fn split(kind: Kind, parts: [Readings<'_>; 2]) -> [Option<f64>; 2] {
    let world = World::new();
    let id = if kind == Kind::Partition { "partition_id" } else { "pid" };
    let labels = [[(id, "1"), ("namespace", "ml"), ("pod", "a")], [(id, "2"), ("namespace", "ml"), ("pod", "b")]];
    let card: Row<'_> = (Kind::Accelerator, Some(0), &[("uuid", "GPU-1")], &[("power_watts", 400.0)]);
    world.say("dcgm", "cluster1", &[NODE, card, (kind, Some(1), &labels[0], parts[0]), (kind, Some(1), &labels[1], parts[1])]);
    let snapshot = world.snapshot();
    ["a", "b"].map(|pod| snapshot.workloads().share(&format!("pod/cluster1/ml/{pod}")).and_then(Share::watts))
}

#[test]
fn a_shared_card_is_split_by_load_else_memory_else_size_else_equally() {
    let cases: [(Kind, [Readings<'_>; 2], [f64; 2]); 5] = [
        (Kind::Partition, [&[("memory_total_bytes", 10e9)], &[("memory_total_bytes", 30e9)]], [100.0, 300.0]),
        (
            Kind::Partition,
            [&[("memory_total_bytes", 10e9), ("utilization_ratio", 0.9)], &[("memory_total_bytes", 30e9), ("utilization_ratio", 0.1)]],
            [300.0, 100.0],
        ),
        (Kind::Process, [&[("memory_used_bytes", 1e9)], &[("memory_used_bytes", 7e9)]], [50.0, 350.0]),
        (Kind::Process, [&[("utilization_ratio", 0.75)], &[("utilization_ratio", 0.25)]], [300.0, 100.0]),
        (Kind::Process, [&[("memory_used_bytes", 1e9)], &[]], [200.0, 200.0]),
    ];
    for (kind, parts, expected) in cases {
        assert_eq!(split(kind, parts), expected.map(Some), "{parts:?}");
    }
}

#[test]
fn a_card_whose_holders_are_named_alone_is_theirs_in_equal_parts() {
    let world = World::new();
    // As the kubelet names them: two containers of one pod are one.
    let holders = ("holders", "ml/a/main,ml/a/side,ml/b,");
    let card: Row<'_> = (Kind::Accelerator, Some(0), &[("uuid", "GPU-1"), holders], &[("power_watts", 400.0)]);
    let watts = || {
        let snapshot = world.snapshot();
        ["a", "b"].map(|pod| snapshot.workloads().share(&format!("pod/cluster1/ml/{pod}")).and_then(Share::watts))
    };
    world.say("dcgm", "cluster1", &[NODE, card]);
    assert_eq!(watts(), [Some(200.0); 2]);
    // Who says how much goes before.
    let process: Row<'_> = (Kind::Process, Some(1), &[("pid", "7"), ("namespace", "ml"), ("pod", "b")], &[]);
    world.say("dcgm", "cluster1", &[NODE, card, process]);
    assert_eq!(watts(), [None, Some(400.0)]);
}

#[test]
fn a_part_that_nobody_holds_is_nobodys() {
    let world = World::new();
    let card: Row<'_> = (Kind::Accelerator, Some(0), &[("uuid", "GPU-1")], &[("power_watts", 400.0)]);
    let held: Row<'_> = (Kind::Partition, Some(1), &[("partition_id", "1"), ("namespace", "ml"), ("pod", "a")], &[]);
    let free: Row<'_> = (Kind::Partition, Some(1), &[("partition_id", "2")], &[]);
    world.say("dcgm", "cluster1", &[NODE, card, held, free]);
    let total: f64 = world.snapshot().workloads().shares.iter().filter_map(Share::watts).sum();
    assert_eq!(total, 200.0);
}

#[test]
fn a_virtual_machine_has_the_cards_that_are_passed_through_to_it() {
    let world = World::new();
    let rows: [Row<'_>; 4] = [
        NODE,
        (Kind::Vm, Some(0), &[("uuid", "vm-1"), ("pci_devices", "0000:17:00.0, 0000:18:00.0")], &[("cpu_power_watts", 30.0)]),
        (Kind::Accelerator, Some(0), &[("uuid", "GPU-1"), ("pci_address", "00000000:17:00.0")], &[("power_watts", 200.0)]),
        (Kind::Accelerator, Some(0), &[("uuid", "GPU-2"), ("vm_uuid", "vm-1")], &[("power_watts", 210.0)]),
    ];
    world.say("libvirt", "cluster1", &rows);
    let snapshot = world.snapshot();
    let share = snapshot.workloads().share("vm/vm-1").unwrap();
    assert_eq!((share.watts(), share.cards), (Some(440.0), 2));
}

#[test]
fn energy_leaves_gaps_out_and_counts_them() {
    let all = |from: i64, to: i64| (from..to).map(|i| (i * 10_000, Some(600.0)));
    let mut observed: Vec<_> = all(0, 7).collect();
    let whole = joules(&observed, (0, 60_000));
    assert_eq!(whole, Energy { joules: Some(36_000.0), covered_ms: 60_000, missing_ms: 0, gaps: 0 });
    assert_eq!(whole.kwh(), Some(0.01));
    // Five minutes in which the host was down, and an end that was noted.
    observed.extend(all(36, 40));
    observed.push((395_000, None));
    observed.extend(all(41, 43));
    let broken = joules(&observed, (0, 430_000));
    assert_eq!((broken.joules, broken.gaps), (Some(600.0 * 100.0), 2));
    assert_eq!((broken.covered_ms, broken.missing_ms), (100_000, 330_000));
    assert_eq!(joules(&[], (0, 1_000)), Energy { missing_ms: 1_000, ..Energy::default() });
    assert_eq!(joules(&[(0, Some(1.0))], (0, 1_000)).joules, None, "one observation has no span");
}

#[test]
fn energy_of_steps_counts_what_of_them_lies_in_the_window() {
    let steps = [(0, Some(100.0)), (60_000, None), (120_000, Some(200.0)), (180_000, Some(200.0))];
    let energy = joules_of_steps(&steps, 60_000, (30_000, 200_000));
    assert_eq!(energy, Energy { joules: Some(3_000.0 + 12_000.0 + 4_000.0), covered_ms: 110_000, missing_ms: 60_000, gaps: 1 });
}

/// What a recorder notes of a world now: subject, metric and value.
fn noted(recorder: &mut Recorder, world: &World) -> Vec<(String, String, Option<f64>)> {
    let mut points = Vec::new();
    recorder.note(&world.snapshot(), &mut points);
    points.into_iter().map(|p| (p.subject.to_string(), p.metric.to_string(), p.value)).collect()
}

#[test]
fn what_was_shown_is_noted_once_with_its_method_and_ends_when_nobody_knows() {
    let (mut world, mut recorder) = (World::new(), Recorder::default());
    say_cards(&world, &[300.0; 8]);
    world.say("ipmi", "cluster1", &[NODE, (Kind::Chassis, Some(0), &chassis("dcmi"), &[("power_watts", 3_500.0)])]);
    let first = noted(&mut recorder, &world);
    let of = |all: &[(String, String, Option<f64>)], subject: &str, metric: &str| {
        all.iter().find(|(s, m, _)| s == subject && m == metric).map(|p| p.2)
    };
    assert_eq!(of(&first, "node/cluster1/worker1", SERVER_WATTS), Some(Some(3_500.0)));
    let code = of(&first, "node/cluster1/worker1", SERVER_METHOD).flatten().unwrap();
    assert_eq!(method_of(code), Some((Method::Dcmi, Quality::Measured)));
    assert_eq!(of(&first, "cluster/cluster1", CLUSTER_WATTS), Some(Some(3_500.0)));
    assert_eq!(of(&first, &group_series("cluster1", By::Vendor, "nvidia"), GROUP_WATTS), Some(Some(2_400.0)));
    assert_eq!(of(&first, "pod/cluster1/ml/train-0", WORKLOAD_WATTS), Some(Some(300.0)));
    assert_eq!(first.iter().filter(|(s, ..)| s == "pod/cluster1/ml/train-0").count(), 1, "once");
    let by_workload: Vec<_> = first.iter().filter(|(s, ..)| s.starts_with("power/cluster1/workload/")).collect();
    assert_eq!((by_workload.len(), by_workload[0].2), (1, Some(300.0)), "{by_workload:?}");
    assert_eq!(noted(&mut recorder, &world), [], "nothing is new");
    // Nobody answers any more.
    world.now += 60 * SECOND;
    let last = noted(&mut recorder, &world);
    for (subject, metric) in [
        ("node/cluster1/worker1", SERVER_WATTS),
        ("node/cluster1/worker1", SERVER_METHOD),
        ("cluster/cluster1", CLUSTER_WATTS),
        ("pod/cluster1/ml/train-0", WORKLOAD_WATTS),
    ] {
        assert_eq!(of(&last, subject, metric), Some(None), "{subject} {metric}");
    }
    world.now += 60 * SECOND;
    assert_eq!(noted(&mut recorder, &world), [], "it ended once");
}

#[test]
fn a_series_of_the_account_says_whose_it_is() {
    let labels = |id| series_labels(id).map(|l| l.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "));
    let (sum, group) = (cluster_series("cluster1"), group_series("cluster1", By::Workload, "ml/Job/train"));
    for (id, expected) in [
        (&*sum, "cluster=cluster1 id=cluster/cluster1 kind=cluster"),
        ("node/cluster1/worker1", "cluster=cluster1 id=node/cluster1/worker1 kind=node node=worker1"),
        (&group, "breakdown_by=workload category=ml/Job/train cluster=cluster1 id=power/cluster1/workload/ml/Job/train kind=power"),
    ] {
        assert_eq!(labels(id).as_deref(), Some(expected));
    }
    assert_eq!((labels("pod/cluster1/ml/train-0"), labels("GPU-1")), (None, None));
}

#[test]
fn every_method_and_quality_has_a_code_of_its_own() {
    let all: std::collections::HashSet<String> = (0..21).map(|code| format!("{:?}", method_of(code.into()).unwrap())).collect();
    assert_eq!((all.len(), method_of(21.0)), (21, None));
}
