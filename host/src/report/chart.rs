//! Charts, drawn once for every kind of page: a PDF and an SVG differ in their canvas alone.
//!
//! All lines and areas are opaque. What was not observed is a shaded gap, never a line across.

use super::format::{decimals, number};

pub type Colour = [u8; 3];
pub const INK: Colour = [31, 41, 55];
pub const GREY: Colour = [107, 114, 128];
pub const RULE: Colour = [229, 231, 235];
pub const SHADE: Colour = [243, 244, 246];
pub const ACCENT: Colour = [37, 99, 235];
const TINT: Colour = [219, 234, 254];
/// Colours of series, first to last.
pub const SERIES: [Colour; 6] = [ACCENT, [217, 119, 6], [5, 150, 105], [147, 51, 234], [220, 38, 38], [75, 85, 99]];
const BEFORE: Colour = [156, 163, 175];

/// Where a text stands at its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Points and sizes are in points of a page, from its top left.
pub trait Canvas {
    /// `y` is the base line.
    fn text(&mut self, at: (f32, f32), size: f32, anchor: Anchor, colour: Colour, text: &str);
    fn line(&mut self, points: &[(f32, f32)], width: f32, colour: Colour);
    fn area(&mut self, points: &[(f32, f32)], colour: Colour);
    fn rect(&mut self, (x, y): (f32, f32), (w, h): (f32, f32), colour: Colour) {
        self.area(&[(x, y), (x + w, y), (x + w, y + h), (x, y + h)], colour);
    }
}

/// A chart without its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub title: String,
    pub unit: String,
    pub plot: Plot,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Plot {
    /// Over time: each series has steps at the same moments; the first one's area is tinted where it stands alone.
    Lines { span: (i64, i64), step: i64, ticks: Vec<(i64, String)>, series: Vec<(String, Vec<(i64, Option<f64>)>)> },
    /// A column a label; a second series is the window before, and paler.
    Columns { labels: Vec<String>, series: Vec<(String, Vec<Option<f64>>)> },
    /// A row a label, the largest first.
    Bars { rows: Vec<(String, f64)> },
}

const LABEL: f32 = 7.0;
const ROW: f32 = 14.0;

impl Chart {
    /// How high it wants to be.
    pub fn height(&self) -> f32 {
        match &self.plot {
            Plot::Lines { .. } | Plot::Columns { .. } => 150.0,
            Plot::Bars { rows } => 26.0 + ROW * rows.len().max(1) as f32,
        }
    }

    /// Draws it into a place.
    pub fn draw(&self, to: &mut dyn Canvas, (x, y): (f32, f32), (w, h): (f32, f32)) {
        to.text((x, y + 9.0), 9.0, Anchor::Start, INK, &fit(&self.title, 9.0, w * 0.6));
        let names = match &self.plot {
            Plot::Lines { series, .. } if series.len() > 1 => series.iter().map(|s| s.0.as_str()).collect(),
            Plot::Columns { series, .. } if series.len() > 1 => series.iter().map(|s| s.0.as_str()).collect(),
            _ => Vec::new(),
        };
        let mut right = x + w;
        for (i, name) in names.iter().enumerate().rev() {
            let name = fit(name, LABEL, 110.0);
            right -= width(&name, LABEL);
            to.text((right, y + 8.5), LABEL, Anchor::Start, GREY, &name);
            right -= 10.0;
            to.rect((right, y + 3.0), (7.0, 6.0), self.colour(i));
            right -= 8.0;
        }
        let place = ((x, y + 18.0), (w, h - 18.0));
        match &self.plot {
            Plot::Lines { span, step, ticks, series } => self.lines(to, place, (*span, *step), ticks, series),
            Plot::Columns { labels, series } => self.columns(to, place, labels, series),
            Plot::Bars { rows } => self.bars(to, place, rows),
        }
    }

    fn colour(&self, series: usize) -> Colour {
        match self.plot {
            Plot::Columns { .. } if series == 1 => BEFORE,
            _ => SERIES[series % SERIES.len()],
        }
    }

    /// Axis of values with its lines; returns where the plot begins, its width, and what a height stands for.
    fn axis(&self, to: &mut dyn Canvas, ((x, y), (w, h)): Place, most: f64) -> (f32, f32, impl Fn(f64) -> f32 + use<>) {
        let (top, every) = scale(most);
        let digits = if every >= 1.0 { 0 } else { (-every.log10()).ceil().max(0.0) as usize };
        let mark = |v: f64| number(v, digits);
        let left = x + width(&mark(top), LABEL).max(18.0) + 6.0;
        let (base, high) = (y + h - 12.0, h - 20.0);
        let at = move |v: f64| base - (v / top) as f32 * high;
        to.text((x, y + 4.0), LABEL, Anchor::Start, GREY, &self.unit);
        let mut value = 0.0;
        while value <= top * 1.0001 {
            to.line(&[(left, at(value)), (x + w, at(value))], 0.5, RULE);
            to.text((left - 4.0, at(value) + 2.5), LABEL, Anchor::End, GREY, &mark(value));
            value += every;
        }
        (left, x + w - left, at)
    }

    fn lines(&self, to: &mut dyn Canvas, place: Place, time: ((i64, i64), i64), ticks: &[(i64, String)], all: &[(String, Steps)]) {
        let ((start, end), step) = time;
        let most = all.iter().flat_map(|s| &s.1).filter_map(|p| p.1).fold(0.0, f64::max);
        let (left, wide, at) = self.axis(to, place, most);
        let x = |ms: i64| left + ((ms - start) as f64 / (end - start).max(1) as f64).clamp(0.0, 1.0) as f32 * wide;
        // A step in which nothing at all was observed.
        for (i, (ms, _)) in all.first().map_or(&[][..], |s| &s.1).iter().enumerate() {
            if all.iter().all(|s| s.1.get(i).is_none_or(|p| p.1.is_none())) {
                let top = at(scale(most).0);
                to.rect((x(*ms), top), (x(ms + step) - x(*ms), at(0.0) - top), SHADE);
            }
        }
        for (ms, label) in ticks {
            to.line(&[(x(*ms), at(0.0)), (x(*ms), at(0.0) + 2.5)], 0.5, GREY);
            to.text((x(*ms), at(0.0) + 10.0), LABEL, Anchor::Middle, GREY, label);
        }
        for (i, (_, steps)) in all.iter().enumerate() {
            for run in steps.split(|p| p.1.is_none()).filter(|r| !r.is_empty()) {
                let middle = |ms: i64| x((ms + step / 2).min(end));
                let mut points: Vec<(f32, f32)> = run.iter().filter_map(|(ms, v)| Some((middle(*ms), at((*v)?)))).collect();
                // One step alone is a short line, not an invisible point.
                if let ([only], (ms, _)) = (&points[..], run[0]) {
                    let y = only.1;
                    points = vec![(x(ms), y), (x((ms + step).min(end)), y)];
                }
                if all.len() == 1 {
                    let mut under = points.clone();
                    under.extend(points.last().map(|p| (p.0, at(0.0))));
                    under.extend(points.first().map(|p| (p.0, at(0.0))));
                    to.area(&under, TINT);
                }
                to.line(&points, 1.0, self.colour(i));
            }
        }
    }

    fn columns(&self, to: &mut dyn Canvas, place: Place, labels: &[String], all: &[(String, Vec<Option<f64>>)]) {
        let most = all.iter().flat_map(|s| &s.1).filter_map(|v| *v).fold(0.0, f64::max);
        let (left, wide, at) = self.axis(to, place, most);
        let each = wide / labels.len().max(1) as f32;
        let bar = (each * 0.76 / all.len().max(1) as f32).min(26.0);
        let widest = labels.iter().map(|l| width(l, LABEL)).fold(0.0, f32::max);
        let skip = ((widest + 4.0) / each).ceil().max(1.0) as usize;
        for (i, label) in labels.iter().enumerate() {
            let middle = left + each * (i as f32 + 0.5);
            if all.first().is_some_and(|s| s.1.get(i).is_none_or(Option::is_none)) {
                let top = at(scale(most).0);
                to.rect((middle - each * 0.45, top), (each * 0.9, at(0.0) - top), SHADE);
            }
            // The window before stands left.
            for (place, (n, series)) in all.iter().enumerate().rev().enumerate() {
                if let Some(Some(v)) = series.1.get(i) {
                    let x = middle - bar * all.len() as f32 / 2.0 + bar * place as f32;
                    to.rect((x, at(*v)), (bar * 0.94, at(0.0) - at(*v)), self.colour(n));
                }
            }
            if i % skip == 0 {
                to.text((middle, at(0.0) + 10.0), LABEL, Anchor::Middle, GREY, label);
            }
        }
    }

    fn bars(&self, to: &mut dyn Canvas, ((x, y), (w, _)): Place, rows: &[(String, f64)]) {
        let most = rows.iter().map(|r| r.1).fold(0.0, f64::max);
        let digits = decimals(most);
        let named = rows.iter().map(|r| width(&r.0, LABEL)).fold(0.0, f32::max).min(w * 0.32) + 6.0;
        let text = |v: f64| format!("{} {}", number(v, digits), self.unit);
        let value = rows.iter().map(|r| width(&text(r.1), LABEL)).fold(0.0, f32::max) + 6.0;
        for (i, (name, v)) in rows.iter().enumerate() {
            let y = y + ROW * i as f32;
            to.text((x, y + 8.5), LABEL, Anchor::Start, INK, &fit(name, LABEL, named - 6.0));
            let long = if most > 0.0 { (v.max(0.0) / most) as f32 * (w - named - value) } else { 0.0 };
            to.rect((x + named, y + 1.5), (w - named - value, ROW - 5.0), SHADE);
            if long > 0.0 {
                to.rect((x + named, y + 1.5), (long, ROW - 5.0), ACCENT);
            }
            to.text((x + w, y + 8.5), LABEL, Anchor::End, INK, &text(*v));
        }
    }
}

type Place = ((f32, f32), (f32, f32));
type Steps = Vec<(i64, Option<f64>)>;

use super::pdf::font::{fit, width};

/// The end of an axis that begins at 0, and the distance of its marks: 1, 2 or 5 times a power of ten.
fn scale(most: f64) -> (f64, f64) {
    if !(most.is_finite() && most > 0.0) {
        return (1.0, 0.5);
    }
    let rough = most / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let every = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|e| *e >= rough * 0.999).unwrap_or(10.0 * power);
    ((most / every).ceil() * every, every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_marks_and_reaches_over_the_largest_value() {
        assert_eq!(scale(3_500.0), (4_000.0, 1_000.0));
        assert_eq!(scale(1_000.0), (1_000.0, 500.0));
        assert_eq!(scale(0.0), (1.0, 0.5));
        assert_eq!(scale(f64::NAN), (1.0, 0.5));
        for most in [0.003, 0.7, 1.0, 9.99, 123.4, 8e9] {
            let (top, every) = scale(most);
            assert!(top >= most && top / every <= 5.5, "{most}: {top} by {every}");
        }
    }
}
