//! From a sensor's raw byte to its value and unit (IPMI v2.0, 36.3 and 43.1). Pure.

/// M, B and their exponents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Factors {
    pub m: i16,
    pub b: i16,
    pub r_exp: i8,
    pub b_exp: i8,
}

impl Factors {
    /// From the six bytes that begin with M, as in a record and in an answer to Get Sensor Reading Factors.
    pub(crate) fn read(bytes: [u8; 6]) -> Self {
        let ten = |low: u8, high: u8| i16::from_ne_bytes((u16::from(high & 0xc0) << 8 | u16::from(low) << 6).to_ne_bytes()) >> 6;
        let four = |nibble: u8| (nibble as i8) << 4 >> 4;
        Self { m: ten(bytes[0], bytes[1]), b: ten(bytes[2], bytes[3]), r_exp: four(bytes[5] >> 4), b_exp: four(bytes[5] & 0xf) }
    }
}

/// How a raw byte is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Unsigned,
    OnesComplement,
    TwosComplement,
}

impl Format {
    /// From units 1; none says that the sensor has no number.
    pub(crate) fn of(units1: u8) -> Option<Self> {
        [Some(Self::Unsigned), Some(Self::OnesComplement), Some(Self::TwosComplement), None][usize::from(units1 >> 6)]
    }

    fn number(self, raw: u8) -> f64 {
        let signed = raw as i8;
        f64::from(match self {
            Self::Unsigned => return f64::from(raw),
            Self::TwosComplement => signed,
            Self::OnesComplement if signed < 0 => signed + 1,
            Self::OnesComplement => signed,
        })
    }
}

/// The value of a raw byte. `linearization` of 0x70 and above is linear with factors of this very reading.
pub(crate) fn value(format: Format, factors: Factors, linearization: u8, raw: u8) -> f64 {
    let Factors { m, b, r_exp, b_exp } = factors;
    let x = (f64::from(m) * format.number(raw) + f64::from(b) * 10_f64.powi(b_exp.into())) * 10_f64.powi(r_exp.into());
    match linearization & 0x7f {
        1 => x.ln(),
        2 => x.log10(),
        3 => x.log2(),
        4 => x.exp(),
        5 => 10_f64.powf(x),
        6 => x.exp2(),
        7 => x.recip(),
        8 => x * x,
        9 => x * x * x,
        10 => x.sqrt(),
        11 => x.cbrt(),
        _ => x,
    }
}

/// Whether the factors depend on the reading.
pub(crate) fn is_non_linear(linearization: u8) -> bool {
    linearization & 0x7f >= 0x70
}

/// The three bytes of a record that say its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Units {
    pub flags: u8,
    pub base: u8,
    pub modifier: u8,
}

/// What the catalogue calls a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    Temperature,
    Power,
    Voltage,
    Current,
    FanSpeed,
    Ratio,
    Other,
}

/// A second's share of each rate; none is 0.
const RATES: [(&str, f64); 7] =
    [("", 0.0), ("/us", 1e6), ("/ms", 1e3), ("/s", 1.0), ("/min", 1.0 / 60.0), ("/h", 1.0 / 3_600.0), ("/d", 1.0 / 86_400.0)];

const JOULES: u8 = 7;

impl Units {
    fn rate(self) -> (&'static str, f64) {
        RATES.get(usize::from(self.flags >> 3 & 7)).copied().unwrap_or(RATES[0])
    }

    fn has_modifier(self) -> bool {
        self.flags >> 1 & 3 != 0
    }

    pub(crate) fn is_percentage(self) -> bool {
        self.flags & 1 != 0
    }

    /// What is measured, and from the sensor's unit to the catalogue's: factor and offset.
    pub(crate) fn quantity(self) -> (Quantity, f64, f64) {
        let (_, per_second) = self.rate();
        match self.base {
            _ if self.is_percentage() => (Quantity::Ratio, 0.01, 0.0),
            _ if self.has_modifier() => (Quantity::Other, 1.0, 0.0),
            JOULES if per_second != 0.0 => (Quantity::Power, per_second, 0.0),
            _ if per_second != 0.0 => (Quantity::Other, 1.0, 0.0),
            1 => (Quantity::Temperature, 1.0, 0.0),
            2 => (Quantity::Temperature, 5.0 / 9.0, -32.0 * 5.0 / 9.0),
            3 => (Quantity::Temperature, 1.0, -273.15),
            4 => (Quantity::Voltage, 1.0, 0.0),
            5 => (Quantity::Current, 1.0, 0.0),
            6 => (Quantity::Power, 1.0, 0.0),
            18 => (Quantity::FanSpeed, 1.0, 0.0),
            _ => (Quantity::Other, 1.0, 0.0),
        }
    }

    /// As the source shows it.
    pub(crate) fn text(self) -> String {
        let name = |code: u8| NAMES.get(usize::from(code)).copied().unwrap_or("");
        let base = if self.is_percentage() && self.base == 0 { "" } else { name(self.base) };
        let percent = if self.is_percentage() { "%" } else { "" };
        let modifier = match self.flags >> 1 & 3 {
            1 => format!("/{}", name(self.modifier)),
            2 => format!("*{}", name(self.modifier)),
            _ => String::new(),
        };
        format!("{percent}{base}{modifier}{}", self.rate().0)
    }
}

/// Table 43-15.
const NAMES: [&str; 93] = [
    "",
    "°C",
    "°F",
    "K",
    "V",
    "A",
    "W",
    "J",
    "C",
    "VA",
    "nt",
    "lm",
    "lx",
    "cd",
    "kPa",
    "psi",
    "N",
    "CFM",
    "RPM",
    "Hz",
    "us",
    "ms",
    "s",
    "min",
    "h",
    "d",
    "weeks",
    "mil",
    "in",
    "ft",
    "cu in",
    "cu ft",
    "mm",
    "cm",
    "m",
    "cu cm",
    "cu m",
    "l",
    "fl oz",
    "rad",
    "sr",
    "rev",
    "cycles",
    "g",
    "oz",
    "lb",
    "ft-lb",
    "oz-in",
    "G",
    "Gb",
    "H",
    "mH",
    "F",
    "uF",
    "ohms",
    "S",
    "mol",
    "Bq",
    "ppm",
    "",
    "dB",
    "dBA",
    "dBC",
    "Gy",
    "Sv",
    "K (colour)",
    "bit",
    "kbit",
    "Mbit",
    "Gbit",
    "B",
    "kB",
    "MB",
    "GB",
    "words",
    "dwords",
    "qwords",
    "lines",
    "hits",
    "misses",
    "retries",
    "resets",
    "overflows",
    "underruns",
    "collisions",
    "packets",
    "messages",
    "characters",
    "errors",
    "correctable errors",
    "uncorrectable errors",
    "fatal errors",
    "grams",
];

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Factors = Factors { m: 1, b: 0, r_exp: 0, b_exp: 0 };

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs().max(1.0)
    }

    #[test]
    fn factors_are_ten_and_four_bits_with_a_sign() {
        let read = |bytes| Factors::read(bytes);
        assert_eq!(read([6, 0, 0, 0, 0, 0xe0]), Factors { m: 6, b: 0, r_exp: -2, b_exp: 0 });
        assert_eq!(read([0xff, 0xc0, 0x00, 0x80, 0, 0x78]), Factors { m: -1, b: -512, r_exp: 7, b_exp: -8 });
        assert_eq!(read([0xff, 0x7f, 0xff, 0x40, 0, 0x0f]), Factors { m: 511, b: 511, r_exp: 0, b_exp: -1 });
    }

    #[test]
    fn a_raw_byte_is_a_number_in_three_formats() {
        let cases = [
            (0x00, [0.0, 0.0, 0.0]),
            (0x7f, [127.0, 127.0, 127.0]),
            (0x80, [128.0, -127.0, -128.0]),
            (0xff, [255.0, 0.0, -1.0]),
            (0xfe, [254.0, -1.0, -2.0]),
        ];
        for (raw, expected) in cases {
            let formats = [Format::Unsigned, Format::OnesComplement, Format::TwosComplement];
            assert_eq!(formats.map(|f| value(f, PLAIN, 0, raw)), expected, "{raw:#x}");
        }
        assert_eq!(
            (Format::of(0x00), Format::of(0x40), Format::of(0x80)),
            (Some(Format::Unsigned), Some(Format::OnesComplement), Some(Format::TwosComplement))
        );
        assert_eq!(Format::of(0xc0), None);
    }

    #[test]
    fn every_linearisation_is_its_formula() {
        let factors = Factors { m: 2, b: 5, r_exp: -1, b_exp: 1 };
        // (2 * 25 + 5 * 10) / 10
        let x: f64 = 10.0;
        let expected = [x, x.ln(), 1.0, x.log2(), x.exp(), 1e10, 1_024.0, 0.1, 100.0, 1_000.0, x.sqrt(), x.cbrt()];
        for (kind, expected) in expected.into_iter().enumerate() {
            assert!(near(value(Format::Unsigned, factors, kind as u8, 25), expected), "{kind}");
        }
        assert!(is_non_linear(0x70) && is_non_linear(0x7f) && !is_non_linear(0x0b));
        assert!(!value(Format::Unsigned, PLAIN, 7, 0).is_finite(), "what is no number becomes a gap");
    }

    #[test]
    fn units_become_the_catalogues() {
        let of = |flags, base| {
            let (quantity, factor, offset) = Units { flags, base, modifier: 0 }.quantity();
            (quantity, 100.0 * factor + offset)
        };
        let cases = [
            (0, 1, Quantity::Temperature, 100.0),
            (0, 2, Quantity::Temperature, 37.777_777_777_777_78),
            (0, 3, Quantity::Temperature, -173.15),
            (0, 6, Quantity::Power, 100.0),
            (0b01_1000, 7, Quantity::Power, 100.0),
            (0b10_1000, 7, Quantity::Power, 100.0 / 3_600.0),
            (0b01_0000, 7, Quantity::Power, 100_000.0),
            (0, 7, Quantity::Other, 100.0),
            (0b01_1000, 6, Quantity::Other, 100.0),
            (0b010, 6, Quantity::Other, 100.0),
            (1, 0, Quantity::Ratio, 1.0),
            (0, 18, Quantity::FanSpeed, 100.0),
            (0, 9, Quantity::Other, 100.0),
        ];
        for (flags, base, quantity, hundred) in cases {
            let (got, value) = of(flags, base);
            assert!(got == quantity && near(value, hundred), "{flags} {base}: {got:?} {value}");
        }
    }

    #[test]
    fn a_unit_is_shown_with_rate_and_modifier() {
        let text = |flags, base, modifier| Units { flags, base, modifier }.text();
        assert_eq!(text(0, 1, 0), "°C");
        assert_eq!(text(1, 0, 0), "%");
        assert_eq!(text(0b01_1010, 6, 36), "W/cu m/s");
        assert_eq!(text(0b100, 16, 34), "N*m");
        assert_eq!((text(0, 92, 0), text(0, 93, 0)), ("grams".to_owned(), String::new()));
    }
}
