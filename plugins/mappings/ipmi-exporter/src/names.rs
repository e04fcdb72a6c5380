//! What the name of a sensor says: vendors agree in nothing else.

/// A supply that a sensor is of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Supply<'a> {
    /// As it is written there.
    pub name: &'a str,
    pub number: &'a str,
    pub side: Side,
}

/// Which side of a supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    In,
    Out,
    Unsaid,
}

/// The supply that a sensor is of: `PSU1 Power In`, `PS2_Pout`, `Power Supply 1`, `PWS-1`.
pub(crate) fn supply(name: &str) -> Option<Supply<'_>> {
    let is_part = |c: char| c.is_ascii_alphanumeric();
    let mut words: Vec<(usize, &str)> = Vec::new();
    for word in name.split(|c: char| !is_part(c)).filter(|w| !w.is_empty()) {
        // Its place: a part of `name` begins where the one before ended.
        let from = words.last().map_or(0, |(at, w)| at + w.len());
        words.push((from + name[from..].find(word)?, word));
    }
    let is_number = |w: &str| w.bytes().all(|b| b.is_ascii_digit());
    let (first, last) = words.iter().enumerate().find_map(|(i, (_, word))| {
        let lower = word.to_ascii_lowercase();
        let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit());
        let next = words.get(i + 1).filter(|(_, w)| is_number(w)).map(|_| i + 1);
        match stem {
            "psu" | "ps" | "pws" if stem.len() < lower.len() => Some((i, i)),
            "psu" | "ps" | "pws" => next.map(|last| (i, last)),
            "supply" if i > 0 && words[i - 1].1.eq_ignore_ascii_case("power") => match stem.len() < lower.len() {
                true => Some((i - 1, i)),
                false => next.map(|last| (i - 1, last)),
            },
            _ => None,
        }
    })?;
    let (start, end) = (words[first].0, words[last].0 + words[last].1.len());
    let rest = words.iter().enumerate().filter(|(i, _)| !(first..=last).contains(i)).map(|(_, (_, w))| w.to_ascii_lowercase());
    let side = rest.into_iter().find_map(|w| match w.as_str() {
        "in" | "input" | "pin" | "vin" | "iin" | "ac" => Some(Side::In),
        "out" | "output" | "pout" | "vout" | "iout" | "dc" => Some(Side::Out),
        _ => None,
    });
    let name = &name[start..end];
    let number = &name[name.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
    Some(Supply { name, number, side: side.unwrap_or(Side::Unsaid) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supply_is_told_by_its_name_and_its_side() {
        for (name, expected) in [
            ("PSU1 Power In", Some(("PSU1", Side::In))),
            ("PS2_Pout", Some(("PS2", Side::Out))),
            ("PS1 Input Power", Some(("PS1", Side::In))),
            ("Power Supply 1", Some(("Power Supply 1", Side::Unsaid))),
            ("Input Power PSU10", Some(("PSU10", Side::In))),
            ("PWS-1 DC Output", Some(("PWS-1", Side::Out))),
            ("PSU Redundancy", None),
            ("Pwr Consumption", None),
            ("12V", None),
            ("한글 PSU1", Some(("PSU1", Side::Unsaid))),
        ] {
            assert_eq!(supply(name).map(|s| (s.name, s.side)), expected, "{name}");
        }
        assert_eq!(supply("PSU10_Pin").map(|s| s.number), Some("10"));
    }
}
