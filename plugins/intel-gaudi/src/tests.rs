use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::promql::Series;
use kcloud_collector_sdk::testing::{Seen, capture, target};

use super::*;

fn read(text: &str) -> Seen {
    Seen::text(&mut Gaudi, &target("http://10.0.0.11:41611/metrics", &[("node", "worker1")]), text)
}

const CARD: &str = r#"Serial="AN45013279",UUID="01P4-HL3090A0-18-U4V193-22-07-00",device="accel0",id="0",driver="1.22.1-97ec1a4""#;

/// What the exporter would say of the two cards of `hl-smi-query-HL-325L.csv`, by their names and units.
fn page(cells: &[Vec<String>]) -> String {
    let one = |c: &Vec<String>| {
        let of = format!("Serial=\"AN{}\",UUID=\"{}\",device=\"accel{}\",id=\"{}\",driver=\"{}\"", c[0], c[1], c[0], c[0], c[3]);
        let number = |i: usize| c[i].split(' ').next().unwrap().parse::<f64>().unwrap();
        let mib = 1_048_576.0;
        format!(
            "habanalabs_power_mW{{{of}}} {}\naccelerator_power_usage_watts{{{of}}} {}\nhabanalabs_memory_used_bytes{{{of}}} {}\nhabanalabs_memory_total_bytes{{{of}}} {}\n\
             habanalabs_power_default_limit_mW{{{of}}} {}\nhabanalabs_temperature_onchip{{{of}}} {}\nhabanalabs_utilization{{{of}}} {}\n",
            number(7) * 1e3,
            number(7) * 1e3,
            number(5) * mib,
            number(4) * mib,
            number(8) * 1e3,
            number(9),
            number(10)
        )
    };
    cells.iter().map(one).collect()
}

#[test]
fn milliwatts_are_watts_also_where_the_name_says_watts() {
    for (power, clock) in
        [("habanalabs_power_mW", "habanalabs_clock_soc_mhz"), ("accelerator_power_usage_watts", "accelerator_sm_clock_hertz")]
    {
        let seen = read(&format!("{power}{{{CARD}}} 226000\n{clock}{{{CARD}}} 1600\n"));
        let card = seen.find("accelerator", "uuid", "01P4-HL3090A0-18-U4V193-22-07-00").unwrap();
        assert_eq!((seen.value(card, "power_watts"), seen.value(card, "clock_sm_hertz")), (Some(226.0), Some(1.6e9)), "{power}");
        assert_eq!(
            (seen.label(card, "index"), seen.label(card, "serial_number"), seen.label(card, "class")),
            (Some("0"), Some("AN45013279"), Some("npu"))
        );
    }
}

#[test]
fn what_has_no_unit_stays_raw_and_a_zero_sensor_is_a_gap() {
    let seen = read(&format!(
        "habanalabs_energy{{{CARD}}} 123456\nhabanalabs_pcie_rx{{{CARD}}} 7\nhabanalabs_temperature_onchip{{{CARD}}} 0\nhabanalabs_power_mW{{{CARD}}} 0\n\
         habanalabs_utilization{{{CARD}}} 0\nhabanalabs_clock_soc_mhz{{{CARD}}} 4294967295\nhabanalabs_memory_used_bytes{{{CARD}}} -1\nhabanalabs_temperature_threshold_memory{{{CARD}}} 105\n"
    ));
    let card = seen.all("accelerator")[0];
    assert_eq!(
        (seen.value(card, "x_habana_energy_count"), seen.value(card, "x_habana_pcie_rx_count"), seen.value(card, "energy_joules")),
        (Some(123_456.0), Some(7.0), None)
    );
    assert_eq!((seen.gap(card, "power_watts"), seen.gap(card, "temperature_celsius")), (Some(GapReason::Absent), Some(GapReason::Absent)));
    assert_eq!(
        (seen.gap(card, "clock_sm_hertz"), seen.gap(card, "memory_used_bytes")),
        (Some(GapReason::Unsupported), Some(GapReason::Error))
    );
    assert_eq!(
        (seen.value(card, "utilization_ratio"), seen.value(card, "memory_temperature_celsius")),
        (Some(0.0), None),
        "a threshold is no temperature"
    );
}

#[test]
fn a_port_is_a_link_below_its_card() {
    let seen = read(&format!(
        "habanalabs_nic_port_status{{{CARD},port=\"8\",port_type=\"external\"}} 1\nhabanalabs_nic_port_status{{{CARD},port=\"9\",port_type=\"external\"}} 0\n"
    ));
    let (up, down) = (seen.find("link", "index", "8").unwrap(), seen.find("link", "index", "9").unwrap());
    assert_eq!((seen.state(up, "link_status"), seen.state(down, "link_status")), (Some("up"), Some("down")));
    assert_eq!(seen.parent(up), Some(("accelerator", seen.all("accelerator")[0])));
}

#[test]
fn a_card_without_a_uuid_is_known_by_its_serial_number_and_the_pod_that_holds_it() {
    let series: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"habanalabs_power_mW","Serial":"AN1","id":"3","pod_name":"train-1","pod_namespace":"ml","pod":"habanalabs-exporter-x","namespace":"habana","job":"gaudi","instance":"w1:41611","node":"worker1"},"value":[1764000010,"300000"]},
            {"metric":{"__name__":"accelerator_memory_used_bytes","instance":"w2:9999","job":"other"},"value":[1764000010,"3"]}]"#,
    )
    .unwrap();
    let seen = Seen::series(&mut Gaudi, &series, &Default::default());
    let card = seen.find("accelerator", "uuid", "AN1").unwrap();
    assert_eq!(
        (seen.label(card, "pod"), seen.label(card, "namespace"), seen.label(card, "node")),
        (Some("train-1"), Some("ml"), Some("worker1"))
    );
    assert_eq!(seen.all("accelerator").len(), 1, "a generic name of another exporter is no card");
}

#[test]
fn the_cards_of_the_capture_have_their_watts_and_memory_in_base_units() {
    // No page of the exporter is public: the figures are those of `hl-smi` on two HL-325L, said in the exporter's names.
    let Some(text) = capture("intel-gaudi/hl-smi-query-HL-325L.csv") else { return };
    let cells: Vec<Vec<String>> = text.lines().map(|l| l.split(',').map(|c| c.trim().to_owned()).collect()).collect();
    let seen = read(&page(&cells));
    assert_eq!(
        (seen.values("accelerator", "power_watts"), seen.values("accelerator", "power_limit_watts")),
        (vec![226.0, 230.0], vec![850.0, 850.0])
    );
    assert_eq!(seen.values("accelerator", "memory_used_bytes"), [704_643_072.0, 704_643_072.0], "an idle card holds 672 MiB");
    assert_eq!((seen.values("accelerator", "temperature_celsius"), seen.problems()), (vec![36.0, 39.0], String::new()));
}

#[test]
fn what_is_no_exporters_page_is_no_card() {
    for file in ["hl-smi-1.17-two-gaudi2-idle.txt", "hl-smi-query-HL-325L.csv"] {
        let Some(text) = capture(&format!("intel-gaudi/{file}")) else { return };
        assert!(read(&text).batch.subjects.iter().all(|s| s.kind == "node"), "{file}");
    }
}

#[test]
fn a_broken_line_costs_itself_and_not_its_neighbours() {
    let seen = read(&format!(
        "habanalabs_power_mW{{{CARD}}} 226000\nhabanalabs_utilization{{{CARD} 3\nhabanalabs_temperature_onchip{{{CARD}}} N/A\nhabanalabs_clock_soc_mhz{{{CARD}}} 1600\n"
    ));
    let card = seen.all("accelerator")[0];
    assert_eq!(
        (seen.value(card, "power_watts"), seen.value(card, "clock_sm_hertz"), seen.batch.problems.len()),
        (Some(226.0), Some(1.6e9), 2)
    );
}
