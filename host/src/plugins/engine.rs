//! One engine for the process, its clock, and the threads on which guests run.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use wasmtime::{Cache, CacheConfig, Config, Engine};

use super::limits::TICK;

/// Largest component that is compiled, in bytes.
pub const MAX_COMPONENT: u64 = 32 << 20;
/// Guest stack. A deep recursion ends here, with a trap.
const GUEST_STACK: usize = 512 << 10;
/// The fibre's stack holds the guest's and what the host's shallow functions need.
const FIBRE_STACK: usize = 1 << 20;
const GUEST_THREADS: usize = 2;

/// The engine and the guests' own tokio runtime: a spinning guest never delays the API.
pub struct Runtime {
    engine: Engine,
    guests: Option<tokio::runtime::Runtime>,
    stop: Arc<AtomicBool>,
}

impl Runtime {
    /// `cache_dir` keeps compiled code between starts; `None` or an unusable one means that each start compiles anew.
    pub fn new(cache_dir: Option<&Path>) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .wasm_memory64(false)
            .max_wasm_stack(GUEST_STACK)
            .async_stack_size(FIBRE_STACK)
            .wasm_backtrace_max_frames(NonZeroUsize::new(32));
        if let Some(dir) = cache_dir {
            let mut cache = CacheConfig::new();
            cache.with_directory(dir);
            match Cache::new(cache) {
                Ok(cache) => {
                    config.cache(Some(cache));
                }
                Err(error) => tracing::warn!(%error, "the code cache cannot be used; every start compiles anew"),
            }
        }
        let engine = Engine::new(&config).map_err(|e| anyhow::anyhow!("wasmtime: {e:#}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (weak, stopped) = (engine.weak(), stop.clone());
        // A thread of its own, not a task: it must tick while every task is stuck in a guest.
        thread::Builder::new().name("plugin-epoch".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(TICK);
                match weak.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })?;
        let guests =
            tokio::runtime::Builder::new_multi_thread().worker_threads(GUEST_THREADS).thread_name("plugin-guest").enable_all().build()?;
        Ok(Self { engine, guests: Some(guests), stop })
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where guest calls run.
    pub fn handle(&self) -> tokio::runtime::Handle {
        match &self.guests {
            Some(guests) => guests.handle().clone(),
            None => unreachable!("taken only in drop"),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(guests) = self.guests.take() {
            // The owner may itself be a task: never block in it.
            guests.shutdown_background();
        }
    }
}
