//! From a source's unit to the catalogue's.

/// By the catalogue's unit: spelling, factor.
const UNITS: &[(&str, &[(&str, f64)])] = &[
    ("watts", &[("W", 1.0), ("mW", 1e-3), ("uW", 1e-6), ("kW", 1e3)]),
    ("joules", &[("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("kJ", 1e3), ("Wh", 3.6e3), ("kWh", 3.6e6)]),
    ("celsius", &[("C", 1.0), ("dC", 0.1), ("mC", 1e-3)]),
    ("volts", &[("V", 1.0), ("mV", 1e-3), ("uV", 1e-6)]),
    ("amperes", &[("A", 1.0), ("mA", 1e-3), ("uA", 1e-6)]),
    ("hertz", &[("Hz", 1.0), ("kHz", 1e3), ("MHz", 1e6), ("GHz", 1e9)]),
    (
        "bytes",
        &[
            ("B", 1.0),
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("GiB", 1_073_741_824.0),
            ("TiB", 1_099_511_627_776.0),
            ("kB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("TB", 1e12),
        ],
    ),
    (
        "bytes_per_second",
        &[
            ("B/s", 1.0),
            ("KiB/s", 1024.0),
            ("MiB/s", 1_048_576.0),
            ("kB/s", 1e3),
            ("MB/s", 1e6),
            ("GB/s", 1e9),
            ("Mbit/s", 125e3),
            ("Gbit/s", 125e6),
        ],
    ),
    ("ratio", &[("1", 1.0), ("%", 0.01), ("permille", 1e-3)]),
    ("seconds", &[("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("min", 60.0), ("h", 3600.0)]),
    ("rpm", &[("rpm", 1.0)]),
    ("cores", &[("cores", 1.0), ("millicores", 1e-3)]),
    ("count", &[("1", 1.0)]),
    ("count_per_second", &[("1/s", 1.0)]),
];

/// The micro and degree signs have several spellings.
fn plain(unit: &str) -> String {
    let unit = unit.replace(['µ', 'μ'], "u").replace('°', "");
    match unit.as_str() {
        "RPM" => "rpm".to_owned(),
        _ => unit,
    }
}

/// The factor from a source's unit to a catalogue's; a sensor's own metrics take the units of every quantity.
pub(crate) fn factor(to: &str, from: &str) -> Option<f64> {
    let from = plain(from);
    UNITS
        .iter()
        .filter(|(name, _)| *name == to || to == "sensor")
        .find_map(|(_, all)| all.iter().find(|(u, _)| *u == from))
        .map(|(_, f)| *f)
}

/// What [`factor`] knows.
pub(crate) fn known(to: &str) -> Vec<&'static str> {
    UNITS.iter().filter(|(name, _)| *name == to || to == "sensor").flat_map(|(_, all)| all.iter().map(|(u, _)| *u)).collect()
}

/// The unit that the name of a metric ends in.
pub(crate) fn of_name(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    let ends = |unit: &&str| name.strip_suffix(*unit).is_some_and(|head| head.ends_with('_'));
    // The longest first: bytes_per_second ends in seconds, too, in other words.
    let mut units: Vec<&'static str> = UNITS.iter().map(|(u, _)| *u).filter(ends).collect();
    units.sort_by_key(|u| std::cmp::Reverse(u.len()));
    units.first().copied().unwrap_or("count")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_lead_to_the_catalogues() {
        for (to, from, expected) in [
            ("watts", "µW", Some(1e-6)),
            ("watts", "mW", Some(1e-3)),
            ("celsius", "°C", Some(1.0)),
            ("celsius", "mC", Some(1e-3)),
            ("ratio", "%", Some(0.01)),
            ("bytes", "MB", Some(1e6)),
            ("bytes", "MiB", Some(1_048_576.0)),
            ("rpm", "RPM", Some(1.0)),
            ("watts", "V", None),
            ("sensor", "mV", Some(1e-3)),
        ] {
            assert_eq!(factor(to, from), expected, "{from} → {to}");
        }
        for (name, unit) in [
            ("x_a_power_watts", "watts"),
            ("x_a_b_bytes_per_second", "bytes_per_second"),
            ("x_a_joules_total", "joules"),
            ("x_a_errors_total", "count"),
        ] {
            assert_eq!(of_name(name), unit, "{name}");
        }
    }
}
