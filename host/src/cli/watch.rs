//! `watch`: what a fleet draws, as a table that stays on the terminal; without a terminal, or as JSON, as lines.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, queue, style, terminal};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::remote::{Host, Remote};

/// Rows of one page of the API.
const PAGE: usize = 1_000;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Watts of servers, or of another view.
    Power {
        /// cluster, node, namespace, workload, vendor, resource_type.
        #[arg(long, default_value = "node")]
        by: String,
        #[command(flatten)]
        given: Given,
    },
    /// GPUs with their load, memory, temperature and watts.
    Gpus {
        #[command(flatten)]
        given: Given,
    },
}

#[derive(clap::Args, Debug)]
pub(super) struct Given {
    #[command(flatten)]
    remote: Remote,
    #[arg(long)]
    cluster: Option<String>,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,
    /// How it is shown; json is one object a line.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Column to sort by, by its number from the left.
    #[arg(long)]
    sort: Option<usize>,
    /// Ends after so many looks.
    #[arg(long)]
    count: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Text(String),
    Number(Option<f64>, usize),
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(Some(v), decimals) => crate::report::format::number(*v, *decimals),
            Self::Number(None, _) => "–".to_owned(),
        }
    }

    /// What is unknown comes last, whichever way it is sorted.
    fn order(&self, other: &Self, is_down: bool) -> std::cmp::Ordering {
        let turned = |o: std::cmp::Ordering| if is_down { o.reverse() } else { o };
        match (self, other) {
            (Self::Number(Some(a), _), Self::Number(Some(b), _)) => turned(a.total_cmp(b)),
            (Self::Number(Some(_), _), Self::Number(None, _)) => std::cmp::Ordering::Less,
            (Self::Number(None, _), Self::Number(Some(_), _)) => std::cmp::Ordering::Greater,
            (Self::Text(a), Self::Text(b)) => turned(a.cmp(b)),
            _ => std::cmp::Ordering::Equal,
        }
    }
}

/// What is seen at one moment.
#[derive(Debug, Clone, Default)]
struct View {
    head: String,
    columns: &'static [(&'static str, bool)],
    rows: Vec<Vec<Cell>>,
    /// The same, as it came.
    objects: Vec<Value>,
}

/// What is watched; keeps what came last, since an unchanged world is answered with nothing.
struct Source {
    host: Host,
    by: Option<String>,
    cluster: Option<String>,
    pages: BTreeMap<usize, (String, Value)>,
}

impl Source {
    async fn page(&mut self, path: &str, mut query: Vec<(String, String)>, offset: usize) -> anyhow::Result<Value> {
        query.extend(self.cluster.iter().map(|c| ("cluster".to_owned(), c.clone())));
        let etag = self.pages.get(&offset).map(|p| p.0.clone());
        let response = self.host.get(path, &query, etag.as_deref()).await?;
        if response.status() == reqwest::StatusCode::NOT_MODIFIED
            && let Some((_, body)) = self.pages.get(&offset)
        {
            return Ok(body.clone());
        }
        let etag = response.headers().get("etag").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body: Value = response.json().await?;
        if let Some(etag) = etag {
            self.pages.insert(offset, (etag, body.clone()));
        }
        Ok(body)
    }

    async fn look(&mut self) -> anyhow::Result<View> {
        match self.by.clone() {
            Some(by) => {
                let body = self.page("/api/v1/monitoring/power/breakdown", vec![("breakdown_by".into(), by)], 0).await?;
                Ok(power(&body))
            }
            None => {
                let (mut all, mut total, mut at) = (Vec::new(), usize::MAX, String::new());
                while all.len() < total {
                    let offset = all.len();
                    let query = [("include_metrics", "true".to_owned()), ("limit", PAGE.to_string()), ("offset", offset.to_string())];
                    let query = query.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
                    let body = self.page("/api/v1/accelerators/gpus", query, offset).await?;
                    total = body["metadata"]["total_count"].as_u64().unwrap_or(0) as usize;
                    at = text(&body["metadata"]["as_of"]);
                    let rows = body["data"].as_array().cloned().unwrap_or_default();
                    if rows.is_empty() {
                        break;
                    }
                    all.extend(rows);
                }
                self.pages.retain(|offset, _| *offset < all.len().max(1));
                Ok(gpus(&at, all))
            }
        }
    }
}

fn text(value: &Value) -> String {
    super::plain(value.as_str().unwrap_or(""))
}

fn power(body: &Value) -> View {
    let (data, at) = (&body["data"], text(&body["metadata"]["as_of"]));
    let objects: Vec<Value> = data["breakdowns"].as_array().cloned().unwrap_or_default();
    let rows = objects.iter().map(|r| {
        vec![
            Cell::Text(text(&r["cluster"])),
            Cell::Text(text(&r["category"])),
            Cell::Number(r["power_watts"].as_f64(), 1),
            Cell::Number(r["percentage"].as_f64(), 2),
            Cell::Number(r["count"].as_f64(), 0),
        ]
    });
    let total = Cell::Number(data["total_power_watts"].as_f64(), 1).shown();
    View {
        head: format!("{total} W   {at}"),
        columns: &[("CLUSTER", false), ("NAME", false), ("WATTS", true), ("%", true), ("COUNT", true)],
        rows: rows.collect(),
        objects: objects.into_iter().map(|o| stamped(o, &at)).collect(),
    }
}

fn gpus(at: &str, objects: Vec<Value>) -> View {
    let rows: Vec<Vec<Cell>> = objects
        .iter()
        .map(|g| {
            let m = &g["metrics"];
            let pod = [text(&g["namespace"]), text(&g["pod"])].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join("/");
            vec![
                Cell::Text(text(&g["hostname"])),
                Cell::Text(text(&g["device"])),
                Cell::Text(text(&g["model_name"])),
                Cell::Text(text(&g["status"])),
                Cell::Number(m["gpu_utilization_percent"].as_f64(), 0),
                Cell::Number(m["memory_used_mb"].as_f64(), 0),
                Cell::Number(m["gpu_temperature_celsius"].as_f64(), 0),
                Cell::Number(m["power_usage_watts"].as_f64(), 1),
                Cell::Text(pod),
            ]
        })
        .collect();
    let watts: Vec<f64> = rows.iter().filter_map(|r| if let Cell::Number(v, _) = &r[7] { *v } else { None }).collect();
    let total = Cell::Number((!watts.is_empty()).then(|| watts.iter().sum()), 1).shown();
    let head = format!("{} GPUs   {total} W of {} measured   {at}", rows.len(), watts.len());
    let columns: &[(&str, bool)] = &[
        ("NODE", false),
        ("GPU", false),
        ("MODEL", false),
        ("STATUS", false),
        ("LOAD %", true),
        ("MEM MiB", true),
        ("°C", true),
        ("WATTS", true),
        ("POD", false),
    ];
    View { head, columns, rows, objects: objects.into_iter().map(|o| stamped(o, at)).collect() }
}

fn stamped(mut object: Value, at: &str) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("as_of".into(), json!(at));
    }
    object
}

/// How the table stands on the screen.
struct Screen {
    sort: usize,
    is_down: bool,
    top: usize,
    error: Option<String>,
}

fn cut(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let (mut out, mut wide) = (String::new(), 0);
    for c in text.chars() {
        wide += c.width().unwrap_or(0);
        if wide + 1 > most {
            break;
        }
        out.push(c);
    }
    if most > 0 {
        out.push('…');
    }
    out
}

impl Screen {
    fn new(view: &View, sort: Option<usize>) -> Self {
        let watts = view.columns.iter().position(|c| c.0 == "WATTS").unwrap_or(0);
        let sort = sort.map_or(watts, |n| n.saturating_sub(1)).min(view.columns.len().saturating_sub(1));
        Self { sort, is_down: view.columns.get(sort).is_some_and(|c| c.1), top: 0, error: None }
    }

    fn sorted<'a>(&self, view: &'a View) -> Vec<&'a Vec<Cell>> {
        let mut rows: Vec<&Vec<Cell>> = view.rows.iter().collect();
        rows.sort_by(|a, b| match (a.get(self.sort), b.get(self.sort)) {
            (Some(a), Some(b)) => a.order(b, self.is_down),
            _ => std::cmp::Ordering::Equal,
        });
        rows
    }

    /// Lines of a screen of this size; the second is the head of the table.
    fn lines(&self, view: &View, (wide, high): (usize, usize)) -> Vec<String> {
        let rows = self.sorted(view);
        let shown: Vec<Vec<String>> =
            rows.iter().skip(self.top).take(high.saturating_sub(3)).map(|r| r.iter().map(Cell::shown).collect()).collect();
        let mark = |i: usize, name: &str| match (i == self.sort, self.is_down) {
            (true, true) => format!("{name}▼"),
            (true, false) => format!("{name}▲"),
            _ => name.to_owned(),
        };
        let names: Vec<String> = view.columns.iter().enumerate().map(|(i, c)| mark(i, c.0)).collect();
        let widths: Vec<usize> =
            (0..names.len()).map(|i| shown.iter().map(|r| r[i].width()).chain([names[i].width()]).max().unwrap_or(0).min(40)).collect();
        let line = |cells: &[String]| {
            let mut out = String::new();
            for (i, cell) in cells.iter().enumerate() {
                let cell = cut(cell, widths[i]);
                let pad = " ".repeat(widths[i] - cell.width());
                out += &if view.columns[i].1 { format!("{pad}{cell}") } else { format!("{cell}{pad}") };
                out.push_str("  ");
            }
            cut(out.trim_end(), wide)
        };
        let mut out = vec![cut(&view.head, wide), line(&names)];
        out.extend(shown.iter().map(|r| line(r)));
        out.resize(high.saturating_sub(1).max(2), String::new());
        let last = match &self.error {
            Some(error) => format!("{error} (showing what came last)"),
            None => format!("1-{} sort  r reverse  ↑↓ scroll  q quit   {} rows", view.columns.len(), rows.len()),
        };
        out.push(cut(&last, wide));
        out
    }

    /// Takes a key; `false` ends it.
    fn key(&mut self, code: KeyCode, modifiers: KeyModifiers, view: &View, high: usize) -> bool {
        let page = high.saturating_sub(4).max(1);
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('r') => self.is_down = !self.is_down,
            KeyCode::Char(c @ '1'..='9') => {
                let at = c as usize - '1' as usize;
                if at < view.columns.len() {
                    self.is_down = if at == self.sort { !self.is_down } else { view.columns[at].1 };
                    self.sort = at;
                }
            }
            KeyCode::Up => self.top = self.top.saturating_sub(1),
            KeyCode::Down => self.top += 1,
            KeyCode::PageUp => self.top = self.top.saturating_sub(page),
            KeyCode::PageDown => self.top += page,
            KeyCode::Home => self.top = 0,
            _ => {}
        }
        self.top = self.top.min(view.rows.len().saturating_sub(1));
        true
    }
}

static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours; given back however it ends.
struct Taken;

impl Taken {
    fn new() -> std::io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
        terminal::enable_raw_mode()?;
        IS_TAKEN.store(true, Ordering::SeqCst);
        let taken = Self;
        execute!(std::io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        // Nobody is left to hear of a failure.
        let _ = execute!(std::io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let (by, given) = match command {
        Command::Power { by, given } => (Some(by), given),
        Command::Gpus { given } => (None, given),
    };
    let Given { remote, cluster, interval, output, sort, count } = given;
    let mut source = Source { host: remote.open()?, by, cluster, pages: BTreeMap::new() };
    // What is wrong with the request is said before the screen is taken.
    let first = source.look().await?;
    let every = Duration::from_secs(interval);
    match output == Output::Table && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        true => live(source, first, every, sort, count).await,
        false => lines(source, first, every, output, sort, count).await,
    }
}

/// Prints what changed, look by look.
async fn lines(
    mut source: Source,
    first: View,
    every: Duration,
    output: Output,
    sort: Option<usize>,
    count: Option<u64>,
) -> anyhow::Result<ExitCode> {
    let mut tick = tokio::time::interval(every);
    tick.tick().await;
    let screen = Screen::new(&first, sort);
    let mut view = first;
    let mut looks = 0;
    let stop = super::told_to_stop();
    tokio::pin!(stop);
    loop {
        let mut out = String::new();
        match output {
            Output::Json => view.objects.iter().for_each(|o| out += &format!("{o}\n")),
            Output::Table => {
                out += &format!("{}\n", view.head);
                let high = view.rows.len() + 3;
                out += &screen.lines(&view, (usize::MAX, high))[1..high - 1].join("\n");
                out.push('\n');
            }
        }
        let mut to = std::io::stdout().lock();
        match to.write_all(out.as_bytes()).and_then(|()| to.flush()) {
            // Who read it went away.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            written => written?,
        }
        drop(to);
        looks += 1;
        if count.is_some_and(|most| looks >= most) {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            let looked = async {
                tick.tick().await;
                source.look().await
            };
            // Also while a host that hangs is waited for.
            let looked = tokio::select! {
                looked = looked => looked,
                _ = &mut stop => return Ok(ExitCode::SUCCESS),
            };
            match looked {
                Ok(now) => {
                    view = now;
                    break;
                }
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }
}

/// Holds the terminal until a key, a signal or the count ends it.
async fn live(mut source: Source, first: View, every: Duration, sort: Option<usize>, count: Option<u64>) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::new(&first, sort);
    let mut view = first;
    let taken = Taken::new()?;
    let (tell, mut told) = mpsc::channel(16);
    // Ends with the process at the latest: it waits a tenth of a second at a time.
    std::thread::spawn(move || {
        while !tell.is_closed() {
            match event::poll(Duration::from_millis(100)) {
                Ok(true) => match event::read() {
                    Ok(event) if tell.blocking_send(event).is_ok() => {}
                    _ => return,
                },
                Ok(false) => {}
                Err(_) => return,
            }
        }
    });
    // Keys and signals are taken also while a host that hangs is waited for.
    let (show, mut shown) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tick.tick().await;
            if show.send(source.look().await).await.is_err() {
                return;
            }
        }
    });
    let mut looks = 1;
    let stop = super::told_to_stop();
    tokio::pin!(stop);
    loop {
        let size = terminal::size()?;
        draw(&screen.lines(&view, (size.0.into(), size.1.into())))?;
        if count.is_some_and(|most| looks >= most) {
            break;
        }
        tokio::select! {
            event = told.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if !screen.key(key.code, key.modifiers, &view, size.1.into()) {
                        break;
                    }
                }
                // A new size is drawn at once.
                Some(_) => {}
                None => break,
            },
            Some(looked) = shown.recv() => {
                looks += 1;
                match looked {
                    Ok(now) => (view, screen.error) = (now, None),
                    Err(error) => screen.error = Some(super::plain(&format!("{error:#}"))),
                }
            }
            _ = &mut stop => break,
        }
    }
    drop(taken);
    Ok(ExitCode::SUCCESS)
}

fn draw(lines: &[String]) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (i, line) in lines.iter().enumerate() {
        queue!(out, cursor::MoveTo(0, i as u16))?;
        if i == 1 {
            queue!(out, style::SetAttribute(style::Attribute::Reverse))?;
        }
        queue!(out, style::Print(line), style::SetAttribute(style::Attribute::Reset), terminal::Clear(terminal::ClearType::UntilNewLine))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let row = |name: &str, watts: Option<f64>| json!({ "cluster": "cluster1", "category": name, "power_watts": watts, "percentage": 50, "count": 1 });
        power(&json!({
            "data": { "total_power_watts": 1500.5, "breakdowns": [row("worker1", Some(500.0)), row("워커\u{1b}[2J", Some(1000.25)), row("off1", None)] },
            "metadata": { "as_of": "2026-01-01T00:00:00.000Z" },
        }))
    }

    #[test]
    fn the_largest_stands_first_the_unknown_last_and_nothing_steers_the_terminal() {
        let view = view();
        let mut screen = Screen::new(&view, None);
        let lines = screen.lines(&view, (80, 10));
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[0], "1,500.5 W   2026-01-01T00:00:00.000Z");
        assert!(lines[1].contains("WATTS▼") && lines[2].contains("워커\u{fffd}[2J") && lines[4].contains('–'), "{lines:#?}");
        assert!(lines[9].contains("q quit   3 rows"));
        assert!(lines.iter().all(|l| !l.contains('\u{1b}')));
        assert!(screen.key(KeyCode::Char('r'), KeyModifiers::NONE, &view, 10));
        let lines = screen.lines(&view, (80, 10));
        assert!(lines[2].contains("worker1") && lines[4].contains("off1"), "{lines:#?}");
        assert!(screen.key(KeyCode::Char('2'), KeyModifiers::NONE, &view, 10) && screen.sort == 1 && !screen.is_down);
        assert!(!screen.key(KeyCode::Char('q'), KeyModifiers::NONE, &view, 10));
        assert!(!screen.key(KeyCode::Char('c'), KeyModifiers::CONTROL, &view, 10));
    }

    #[test]
    fn every_size_of_a_screen_is_kept() {
        let view = view();
        let mut screen = Screen::new(&view, Some(99));
        for _ in 0..9 {
            screen.key(KeyCode::PageDown, KeyModifiers::NONE, &view, 5);
        }
        assert_eq!(screen.top, 2);
        for (wide, high) in [(0, 0), (1, 1), (7, 3), (20, 5), (500, 50)] {
            let lines = screen.lines(&view, (wide, high));
            assert!(lines.iter().all(|l| l.width() <= wide), "{wide}x{high}: {lines:?}");
            assert_eq!(lines.len(), high.max(3));
        }
    }
}
