//! Budgets of one store and of all stores: what a plugin may use, enforced and said by name when exceeded.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;

/// One tick of the engine's epoch, and so the grain of the CPU budget.
pub const TICK: Duration = Duration::from_millis(10);

/// Streams, timers and other handles that one instance may have open: each is memory of the host.
pub const HANDLES: usize = 1_000;

/// What one plugin may use. Defaults and meaning: spec/PLUGIN_CONTRACT.md.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// CPU of one call.
    pub cpu: Duration,
    /// CPU of `describe`.
    pub describe_cpu: Duration,
    /// Sum over an instance's linear memories, in bytes.
    pub memory: usize,
    /// Sum over an instance's tables, in elements.
    pub table_elements: usize,
    /// What one call may copy out, in bytes.
    pub output_bytes: usize,
    pub points: usize,
    pub subjects: usize,
    pub labels_per_subject: usize,
    pub label_value_bytes: usize,
    /// Lines and bytes of one call.
    pub log_lines: u32,
    pub log_bytes: usize,
    pub log_lines_per_minute: u32,
    /// One response, or one stream over its life.
    pub http_body_bytes: usize,
    /// What all responses and streams bring in one call.
    pub http_call_bytes: usize,
    /// Requests of one `send-all` at once.
    pub http_parallel: usize,
    /// Requests and open streams at once, over all instances.
    pub http_outstanding: usize,
    /// What all reads of files bring in one call.
    pub files_call_bytes: usize,
    pub state_bytes: usize,
    /// Instances at once.
    pub instances: usize,
    /// An instance retires after this many calls.
    pub max_calls: u32,
    /// Or after this long without one.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(250),
            describe_cpu: Duration::from_millis(100),
            memory: 64 << 20,
            table_elements: 10_000,
            output_bytes: 8 << 20,
            points: 50_000,
            subjects: 20_000,
            labels_per_subject: 64,
            label_value_bytes: 1_024,
            log_lines: 64,
            log_bytes: 16 << 10,
            log_lines_per_minute: 1_000,
            http_body_bytes: 32 << 20,
            http_call_bytes: 64 << 20,
            http_parallel: 16,
            http_outstanding: 64,
            files_call_bytes: 16 << 20,
            state_bytes: 1 << 20,
            instances: 4,
            max_calls: 10_000,
            idle: Duration::from_secs(600),
        }
    }
}

/// A budget that was exceeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exceeded {
    Cpu(Duration),
    /// Most of it was waiting for the network.
    Wall(Duration),
    /// Much of it was the guest's own work: the time, and how long it worked.
    Busy(Duration, Duration),
    /// Neither: the host, or its disk, was too slow.
    Late(Duration),
    Memory(usize),
    /// What all plugins together may use; no fault of the one that met it.
    HostMemory(usize),
    /// What the instances of one plugin may use together.
    Share(usize),
    Tables(usize),
    Output(usize),
    Handles(usize),
}

impl std::error::Error for Exceeded {}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(limit) => write!(f, "used more than its CPU budget of {limit:?}"),
            Self::Wall(limit) => write!(f, "took longer than its time-out of {limit:?}"),
            Self::Busy(limit, cpu) => write!(f, "worked for {cpu:?} without coming to an end within its time-out of {limit:?}"),
            Self::Late(limit) => write!(f, "did not end within its time-out of {limit:?}, though it waited for no target"),
            Self::Memory(limit) => write!(f, "wanted more memory than its limit of {limit} bytes"),
            Self::HostMemory(limit) => write!(f, "all plugins together use the {limit} bytes that [plugins] memory allows"),
            Self::Share(limit) => {
                write!(f, "its instances together use the {limit} bytes that one plugin may have, half of [plugins] memory")
            }
            Self::Tables(limit) => write!(f, "wanted more table elements than its limit of {limit}"),
            Self::Output(limit) => write!(f, "gave out more than its limit of {limit} bytes in one call"),
            Self::Handles(limit) => write!(f, "kept more than its limit of {limit} handles open"),
        }
    }
}

/// Core instances, memories and tables that one store may hold; components of interpreters need a few dozen.
const MAX_PARTS: usize = 256;

/// Memory of all plugins together, or of one, which may take half of that.
#[derive(Debug)]
pub struct MemoryPool {
    limit: AtomicUsize,
    used: AtomicUsize,
    all: Option<Arc<MemoryPool>>,
}

impl Default for MemoryPool {
    fn default() -> Self {
        Self { limit: AtomicUsize::new(Self::DEFAULT), used: AtomicUsize::new(0), all: None }
    }
}

impl MemoryPool {
    /// 1 GiB.
    pub const DEFAULT: usize = 1 << 30;

    /// One plugin's part of what all may take.
    pub fn share(all: Arc<Self>) -> Self {
        Self { all: Some(all), ..Self::default() }
    }

    /// Counts from the next growth on; what is in use stays.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// What is in use, in bytes.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> Result<(), Exceeded> {
        let (limit, exceeded): (_, fn(usize) -> Exceeded) = match &self.all {
            Some(all) => (all.limit.load(Ordering::Relaxed) / 2, Exceeded::Share),
            None => (self.limit.load(Ordering::Relaxed), Exceeded::HostMemory),
        };
        let within = |used: usize| used.checked_add(bytes).filter(|total| *total <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|_| exceeded(limit))?;
        let taken = self.all.as_ref().map_or(Ok(()), |all| all.take(bytes));
        if taken.is_err() {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(all) = &self.all {
            all.give_back(bytes);
        }
    }
}

/// Sums memory and tables over a store; a refusal is a typed error that ends the call.
#[derive(Debug)]
pub struct Limiter {
    memory_limit: usize,
    memory: usize,
    table_limit: usize,
    tables: usize,
    /// The last growth that was allowed, in bytes and elements: it may still fail.
    last: (usize, usize),
    pool: Arc<MemoryPool>,
    /// The most memory that was in use.
    pub high_water: usize,
}

impl Limiter {
    pub fn new(limits: &Limits, pool: Arc<MemoryPool>) -> Self {
        let (memory_limit, table_limit) = (limits.memory, limits.table_elements);
        Self { memory_limit, memory: 0, table_limit, tables: 0, last: (0, 0), pool, high_water: 0 }
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.pool.give_back(self.memory);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self.memory.saturating_add(more);
        if total > self.memory_limit {
            return Err(Exceeded::Memory(self.memory_limit).into());
        }
        self.pool.take(more)?;
        (self.memory, self.last.0) = (total, more);
        self.high_water = self.high_water.max(total);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        let more = std::mem::take(&mut self.last.0);
        self.memory -= more;
        self.pool.give_back(more);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self.tables.saturating_add(more);
        if total > self.table_limit {
            return Err(Exceeded::Tables(self.table_limit).into());
        }
        (self.tables, self.last.1) = (total, more);
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.tables -= std::mem::take(&mut self.last.1);
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_PARTS
    }

    fn tables(&self) -> usize {
        MAX_PARTS
    }

    fn memories(&self) -> usize {
        MAX_PARTS
    }
}

/// So many at once, and as many again over a period.
#[derive(Debug)]
pub struct Bucket {
    most: f64,
    per: Duration,
    left: f64,
    at: Instant,
}

impl Bucket {
    pub fn new(most: u32, per: Duration) -> Self {
        Self { most: most.into(), per, left: most.into(), at: Instant::now() }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + self.most * since / self.per.as_secs_f64()).min(self.most);
        self.at = now;
        let is_left = self.left >= 1.0;
        self.left -= f64::from(u8::from(is_left));
        is_left
    }

    /// Another number; what is left is at most it.
    pub fn resize(&mut self, most: u32) {
        // A raised limit counts at once: a bucket that was full is full.
        let was_full = self.left >= self.most;
        self.most = most.into();
        self.left = if was_full { self.most } else { self.left.min(self.most) };
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
