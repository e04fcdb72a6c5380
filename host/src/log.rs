//! Log lines through `tracing`: text or JSON on standard error, at a level that can change while the host runs.

use std::io::IsTerminal;
use std::sync::OnceLock;

use anyhow::Context;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

use crate::config::{Format, Log};

static LEVEL: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

/// What the command line says; it goes before the configuration.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub level: Option<String>,
    pub is_json: bool,
}

impl Given {
    fn filter(&self, log: &Log) -> anyhow::Result<EnvFilter> {
        let level = self.level.as_deref().unwrap_or(&log.level);
        EnvFilter::try_new(level).with_context(|| format!("log level {level:?}"))
    }

    /// Starts logging.
    pub fn start(&self, log: &Log) -> anyhow::Result<()> {
        let (filter, handle) = Layer::new(self.filter(log)?);
        let registry = tracing_subscriber::registry().with(filter);
        match self.is_json || log.format == Format::Json {
            true => registry.with(fmt::layer().json().with_writer(std::io::stderr)).init(),
            // No colours into a file.
            false => registry.with(fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr)).init(),
        }
        LEVEL.get_or_init(|| handle);
        Ok(())
    }

    /// Takes another level over.
    pub fn change(&self, log: &Log) -> anyhow::Result<()> {
        let filter = self.filter(log)?;
        LEVEL.get().map_or(Ok(()), |handle| handle.reload(filter)).context("log level")
    }
}
