use kcloud_collector_sdk::GapReason;
use kcloud_collector_sdk::testing::{Seen, capture, captures, cut_off, target};

use super::*;

fn dump(text: &str) -> Result<Seen, CollectError> {
    let of = target("/var/lib/smi/worker1", &[("node", "worker1")]);
    Seen::of(Dumps::describe().metrics, |batch| read(text, &of, &mut Out::new::<Dumps>(batch, 0)))
}

const MIB: f64 = 1_048_576.0;

/// File; cards, partitions, processes; sums of watts, of used and of total bytes; cards without a busy share; why.
type Expected = (&'static str, [usize; 3], [f64; 3], usize, &'static str);
const CAPTURES: &[Expected] = &[
    (
        "nvidia-smi/a100-sxm4-v12.xml",
        [1, 4, 0],
        [67.03, 50.0 * MIB, 81_920.0 * MIB],
        1,
        "one of four cards, split: the card's memory, not its instances' beside",
    ),
    (
        "nvidia-smi/rtx-3080-v13.xml",
        [1, 0, usize::MAX],
        [139.62, 9_184.0 * MIB, 10_240.0 * MIB],
        0,
        "power.draw is an average and an instant since v13: the average",
    ),
    ("nvidia-smi/tesla-t4.xml", [1, 0, 2], [26.78, 1_032.0 * MIB, 15_360.0 * MIB], 0, "power_readings before v12"),
    (
        "nvidia-smi/nvidia-h200__590.48.01__load__query-gpu.csv",
        [1, 0, 0],
        [627.4, 32_362.0 * MIB, 143_771.0 * MIB],
        0,
        "units in the cells",
    ),
    (
        "nvidia-smi/nvidia-h200__590.48.01__idle__query-gpu.csv",
        [1, 0, 0],
        [f64::NAN, f64::NAN, 143_771.0 * MIB],
        0,
        "the same card at rest",
    ),
    (
        "amd/mi100_rocm602.rocm-smi.json",
        [4, 0, 0],
        [f64::NAN, 4.0 * 6_750_208.0, 4.0 * 34_342_961_152.0],
        0,
        "four cards by their unique ids",
    ),
    (
        "amd/rx6700xt_rocm612.rocm-smi.json",
        [1, 0, 0],
        [6.0, 1_572_745_216.0, 12_868_124_672.0],
        0,
        "no serial number and no unique id: by its PCI address",
    ),
    ("amd/vega-10-XT.rocm-smi.json", [1, 0, 0], [15.0, 17_776_640.0, 17_163_091_968.0], 0, "the oldest spelling"),
    (
        "intel-gaudi/hl-smi-1.17-two-gaudi2-idle.txt",
        [2, 0, 0],
        [180.0, 2.0 * 768.0 * MIB, 2.0 * 98_304.0 * MIB],
        0,
        "two lines a card of a table",
    ),
    (
        "intel-gaudi/hl-smi-query-HL-325L.csv",
        [2, 0, 0],
        [456.0, 2.0 * 672.0 * MIB, 2.0 * 131_072.0 * MIB],
        0,
        "no head: the documented order",
    ),
    ("intel-gpu/xpumcli-dump-rawdata.csv", [1, 0, 0], [11.0, 0.0, 0.0], 0, "one device at four moments: the last counts"),
];

#[test]
fn every_capture_gives_its_cards_watts_and_memory() {
    for (file, [cards, partitions, processes], sums, without_load, why) in CAPTURES {
        let Some(text) = capture(file) else { return };
        let seen = dump(&text).unwrap();
        assert_eq!(
            (seen.problems(), seen.all("accelerator").len(), seen.all("partition").len()),
            (String::new(), *cards, *partitions),
            "{file}: {why}"
        );
        if *processes != usize::MAX {
            assert_eq!(seen.all("process").len(), *processes, "{file}: {why}");
        }
        for (metric, expected) in ["power_watts", "memory_used_bytes", "memory_total_bytes"].iter().zip(sums).filter(|(_, e)| !e.is_nan()) {
            assert_eq!(seen.total("accelerator", metric), *expected, "{file} {metric}: {why}");
        }
        assert_eq!(seen.count("accelerator", "utilization_ratio").2, *without_load, "{file}: {why}");
        assert!(seen.batch.points.iter().all(|p| p.value >= 0.0 && p.value < 1e13), "{file}");
        cut_off(&text).for_each(|part| drop(dump(part)));
    }
}

#[test]
fn an_instance_has_its_own_memory_and_its_card_no_share_of_its_own() {
    let Some(text) = capture("nvidia-smi/a100-sxm4-v12.xml") else { return };
    let seen = dump(&text).unwrap();
    let card = seen.find("accelerator", "uuid", "GPU-513536b6-7d19-9063-b049-1e69664bb298").unwrap();
    assert_eq!(
        (seen.gap(card, "utilization_ratio"), seen.value(card, "memory_temperature_celsius"), seen.value(card, "power_limit_watts")),
        (Some(GapReason::Unsupported), Some(44.0), Some(500.0))
    );
    assert_eq!((seen.value(card, "ecc_uncorrected_total"), seen.value(card, "pcie_tx_bytes_per_second")), (Some(0.0), Some(4e6)));
    let part = seen.find("partition", "partition_id", "3").unwrap();
    assert_eq!(
        (seen.value(part, "memory_used_bytes"), seen.value(part, "power_watts"), seen.parent(part)),
        (Some(12.0 * MIB), None, Some(("accelerator", card)))
    );
}

#[test]
fn what_a_card_cannot_say_is_a_gap() {
    let Some(text) = capture("nvidia-smi/rtx-3080-v13.xml") else { return };
    let seen = dump(&text).unwrap();
    let card = seen.all("accelerator")[0];
    assert_eq!(
        (seen.gap(card, "memory_temperature_celsius"), seen.gap(card, "ecc_corrected_total")),
        (Some(GapReason::Unsupported), Some(GapReason::Unsupported))
    );
    assert_eq!(
        (seen.value(card, "fan_ratio"), seen.value(card, "utilization_ratio")),
        (Some(0.0), Some(0.65)),
        "a fan that stands still is a reading"
    );
}

#[test]
fn a_short_line_is_a_problem_and_its_neighbours_stay() {
    let csv = "index, name, uuid, power.draw [W], utilization.gpu [%], memory.used [MiB]\n0, NVIDIA L40S, GPU-1, 300.50, [N/A], 10\n1, NVIDIA L40S\n2, NVIDIA L40S, GPU-3, [Unknown Error], 5, 20\n";
    let seen = dump(csv).unwrap();
    assert_eq!((seen.values("accelerator", "power_watts"), seen.batch.problems[0].line), (vec![300.5], Some(3)));
    let third = seen.find("accelerator", "uuid", "GPU-3").unwrap();
    assert_eq!(
        (seen.gap(third, "power_watts"), seen.value(third, "memory_used_bytes"), seen.label(third, "index")),
        (Some(GapReason::Error), Some(20.0 * MIB), Some("2"))
    );
    assert_eq!(seen.gap(seen.find("accelerator", "uuid", "GPU-1").unwrap(), "utilization_ratio"), Some(GapReason::Unsupported));
}

#[test]
fn every_other_file_of_the_vendors_is_refused_with_what_would_be_right() {
    let known: Vec<&str> = CAPTURES.iter().map(|c| c.0).collect();
    for source in ["amd", "intel-gaudi", "intel-gpu", "nvidia-smi"] {
        let Some(all) = captures(env!("CARGO_MANIFEST_DIR"), source) else { return };
        for (file, text) in all.iter().filter(|(file, _)| !known.contains(&&*format!("{source}/{file}"))) {
            let error = dump(text).err().unwrap_or_else(|| panic!("{file} was read")).to_string();
            assert!(error.contains("smi"), "{file}: {error}");
        }
    }
}
