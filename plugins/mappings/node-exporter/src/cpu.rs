//! How busy the processors are: one less the share that they idled of the time that they counted in all modes between two reads. Both come
//! from one moment of the kernel, whenever that was; the time between two reads blurs with the way to the exporter.

use std::borrow::Cow;
use std::collections::HashSet;

use kcloud_collector_sdk::GapReason;

use crate::Reading;

/// What was read of one node before.
#[derive(Default)]
pub(crate) struct Busy {
    last: Option<Idle>,
    ratio: Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
struct Idle {
    seconds: f64,
    /// Of all modes, where they are known.
    all: Option<f64>,
    cpus: f64,
    at_ms: i64,
}

impl Busy {
    pub(crate) fn read(&mut self, reading: &mut Reading<'_, '_, '_, '_>) {
        let Some((idle, stamp)) = idle(reading) else { return };
        reading.out.put("cpu_capacity_cores", reading.node, idle.cpus, stamp);
        let last = self.last.replace(idle);
        // A server is asked more often than it scrapes: the same scrape says the same again.
        if last != Some(idle) {
            self.ratio = last.and_then(|last| busy(last, idle));
        }
        match self.ratio {
            Some(ratio) => reading.out.put("utilization_ratio", reading.node, ratio, stamp),
            // One read, processors that came or went, or a counter that began anew: the next one will say.
            None => reading.out.gap("utilization_ratio", reading.node, GapReason::Absent),
        }
    }
}

fn busy(last: Idle, now: Idle) -> Option<f64> {
    let (idled, passed) = (now.seconds - last.seconds, (now.at_ms - last.at_ms) as f64 / 1e3);
    // Where a mode is missing, or one fell (steal does on some hosts), the clock says how much there was.
    let counted = last.all.zip(now.all).map(|(a, b)| b - a).filter(|all| *all > 0.0 && *all >= idled);
    let whole = counted.unwrap_or(passed * now.cpus);
    // The kernel counts in hundredths of a second: a little over is all.
    (passed > 0.0 && idled >= 0.0 && now.cpus == last.cpus).then(|| (1.0 - idled / whole).clamp(0.0, 1.0))
}

/// Seconds idled by all processors, summed by the server or here, and the stamp of the row.
fn idle(reading: &Reading<'_, '_, '_, '_>) -> Option<(Idle, Option<i64>)> {
    let page = reading.page;
    if let (Some(sum), Some(count)) = (page.first("node_cpu_idle_seconds:sum"), page.first("node_cpu_idle_seconds:count")) {
        let said = page.first("node_cpu_idle_seconds:at").map(|r| (r.value * 1e3).round() as i64);
        let at_ms = said.or(sum.at_ms).unwrap_or(page.read_ms);
        let all = page.first("node_cpu_seconds:sum").map(|r| r.value);
        return Some((Idle { seconds: sum.value, all, cpus: count.value, at_ms }, sum.at_ms));
    }
    let mut cpus = HashSet::new();
    let (mut seconds, mut all) = (0.0, 0.0);
    let mut stamp = None;
    for row in page.rows("node_cpu_seconds_total").iter().filter(|r| r.value.is_finite()) {
        all += row.value;
        if row.get("mode").as_deref() == Some("idle") && cpus.insert(row.get("cpu").map(Cow::into_owned)) {
            seconds += row.value;
            stamp = row.at_ms;
        }
    }
    let at_ms = stamp.unwrap_or(page.read_ms);
    (!cpus.is_empty()).then_some((Idle { seconds, all: Some(all), cpus: cpus.len() as f64, at_ms }, stamp))
}
