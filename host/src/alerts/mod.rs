//! Rules over the model: what is beyond a limit for how long, who was told, who said that they know.
//!
//! In: each published snapshot, and the operator's rules (`[alerts]`, `alerts.d/*.toml`). Out: [`Transition`]s, for streams and
//! notifiers, and alerts for the API. Evaluation never waits for a server and never calls a plugin; a missing value neither fires nor
//! clears anything. What fires, what ended, who acknowledged and what is silenced is on disk before anybody hears of it.

mod alert;
mod book;
mod check;
mod engine;
mod file;
mod message;
pub mod notify;
mod rule;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod xid;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use crate::catalogue::Catalogue;
use crate::inventory::{Fault, Inventory, Severity, Snapshot};
use crate::telemetry::{Histogram, Page};

pub use alert::{Acknowledgement, Alert, End, Matcher, Silence, State, severity as severity_name};
use book::Out;
pub use book::{Book, MOST_ACTIVE, MOST_ENDED, MOST_SILENCES};
use engine::Engine;
pub use file::{Rules, problems, rules};
pub(crate) use notify::view;
use notify::{Notifier, Spec};
pub use rule::Rule;
pub use store::AlertsError;
use store::{Rows, Store};

/// Transitions that a receiver may lag behind before it loses the oldest, and is told so.
const LAG: usize = 16_384;
/// Time alone makes something due this often, where no snapshot comes.
const TICK: Duration = Duration::from_secs(1);
/// A disk that did not take something is tried this often.
const REWRITE_MS: i64 = 10_000;
/// Alerts that one look tells of by name in the log.
const NAMED: usize = 5;

/// What happened to an alert, by its name on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It fires: its condition held for as long as its rule says.
    ThresholdExceeded,
    /// It fires no more.
    ThresholdCleared,
    /// Watts jumped between two snapshots; it has no end of its own.
    PowerSpike,
}

/// One change of one alert.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Transition {
    /// The same from firing to its end.
    pub alert: Arc<str>,
    pub rule: Arc<str>,
    #[serde(rename = "type")]
    pub change: Change,
    pub severity: Severity,
    pub cluster: Arc<str>,
    /// `gpu`, `npu`, `node`, `source`, `cluster` …
    pub resource_type: Arc<str>,
    /// Id of the subject, or the name of what has none.
    pub resource_id: Arc<str>,
    /// In words, as the rule says them.
    pub message: Arc<str>,
    pub message_ko: Option<Arc<str>>,
    pub current_value: Option<f64>,
    pub threshold: Option<f64>,
    /// Milliseconds since the Unix epoch.
    #[serde(skip)]
    pub at_ms: i64,
}

/// What the operator's files say of alerts.
#[derive(Clone, Default)]
pub struct Settings {
    pub rules: Vec<Arc<Rule>>,
    pub notifiers: Vec<Spec>,
}

impl Settings {
    /// The ready-made rules, and nobody to tell.
    pub fn ready_made() -> Self {
        Self { rules: rules(true, &Default::default(), &[]).0, notifiers: Vec::new() }
    }
}

/// Why an alert or a silence could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("there is no such alert or silence")]
    NotFound,
    #[error("{0}")]
    NotNow(String),
    #[error("it could not be kept: {0}")]
    Store(#[from] AlertsError),
}

/// All alerts of a host.
pub struct Alerts {
    engine: Mutex<Engine>,
    /// One change at a time, from what is decided to what is written and told. Taken before `engine`.
    turn: Mutex<()>,
    store: Option<Store>,
    notifiers: Mutex<Vec<Notifier>>,
    transitions: broadcast::Sender<Arc<Transition>>,
    looks: Mutex<Histogram>,
    not_kept: AtomicU64,
    /// How cards stand by their alerts, for the model.
    faults: Mutex<Arc<HashMap<Arc<str>, Fault>>>,
    /// Since when the disk lacks something: all of it is written anew, and tried no more often than [`REWRITE_MS`].
    lacks_ms: Mutex<Option<i64>>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self::with(Engine::default(), None)
    }
}

impl Alerts {
    fn with(engine: Engine, store: Option<Store>) -> Self {
        Self {
            engine: Mutex::new(engine),
            turn: Mutex::default(),
            store,
            notifiers: Mutex::default(),
            transitions: broadcast::Sender::new(LAG),
            looks: Mutex::default(),
            not_kept: AtomicU64::new(0),
            faults: Mutex::default(),
            lacks_ms: Mutex::default(),
        }
    }

    /// Begins with what a directory holds of the run before.
    pub fn open(dir: &Path) -> Result<Self, AlertsError> {
        let (store, found) = Store::open(dir)?;
        let alerts = Self::with(Engine::with(found, crate::now_ms()), Some(store));
        alerts.weigh_faults(crate::now_ms());
        Ok(alerts)
    }

    /// What changes from now on. One who lags loses the oldest and is told how many.
    pub fn transitions(&self) -> broadcast::Receiver<Arc<Transition>> {
        self.transitions.subscribe()
    }

    /// Puts rules and notifiers in force; those that did not change go on as they are. Waits for the disk.
    pub fn set(self: &Arc<Self>, settings: &Settings) {
        let turn = lock(&self.turn);
        self.set_in(&turn, settings);
    }

    /// The ready-made rules, where none were ever given.
    pub fn begin(self: &Arc<Self>) {
        let turn = lock(&self.turn);
        if !lock(&self.engine).is_set() {
            self.set_in(&turn, &Settings::ready_made());
        }
    }

    fn set_in(self: &Arc<Self>, _turn: &MutexGuard<'_, ()>, settings: &Settings) {
        let mut out = Out::default();
        lock(&self.engine).set(settings.rules.clone(), crate::now_ms(), &mut out);
        {
            let mut notifiers = lock(&self.notifiers);
            let mut before: Vec<Notifier> = std::mem::take(&mut notifiers);
            for spec in &settings.notifiers {
                let kept = before.iter().position(|n| n.spec.made_of == spec.made_of).map(|i| before.swap_remove(i));
                notifiers.push(kept.unwrap_or_else(|| Notifier::start(spec.clone(), Arc::downgrade(self))));
            }
        }
        self.tell(out, crate::now_ms());
    }

    pub fn rules(&self) -> Vec<Arc<Rule>> {
        lock(&self.engine).rules().to_vec()
    }

    /// Looks at a snapshot, and tells what changed. Waits for the disk where something did.
    pub fn look_at(&self, snapshot: &Arc<Snapshot>, catalogue: &Catalogue, now_ms: i64) {
        let _turn = lock(&self.turn);
        let began = Instant::now();
        let out = lock(&self.engine).evaluate(snapshot, catalogue, now_ms);
        lock(&self.looks).observe(began.elapsed());
        self.tell(out, now_ms);
    }

    /// Durable first, then told.
    fn tell(&self, out: Out, now_ms: i64) {
        self.keep(&out.rows, now_ms);
        if !out.late.is_empty() {
            lock(&self.notifiers).iter().for_each(|n| n.hear(&out.late));
        }
        if out.changes.is_empty() {
            return;
        }
        self.weigh_faults(now_ms);
        for (change, alert) in out.changes.iter().take(NAMED) {
            tracing::info!(rule = %alert.rule, resource = ?alert.resource_id, cluster = ?alert.cluster, change = ?change, "alert");
        }
        if out.changes.len() > NAMED {
            tracing::info!(more = out.changes.len() - NAMED, "alerts");
        }
        for (change, alert) in &out.changes {
            // A jump has no end.
            if !(alert.is_spike && *change == Change::ThresholdCleared) {
                // Nobody may listen.
                let _ = self.transitions.send(Arc::new(alert.transition(*change, now_ms)));
            }
        }
        lock(&self.notifiers).iter().for_each(|n| n.hear(&out.changes));
    }

    fn weigh_faults(&self, now_ms: i64) {
        let faults = self.look(|book| book.faults(now_ms - crate::inventory::FAULT_WINDOW_MS));
        *lock(&self.faults) = Arc::new(faults);
    }

    /// How cards stand by their alerts; the same one until that changes.
    pub fn faults(&self) -> Arc<HashMap<Arc<str>, Fault>> {
        lock(&self.faults).clone()
    }

    fn keep(&self, rows: &Rows, now_ms: i64) {
        let Some(store) = &self.store else { return };
        let mut lacks = lock(&self.lacks_ms);
        let written = match *lacks {
            None => store.write(rows, now_ms),
            Some(at) if (0..REWRITE_MS).contains(&(now_ms - at)) => return,
            Some(_) => store.rewrite(&lock(&self.engine).rows(), now_ms),
        };
        *lacks = written.as_ref().err().map(|_| now_ms);
        if let Err(error) = written {
            self.not_kept.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "alerts are not kept until the disk takes them; they are told all the same");
        }
    }

    /// Writes what somebody ordered, and refuses the order where that cannot be.
    fn keep_order(&self, rows: &Rows) -> Result<(), ChangeError> {
        match &self.store {
            Some(store) => Ok(store.write(rows, crate::now_ms())?),
            None => Ok(()),
        }
    }

    /// Alerts as they are now.
    pub fn look<T>(&self, work: impl FnOnce(&Book) -> T) -> T {
        work(&lock(&self.engine).book)
    }

    /// Notes that somebody knows. Waits for the disk.
    pub fn acknowledge(&self, id: &str, by: &str, comment: &str) -> Result<Alert, ChangeError> {
        let _turn = lock(&self.turn);
        let known = Acknowledgement { by: by.into(), at_ms: crate::now_ms(), comment: comment.into() };
        let next = {
            let mut engine = lock(&self.engine);
            let is_over = engine.book.ended.iter().any(|(_, a)| &*a.id == id);
            let Some(alert) = engine.book.get_mut(id) else {
                return Err(if is_over { ChangeError::NotNow("it has ended already".to_owned()) } else { ChangeError::NotFound });
            };
            if alert.state() == State::Pending {
                return Err(ChangeError::NotNow("it does not fire yet".to_owned()));
            }
            Alert { acknowledged: Some(known.clone()), ..alert.clone() }
        };
        // Nobody else changes anything meanwhile: it is this one's turn. Who only reads does not wait for the disk.
        self.keep_order(&Rows { put: vec![Arc::new(next.clone())], ..Rows::default() })?;
        if let Some(alert) = lock(&self.engine).book.get_mut(id) {
            alert.acknowledged = Some(known);
        }
        Ok(next)
    }

    /// Ends what only happened: somebody says that it is over. Waits for the disk.
    pub fn resolve(&self, id: &str, by: &str, comment: &str) -> Result<Arc<Alert>, ChangeError> {
        let _turn = lock(&self.turn);
        let now_ms = crate::now_ms();
        let found = self.look(|book| {
            let active = book.all().find(|a| &*a.id == id).map(|a| a.is_moment);
            active.ok_or_else(|| book.ended.iter().any(|(_, a)| &*a.id == id))
        });
        match found {
            Ok(true) => {}
            Ok(false) => {
                return Err(ChangeError::NotNow(
                    "its condition still holds: it ends when that does; acknowledge it, or silence it".to_owned(),
                ));
            }
            Err(true) => return Err(ChangeError::NotNow("it has ended already".to_owned())),
            Err(false) => return Err(ChangeError::NotFound),
        }
        let by = Acknowledgement { by: by.into(), at_ms: now_ms, comment: comment.into() };
        let mut out = Out::default();
        let ended = lock(&self.engine).book.resolve(id, by, now_ms, &mut out);
        self.tell(out, now_ms);
        ended.ok_or(ChangeError::NotFound)
    }

    /// Keeps alerts quiet. Waits for the disk.
    pub fn silence(&self, silence: Silence) -> Result<(), ChangeError> {
        let _turn = lock(&self.turn);
        if self.look(|book| book.silences.len()) >= MOST_SILENCES {
            return Err(ChangeError::NotNow(format!("there are {MOST_SILENCES} silences already; delete one, or let some end")));
        }
        self.keep_order(&Rows { silences: vec![silence.clone()], ..Rows::default() })?;
        let mut engine = lock(&self.engine);
        engine.book.silences.push(silence);
        engine.book.weigh_silences();
        Ok(())
    }

    /// Ends a silence. Waits for the disk.
    pub fn unsilence(&self, id: &str) -> Result<Silence, ChangeError> {
        let _turn = lock(&self.turn);
        let place = self.look(|book| book.silences.iter().position(|s| &*s.id == id)).ok_or(ChangeError::NotFound)?;
        self.keep_order(&Rows { unsilenced: vec![id.into()], ..Rows::default() })?;
        let mut out = Out::default();
        let silence = {
            let mut engine = lock(&self.engine);
            let silence = engine.book.silences.remove(place);
            engine.book.weigh_silences();
            engine.book.speak_late(&mut out);
            silence
        };
        self.tell(out, crate::now_ms());
        Ok(silence)
    }

    /// Looks again where time alone may make something due, for ever. A snapshot is looked at by who publishes it: in the same turn
    /// of work, so that alerts keep no thread of their own awake.
    pub async fn run(self: Arc<Self>, inventory: Arc<Inventory>, catalogue: Arc<Catalogue>) {
        let mut published = inventory.published();
        loop {
            match tokio::time::timeout(TICK, published.changed()).await {
                // Who published it has looked.
                Ok(Ok(())) => continue,
                Ok(Err(_)) => return,
                Err(_) => {}
            }
            let (this, snapshot, catalogue) = (self.clone(), inventory.current(), catalogue.clone());
            let model = inventory.clone();
            let looked = tokio::task::spawn_blocking(move || {
                this.look_at(&snapshot, &catalogue, crate::now_ms());
                model.set_faults(&this.faults());
            })
            .await;
            if let Err(error) = looked {
                tracing::error!(%error, "a look at the alerts failed");
            }
        }
    }

    /// The host's own counters.
    pub(crate) fn metrics(&self, page: &mut Page) {
        let (firing, pending, [fired, resolved, dropped], silences) = self.look(|book| {
            let mut firing = std::collections::BTreeMap::new();
            let mut pending = 0u64;
            for alert in book.all() {
                match alert.state() {
                    State::Pending => pending += 1,
                    _ => *firing.entry((alert.rule.clone(), severity_name(alert.severity))).or_insert(0u64) += 1,
                }
            }
            (firing, pending, [book.fired, book.resolved, book.dropped], book.silences.len())
        });
        page.family("kcloud_alerts_firing", "gauge", "Alerts that fire, by rule.");
        for ((rule, severity), n) in &firing {
            page.sample("kcloud_alerts_firing", &[("rule", rule), ("severity", severity)], n);
        }
        for (name, kind, help, value) in [
            ("pending", "gauge", "Alerts whose condition does not hold for long enough yet.", pending),
            ("silences", "gauge", "Silences in force.", silences as u64),
            ("rules", "gauge", "Rules in force.", self.rules().len() as u64),
            ("fired_total", "counter", "Alerts that began to fire.", fired),
            ("resolved_total", "counter", "Alerts that ended.", resolved),
            ("dropped_total", "counter", "Alerts that there was no room for.", dropped),
            ("store_failures_total", "counter", "Changes that could not be written.", self.not_kept.load(Ordering::Relaxed)),
        ] {
            let name = format!("kcloud_alerts_{name}");
            page.family(&name, kind, help);
            page.sample(&name, &[], value);
        }
        page.family("kcloud_alerts_evaluation_seconds", "histogram", "Time of one look at all rules.");
        page.histogram("kcloud_alerts_evaluation_seconds", &[], &lock(&self.looks));
        let notifiers = lock(&self.notifiers);
        page.family("kcloud_alerts_notifications_total", "counter", "Notifications by what became of them.");
        for n in notifiers.iter() {
            for (result, count) in [("sent", &n.counts.sent), ("refused", &n.counts.refused), ("dropped", &n.counts.dropped)] {
                let labels = [("notifier", n.spec.name.as_str()), ("kind", n.kind()), ("result", result)];
                page.sample("kcloud_alerts_notifications_total", &labels, count.load(Ordering::Relaxed));
            }
        }
        for (name, kind, help, of) in [
            ("requests_total", "counter", "Requests to those who are told.", (|n| &n.counts.requests) as fn(&Notifier) -> &AtomicU64),
            ("failures", "gauge", "Requests in a row that brought nothing.", |n| &n.counts.failures),
            ("waiting", "gauge", "Notifications that wait.", |n| &n.counts.waiting),
        ] {
            let name = format!("kcloud_alerts_notifier_{name}");
            page.family(&name, kind, help);
            for n in notifiers.iter() {
                page.sample(&name, &[("notifier", &n.spec.name), ("kind", n.kind())], of(n).load(Ordering::Relaxed));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
