use kcloud_collector_sdk::pod_resources::Holder;
use kcloud_collector_sdk::testing::{Seen, target};

use super::*;

fn devices(resource: &str, ids: &[&str]) -> Devices {
    Devices { resource: resource.to_owned(), ids: ids.iter().map(|i| (*i).to_owned()).collect() }
}

fn holder(pod: &str, held: Vec<Devices>) -> Holder {
    Holder { namespace: "ml".to_owned(), pod: pod.to_owned(), container: "main".to_owned(), devices: held }
}

fn seen(config: &str, holders: Vec<Holder>, allocatable: Option<Vec<Devices>>) -> Seen {
    let plugin = PodResources::new(serde_json::from_str(config).unwrap()).unwrap();
    let mut batch = Batch::new(definitions());
    plugin.read(&target("kubelet:", &[("node", "worker1")]), &Answer { holders, allocatable }, &mut batch).unwrap();
    Seen::over(definitions(), batch.finish())
}

const UUID: &str = "0a1b2c3d-1111-2222-3333-444455556666";

#[test]
fn an_id_says_what_kind_of_name_it_is() {
    let gpu = format!("GPU-{UUID}");
    let share = format!("{gpu}::3");
    let mig = format!("MIG-{UUID}");
    for (id, expected) in [
        (gpu.as_str(), (Named::Uuid, gpu.as_str())),
        (&share, (Named::Uuid, &gpu)),
        (&mig, (Named::Part, &mig)),
        (UUID, (Named::Uuid, UUID)),
        ("0000:3b:00.0", (Named::Pci, "0000:3b:00.0")),
        ("npu0", (Named::Device, "npu0")),
        ("Ascend910-0", (Named::Device, "Ascend910-0")),
        ("3", (Named::Device, "3")),
    ] {
        assert_eq!(named(id), expected);
    }
}

#[test]
fn cards_of_every_vendor_and_their_parts_get_the_pod_that_holds_them() {
    let gpu = format!("GPU-{UUID}");
    let mig = format!("MIG-{UUID}");
    let holders = vec![
        holder("train-0", vec![devices("nvidia.com/gpu", &[&gpu])]),
        holder("small-0", vec![devices("nvidia.com/mig-1g.10gb", &[&mig])]),
        holder("npu-0", vec![devices("furiosa.ai/rngd", &[UUID]), devices("rdma/hca", &["mlx5_0"])]),
        holder("own-0", vec![devices("example.com/chip", &["chip7"])]),
    ];
    let free = vec![devices("amd.com/gpu", &["0000:3b:00.0"]), devices("nvidia.com/gpu", &[&gpu])];
    let read = seen(r#"{"resources": {"example.com/chip": "npu"}}"#, holders, Some(free));
    let card = read.find("accelerator", "uuid", &gpu).unwrap();
    let labels = |s, keys: [&str; 5]| keys.map(|k| read.label(s, k).map(str::to_owned));
    let own = |all: [&str; 5]| all.map(|v| Some(v.to_owned()));
    let keys = ["namespace", "pod", "container", "class", "vendor"];
    assert_eq!(labels(card, keys), own(["ml", "train-0", "main", "gpu", "nvidia"]));
    let npu = read.find("accelerator", "uuid", UUID).unwrap();
    assert_eq!(labels(npu, keys), own(["ml", "npu-0", "main", "npu", "furiosa"]));
    let part = read.find("partition", "device_uuid", &mig).unwrap();
    assert_eq!((read.label(part, "pod"), read.parent(part)), (Some("small-0"), None));
    let own = read.find("accelerator", "device", "chip7").unwrap();
    assert_eq!((read.label(own, "pod"), read.label(own, "class"), read.label(own, "vendor")), (Some("own-0"), Some("npu"), None));
    let free = read.find("accelerator", "pci_address", "0000:3b:00.0").unwrap();
    assert_eq!((read.label(free, "pod"), read.value(free, "x_kubelet_holders_count")), (None, Some(0.0)));
    assert_eq!(read.all("accelerator").len(), 4, "a network card is none");
}

#[test]
fn of_a_card_that_several_share_all_are_named_and_none_is_its_holder() {
    let share = |n: u32| devices("nvidia.com/gpu.shared", &[&format!("GPU-{UUID}::{n}")]);
    let read = seen("{}", vec![holder("a", vec![share(0), share(1)]), holder("b", vec![share(2)])], None);
    let card = read.find("accelerator", "uuid", &format!("GPU-{UUID}")).unwrap();
    assert_eq!((read.label(card, "pod"), read.label(card, "holders")), (None, Some("ml/a/main,ml/b/main")));
    assert_eq!(read.value(card, "x_kubelet_holders_count"), Some(2.0));
}
