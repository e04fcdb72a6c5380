//! Servers by their BMCs, straight over IPMI: sensors with thresholds, power, chassis state, supplies, event log.
//!
//! The session is the host's. Records, thresholds and inventories are kept in the plugin's store, so that a read is one command a
//! sensor and a handful beside.

// Natively, in tests, nothing is exported.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod bmc;
mod cache;
mod convert;
mod discrete;
mod fru;
mod map;
mod sdr;
mod sel;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use kcloud_collector_sdk::bindings::kcloud::collector::state;
use kcloud_collector_sdk::ipmi::{self, Answer, IpmiError};
use kcloud_collector_sdk::{Affinity, Batch, CollectError, Collector, GapReason, Info, SubjectRef, Target, log, register, target_label};
use serde::Deserialize;

use bmc::{Bmc, Remote, gap, is_silence, of_sensor, request};
use cache::{Cache, Repository};
use convert::{Factors, is_non_linear};
use map::{HEALTH, LOG_COUNT, Map, POWER, POWER_LIMIT, POWER_STATE, Read, identity_labels, label};
use sdr::Sensor;
use sel::Log;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "yes")]
    events: bool,
}

fn yes() -> bool {
    true
}

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "events": {
      "type": "boolean",
      "default": true,
      "description": "Whether entries of the system event log are read as events."
    }
  }
}"#;

/// What is kept between calls.
trait Store {
    fn get(&self, key: &str) -> Option<Vec<u8>>;
    fn put(&mut self, key: &str, value: &[u8]);
}

/// The plugin's store; where it has no room, this instance's memory.
#[derive(Default)]
struct Kept(HashMap<String, Vec<u8>>);

impl Store for Kept {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.0.get(key).cloned().or_else(|| state::get(key).ok().flatten())
    }

    fn put(&mut self, key: &str, value: &[u8]) {
        match state::put(key, value) {
            Ok(()) => drop(self.0.remove(key)),
            Err(error) => {
                log::line(log::Level::Warn, &format!("records are not kept ({error:?}): [limits] state is the store's room"));
                self.0.insert(key.to_owned(), value.to_vec());
            }
        }
    }
}

struct Ipmi {
    config: Config,
    kept: Kept,
}

impl Collector for Ipmi {
    type Config = Config;

    fn describe() -> Info {
        Info {
            name: "ipmi",
            version: env!("CARGO_PKG_VERSION"),
            vendor: "ipmi",
            description: "Servers by their BMCs over IPMI 2.0: sensors, power, chassis state, supplies, event log",
            metrics: map::metrics(),
            config_schema: SCHEMA,
            affinity: Affinity::None,
        }
    }

    fn new(config: Config) -> Result<Self, CollectError> {
        Ok(Self { config, kept: Kept::default() })
    }

    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError> {
        let deadline_ns = bmc::monotonic_ns().saturating_add(u64::from(deadline_ms) * 1_000_000);
        read(&mut Remote { target, deadline_ns }, &mut self.kept, &self.config, target, batch)
    }
}

register!(Ipmi);

/// Kept of a call's time for its end.
const END_MS: u64 = 350;

/// What a BMC says of itself, and what is asked with it: one round.
struct Head {
    device: Answer,
    repository: Answer,
    chassis: Answer,
    power: Answer,
    limit: Answer,
    log: Answer,
    clock: Answer,
}

const DCMI: u8 = 0x2c;

fn head(bmc: &mut impl Bmc) -> Result<Head, CollectError> {
    let asked = [
        request(0x06, 0x01, &[]),
        request(0x0a, 0x20, &[]),
        request(0x00, 0x01, &[]),
        request(DCMI, 0x02, &[0xdc, 1, 0, 0]),
        request(DCMI, 0x03, &[0xdc, 0, 0]),
        request(0x0a, 0x40, &[]),
        request(0x0a, 0x48, &[]),
    ];
    let answers = bmc.ask(&asked)?;
    if let Some(Err(error)) = answers.iter().find(|a| is_silence(a)).filter(|_| answers.iter().filter(|a| is_silence(a)).count() > 1) {
        return Err(ipmi::failed(error.clone()));
    }
    let [device, repository, chassis, power, limit, log, clock] =
        answers.try_into().map_err(|_| CollectError::Internal("the host gave another number of answers".to_owned()))?;
    Ok(Head { device, repository, chassis, power, limit, log, clock })
}

/// Which repository there is, and what says that it is still the same.
fn repository(bmc: &mut impl Bmc, head: &Head) -> Result<Option<(Repository, Vec<u8>)>, CollectError> {
    let firmware = head.device.as_ref().ok().and_then(|d| d.get(2..4)).unwrap_or_default();
    if let Ok(info) = &head.repository {
        // Count, and when it was last added to and erased.
        let stamp = [info.get(1..3).unwrap_or_default(), info.get(5..13).unwrap_or_default(), firmware].concat();
        return Ok(Some((Repository::Shared, stamp)));
    }
    let has_sensors = head.device.as_ref().is_ok_and(|d| d.get(5).is_some_and(|support| support & 1 != 0));
    if !has_sensors {
        return Ok(None);
    }
    let info = bmc.one(0x04, 0x20, &[])?;
    Ok(info.ok().map(|info| (Repository::Device, [&info[..], firmware].concat())))
}

fn read(bmc: &mut impl Bmc, store: &mut impl Store, config: &Config, target: &Target, batch: &mut Batch) -> Result<(), CollectError> {
    let time_ms = bmc.left_ms();
    let head = head(bmc)?;
    let repository = repository(bmc, &head)?;
    let key = cache::key(target);
    let kept: Option<Cache> = store.get(&key).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let stamp = repository.as_ref().map(|(_, stamp)| stamp.clone()).unwrap_or_default();
    let is_same = kept.as_ref().is_some_and(|c| c.stamp == stamp);
    let log_cursor = kept.as_ref().map(|c| c.log).unwrap_or_default();
    let mut cache = kept.filter(|_| is_same).unwrap_or_else(|| Cache::new(stamp));
    cache.log = log_cursor;

    // A third of the time is left for the readings, whatever of the records is there.
    let mut changed = !is_same;
    if let Some((which, _)) = &repository {
        let more = cache.read_records(bmc, *which, time_ms / 3);
        changed |= *more.as_ref().unwrap_or(&true);
        if let Err(error) = more {
            keep(store, &key, &cache);
            return Err(error);
        }
    }
    let (sensors, inventories) = cache.parts();
    if cache.is_whole() || repository.is_none() {
        changed |= cache.read_thresholds(bmc, &sensors, time_ms / 4)?;
        let devices: Vec<u8> = std::iter::once(0).chain(inventories.iter().map(|i| i.device).filter(|d| *d != 0)).collect();
        changed |= cache.read_inventories(bmc, &devices, time_ms / 4)?;
    } else if repository.is_some() {
        batch.partial();
        let why =
            format!("{} sensor records were read so far; the rest follows with the next reads, or with a longer timeout", cache.count());
        batch.problem(CollectError::Timeout(why), None);
    }
    if changed {
        keep(store, &key, &cache);
    }

    let live: Vec<(usize, &Sensor)> = sensors.iter().enumerate().filter(|(_, s)| !s.event_only).collect();
    let requests: Vec<_> = live.iter().map(|(_, s)| of_sensor(s.key, 0x2d, &[])).collect();
    let answers = bmc.many(&requests, END_MS)?;
    let heard = answers.iter().filter(|a| !is_silence(a)).count();
    if heard < requests.len() {
        let why = format!("the BMC answered for {heard} of {} sensors in {time_ms} ms; timeout says how long it may take", requests.len());
        let silent = CollectError::Timeout(why);
        if heard * 2 < requests.len() {
            return Err(silent);
        }
        batch.partial();
        batch.problem(silent, None);
    }
    let factors = factors(bmc, &live, &answers)?;

    let chassis = chassis(target, &head, &cache, batch);
    let of_key = {
        let mut map = Map::new(batch, chassis, &inventories, &cache.identities);
        for (((place, sensor), answer), factors) in live.iter().zip(&answers).zip(factors) {
            map.sensor(&Read { sensor, answer, factors, thresholds: cache.thresholds.get(place) });
        }
        map.finish();
        let (whole, of_key) = (map.whole, map.of_key);
        power(batch, chassis, &head, whole);
        of_key
    };
    if config.events
        && let Some(info) = head.log.as_ref().ok().and_then(|data| Log::read(data))
    {
        batch.point(LOG_COUNT, chassis, f64::from(info.count), None);
        let (entries, cursor) = sel::new_entries(bmc, info, cache.log, END_MS)?;
        let clock = head.clock.as_ref().ok().and_then(|d| d.first_chunk::<4>()).map(|b| u32::from_le_bytes(*b));
        let zone = clock.and_then(|s| sel::zone_s(s, bmc.unix_s()));
        for entry in &entries {
            let is_it = |s: &&Sensor| s.key.owner == entry[7] && s.key.lun == entry[8] & 3 && s.key.number == entry[11];
            let sensor = sensors.iter().find(is_it);
            let subject = sensor.and_then(|s| of_key.get(&s.key)).copied().unwrap_or(chassis);
            batch.event(subject, sel::event(entry, zone, sensor));
        }
        if cursor != cache.log {
            cache.log = cursor;
            keep(store, &key, &cache);
        }
    }
    Ok(())
}

fn keep(store: &mut impl Store, key: &str, cache: &Cache) {
    if let Ok(bytes) = serde_json::to_vec(cache) {
        store.put(key, &bytes);
    }
}

/// The factors of readings that are not linear, in order of the sensors.
fn factors(bmc: &mut impl Bmc, live: &[(usize, &Sensor)], answers: &[Answer]) -> Result<Vec<Option<Factors>>, CollectError> {
    let mut all = vec![None; live.len()];
    let curved = live.iter().zip(answers).enumerate().filter_map(|(at, ((_, sensor), answer))| {
        sensor.analog.filter(|a| is_non_linear(a.linearization))?;
        Some((at, of_sensor(sensor.key, 0x23, &[map::raw(answer)?])))
    });
    let (places, requests): (Vec<usize>, Vec<_>) = curved.unzip();
    for (at, answer) in places.into_iter().zip(bmc.many(&requests, END_MS)?) {
        all[at] = answer.ok().and_then(|data| data.get(1..7)?.try_into().ok()).map(Factors::read);
    }
    Ok(all)
}

/// The server and its chassis, with what the BMC says of them as a whole.
fn chassis(target: &Target, head: &Head, cache: &Cache, batch: &mut Batch) -> SubjectRef {
    let rest = target.address.strip_prefix("ipmi://").unwrap_or(&target.address);
    let host = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((host, _)) => host,
        None => rest.split([':', '/']).next().unwrap_or(rest),
    };
    // Where nobody says which node it is, the BMC's address stands for it: sources that know both join them.
    let node = target_label(target, "node").unwrap_or(host);
    let node = batch.subject("node", node, None, |s| {
        s.identity = vec![label("node", node)];
        s.labels = vec![label("bmc_address", host)];
    });
    let chassis = batch.subject("chassis", "bmc", Some(node), |s| {
        s.identity = vec![label("name", "bmc")];
        s.labels = vec![label("bmc_address", host)];
        s.labels.extend(cache.identities.get(&0).into_iter().flat_map(identity_labels));
        if let Some([major, minor]) = head.device.as_ref().ok().and_then(|d| d.get(2..4)) {
            s.labels.push(label("firmware_version", format!("{}.{minor:02x}", major & 0x7f)));
        }
    });
    match &head.chassis {
        Ok(data) if !data.is_empty() => {
            batch.state(POWER_STATE, chassis, u32::from(data[0] & 1 == 0));
            // Overload, fault, power control fault; drive or cooling fault; intrusion.
            let misc = data.get(2).copied().unwrap_or(0);
            let health = match () {
                _ if data[0] & 0b1_1010 != 0 || misc & 0b1100 != 0 => 2,
                _ if misc & 1 != 0 => 1,
                _ => 0,
            };
            batch.state(HEALTH, chassis, health);
        }
        Ok(_) => batch.gap(POWER_STATE, chassis, GapReason::Error),
        Err(error) => batch.gap(POWER_STATE, chassis, gap(error)),
    }
    chassis
}

/// What the server draws: by DCMI, else by the board's own sensor for the whole.
fn power(batch: &mut Batch, chassis: SubjectRef, head: &Head, whole: Option<Result<f64, GapReason>>) {
    let by_dcmi = match &head.power {
        // Active, and not the zero of one that has nothing to say.
        Ok(data) => match data[..] {
            [0xdc, 0, 0, ..] => Err(GapReason::Absent),
            [0xdc, low, high, ..] if data.get(17).is_some_and(|state| state & 0x40 != 0) => Ok(f64::from(u16::from_le_bytes([low, high]))),
            [0xdc, _, _, ..] => Err(GapReason::Absent),
            _ => Err(GapReason::Error),
        },
        Err(error) => Err(gap(error)),
    };
    let (method, said) = match (by_dcmi, whole) {
        (Ok(watts), _) => ("dcmi", Ok(watts)),
        (Err(_), Some(Ok(watts))) => ("sensor", Ok(watts)),
        (Err(GapReason::Unsupported), Some(Err(why))) => ("sensor", Err(why)),
        (Err(why), _) => ("dcmi", Err(why)),
    };
    batch.labels(chassis).push(label("method", method));
    match said {
        Ok(watts) => batch.point(POWER, chassis, watts, None),
        Err(why) => batch.gap(POWER, chassis, why),
    }
    match &head.limit {
        Ok(data) => match data.get(4..6).and_then(|b| b.first_chunk::<2>()) {
            Some(limit) => batch.point(POWER_LIMIT, chassis, f64::from(u16::from_le_bytes(*limit)), None),
            None => batch.gap(POWER_LIMIT, chassis, GapReason::Error),
        },
        // No limit is set.
        Err(IpmiError::Completion(0x80)) => batch.gap(POWER_LIMIT, chassis, GapReason::Absent),
        Err(error) => batch.gap(POWER_LIMIT, chassis, gap(error)),
    }
}
