//! Whose a row is: one physical card may show as several, each a partition of it.

use std::collections::{BTreeMap, BTreeSet};

use kcloud_collector_sdk::exporter::Row;

/// What a row says of whom it is of; old builds write labels in capitals.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub serial: Option<String>,
    pub uuid: Option<String>,
    pub gpu: Option<String>,
    pub partition: Option<u32>,
}

impl Who {
    /// `None` for a row that is of no card: other exporters use such names, too.
    pub fn of(row: &Row<'_>) -> Option<Self> {
        let [serial, old_serial, uuid, old_uuid, gpu, partition] =
            row.pick(["serial_number", "SERIAL_NUMBER", "gpu_uuid", "GPU_UUID", "gpu_id", "gpu_partition_id"]);
        let text = |v: Option<std::borrow::Cow<'_, str>>| v.filter(|v| *v != "N/A").map(|v| v.into_owned());
        let who = Self {
            serial: text(serial.or(old_serial)),
            uuid: text(uuid.or(old_uuid)),
            gpu: text(gpu),
            partition: partition.and_then(|p| p.parse().ok()),
        };
        (who.serial.is_some() || who.uuid.is_some() || who.gpu.is_some()).then_some(who)
    }

    pub fn is_first(&self) -> bool {
        self.partition.is_none_or(|p| p == 0)
    }
}

/// All that one exporter names.
#[derive(Default)]
pub(crate) struct Known {
    /// First partitions by their number.
    first: BTreeMap<String, Who>,
    /// Numbers of first partitions that carry a serial number.
    serials: BTreeMap<String, BTreeSet<Option<String>>>,
}

impl Known {
    pub fn learn(&mut self, who: &Who) {
        if !who.is_first() {
            return;
        }
        if let Some(gpu) = &who.gpu {
            self.first.insert(gpu.clone(), who.clone());
        }
        if let Some(serial) = &who.serial {
            self.serials.entry(serial.clone()).or_default().insert(who.gpu.clone());
        }
    }

    /// The card that something is a partition of: its UUID and its number. A serial number that several cards carry names none.
    pub fn card(&self, who: &Who) -> (Option<String>, Option<String>) {
        let is_own = |serial: &&String| self.serials.get(*serial).is_none_or(|of| of.len() < 2);
        let first = match who.is_first() {
            true => who,
            // Partitions carry their card's number, or the numbers after it.
            false => self.home(who).unwrap_or(who),
        };
        let serial = who.serial.as_ref().filter(is_own);
        (serial.or(first.uuid.as_ref()).cloned(), first.gpu.clone())
    }

    fn home(&self, who: &Who) -> Option<&Who> {
        let gpu = who.gpu.as_ref()?;
        let before = || gpu.parse::<u32>().ok()?.checked_sub(who.partition?);
        self.first.get(gpu).or_else(|| self.first.get(&before()?.to_string()))
    }
}
