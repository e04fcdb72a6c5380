//! A daily report of a thousand nodes with eight cards each.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use kcloud_monitor::history::{Embedded, History, Keep, Point};
use kcloud_monitor::inventory::{Inventory, SourceInfo};
use kcloud_monitor::power;
use kcloud_monitor::report::{self, Ask, Format, Lang, Price, Stop, Template, Window, Zone};

use crate::{cpu, row};

const NODES: usize = 1_000;
const DAY: i64 = 86_400_000;
const MINUTE: i64 = 60_000;
/// A midnight.
const START_MS: i64 = 20_400 * DAY;

pub fn run() -> Result<()> {
    let inventory = Inventory::new(0);
    for n in 0..NODES {
        let info = SourceInfo {
            plugin: "bench".into(),
            target: format!("worker{n}").into(),
            cluster: "cluster1".into(),
            interval_ms: 15_000,
            priority: 0,
            max_subjects: 1_000_000,
            max_values: 10_000_000,
        };
        inventory.apply(&info, crate::power::server(n), START_MS + DAY);
    }
    let snapshot = inventory.prepare(START_MS + DAY, i64::MAX).context("a snapshot")?.snapshot;
    // The host has these for each snapshot already.
    let (_, _) = (snapshot.account(), snapshot.workloads());
    let dir = tempfile::tempdir()?;
    let history = Embedded::open(dir.path(), Keep { raw: std::time::Duration::from_secs(400 * 86_400), ..Keep::default() })?;
    let nodes: Vec<Arc<str>> = (0..NODES).map(|n| format!("node/cluster1/worker{n}").into()).collect();
    let cards: Vec<Arc<str>> = (0..NODES * 8).map(|i| format!("accelerator/GPU-{}-{}", i / 8, i % 8).into()).collect();
    let [server, card, load, sum, known, of]: [Arc<str>; 6] =
        [power::SERVER_WATTS, "power_watts", "utilization_ratio", power::CLUSTER_WATTS, power::CLUSTER_KNOWN, power::CLUSTER_SERVERS]
            .map(Into::into);
    let cluster: Arc<str> = power::cluster_series("cluster1").into();
    for tick in 0..DAY / MINUTE {
        let at_ms = START_MS + tick * MINUTE;
        let wobble = |n: usize| ((tick as usize).wrapping_mul(n + 7) % 97) as f64;
        let point = |subject: &Arc<str>, metric: &Arc<str>, value| Point {
            subject: subject.clone(),
            metric: metric.clone(),
            at_ms,
            value: Some(value),
        };
        let mut points: Vec<Point> = nodes.iter().enumerate().map(|(n, id)| point(id, &server, 3_000.0 + wobble(n))).collect();
        for (n, id) in cards.iter().enumerate() {
            points.push(point(id, &card, 300.0 + wobble(n)));
            points.push(point(id, &load, if n % 5 == 0 { 0.0 } else { 0.9 }));
        }
        let thousand = NODES as f64;
        points.extend([point(&cluster, &sum, 3e6 + wobble(1)), point(&cluster, &known, thousand), point(&cluster, &of, thousand)]);
        history.commit(tick as u64 + 1, at_ms, &points)?;
        if tick % 10 == 0 {
            history.upkeep(at_ms)?;
        }
    }
    let now = START_MS + DAY + 6 * 3_600_000;
    let window = Window::of(Template::Daily, Zone::default(), &report::Given::default(), now).map_err(anyhow::Error::msg)?;
    ensure!(window.start == START_MS, "the day that was put there");
    let price = Some(Price { per_kwh: 0.12, currency: "EUR".into() });
    let ask = Ask { window, cluster: None, clusters: vec!["cluster1".into()], price, minutes_kept: 30 * DAY, now, started_ms: 0 };
    let (before, began) = (cpu::seconds(std::process::id())?, Instant::now());
    let report = report::gather(&history, &snapshot, &ask, &Stop::default())?;
    let (took, used) = (began.elapsed().as_secs_f64(), cpu::seconds(std::process::id())? - before);
    ensure!((report.nodes.len(), report.cards.len()) == (NODES, NODES * 8) && report.total.gaps == 0, "every node and card is in it");
    let what = format!("1,000 nodes, 8,000 cards, a day by the minute: 24.5 M points read twice over; {used:.2} s of CPU");
    row("report of 1,000 nodes: s to gather", took, "", &what);
    let mut whole = took;
    for (name, format, lang) in [
        ("PDF", Format::Pdf, Lang::En),
        ("PDF in Korean", Format::Pdf, Lang::Ko),
        ("Excel", Format::Excel, Lang::En),
        ("HTML", Format::Html, Lang::En),
        ("Parquet", Format::Parquet, Lang::En),
    ] {
        let began = Instant::now();
        let (bytes, cpu) = {
            let before = cpu::this_thread()?;
            let bytes = report::render(&report, format, lang)?;
            (bytes, cpu::this_thread()? - before)
        };
        let took = began.elapsed().as_secs_f64();
        if name == "PDF" {
            whole += took;
        }
        row(&format!("– its {name}, s"), took, "", &format!("{:.1} MiB; {cpu:.2} s of CPU", bytes.len() as f64 / f64::from(1 << 20)));
    }
    row("PDF of 1,000 nodes, gathered and written, s", whole, "≤ 2", "wall time");
    Ok(())
}
