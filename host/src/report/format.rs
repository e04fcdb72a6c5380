//! Numbers as people read them.

/// With so many decimals and a comma every three digits.
pub fn number(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), ""), |(w, f)| (w, f));
    let mut out = String::with_capacity(text.len() * 2);
    if value < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        out.push('-');
    }
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// Decimals that show a value of this size well.
pub fn decimals(largest: f64) -> usize {
    match largest.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_and_zero_has_no_sign() {
        let all: Vec<String> = [0.0, -0.0001, 999.0, 1000.0, -1234567.891].into_iter().map(|v| number(v, 2)).collect();
        assert_eq!(all, ["0.00", "0.00", "999.00", "1,000.00", "-1,234,567.89"]);
        assert_eq!(number(1_000_000.0, 0), "1,000,000");
    }
}
