//! Budgets of one store: what a plugin may use, enforced and said by name when exceeded.

use std::fmt;
use std::time::Duration;

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
    pub log_lines: u32,
    pub log_bytes: usize,
    pub http_body_bytes: usize,
    pub http_parallel: usize,
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
            http_body_bytes: 32 << 20,
            http_parallel: 16,
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
    Wall(Duration),
    Memory(usize),
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
            Self::Memory(limit) => write!(f, "wanted more memory than its limit of {limit} bytes"),
            Self::Tables(limit) => write!(f, "wanted more table elements than its limit of {limit}"),
            Self::Output(limit) => write!(f, "gave out more than its limit of {limit} bytes in one call"),
            Self::Handles(limit) => write!(f, "kept more than its limit of {limit} handles open"),
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
    /// The most memory that was in use.
    pub high_water: usize,
}

impl Limiter {
    pub fn new(limits: &Limits) -> Self {
        let (memory_limit, table_limit) = (limits.memory, limits.table_elements);
        Self { memory_limit, memory: 0, table_limit, tables: 0, high_water: 0 }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory_limit {
            return Err(Exceeded::Memory(self.memory_limit).into());
        }
        self.memory = total;
        self.high_water = self.high_water.max(total);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.tables.saturating_add(desired.saturating_sub(current));
        if total > self.table_limit {
            return Err(Exceeded::Tables(self.table_limit).into());
        }
        self.tables = total;
        Ok(true)
    }
}
