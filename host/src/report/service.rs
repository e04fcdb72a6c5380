//! Who makes reports: a few at a time off the async threads, for who asks and by themselves when they are due.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::gather::{Ask, Stop, gather};
use super::render::{Format, ReportError, file_name, plain, render};
use super::schedule::{Plan, Settings};
use super::text::Lang;
use super::window::Window;
use crate::alerts::Alerts;
use crate::history::History;
use crate::inventory::Inventory;
use crate::now_ms;
use crate::telemetry::Page;

/// Made at one time; who comes later waits so long.
const AT_ONCE: usize = 2;
const WAITS: Duration = Duration::from_secs(20);
/// Plans are looked at this often.
const LOOK: Duration = Duration::from_secs(5);
/// After a failure: doubled each time, up to an hour.
const FIRST_RETRY_MS: i64 = 5_000;
const LAST_RETRY_MS: i64 = 3_600_000;

/// A file that was made.
#[derive(Debug, Clone)]
pub struct Made {
    pub name: String,
    pub format: Format,
    pub bytes: bytes::Bytes,
}

/// How a run of a plan went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub due_ms: i64,
    pub ended_ms: i64,
    pub files: Vec<String>,
    /// `None`: all went well.
    pub error: Option<String>,
}

/// What is kept of a plan over restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// The last moment at which it was due and done; what was due before is not made any more.
    done_ms: i64,
    last: Option<Run>,
    last_success_ms: Option<i64>,
    succeeded: u64,
    failed: u64,
    /// Of the run that is to be tried again.
    tries: u32,
    retry_ms: i64,
    delivered_due_ms: i64,
    delivered: BTreeSet<String>,
}

/// Makes reports.
pub struct Reports {
    inventory: Arc<Inventory>,
    history: Arc<dyn History>,
    alerts: Arc<Alerts>,
    settings: ArcSwap<Settings>,
    /// How long history keeps minutes.
    minutes_kept: Duration,
    started_ms: i64,
    slots: Arc<Semaphore>,
    /// Where what is kept lies; without it plans run, and nobody remembers.
    file: Option<PathBuf>,
    kept: Mutex<BTreeMap<String, Kept>>,
    running: Mutex<BTreeSet<String>>,
}

/// Tells the work to stop when nobody waits for it.
struct Waits(Stop);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Reports {
    /// `dir` is where it remembers what was made.
    pub fn open(
        inventory: Arc<Inventory>,
        history: Arc<dyn History>,
        alerts: Arc<Alerts>,
        dir: Option<&Path>,
        minutes_kept: Duration,
    ) -> Self {
        let file = dir.map(|d| d.join("schedule.json"));
        let kept = file.as_ref().and_then(|f| match std::fs::read(f) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| tracing::error!(%error, "what was kept of scheduled reports cannot be read"))
                .ok(),
            Err(_) => None,
        });
        Self {
            inventory,
            history,
            alerts,
            settings: ArcSwap::default(),
            minutes_kept,
            started_ms: now_ms(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            file,
            kept: Mutex::new(kept.unwrap_or_default()),
            running: Mutex::default(),
        }
    }

    pub fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// A wish for a report, with what this host knows besides.
    pub fn ask(&self, window: Window, cluster: Option<String>, clusters: Vec<String>) -> Ask {
        let price = self.settings().price.clone();
        let minutes_kept = self.minutes_kept.as_millis() as i64;
        Ask { window, cluster, clusters, price, minutes_kept, now: now_ms(), started_ms: self.started_ms, alerts: Vec::new() }
    }

    /// Makes one report in some formats. Dropped, it stops.
    pub async fn make(&self, ask: Ask, formats: Vec<Format>, lang: Lang) -> Result<Vec<Made>, ReportError> {
        let slot = tokio::time::timeout(WAITS, self.slots.clone().acquire_owned()).await;
        let Ok(Ok(slot)) = slot else { return Err(ReportError::Busy) };
        self.made(slot, ask, formats, lang).await
    }

    async fn made(&self, slot: OwnedSemaphorePermit, ask: Ask, formats: Vec<Format>, lang: Lang) -> Result<Vec<Made>, ReportError> {
        let waits = Waits(Stop::default());
        let (stop, history, inventory, alerts) = (waits.0.clone(), self.history.clone(), self.inventory.clone(), self.alerts.clone());
        let work = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let mut ask = ask;
            ask.alerts = alerts.look(|book| super::gather::alerts(book, ask.window.span(), ask.cluster.as_deref()));
            let report = gather(&*history, &inventory.current(), &ask, &stop)?;
            let range = ask.window.range_name();
            let one = |format| {
                stop.check()?;
                Ok(Made { name: file_name(&report, &range, format), format, bytes: render(&report, format, lang)?.into() })
            };
            formats.into_iter().map(one).collect()
        });
        work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a report failed");
            Err(ReportError::Rows("the work on it failed".into()))
        })
    }

    /// Makes what is due, until the host ends.
    pub async fn follow(self: Arc<Self>, clusters: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let clusters = Arc::new(clusters);
        loop {
            tick.tick().await;
            for (plan, due) in self.due(now_ms()) {
                let (reports, clusters) = (self.clone(), clusters.clone());
                lock(&self.running).insert(plan.name.clone());
                let name = plan.name.clone();
                let run = tokio::spawn(async move { reports.run(&plan, due, clusters()).await });
                let reports = self.clone();
                tokio::spawn(async move {
                    // Also after a run that was torn out of its work: it is made again.
                    if let Err(error) = run.await {
                        tracing::error!(%error, plan = name, "a scheduled report was not made");
                    }
                    lock(&reports.running).remove(&name);
                });
            }
        }
    }

    /// Plans whose last moment was not done yet: after a downtime the last one only, and a new plan from its next on.
    fn due(&self, now: i64) -> Vec<(Plan, i64)> {
        let settings = self.settings();
        let mut kept = lock(&self.kept);
        let mut is_new = false;
        let running = lock(&self.running);
        let mut out = Vec::new();
        for plan in settings.plans.iter().filter(|p| !running.contains(&p.name)) {
            let due = plan.last_due(now);
            let state = kept.entry(plan.name.clone()).or_insert_with(|| {
                is_new = true;
                Kept { done_ms: due, ..Kept::default() }
            });
            let is_later = state.tries > 0 && now < state.retry_ms && state.delivered_due_ms == due;
            if due > state.done_ms && !is_later {
                out.push((plan.clone(), due));
            }
        }
        if is_new {
            self.keep(&kept);
        }
        out
    }

    async fn run(&self, plan: &Plan, due: i64, clusters: Vec<String>) {
        let before = {
            let mut kept = lock(&self.kept);
            let state = kept.entry(plan.name.clone()).or_default();
            if state.delivered_due_ms != due {
                (state.delivered_due_ms, state.tries) = (due, 0);
                state.delivered.clear();
            }
            state.delivered.clone()
        };
        let (mut files, mut delivered) = (Vec::new(), before);
        let result = self.deliver(plan, due, &clusters, &mut files, &mut delivered).await;
        let mut kept = lock(&self.kept);
        let state = kept.entry(plan.name.clone()).or_default();
        let ended = now_ms();
        match &result {
            Ok(()) => {
                tracing::info!(plan = plan.name, files = files.len(), "a scheduled report was made");
                (state.done_ms, state.tries, state.last_success_ms) = (due, 0, Some(ended));
                state.succeeded += 1;
                state.delivered.clear();
            }
            Err(error) => {
                tracing::error!(plan = plan.name, error, tries = state.tries + 1, "a scheduled report failed; it is tried again");
                state.failed += 1;
                state.retry_ms = ended + (FIRST_RETRY_MS << state.tries.min(12)).min(LAST_RETRY_MS);
                state.tries += 1;
                state.delivered = delivered;
            }
        }
        state.last = Some(Run { due_ms: due, ended_ms: ended, files, error: result.err() });
        self.keep(&kept);
    }

    /// Makes and hands over all files of a run; those that were handed over by an earlier try are left.
    async fn deliver(
        &self,
        plan: &Plan,
        due: i64,
        clusters: &[String],
        files: &mut Vec<String>,
        delivered: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        let window = plan.window(due).map_err(|e| e.to_string())?;
        let scopes: Vec<Option<String>> = match plan.clusters.is_empty() {
            true => vec![None],
            false => plan.clusters.iter().cloned().map(Some).collect(),
        };
        for scope in scopes {
            let ask = self.ask(window.clone(), scope, clusters.to_vec());
            // It waits for its turn, however many are due at once.
            let slot = self.slots.clone().acquire_owned().await.map_err(|e| e.to_string())?;
            let made = self.made(slot, ask, plan.formats.clone(), plan.lang).await.map_err(|e| e.to_string())?;
            for mut file in made {
                // Plans may share a directory and a receiver.
                file.name = format!("{}-{}", plain(&plan.name), file.name);
                files.push(file.name.clone());
                if let Some(dir) = plan.delivery.directory.clone() {
                    let (name, bytes) = (file.name.clone(), file.bytes.clone());
                    let written = tokio::task::spawn_blocking(move || put(&dir, &name, &bytes)).await;
                    written.map_err(|e| e.to_string())?.map_err(|e| format!("{} was not written: {e}", file.name))?;
                }
                if let Some(webhook) = plan.delivery.webhook.as_ref().filter(|_| !delivered.contains(&file.name)) {
                    let disposition = format!("attachment; filename=\"{}\"", file.name);
                    let headers = [
                        ("content-type", file.format.media_type()),
                        ("content-disposition", disposition.as_str()),
                        ("x-kcloud-report", plan.template.name()),
                        // The same on each try: who has it already may say so.
                        ("idempotency-key", file.name.as_str()),
                    ];
                    let answer = webhook.post(&headers, file.bytes.clone(), 4_096).await;
                    let answer = answer.map_err(|e| format!("the webhook did not take {}: {e}", file.name))?;
                    if !(200..300).contains(&answer.status) {
                        return Err(format!("the webhook answered {} to {}", answer.status, file.name));
                    }
                    delivered.insert(file.name.clone());
                }
            }
        }
        Ok(())
    }

    fn keep(&self, kept: &BTreeMap<String, Kept>) {
        let Some(file) = &self.file else { return };
        let (Some(dir), Some(name)) = (file.parent(), file.file_name().and_then(|n| n.to_str())) else { return };
        let text = serde_json::to_vec_pretty(kept).map_err(std::io::Error::other);
        if let Err(error) = text.and_then(|text| put(dir, name, &text)) {
            tracing::error!(%error, "what was made of scheduled reports is not remembered");
        }
    }

    /// The plans and how they fared, for the API.
    pub fn plans(&self, now: i64) -> Vec<serde_json::Value> {
        let (settings, kept) = (self.settings(), lock(&self.kept).clone());
        let moment = crate::api::rfc3339;
        let one = |plan: &Plan| {
            let state = kept.get(&plan.name);
            let last = state.and_then(|k| k.last.as_ref());
            let retries = state.filter(|k| k.tries > 0).map(|k| moment(k.retry_ms));
            serde_json::json!({
                "name": plan.name, "template": plan.template, "formats": plan.formats, "lang": plan.lang, "timezone": plan.zone, "at": plan.at,
                "clusters": plan.clusters, "next_run": moment(plan.next_due(now)), "retry_at": retries,
                "last_run": last.map(|run| serde_json::json!({
                    "due": moment(run.due_ms), "ended": moment(run.ended_ms), "result": if run.error.is_none() { "ok" } else { "failed" },
                    "error": run.error, "files": run.files,
                })),
                "last_success": state.and_then(|k| k.last_success_ms).map(moment),
            })
        };
        settings.plans.iter().map(one).collect()
    }

    /// Its counters.
    pub(crate) fn metrics(&self, page: &mut Page) {
        let (settings, kept) = (self.settings(), lock(&self.kept).clone());
        if settings.plans.is_empty() {
            return;
        }
        let of = || settings.plans.iter().filter_map(|p| Some((p.name.as_str(), kept.get(&p.name)?)));
        page.family("kcloud_report_runs_total", "counter", "Runs of scheduled reports by result.");
        for (name, k) in of() {
            page.sample("kcloud_report_runs_total", &[("schedule", name), ("result", "ok")], k.succeeded);
            page.sample("kcloud_report_runs_total", &[("schedule", name), ("result", "failed")], k.failed);
        }
        page.family("kcloud_report_last_success_timestamp_seconds", "gauge", "When a scheduled report was last made and handed over.");
        for (name, at) in of().filter_map(|(n, k)| Some((n, k.last_success_ms?))) {
            page.sample("kcloud_report_last_success_timestamp_seconds", &[("schedule", name)], at as f64 / 1e3);
        }
    }
}

/// Writes a file whole or not at all.
fn put(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::Builder::new().prefix(".report-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let file = file.persist(dir.join(name)).map_err(|e| e.error)?;
    // Others may read a report; the temporary file was its owner's alone.
    let permissions: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.set_permissions(permissions)?;
    std::fs::File::open(dir)?.sync_all()
}
