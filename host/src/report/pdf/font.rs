//! The one font that is in every file: NanumSquare (OFL-1.1), with every Korean syllable, Latin, Greek and Cyrillic letters.
//!
//! Each character is one glyph, so that what is measured is what is drawn. What the font lacks is drawn as an empty square; its
//! text stays what it was. Characters that would steer a viewer instead of being seen are replaced in the text as well.

use std::borrow::Cow;
use std::sync::LazyLock;

use krilla::text::{Font, GlyphId, KrillaGlyph};
use ttf_parser::Face;

static BYTES: &[u8] = include_bytes!("../../../assets/fonts/NanumSquareR.ttf");
static FACE: LazyLock<Option<Face<'static>>> = LazyLock::new(|| Face::parse(BYTES, 0).ok());
static FONT: LazyLock<Option<Font>> = LazyLock::new(|| Font::new(BYTES.into(), 0));

/// Stands for what the font lacks.
const LACKING: char = '□';
/// Height of what stands above the base line, over the size.
pub(super) const ASCENT: f32 = 0.8;
/// From one line to the next, over the size.
pub(super) const LINE: f32 = 1.35;

pub(super) fn font() -> Option<Font> {
    FONT.clone()
}

fn glyph(c: char) -> (u16, f32) {
    let Some(face) = FACE.as_ref() else { return (0, 0.5) };
    let id = face.glyph_index(c).filter(|g| g.0 != 0).or_else(|| face.glyph_index(LACKING)).unwrap_or_default();
    let advance = face.glyph_hor_advance(id).unwrap_or(face.units_per_em() / 2);
    (id.0, f32::from(advance) / f32::from(face.units_per_em()))
}

/// How wide a text is on its line.
pub fn width(text: &str, size: f32) -> f32 {
    text.chars().map(|c| glyph(c).1).sum::<f32>() * size
}

/// A text as one line that can be drawn: white space is a space; what is a command to a viewer is U+FFFD.
pub fn clean(text: &str) -> Cow<'_, str> {
    let seen = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => '\u{fffd}',
        c if c.is_control() || u32::from(c) & 0xfffe == 0xfffe => '\u{fffd}',
        c => c,
    };
    match text.chars().all(|c| seen(c) == c) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.chars().map(seen).collect()),
    }
}

/// The glyphs of a text that is clean.
pub(super) fn glyphs(text: &str) -> Vec<KrillaGlyph> {
    let one = |(i, c): (usize, char)| {
        let (id, advance) = glyph(c);
        KrillaGlyph::new(GlyphId::new(id.into()), advance, 0.0, 0.0, 0.0, i..i + c.len_utf8(), None)
    };
    text.char_indices().map(one).collect()
}

/// As much of a text as fits, with an ellipsis where it is not all.
pub fn fit(text: &str, size: f32, most: f32) -> String {
    let text = clean(text);
    // A name of ten thousand characters is not measured to its end.
    let mut wide = 0.0;
    if text.chars().all(|c| {
        wide += glyph(c).1 * size;
        wide <= most + 0.01
    }) {
        return text.into_owned();
    }
    let mut left = most - width("…", size);
    let mut out: String = text
        .chars()
        .take_while(|c| {
            left -= glyph(*c).1 * size;
            left >= 0.0
        })
        .collect();
    out.push('…');
    out
}

/// Lines of a text, broken at spaces where there are any, at most so many; whether that was all of it.
pub(super) fn wrap(text: &str, size: f32, most: f32, lines: usize) -> (Vec<String>, bool) {
    let text = clean(text);
    let mut rest = text.trim();
    let mut out = Vec::new();
    while !rest.is_empty() {
        if out.len() + 1 == lines {
            let last = fit(rest, size, most);
            let is_all = last == rest;
            out.push(last);
            return (out, is_all);
        }
        let (mut wide, mut space, mut cut) = (0.0, None, rest.len());
        for (i, c) in rest.char_indices() {
            wide += glyph(c).1 * size;
            if wide > most && i > 0 {
                cut = space.unwrap_or(i);
                break;
            }
            if c == ' ' && i > 0 {
                space = Some(i);
            }
        }
        out.push(rest[..cut].trim_end().to_owned());
        rest = rest[cut..].trim_start();
    }
    (out, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_every_syllable_digit_and_sign_that_reports_use() {
        let face = FACE.as_ref().unwrap();
        let syllables = (0xac00..=0xd7a3).filter_map(char::from_u32);
        for c in syllables.chain("0123456789 ABCxyz .,:;/%()[]+-=_@#…·–↑↓°²▲▼₩□\u{3b1}".chars()) {
            assert!(face.glyph_index(c).is_some_and(|g| g.0 != 0), "no glyph of {c:?}");
        }
    }

    #[test]
    fn what_the_font_lacks_is_a_square_and_what_steers_a_viewer_is_gone() {
        assert_eq!(glyph('🚀'), glyph(LACKING));
        assert_eq!(clean("a\0b\u{202e}c\nd🚀"), "a\u{fffd}b\u{fffd}c d🚀");
    }

    #[test]
    fn a_text_is_cut_or_wrapped_to_what_fits() {
        let long = "x".repeat(10_000);
        let cut = fit(&long, 8.0, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 8.0) <= 100.0, "{cut}");
        assert_eq!(fit("short", 8.0, 100.0), "short");
        let (lines, all) = wrap("전력 사용량 보고서는 매일 만들어집니다", 10.0, 60.0, 9);
        assert!(all && lines.len() > 2 && lines.iter().all(|l| width(l, 10.0) <= 60.0), "{lines:?}");
        let (lines, all) = wrap(&long, 8.0, 100.0, 3);
        assert!(!all && lines.len() == 3 && lines.iter().all(|l| width(l, 8.0) <= 100.0), "{lines:?}");
        // Narrower than a letter: one a line, for ever is not an answer.
        assert_eq!(wrap("abc", 8.0, 0.1, 9).0.len(), 3);
    }
}
