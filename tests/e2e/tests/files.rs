//! A host that reads by tables: an NPU in a tree like sysfs, a UPS that answers with JSON; and what an operator is told of a wrong table.

mod program;
#[path = "redfish/site.rs"]
mod site;

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use kcloud_e2e::{component, root, until};
use kcloud_monitor::inventory::Kind;
use program::{Program, binary};
use serde_json::{Value, json};

use site::{Site, World};

/// Writes what a driver shows: a folder a card, which a link in the class leads to, as in sysfs.
fn drivers(top: &Path) {
    for (n, files) in [
        (
            0,
            &[
                ("serial", "SN:A-0001"),
                ("model", "A100N"),
                ("uevent", "DRIVER=acme\nPCI_SLOT_NAME=0000:17:00.0"),
                ("hwmon/hwmon3/power1_input", "45250000"),
                ("hwmon/hwmon3/temp1_input", "61500"),
                ("hwmon/hwmon3/temp2_input", "-40000"),
                ("load", "87"),
                ("memory", "total: 16777216\nused: 8388608"),
                ("energy", "-1"),
                ("state", "running"),
                ("cores/core0/load", "80"),
                ("cores/core1/load", "94"),
            ][..],
        ),
        (1, &[("serial", "SN:A-0002"), ("model", "A100N"), ("hwmon/hwmon4/power1_input", "-1"), ("load", "0"), ("state", "dead")][..]),
    ] {
        let device = top.join(format!("devices/pci0/acme_npu/npu{n}"));
        for (name, text) in files {
            let file = device.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, format!("{text}\n")).unwrap();
        }
        std::fs::create_dir_all(top.join("class/acme_npu")).unwrap();
        std::os::unix::fs::symlink(&device, top.join(format!("class/acme_npu/npu{n}"))).unwrap();
    }
}

fn ups(battery: Value) -> Value {
    json!({ "ups": { "serial": "U-7", "model": "Galaxy", "status": "online", "input": { "power_kw": "11.82" },
        "output": { "power_kw": 11.2, "capacity_kw": 30, "voltage": 230.1 }, "battery": { "temperature": battery, "charge": 98 },
        "outlets": [{ "name": "A1", "watts": 3710 }, { "name": "A2", "watts": "N/A" }] } })
}

/// The shipped sample over this tree, with targets.
fn sample(top: &Path, address: &str) -> String {
    let path = |below: &str| top.join(below).display().to_string();
    let changes = [
        ("interval = \"15s\"", "interval = \"300ms\"".to_owned()),
        ("\"/sys/class/acme_npu/**\", \"/sys/devices/**/acme_npu/**\"", format!("{:?}, {:?}", path("class/**"), path("devices/**"))),
        ("files = \"/sys/class/acme_npu/npu{n:number}\"", format!("files = \"{}/npu{{n:number}}\"", path("class/acme_npu"))),
    ];
    let changes: Vec<(&str, &str)> = changes.iter().map(|(a, b)| (*a, b.as_str())).collect();
    Site::sample("files", &changes)
        + &format!(
            "\n[[targets]]\nid = \"npus\"\naddress = \"local\"\nlabels = {{ node = \"worker1\" }}\n\
             [[targets]]\nid = \"ups1\"\naddress = \"{address}/status.json\"\n"
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_npu_by_sysfs_and_a_ups_by_json_are_what_every_other_source_is() {
    let site = Site::new();
    drivers(&site.path("sys"));
    let answer = Arc::new(Mutex::new(ups(json!(-273))));
    let said = answer.clone();
    let router = Router::new().route("/status.json", get(async move || axum::Json(said.lock().unwrap().clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let running = site.host("files", "", &sample(&site.path("sys"), &address)).await;

    let path = "/api/v1/accelerators/npus?include_metrics=true&include_reasons=true";
    let npus = until("both cards", async || {
        let (_, body) = running.get(path).await;
        (body["metadata"]["total_count"] == 2).then_some(body)
    })
    .await;
    let (first, second) = (&npus["data"][0], &npus["data"][1]);
    for (key, expected) in [("node_name", "worker1"), ("vendor", "acme"), ("model", "Acme 100")] {
        assert!(first[key] == expected || first["device"][key] == expected || first.to_string().contains(expected), "{key}: {first}");
    }
    let metrics = &first["metrics"];
    for (key, expected) in [
        ("power_usage_watts", json!(45.25)),
        ("npu_temperature_celsius", json!(61.5)),
        ("npu_utilization_percent", json!(87.0)),
        ("memory_used_mb", json!(8192)),
        ("memory_utilization_percent", json!(50.0)),
    ] {
        assert_eq!(metrics[key].as_f64(), expected.as_f64(), "{key}: {metrics}");
    }
    // Sentinels are gaps with their reason, and nothing else.
    assert_eq!((&metrics["memory_temperature_celsius"], &metrics["total_energy_joules"]), (&Value::Null, &Value::Null), "{first}");
    assert_eq!(second["metrics"]["power_usage_watts"], Value::Null, "{second}");
    assert!(second["unavailable"].to_string().contains("unsupported"), "{second}");
    let (_, cores) = running.get(&format!("/api/v1/accelerators/npus/{}/cores", "A-0001")).await;
    assert_eq!(cores["data"].as_array().map(Vec::len), Some(2), "{cores}");

    let world = until("the UPS", async || {
        let world = World::of(&running);
        (world.count(Kind::Psu) == 1).then_some(world)
    })
    .await;
    assert_eq!((world.count(Kind::Chassis), world.count(Kind::Sensor)), (1, 4));
    let sensors = async || running.get("/api/v1/hardware/ipmi/sensors?include_reasons=true").await.1;
    let of = |all: &Value, name: &str| all["data"].as_array().into_iter().flatten().find(|s| s["sensor_name"] == name).cloned();
    let all = sensors().await;
    let value = |name: &str| of(&all, name).unwrap_or_else(|| panic!("{name}: {all}"))["value"].clone();
    assert_eq!((value("A1").as_f64(), value("battery charge").as_f64()), (Some(3710.0), Some(98.0)), "{all}");
    assert_eq!((value("A2"), value("battery temperature")), (Value::Null, Value::Null), "{all}");
    *answer.lock().unwrap() = ups(json!(31.5));
    until("a battery's temperature once there is one", async || {
        (of(&sensors().await, "battery temperature")?["value"].as_f64()? == 31.5).then_some(())
    })
    .await;
}

#[test]
fn what_is_wrong_with_a_table_is_told_by_line_and_column_with_what_would_be_right() {
    let dir = tempfile::tempdir().unwrap();
    Program::prepare(dir.path(), 1, "");
    std::fs::copy(component("files"), dir.path().join("plugins/files.wasm")).unwrap();
    // Where a host has compiled it before, a check is quick.
    std::fs::create_dir(dir.path().join("data/cache")).unwrap();
    let config = dir.path().join("kcloud-monitor.toml");
    let run = |args: &[&str]| {
        let out = binary().args(args).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    };
    let file = config.to_str().unwrap();
    let sample = std::fs::read_to_string(root().join("config/plugins.d/files.toml")).unwrap();
    // Several sources: a file each.
    for name in ["files.toml", "another.toml"] {
        std::fs::write(dir.path().join("plugins.d").join(name), &sample).unwrap();
    }
    assert_eq!(run(&["config", "check", file]), (Some(0), "ok\n".into()));
    for (right, wrong, expected) in [
        // What its schema says.
        ("format = \"text\"", "fromat = \"text\"", "unknown key \"fromat\"; did you mean \"format\"?"),
        ("unit = \"kW\" }", "unti = \"kW\" }", "unknown key \"unti\"; did you mean \"unit\"?"),
        ("format = \"json\"", "format = \"jsn\"", "did you mean \"json\"?"),
        // What it says itself.
        (
            "temperature_celsius = { file",
            "temprature_celsius = { file",
            "unknown metric \"temprature_celsius\"; did you mean \"temperature_celsius\"",
        ),
        ("unit = \"mJ\"", "unit = \"MHz\"", "\"MHz\" is no unit of energy_joules, which is in joules; known are J mJ uJ"),
        ("parent = \"card\"", "parent = \"crad\"", "parent \"crad\" is no subject that stands before; did you mean \"card\""),
        ("\"4294967295\" = \"error\"", "\"4294967295\" = \"eror\"", "eror"),
    ] {
        assert!(sample.contains(right), "{right}");
        let text = sample.replacen(right, wrong, 1);
        std::fs::write(dir.path().join("plugins.d/files.toml"), &text).unwrap();
        let line = text.lines().position(|l| l.contains(wrong)).unwrap() + 1;
        let place = format!("plugins.d/files.toml:{line}:");
        let (code, said) = run(&["config", "check", file]);
        assert!(code == Some(2) && said.contains(expected) && said.contains(&place), "{place} {expected}\n{said}");
        assert!(!said.contains("another.toml"), "{said}");
    }
    let (code, said) = run(&["plugin", "check", "files", "--config", file]);
    assert!(code == Some(2) && said.contains("plugins.d/files.toml:") && said.contains("eror"), "{said}");
}
