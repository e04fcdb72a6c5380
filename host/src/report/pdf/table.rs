//! A plain table as a file: what an export is as PDF.

use super::{About, Column, Grid, Pages, PdfError};
use crate::report::chart::{GREY, INK};
use crate::report::format::number;

/// Rows, up to what somebody may read.
pub struct Table {
    title: String,
    window: String,
    grid: Grid,
    left_out: u64,
    language: &'static str,
}

impl Table {
    /// Rows of one file: a hundred pages. What goes beyond is counted and said on the first page.
    pub const MOST_ROWS: usize = 5_000;

    /// `window` stands below the title: what it is about and when. A number stands right.
    pub fn new(title: &str, window: &str, columns: &[(&str, bool)]) -> Self {
        let columns = columns.iter().map(|(name, is_number)| Column { name: (*name).to_owned(), is_number: *is_number }).collect();
        Self { title: title.to_owned(), window: window.to_owned(), grid: Grid::new(columns), left_out: 0, language: "en" }
    }

    /// Says what it says by itself in Korean.
    pub fn in_korean(mut self) -> Self {
        self.language = "ko";
        self
    }

    /// Takes a row; `false` where it is one too many: from then on rows are counted only.
    pub fn row(&mut self, cells: &[&str]) -> bool {
        if self.grid.rows() >= Self::MOST_ROWS {
            self.left_out += 1;
            return false;
        }
        self.grid.row(cells);
        true
    }

    /// Writes the file.
    pub fn finish(self) -> Result<Vec<u8>, PdfError> {
        let mut pages = Pages::new(self.grid.is_wide());
        pages.title(&self.title, std::slice::from_ref(&self.window));
        let (shown, most) = (self.grid.rows(), number(Self::MOST_ROWS as f64, 0));
        let is_korean = self.language == "ko";
        if self.left_out > 0 {
            let all = number(shown as f64 + self.left_out as f64, 0);
            let text = match is_korean {
                true => format!("처음 {most}행만 표시합니다. 읽은 행은 {all}행 이상입니다. 모든 행은 csv 또는 parquet로 내보내십시오."),
                false => format!("Only the first {most} rows of at least {all} are shown. For all of them export csv or parquet."),
            };
            pages.paragraph(&text, 9.0, INK);
        }
        if shown == 0 {
            pages.paragraph(if is_korean { "이 기간에는 행이 없습니다." } else { "There are no rows in this window." }, 9.0, INK);
        }
        let cut = self.grid.draw(&mut pages);
        if cut > 0 {
            let count = number(cut as f64, 0);
            let text = match is_korean {
                true => format!("셀 {count}개는 길어서 줄였습니다. csv와 parquet에는 전체가 있습니다."),
                false => format!("{count} cells are longer than a cell can be and were cut; csv and parquet have them whole."),
            };
            pages.paragraph(&text, 7.5, GREY);
        }
        let foot = format!("KCloud Monitor · {}", self.window);
        pages.finish(&About { title: self.title, language: self.language, foot, made_ms: crate::now_ms() })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What poppler reads in it.
    fn text_of(pdf: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.pdf");
        std::fs::write(&path, pdf).unwrap();
        let out = Command::new("pdftotext").args(["-layout", path.to_str().unwrap(), "-"]).output();
        let out = out.expect("poppler's pdftotext (Debian: poppler-utils) judges what is made here");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn a_table_goes_on_over_pages_with_its_head_and_every_value() {
        let mut table = Table::new("전력 내보내기", "2026-01-01 00:00 – 2026-01-02 00:00 UTC", &[("노드", false), ("watts", true)]);
        for i in 0..200 {
            assert!(table.row(&[&format!("워커{i}"), &format!("{i}.125")]));
        }
        let text = text_of(&table.finish().unwrap());
        for i in 0..200 {
            assert!(text.contains(&format!("워커{i} ")) && text.contains(&format!(" {i}.125")), "row {i}: {text}");
        }
        let heads = text.lines().filter(|l| l.split_whitespace().eq(["노드", "watts"])).count();
        let pages = text.matches('\u{c}').count();
        assert!(pages >= 3 && heads == pages, "{heads} heads on {pages} pages: {text}");
    }

    #[test]
    fn a_table_says_what_it_leaves_out() {
        let mut table = Table::new("t", "w", &[("n", true)]);
        let taken = (0..Table::MOST_ROWS + 3).filter(|i| table.row(&[&i.to_string()])).count();
        assert_eq!(taken, Table::MOST_ROWS);
        let text = text_of(&table.finish().unwrap());
        assert!(text.contains("Only the first 5,000 rows of at least 5,003 are shown"), "{}", &text[..400]);
        assert!(text.contains(" 4999\n") && !text.contains("5002\n"));
    }

    #[test]
    fn hostile_cells_are_seen_and_break_nothing() {
        let long = "x".repeat(10_000);
        let cells = ["=1+1", "a\0b", "rocket 🚀", "line\nbreak \"quoted\", <b>", "\u{202e}reversed", "漢字 العربية", &long, ""];
        let columns: Vec<(&str, bool)> = cells.iter().map(|_| ("name", false)).collect();
        let mut table = Table::new("=cmd()\0🚀", &long, &columns);
        table.row(&cells);
        table.row(&["only one"]);
        table.row(&[&*"가".repeat(3_000); 12]);
        let text = text_of(&table.finish().unwrap());
        for expected in ["=1+1", "a\u{fffd}b", "🚀", "\"quoted\",", "<b>", "漢字", "xxxx…", "가가", "cells are longer"] {
            assert!(text.contains(expected), "{expected:?}: {text}");
        }
    }

    #[test]
    fn a_table_without_rows_or_columns_is_a_file_too() {
        assert!(text_of(&Table::new("t", "w", &[("n", true)]).finish().unwrap()).contains("no rows"));
        assert!(text_of(&Table::new("t", "w", &[]).in_korean().finish().unwrap()).contains("행이 없습니다"));
    }

    #[test]
    fn many_columns_stay_on_the_page() {
        let names: Vec<String> = (0..24).map(|i| format!("a_long_metric_name_{i}_watts")).collect();
        let columns: Vec<(&str, bool)> = names.iter().map(|n| (n.as_str(), true)).collect();
        let mut table = Table::new("wide", "w", &columns);
        table.row(&names.iter().map(|_| "123456.789").collect::<Vec<_>>());
        assert!(text_of(&table.finish().unwrap()).contains("123"));
    }
}
