//! The process that opens the driver's library: `kcloud-monitor nvml`. It answers lines of JSON with lines of JSON until its input ends.
//!
//! Before each question to the driver it says which one comes, so that whoever waits knows over what it hung or crashed. It never
//! answers more than fits: counts of the driver are believed up to a bound, text is cut and cleaned.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError as Nv;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

use super::cgroup::Places;
use super::fields::{CARD, DRIVER, Got, LINK, MIG, PROCESS};
use super::{Answer, Ask, NvmlError, Part, Said, Spot, Value, Xid};

/// Bytes that the driver and its answers may take here.
const MEMORY: u64 = 1 << 30;
const MAX_CARDS: u32 = 256;
const MAX_MIG: u32 = 64;
const MAX_LINKS: u32 = 18;
const MAX_PROCESSES: u32 = 4_096;
const MAX_XIDS: usize = 64;
const MAX_TEXT: usize = 256;

/// Serves one host on standard input and output.
pub fn serve(library: &Path) -> anyhow::Result<ExitCode> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Data, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) })?;
    // What a driver that crashes leaves behind is for nobody.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let (send, asked) = std::sync::mpsc::channel();
    // On a thread of its own, so that a helper whose host is gone ends even while the driver holds the other.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
        // Without the driver's own clean-up, which may hang too.
        let ended = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::exit(i32::from(ended.is_err()));
    });
    let say = |said: Said| -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(&said)?;
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        Ok(out.flush()?)
    };
    let Ok(mut line) = asked.recv() else { return Ok(ExitCode::SUCCESS) };
    say(Said::At(Spot { card: None, field: "init".into() }))?;
    let nvml = match Nvml::builder().lib_path(library.as_os_str()).init() {
        Ok(nvml) => nvml,
        Err(error) => {
            say(Said::Error(refused(&error, library)))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut listening = HashMap::new();
    loop {
        let ask: Ask = serde_json::from_str(&line)?;
        let mut read = Read { say: &say, skip: ask.skip.into_iter().collect(), fields: &ask.fields, parts: Vec::new(), broken: None };
        let answer = read.all(&nvml, &mut listening);
        if let Some(error) = read.broken {
            return Err(error);
        }
        say(match answer {
            Ok(xids) => Said::Answer(Answer { parts: read.parts, xids }),
            Err(error) => Said::Error(error),
        })?;
        match asked.recv() {
            Ok(next) => line = next,
            Err(_) => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn refused(error: &Nv, library: &Path) -> NvmlError {
    match error {
        Nv::NoPermission => NvmlError::Denied("the driver answers only to users with access to /dev/nvidia*".to_owned()),
        Nv::LibloadingError(e) => NvmlError::Unavailable(format!("{} cannot be opened: {e}", library.display())),
        other => NvmlError::Unavailable(format!("the driver cannot be asked: {other}")),
    }
}

/// XIDs of a card are heard through this; `None` where it has none to say.
type Listening<'n> = HashMap<u32, Option<EventSet<'n>>>;

/// One read.
struct Read<'r, S> {
    say: &'r S,
    skip: HashMap<Spot, String>,
    fields: &'r [String],
    parts: Vec<Part>,
    /// The host does not listen any more.
    broken: Option<anyhow::Error>,
}

impl<S: Fn(Said) -> anyhow::Result<()>> Read<'_, S> {
    /// Asks the driver one thing, unless it is to be left alone.
    fn ask<T>(&mut self, card: Option<u32>, field: &str, get: impl FnOnce() -> Result<T, Nv>) -> Result<T, Value> {
        let spot = Spot { card, field: field.to_owned() };
        if let Some(why) = self.skip.get(&spot) {
            return Err(Value::Failed(why.clone()));
        }
        if self.broken.is_some() {
            return Err(Value::Unsupported);
        }
        if let Err(error) = (self.say)(Said::At(spot)) {
            self.broken = Some(error);
            return Err(Value::Unsupported);
        }
        get().map_err(|error| said(&error))
    }

    fn is_asked(&self, kind: &str, field: &str) -> bool {
        self.fields.iter().any(|f| f.strip_prefix(kind).and_then(|f| f.strip_prefix('.')) == Some(field))
    }

    fn is_kind_asked(&self, kind: &str) -> bool {
        self.fields.iter().any(|f| f.strip_prefix(kind).is_some_and(|f| f.starts_with('.')))
    }

    /// A part with what of a table was asked for and what makes it this one; gives its index.
    fn part<G: FnOnce() -> Got>(
        &mut self,
        kind: &str,
        card: Option<u32>,
        parent: Option<u32>,
        table: impl Iterator<Item = (&'static [&'static str], G)>,
        identity: &[&str],
    ) -> u32 {
        let mut readings = Vec::new();
        for (names, get) in table {
            let wanted: Vec<bool> = names.iter().map(|n| identity.contains(n) || self.is_asked(kind, n)).collect();
            if !wanted.contains(&true) {
                continue;
            }
            let values = match self.ask(card, &format!("{kind}.{}", names[0]), get) {
                Ok(values) => values.into_iter().map(tidy).collect(),
                Err(value) => vec![value; names.len()],
            };
            readings.extend(names.iter().zip(values).zip(wanted).filter(|(_, w)| *w).map(|((n, v), _)| ((*n).to_owned(), v)));
        }
        self.parts.push(Part { kind: kind.to_owned(), parent, readings });
        self.parts.len() as u32 - 1
    }

    fn put(&mut self, part: u32, field: &str, value: Value) {
        self.parts[part as usize].readings.push((field.to_owned(), value));
    }

    /// Everything that was asked for; gives the XIDs that came.
    fn all<'n>(&mut self, nvml: &'n Nvml, listening: &mut Listening<'n>) -> Result<Vec<Xid>, NvmlError> {
        let driver = self.part("driver", None, None, DRIVER.iter().map(|(names, get)| (*names, || get(nvml))), &[]);
        let count = self.ask(None, "driver.cards", || nvml.device_count());
        let count =
            count.map_err(|value| NvmlError::Unavailable(format!("the driver does not say how many cards there are: {}", word(&value))))?;
        if count > MAX_CARDS {
            self.put(driver, "cards", Value::Failed(format!("the driver says {count}; the first {MAX_CARDS} are read")));
        } else {
            self.put(driver, "cards", Value::Number(count.into()));
        }
        let places = Places::look(Path::new("/proc"), Path::new("/var/log/containers"));
        let mut xids = Vec::new();
        for index in 0..count.min(MAX_CARDS) {
            match self.ask(Some(index), "card.handle", || nvml.device_by_index(index)) {
                Ok(device) => {
                    let card = self.card(index, &device, &places);
                    self.listen(index, nvml, &device, listening, &mut xids, card);
                }
                Err(value) => {
                    let readings = vec![("index".to_owned(), Value::Number(index.into())), ("uuid".to_owned(), value)];
                    self.parts.push(Part { kind: "card".to_owned(), parent: None, readings });
                }
            }
        }
        Ok(xids)
    }

    fn card(&mut self, index: u32, device: &Device<'_>, places: &Places) -> u32 {
        let card = self.part("card", Some(index), None, CARD.iter().map(|(names, get)| (*names, || get(device))), &["uuid", "pci_address"]);
        self.put(card, "index", Value::Number(index.into()));
        let has_mig = self.is_kind_asked("mig") || self.is_kind_asked("process");
        let mut is_divided = false;
        if has_mig && let Ok(1) = self.ask(Some(index), "mig.mode", || device.mig_mode().map(|m| m.current)) {
            is_divided = true;
            let most = self.ask(Some(index), "mig.count", || device.mig_device_count()).unwrap_or(0);
            for at in 0..most.min(MAX_MIG) {
                // Places without an instance answer that there is none.
                let Ok(instance) = self.ask(Some(index), "mig.handle", || device.mig_device_by_index(at)) else { continue };
                let part = self.part(
                    "mig",
                    Some(index),
                    Some(card),
                    MIG.iter().map(|(names, get)| (*names, || get(&instance))),
                    &["uuid", "gpu_instance", "compute_instance"],
                );
                self.processes(index, &instance, part, places);
            }
        }
        if self.is_kind_asked("link") {
            for at in 0..MAX_LINKS {
                let link = device.link_wrapper_for(at);
                // A card without this link says so, and has none after it.
                if self.ask(Some(index), "link.active", || link.is_active()).is_err() {
                    break;
                }
                let part = self.part("link", Some(index), Some(card), LINK.iter().map(|(names, get)| (*names, || get(&link))), &[]);
                self.put(part, "index", Value::Number(at.into()));
            }
        }
        if !is_divided {
            self.processes(index, device, card, places);
        }
        card
    }

    fn processes(&mut self, index: u32, device: &Device<'_>, parent: u32, places: &Places) {
        if !self.is_kind_asked("process") {
            return;
        }
        let mut all: BTreeMap<u32, (ProcessInfo, &'static str)> = BTreeMap::new();
        type Count = fn(&Device<'_>) -> Result<u32, Nv>;
        type List = fn(&Device<'_>) -> Result<Vec<ProcessInfo>, Nv>;
        let kinds: [(&str, &'static str, Count, List); 2] = [
            ("process.compute", "compute", |d| d.running_compute_processes_count(), |d| d.running_compute_processes()),
            ("process.graphics", "graphics", |d| d.running_graphics_processes_count(), |d| d.running_graphics_processes()),
        ];
        for (field, kind, count, list) in kinds {
            let listed = self.ask(Some(index), field, || match count(device)? {
                0 => Ok(Ok(Vec::new())),
                many if many > MAX_PROCESSES => Ok(Err(many)),
                _ => list(device).map(Ok),
            });
            let listed =
                listed.and_then(|l| l.map_err(|many| Value::Failed(format!("the driver says {many}; at most {MAX_PROCESSES} are read"))));
            match listed {
                Ok(list) => {
                    for process in list.into_iter().take(MAX_PROCESSES as usize) {
                        let both = all.get(&process.pid).is_some_and(|(_, other)| *other != kind);
                        all.insert(process.pid, (process, if both { "compute,graphics" } else { kind }));
                    }
                }
                Err(value) => self.put(parent, field, value),
            }
        }
        for (pid, (process, kind)) in all {
            let place = places.of(pid);
            let text = |value: Option<String>| value.map(|v| tidy(Value::Text(v)));
            let memory = match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Value::Number(bytes as f64),
                UsedGpuMemory::Unavailable => Value::Unsupported,
            };
            let values = [
                Some(Value::Number(pid.into())),
                Some(Value::Text(kind.to_owned())),
                Some(memory),
                text(place.name),
                text(place.container_id),
                text(place.pod_uid),
                text(place.namespace),
                text(place.pod),
                text(place.container),
            ];
            let readings = PROCESS.iter().zip(values).filter(|(name, _)| **name == "pid" || self.is_asked("process", name));
            let readings = readings.filter_map(|(name, value)| Some(((*name).to_owned(), value?))).collect();
            self.parts.push(Part { kind: "process".to_owned(), parent: Some(parent), readings });
        }
    }

    /// Takes what came of XIDs since the last read.
    fn listen<'n>(
        &mut self,
        index: u32,
        nvml: &'n Nvml,
        device: &Device<'n>,
        listening: &mut Listening<'n>,
        xids: &mut Vec<Xid>,
        card: u32,
    ) {
        let uuid = self.parts[card as usize].readings.iter().find_map(|(name, value)| match value {
            Value::Text(uuid) if name == "uuid" => Some(uuid.clone()),
            _ => None,
        });
        let Some(uuid) = uuid else { return };
        let set = match listening.entry(index) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let set = self.ask(Some(index), "card.listen", || {
                    if !device.supported_event_types()?.contains(EventTypes::CRITICAL_XID_ERROR) {
                        return Ok(None);
                    }
                    device.register_events(EventTypes::CRITICAL_XID_ERROR, nvml.create_event_set()?).map(Some).map_err(|e| e.error)
                });
                new.insert(set.ok().flatten())
            }
        };
        let Some(set) = set else { return };
        for _ in 0..MAX_XIDS {
            let Ok(event) = self.ask(Some(index), "card.xid", || set.wait(0)) else { return };
            if let Some(XidError::Value(code)) = event.event_data {
                let heard_at_ns = u64::try_from(crate::now_ms()).unwrap_or(0) * 1_000_000;
                xids.push(Xid { uuid: uuid.clone(), code, heard_at_ns });
            }
        }
    }
}

/// What an error means for a field.
fn said(error: &Nv) -> Value {
    match error {
        Nv::NotSupported | Nv::FailedToLoadSymbol(_) | Nv::FunctionNotFound => Value::Unsupported,
        Nv::NoPermission => Value::Denied,
        Nv::Utf8Error(_) => Value::Failed("the driver's text is not UTF-8".to_owned()),
        other => tidy_failure(other.to_string()),
    }
}

fn tidy_failure(text: String) -> Value {
    match tidy(Value::Text(text)) {
        Value::Text(text) => Value::Failed(text),
        other => other,
    }
}

fn word(value: &Value) -> &str {
    match value {
        Value::Failed(why) => why,
        Value::Denied => "no permission",
        _ => "it has no such function",
    }
}

/// Text of bounded length without control characters; numbers as they are.
fn tidy(value: Value) -> Value {
    match value {
        Value::Text(text) => {
            let mut kept = String::new();
            for c in text.chars().filter(|c| !c.is_control()) {
                if kept.len() + c.len_utf8() > MAX_TEXT {
                    break;
                }
                kept.push(c);
            }
            Value::Text(kept)
        }
        other => other,
    }
}
