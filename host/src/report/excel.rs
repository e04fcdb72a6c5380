//! A workbook: a summary, a sheet a table with typed cells and a header that stays, charts that Excel draws itself.

use std::collections::HashSet;

use rust_xlsxwriter::{Chart, ChartType, Color, ExcelDateTime, Format, FormatAlign, Workbook, Worksheet, XlsxError};

use super::document::{Block, Cell, Document, Table, document};
use super::model::Report;
use super::render::ReportError;
use super::text::Lang;
use super::window::Zone;

/// What a cell can hold.
const LONGEST_TEXT: usize = 32_767;
/// Bars of a chart.
const BARS: u32 = 20;

struct Styles {
    head: Format,
    title: Format,
    strong: Format,
    grey: Format,
    wrap: Format,
    time: Format,
    ratio: Format,
    /// By decimals.
    numbers: Vec<Format>,
}

impl Styles {
    fn new() -> Self {
        let ink = Color::RGB(0x6b7280);
        Self {
            head: Format::new().set_bold().set_background_color(Color::RGB(0xf3f4f6)).set_text_wrap().set_align(FormatAlign::Top),
            title: Format::new().set_bold().set_font_size(18),
            strong: Format::new().set_bold().set_font_size(12),
            grey: Format::new().set_font_color(ink),
            wrap: Format::new().set_text_wrap().set_align(FormatAlign::Top),
            time: Format::new().set_num_format("yyyy-mm-dd hh:mm"),
            ratio: Format::new().set_num_format("0.0%"),
            numbers: (0..4)
                .map(|d| Format::new().set_num_format(if d == 0 { "#,##0".to_owned() } else { format!("#,##0.{}", "0".repeat(d)) }))
                .collect(),
        }
    }
}

/// As local time of the zone: a workbook knows no offsets.
fn local(ms: i64, zone: Zone) -> Result<ExcelDateTime, XlsxError> {
    ExcelDateTime::from_timestamp(ms.div_euclid(1_000) + i64::from(zone.0.whole_seconds()))
}

fn text(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

/// A name that a sheet can have and no other has.
fn sheet_name(wanted: &str, taken: &mut HashSet<String>) -> String {
    let plain: String = wanted.chars().map(|c| if "[]:*?/\\'".contains(c) { ' ' } else { c }).take(28).collect();
    let mut name = plain.clone();
    let mut n = 2;
    while !taken.insert(name.to_lowercase()) {
        name = format!("{plain} {n}");
        n += 1;
    }
    name
}

pub(super) fn write(report: &Report, lang: Lang) -> Result<Vec<u8>, ReportError> {
    let document = document(report, lang, true);
    let (mut book, styles, mut taken) = (Workbook::new(), Styles::new(), HashSet::new());
    let summary_name = sheet_name(lang.of("Summary", "요약"), &mut taken);
    let mut summary = Worksheet::new();
    summary.set_name(&summary_name)?;
    let mut sheets = Vec::new();
    let watts = watts_sheet(report, &document, &styles, &mut taken)?;
    for block in &document.blocks {
        if let Block::Table(table) = block {
            sheets.push((table, sheet(table, document.zone, &styles, &mut taken)?));
        }
    }
    fill_summary(&mut summary, report, &document, &styles)?;
    let name = watts.name();
    let steps = report.watts.len() as u32;
    if steps > 0 {
        let mut chart = Chart::new(ChartType::Line);
        let series = chart.add_series().set_categories((name.as_str(), 1, 0, steps, 0)).set_values((name.as_str(), 1, 1, steps, 1));
        series.set_name(lang.of("Watts", "전력 (W)"));
        chart.title().set_name(lang.of("Power over time", "시간별 전력"));
        chart.x_axis().set_num_format("mm-dd hh:mm");
        chart.y_axis().set_name("W");
        chart.legend().set_hidden();
        chart.set_width(900).set_height(300);
        summary.insert_chart(4, 4, &chart)?;
    }
    book.push_worksheet(summary);
    book.push_worksheet(watts);
    for (table, mut sheet) in sheets {
        add_chart(&mut sheet, table)?;
        book.push_worksheet(sheet);
    }
    Ok(book.save_to_buffer()?)
}

fn watts_sheet(report: &Report, document: &Document, styles: &Styles, taken: &mut HashSet<String>) -> Result<Worksheet, XlsxError> {
    let lang = document.lang;
    let mut sheet = Worksheet::new();
    sheet.set_name(sheet_name(lang.of("Power", "전력"), taken))?;
    let zone = document.zone;
    sheet.write_string_with_format(0, 0, format!("{} ({})", lang.of("From", "시작"), zone.name()), &styles.head)?;
    sheet.write_string_with_format(0, 1, lang.of("Average W", "평균 W"), &styles.head)?;
    for (i, (at, value)) in report.watts.iter().enumerate() {
        let row = i as u32 + 1;
        sheet.write_datetime_with_format(row, 0, local((*at).max(report.span.start), zone)?, &styles.time)?;
        // Where nothing was observed the cell is empty, and the chart has a gap.
        if let Some(v) = value {
            sheet.write_number_with_format(row, 1, *v, &styles.numbers[1])?;
        }
    }
    sheet.set_column_width(0, 18)?.set_column_width(1, 14)?.set_freeze_panes(1, 0)?;
    Ok(sheet)
}

fn fill_summary(sheet: &mut Worksheet, report: &Report, document: &Document, styles: &Styles) -> Result<(), XlsxError> {
    sheet.write_string_with_format(0, 0, text(&document.title), &styles.title)?;
    for (i, line) in document.below.iter().enumerate() {
        sheet.write_string_with_format(i as u32 + 1, 0, text(line), &styles.grey)?;
    }
    let (total, lang, mut row) = (&report.total, document.lang, 4);
    let currency = report.price.as_ref().map_or("", |p| p.currency.as_str());
    let coverage = (total.covered_seconds + total.missing_seconds > 0.0).then(|| total.coverage());
    let figures: [(&str, Option<f64>, &str, usize); 9] = [
        (lang.of("Energy", "에너지"), total.energy_kwh, "kWh", 3),
        (lang.of("Energy in the window before", "직전 기간 에너지"), report.total_before.energy_kwh, "kWh", 3),
        (lang.of("Cost", "비용"), total.cost, currency, 2),
        (lang.of("Average power", "평균 전력"), total.average_watts, "W", 1),
        (lang.of("Peak power", "최대 전력"), total.peak_watts, "W", 1),
        (lang.of("Drawn by idle cards", "유휴 가속기 소비"), report.idle.energy_kwh, "kWh", 3),
        (lang.of("Idle card-hours", "유휴 가속기·시간"), Some(report.idle.card_hours), "h", 1),
        (lang.of("Servers measured, on average", "평균 측정 서버 수"), report.servers_known, "", 1),
        (lang.of("Servers", "서버 수"), report.servers, "", 1),
    ];
    for (name, value, unit, decimals) in figures {
        sheet.write_string(row, 0, name)?;
        if let Some(v) = value {
            sheet.write_number_with_format(row, 1, v, &styles.numbers[decimals])?;
        }
        sheet.write_string_with_format(row, 2, text(unit), &styles.grey)?;
        row += 1;
    }
    if let Some(at) = total.peak_time {
        sheet.write_string(row, 0, lang.of("Peak at", "최대 시각"))?;
        sheet.write_datetime_with_format(row, 1, local(at, document.zone)?, &styles.time)?;
        row += 1;
    }
    sheet.write_string(row, 0, lang.of("Observed", "관측 비율"))?;
    if let Some(coverage) = coverage {
        sheet.write_number_with_format(row, 1, coverage, &styles.ratio)?;
    }
    row += 2;
    sheet.write_string_with_format(row, 0, lang.of("What to know of these figures", "수치에 대하여"), &styles.strong)?;
    for note in &report.notes {
        row += 1;
        sheet.merge_range(row, 0, row, 2, &text(lang.of(&note[0], &note[1])), &styles.wrap)?;
        sheet.set_row_height(row, 44)?;
    }
    sheet.set_column_width(0, 34)?.set_column_width(1, 18)?.set_column_width(2, 10)?;
    Ok(())
}

fn sheet(table: &Table, zone: Zone, styles: &Styles, taken: &mut HashSet<String>) -> Result<Worksheet, XlsxError> {
    let mut sheet = Worksheet::new();
    sheet.set_name(sheet_name(&table.name, taken))?;
    for (i, (name, is_number)) in table.columns.iter().enumerate() {
        sheet.write_string_with_format(0, i as u16, text(name), &styles.head)?;
        let longest = table.rows.iter().filter_map(|r| r.get(i)).map(|c| c.shown(zone).chars().take(60).count()).max().unwrap_or(0);
        let least = if *is_number { 12 } else { 10 };
        sheet.set_column_width(i as u16, (longest as f64 * 1.1 + 2.0).clamp(f64::from(least), 60.0))?;
    }
    for (n, row) in table.rows.iter().enumerate() {
        for (i, cell) in row.iter().enumerate() {
            let (row, column) = (n as u32 + 1, i as u16);
            match cell {
                // As text whatever it begins with: never a formula.
                Cell::Text(t) => sheet.write_string(row, column, text(t))?,
                Cell::Number(v, decimals) => sheet.write_number_with_format(row, column, *v, &styles.numbers[(*decimals).min(3)])?,
                Cell::Ratio(v) => sheet.write_number_with_format(row, column, *v, &styles.ratio)?,
                Cell::Time(ms) => sheet.write_datetime_with_format(row, column, local(*ms, zone)?, &styles.time)?,
                Cell::Nothing => &mut sheet,
            };
        }
    }
    sheet.set_freeze_panes(1, 0)?;
    if let (Some(last), false) = (table.columns.len().checked_sub(1), table.rows.is_empty()) {
        sheet.autofilter(0, 0, table.rows.len() as u32, last as u16)?;
    }
    Ok(sheet)
}

/// Energy as bars beside a table that has it, with the names before it.
fn add_chart(sheet: &mut Worksheet, table: &Table) -> Result<(), XlsxError> {
    let Some(energy) = table.columns.iter().position(|c| c.0 == "kWh").filter(|at| *at > 0 && table.rows.len() > 1) else { return Ok(()) };
    let name = sheet.name();
    let is_time = energy == 1 && table.columns.last().is_some_and(|c| c.0.contains("kWh") && c.0 != "kWh");
    let last = if is_time { table.rows.len() as u32 } else { (table.rows.len() as u32).min(BARS) };
    let (names, values) = (energy as u16 - 1, energy as u16);
    let mut chart = Chart::new(if is_time { ChartType::Column } else { ChartType::Bar });
    let series =
        chart.add_series().set_categories((name.as_str(), 1, names, last, names)).set_values((name.as_str(), 1, values, last, values));
    series.set_name("kWh");
    if is_time {
        let before = table.columns.len() as u16 - 1;
        let series =
            chart.add_series().set_categories((name.as_str(), 1, names, last, names)).set_values((name.as_str(), 1, before, last, before));
        series.set_name((name.as_str(), 0, before));
    } else {
        chart.y_axis().set_reverse();
        chart.legend().set_hidden();
    }
    chart.title().set_name(&format!("{}: kWh", table.name));
    chart.set_width(640).set_height(if is_time { 320 } else { 120 + 20 * last });
    sheet.insert_chart(1, table.columns.len() as u16 + 1, &chart)?;
    Ok(())
}
