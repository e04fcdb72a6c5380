//! States of sensors that give no number, and what they mean (IPMI v2.0, tables 42-1 to 42-3). Pure.

use kcloud_collector_sdk::Severity;

use Severity::{Critical as C, Info as I, Warning as W};

/// Text and weight of each state, by its offset.
type States = &'static [(&'static str, Severity)];

/// Event/reading types of any sensor.
const GENERIC: &[(u8, States)] = &[
    (0x01, THRESHOLDS),
    (0x02, &[("idle", I), ("active", I), ("busy", I)]),
    (0x03, &[("state deasserted", I), ("state asserted", I)]),
    (0x04, &[("predictive failure deasserted", I), ("predictive failure", W)]),
    (0x05, &[("limit not exceeded", I), ("limit exceeded", W)]),
    (0x06, &[("performance met", I), ("performance lags", W)]),
    (0x07, SEVERITIES),
    (0x08, &[("device absent", I), ("device present", I)]),
    (0x09, &[("device disabled", I), ("device enabled", I)]),
    (
        0x0a,
        &[
            ("running", I),
            ("in test", I),
            ("power off", I),
            ("on line", I),
            ("off line", W),
            ("off duty", I),
            ("degraded", W),
            ("power save", I),
            ("install error", W),
        ],
    ),
    (
        0x0b,
        &[
            ("fully redundant", I),
            ("redundancy lost", C),
            ("redundancy degraded", W),
            ("non-redundant: sufficient, from redundant", W),
            ("non-redundant: sufficient, from insufficient", W),
            ("non-redundant: insufficient resources", C),
            ("redundancy degraded from fully redundant", W),
            ("redundancy degraded from non-redundant", W),
        ],
    ),
    (0x0c, &[("D0", I), ("D1", I), ("D2", I), ("D3", I)]),
];

const THRESHOLDS: States = &[
    ("lower non-critical going low", W),
    ("lower non-critical going high", W),
    ("lower critical going low", C),
    ("lower critical going high", C),
    ("lower non-recoverable going low", C),
    ("lower non-recoverable going high", C),
    ("upper non-critical going low", W),
    ("upper non-critical going high", W),
    ("upper critical going low", C),
    ("upper critical going high", C),
    ("upper non-recoverable going low", C),
    ("upper non-recoverable going high", C),
];

const SEVERITIES: States = &[
    ("ok", I),
    ("non-critical from ok", W),
    ("critical from less severe", C),
    ("non-recoverable from less severe", C),
    ("non-critical from more severe", W),
    ("critical from non-recoverable", C),
    ("non-recoverable", C),
    ("monitor", I),
    ("informational", I),
];

/// States of event/reading type 0x6f, by the sensor's type.
const SPECIFIC: &[(u8, States)] = &[
    (
        0x05,
        &[
            ("chassis intrusion", W),
            ("drive bay intrusion", W),
            ("card area intrusion", W),
            ("processor area intrusion", W),
            ("LAN cable lost", W),
            ("unauthorised dock", W),
            ("fan area intrusion", W),
        ],
    ),
    (
        0x07,
        &[
            ("IERR", C),
            ("thermal trip", C),
            ("self test failed", C),
            ("hang in POST", C),
            ("start-up failed", C),
            ("configuration error", C),
            ("uncorrectable error of the complex", C),
            ("present", I),
            ("disabled", W),
            ("terminator present", I),
            ("throttled", W),
            ("uncorrectable machine check", C),
            ("correctable machine check", W),
        ],
    ),
    (
        0x08,
        &[
            ("presence detected", I),
            ("failure", C),
            ("predictive failure", W),
            ("input lost", C),
            ("input lost or out of range", C),
            ("input out of range", W),
            ("configuration error", W),
            ("inactive (standby)", I),
        ],
    ),
    (
        0x09,
        &[
            ("power off", I),
            ("power cycle", I),
            ("240 VA power down", C),
            ("interlock power down", W),
            ("input lost", C),
            ("soft power control failure", C),
            ("power unit failure", C),
            ("predictive failure", W),
        ],
    ),
    (
        0x0c,
        &[
            ("correctable ECC", W),
            ("uncorrectable ECC", C),
            ("parity", C),
            ("scrub failed", W),
            ("device disabled", W),
            ("correctable ECC logging limit reached", W),
            ("presence detected", I),
            ("configuration error", W),
            ("spare", I),
            ("throttled", W),
            ("critical over-temperature", C),
        ],
    ),
    (
        0x0d,
        &[
            ("drive present", I),
            ("drive fault", C),
            ("predictive failure", W),
            ("hot spare", I),
            ("consistency check", I),
            ("in a critical array", C),
            ("in a failed array", C),
            ("rebuild", I),
            ("rebuild aborted", W),
        ],
    ),
    (0x0f, &[("firmware error", C), ("firmware hang", C), ("firmware progress", I)]),
    (
        0x10,
        &[
            ("correctable memory error logging disabled", W),
            ("logging of a type disabled", W),
            ("log cleared", I),
            ("all logging disabled", W),
            ("log full", W),
            ("log almost full", W),
            ("correctable machine check logging disabled", W),
        ],
    ),
    (
        0x12,
        &[
            ("reconfigured", I),
            ("OEM boot event", I),
            ("undetermined hardware failure", C),
            ("entry added to auxiliary log", I),
            ("platform event action", I),
            ("clock set", I),
        ],
    ),
    (
        0x13,
        &[
            ("front panel NMI", C),
            ("bus time-out", C),
            ("I/O channel check NMI", C),
            ("software NMI", C),
            ("PCI PERR", C),
            ("PCI SERR", C),
            ("EISA fail safe time-out", C),
            ("bus correctable error", W),
            ("bus uncorrectable error", C),
            ("fatal NMI", C),
            ("bus fatal error", C),
            ("bus degraded", W),
        ],
    ),
    (0x14, &[("power button", I), ("sleep button", I), ("reset button", I), ("FRU latch open", I), ("FRU service request", I)]),
    (0x19, &[("soft power control failure", C), ("thermal trip", C)]),
    (0x1b, &[("connected", I), ("configuration error", W)]),
    (
        0x1d,
        &[
            ("power up", I),
            ("hard reset", I),
            ("warm reset", I),
            ("user requested PXE boot", I),
            ("boot to diagnostic", I),
            ("OS initiated hard reset", I),
            ("OS initiated warm reset", I),
            ("restart", I),
        ],
    ),
    (
        0x20,
        &[
            ("stop while loading the OS", C),
            ("run-time stop", C),
            ("graceful OS stop", I),
            ("graceful OS shutdown", I),
            ("soft shutdown by the platform", I),
            ("agent does not respond", W),
        ],
    ),
    (
        0x21,
        &[
            ("fault", C),
            ("identify", I),
            ("device installed", I),
            ("ready for installation", I),
            ("ready for removal", I),
            ("slot power off", I),
            ("removal requested", I),
            ("interlock", I),
            ("slot disabled", I),
            ("spare device", I),
        ],
    ),
    (
        0x22,
        &[
            ("S0/G0", I),
            ("S1", I),
            ("S2", I),
            ("S3", I),
            ("S4", I),
            ("S5/G2", I),
            ("S4/S5", I),
            ("G3", I),
            ("sleeping", I),
            ("G1", I),
            ("S5 by override", I),
            ("legacy on", I),
            ("legacy off", I),
        ],
    ),
    (
        0x23,
        &[
            ("timer expired", W),
            ("hard reset", C),
            ("power down", C),
            ("power cycle", C),
            ("reserved", I),
            ("reserved", I),
            ("reserved", I),
            ("reserved", I),
            ("timer interrupt", W),
        ],
    ),
    (0x24, &[("page", I), ("LAN alert", I), ("event trap", I), ("SNMP trap", I)]),
    (0x25, &[("present", I), ("absent", I), ("disabled", I)]),
    (
        0x28,
        &[
            ("sensor access degraded", W),
            ("controller access degraded", W),
            ("controller off-line", W),
            ("controller unavailable", C),
            ("sensor failure", W),
            ("FRU failure", W),
        ],
    ),
    (0x29, &[("battery low", W), ("battery failed", C), ("battery present", I)]),
    (0x2a, &[("session activated", I), ("session deactivated", I), ("invalid user or password", W), ("account disabled", W)]),
    (
        0x2b,
        &[
            ("hardware change", I),
            ("firmware change", I),
            ("hardware incompatible", W),
            ("firmware incompatible", W),
            ("invalid hardware version", W),
            ("invalid firmware version", W),
            ("hardware change successful", I),
            ("firmware change successful", I),
        ],
    ),
    (
        0x2c,
        &[
            ("not installed", I),
            ("inactive", I),
            ("activation requested", I),
            ("activating", I),
            ("active", I),
            ("deactivation requested", I),
            ("deactivating", I),
            ("communication lost", W),
        ],
    ),
];

const SENSOR_SPECIFIC: u8 = 0x6f;

fn states(sensor_type: u8, reading_type: u8) -> States {
    let (table, key) = if reading_type == SENSOR_SPECIFIC { (SPECIFIC, sensor_type) } else { (GENERIC, reading_type) };
    table.iter().find(|(k, _)| *k == key).map_or(&[], |(_, states)| states)
}

/// Text and weight of one state; none where the specification has none (a vendor's own).
pub(crate) fn state(sensor_type: u8, reading_type: u8, offset: u8) -> Option<(&'static str, Severity)> {
    states(sensor_type, reading_type).get(usize::from(offset)).copied()
}

/// All states that are on, as text, and the worst weight among them; none where their meaning is a vendor's own.
pub(crate) fn asserted(sensor_type: u8, reading_type: u8, bits: u16) -> Option<(String, Severity)> {
    let known = states(sensor_type, reading_type);
    if known.is_empty() {
        return None;
    }
    let on = || (0..15_u8).filter(|n| bits >> n & 1 != 0);
    let text = |n: u8| known.get(usize::from(n)).map_or_else(|| format!("state {n}"), |(text, _)| (*text).to_owned());
    let worst = on().filter_map(|n| known.get(usize::from(n))).map(|(_, weight)| *weight).max_by_key(|w| rank(*w)).unwrap_or(I);
    Some((on().map(text).collect::<Vec<_>>().join(", "), worst))
}

pub(crate) fn rank(severity: Severity) -> u8 {
    match severity {
        I => 0,
        W => 1,
        C => 2,
    }
}

/// Table 42-3, for messages about sensors that have no record.
pub(crate) fn type_name(sensor_type: u8) -> &'static str {
    const NAMES: [&str; 0x2d] = [
        "reserved",
        "temperature",
        "voltage",
        "current",
        "fan",
        "physical security",
        "platform security",
        "processor",
        "power supply",
        "power unit",
        "cooling device",
        "other",
        "memory",
        "drive slot",
        "memory resize",
        "system firmware",
        "event logging",
        "watchdog",
        "system event",
        "critical interrupt",
        "button",
        "module",
        "microcontroller",
        "add-in card",
        "chassis",
        "chip set",
        "other FRU",
        "cable",
        "terminator",
        "system boot",
        "boot error",
        "OS boot",
        "OS stop",
        "slot",
        "ACPI power state",
        "watchdog",
        "platform alert",
        "entity presence",
        "monitor",
        "LAN",
        "management health",
        "battery",
        "session audit",
        "version change",
        "FRU state",
    ];
    NAMES.get(usize::from(sensor_type)).copied().unwrap_or("vendor's own")
}
