//! An inert WASI 0.2 for components of ordinary toolchains: what their runtimes import is there, and nothing stands behind it.
//!
//! In: the imports of an interpreter or a standard library. Out: no argument, no variable, no file, no socket, no name; standard
//! input is at its end, standard output and error are lines of the plugin's log, within its limits. Clocks and random numbers
//! work, and a wait obeys the call's wall time. It must never give a guest anything that the contract's `log` and `clock` do
//! not: so importing it is no right, and is shown apart.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{self, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView, async_trait};

use crate::plugins::capabilities::Guest;
use crate::plugins::capabilities::log::{Level, Voice};

/// Packages of WASI that are linked; each of them empty.
const PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];
/// Random bytes of one call, at most: what the host makes is memory of the host until it is copied.
const MAX_RANDOM: u64 = 1 << 20;
/// A guest that never ends its line has it ended here, in bytes.
const MAX_LINE: usize = 2_048;
/// What the clocks show: fine enough for dates and time-outs, too coarse to time another's memory.
const GRAIN: Duration = Duration::from_millis(1);

/// Whether an imported interface is of the WASI that is linked; `Err` is a sentence about one that is not.
pub(super) fn admits(name: &str) -> Option<Result<(), String>> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let package = path.strip_prefix("wasi:")?.split('/').next().unwrap_or_default();
    Some(match (PACKAGES.contains(&package), version.starts_with("0.2.")) {
        (true, true) => Ok(()),
        (true, false) => Err(format!("it imports {name}; this host offers WASI 0.2")),
        (false, _) => Err(format!(
            "it imports {name}, which this host does not have: of WASI it offers {}, with nothing behind them; leave {package} out when the component is built",
            PACKAGES.join(", ")
        )),
    })
}

/// Whether a component imports anything of WASI.
pub fn is_used(engine: &Engine, component: &Component) -> bool {
    component.component_type().imports(engine).any(|(name, _)| name.starts_with("wasi:"))
}

/// Links all of it, whoever asks: it gives nothing.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p2::add_to_linker_async(linker)
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Made at the first use: a plugin that needs no WASI does not pay for it.
        WasiCtxView { ctx: self.wasi.get_or_insert_with(|| inert(&self.voice)), table: &mut self.table }
    }
}

/// Arguments, variables, directories, addresses: there are none unless they are given, and none is.
fn inert(voice: &Arc<Voice>) -> Box<WasiCtx> {
    let clock = Coarse(Instant::now());
    let printed = |level| Printed(Arc::new(Mutex::new(Line { level, voice: voice.clone(), begun: Vec::new() })));
    let mut wasi = WasiCtx::builder();
    wasi.stdout(printed(Level::Info)).stderr(printed(Level::Warn)).wall_clock(clock).monotonic_clock(clock).max_random_size(MAX_RANDOM);
    // As by default, said once more: no socket is ever made.
    wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    Box::new(wasi.build())
}

#[derive(Clone, Copy)]
struct Coarse(Instant);

impl Coarse {
    fn grains(time: Duration) -> Duration {
        Duration::from_millis(time.as_millis() as u64)
    }
}

impl HostWallClock for Coarse {
    fn resolution(&self) -> Duration {
        GRAIN
    }

    fn now(&self) -> Duration {
        Self::grains(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl HostMonotonicClock for Coarse {
    fn resolution(&self) -> u64 {
        GRAIN.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        Self::grains(self.0.elapsed()).as_nanos() as u64
    }
}

/// Standard output or error; all handles of it write the same line.
#[derive(Clone)]
struct Printed(Arc<Mutex<Line>>);

struct Line {
    level: Level,
    voice: Arc<Voice>,
    begun: Vec<u8>,
}

impl Line {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.begun.extend(piece);
            if self.begun.ends_with(b"\n") || self.begun.len() >= MAX_LINE {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        let text = std::mem::take(&mut self.begun);
        let text = String::from_utf8_lossy(text.trim_ascii_end());
        if !text.is_empty() {
            self.voice.say(self.level, &text, &[]);
        }
    }
}

impl Drop for Line {
    /// The last words of a guest that trapped.
    fn drop(&mut self) {
        self.end();
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    /// Only WASI 0.3 asks for it, which is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

#[async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::capabilities::log::Tail;

    fn admitted(name: &str) -> Option<bool> {
        admits(name).map(|a| a.is_ok())
    }

    #[test]
    fn wasi_that_can_do_nothing_is_admitted_and_the_rest_is_named() {
        assert_eq!(admitted("wasi:cli/environment@0.2.12"), Some(true));
        assert_eq!(admitted("wasi:sockets/tcp@0.2.0"), Some(true));
        assert_eq!(admitted("kcloud:collector/http@0.1.0"), None);
        assert_eq!(admitted("wasiX:cli/environment@0.2.0"), None);
        let refused = |name| admits(name).and_then(Result::err).unwrap_or_default();
        assert!(refused("wasi:http/outgoing-handler@0.2.0").contains("leave http out"));
        assert!(refused("wasi:cli/stdout@0.3.0").contains("offers WASI 0.2"));
        assert!(refused("wasi:cli/stdout").contains("offers WASI 0.2"));
    }

    #[test]
    fn what_is_printed_becomes_lines_of_the_log_within_its_limits() {
        let tail = Arc::new(Tail::default());
        let voice = Arc::new(Voice::new("p".into(), tail.clone(), 4, 1 << 20));
        let line = Printed(Arc::new(Mutex::new(Line { level: Level::Warn, voice, begun: Vec::new() })));
        let (mut one, mut two) = (line.clone(), line);
        one.write("a\r\nb".into()).unwrap();
        two.write("c\n\ndÿ".into()).unwrap();
        assert_eq!(tail.lines(), ["Warn a", "Warn bc"]);
        two.write(vec![b'x'; MAX_LINE].into()).unwrap();
        drop((one, two));
        let lines = tail.lines();
        assert!(lines.len() == 3 && lines[2].starts_with("Warn dÿx"), "{lines:?}");
    }
}
