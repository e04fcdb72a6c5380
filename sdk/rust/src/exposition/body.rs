//! From an answer's bytes to text.

use std::borrow::Cow;
use std::io::Read;

/// Why a body holds no exposition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// Larger than this many bytes once decompressed.
    TooLarge(usize),
    /// Says that it is gzip and is not.
    Gzip,
    /// A web page with status 200: a proxy, a login page, the wrong port.
    Html,
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "larger than {limit} bytes"),
            Self::Gzip => f.write_str("the body is not the gzip that it says it is"),
            Self::Html => f.write_str("the answer is a web page, not metrics: a proxy, a login page or the wrong port"),
        }
    }
}

/// The body as text; decompressed when it is gzip, with what is not UTF-8 replaced so that only its line is lost.
pub fn decode(body: &[u8], max: usize) -> Result<Cow<'_, str>, BodyError> {
    let text = match body.starts_with(&[0x1f, 0x8b]) {
        true => {
            let mut out = Vec::new();
            let gunzip = flate2::read::MultiGzDecoder::new(body);
            gunzip.take(max as u64 + 1).read_to_end(&mut out).map_err(|_| BodyError::Gzip)?;
            match String::from_utf8(out) {
                Ok(text) => Cow::Owned(text),
                Err(e) => Cow::Owned(String::from_utf8_lossy(e.as_bytes()).into_owned()),
            }
        }
        false => String::from_utf8_lossy(body),
    };
    if text.len() > max {
        return Err(BodyError::TooLarge(max));
    }
    let start = text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']);
    let head = start.get(..15).unwrap_or(start).to_ascii_lowercase();
    match head.starts_with("<!doctype") || head.starts_with("<html") || head.starts_with("<?xml") {
        true => Err(BodyError::Html),
        false => Ok(text),
    }
}
