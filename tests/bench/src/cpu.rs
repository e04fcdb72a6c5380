//! CPU time of a process, from the kernel. Wall time says nothing on a shared machine.

use std::fs;

use anyhow::{Context, Result};

/// Seconds of CPU that a process used so far: the sum over its threads, in nanoseconds where the kernel keeps them.
pub fn seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    // The name in parentheses may hold blanks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<f64>().ok()).sum();
    // USER_HZ is 100 on every Linux that Rust supports.
    Ok(ticks / 100.0)
}

/// Seconds of CPU of the calling thread.
pub fn this_thread() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns: f64 = text.split_whitespace().next().context("schedstat is empty")?.parse()?;
    Ok(ns / 1e9)
}

/// Resident memory in MiB: all of it, and the part that is the process's own (without mapped files).
pub fn resident_mib(pid: u32) -> Result<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let (all, own) = (field("VmRSS:").context("no VmRSS")?, field("RssAnon:").context("no RssAnon")?);
    Ok((all / 1024.0, own / 1024.0))
}
