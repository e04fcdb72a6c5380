//! In which unit a release says memory: the documents say MB, then bytes, then MB again; and MB once meant a million bytes, once 2^20.

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// The unit of all memory of one exporter, decided by the totals that it says: how many bytes, and what it is called.
pub(crate) fn unit(values: impl Iterator<Item = f64>) -> (f64, &'static str) {
    let largest = values.fold(0.0, f64::max);
    // No card has 4 TB, and none has less than 4 MB.
    if largest > 4e6 {
        return (1.0, "bytes");
    }
    // Cards are made with whole multiples of 4 GiB, of which the driver keeps some MiB.
    let off = |unit: f64| {
        let gib = largest * unit / GIB;
        let whole = (gib / 4.0).ceil() * 4.0;
        (whole - gib) / whole.max(1.0)
    };
    match largest > 0.0 && off(MIB) > 0.005 && off(1e6) < 0.005 {
        true => (1e6, "MB"),
        false => (MIB, "MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_one_in_which_a_card_has_a_size_that_cards_have() {
        for (total, expected) in [
            (196_592.0, "MiB"), // MI300X, 192 GiB
            (24_574.0, "MiB"),  // an eighth of it
            (68_702.0, "MB"),   // MI210, 64 GiB
            (65_520.0, "MiB"),  // the same by a later release
            (68_702_699_520.0, "bytes"),
            (294_896.0, "MiB"), // MI355X, 288 GiB
            (0.0, "MiB"),
        ] {
            assert_eq!(unit([total].into_iter()).1, expected, "{total}");
        }
    }
}
