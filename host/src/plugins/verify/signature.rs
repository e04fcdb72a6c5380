//! Detached minisign signatures: four lines of text beside a component, `NAME.wasm.minisig`.

use std::fmt;
use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use minisign::{PublicKey, SignatureBox};

use super::Candidate;

/// Most bytes of a signature's file; a real one has about 300.
pub const MAX_SIGNATURE: u64 = 8 << 10;

/// A key's number, as minisign prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// A public key that the operator trusts.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    id: KeyId,
    public: PublicKey,
}

impl Key {
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Of the text that begins with `RW`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = BASE64.decode(text).map_err(|e| format!("not a minisign public key: {e}"))?;
        let wrong = match (bytes.len(), bytes.get(..2)) {
            (42, Some(b"Ed")) => None,
            // Algorithm, key derivation, checksum, salt, limits, and the encrypted rest.
            (158, _) => Some("a secret key; the public one is meant, and this one must not lie about"),
            _ => Some("not a minisign public key: 56 characters that begin with RW are expected"),
        };
        if let Some(wrong) = wrong {
            return Err(wrong.to_owned());
        }
        let public = PublicKey::from_bytes(&bytes).map_err(|e| format!("not a minisign public key: {e}"))?;
        let id = KeyId(public.keynum().try_into().map_err(|_| "not a minisign public key: it has no number")?);
        Ok(Self { id, public })
    }

    /// Of a public key's file: a comment, then the key. An error names the line.
    pub fn parse_file(text: &str) -> Result<Self, (usize, String)> {
        let mut lines = text.lines().enumerate().skip_while(|(i, line)| *i == 0 && line.starts_with("untrusted comment:"));
        let (i, line) = lines.next().ok_or((1, "no minisign public key in it".to_owned()))?;
        Self::parse(line.trim()).map_err(|e| (i + 1, e))
    }
}

/// What a component's signature says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Signed {
    Missing,
    /// Of a key that is not trusted; it was not checked.
    Foreign(KeyId),
    By(Key),
    Bad(String),
}

impl Signed {
    pub(super) fn examine(candidate: &Candidate, keys: &[Key]) -> Self {
        match &candidate.signature {
            None => Self::Missing,
            Some(Err(reason)) => Self::Bad(reason.clone()),
            Some(Ok(file)) => check(file, candidate, keys).unwrap_or_else(Self::Bad),
        }
    }
}

fn check(file: &[u8], candidate: &Candidate, keys: &[Key]) -> Result<Signed, String> {
    let text = std::str::from_utf8(file).map_err(|_| "its file is not text")?;
    let lines: Vec<&str> = text.lines().collect();
    // `minisign` reads what is there and panics on a short second signature: whole lines only.
    let is_whole = |i: usize, bytes: usize| lines.get(i).and_then(|l| BASE64.decode(l).ok()).is_some_and(|b| b.len() == bytes);
    if lines.len() != 4 || !is_whole(1, 2 + 8 + 64) || !is_whole(3, 64) {
        return Err("its file is not whole: four lines of a minisign signature are expected".into());
    }
    let signature = SignatureBox::from_string(text).map_err(|e| e.to_string())?;
    let id = KeyId(signature.keynum().try_into().map_err(|_| "it has no key number")?);
    let mut outcome = Ok(Signed::Foreign(id));
    for key in keys.iter().filter(|k| k.id == id) {
        // Signatures of minisign before 0.8 are over the bytes, not over their hash: both are good.
        outcome = minisign::verify(&key.public, &signature, Cursor::new(&candidate.bytes), true, false, true)
            .map(|()| Signed::By(key.clone()))
            .map_err(|e| format!("key {id}: {e}"));
        if outcome.is_ok() {
            break;
        }
    }
    let comment = signature.trusted_comment().map_err(|e| e.to_string())?;
    let of = comment.split('\t').find_map(|field| field.strip_prefix("component:"));
    match of.filter(|of| *of != candidate.name) {
        Some(of) if matches!(outcome, Ok(Signed::By(_))) => Err(format!("it was made for component {of:?}, not {:?}", candidate.name)),
        _ => outcome,
    }
}
