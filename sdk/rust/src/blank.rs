//! What sources write for "no reading". One rule a source: a number that is blank for one is a reading for another.

use crate::GapReason;

/// DCGM: int32, int64 and double blanks (`dcgm_fields.h`). As a double the int64 blanks are one number.
pub fn dcgm(value: f64) -> Option<GapReason> {
    const INT64: f64 = 9_223_372_036_854_775_792.0;
    let int32 = (2_147_483_632.0..=2_147_483_635.0).contains(&value) && value.fract() == 0.0;
    let double = (140_737_488_355_328.0..=140_737_488_355_331.0).contains(&value) && value.fract() == 0.0;
    let order = match () {
        _ if int32 => value - 2_147_483_632.0,
        _ if double => value - 140_737_488_355_328.0,
        _ if value >= INT64 => return Some(GapReason::Unsupported),
        _ if value == f64::from(u32::MAX) => return Some(GapReason::Error),
        _ => return None,
    };
    // Blank, not found, not supported, not permitted, in this order.
    Some(match order as u8 {
        0 | 1 => GapReason::Absent,
        2 => GapReason::Unsupported,
        _ => GapReason::Denied,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_told_from_readings() {
        let cases = [
            (2_147_483_632.0, Some(GapReason::Absent)),
            (2_147_483_634.0, Some(GapReason::Unsupported)),
            (2_147_483_635.0, Some(GapReason::Denied)),
            (9_223_372_036_854_775_794.0, Some(GapReason::Unsupported)),
            (140_737_488_355_330.0, Some(GapReason::Unsupported)),
            (4_294_967_295.0, Some(GapReason::Error)),
            (0.0, None),
            (300.5, None),
            (2_147_483_631.0, None),
        ];
        for (value, expected) in cases {
            assert_eq!(dcgm(value), expected, "{value}");
        }
    }
}
