//! Whether a component may load at all, before anything of it is compiled or runs.
//!
//! In: a component's bytes with the file of its signature and the place where it lies, the operator's keys, pins and demand.
//! Out: [`Verified`] bytes, which alone are compiled, with the rule that admitted them; or a sentence that says which rule
//! refused. It reads no file, and what cannot be checked never counts as checked.

mod policy;
mod signature;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::capabilities::state::hex;
pub use policy::{Bundled, Demand, Policy};
use signature::Signed;
pub use signature::{Key, KeyId, MAX_SIGNATURE};

/// SHA-256 of a component's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for ContentDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut out = [0; 32];
        let digits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        for (i, byte) in out.iter_mut().enumerate() {
            let pair = text.get(2 * i..2 * i + 2).filter(|_| digits).and_then(|p| u8::from_str_radix(p, 16).ok());
            *byte = pair.ok_or_else(|| format!("{text:?} is no SHA-256: 64 hexadecimal digits are expected"))?;
        }
        Ok(Self(out))
    }
}

/// How a component came to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Its digest is one that the build made.
    Bundled,
    /// A configured key signed it.
    Signed(KeyId),
    /// The operator wrote its digest down.
    Pinned,
    /// It lies in the operator's own directory for components under development.
    Dev,
    /// Nobody vouches for it.
    Any,
}

impl Trust {
    /// The word for it in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bundled => "bundled",
            Self::Signed(_) => "signed",
            Self::Pinned => "pinned",
            Self::Dev => "dev",
            Self::Any => "any",
        }
    }

    /// The key that signed it.
    pub fn key(self) -> Option<KeyId> {
        match self {
            Self::Signed(key) => Some(key),
            _ => None,
        }
    }

    /// Whether neither the build, nor a key, nor a pin stands for its bytes.
    pub fn is_unsigned(self) -> bool {
        matches!(self, Self::Dev | Self::Any)
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(key) => write!(f, "signed by {key}"),
            other => f.write_str(other.name()),
        }
    }
}

/// Where a component lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Plugins,
    /// There, and another of its name in `dev_dir` that is not used.
    PluginsBeforeDev,
    Dev,
}

/// A component as it was read, not trusted yet.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// File stem.
    pub name: String,
    pub place: Place,
    pub bytes: Bytes,
    /// The file beside it, or why that could not be read.
    pub signature: Option<Result<Bytes, String>>,
}

/// What was found out about a component; it can be judged again when the policy changes.
#[derive(Debug, Clone, PartialEq)]
struct Evidence {
    name: String,
    digest: ContentDigest,
    place: Place,
    signed: Signed,
}

/// By which rule a component is trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    evidence: Evidence,
    pub trust: Trust,
    /// In words.
    pub rule: String,
}

impl Admission {
    pub fn digest(&self) -> ContentDigest {
        self.evidence.digest
    }

    pub fn place(&self) -> Place {
        self.evidence.place
    }
}

/// Which rule keeps a component out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

/// Bytes that were admitted: nothing else is compiled.
#[derive(Debug, Clone)]
pub struct Verified {
    bytes: Bytes,
    admission: Admission,
}

impl Verified {
    /// Of a component that the caller vouches for: a test's, or one that is looked at and serves nobody.
    pub fn vouched(name: &str, bytes: impl Into<Bytes>) -> Result<Self, Refusal> {
        let candidate = Candidate { name: name.to_owned(), place: Place::Plugins, bytes: bytes.into(), signature: None };
        Policy { demand: Some(Demand::Any), ..Policy::default() }.judge(&candidate, &[])
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn admission(&self) -> &Admission {
        &self.admission
    }
}

/// Only a binary component is a plugin. Machine code above all is none, whoever signed it.
pub fn form(bytes: &[u8]) -> Result<(), Refusal> {
    let wrong = match (bytes.get(..4), bytes.get(4..8)) {
        (Some(b"\0asm"), Some([0x0d, 0, 1, 0])) => return Ok(()),
        (Some(b"\x7fELF"), _) => {
            "it is machine code (ELF, as a precompiled component is): only WebAssembly components are loaded, and the host compiles them itself"
        }
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => "it is a core module; `cargo xtask build` makes a component of it",
        (Some(b"\0asm"), _) => "it is WebAssembly of a form that this host does not know; a component begins with \\0asm 0d 00 01 00",
        // Text (WAT) would be accepted by `Component::new`; a plugin is a binary component.
        _ => "it is not WebAssembly: the first bytes are not \\0asm",
    };
    Err(Refusal(wrong.to_owned()))
}
