//! One call into a guest: armed before it starts, ended by its budget, and blamed when it fails.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::ResourceTableError;
use wasmtime::{Engine, Store, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;

use super::capabilities::{Guest, Shared, Used, log};
use super::contract::CollectError;
use super::limits::{Exceeded, HANDLES, TICK};

/// Whose fault a failure is; only the plugin's own count against the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    Plugin,
    Target,
    Operator,
    Host,
}

/// Why a call gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Guest(CollectError),
    #[error("{0}")]
    Budget(Exceeded),
    #[error("trapped: {0}")]
    Trap(String),
    /// It answered what the contract does not allow.
    #[error("invalid answer: {0}")]
    Invalid(String),
    #[error("{0}")]
    Host(String),
}

impl Failure {
    pub fn blame(&self) -> Blame {
        match self {
            Self::Guest(CollectError::Config(_) | CollectError::Auth(_) | CollectError::Denied(_)) => Blame::Operator,
            Self::Guest(CollectError::Internal(_)) => Blame::Plugin,
            Self::Guest(_) => Blame::Target,
            // A plugin that waits for a slow target is not to blame for it.
            Self::Budget(Exceeded::Wall(_)) => Blame::Target,
            Self::Budget(Exceeded::HostMemory(_) | Exceeded::Late(_)) => Blame::Host,
            Self::Budget(_) | Self::Trap(_) | Self::Invalid(_) => Blame::Plugin,
            Self::Host(_) => Blame::Host,
        }
    }

    /// How long a target asked to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Guest(CollectError::Throttled(seconds)) => seconds.map(|s| Duration::from_secs(s.into())),
            _ => None,
        }
    }

    /// Whether the instance can be called again.
    pub fn instance_lives(&self) -> bool {
        matches!(self, Self::Guest(_) | Self::Invalid(_))
    }
}

/// What it says is shown to people and logged.
impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        let clean = |s: String| log::clean(&s);
        Self::Guest(match error {
            CollectError::Config(s) => CollectError::Config(clean(s)),
            CollectError::Auth(s) => CollectError::Auth(clean(s)),
            CollectError::Denied(s) => CollectError::Denied(clean(s)),
            CollectError::Unreachable(s) => CollectError::Unreachable(clean(s)),
            CollectError::Timeout(s) => CollectError::Timeout(clean(s)),
            CollectError::Throttled(ms) => CollectError::Throttled(ms),
            CollectError::Protocol(s) => CollectError::Protocol(clean(s)),
            CollectError::Unsupported(s) => CollectError::Unsupported(clean(s)),
            CollectError::Internal(s) => CollectError::Internal(clean(s)),
        })
    }
}

/// A store with its limits armed; start functions are guest code too.
pub fn store(engine: &Engine, shared: &Arc<Shared>) -> Store<Guest> {
    let mut store = Store::new(engine, Guest::new(shared.clone()));
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(shared.limits.output_bytes);
    store.epoch_deadline_callback(|mut context| {
        let guest = context.data_mut();
        guest.ticks += 1;
        match guest.ticks <= guest.tick_budget {
            true => Ok(UpdateDeadline::Yield(1)),
            false => Err(Exceeded::Cpu(TICK * guest.tick_budget).into()),
        }
    });
    store
}

/// Arms the budgets of the next call, all pages of it.
pub fn arm(store: &mut Store<Guest>, cpu: Duration, wall: Duration) {
    let guest = store.data_mut();
    guest.ticks = 0;
    guest.tick_budget = cpu.as_millis().div_ceil(TICK.as_millis()).max(1) as u32;
    guest.deadline = Instant::now() + wall;
    guest.used = Used::default();
    guest.voice.renew();
    store.set_epoch_deadline(1);
}

/// Goes on with the next page of the call that is armed.
pub fn go_on(store: &mut Store<Guest>) {
    store.set_epoch_deadline(1);
}

/// Waits for a call within its wall time and names what ended it.
pub async fn bounded<T>(wall: Duration, output: usize, call: impl Future<Output = wasmtime::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(wall, call).await {
        Err(_) => Err(Failure::Budget(Exceeded::Wall(wall))),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(explain(&error, output)),
    }
}

/// Says what the time of a call went into that did not come to its end: one that spins meets its CPU budget first, unless many
/// do at once.
pub fn judged(failure: Failure, guest: &Guest) -> Failure {
    let Failure::Budget(Exceeded::Wall(wall)) = failure else { return failure };
    Failure::Budget(match () {
        _ if guest.waited() >= wall / 2 => Exceeded::Wall(wall),
        _ if guest.ticks >= guest.tick_budget.div_ceil(2) => Exceeded::Busy(wall, TICK * guest.ticks),
        _ => Exceeded::Late(wall),
    })
}

fn explain(error: &wasmtime::Error, output: usize) -> Failure {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        return Failure::Budget(exceeded.clone());
    }
    if error.is::<I32Exit>() {
        return Failure::Trap("it called exit: a plugin answers its calls, it does not end itself".into());
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Failure::Budget(Exceeded::Handles(HANDLES));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => Failure::Trap("it panicked (its log says why)".into()),
        Some(Trap::StackOverflow) => Failure::Trap("its stack overflowed".into()),
        Some(trap) => Failure::Trap(trap.to_string()),
        None => {
            let text = format!("{error:#}");
            match text.contains("hostcall fuel") || text.contains("fuel allocated for hostcalls") {
                true => Failure::Budget(Exceeded::Output(output)),
                false => Failure::Trap(log::clean(&error.root_cause().to_string())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::plugins::capabilities::{Commons, Grants};
    use crate::plugins::limits::Limits;

    #[test]
    fn who_met_only_the_limit_of_all_is_not_to_blame() {
        assert_eq!(Failure::Budget(Exceeded::HostMemory(1)).blame(), Blame::Host);
        assert_eq!(Failure::Budget(Exceeded::Memory(1)).blame(), Blame::Plugin);
    }

    #[test]
    fn a_call_that_ran_out_of_time_is_blamed_on_what_took_it() {
        let wall = Duration::from_millis(40);
        let commons = Commons::new().unwrap();
        let shared = Shared::new("p", Limits::default(), Grants::default(), HashMap::new(), commons, None, Arc::default());
        let mut guest = Guest::new(Arc::new(shared));
        guest.tick_budget = 25;
        let judge = |guest: &Guest| judged(Failure::Budget(Exceeded::Wall(wall)), guest).blame();
        assert_eq!(judge(&guest), Blame::Host);
        guest.ticks = 13;
        assert_eq!(judge(&guest), Blame::Plugin);
        guest.waits(true);
        std::thread::park_timeout(wall);
        assert_eq!(judge(&guest), Blame::Target, "cut off while it waits");
        guest.waits(false);
        assert_eq!(judge(&guest), Blame::Target);
    }

    #[test]
    fn what_a_guest_says_of_its_failure_is_cleaned() {
        let failure = Failure::from(CollectError::Internal(format!("a\n\u{1b}[31m\u{202e}{}", "x".repeat(1 << 20))));
        let text = failure.to_string();
        assert!(text.starts_with("the plugin's own fault: a\\n\\u{1b}[31m\\u{202e}x") && text.len() < 2_200, "{}", text.len());
    }

    #[test]
    fn what_ends_a_call_inside_of_wasi_is_named() {
        let exit = explain(&I32Exit(0).into(), 0);
        assert!(exit.to_string().contains("exit") && exit.blame() == Blame::Plugin, "{exit}");
        let full = explain(&ResourceTableError::Full.into(), 0);
        assert!(full.to_string().contains("1000 handles") && full.blame() == Blame::Plugin, "{full}");
    }
}
