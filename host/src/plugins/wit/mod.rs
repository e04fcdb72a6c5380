//! The contract's versions, and which of them a component is built against. Nothing outside this folder sees a generated
//! type. A version's module converts only; every check lies below it, once.

#[macro_use]
mod shape;
mod v0_1;
mod v0_2;
pub(super) mod wasi;

use semver::Version;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

use super::capabilities::{Grants, Guest};
use super::contract as c;

const PACKAGE: &str = "kcloud:collector";

/// What this host offers, oldest first. The first host that offers 0.N is 0.N.0.
pub const OFFERED: [&str; 2] = [v0_1::VERSION, v0_2::VERSION];

/// The same with the package's name, for people.
pub fn contracts() -> Vec<String> {
    OFFERED.iter().map(|version| format!("{PACKAGE}@{version}")).collect()
}

fn this_host() -> String {
    format!("this is {}, which offers {}", env!("CARGO_PKG_VERSION"), OFFERED.join(" and "))
}

/// Interface and version of a name of the contract; `None` for a name of something else.
fn part(name: &str) -> Option<Result<(&str, Version), String>> {
    let part = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    let versioned = part.split_once('@').and_then(|(interface, version)| Some((interface, Version::parse(version).ok()?)));
    Some(versioned.ok_or_else(|| format!("{name:?} has no version of the contract; {}", this_host())))
}

/// A version of the contract, as far as components can tell it from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contract {
    V0_1,
    V0_2,
}

impl Contract {
    /// What a component is built against: the names of its imports and exports say it.
    fn of(engine: &Engine, component: &Component) -> Result<Self, String> {
        let ty = component.component_type();
        let mut all = Vec::new();
        for name in ty.imports(engine).map(|(name, _)| name).chain(ty.exports(engine).map(|(name, _)| name)) {
            if let Some(part) = part(name) {
                all.push(part?.1);
            }
        }
        all.sort();
        let (Some(first), Some(last)) = (all.first(), all.last()) else {
            return Err(format!("it exports no {PACKAGE}/collector: it is no collector"));
        };
        let track = |v: &Version| (v.major, if v.major == 0 { v.minor } else { 0 }, v.pre.clone());
        if track(first) != track(last) {
            return Err(format!("it mixes {PACKAGE}@{first} and @{last}; a component is built against one version"));
        }
        match (last.major, last.minor) {
            _ if !last.pre.is_empty() => Err(format!("it is built against {PACKAGE}@{last}, which was never released; {}", this_host())),
            (0, 1) => Ok(Self::V0_1),
            (0, 2) => Ok(Self::V0_2),
            newer if newer > (0, 2) => {
                let host = format!("{}.{}", last.major, last.minor);
                Err(format!("it needs KCloud Monitor {host} or later (contract {PACKAGE}@{last}); {}", this_host()))
            }
            _ => Err(format!("it is built against {PACKAGE}@{last}, which no host offers; {}", this_host())),
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::V0_1 => v0_1::VERSION,
            Self::V0_2 => v0_2::VERSION,
        }
    }

    fn link(self, linker: &mut Linker<Guest>, holds: impl Fn(&str) -> bool) -> wasmtime::Result<()> {
        match self {
            Self::V0_1 => v0_1::link(linker, holds),
            Self::V0_2 => v0_2::link(linker, holds),
        }
    }
}

/// Interfaces with functions that a component imports from the contract: the rights that it asks for. `Err` says why this host
/// cannot run it.
pub fn asked(engine: &Engine, component: &Component) -> Result<Vec<String>, String> {
    let contract = Contract::of(engine, component)?;
    let mut all = Linker::new(engine);
    contract.link(&mut all, |_| true).map_err(|e| format!("{e:#}"))?;
    let mut rights = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        let Some(part) = part(name) else {
            match wasi::admits(name) {
                Some(admitted) => admitted?,
                None => return Err(format!("it imports {name:?}, which is not part of {PACKAGE}")),
            }
            continue;
        };
        let (interface, version) = part?;
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        let offered = format!("{PACKAGE}/{interface}@{}", contract.version());
        let functions = instance.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
        for (at, (function, _)) in functions.enumerate() {
            if !has(&mut all, &offered, function) {
                let called = format!("{interface}.{function} of {PACKAGE}@{version}");
                return Err(format!("it calls {called}, which needs a later KCloud Monitor; {}", this_host()));
            }
            if at == 0 {
                rights.push(interface.to_owned());
            }
        }
    }
    Ok(rights)
}

/// Whether an interface is linked with this function: no name can be defined twice, and nothing else tells.
fn has(linker: &mut Linker<Guest>, interface: &str, function: &str) -> bool {
    linker.instance(interface).and_then(|mut i| i.func_new(function, |_, _, _, _| Ok(()))).is_err()
}

macro_rules! each {
    ($version:expr, $it:ident => $call:expr) => {
        match $version {
            Self::V0_1($it) => $call,
            Self::V0_2($it) => $call,
        }
    };
}

/// A linked component, ready to be instantiated.
pub enum Ready {
    V0_1(v0_1::Ready),
    V0_2(v0_2::Ready),
}

impl Ready {
    /// Links exactly what is granted, of the version that the component is built against.
    pub fn new(engine: &Engine, component: &Component, grants: &Grants) -> wasmtime::Result<Self> {
        let contract = Contract::of(engine, component).map_err(wasmtime::Error::msg)?;
        let mut linker = Linker::new(engine);
        contract.link(&mut linker, |right| grants.holds(right))?;
        if wasi::is_used(engine, component) {
            wasi::link(&mut linker)?;
        }
        let pre = linker.instantiate_pre(component)?;
        Ok(match contract {
            Contract::V0_1 => Self::V0_1(v0_1::Ready::new(pre)?),
            Contract::V0_2 => Self::V0_2(v0_2::Ready::new(pre)?),
        })
    }

    /// Whether it answers for the past.
    pub fn has_history(&self) -> bool {
        each!(self, r => r.has_history())
    }

    pub async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Instance> {
        Ok(match self {
            Self::V0_1(ready) => Instance::V0_1(ready.instantiate(store).await?),
            Self::V0_2(ready) => Instance::V0_2(ready.instantiate(store).await?),
        })
    }
}

/// An instance of a component.
pub enum Instance {
    V0_1(v0_1::Instance),
    V0_2(v0_2::Instance),
}

type Answer<T> = wasmtime::Result<Result<T, c::CollectError>>;

impl Instance {
    pub async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<c::Info> {
        each!(self, i => i.describe(store).await)
    }

    pub async fn configure(&self, store: &mut Store<Guest>, config: &str) -> Answer<()> {
        each!(self, i => i.configure(store, config).await)
    }

    pub async fn discover(&self, store: &mut Store<Guest>) -> Answer<Vec<c::Target>> {
        each!(self, i => i.discover(store).await)
    }

    pub async fn collect(
        &self,
        store: &mut Store<Guest>,
        target: &c::Target,
        deadline_ms: u32,
        page: Option<&[u8]>,
        cursor: Option<&[u8]>,
    ) -> Answer<c::Batch> {
        each!(self, i => i.collect(store, target, deadline_ms, page, cursor).await)
    }

    /// One page of the past; `None` of a component that does not answer for it.
    pub async fn range(
        &self,
        store: &mut Store<Guest>,
        target: &c::Target,
        query: &c::RangeQuery,
        deadline_ms: u32,
        page: Option<&[u8]>,
    ) -> wasmtime::Result<Option<Result<c::HistoryPage, c::CollectError>>> {
        each!(self, i => i.range(store, target, query, deadline_ms, page).await)
    }
}
