use super::*;

fn fleet(faults: Faults) -> Fleet {
    Fleet::new(FleetConfig { seed: 7, nodes: 4, gpus_per_node: 8, tick: Duration::from_secs(1), faults, others: Vec::new() })
}

fn whole(faults: Faults) -> Fleet {
    Fleet::whole(
        FleetConfig { seed: 7, nodes: 8, gpus_per_node: 8, tick: Duration::from_secs(1), faults, others: Vec::new() },
        Shape::demo(),
    )
}

/// Name and labels, value of every sample.
fn samples(page: &str) -> Vec<(&str, &str, f64)> {
    let lines = page.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    let split = |line| -> (&str, &str, f64) {
        let (series, rest): (&str, &str) = match str::rfind(line, "} ") {
            Some(at) => line.split_at(at + 1),
            None => line.split_once(' ').unwrap(),
        };
        let value = rest.split_whitespace().next().unwrap().parse().unwrap();
        series.split_once('{').map_or((series, "", value), |(name, labels)| (name, labels, value))
    };
    lines.map(split).collect()
}

fn sum(page: &str, name: &str, having: &str) -> f64 {
    samples(page).iter().filter(|(n, l, _)| *n == name && l.contains(having)).map(|s| s.2).sum()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= b.abs() * 1e-9
}

#[test]
fn the_same_seed_is_the_same_fleet() {
    let (a, b) = (fleet(Faults::all()), fleet(Faults::all()));
    assert_eq!(a.exposition(1, 5), b.exposition(1, 5));
    assert_ne!(a.exposition(1, 5), a.exposition(1, 6));
    let (a, b) = (whole(Faults::demo()), whole(Faults::demo()));
    assert_eq!(pages::kube_state_metrics::write(&a, 0, 5.into()), pages::kube_state_metrics::write(&b, 0, 5.into()));
    assert_eq!(pages::kepler::write(&a, 3, 5.into()), pages::kepler::write(&b, 3, 5.into()));
}

#[test]
fn the_truth_is_what_stands_in_the_text_each_card_once() {
    for faults in [Faults::default(), Faults::demo(), Faults { blank_power_every: 3, mig_every: 2, ..Faults::demo() }] {
        let fleet = fleet(faults);
        let mut seen: BTreeMap<String, f64> = BTreeMap::new();
        for line in (0..4).flat_map(|n| fleet.exposition(n, 9).lines().map(str::to_owned).collect::<Vec<_>>()) {
            if line.starts_with("DCGM_FI_DEV_POWER_USAGE{") || line.starts_with("DCGM_FI_DEV_BOARD_POWER_WATTS{") {
                let uuid = line.split("UUID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
                let watts: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
                if watts < 1e6 {
                    seen.insert(uuid, watts);
                }
            }
        }
        let truth = fleet.truth(9);
        assert_eq!(truth.total_gpus, 32);
        assert_eq!(seen.len() + truth.unknown_power, 32);
        assert!((seen.values().sum::<f64>() - truth.total_power_watts).abs() < 1e-6);
    }
}

#[test]
fn energy_only_grows() {
    let fleet = fleet(Faults::default());
    let energy = |t| fleet.truth(t).cards[3].energy_joules;
    assert!((0..50).all(|t| energy(t + 1) > energy(t)));
}

#[test]
fn a_card_vanishes_and_a_wrong_name_is_nobody() {
    let fleet = fleet(Faults { vanish_after: Some(3), ..Faults::default() });
    assert_eq!((fleet.truth(2).total_gpus, fleet.truth(3).total_gpus), (32, 31));
    let find = |name| fleet.find("cluster1", name);
    assert_eq!((find("worker1"), find("worker01"), find("worker5")), (Some(0), None, None));
}

#[test]
fn the_demo_has_what_it_promises() {
    let truth = whole(Faults::demo()).truth(42);
    let total = &truth.total;
    assert_eq!((total.nodes, total.masters, total.gpus, total.pods, total.vms), (14, 4, 72, 220, 12));
    assert_eq!(truth.clusters.iter().map(|c| (c.name.as_str(), c.sums.pods)).collect::<Vec<_>>(), [("cluster1", 180), ("cluster2", 40)]);
    assert!(total.running_pods > 190 && total.pending_pods > 0 && total.succeeded_pods > 0 && total.failed_pods > 0, "{total:?}");
    assert!(total.failed_fans > 0 && total.fans > 100);
    let names: std::collections::BTreeSet<_> = truth.pods.iter().map(|p| (&p.cluster, &p.namespace, &p.name)).collect();
    assert_eq!(names.len(), 220, "names that stand twice");
    let methods: std::collections::BTreeSet<_> = truth.nodes.iter().map(|n| n.method.as_str()).collect();
    assert_eq!(methods.into_iter().collect::<Vec<_>>(), ["dcmi", "kepler", "psu", "redfish", "sensor"]);
}

#[test]
fn watts_add_up_from_the_parts_to_the_servers() {
    for faults in [Faults::demo(), Faults { vanish_after: Some(3), ..Faults::demo() }] {
        let truth = whole(faults).truth(42);
        for n in &truth.nodes {
            let parts = n.cpu_watts + n.memory_watts + n.accelerator_watts + n.rest_watts + n.losses_watts;
            assert!((parts - n.server_watts).abs() < 1e-6 && n.losses_watts > 0.0 && n.rest_watts > 0.0, "{n:?}");
            assert!(n.pod_watts + n.vm_watts < n.cpu_watts + n.memory_watts + n.accelerator_watts, "{n:?}");
            assert!(n.cpu_utilization_percent < 60.0 && n.memory_used_bytes < n.memory_total_bytes, "{n:?}");
            if let Some(bmc) = &n.bmc {
                assert_eq!(bmc.supplies.iter().map(|s| s.value).sum::<f64>(), n.server_watts);
            }
        }
        let cards: f64 = truth.cards.iter().filter_map(|c| c.power_watts).sum();
        assert!(near(truth.total.accelerator_watts, cards), "{cards}");
        assert!(near(truth.total.pod_watts, truth.pods.iter().map(|p| p.power_watts).sum()));
        assert!(truth.facility.pue.unwrap() > 1.2);
    }
}

#[test]
fn counters_grow_by_what_the_watts_say() {
    for faults in [Faults::demo(), Faults { vanish_after: Some(100), ..Faults::demo() }] {
        let fleet = whole(faults);
        // Over a swing's end, second by second.
        let (from, to) = (97, 131);
        let (a, b) = (fleet.truth(from), fleet.truth(to));
        let mut expected = vec![0.0; a.nodes.len()];
        for tick in from..to {
            fleet.truth(tick).nodes.iter().zip(&mut expected).for_each(|(n, sum)| *sum += n.server_watts);
        }
        for ((a, b), expected) in a.nodes.iter().zip(&b.nodes).zip(expected) {
            assert!((b.server_energy_joules - a.server_energy_joules - expected).abs() < 1e-3, "{}: {expected}", a.name);
        }
    }
    let fleet = whole(Faults::demo());
    let half = Moment { beyond: 0.5, ..42.into() };
    let (a, b) = (fleet.truth(42), fleet.truth(half));
    assert!(near(b.cards[0].energy_joules.floor(), (a.cards[0].energy_joules + a.cards[0].power_watts.unwrap() / 2.0).floor()));
    assert!((b.pods[9].cpu_seconds - a.pods[9].cpu_seconds - a.pods[9].cpu_millicores as f64 / 2e3).abs() < 1e-6);
}

#[test]
fn every_page_says_what_the_truth_says() {
    let fleet = whole(Faults::demo());
    let moment = Moment::from(42);
    let truth = fleet.truth(moment);
    for (at, n) in truth.nodes.iter().enumerate() {
        let cadvisor = pages::cadvisor::write(&fleet, at, moment);
        let of_pods = |value: fn(&PodTruth) -> f64| -> f64 {
            let here = |p: &&PodTruth| p.cluster == n.cluster && p.node.as_ref() == Some(&n.name);
            truth.pods.iter().filter(here).map(value).sum()
        };
        let named = |container| sum(&cadvisor, "container_memory_working_set_bytes", container);
        assert_eq!(named("container=\"main\"") + named("container=\"sidecar\""), of_pods(|p| p.memory_working_set_bytes as f64));
        let node = pages::node_exporter::write(&fleet, at, moment);
        assert_eq!(sum(&node, "node_memory_MemTotal_bytes", ""), n.memory_total_bytes as f64);
        assert!(near(sum(&node, "node_rapl_package_joules_total", ""), n.cpu_energy_joules));
        let later = pages::node_exporter::write(&fleet, at, Moment::from(43));
        let busy = |page: &str| {
            sum(page, "node_cpu_seconds_total", "")
                - sum(page, "node_cpu_seconds_total", "\"idle\"")
                - sum(page, "node_cpu_seconds_total", "\"iowait\"")
        };
        assert!((busy(&later) - busy(&node) - n.cpu_millicores as f64 / 1e3).abs() < 1e-3, "{}", n.name);
        let kepler = pages::kepler::write(&fleet, at, moment);
        if fleet.nodes()[at].has_old_kepler {
            assert!(near(sum(&kepler, "kepler_node_platform_joules_total", ""), n.server_energy_joules));
            assert!(near(sum(&kepler, "kepler_node_package_joules_total", ""), n.cpu_energy_joules));
        } else {
            assert!((sum(&kepler, "kepler_node_cpu_watts", "\"package\"") - n.cpu_watts).abs() < 1e-6);
            assert!((sum(&kepler, "kepler_pod_cpu_watts", "") - of_pods(|p| p.cpu_watts + p.memory_watts)).abs() < 1e-6);
            assert!((sum(&kepler, "kepler_pod_gpu_watts", "") - of_pods(|p| p.accelerator_watts)).abs() < 1e-6);
        }
        let bmc = &fleet.nodes()[at].bmc;
        if bmc.ipmi.is_some() {
            let page = pages::ipmi::write(&fleet, at, moment);
            assert_eq!(sum(&page, "ipmi_power_watts", "PSU"), n.server_watts);
            let fans = samples(&page).iter().filter(|s| s.0 == "ipmi_fan_speed_rpm").count();
            assert_eq!(fans, n.bmc.as_ref().unwrap().fans.len());
            assert_eq!(sum(&page, "ipmi_dcmi_power_consumption_watts", ""), if n.method == "dcmi" { n.server_watts } else { 0.0 });
        }
        let redfish = |path: &str| redfish::resource(&fleet, at, moment, path);
        match bmc.redfish {
            Some(bmc::RedfishShape::Old) => {
                let power = redfish("/redfish/v1/Chassis/1/Power").unwrap();
                assert_eq!(power["PowerControl"][0]["PowerConsumedWatts"], n.server_watts);
            }
            Some(bmc::RedfishShape::New) => {
                let metrics = redfish("/redfish/v1/Chassis/1/EnvironmentMetrics").unwrap();
                assert_eq!(metrics["PowerWatts"]["Reading"], n.server_watts);
                assert!(near(metrics["EnergykWh"]["Reading"].as_f64().unwrap() * 3.6e6, n.server_energy_joules));
                assert!(redfish("/redfish/v1/Chassis/1/PowerSubsystem/PowerSupplies/2/Metrics").is_some());
                assert!(redfish("/redfish/v1/Chassis/1/PowerSubsystem/PowerSupplies/9").is_none());
            }
            None => assert!(redfish("/redfish/v1").is_none()),
        }
    }
    for (at, c) in truth.clusters.iter().enumerate() {
        let page = pages::kube_state_metrics::write(&fleet, at, moment);
        assert_eq!(sum(&page, "kube_pod_info", "") as usize, c.sums.pods);
        assert_eq!(sum(&page, "kube_pod_status_phase", "\"Running\"") as usize, c.sums.running_pods);
        assert_eq!(sum(&page, "kube_node_status_allocatable", "nvidia_com_gpu") as usize, c.sums.gpus);
        assert_eq!(sum(&page, "kube_node_status_condition", "condition=\"Ready\",status=\"true\"") as usize, c.sums.ready_nodes);
    }
    let cloud = pages::openstack::write(&fleet, 1);
    assert_eq!(samples(&cloud).iter().filter(|s| s.0 == "openstack_nova_server_status").count(), truth.total.vms);
    assert_eq!(sum(&cloud, "openstack_nova_running_vms", "") as usize, truth.total.active_vms);
}

#[test]
fn a_pod_of_a_stateful_set_comes_back_with_another_uid_and_begins_anew() {
    let fleet = whole(Faults { churn_every: Some(50), ..Faults::demo() });
    let (a, b) = (fleet.truth(48), fleet.truth(110));
    let changed: Vec<_> = a.pods.iter().zip(&b.pods).filter(|(a, b)| a.uid != b.uid).collect();
    assert!(!changed.is_empty() && changed.iter().all(|(a, b)| a.name == b.name && a.workload_kind == "StatefulSet"));
    assert!(changed.iter().all(|(_, b)| b.cpu_seconds < 50.0 * 3.0), "its counters are of this life");
}

#[test]
fn a_node_that_is_down_is_not_ready_and_no_other_is_touched() {
    let fleet = whole(Faults::default());
    fleet.set_down("cluster2/worker1", true);
    let truth = fleet.truth(1);
    assert_eq!(truth.clusters.iter().map(|c| c.sums.nodes - c.sums.ready_nodes).collect::<Vec<_>>(), [0, 1]);
    fleet.set_down("cluster2/worker1", false);
    assert_eq!(fleet.truth(1).total.ready_nodes, 14);
}

#[test]
fn held_loads_stand_still_while_counters_run() {
    let fleet = whole(Faults::demo());
    fleet.hold(30);
    let a = fleet.now();
    let b = loop {
        let now = fleet.now();
        if now.beyond > a.beyond {
            break now;
        }
    };
    let (a, b) = (fleet.truth(a), fleet.truth(b));
    assert_eq!((a.tick, b.tick, a.total.server_watts), (30, 30, b.total.server_watts));
    assert!(b.nodes[0].server_energy_joules > a.nodes[0].server_energy_joules);
}

#[test]
fn a_cluster_is_as_large_as_asked() {
    let config =
        FleetConfig { seed: 7, nodes: 40, gpus_per_node: 8, tick: Duration::from_secs(1), faults: Faults::default(), others: Vec::new() };
    let fleet = Fleet::whole(config, Shape::one(3, 10_000));
    let page = pages::kube_state_metrics::write(&fleet, 0, 5.into());
    assert_eq!((sum(&page, "kube_pod_info", ""), sum(&page, "kube_node_info", "")), (10_000.0, 43.0));
    let names: std::collections::BTreeSet<_> = fleet.pods().iter().map(|p| (p.namespace, &p.name)).collect();
    assert_eq!(names.len(), 10_000, "names that stand twice");
}

/// FNV-1a over pages: the same on every machine and toolchain.
fn digest<'a>(pages: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = pages.into_iter().flat_map(|p| p.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// All that a fleet says at a moment.
fn everything(fleet: &Fleet, tick: u64) -> Vec<String> {
    let moment = Moment::from(tick);
    let mut all = vec![serde_json::to_string(&fleet.truth(moment)).unwrap()];
    for at in 0..fleet.nodes().len() {
        all.push(fleet.exposition(at, moment));
        all.push(pages::node_exporter::write(fleet, at, moment));
        all.push(pages::cadvisor::write(fleet, at, moment));
        all.push(pages::kepler::write(fleet, at, moment));
        all.push(pages::libvirt::write(fleet, at, moment));
        all.push(pages::ipmi::write(fleet, at, moment));
    }
    for at in 0..fleet.clusters().len() {
        all.push(pages::kube_state_metrics::write(fleet, at, moment));
        all.push(pages::openstack::write(fleet, at));
    }
    all
}

#[test]
fn a_fleet_of_one_vendor_says_byte_for_byte_what_it_always_said() {
    let of = |fleet: &Fleet| digest(everything(fleet, 42).iter().map(String::as_str));
    let seen = [of(&whole(Faults::demo())), of(&whole(Faults::all())), of(&fleet(Faults::default()))];
    assert_eq!(seen, [12_366_309_579_861_818_220, 8_091_965_180_522_666_130, 15_921_196_546_601_378_106]);
}

fn mixed() -> Fleet {
    let others = DIALECTS.iter().map(|dialect| Others { dialect, nodes: 2, cards_per_node: 8 }).collect();
    let faults = Faults { dead_every: 13, ..Faults::demo() };
    Fleet::whole(FleetConfig { seed: 7, nodes: 8, gpus_per_node: 8, tick: Duration::from_secs(1), faults, others }, Shape::demo())
}

#[test]
fn cards_of_other_vendors_leave_nvidias_as_they_are() {
    let (plain, mixed) = (whole(Faults::demo()), mixed());
    for cluster in ["cluster1", "cluster2"] {
        for node in plain.nodes().iter().filter(|n| plain.clusters()[n.cluster].name == cluster && !n.cards.is_empty()) {
            let at = |fleet: &Fleet| fleet.find(cluster, &node.name).unwrap();
            assert_eq!(plain.exposition(at(&plain), 9), mixed.exposition(at(&mixed), 9));
        }
    }
    let (a, b) = (plain.truth(9), mixed.truth(9));
    assert_eq!((a.total_gpus, a.total_power_watts), (b.total_gpus, b.total_power_watts));
    assert!(a.others.is_empty() && a.vendors.is_empty());
    let of_another_exporter = b.others.iter().filter(|c| c.vendor == "nvidia").count();
    assert_eq!(b.vendors["nvidia"].cards, a.total_gpus + of_another_exporter);
}

#[test]
fn the_truth_of_a_mixed_fleet_counts_each_card_once_by_vendor() {
    let truth = mixed().truth(42);
    assert_eq!(truth.others.len(), DIALECTS.len() * 16);
    assert_eq!(truth.vendors.values().map(|v| v.cards).sum::<usize>(), truth.others.len() + truth.total_gpus);
    for (vendor, sum) in truth.vendors.iter().filter(|(v, _)| *v != "nvidia") {
        let cards: Vec<_> = truth.others.iter().filter(|c| &c.vendor == vendor).collect();
        assert_eq!(sum.dead, cards.iter().filter(|c| !c.is_alive).count());
        assert!(near(sum.power_watts, cards.iter().filter_map(|c| c.power_watts).sum()));
        for card in cards.iter().filter(|c| !c.parts.is_empty() && c.memory_used_bytes.is_some()) {
            assert_eq!(card.parts.iter().map(|p| p.memory_used_bytes).sum::<u64>(), card.memory_used_bytes.unwrap());
            let mean = card.parts.iter().map(|p| p.utilization_percent).sum::<f64>() / card.parts.len() as f64;
            assert!((mean - card.utilization_percent.unwrap()).abs() < 5.0);
        }
    }
    assert!(truth.others.iter().any(|c| !c.is_alive) && truth.others.iter().any(|c| c.parts.iter().any(|p| p.pod.is_some())));
    for pod in truth.others.iter().flat_map(|c| c.pod.iter().chain(c.parts.iter().filter_map(|p| p.pod.as_ref()))) {
        let found = truth.pods.iter().filter(|p| &p.name == pod && p.accelerator_watts > 0.0).count();
        assert_eq!(found, 1, "{pod}");
    }
    for n in &truth.nodes {
        let parts = n.cpu_watts + n.memory_watts + n.accelerator_watts + n.rest_watts + n.losses_watts;
        assert!((parts - n.server_watts).abs() < 1e-6, "{n:?}");
    }
}

#[test]
fn every_dialect_shows_every_card_in_both_generations() {
    let fleet = mixed();
    for (at, node) in fleet.nodes().iter().enumerate().filter(|(_, n)| n.dialect.is_some()) {
        let page = fleet.other_exposition(at, 42).unwrap();
        let dialect = node.dialect.unwrap().name;
        for card in node.others.iter().filter(|c| !c.is_dead) {
            // Some exporters know a card by its place alone.
            let place = format!("chip=\"{}\"", card.index);
            let number = format!("-{}\",make=\"cloud-tpu\"", card.index);
            let names = [card.uuid.clone(), card.uuid.to_uppercase(), card.serial.clone(), card.pci.clone(), place, number];
            assert!(names.iter().any(|n| page.contains(n)), "{dialect} of {} lacks card {}", node.name, card.index);
        }
    }
}

#[test]
fn furiosas_rows_of_a_split_card_repeat_it_and_old_ones_say_microwatts() {
    let fleet = mixed();
    let truth = fleet.truth(42);
    for (at, node) in fleet.nodes().iter().enumerate().filter(|(_, n)| n.dialect.is_some_and(|d| d.name == "furiosa")) {
        let page = fleet.other_exposition(at, 42).unwrap();
        for card in truth.others.iter().filter(|c| c.node == node.name) {
            let uuid = format!("uuid=\"{}\"", card.uuid.to_uppercase());
            let rows = samples(&page).iter().filter(|s| s.0 == "furiosa_npu_hw_power" && s.1.contains(&uuid)).count();
            assert_eq!(rows, if card.is_alive { card.parts.len().max(1) } else { 0 });
            let unit = if node.is_newer { 1.0 } else { 1e6 };
            let said = sum(&page, "furiosa_npu_hw_power", &uuid) / unit / rows.max(1) as f64;
            assert!((said - card.power_watts.unwrap_or(0.0)).abs() < 1e-6, "{said} {card:?}");
            let alive = samples(&page)
                .iter()
                .filter(|s| s.0 == "furiosa_npu_alive" && s.1.contains(&uuid))
                .all(|s| s.2 == f64::from(u8::from(card.is_alive)));
            assert!(alive);
        }
    }
}
