//! A table on pages: as wide as its page, its head repeated on each.

use super::Pages;
use super::font::{self, ASCENT, LINE, width};
use crate::report::chart::{Anchor, Canvas, GREY, INK, RULE, SHADE};

/// One column.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    /// Stands right.
    pub is_number: bool,
}

/// Cells, row by row.
#[derive(Debug, Clone, Default)]
pub struct Grid {
    columns: Vec<Column>,
    cells: Vec<String>,
}

const SIZE: f32 = 7.5;
/// Where even that is too wide.
const LEAST: f32 = 5.0;
const PAD: f32 = 4.0;
/// A text is this wide before it is broken, and has so many lines before it is cut.
const WIDEST: f32 = 190.0;
const MOST_LINES: usize = 4;

impl Grid {
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, cells: Vec::new() }
    }

    /// A row; what is missing of it is empty, what is too much is left out.
    pub fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        for i in 0..self.columns.len() {
            self.cells.push(cells.get(i).map_or(String::new(), |c| c.as_ref().to_owned()));
        }
    }

    pub fn rows(&self) -> usize {
        self.cells.len() / self.columns.len().max(1)
    }

    /// The width of each column as its cells would have it, at [`SIZE`].
    fn wanted(&self) -> Vec<f32> {
        let of = |i: usize, column: &Column| {
            let cells = self.cells.iter().skip(i).step_by(self.columns.len());
            // A name of ten thousand characters is not measured to its end.
            let measure = |c: &str| width(c.char_indices().nth(120).map_or(c, |(at, _)| &c[..at]), SIZE);
            let widest = cells.map(|c| measure(c)).fold(0.0, f32::max);
            let most = if column.is_number { f32::MAX } else { WIDEST };
            widest.min(most).max(measure(&column.name).min(WIDEST / 2.0)) + 2.0 * PAD
        };
        self.columns.iter().enumerate().map(|(i, c)| of(i, c)).collect()
    }

    /// Whether it wants a page that lies.
    pub fn is_wide(&self) -> bool {
        self.wanted().iter().sum::<f32>() > Pages::width_of(false)
    }

    /// Widths that fill `most`, and the size of the text.
    fn widths(&self, most: f32) -> (Vec<f32>, f32) {
        let mut all = self.wanted();
        let sum: f32 = all.iter().sum();
        if sum <= most {
            // What is left over goes between the columns.
            let each = ((most - sum) / all.len().max(1) as f32).min(60.0);
            all.iter_mut().for_each(|w| *w += each);
            return (all, SIZE);
        }
        // Texts give way first: they can be broken.
        let is_text = |i: usize| self.columns.get(i).is_some_and(|c| !c.is_number);
        let texts: f32 = all.iter().enumerate().filter(|(i, _)| is_text(*i)).map(|(_, w)| w).sum();
        let least: f32 = all.iter().enumerate().filter(|(i, _)| is_text(*i)).map(|(_, w)| w.min(48.0)).sum();
        let room = most - (sum - texts);
        if room >= least && texts > least {
            let part = (room - least) / (texts - least);
            for (i, w) in all.iter_mut().enumerate().filter(|(i, _)| is_text(*i)) {
                let _ = i;
                *w = w.min(48.0) + (*w - w.min(48.0)) * part;
            }
            return (all, SIZE);
        }
        let part = most / sum;
        (all.iter().map(|w| w * part).collect(), (SIZE * part).max(LEAST))
    }

    /// Puts it on pages; how many cells were cut because they are longer than a cell can be.
    pub fn draw(&self, to: &mut Pages) -> usize {
        let (widths, size) = self.widths(to.width());
        let mut cut = 0;
        self.head(to, &widths, size);
        for (n, row) in self.cells.chunks(self.columns.len().max(1)).enumerate() {
            let cells: Vec<(Vec<String>, bool)> = row
                .iter()
                .zip(&widths)
                .zip(&self.columns)
                .map(|((cell, w), column)| font::wrap(cell, size, w - 2.0 * PAD + 0.05, if column.is_number { 1 } else { MOST_LINES }))
                .collect();
            cut += cells.iter().filter(|c| !c.1).count();
            let lines = cells.iter().map(|c| c.0.len()).max().unwrap_or(1).max(1);
            let high = size * LINE * lines as f32 + 3.5;
            if !to.has_room(high) {
                to.next_page();
                self.head(to, &widths, size);
            }
            let (mut x, y) = (to.left(), to.y());
            if n % 2 == 1 {
                to.rect((x, y), (widths.iter().sum(), high), SHADE);
            }
            for ((lines, _), (w, column)) in cells.iter().zip(widths.iter().zip(&self.columns)) {
                for (i, line) in lines.iter().enumerate() {
                    self.cell(to, (x, y + 2.0 + size * (ASCENT + LINE * i as f32)), *w, column, size, line);
                }
                x += w;
            }
            to.down(high);
        }
        to.down(8.0);
        cut
    }

    fn cell(&self, to: &mut Pages, (x, y): (f32, f32), w: f32, column: &Column, size: f32, text: &str) {
        match column.is_number {
            true => to.text((x + w - PAD, y), size, Anchor::End, INK, text),
            false => to.text((x + PAD, y), size, Anchor::Start, INK, text),
        }
    }

    fn head(&self, to: &mut Pages, widths: &[f32], size: f32) {
        let names: Vec<Vec<String>> =
            self.columns.iter().zip(widths).map(|(c, w)| font::wrap(&c.name, size, w - 2.0 * PAD + 0.05, 3).0).collect();
        let lines = names.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let high = size * LINE * lines as f32 + 4.0;
        to.need(high + 3.0 * size * LINE);
        let (mut x, y) = (to.left(), to.y());
        for (lines_of, (w, column)) in names.iter().zip(widths.iter().zip(&self.columns)) {
            for (i, line) in lines_of.iter().enumerate() {
                let y = y + size * (ASCENT + LINE * (i + lines - lines_of.len()) as f32);
                let (at, anchor) = if column.is_number { ((x + w - PAD, y), Anchor::End) } else { ((x + PAD, y), Anchor::Start) };
                to.text(at, size, anchor, GREY, line);
            }
            x += w;
        }
        to.line(&[(to.left(), y + high - 2.0), (x, y + high - 2.0)], 0.7, RULE);
        to.down(high);
    }
}
