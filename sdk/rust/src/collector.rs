//! The trait that a plugin implements, and what joins it to the contract.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::bindings::exports::kcloud::collector::{collector as export, history};
use crate::bindings::kcloud::collector::types as wire;
use crate::{Batch, CollectError, MetricDef, Page, Target};

pub use export::Affinity;

/// What a collector says of itself; the same every time.
pub struct Info {
    /// `[a-z][a-z0-9-]*`
    pub name: &'static str,
    /// Usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    pub vendor: &'static str,
    pub description: &'static str,
    pub metrics: Vec<MetricDef>,
    /// JSON Schema of [`Collector::Config`].
    pub config_schema: &'static str,
    pub affinity: Affinity,
}

/// A source of readings. One instance lives in one sandbox and is called by one caller at a time.
pub trait Collector: Sized + 'static {
    /// The operator's `[config]` table.
    type Config: DeserializeOwned;

    fn describe() -> Info;

    /// Takes the configuration, which the host has checked against the schema.
    fn new(config: Self::Config) -> Result<Self, CollectError>;

    /// Targets that the collector finds itself.
    fn discover(&mut self) -> Result<Vec<Target>, CollectError> {
        Ok(Vec::new())
    }

    /// Reads one target once. What could be read is in the batch even where something else failed. Where the host goes on
    /// with a page or a cursor, the batch holds it.
    fn collect(&mut self, target: &Target, deadline_ms: u32, batch: &mut Batch) -> Result<(), CollectError>;
}

/// A source that also answers for the time before the host ran.
pub trait History: Collector {
    /// One page: series of one catalogue metric, with the last observation of each step.
    fn range(&mut self, target: &Target, query: &history::RangeQuery, deadline_ms: u32, page: Option<&[u8]>) -> Result<Page, CollectError>;
}

/// A label of a target.
pub fn target_label<'a>(target: &'a Target, key: &str) -> Option<&'a str> {
    target.labels.iter().find(|l| l.key == key).map(|l| l.value.as_str())
}

#[doc(hidden)]
pub struct Registered<C>(PhantomData<C>);

impl<C: Collector> export::Guest for Registered<C> {
    fn describe() -> export::Info {
        let i = C::describe();
        export::Info {
            name: i.name.to_owned(),
            version: i.version.to_owned(),
            vendor: i.vendor.to_owned(),
            description: i.description.to_owned(),
            metrics: i.metrics,
            config_schema: i.config_schema.to_owned(),
            affinity: i.affinity,
        }
    }

    fn configure(config: String) -> Result<(), wire::CollectError> {
        // A trap shows only where in the code it was: say why before it.
        std::panic::set_hook(Box::new(|panic| crate::log::line(crate::log::Level::Error, &format!("panicked: {panic}"))));
        let config = serde_json::from_str(&config).map_err(|e| wire::CollectError::Config(e.to_string()))?;
        let collector = C::new(config)?;
        SLOT.with(|slot| *slot.borrow_mut() = Some(Box::new(collector)));
        Ok(())
    }

    fn discover() -> Result<Vec<Target>, wire::CollectError> {
        with(C::discover)
    }

    fn collect(
        target: Target,
        deadline_ms: u32,
        page: Option<Vec<u8>>,
        cursor: Option<Vec<u8>>,
    ) -> Result<wire::Batch, wire::CollectError> {
        with(|c: &mut C| {
            let mut batch = Batch::new(C::describe().metrics);
            (batch.page, batch.cursor) = (page, cursor);
            c.collect(&target, deadline_ms, &mut batch)?;
            Ok(batch.finish())
        })
    }
}

impl<C: History> history::Guest for Registered<C> {
    fn range(
        target: Target,
        query: history::RangeQuery,
        deadline_ms: u32,
        page: Option<Vec<u8>>,
    ) -> Result<history::Page, wire::CollectError> {
        with(|c: &mut C| c.range(&target, &query, deadline_ms, page.as_deref()).map(Page::finish))
    }
}

thread_local! {
    /// The one collector of this component; a component registers one.
    static SLOT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

fn with<C: Collector, T>(call: impl FnOnce(&mut C) -> Result<T, CollectError>) -> Result<T, wire::CollectError> {
    SLOT.with(|slot| match slot.borrow_mut().as_mut().and_then(|c| c.downcast_mut()) {
        Some(collector) => call(collector).map_err(Into::into),
        None => Err(wire::CollectError::Internal("called before configure".to_owned())),
    })
}
