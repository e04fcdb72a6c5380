//! One engine for the process, its clock, and the threads on which guests run.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::component::Component;
use wasmtime::{Cache, CacheConfig, Config, Engine};

use super::capabilities::log::clean;
use super::limits::TICK;
use super::verify::ContentDigest;

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
    compiler: Option<Compiler>,
    guests: Option<tokio::runtime::Runtime>,
    stop: Arc<AtomicBool>,
}

/// Another process of this binary that compiles into the code cache: what a compilation takes in memory goes with it, and one
/// that runs away can be killed.
pub struct Compiler {
    pub program: PathBuf,
    pub cache_dir: PathBuf,
    /// In bytes; one that wants more ends.
    pub memory: u64,
    /// A compilation that takes longer is killed.
    pub timeout: Duration,
}

impl Runtime {
    /// The same, but components are compiled by `program compile --cache-dir DIR` (see [`Runtime::compile`]).
    pub fn with_compiler(compiler: Compiler) -> anyhow::Result<Self> {
        let mut runtime = Self::new(Some(&compiler.cache_dir))?;
        runtime.compiler = Some(compiler);
        Ok(runtime)
    }

    /// Compiled code of a component; blocking. `Err` says why it does not compile.
    pub fn compile(&self, digest: ContentDigest, bytes: &[u8]) -> Result<Component, String> {
        if let Some(compiler) = &self.compiler {
            // What compiled once lies in the cache, and where it was cleaned out it is known to end.
            let mark = compiler.mark(&self.engine, digest);
            if !mark.is_file() {
                compiler.run(bytes)?;
                let made = mark.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&mark, ""));
                made.unwrap_or_else(|error| tracing::warn!(%error, "a compilation is not remembered"));
            }
        }
        Component::from_binary(&self.engine, bytes).map_err(|e| clean(format!("{e:#}").lines().next().unwrap_or_default()))
    }

    /// `cache_dir` keeps compiled code between starts; `None` or an unusable one means that each start compiles anew.
    pub fn new(cache_dir: Option<&Path>) -> anyhow::Result<Self> {
        Self::build(cache_dir, true)
    }

    /// What budgets cost is measured against this: nothing stops a guest in it. Never for a host.
    #[doc(hidden)]
    pub fn without_budgets() -> anyhow::Result<Self> {
        Self::build(None, false)
    }

    fn build(cache_dir: Option<&Path>, has_budgets: bool) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config
            .epoch_interruption(has_budgets)
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
        let guests = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(GUEST_THREADS)
            .thread_keep_alive(crate::KEEP_ALIVE)
            .thread_name("plugin-guest")
            .enable_all()
            .build()?;
        Ok(Self { engine, compiler: None, guests: Some(guests), stop })
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

impl Compiler {
    /// The file that says that this engine compiled this component.
    fn mark(&self, engine: &Engine, digest: ContentDigest) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.cache_dir.join(format!("compiled/{:016x}-{digest}", hasher.finish()))
    }

    fn run(&self, bytes: &[u8]) -> Result<(), String> {
        let mut child = Command::new(&self.program)
            .arg("compile")
            .arg("--cache-dir")
            .arg(&self.cache_dir)
            .arg("--memory")
            .arg(self.memory.to_string())
            .arg("--seconds")
            .arg(self.timeout.as_secs().max(1).to_string())
            // What an allocator sets aside at once would count as taken. In KiB.
            .env("MIMALLOC_ARENA_RESERVE", "16384")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("the compiler did not start: {e}"))?;
        let (input, errors) = (child.stdin.take(), child.stderr.take());
        // Its own thread each: neither side may wait for a full pipe.
        thread::scope(|scope| {
            scope.spawn(move || input.map(|mut i| i.write_all(bytes)));
            let said = scope.spawn(move || {
                let mut text = String::new();
                errors.map(|e| e.take(4_096).read_to_string(&mut text));
                text
            });
            let began = Instant::now();
            let status = loop {
                match child.try_wait().map_err(|e| e.to_string())? {
                    Some(status) => break status,
                    None if began.elapsed() > self.timeout => {
                        child.kill().and_then(|()| child.wait().map(drop)).map_err(|e| e.to_string())?;
                        return Err(format!("compiling took longer than {:?} ([plugins] compile_timeout)", self.timeout));
                    }
                    None => thread::sleep(TICK),
                }
            };
            let said = said.join().unwrap_or_default();
            match status.success() {
                true => Ok(()),
                false if status.code().is_none() => Err(format!("the compiler ended ({status}); it may take {} MiB", self.memory >> 20)),
                false if said.trim().is_empty() => Err(format!("the compiler ended: {status}")),
                false => Err(said.trim().lines().last().unwrap_or_default().to_owned()),
            }
        })
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
