//! History and a snapshot into a [`Report`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::books::{added, cost, drawn, held, idle, silent, thinned};
use super::model::{Card, Drawn, Idle, Incident, Part, Price, Report, Row, Span};
use super::render::ReportError;
use super::window::{DAY, HOUR, Window};
use crate::alerts::{Alert, Book};
use crate::history::{Aggregate, History, Observation};
use crate::inventory::{Kind, Severity, Snapshot, Subject};
use crate::power::{self, By};

/// Incidents that are listed; who has more looks at alerts.
const MOST_INCIDENTS: usize = 500;
/// Points of a chart.
const CHART: usize = 360;
/// Points of all series that are read at once: 24 MB.
const AT_ONCE: usize = 1 << 20;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    pub window: Window,
    /// One cluster, or all.
    pub cluster: Option<String>,
    /// Those that are configured.
    pub clusters: Vec<String>,
    pub price: Option<Price>,
    /// How long history keeps minutes, in ms.
    pub minutes_kept: i64,
    pub now: i64,
    /// Since when this host keeps events.
    pub started_ms: i64,
    /// Alerts that fired in the window, as `alerts` finds them.
    pub alerts: Vec<Incident>,
}

/// Alerts of a window. Those that only tell an event again are left out: the event is there.
pub(super) fn alerts(book: &Book, (start, end): (i64, i64), cluster: Option<&str>) -> Vec<Incident> {
    let of = |a: &Alert| {
        let fired = a.fired_ms?;
        let is_in = fired < end && a.ended_ms.is_none_or(|at| at >= start) && cluster.is_none_or(|c| *a.cluster == *c);
        let node = a.node.as_deref().filter(|n| **n != *a.resource_id).map(|n| format!("{n}/")).unwrap_or_default();
        (is_in && (a.is_spike || !a.is_moment)).then(|| Incident {
            at: fired,
            ended: a.ended_ms,
            severity: a.severity,
            code: format!("alert:{}", a.rule),
            cluster: a.cluster.to_string(),
            resource: format!("{node}{}", a.resource_id),
            message: a.message.to_string(),
            message_ko: a.message_ko.as_deref().map(str::to_owned),
            count: 1,
        })
    };
    book.all().chain(book.ended.iter().map(|(_, a)| &**a)).filter_map(of).collect()
}

/// Tells that nobody waits any more.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn check(&self) -> Result<(), ReportError> {
        if self.0.load(Ordering::Relaxed) { Err(ReportError::Stopped) } else { Ok(()) }
    }
}

struct Reader<'a> {
    history: &'a dyn History,
    ask: &'a Ask,
    step: i64,
    stop: &'a Stop,
}

impl Reader<'_> {
    fn span(&self) -> (i64, i64) {
        self.ask.window.span()
    }

    fn price(&self) -> Option<&Price> {
        self.ask.price.as_ref()
    }

    fn drawn(&self, steps: &[Observation]) -> Drawn {
        drawn(steps, self.step, self.span(), self.price())
    }

    /// Reads many series, a few at a time, and hands each on.
    fn each(&self, ids: &[Arc<str>], metrics: &[&str], mut take: impl FnMut(usize, Vec<Vec<Observation>>)) -> Result<(), ReportError> {
        let steps = (self.ask.window.length() / self.step).max(1) as usize;
        let some = (AT_ONCE / steps / metrics.len()).clamp(16, 2_048);
        for (n, part) in ids.chunks(some).enumerate() {
            self.stop.check()?;
            let part: Vec<&str> = part.iter().map(|id| &**id).collect();
            let read = |m: &&str| self.history.ranges(&part, m, self.span(), self.step, Aggregate::Average);
            let mut all = metrics.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            for i in 0..part.len() {
                take(n * some + i, all.iter_mut().map(|of| held(std::mem::take(&mut of[i]))).collect());
            }
        }
        Ok(())
    }

    fn sums(&self, clusters: &[String], metric: &str, span: (i64, i64), step: i64) -> Result<Vec<Vec<Observation>>, ReportError> {
        let ids: Vec<String> = clusters.iter().map(|c| power::cluster_series(c)).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let all = self.history.ranges(&ids, metric, span, step, Aggregate::Average)?;
        Ok(all.into_iter().map(held).collect())
    }

    /// Rows of a view that history keeps, with what is in none of them.
    fn view(&self, snapshot: &Snapshot, by: By, clusters: &[Row]) -> Result<Vec<Row>, ReportError> {
        let now = power::breakdown(snapshot, self.ask.cluster.as_deref(), by);
        let mut rows = Vec::new();
        for cluster in clusters {
            let mut names: BTreeSet<String> = power::noted(self.history, &cluster.name, by).into_iter().collect();
            names.extend(now.iter().filter(|r| r.cluster.as_deref().is_none_or(|c| c == cluster.name)).map(|r| r.category.to_string()));
            let names: Vec<String> = names.into_iter().collect();
            let ids: Vec<Arc<str>> = names.iter().map(|n| power::group_series(&cluster.name, by, n).into()).collect();
            let mut claimed = 0.0;
            self.each(&ids, &[power::GROUP_WATTS], |i, all| {
                let drawn = self.drawn(&all[0]);
                if let Some(kwh) = drawn.energy_kwh {
                    claimed += kwh;
                    rows.push(Row { cluster: cluster.name.clone(), name: names[i].clone(), drawn });
                }
            })?;
            if let Some(all) = cluster.drawn.energy_kwh {
                let rest = Some(all - claimed);
                let drawn = Drawn { energy_kwh: rest, cost: cost(rest, self.price()), ..Drawn::default() };
                rows.push(Row { cluster: cluster.name.clone(), name: "unattributed".into(), drawn });
            }
        }
        rows.sort_by(|a, b| most_first(&a.drawn, &b.drawn));
        Ok(rows)
    }

    fn nodes(&self, snapshot: &Snapshot, clusters: &[String]) -> Result<Vec<Row>, ReportError> {
        let account = snapshot.account();
        let mut named: BTreeMap<Arc<str>, (String, String)> =
            account.machines(self.ask.cluster.as_deref()).map(|s| (s.id.clone(), (s.cluster.to_string(), s.name.to_string()))).collect();
        // Those that are gone from the model but drew something then.
        for cluster in clusters {
            for name in power::noted(self.history, cluster, By::Node) {
                let id = format!("node/{cluster}/{name}");
                if account.server(&id).is_none() {
                    named.insert(id.into(), (cluster.clone(), name));
                }
            }
        }
        let ids: Vec<Arc<str>> = named.keys().cloned().collect();
        let mut rows = Vec::with_capacity(ids.len());
        self.each(&ids, &[power::SERVER_WATTS], |i, all| {
            let drawn = self.drawn(&all[0]);
            if (drawn.energy_kwh.is_some() || account.server(&ids[i]).is_some())
                && let Some((cluster, name)) = named.remove(&ids[i])
            {
                rows.push(Row { cluster, name, drawn });
            }
        })?;
        rows.sort_by(|a, b| most_first(&a.drawn, &b.drawn).then_with(|| (&a.cluster, &a.name).cmp(&(&b.cluster, &b.name))));
        Ok(rows)
    }

    fn cards(&self, snapshot: &Snapshot) -> Result<Vec<Card>, ReportError> {
        let scope = self.ask.cluster.as_deref();
        let known: Vec<&Arc<Subject>> =
            snapshot.of_kind(Kind::Accelerator).iter().filter(|s| scope.is_none_or(|c| *s.cluster == *c)).collect();
        let mut ids: Vec<Arc<str>> = known.iter().map(|s| s.id.clone()).collect();
        if scope.is_none() {
            let there: HashSet<Arc<str>> = ids.iter().cloned().collect();
            // The id of a card is its own; everything else's begins with what it is.
            let of_card = |id: &Arc<str>| id.split('/').next().and_then(Kind::parse).is_none() && !there.contains(id);
            ids.extend(self.history.subjects("power_watts").into_iter().filter(of_card));
        }
        let mut cards = Vec::with_capacity(ids.len());
        self.each(&ids, &["power_watts", "utilization_ratio"], |i, all| {
            let subject = known.get(i);
            let drawn = self.drawn(&all[0]);
            if subject.is_none() && drawn.energy_kwh.is_none() {
                return;
            }
            let label = |key: &str| subject.and_then(|s| s.label(key)).unwrap_or_default().to_owned();
            let (idle_seconds, idle_kwh) = idle(&all[0], &all[1], self.step, self.span());
            let load: Vec<f64> = all[1].iter().filter_map(|p| p.1).collect();
            let name = [label("device"), label("name"), label("uuid")].into_iter().find(|n| !n.is_empty());
            cards.push(Card {
                id: ids[i].to_string(),
                cluster: subject.map(|s| s.cluster.to_string()).unwrap_or_default(),
                node: subject.and_then(|s| s.node.as_deref()).unwrap_or_default().to_owned(),
                name: name.unwrap_or_else(|| ids[i].to_string()),
                model: label("model"),
                drawn,
                average_utilization_percent: (!load.is_empty()).then(|| load.iter().sum::<f64>() / load.len() as f64 * 100.0),
                known_seconds: power::joules_of_steps(&all[1], self.step, self.span()).covered_ms as f64 / 1e3,
                idle_seconds,
                idle_kwh,
            });
        })?;
        let place = |c: &Card| (c.cluster.clone(), c.node.clone(), c.name.clone());
        cards.sort_by(|a, b| most_first(&a.drawn, &b.drawn).then_with(|| place(a).cmp(&place(b))));
        Ok(cards)
    }
}

fn most_first(a: &Drawn, b: &Drawn) -> std::cmp::Ordering {
    let of = |d: &Drawn| d.energy_kwh.unwrap_or(f64::NEG_INFINITY);
    of(b).total_cmp(&of(a))
}

/// Makes a report. Waits for the disk.
pub fn gather(history: &dyn History, snapshot: &Snapshot, ask: &Ask, stop: &Stop) -> Result<Report, ReportError> {
    let window = &ask.window;
    let step_of = |span: (i64, i64)| window.step(span.0, ask.now - ask.minutes_kept);
    let (step, step_before) = (step_of(window.span()), step_of(window.before));
    let read = Reader { history, ask, step, stop };
    let known = snapshot.account().machines(None).map(|s| s.cluster.to_string());
    let clusters: BTreeSet<String> = ask.clusters.iter().cloned().chain(known).collect();
    let clusters: Vec<String> = clusters.into_iter().filter(|c| ask.cluster.as_ref().is_none_or(|only| only == c)).collect();

    let sums = read.sums(&clusters, power::CLUSTER_WATTS, window.span(), step)?;
    let rows: Vec<Row> =
        clusters.iter().zip(&sums).map(|(c, s)| Row { cluster: c.clone(), name: c.clone(), drawn: read.drawn(s) }).collect();
    let silent = silent(&sums);
    let watts = added(sums.into_iter());
    let before = added(read.sums(&clusters, power::CLUSTER_WATTS, window.before, step_before)?.into_iter());
    let servers_known = added(read.sums(&clusters, power::CLUSTER_KNOWN, window.span(), step)?.into_iter());
    let servers = added(read.sums(&clusters, power::CLUSTER_SERVERS, window.span(), step)?.into_iter());
    let mean = |all: &[Observation]| {
        let known: Vec<f64> = all.iter().filter_map(|p| p.1).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let is_partial = |(k, s): &(&Observation, &Observation)| k.1.zip(s.1).is_some_and(|(k, s)| k + 1e-9 < s);
    // Servers that are not known, and whole clusters of which nothing is.
    let lacking: Vec<bool> = servers_known.iter().zip(&servers).map(|pair| is_partial(&pair)).collect();
    let steps = lacking.len().max(silent.len());
    let partial = (0..steps).filter(|i| [&lacking, &silent].iter().any(|all| all.get(*i) == Some(&true))).count();

    let (chart, chart_step) = thinned(&watts, step, CHART);
    let mut report = Report {
        template: window.template,
        timezone: window.zone,
        span: Span { start: window.start, end: window.end },
        before: Span { start: window.before.0, end: window.before.1 },
        is_cut: window.is_cut,
        grain: window.grain,
        step_seconds: step / 1_000,
        generated_at: ask.now,
        cluster: ask.cluster.clone(),
        price: ask.price.clone(),
        total: read.drawn(&watts),
        total_before: drawn(&before, step_before, window.before, ask.price.as_ref()),
        servers_known: mean(&servers_known),
        servers: mean(&servers),
        partial_seconds: partial as f64 * step as f64 / 1e3,
        idle: Idle::default(),
        parts: parts(&read, &watts, (&before, step_before)),
        hours_of_day: if window.length() >= 2 * DAY { hours_of_day(window, &watts, step) } else { Vec::new() },
        namespaces: read.view(snapshot, By::Namespace, &rows)?,
        resource_types: read.view(snapshot, By::ResourceType, &rows)?,
        clusters: rows,
        nodes: read.nodes(snapshot, &clusters)?,
        cards: read.cards(snapshot)?,
        incidents: Vec::new(),
        incidents_left_out: 0,
        notes: Vec::new(),
        watts: chart,
        watts_step: chart_step,
    };
    report.idle = idle_of(&report);
    (report.incidents, report.incidents_left_out) = incidents(snapshot, ask);
    report.notes = notes(&report, ask);
    Ok(report)
}

fn parts(read: &Reader<'_>, watts: &[Observation], (before, step_before): (&[Observation], i64)) -> Vec<Part> {
    let window = &read.ask.window;
    let earlier = window.parts(window.before);
    let of = |(i, span): (usize, &(i64, i64))| Part {
        span: Span { start: span.0, end: span.1 },
        drawn: drawn(watts, read.step, *span, read.price()),
        energy_kwh_before: earlier.get(i).and_then(|span| drawn(before, step_before, *span, None).energy_kwh),
    };
    window.parts(window.span()).iter().enumerate().map(of).collect()
}

fn hours_of_day(window: &Window, watts: &[Observation], step: i64) -> Vec<Option<f64>> {
    let mut sums = [(0.0, 0u32); 24];
    let offset = i64::from(window.zone.0.whole_seconds()) * 1_000;
    for (at, value) in watts {
        // Where its middle lies: steps begin at UTC's hours.
        let hour = ((at + step / 2 + offset).rem_euclid(DAY) / HOUR) as usize;
        if let (Some(v), Some(sum)) = (value, sums.get_mut(hour)) {
            *sum = (sum.0 + v, sum.1 + 1);
        }
    }
    sums.iter().map(|(sum, n)| (*n > 0).then(|| sum / f64::from(*n))).collect()
}

fn idle_of(report: &Report) -> Idle {
    let price = report.price.as_ref();
    let cards = &report.cards;
    let energy = cards.iter().filter_map(|c| c.idle_kwh).reduce(|a, b| a + b);
    let cards_known = cards.iter().filter(|c| c.average_utilization_percent.is_some()).count();
    // Known loads and no idle step: nothing was wasted, which is a number.
    let energy = energy.or((cards_known > 0).then_some(0.0));
    Idle {
        cards: cards.iter().filter(|c| c.is_idle_throughout()).count(),
        cards_known,
        card_hours: cards.iter().map(|c| c.idle_seconds).sum::<f64>() / 3_600.0,
        energy_kwh: energy,
        cost: cost(energy, price),
    }
}

/// Warnings and worse of the window, the newest first; like ones in a row as one.
fn incidents(snapshot: &Snapshot, ask: &Ask) -> (Vec<Incident>, usize) {
    let (start, end) = ask.window.span();
    let scope = ask.cluster.as_deref();
    let mut out: Vec<Incident> = Vec::new();
    let in_window = |at: i64| (start..end).contains(&at);
    for event in snapshot.events.iter().rev().filter(|e| in_window(e.at_ms) && e.severity != Severity::Info) {
        let subject = snapshot.get(&event.subject);
        let cluster = subject.map(|s| s.cluster.to_string()).unwrap_or_default();
        if scope.is_some_and(|c| c != cluster) {
            continue;
        }
        let name = subject.and_then(|s| s.label("device").or_else(|| s.label("name"))).unwrap_or_default();
        let resource = match subject.and_then(|s| s.node.as_deref()) {
            Some(node) if !name.is_empty() => format!("{node}/{name}"),
            Some(node) => node.to_owned(),
            None => event.subject.to_string(),
        };
        match out.last_mut().filter(|last| {
            last.resource == resource && last.cluster == cluster && *last.code == *event.code && last.message == *event.message
        }) {
            Some(last) => last.count += 1,
            None => out.push(Incident {
                at: event.at_ms,
                ended: None,
                message_ko: None,
                severity: event.severity,
                code: event.code.to_string(),
                cluster,
                resource,
                message: event.message.to_string(),
                count: 1,
            }),
        }
    }
    for source in snapshot.asked().filter(|s| s.consecutive_failures > 0 && scope.is_none_or(|c| *s.cluster == *c)) {
        let at = source.last_success_ms.unwrap_or(ask.started_ms);
        if in_window(at) {
            out.push(Incident {
                at,
                ended: None,
                message_ko: Some(format!("이후 응답하지 않습니다. 실패한 시도 {}회", source.consecutive_failures)),
                severity: Severity::Warning,
                code: "source:silent".into(),
                cluster: source.cluster.to_string(),
                resource: format!("{}/{}", source.plugin, source.target),
                message: format!("does not answer since then; {} tries failed", source.consecutive_failures),
                count: 1,
            });
        }
    }
    out.extend(ask.alerts.iter().cloned());
    out.sort_by_key(|i| std::cmp::Reverse(i.at));
    let left_out = out.len().saturating_sub(MOST_INCIDENTS);
    out.truncate(MOST_INCIDENTS);
    (out, left_out)
}

fn notes(report: &Report, ask: &Ask) -> Vec<[String; 2]> {
    let zone = report.timezone;
    // In minutes where the window is short.
    let is_short = report.span.end - report.span.start < 3 * HOUR;
    let (unit, h, ko) = if is_short { (60.0, "min", "분") } else { (3_600.0, "h", "시간") };
    let hours = |seconds: f64| super::format::number(seconds / unit, 1);
    let mut notes = Vec::new();
    let mut note = |en: String, ko: String| notes.push([en, ko]);
    if report.is_cut {
        let at = zone.moment(report.span.end);
        note(
            format!("The window was not over when this was made: it ends at {at}."),
            format!("작성 시점에 기간이 끝나지 않아 {at}까지만 포함합니다."),
        );
    }
    let total = &report.total;
    match total.energy_kwh {
        None => note(
            "Nothing of this window was observed: there are no totals.".into(),
            "이 기간에는 관측된 데이터가 없어 합계가 없습니다.".into(),
        ),
        Some(_) if total.missing_seconds >= 1.0 => {
            let (missing, all) = (hours(total.missing_seconds), hours(total.covered_seconds + total.missing_seconds));
            note(
                format!(
                    "{missing} {h} of {all} {h} were not observed (gaps: {}). Their energy is in no total, and nothing was put in its place.",
                    total.gaps
                ),
                format!(
                    "{all}{ko} 중 {missing}{ko}은 관측되지 않았습니다(공백 {}개). 이 시간의 에너지는 합계에 없으며 추정하지 않았습니다.",
                    total.gaps
                ),
            );
        }
        Some(_) => {}
    }
    if report.partial_seconds > 0.0 {
        let t = hours(report.partial_seconds);
        note(
            format!("For {t} {h} not every server was measured; totals are of those that were."),
            format!("{t}{ko} 동안 일부 서버가 측정되지 않았습니다. 합계는 측정된 서버의 값입니다."),
        );
    }
    let unseen = report.nodes.iter().filter(|n| n.drawn.energy_kwh.is_none()).count();
    if unseen > 0 {
        let all = report.nodes.len();
        note(
            format!("Of {unseen} of {all} servers no watts were observed in this window."),
            format!("서버 {all}대 중 {unseen}대는 이 기간에 전력이 관측되지 않았습니다."),
        );
    }
    let unknown = report.cards.len() - report.idle.cards_known;
    if unknown > 0 {
        let all = report.cards.len();
        note(
            format!("The load of {unknown} of {all} cards is not known; they are not counted as idle."),
            format!("가속기 {all}개 중 {unknown}개는 사용률을 알 수 없어 유휴로 세지 않았습니다."),
        );
    }
    if report.price.is_none() {
        note(
            "No price per kWh is configured ([reports] price_per_kwh): costs are empty.".into(),
            "kWh당 단가가 설정되지 않아([reports] price_per_kwh) 비용은 비어 있습니다.".into(),
        );
    }
    if report.span.start < ask.started_ms {
        let at = zone.moment(ask.started_ms);
        note(
            format!("This host has run since {at}: events before that are known only as far as their sources still told them."),
            format!("이 호스트는 {at}부터 실행 중입니다. 그 이전의 사건은 소스가 이후에도 알려 준 것만 포함합니다."),
        );
    }
    let (en, ko) = match report.step_seconds {
        3_600 => ("an hour".to_owned(), "1시간".to_owned()),
        60 => ("a minute".to_owned(), "1분".to_owned()),
        s => (format!("{} minutes", s / 60), format!("{}분", s / 60)),
    };
    note(
        format!(
            "Everything is made of means of {en}: a peak is the highest of them, and one in which anything was observed counts whole. A source that tells less often counts as long as it usually is silent."
        ),
        format!(
            "모든 값은 {ko} 평균으로 계산합니다. 최대 전력은 그중 가장 높은 값이며, 관측이 하나라도 있는 구간은 전체를 관측된 것으로 봅니다. 보고 간격이 더 긴 소스의 값은 평소 간격만큼 유효한 것으로 봅니다."
        ),
    );
    notes
}
