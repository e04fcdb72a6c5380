//! Which servers a target's TLS believes, and as whom the host calls: `[tls.NAME]`. The files are read again when they change;
//! what cannot be used leaves the last good one in force. A guest sees none of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::state::hex;

/// Files are looked at this often at most.
const LOOK: Duration = Duration::from_secs(2);

/// As it is written. Without `ca_file`, `pin_sha256` and `insecure` the system's authorities are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// PEM; these authorities and no others.
    pub ca_file: Option<PathBuf>,
    /// PEM, leaf first, and its key: shown to servers that ask for a client certificate.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate is for, where the address says another.
    pub server_name: Option<String>,
    /// SHA-256 of the server's own certificate, as `openssl x509 -fingerprint -sha256` says it: for self-signed ones.
    pub pin_sha256: Vec<String>,
    /// Believes anybody. Never with a credential.
    pub insecure: bool,
}

impl Spec {
    /// What is wrong with it, before any file is read.
    pub fn problem(&self) -> Option<String> {
        let ways = [self.ca_file.is_some(), !self.pin_sha256.is_empty(), self.insecure];
        if ways.into_iter().filter(|w| *w).count() > 1 {
            return Some("ca_file, pin_sha256 and insecure exclude each other".to_owned());
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            return Some("certificate_file and key_file go together".to_owned());
        }
        if let Some(bad) = self.pin_sha256.iter().find(|p| pin(p).is_none()) {
            return Some(format!("pin_sha256 = {bad:?}: 64 hexadecimal digits are expected, with or without colons"));
        }
        let bad = self.server_name.as_ref().filter(|n| ServerName::try_from(n.as_str()).is_err());
        bad.map(|n| format!("server_name = {n:?} is neither a name nor an address"))
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let by = match (&self.ca_file, self.insecure) {
            _ if !self.pin_sha256.is_empty() => By::Pins(self.pin_sha256.iter().filter_map(|p| pin(p)).collect()),
            (_, true) => By::Nothing,
            (Some(file), _) => {
                let wrong = |e: String| format!("ca_file {}: {e}", file.display());
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))? {
                    let added = certificate.map_err(|e| e.to_string()).and_then(|c| roots.add(c).map_err(|e| e.to_string()));
                    added.map_err(wrong)?;
                }
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
                By::Chain(verifier.map_err(|e| wrong(e.to_string()))?)
            }
            (None, _) => {
                let system = rustls_platform_verifier::Verifier::new(provider.clone());
                By::Chain(Arc::new(system.map_err(|e| format!("the system's authorities: {e}"))?))
            }
        };
        let name = self.server_name.clone().map(ServerName::try_from).transpose().map_err(|e| format!("server_name: {e}"))?;
        let verify = Verify { by, name, algorithms: provider.signature_verification_algorithms };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verify));
        let mut config = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                let chain = CertificateDer::pem_file_iter(certificate).and_then(|all| all.collect::<Result<Vec<_>, _>>());
                let chain = chain.map_err(|e| format!("certificate_file {}: {e}", certificate.display()))?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("key_file {}: {e}", key.display()))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| format!("certificate_file {}: {e}", certificate.display()))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn written(&self) -> [Option<SystemTime>; 3] {
        let at = |p: &Option<PathBuf>| std::fs::metadata(p.as_ref()?).and_then(|m| m.modified()).ok();
        [at(&self.ca_file), at(&self.certificate_file), at(&self.key_file)]
    }
}

/// A `[tls.NAME]` with the client that is made of it.
pub struct Trust {
    name: String,
    spec: Spec,
    built: Mutex<Option<Built>>,
}

struct Built {
    looked: Instant,
    written: [Option<SystemTime>; 3],
    client: reqwest::Client,
}

impl Trust {
    pub fn new(name: &str, spec: Spec) -> Self {
        Self { name: name.to_owned(), spec, built: Mutex::new(None) }
    }

    /// Whether whoever answers is known.
    pub fn is_verified(&self) -> bool {
        !self.spec.insecure
    }

    /// The client of today's files.
    pub fn client(&self) -> Result<reqwest::Client, String> {
        let mut built = self.built.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = built.as_ref().filter(|b| b.looked.elapsed() < LOOK) {
            return Ok(known.client.clone());
        }
        let (looked, written) = (Instant::now(), self.spec.written());
        if let Some(known) = built.as_mut().filter(|b| b.written == written) {
            known.looked = looked;
            return Ok(known.client.clone());
        }
        let made = self.spec.config().and_then(|c| super::http::builder().tls_backend_preconfigured(c).build().map_err(|e| e.to_string()));
        let wrong = |e: String| format!("[tls.{}] {e}", self.name);
        match (made, built.as_mut()) {
            (Ok(client), _) => {
                *built = Some(Built { looked, written, client: client.clone() });
                Ok(client)
            }
            (Err(error), Some(known)) => {
                tracing::error!(error = wrong(error), "not taken; the last good one stays");
                (known.looked, known.written) = (looked, written);
                Ok(known.client.clone())
            }
            (Err(error), None) => Err(wrong(error)),
        }
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.spec) == (&other.name, &other.spec)
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tls.{} {:?}", self.name, self.spec)
    }
}

fn pin(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').map(|b| (b as char).to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect();
    (digits.len() == 64).then_some(bytes)?.try_into().ok()
}

/// What a server's certificate is held against. Whatever it is, the server must prove that the certificate's key is its own.
#[derive(Debug)]
struct Verify {
    by: By,
    name: Option<ServerName<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum By {
    Chain(Arc<dyn ServerCertVerifier>),
    Pins(Vec<[u8; 32]>),
    Nothing,
}

impl ServerCertVerifier for Verify {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.by {
            By::Chain(verifier) => verifier.verify_server_cert(leaf, chain, self.name.as_ref().unwrap_or(name), ocsp, now),
            By::Pins(pins) => {
                let found: [u8; 32] = Sha256::digest(leaf).into();
                match pins.contains(&found) {
                    true => Ok(ServerCertVerified::assertion()),
                    false => Err(Error::General(format!("the server's certificate has SHA-256 {}, which is not pinned", hex(&found)))),
                }
            }
            By::Nothing => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_leave_the_last_good_ones_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(vec!["bmc1".to_owned()]).unwrap();
        let trust = Trust::new("bmc", Spec { ca_file: Some(file.clone()), ..Spec::default() });
        let look_again = || {
            let mut built = trust.built.lock().unwrap();
            built.as_mut().unwrap().looked -= LOOK;
            built.as_mut().unwrap().written = [None; 3];
        };
        assert!(trust.client().unwrap_err().contains("[tls.bmc] ca_file"));
        std::fs::write(&file, made.cert.pem()).unwrap();
        trust.client().unwrap();
        for bad in ["", "nonsense"] {
            std::fs::write(&file, bad).unwrap();
            look_again();
            trust.client().unwrap();
        }
        std::fs::remove_file(&file).unwrap();
        look_again();
        trust.client().unwrap();
        assert!(Trust::new("bmc", Spec { ca_file: Some(file), ..Spec::default() }).client().is_err());
    }
}
