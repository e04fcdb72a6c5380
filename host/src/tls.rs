//! The HTTPS listener's certificate: read at the start, read again when the files change and when told to. One that cannot
//! be used leaves the last good one in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum_server::tls_rustls::RustlsConfig;
use tokio::sync::Notify;

use crate::config::Certificate;

/// Files are looked at this often; what renews certificates writes them seldom and tells nobody.
const LOOK: Duration = Duration::from_secs(2);

/// A certificate with its key.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    pub(crate) config: RustlsConfig,
}

impl Tls {
    /// Reads both files.
    pub async fn load(files: &Certificate) -> anyhow::Result<Self> {
        let (certificate, key) = (files.certificate.clone(), files.key.clone());
        let config = RustlsConfig::from_pem_file(&certificate, &key)
            .await
            .with_context(|| format!("[server.tls] certificate {} with key {}", certificate.display(), key.display()))?;
        Ok(Self { certificate, key, config })
    }

    fn written(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|p| std::fs::metadata(p).and_then(|m| m.modified()).ok())
    }

    /// Keeps the certificate in line with its files for ever.
    pub(crate) async fn follow(self, told: Arc<Notify>) {
        let mut seen = self.written();
        loop {
            let is_told = tokio::time::timeout(LOOK, told.notified()).await.is_ok();
            let now = self.written();
            if now == seen && !is_told {
                continue;
            }
            seen = now;
            match self.config.reload_from_pem_file(&self.certificate, &self.key).await {
                Ok(()) => tracing::info!(certificate = %self.certificate.display(), "certificate read again"),
                Err(error) => {
                    tracing::error!(%error, certificate = %self.certificate.display(), "certificate not taken; the last good one stays");
                }
            }
        }
    }
}
