//! The helper as the host sees it: started when it is asked for, one question at a time, every wait bounded, ended when it hangs.
//!
//! What it hung or crashed over is not asked again for a while, so that one broken function of a driver costs one field of one card.
//! It is ended each hour between two reads, so that cards which came back are seen.

use std::collections::{HashMap, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use super::{Answer, Ask, Driver, NvmlError, Said, Spot, Xid};

/// Longest line of a helper.
const MAX_LINE: u64 = 16 << 20;
const MAX_XIDS: usize = 256;
const LIFE: Duration = Duration::from_secs(3_600);
/// A helper that ended is started again after this, doubled with each time in a row.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// What the driver hung or crashed over is left alone for this, doubled with each time.
const FIRST_REST: Duration = Duration::from_secs(60);
const LONGEST_REST: Duration = Duration::from_secs(3_600);

/// One helper a library; all plugins share it.
#[derive(Default)]
pub struct Drivers(std::sync::Mutex<HashMap<Driver, Arc<Mutex<Helper>>>>);

#[derive(Default)]
struct Helper {
    running: Option<Running>,
    /// In a row.
    failures: u32,
    /// Why it ended, and when it may be started again.
    rests: Option<(String, Instant)>,
    avoided: HashMap<Spot, Avoided>,
    xids: VecDeque<Xid>,
}

struct Avoided {
    times: u32,
    until: Instant,
    why: String,
}

struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    since: Instant,
}

/// How a question ended that was not answered.
enum Ended {
    /// No word in time.
    Hung,
    /// With this status.
    Gone(String),
}

fn doubled(first: Duration, longest: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

impl Drivers {
    /// Reads the driver, with all waits ending at `until`.
    pub(super) async fn read(&self, driver: &Driver, fields: Vec<String>, until: Instant) -> Result<Answer, NvmlError> {
        let helper = self.0.lock().unwrap_or_else(|e| e.into_inner()).entry(driver.clone()).or_default().clone();
        let Ok(mut helper) = timeout_at(until.into(), helper.lock()).await else {
            return Err(NvmlError::Timeout("another plugin's read of the driver did not end in time".to_owned()));
        };
        helper.read(driver, fields, until).await
    }
}

impl Helper {
    async fn read(&mut self, driver: &Driver, fields: Vec<String>, until: Instant) -> Result<Answer, NvmlError> {
        let now = Instant::now();
        // Taken out: a call that is cut off in between leaves no half-read answer behind, but a dead helper.
        let running = self.running.take().filter(|r| r.since.elapsed() < LIFE);
        let mut running = match (running, &self.rests) {
            (Some(running), _) => running,
            (None, Some((why, at))) if *at > now => {
                return Err(NvmlError::Unavailable(format!("{why}; it is started again in {} s", (*at - now).as_secs() + 1)));
            }
            (None, _) => Running::start(driver).map_err(NvmlError::Unavailable)?,
        };
        self.avoided.retain(|_, a| a.until + LONGEST_REST > now);
        let skip = self.avoided.iter().filter(|(_, a)| a.until > now).map(|(spot, a)| (spot.clone(), a.why.clone())).collect();
        let mut spot = None;
        match running.ask(&Ask { fields, skip }, until, &mut spot).await {
            Ok(Ok(mut answer)) => {
                (self.running, self.failures, self.rests) = (Some(running), 0, None);
                self.xids.extend(answer.xids);
                self.xids.drain(..self.xids.len().saturating_sub(MAX_XIDS));
                answer.xids = self.xids.iter().cloned().collect();
                Ok(answer)
            }
            // It has nothing to say: another one may find a driver that was loaded since.
            Ok(Err(error)) => Err(error),
            Err(ended) => Err(self.failed(ended, spot)),
        }
    }

    /// Notes that it hung or ended, and over what.
    fn failed(&mut self, ended: Ended, spot: Option<Spot>) -> NvmlError {
        let now = Instant::now();
        let over = spot.as_ref().map_or(String::new(), |s| format!(" over {s}"));
        let why = match &ended {
            Ended::Hung => format!("the driver did not answer in time{over}"),
            Ended::Gone(how) => format!("the driver ended its process ({how}){over}"),
        };
        if let Some(spot) = spot.filter(|s| s.field != "init" && s.field != "driver.cards") {
            let avoided = self.avoided.entry(spot).or_insert(Avoided { times: 0, until: now, why: String::new() });
            avoided.until = now + doubled(FIRST_REST, LONGEST_REST, avoided.times);
            avoided.times += 1;
            avoided.why = format!("not asked for now: {why}");
        }
        let wait = doubled(FIRST_WAIT, LONGEST_WAIT, self.failures);
        self.failures += 1;
        self.rests = Some((why.clone(), now + wait));
        tracing::warn!(wait = ?wait, "{why}");
        let text = format!("{why}; its process is started again in {} s", wait.as_secs());
        match ended {
            Ended::Hung => NvmlError::Timeout(text),
            Ended::Gone(_) => NvmlError::Unavailable(text),
        }
    }
}

impl Running {
    fn start(driver: &Driver) -> Result<Self, String> {
        let mut command = Command::new(&driver.program);
        // Nothing of the host's environment, where secrets may stand, but what the loader looks at.
        let kept = ["LD_LIBRARY_PATH", "PATH"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.arg("nvml").arg("--library").arg(&driver.library).env_clear().envs(kept);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| format!("the driver's process did not start: {e}"))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self { child, input, output: BufReader::new(output), since: Instant::now() }),
            _ => Err("the driver's process has no pipes".to_owned()),
        }
    }

    /// Asks and waits for the answer; `spot` is what the driver was asked last.
    async fn ask(&mut self, ask: &Ask, until: Instant, spot: &mut Option<Spot>) -> Result<Result<Answer, NvmlError>, Ended> {
        let mut line = serde_json::to_vec(ask).map_err(|e| Ended::Gone(e.to_string()))?;
        line.push(b'\n');
        match timeout_at(until.into(), self.input.write_all(&line)).await {
            Err(_) => return Err(Ended::Hung),
            Ok(Err(_)) => return Err(Ended::Gone(self.status().await)),
            Ok(Ok(())) => {}
        }
        loop {
            line.clear();
            let mut bounded = (&mut self.output).take(MAX_LINE);
            match timeout_at(until.into(), bounded.read_until(b'\n', &mut line)).await {
                Err(_) => return Err(Ended::Hung),
                Ok(Ok(_)) if line.last() == Some(&b'\n') => {}
                Ok(_) if line.len() as u64 >= MAX_LINE => return Err(Ended::Gone("its answer has no end".to_owned())),
                Ok(_) => return Err(Ended::Gone(self.status().await)),
            }
            match serde_json::from_slice(&line) {
                Ok(Said::At(at)) => *spot = Some(at),
                Ok(Said::Answer(answer)) => return Ok(Ok(answer)),
                Ok(Said::Error(error)) => return Ok(Err(error)),
                // What the library itself writes to standard output is none of ours.
                Err(_) => {}
            }
        }
    }

    /// How it ended, in words.
    async fn status(&mut self) -> String {
        match tokio::time::timeout(Duration::from_millis(200), self.child.wait()).await {
            Ok(Ok(status)) => match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => status.to_string(),
            },
            _ => "its pipe was closed".to_owned(),
        }
    }
}
