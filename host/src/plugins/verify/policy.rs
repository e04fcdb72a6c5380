//! What stands for a component: the operator's demand as a pure type.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::signature::Signed;
use super::{Admission, Candidate, ContentDigest, Evidence, Key, Place, Refusal, Trust, Verified, form};

/// Digests of the components that this binary was built with, `name=sha256,…`; set by `cargo xtask build`.
const BUNDLED: Option<&str> = option_env!("KCLOUD_BUNDLED_DIGESTS");

/// `[plugins] trust`: what must stand for a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// The build or a key.
    Signed,
    /// These, or a digest in its settings.
    Pinned,
    /// Nothing.
    Any,
}

/// What the operator demands and knows. The default admits what the build made and what is pinned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// Not given: as pinned; and on loopback also what nobody signed or pinned.
    pub demand: Option<Demand>,
    /// The server listens on loopback alone.
    pub is_loopback: bool,
    pub keys: Vec<Key>,
    /// Components there load whatever is demanded.
    pub dev_dir: Option<PathBuf>,
    pub bundled: Bundled,
}

/// What the build made: by default what it wrote into this binary.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundled(pub(super) Vec<(String, ContentDigest)>);

impl Bundled {
    /// As if the build had made nothing.
    pub fn nothing() -> Self {
        Self(Vec::new())
    }
}

impl Default for Bundled {
    fn default() -> Self {
        let listed = BUNDLED.unwrap_or("").split(',').filter_map(|e| e.split_once('='));
        Self(listed.filter_map(|(name, digest)| Some((name.to_owned(), digest.parse().ok()?))).collect())
    }
}

impl Policy {
    /// Admits a component or says why not. `pins` are the digests in its settings.
    pub fn judge(&self, candidate: &Candidate, pins: &[ContentDigest]) -> Result<Verified, Refusal> {
        form(&candidate.bytes)?;
        let (name, digest) = (candidate.name.clone(), ContentDigest::of(&candidate.bytes));
        let evidence = Evidence { name, digest, place: candidate.place, signed: Signed::examine(candidate, &self.keys) };
        Ok(Verified { bytes: candidate.bytes.clone(), admission: self.decide(evidence, pins)? })
    }

    /// Judges what was admitted before, by this policy.
    pub fn again(&self, admission: &Admission, pins: &[ContentDigest]) -> Result<Admission, Refusal> {
        let mut evidence = admission.evidence.clone();
        if let Signed::By(key) = &evidence.signed
            && !self.keys.contains(key)
        {
            evidence.signed = Signed::Foreign(key.id());
        }
        self.decide(evidence, pins)
    }

    fn decide(&self, evidence: Evidence, pins: &[ContentDigest]) -> Result<Admission, Refusal> {
        let note = match evidence.place {
            Place::PluginsBeforeDev => format!("; another {}.wasm in dev_dir is not used, since dir goes first", evidence.name),
            Place::Plugins | Place::Dev => String::new(),
        };
        match self.rule(&evidence, pins) {
            Ok((trust, rule)) => Ok(Admission { evidence, trust, rule: rule + &note }),
            Err(reason) => Err(Refusal(format!("not trusted: {reason}{note}"))),
        }
    }

    /// The rule that admits it, else why none does.
    fn rule(&self, evidence: &Evidence, pins: &[ContentDigest]) -> Result<(Trust, String), String> {
        let Evidence { name, digest, place, signed } = evidence;
        if *place == Place::Dev && self.dev_dir.is_some() {
            return Ok((Trust::Dev, "it lies in dev_dir".into()));
        }
        if self.bundled.0.iter().any(|(n, d)| n == name && d == digest) {
            return Ok((Trust::Bundled, "its digest is one that the build of this host made".into()));
        }
        let mut lacks = match signed {
            Signed::By(key) => return Ok((Trust::Signed(key.id()), format!("key {}, which [plugins] keys names, signed it", key.id()))),
            Signed::Missing => format!("it has no signature ({name}.wasm.minisig)"),
            Signed::Foreign(key) => format!("its signature is by key {key}, which is not among [plugins] keys"),
            Signed::Bad(reason) => format!("its signature is not valid: {reason}"),
        };
        let is_pinned = pins.contains(digest);
        if is_pinned && self.demand != Some(Demand::Signed) {
            return Ok((Trust::Pinned, "its digest is among sha256 of its settings".into()));
        }
        if !is_pinned && !pins.is_empty() {
            lacks += &format!("; its digest {digest} is not among sha256 of its settings");
        }
        // A broken signature and another digest than the pinned one are statements; leniency is for silence.
        let is_silent = pins.is_empty() && !matches!(signed, Signed::Bad(_));
        let takes = "takes only what the build of this host made, or a key of [plugins] keys signed";
        match self.demand {
            Some(Demand::Any) => Ok((Trust::Any, format!("trust = \"any\" takes everything; {lacks}"))),
            None if self.is_loopback && is_silent => {
                Ok((Trust::Any, format!("trust is not set and the server listens on loopback alone; {lacks}")))
            }
            Some(Demand::Signed) => Err(format!("trust = \"signed\" {takes}; {lacks}")),
            Some(Demand::Pinned) => Err(format!("trust = \"pinned\" {takes}, or its settings pin by sha256; {lacks}")),
            None if self.is_loopback => Err(lacks),
            None => Err(format!(
                "where the server listens beyond loopback, trust that is not set {takes}, or its settings pin by sha256; {lacks}"
            )),
        }
    }
}
