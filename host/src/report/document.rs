//! A report in words, charts and tables of one language; each kind of file is made from this.

use super::chart::{Chart, Plot};
use super::format::{decimals, number};
use super::model::{Drawn, Report, Row};
use super::text::Lang;
use super::window::{DAY, Grain, HOUR, Template, Window, Zone};
use crate::inventory::Severity;

/// One value of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Text(String),
    /// With the decimals that are shown.
    Number(f64, usize),
    /// Of one.
    Ratio(f64),
    /// In ms.
    Time(i64),
    Nothing,
}

impl Cell {
    fn number(value: Option<f64>, decimals: usize) -> Self {
        value.map_or(Self::Nothing, |v| Self::Number(v, decimals))
    }

    fn text(text: &str) -> Self {
        if text.is_empty() { Self::Nothing } else { Self::Text(text.to_owned()) }
    }

    /// As it is read.
    pub(super) fn shown(&self, zone: Zone) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(v, decimals) => number(*v, *decimals),
            Self::Ratio(v) => format!("{} %", number(v * 100.0, 1)),
            Self::Time(ms) => zone.moment(*ms),
            Self::Nothing => "–".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// Short, for a sheet.
    pub name: String,
    /// With whether it is a number.
    pub columns: Vec<(String, bool)>,
    pub rows: Vec<Vec<Cell>>,
    /// What is said where rows were left out.
    pub left_out: Option<String>,
}

/// A figure, its name, and what is to be said of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact {
    pub name: String,
    pub value: String,
    pub below: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    Heading(String),
    Text(String),
    Facts(Vec<Fact>),
    /// Beside each other.
    Charts(Vec<Chart>),
    Table(Table),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub title: String,
    /// Window, clusters, when it was made.
    pub below: Vec<String>,
    pub lang: Lang,
    pub zone: Zone,
    pub blocks: Vec<Block>,
}

/// Rows of one table in a file that is read by eye; the largest.
pub(super) const MOST_ROWS: usize = 2_000;
const MOST_CARDS: usize = 500;

/// A report in a language. `is_whole`: with every row of every table.
pub(super) fn document(report: &Report, lang: Lang, is_whole: bool) -> Document {
    let d = Writer { report, lang, is_whole };
    let zone = report.timezone;
    let kind = match report.template {
        Template::Daily => lang.of("Daily power report", "일간 전력 보고서"),
        Template::Weekly => lang.of("Weekly power report", "주간 전력 보고서"),
        Template::Monthly => lang.of("Monthly power report", "월간 전력 보고서"),
        Template::Custom => lang.of("Power report", "전력 보고서"),
    };
    let utc = |z: Zone| if z == Zone::default() { "UTC".to_owned() } else { format!("UTC{}", z.name()) };
    let window = format!("{} – {} ({})", zone.moment(report.span.start), zone.moment(report.span.end), utc(zone));
    let clusters = match &report.cluster {
        Some(one) => format!("{}: {one}", lang.of("Cluster", "클러스터")),
        None => {
            let names: Vec<&str> = report.clusters.iter().map(|c| c.name.as_str()).collect();
            format!("{}: {}", lang.of("Clusters", "클러스터"), names.join(", "))
        }
    };
    let made = format!("{} {}", lang.of("Made", "작성"), zone.moment(report.generated_at));
    let mut blocks = vec![Block::Facts(d.facts())];
    if report.notes.len() > 1 {
        blocks.push(Block::Heading(lang.of("What to know of these figures", "수치에 대하여").to_owned()));
    }
    blocks.extend(report.notes.iter().map(|n| Block::Text(lang.of(&n[0], &n[1]).clone())));
    d.power(&mut blocks);
    d.views(&mut blocks);
    d.waste(&mut blocks);
    d.incidents(&mut blocks);
    d.cards(&mut blocks);
    let title = match report.template {
        Template::Custom => kind.to_owned(),
        Template::Monthly => format!("{kind} {}", zone.day(report.span.start).get(..7).unwrap_or_default()),
        _ => format!("{kind} {}", zone.day(report.span.start)),
    };
    Document { title, below: vec![window, format!("{clusters} · {made}")], lang, zone, blocks }
}

struct Writer<'a> {
    report: &'a Report,
    lang: Lang,
    is_whole: bool,
}

impl Writer<'_> {
    fn t<'a>(&self, en: &'a str, ko: &'a str) -> &'a str {
        self.lang.of(en, ko)
    }

    fn cost_name(&self) -> String {
        let currency = self.report.price.as_ref().map_or(String::new(), |p| format!(" ({})", p.currency));
        format!("{}{currency}", self.t("Cost", "비용"))
    }

    /// How a value has changed against the window before.
    fn change(&self, now: Option<f64>, before: Option<f64>) -> String {
        let named = match self.report.template {
            Template::Daily => self.t("the day before", "전일"),
            Template::Weekly => self.t("the week before", "전주"),
            Template::Monthly => self.t("the month before", "전월"),
            Template::Custom => self.t("the window before", "직전 기간"),
        };
        match now.zip(before) {
            Some((now, before)) if before > 0.0 => {
                let percent = (now - before) / before * 100.0;
                let sign = if percent >= 0.05 { "+" } else { "" };
                let part = number(percent, 1);
                self.lang.of(format!("{sign}{part} % against {named}"), format!("{named} 대비 {sign}{part} %"))
            }
            _ => self.lang.of(format!("{named}: not observed"), format!("{named}: 관측되지 않음")),
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let (r, total) = (self.report, &self.report.total);
        let show = |v: Option<f64>, unit: &str| v.map_or("–".to_owned(), |v| format!("{} {unit}", number(v, decimals(v))));
        let fact = |name: &str, value: String, below: String| Fact { name: name.to_owned(), value, below };
        let currency = r.price.as_ref().map_or("", |p| p.currency.as_str());
        let per_kwh = match &r.price {
            Some(p) => format!("{} {} / kWh", number(p.per_kwh, if p.per_kwh < 10.0 { 4 } else { 2 }), p.currency),
            None => self.t("no price configured", "단가 미설정").to_owned(),
        };
        let (e, zone) = (total.energy_kwh, r.timezone);
        let idle_part = match r.idle.energy_kwh.zip(e).filter(|(_, e)| *e > 0.0) {
            Some((idle, all)) => format!("{} % {}", number(idle / all * 100.0, 1), self.t("of the total", "(전체 대비)")),
            None => String::new(),
        };
        let servers = match r.servers_known.zip(r.servers) {
            Some((known, of)) => format!("{} / {} {}", number(known, 1), number(of, 1), self.t("servers measured", "서버 측정")),
            None => String::new(),
        };
        vec![
            fact(self.t("Energy", "에너지"), show(e, "kWh"), self.change(e, r.total_before.energy_kwh)),
            fact(self.t("Cost", "비용"), show(total.cost, currency), per_kwh),
            fact(
                self.t("Average power", "평균 전력"),
                show(total.average_watts, "W"),
                self.change(total.average_watts, r.total_before.average_watts),
            ),
            fact(
                self.t("Peak power", "최대 전력"),
                show(total.peak_watts, "W"),
                total.peak_time.map(|at| zone.moment(at)).unwrap_or_default(),
            ),
            fact(self.t("Drawn by idle cards", "유휴 가속기 소비"), show(r.idle.energy_kwh, "kWh"), idle_part),
            fact(self.t("Observed", "관측 비율"), format!("{} %", number(total.coverage() * 100.0, 1)), servers),
        ]
    }

    fn power(&self, blocks: &mut Vec<Block>) {
        let (r, lang) = (self.report, self.lang);
        let window = self.window();
        blocks.push(Block::Heading(self.t("Power and energy", "전력과 에너지").to_owned()));
        let span = (r.span.start, r.span.end);
        blocks.push(Block::Charts(vec![Chart {
            title: self.t("Power over time", "시간별 전력").to_owned(),
            unit: "W".to_owned(),
            plot: Plot::Lines { span, step: r.watts_step, ticks: ticks(&window), series: vec![("W".to_owned(), r.watts.clone())] },
        }]));
        let (title, before) = match r.grain {
            Grain::Hour => (self.t("Energy by the hour", "시간별 에너지"), self.t("the same hours before", "직전 기간")),
            Grain::Day => (self.t("Energy by the day", "일별 에너지"), self.t("the same days before", "직전 기간")),
            Grain::Week => (self.t("Energy by the week", "주별 에너지"), self.t("the same weeks before", "직전 기간")),
        };
        let columns = Chart {
            title: title.to_owned(),
            unit: "kWh".to_owned(),
            plot: Plot::Columns {
                labels: r.parts.iter().map(|p| window.label(p.span.start, lang)).collect(),
                series: vec![
                    (self.t("this window", "이번 기간").to_owned(), r.parts.iter().map(|p| p.drawn.energy_kwh).collect()),
                    (before.to_owned(), r.parts.iter().map(|p| p.energy_kwh_before).collect()),
                ],
            },
        };
        blocks.push(Block::Charts(vec![columns]));
        if !r.hours_of_day.is_empty() {
            let plot = Plot::Columns {
                labels: (0..24).map(|h| format!("{h:02}")).collect(),
                series: vec![("W".to_owned(), r.hours_of_day.clone())],
            };
            let title = self.t("Average power by the hour of the day", "시각별 평균 전력").to_owned();
            blocks.push(Block::Charts(vec![Chart { title, unit: "W".to_owned(), plot }]));
        }
        let rows = r.parts.iter().map(|p| {
            let label = r.timezone.moment(p.span.start);
            let mut row = vec![Cell::Text(label)];
            row.extend(self.of_drawn(&p.drawn));
            row.push(Cell::number(p.energy_kwh_before, 3));
            row
        });
        let rows = rows.collect();
        let mut columns = vec![(self.t("From", "시작").to_owned(), false)];
        columns.extend(self.drawn_columns());
        columns.push((self.t("kWh before", "직전 kWh").to_owned(), true));
        let name = match r.grain {
            Grain::Hour => self.t("Hours", "시간별"),
            Grain::Day => self.t("Days", "일별"),
            Grain::Week => self.t("Weeks", "주별"),
        };
        blocks.push(Block::Table(self.table(name, columns, rows, MOST_ROWS)));
    }

    fn window(&self) -> Window {
        let r = self.report;
        Window {
            template: r.template,
            zone: r.timezone,
            start: r.span.start,
            end: r.span.end,
            before: (r.before.start, r.before.end),
            grain: r.grain,
            is_cut: r.is_cut,
        }
    }

    fn drawn_columns(&self) -> Vec<(String, bool)> {
        let number = |name: &str| (name.to_owned(), true);
        vec![
            number("kWh"),
            (self.cost_name(), true),
            number(self.t("Average W", "평균 W")),
            number(self.t("Peak W", "최대 W")),
            (self.t("Peak at", "최대 시각").to_owned(), false),
            number(self.t("Observed", "관측")),
        ]
    }

    fn of_drawn(&self, d: &Drawn) -> Vec<Cell> {
        let observed = if d.covered_seconds + d.missing_seconds > 0.0 { Cell::Ratio(d.coverage()) } else { Cell::Nothing };
        vec![
            Cell::number(d.energy_kwh, 3),
            Cell::number(d.cost, 2),
            Cell::number(d.average_watts, 1),
            Cell::number(d.peak_watts, 1),
            d.peak_time.map_or(Cell::Nothing, Cell::Time),
            observed,
        ]
    }

    fn table(&self, name: &str, columns: Vec<(String, bool)>, mut rows: Vec<Vec<Cell>>, most: usize) -> Table {
        let all = rows.len();
        let left_out = (!self.is_whole && all > most).then(|| {
            rows.truncate(most);
            let (most, all) = (number(most as f64, 0), number(all as f64, 0));
            self.lang.of(
                format!("The {most} largest of {all} rows. The Excel, csv and parquet forms of this report have all."),
                format!("{all}행 중 상위 {most}행입니다. 엑셀, csv, parquet 형식에는 모든 행이 있습니다."),
            )
        });
        Table { name: name.to_owned(), columns, rows, left_out }
    }

    fn views(&self, blocks: &mut Vec<Block>) {
        let r = self.report;
        let several = r.clusters.len() > 1;
        for (heading, column, rows) in [
            (self.t("Clusters", "클러스터"), self.t("Cluster", "클러스터"), &r.clusters),
            (self.t("Parts", "부품"), self.t("Part", "부품"), &r.resource_types),
            (self.t("Namespaces", "네임스페이스"), self.t("Namespace", "네임스페이스"), &r.namespaces),
            (self.t("Servers", "서버"), self.t("Server", "서버"), &r.nodes),
        ] {
            let is_cluster = std::ptr::eq(rows, &r.clusters);
            if rows.is_empty() || (is_cluster && !several && r.cluster.is_some()) {
                continue;
            }
            blocks.push(Block::Heading(heading.to_owned()));
            let name = |row: &Row| match (several && !is_cluster, row.name.as_str()) {
                (false, name) => self.named(name),
                (true, name) => format!("{}/{}", row.cluster, self.named(name)),
            };
            let largest: Vec<(String, f64)> =
                rows.iter().filter_map(|row| Some((name(row), row.drawn.energy_kwh?))).filter(|r| r.1 > 0.0).take(10).collect();
            if largest.len() > 1 {
                let title = self.lang.of(format!("{heading} by energy"), format!("{heading}별 에너지"));
                blocks.push(Block::Charts(vec![Chart { title, unit: "kWh".to_owned(), plot: Plot::Bars { rows: largest } }]));
            }
            let with_cluster = several && !is_cluster;
            let mut columns: Vec<(String, bool)> = Vec::new();
            if with_cluster {
                columns.push((self.t("Cluster", "클러스터").to_owned(), false));
            }
            columns.push((column.to_owned(), false));
            columns.extend(self.drawn_columns());
            let cells = rows.iter().map(|row| {
                let mut cells = if with_cluster { vec![Cell::text(&row.cluster)] } else { Vec::new() };
                cells.push(Cell::Text(self.named(&row.name)));
                cells.extend(self.of_drawn(&row.drawn));
                cells
            });
            let cells = cells.collect();
            blocks.push(Block::Table(self.table(heading, columns, cells, MOST_ROWS)));
        }
    }

    fn named(&self, name: &str) -> String {
        match name {
            "unattributed" => self.t("(unattributed)", "(미귀속)").to_owned(),
            name => name.to_owned(),
        }
    }

    fn waste(&self, blocks: &mut Vec<Block>) {
        let (r, idle) = (self.report, &self.report.idle);
        blocks.push(Block::Heading(self.t("Idle cards", "유휴 가속기").to_owned()));
        let kwh = idle.energy_kwh.map_or("–".to_owned(), |v| number(v, 3));
        let (cards, known, hours) = (idle.cards, idle.cards_known, number(idle.card_hours, 1));
        blocks.push(Block::Text(self.lang.of(
            format!("{cards} of {known} cards did nothing in the whole window. All cards together were idle (below 1 % load) for {hours} card-hours and drew {kwh} kWh in them."),
            format!("가속기 {known}개 중 {cards}개는 기간 내내 사용되지 않았습니다. 전체 유휴 시간(사용률 1 % 미만)은 {hours} 가속기·시간이며 그동안 {kwh} kWh를 소비했습니다."),
        )));
        let mut worst: Vec<(String, f64)> =
            r.cards.iter().filter_map(|c| Some((format!("{}/{}", c.node, c.name), c.idle_kwh.filter(|k| *k > 0.0)?))).collect();
        worst.sort_by(|a, b| b.1.total_cmp(&a.1));
        worst.truncate(10);
        if !worst.is_empty() {
            let title = self.t("Most energy while idle", "유휴 중 에너지 상위").to_owned();
            blocks.push(Block::Charts(vec![Chart { title, unit: "kWh".to_owned(), plot: Plot::Bars { rows: worst } }]));
        }
    }

    fn incidents(&self, blocks: &mut Vec<Block>) {
        let r = self.report;
        blocks.push(Block::Heading(self.t("Incidents", "사건").to_owned()));
        if r.incidents.is_empty() {
            blocks.push(Block::Text(
                self.t("No warning or fault was told in this window.", "이 기간에 보고된 경고나 장애가 없습니다.").to_owned(),
            ));
            return;
        }
        let word = |s: Severity| match s {
            Severity::Critical => self.t("critical", "심각"),
            Severity::Warning => self.t("warning", "경고"),
            Severity::Info => self.t("info", "정보"),
        };
        let several = r.clusters.len() > 1;
        let rows = r.incidents.iter().map(|i| {
            vec![
                Cell::Time(i.at),
                i.ended.map_or(Cell::Nothing, Cell::Time),
                Cell::Text(word(i.severity).to_owned()),
                Cell::text(&i.code),
                if several && !i.cluster.is_empty() {
                    Cell::Text(format!("{}/{}", i.cluster, i.resource))
                } else {
                    Cell::text(&i.resource)
                },
                Cell::text(self.lang.of(Some(&i.message), i.message_ko.as_ref()).unwrap_or(&i.message)),
                Cell::Number(i.count as f64, 0),
            ]
        });
        let columns = [
            (self.t("Time", "시각"), false),
            (self.t("Until", "종료"), false),
            (self.t("Severity", "심각도"), false),
            (self.t("Code", "코드"), false),
            (self.t("Where", "대상"), false),
            (self.t("What", "내용"), false),
            (self.t("Times", "횟수"), true),
        ];
        let columns = columns.into_iter().map(|(n, is)| (n.to_owned(), is)).collect();
        let mut table = self.table(self.t("Incidents", "사건"), columns, rows.collect(), MOST_ROWS);
        if r.incidents_left_out > 0 {
            let n = number(r.incidents_left_out as f64, 0);
            table.left_out = Some(self.lang.of(format!("{n} older ones are not listed."), format!("더 오래된 {n}건은 표시하지 않습니다.")));
        }
        blocks.push(Block::Table(table));
    }

    fn cards(&self, blocks: &mut Vec<Block>) {
        let r = self.report;
        if r.cards.is_empty() {
            return;
        }
        let heading = self.t("Cards", "가속기");
        blocks.push(Block::Heading(heading.to_owned()));
        let mut columns = Vec::new();
        let several = r.clusters.len() > 1;
        // A page is not as wide as a sheet: without cost and time of the peak.
        let is_shown = |i: usize| self.is_whole || ![1, 4].contains(&i);
        if several {
            columns.push((self.t("Cluster", "클러스터").to_owned(), false));
        }
        columns.push((self.t("Server", "서버").to_owned(), false));
        columns.push((self.t("Card", "가속기").to_owned(), false));
        columns.push((self.t("Model", "모델").to_owned(), false));
        columns.extend(self.drawn_columns().into_iter().enumerate().filter(|(i, _)| is_shown(*i)).map(|c| c.1));
        columns.push((self.t("Load %", "사용률 %").to_owned(), true));
        columns.push((self.t("Idle h", "유휴 h").to_owned(), true));
        columns.push((self.t("Idle kWh", "유휴 kWh").to_owned(), true));
        let rows = r.cards.iter().map(|c| {
            let mut row = if several { vec![Cell::text(&c.cluster)] } else { Vec::new() };
            row.extend([Cell::text(&c.node), Cell::text(&c.name), Cell::text(&c.model)]);
            row.extend(self.of_drawn(&c.drawn).into_iter().enumerate().filter(|(i, _)| is_shown(*i)).map(|c| c.1));
            let known = c.average_utilization_percent.is_some();
            row.push(Cell::number(c.average_utilization_percent, 1));
            row.push(Cell::number(known.then_some(c.idle_seconds / 3_600.0), 2));
            row.push(Cell::number(c.idle_kwh, 3));
            row
        });
        blocks.push(Block::Table(self.table(heading, columns, rows.collect(), MOST_CARDS)));
    }
}

/// Moments on the axis of a window: local hours or days, at most about eight.
fn ticks(window: &Window) -> Vec<(i64, String)> {
    let (start, end) = window.span();
    let length = end - start;
    let every = [HOUR / 12, HOUR / 4, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 10 * DAY, 30 * DAY, 90 * DAY]
        .into_iter()
        .find(|e| length / e <= 9)
        .unwrap_or(180 * DAY);
    let offset = i64::from(window.zone.0.whole_seconds()) * 1_000;
    let first = (start + offset).div_euclid(every) * every - offset;
    let mut at = if first < start { first + every } else { first };
    // Days are counted from the window's first.
    if every > DAY {
        at = start;
    }
    let mut out = Vec::new();
    while at <= end {
        let text = window.zone.moment(at);
        out.push((at, text.get(if every >= DAY { 5..10 } else { 11..16 }).unwrap_or_default().to_owned()));
        at += every;
    }
    out
}
