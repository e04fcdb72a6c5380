//! A cloud of our own making, and a recorded answer where it lies beside the project.

use std::collections::BTreeMap;
use std::path::Path;

use kcloud_collector_sdk::bindings::kcloud::collector::types::{Batch as Out, Subject};
use kcloud_collector_sdk::{GapReason, Label};
use serde_json::json;

use super::*;

#[derive(Default)]
struct Fake {
    answers: BTreeMap<String, (u16, Value)>,
    /// An old Nova knows no microversion.
    is_old: bool,
    asked: Vec<String>,
}

impl Cloud for Fake {
    fn get(&mut self, url: &str, headers: &[(&str, &str)], _: u32) -> Result<Raw, CollectError> {
        self.asked.push(url.to_owned());
        let wants = headers.iter().any(|(key, _)| *key == "openstack-api-version");
        let (status, body) = match self.answers.get(url) {
            _ if self.is_old && wants => (406, json!({})),
            Some((status, body)) => (*status, body.clone()),
            None => (404, json!({})),
        };
        Ok(Raw { status, headers: vec![], body: body.to_string().into_bytes() })
    }
}

const LIST: &str = "https://nova/v2.1/servers/detail?limit=500&all_tenants=1";

fn server(id: &str, more: Value) -> Value {
    let mut whole = json!({ "id": id, "name": format!("vm-{id}"), "status": "ACTIVE", "tenant_id": "p1", "user_id": "u1",
        "OS-EXT-STS:power_state": 1, "OS-EXT-STS:task_state": null, "OS-EXT-SRV-ATTR:hypervisor_hostname": "worker1",
        "OS-EXT-SRV-ATTR:instance_name": "instance-01", "created": "2026-01-02T03:04:05Z", "image": "",
        "flavor": { "original_name": "m1", "vcpus": 4, "ram": 8192, "disk": 20, "extra_specs": {} },
        "addresses": { "net": [{ "addr": "10.0.0.5", "version": 4 }, { "addr": "fd00::5", "version": 6 }] } });
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    whole
}

struct Read(Vec<Out>);

impl Read {
    fn vms(&self) -> Vec<&Subject> {
        self.0.iter().flat_map(|b| &b.subjects).filter(|s| s.kind == "vm").collect()
    }

    fn spot(&self, uuid: &str) -> (&Out, u32) {
        let is = |s: &Subject| s.kind == "vm" && s.identity[0].value == uuid;
        self.0.iter().find_map(|b| Some((b, b.subjects.iter().position(is)? as u32))).unwrap()
    }

    fn value(&self, uuid: &str, metric: &str) -> Option<f64> {
        let (batch, subject) = self.spot(uuid);
        let number = server::definitions().iter().position(|d| d.name == metric).unwrap() as u32;
        batch.points.iter().find(|p| (p.subject, p.metric) == (subject, number)).map(|p| p.value)
    }

    fn state(&self, uuid: &str, metric: &str) -> Option<String> {
        let (batch, subject) = self.spot(uuid);
        let all = server::definitions();
        let found = batch.states.iter().find(|s| s.subject == subject && all[s.metric as usize].name == metric)?;
        Some(all[found.metric as usize].states[found.state as usize].clone())
    }

    fn label(&self, uuid: &str, key: &str) -> Option<&str> {
        let (batch, subject) = self.spot(uuid);
        let value = |labels: &'_ [Label]| labels.iter().position(|l| l.key == key);
        let labels = &batch.subjects[subject as usize].labels;
        value(labels).map(|i| labels[i].value.as_str())
    }

    fn node(&self, uuid: &str) -> Option<&str> {
        let (batch, subject) = self.spot(uuid);
        let parent = batch.subjects[subject as usize].parent?;
        Some(&batch.subjects[parent as usize].identity[0].value)
    }
}

fn read_with(fake: &mut Fake, config: Config) -> Result<Read, CollectError> {
    let target = Target {
        id: "cloud1".into(),
        address: "https://nova/v2.1/".into(),
        cluster: "cluster1".into(),
        labels: vec![],
        credential: None,
        config: "{}".into(),
    };
    let (mut nova, mut pages, mut page) = (Nova::new(config)?, Vec::new(), None);
    loop {
        let mut batch = Batch::new(server::definitions());
        batch.page = page.take();
        nova.read(fake, &target, 5_000, &mut batch)?;
        let done = batch.finish();
        page = done.next_page.clone();
        pages.push(done);
        if page.is_none() {
            return Ok(Read(pages));
        }
    }
}

fn read(fake: &mut Fake) -> Read {
    read_with(fake, Config::default()).unwrap()
}

fn cloud(servers: &[Value]) -> Fake {
    let mut fake = Fake::default();
    fake.answers.insert(LIST.into(), (200, json!({ "servers": servers })));
    fake
}

#[test]
fn a_machine_has_its_flavour_project_host_states_and_addresses() {
    let specs = json!({ "pci_passthrough:alias": "gpu-a100:2,nvme:1", "resources:VGPU": "1" });
    let flavor = json!({ "original_name": "g1", "vcpus": 4, "ram": 8192, "disk": 20, "extra_specs": specs });
    let mut fake = cloud(&[
        server("a", json!({ "flavor": flavor, "image": { "id": "img" }, "OS-EXT-STS:task_state": "migrating" })),
        server(
            "b",
            json!({ "status": "SHUTOFF", "OS-EXT-STS:power_state": 4, "flavor": { "original_name": "m1", "vcpus": 1, "ram": 512, "disk": 0 } }),
        ),
        server("c", json!({ "status": "NEW_ONE", "OS-EXT-STS:power_state": 0 })),
    ]);
    fake.answers.insert("https://keystone/v3/projects".into(), (200, json!({ "projects": [{ "id": "p1", "name": "research" }] })));
    let config = Config { identity_url: Some("https://keystone/v3/".into()), ..Config::default() };
    let read = read_with(&mut fake, config).unwrap();
    assert_eq!((read.value("a", "vcpu_count"), read.value("a", "memory_total_bytes")), (Some(4.0), Some(8_589_934_592.0)));
    assert_eq!((read.value("a", "filesystem_total_bytes"), read.value("b", "filesystem_total_bytes")), (Some(21_474_836_480.0), None));
    assert_eq!((read.value("a", "gpu_request_count"), read.value("b", "gpu_request_count")), (Some(3.0), Some(0.0)));
    for (key, expected) in [
        ("name", "vm-a"),
        ("project", "research"),
        ("project_id", "p1"),
        ("flavor", "g1"),
        ("image", "img"),
        ("hypervisor", "worker1"),
        ("addresses", "10.0.0.5,fd00::5"),
        ("task_state", "migrating"),
        ("created_at", "2026-01-02T03:04:05Z"),
        ("pci_aliases", "gpu-a100:2,nvme:1"),
    ] {
        assert_eq!(read.label("a", key), Some(expected), "{key}");
    }
    assert_eq!((read.node("a"), read.label("b", "image"), read.label("b", "task_state")), (Some("worker1"), None, None));
    let states = |id: &str| (read.state(id, "vm_status").unwrap(), read.state(id, "power_state").unwrap());
    assert_eq!(states("a"), ("active".into(), "on".into()));
    assert_eq!(states("b"), ("shutoff".into(), "off".into()));
    assert_eq!(states("c"), ("unknown".into(), "unknown".into()));
    assert_eq!(fake.asked.len(), 2);
}

#[test]
fn pages_follow_the_marker_until_the_service_names_no_next() {
    let page = |ids: &[&str], more: bool| {
        let servers: Vec<Value> = ids.iter().map(|id| server(id, json!({}))).collect();
        // Its own link may lead to an address that is not this one.
        let links = if more { json!([{ "rel": "next", "href": "http://inside/elsewhere" }]) } else { json!([]) };
        (200, json!({ "servers": servers, "servers_links": links }))
    };
    let mut fake = Fake::default();
    fake.answers.insert(LIST.into(), page(&["a", "b"], true));
    fake.answers.insert(format!("{LIST}&marker=b"), page(&["c"], true));
    fake.answers.insert(format!("{LIST}&marker=c"), page(&["d"], false));
    let all = read(&mut fake);
    assert_eq!((all.vms().len(), all.0.len()), (4, 3));
    assert_eq!((all.node("d"), all.value("d", "vcpu_count")), (Some("worker1"), Some(4.0)), "each page stands alone");
    fake.answers.insert(format!("{LIST}&marker=c"), page(&["c"], true));
    let error = read_with(&mut fake, Config::default()).err().unwrap();
    assert!(matches!(&error, CollectError::Protocol(e) if e.contains("again")), "{error:?}");
}

#[test]
fn an_old_nova_is_asked_for_its_flavours() {
    let mut fake = cloud(&[server("a", json!({ "flavor": { "id": "2", "links": [] } }))]);
    fake.is_old = true;
    let list = "https://nova/v2.1/flavors/detail?is_public=None&limit=1000";
    let flavor =
        json!({ "id": "2", "name": "m1.small", "vcpus": 2, "ram": 2048, "disk": 10, "extra_specs": { "pci_passthrough:alias": "h100:4" } });
    fake.answers.insert(list.into(), (200, json!({ "flavors": [flavor] })));
    let read = read_with(&mut fake, Config { gpu_aliases: vec!["h100".into()], ..Config::default() }).unwrap();
    assert_eq!(
        (read.value("a", "vcpu_count"), read.label("a", "flavor"), read.value("a", "gpu_request_count")),
        (Some(2.0), Some("m1.small"), Some(4.0))
    );
    // One that is not in the list says nothing, rather than zero.
    fake.answers.insert(list.into(), (200, json!({ "flavors": [] })));
    let read = super::tests::read(&mut fake);
    assert_eq!((read.value("a", "vcpu_count"), read.value("a", "gpu_request_count"), read.label("a", "flavor")), (None, None, Some("2")));
}

#[test]
fn what_the_account_may_not_see_is_a_gap_and_what_is_odd_a_problem() {
    let mut bare = server("a", json!({}));
    let hidden = ["OS-EXT-STS:power_state", "OS-EXT-SRV-ATTR:hypervisor_hostname", "OS-EXT-SRV-ATTR:instance_name"];
    hidden.iter().for_each(|key| drop(bare.as_object_mut().unwrap().remove(*key)));
    let mut fake = cloud(&[bare, json!({ "name": "no id" }), server("c", json!({ "addresses": null })), server("d", json!({}))]);
    let config = Config { identity_url: Some("https://keystone/v3".into()), ..Config::default() };
    let read = read_with(&mut fake, config).unwrap();
    let (batch, subject) = read.spot("a");
    assert!(batch.gaps.iter().any(|g| g.subject == subject && g.reason == GapReason::Denied));
    assert_eq!((read.node("a"), read.label("a", "project")), (None, None));
    assert_eq!(read.vms().len(), 2, "two cannot be read");
    let problems = format!("{:?}", batch.problems);
    for expected in ["projects have no names", "server without an id", "server c"] {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
}

#[test]
fn a_refusal_is_the_operators_and_another_service_is_told() {
    let mut fake = Fake::default();
    fake.answers.insert(LIST.into(), (401, json!({})));
    assert!(matches!(read_with(&mut fake, Config::default()), Err(CollectError::Auth(_))));
    fake.answers.insert(LIST.into(), (200, json!({ "versions": [] })));
    assert!(matches!(read_with(&mut fake, Config::default()), Err(CollectError::Protocol(e)) if e.contains("compute endpoint")));
    let own = Config { all_projects: false, page_size: 10, ..Config::default() };
    drop(read_with(&mut fake, own));
    assert_eq!(fake.asked.last().unwrap(), "https://nova/v2.1/servers/detail?limit=10");
}

#[test]
fn a_recorded_server_reads_as_it_says() {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/openstack/api-nova_os_servers.json"));
    let Ok(text) = std::fs::read_to_string(file) else {
        eprintln!("NOT RUN: {} is not there: an answer of a real Nova", file.display());
        return;
    };
    let mut fake = Fake::default();
    fake.answers.insert(LIST.into(), (200, serde_json::from_str(&text).unwrap()));
    let read = read(&mut fake);
    let id = "2ce4c5b3-2866-4972-93ce-77a2ea46a7f9";
    assert_eq!((read.value(id, "vcpu_count"), read.value(id, "memory_total_bytes")), (Some(1.0), Some(536_870_912.0)));
    assert_eq!((read.node(id), read.label(id, "flavor")), (Some("fake-mini"), Some("m1.tiny")));
    assert_eq!((read.label(id, "addresses"), read.label(id, "instance_name")), (Some("192.168.0.3"), Some("instance-00000001")));
}
