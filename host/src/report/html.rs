//! HTML that stands alone: one file, charts as SVG in it, no script, nothing fetched.

use std::fmt::Write;

use super::chart::{Anchor, Canvas, Chart, Colour};
use super::document::{Block, Document, Table};
use super::pdf::font;

/// Nothing but its own style may be used.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE: &str = "\
body{font:14px/1.5 NanumSquare,'Noto Sans KR','Apple SD Gothic Neo','Malgun Gothic',system-ui,sans-serif;color:#1f2937;margin:2rem auto;max-width:62rem;padding:0 1rem}\
h1{font-size:1.7rem;border-top:4px solid #2563eb;display:inline-block;padding-top:.5rem;margin:0}\
h2{font-size:1.1rem;border-bottom:1px solid #e5e7eb;padding-bottom:.3rem;margin-top:2rem}\
.below,.left{color:#6b7280;margin:.2rem 0}\
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.7rem;margin:1.2rem 0}\
.facts div{background:#f3f4f6;padding:.7rem .9rem}.facts b{display:block;font-size:1.3rem}.facts span{color:#6b7280;font-size:.85rem}\
svg{width:100%;height:auto;margin:.6rem 0}\
.table{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.82rem}\
th{color:#6b7280;text-align:left;border-bottom:1px solid #d1d5db;font-weight:normal}\
th,td{padding:.25rem .5rem;vertical-align:top;overflow-wrap:anywhere}tr:nth-child(even) td{background:#f9fafb}\
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
@media print{body{margin:0}h2{break-after:avoid}tr,svg{break-inside:avoid}}";

/// Text that is only text. What is a command to a viewer is U+FFFD.
fn escaped(text: &str) -> String {
    let text = font::clean(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

struct Svg(String);

fn colour([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn points(all: &[(f32, f32)]) -> String {
    let mut out = String::new();
    for (x, y) in all {
        // Writing to a string cannot fail.
        let _ = write!(out, "{x:.1},{y:.1} ");
    }
    out
}

impl Canvas for Svg {
    fn text(&mut self, (x, y): (f32, f32), size: f32, anchor: Anchor, ink: Colour, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (ink, text) = (colour(ink), escaped(text));
        let _ = write!(self.0, r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}" fill="{ink}">{text}</text>"#);
    }

    fn line(&mut self, all: &[(f32, f32)], width: f32, ink: Colour) {
        let (ink, all) = (colour(ink), points(all));
        let _ = write!(self.0, r#"<polyline points="{all}" fill="none" stroke="{ink}" stroke-width="{width}"/>"#);
    }

    fn area(&mut self, all: &[(f32, f32)], ink: Colour) {
        let (ink, all) = (colour(ink), points(all));
        let _ = write!(self.0, r#"<polygon points="{all}" fill="{ink}"/>"#);
    }
}

fn svg(chart: &Chart) -> String {
    let (w, h) = (540.0, chart.height());
    let mut svg = Svg(format!(r#"<svg viewBox="0 0 {w} {h}" role="img" aria-label="{}">"#, escaped(&chart.title)));
    chart.draw(&mut svg, (0.0, 0.0), (w, h));
    svg.0 + "</svg>"
}

/// Writes it.
pub(super) fn write(document: &Document) -> String {
    let (title, lang) = (escaped(&document.title), document.lang.name());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"{lang}\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>"
    );
    for line in &document.below {
        let _ = write!(out, "<p class=\"below\">{}</p>", escaped(line));
    }
    for block in &document.blocks {
        match block {
            Block::Heading(text) => drop(write!(out, "\n<h2>{}</h2>", escaped(text))),
            Block::Text(text) => drop(write!(out, "<p>{}</p>", escaped(text))),
            Block::Facts(facts) => {
                out.push_str("<div class=\"facts\">");
                for fact in facts {
                    let (name, value, below) = (escaped(&fact.name), escaped(&fact.value), escaped(&fact.below));
                    let _ = write!(out, "<div><span>{name}</span><b>{value}</b><span>{below}</span></div>");
                }
                out.push_str("</div>");
            }
            Block::Charts(charts) => charts.iter().for_each(|c| out.push_str(&svg(c))),
            Block::Table(table) => write_table(&mut out, table, document),
        }
    }
    out.push_str("</body></html>\n");
    out
}

fn write_table(out: &mut String, table: &Table, document: &Document) {
    if let Some(text) = &table.left_out {
        let _ = write!(out, "<p class=\"left\">{}</p>", escaped(text));
    }
    out.push_str("\n<div class=\"table\"><table><thead><tr>");
    let class = |i: usize| if table.columns.get(i).is_some_and(|c| c.1) { " class=\"n\"" } else { "" };
    for (i, (name, _)) in table.columns.iter().enumerate() {
        let _ = write!(out, "<th{}>{}</th>", class(i), escaped(name));
    }
    out.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        out.push_str("\n<tr>");
        for (i, cell) in row.iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", class(i), escaped(&cell.shown(document.zone)));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
}
