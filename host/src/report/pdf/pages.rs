//! Pages that fill from top to bottom.

use krilla::color::rgb;
use krilla::configure::{Archival, ConfigurationBuilder};
use krilla::destination::XyzDestination;
use krilla::geom::{Path, PathBuilder, Point};
use krilla::metadata::{DateTime, Metadata};
use krilla::num::NormalizedF32;
use krilla::outline::{Outline, OutlineNode};
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule, LineCap, LineJoin, Stroke};
use krilla::surface::Surface;
use krilla::text::Font;
use krilla::{Document, SerializeSettings};

use super::PdfError;
use super::font::{self, ASCENT, LINE};
use crate::report::chart::{ACCENT, Anchor, Canvas, Chart, Colour, GREY, INK, RULE, SHADE};

/// A4.
const SHORT: f32 = 595.0;
const LONG: f32 = 842.0;
const SIDE: f32 = 42.0;
const TOP: f32 = 48.0;
const BOTTOM: f32 = 44.0;

/// What a file says of itself.
#[derive(Debug, Clone, Default)]
pub struct About {
    pub title: String,
    /// RFC 3066: `en`, `ko`.
    pub language: &'static str,
    /// On the left of each page's foot.
    pub foot: String,
    pub made_ms: i64,
}

enum Op {
    Text { at: (f32, f32), size: f32, colour: Colour, is_strong: bool, text: String },
    Line { points: Vec<(f32, f32)>, width: f32, colour: Colour },
    Area { points: Vec<(f32, f32)>, colour: Colour },
}

/// A file that is being made.
pub struct Pages {
    size: (f32, f32),
    pages: Vec<Vec<Op>>,
    y: f32,
    is_strong: bool,
    outline: Vec<(String, usize, f32)>,
}

impl Canvas for Pages {
    fn text(&mut self, (x, y): (f32, f32), size: f32, anchor: Anchor, colour: Colour, text: &str) {
        let text = font::clean(text).into_owned();
        if text.is_empty() {
            return;
        }
        let x = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - font::width(&text, size) / 2.0,
            Anchor::End => x - font::width(&text, size),
        };
        let is_strong = self.is_strong;
        self.put(Op::Text { at: (x, y), size, colour, is_strong, text });
    }

    fn line(&mut self, points: &[(f32, f32)], width: f32, colour: Colour) {
        self.put(Op::Line { points: points.to_vec(), width, colour });
    }

    fn area(&mut self, points: &[(f32, f32)], colour: Colour) {
        self.put(Op::Area { points: points.to_vec(), colour });
    }
}

impl Pages {
    pub fn new(is_wide: bool) -> Self {
        let size = if is_wide { (LONG, SHORT) } else { (SHORT, LONG) };
        Self { size, pages: vec![Vec::new()], y: TOP, is_strong: false, outline: Vec::new() }
    }

    fn put(&mut self, op: Op) {
        if let Some(page) = self.pages.last_mut() {
            page.push(op);
        }
    }

    /// Width between the margins of a page.
    pub fn width_of(is_wide: bool) -> f32 {
        if is_wide { LONG - 2.0 * SIDE } else { SHORT - 2.0 * SIDE }
    }

    pub fn left(&self) -> f32 {
        SIDE
    }

    pub fn width(&self) -> f32 {
        self.size.0 - 2.0 * SIDE
    }

    /// Where the next thing goes.
    pub fn y(&self) -> f32 {
        self.y
    }

    pub fn down(&mut self, by: f32) {
        self.y += by;
    }

    /// Whether so much is left of the page.
    pub fn has_room(&self, height: f32) -> bool {
        self.y + height <= self.size.1 - BOTTOM
    }

    pub fn next_page(&mut self) {
        self.pages.push(Vec::new());
        self.y = TOP;
    }

    /// A new page, unless so much is left of this one.
    pub fn need(&mut self, height: f32) {
        if !self.has_room(height) && self.y > TOP {
            self.next_page();
        }
    }

    /// Text that is a little heavier: the font has one weight.
    pub fn strong(&mut self, draw: impl FnOnce(&mut Self)) {
        self.is_strong = true;
        draw(self);
        self.is_strong = false;
    }

    /// The head of the first page.
    pub fn title(&mut self, title: &str, below: &[String]) {
        let (x, w) = (self.left(), self.width());
        self.rect((x, self.y - 6.0), (36.0, 3.0), ACCENT);
        self.y += 8.0;
        let (lines, _) = font::wrap(title, 20.0, w, 3);
        for line in lines {
            self.y += 20.0;
            let at = (x, self.y);
            self.strong(|p| p.text(at, 20.0, Anchor::Start, INK, &line));
            self.y += 6.0;
        }
        self.y += 4.0;
        for text in below {
            for line in font::wrap(text, 9.0, w, 3).0 {
                self.y += 12.0;
                self.text((x, self.y), 9.0, Anchor::Start, GREY, &line);
            }
        }
        self.y += 6.0;
        self.y += 8.0;
    }

    /// A part's head, which viewers list, with room for so much of what follows.
    pub fn heading(&mut self, text: &str, following: f32) {
        self.need(33.0 + following);
        self.y += 8.0;
        self.outline.push((font::clean(text).into_owned(), self.pages.len() - 1, self.y));
        self.y += 12.0;
        let (at, w) = ((self.left(), self.y), self.width());
        let text = font::fit(text, 12.0, w);
        self.strong(|p| p.text(at, 12.0, Anchor::Start, INK, &text));
        self.y += 5.0;
        self.line(&[(at.0, self.y), (at.0 + w, self.y)], 0.7, RULE);
        self.y += 8.0;
    }

    /// Text over as many lines as it takes.
    pub fn paragraph(&mut self, text: &str, size: f32, colour: Colour) {
        let (lines, _) = font::wrap(text, size, self.width(), 60);
        for line in lines {
            self.need(size * LINE);
            let at = (self.left(), self.y + size * ASCENT);
            self.text(at, size, Anchor::Start, colour, &line);
            self.y += size * LINE;
        }
        self.y += size * 0.3;
    }

    /// Figures in boxes, three in a row: name, value, and what is said of it.
    pub fn facts(&mut self, facts: &[[&str; 3]]) {
        let (gap, high) = (8.0, 52.0);
        let each = (self.width() - 2.0 * gap) / 3.0;
        for row in facts.chunks(3) {
            self.need(high + gap);
            for (i, [name, value, below]) in row.iter().enumerate() {
                let (x, y) = (self.left() + (each + gap) * i as f32, self.y);
                let most = each - 16.0;
                self.rect((x, y), (each, high), SHADE);
                self.text((x + 8.0, y + 13.0), 7.5, Anchor::Start, GREY, &font::fit(name, 7.5, most));
                let value = font::fit(value, 14.0, most);
                self.strong(|p| p.text((x + 8.0, y + 30.0), 14.0, Anchor::Start, INK, &value));
                self.text((x + 8.0, y + 44.0), 7.0, Anchor::Start, GREY, &font::fit(below, 7.0, most));
            }
            self.y += high + gap;
        }
        self.y += 4.0;
    }

    /// Charts beside each other.
    pub fn charts(&mut self, charts: &[&Chart]) {
        let high = charts.iter().map(|c| c.height()).fold(0.0, f32::max);
        self.need(high + 10.0);
        let gap = 22.0;
        let each = (self.width() - gap * (charts.len().max(1) - 1) as f32) / charts.len().max(1) as f32;
        let (x, y) = (self.left(), self.y);
        for (i, chart) in charts.iter().enumerate() {
            chart.draw(self, (x + (each + gap) * i as f32, y), (each, high));
        }
        self.y += high + 12.0;
    }

    /// Writes the file.
    pub fn finish(self, about: &About) -> Result<Vec<u8>, PdfError> {
        let font = font::font().ok_or(PdfError::Font)?;
        let configuration = ConfigurationBuilder::new().with_archival_validator(Archival::A2_B).finish();
        let configuration = configuration.map_err(|e| PdfError::Write(format!("{e:?}")))?;
        let mut document = Document::new_with(SerializeSettings { configuration, ..SerializeSettings::default() });
        let count = self.pages.len();
        let (w, h) = self.size;
        for (i, ops) in self.pages.iter().enumerate() {
            let Some(settings) = PageSettings::from_wh(w, h) else { return Err(PdfError::Write("no such page".into())) };
            let mut page = document.start_page_with(settings);
            let mut surface = page.surface();
            for op in ops {
                draw(&mut surface, &font, op);
            }
            let mut edge = Pages::new(w > h);
            if i > 0 {
                edge.text((SIDE, 30.0), 7.5, Anchor::Start, GREY, &font::fit(&about.title, 7.5, w - 2.0 * SIDE));
                edge.line(&[(SIDE, 35.0), (w - SIDE, 35.0)], 0.5, RULE);
            }
            edge.text((SIDE, h - 24.0), 7.5, Anchor::Start, GREY, &font::fit(&about.foot, 7.5, w - 2.0 * SIDE - 60.0));
            edge.text((w - SIDE, h - 24.0), 7.5, Anchor::End, GREY, &format!("{} / {count}", i + 1));
            edge.pages.iter().flatten().for_each(|op| draw(&mut surface, &font, op));
            surface.finish();
            page.finish();
        }
        let mut outline = Outline::new();
        for (text, page, y) in self.outline {
            outline.push_child(OutlineNode::new(text, XyzDestination::new(page, Point::from_xy(0.0, y))));
        }
        document.set_outline(outline);
        let mut metadata = Metadata::new()
            .title(font::clean(&about.title).into_owned())
            .language(about.language.to_owned())
            .creator(concat!("KCloud Monitor ", env!("CARGO_PKG_VERSION")).to_owned());
        if let Ok(made) = time::OffsetDateTime::from_unix_timestamp(about.made_ms.div_euclid(1_000)) {
            let date = DateTime::new(u16::try_from(made.year()).unwrap_or(1970)).month(made.month().into()).day(made.day());
            let date = date.hour(made.hour()).minute(made.minute()).second(made.second()).utc_offset_hour(0).utc_offset_minute(0);
            metadata = metadata.creation_date(date);
        }
        document.set_metadata(metadata);
        document.finish().map_err(|e| PdfError::Write(format!("{e:?}").chars().take(400).collect()))
    }
}

fn draw(to: &mut Surface<'_>, font: &Font, op: &Op) {
    match op {
        Op::Text { at, size, colour, is_strong, text } => {
            to.set_fill(Some(fill(*colour)));
            to.set_stroke(is_strong.then(|| stroke(*colour, size * 0.025)));
            to.draw_glyphs(Point::from_xy(at.0, at.1), &font::glyphs(text), font.clone(), text, *size, false);
        }
        Op::Line { points, width, colour } => {
            to.set_fill(None);
            to.set_stroke(Some(stroke(*colour, *width)));
            path(points, false).iter().for_each(|p| to.draw_path(p));
        }
        Op::Area { points, colour } => {
            to.set_fill(Some(fill(*colour)));
            to.set_stroke(None);
            path(points, true).iter().for_each(|p| to.draw_path(p));
        }
    }
}

fn path(points: &[(f32, f32)], is_closed: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    let (first, rest) = points.split_first()?;
    path.move_to(first.0, first.1);
    rest.iter().for_each(|p| path.line_to(p.0, p.1));
    if is_closed {
        path.close();
    }
    path.finish()
}

fn fill([r, g, b]: Colour) -> Fill {
    Fill { paint: rgb::Color::new(r, g, b).into(), opacity: NormalizedF32::ONE, rule: FillRule::NonZero }
}

fn stroke([r, g, b]: Colour, width: f32) -> Stroke {
    let paint = rgb::Color::new(r, g, b).into();
    Stroke { paint, width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() }
}
