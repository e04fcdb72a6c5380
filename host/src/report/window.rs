//! What time a report is about: whole days of an offset, and the window before it.

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, Month, OffsetDateTime, UtcOffset};

use super::text::Lang;

const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
/// A custom report is at most this long: as long as history is kept by default.
const LONGEST: i64 = 731 * DAY;

/// Which report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Template {
    Daily,
    Weekly,
    Monthly,
    Custom,
}

impl Template {
    pub const NAMES: [&'static str; 4] = ["daily", "weekly", "monthly", "custom"];
    pub const ALL: [Self; 4] = [Self::Daily, Self::Weekly, Self::Monthly, Self::Custom];

    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|n| *n == name).map(|i| Self::ALL[i])
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// A fixed offset from UTC, as days begin there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(pub UtcOffset);

impl Default for Zone {
    fn default() -> Self {
        Self(UtcOffset::UTC)
    }
}

impl Zone {
    /// `Z`, `UTC` or `+09:00`.
    pub fn parse(text: &str) -> Option<Self> {
        if matches!(text, "Z" | "UTC") {
            return Some(Self::default());
        }
        let (sign, rest) = match text.as_bytes().first()? {
            b'+' => (1, &text[1..]),
            b'-' => (-1, &text[1..]),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':')?;
        let two = |t: &str| (t.len() == 2).then(|| t.parse::<i8>().ok().filter(|n| *n >= 0)).flatten();
        let (hours, minutes) = (two(hours)?, two(minutes)?);
        (hours <= 14 && minutes < 60).then(|| UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok().map(Self)).flatten()
    }

    pub fn name(self) -> String {
        let (h, m, _) = self.0.as_hms();
        match (h, m) {
            (0, 0) => "Z".to_owned(),
            _ => format!("{}{:02}:{:02}", if h < 0 || m < 0 { '-' } else { '+' }, h.abs(), m.abs()),
        }
    }

    pub(super) fn local(self, ms: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH).to_offset(self.0)
    }

    /// When a day begins there.
    pub(super) fn midnight(self, date: Date) -> i64 {
        date.midnight().assume_offset(self.0).unix_timestamp() * 1_000
    }

    /// `2026-01-05 09:00`.
    pub fn moment(self, ms: i64) -> String {
        let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
        self.local(ms).format(&format).unwrap_or_default()
    }

    /// `2026-01-05`.
    pub(super) fn day(self, ms: i64) -> String {
        self.local(ms).date().to_string()
    }
}

impl Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no offset; Z, or one such as +09:00")))
    }
}

/// How a report's window is cut into parts that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grain {
    Hour,
    Day,
    Week,
}

/// The window of a report, in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub template: Template,
    pub zone: Zone,
    pub start: i64,
    pub end: i64,
    /// The window before, of the same kind.
    pub before: (i64, i64),
    pub grain: Grain,
    /// It would go on after now.
    pub is_cut: bool,
}

/// What is wrong with a wish, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} cannot be {given:?}; allowed: {allowed}")]
pub struct WindowError {
    pub parameter: &'static str,
    pub given: String,
    pub allowed: String,
}

fn refuse<T>(parameter: &'static str, given: &str, allowed: &str) -> Result<T, WindowError> {
    Err(WindowError { parameter, given: given.to_owned(), allowed: allowed.to_owned() })
}

/// What was asked for, as it was written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    pub start_date: Option<&'a str>,
    pub end_date: Option<&'a str>,
    pub start_time: Option<&'a str>,
    pub end_time: Option<&'a str>,
}

impl Window {
    /// The window of a template: the last whole day, week (from Monday) or month before `now`, or the one that is given.
    pub fn of(template: Template, zone: Zone, given: &Given<'_>, now: i64) -> Result<Self, WindowError> {
        let today = zone.local(now).date();
        let start = given.start_date.map(|t| date("start_date", t)).transpose()?;
        let end = given.end_date.map(|t| date("end_date", t)).transpose()?;
        let times = [("start_time", given.start_time), ("end_time", given.end_time)];
        if template != Template::Custom
            && let Some((name, text)) = times.into_iter().find_map(|(n, t)| Some((n, t?)))
        {
            return refuse(name, text, "only with template=custom; daily, weekly and monthly take start_date");
        }
        let (first, after, grain) = match template {
            Template::Daily => {
                let day = start.or(end).unwrap_or(today - Duration::days(1));
                (day, day + Duration::days(1), Grain::Hour)
            }
            Template::Weekly => {
                let monday = today - Duration::days(i64::from(today.weekday().number_days_from_monday()) + 7);
                let first = start.or(end.map(|e| e - Duration::days(6))).unwrap_or(monday);
                (first, first + Duration::days(7), Grain::Day)
            }
            Template::Monthly => {
                let of = start.or(end).unwrap_or(month(today) - Duration::days(1));
                let first = month(of);
                (first, month(first + Duration::days(31)), Grain::Day)
            }
            Template::Custom => return Self::custom(zone, given, (start, end), now),
        };
        if let (Some(end), Some(text)) = (end, given.end_date)
            && end != after - Duration::days(1)
            && !(template == Template::Monthly && start.is_none())
        {
            let last = after - Duration::days(1);
            return refuse(
                "end_date",
                text,
                &format!("{last}, where this {} report ends; template=custom takes any range", template.name()),
            );
        }
        let (start, end) = (zone.midnight(first), zone.midnight(after));
        let before = match template {
            Template::Monthly => (zone.midnight(month(first - Duration::days(1))), start),
            _ => (start - (end - start), start),
        };
        Self { template, zone, start, end, before, grain, is_cut: false }.cut(now, given.start_date.unwrap_or(""))
    }

    fn custom(zone: Zone, given: &Given<'_>, (from, to): (Option<Date>, Option<Date>), now: i64) -> Result<Self, WindowError> {
        let pick = |names: [&'static str; 2], day: Option<i64>, text: Option<&str>| match (day, text) {
            (Some(_), Some(text)) => refuse(names[1], text, &format!("{} or {}, not both", names[0], names[1])),
            (Some(day), None) => Ok(day),
            (None, Some(text)) => moment(names[1], text),
            (None, None) => {
                refuse(names[0], "", "a date such as 2026-01-31, or a moment as start_time and end_time: custom needs a start and an end")
            }
        };
        let start = pick(["start_date", "start_time"], from.map(|d| zone.midnight(d)), given.start_time)?;
        // The last day is in it.
        let end = pick(["end_date", "end_time"], to.map(|d| zone.midnight(d + Duration::days(1))), given.end_time)?;
        let written = given.end_date.or(given.end_time).unwrap_or("");
        if start >= end {
            return refuse(if to.is_some() { "end_date" } else { "end_time" }, written, "an end after the start");
        }
        let length = end - start;
        if !(MINUTE..=LONGEST).contains(&length) {
            return refuse(if to.is_some() { "end_date" } else { "end_time" }, written, "a minute to 731 days after the start");
        }
        let grain = match length {
            l if l <= 3 * DAY => Grain::Hour,
            l if l <= 62 * DAY => Grain::Day,
            _ => Grain::Week,
        };
        let window = Self { template: Template::Custom, zone, start, end, before: (start - length, start), grain, is_cut: false };
        window.cut(now, given.start_date.or(given.start_time).unwrap_or(""))
    }

    /// Ends it now, where it would go on.
    fn cut(self, now: i64, start: &str) -> Result<Self, WindowError> {
        if self.start >= now {
            let parameter = if self.template == Template::Custom && start.contains('T') { "start_time" } else { "start_date" };
            return refuse(parameter, start, "a time that has begun");
        }
        let end = self.end.min(now);
        // What is not over is compared with as much of what was before.
        let before = (self.before.0, self.before.1.min(self.before.0 + (end - self.start)));
        Ok(Self { is_cut: self.end > now, end, before: if self.end > now { before } else { self.before }, ..self })
    }

    pub fn span(&self) -> (i64, i64) {
        (self.start, self.end)
    }

    pub fn length(&self) -> i64 {
        self.end - self.start
    }

    /// Steps in which it is read from `start` on: fine where it is short, by the hour before `minutes_from`, when minutes are kept no more.
    pub fn step(&self, start: i64, minutes_from: i64) -> i64 {
        match self.length() {
            _ if start < minutes_from => HOUR,
            l if l <= 2 * DAY => MINUTE,
            l if l <= 8 * DAY => 5 * MINUTE,
            l if l <= 62 * DAY => 15 * MINUTE,
            _ => HOUR,
        }
    }

    /// Hours, days or weeks of a window, the last one cut at its end.
    pub(super) fn parts(&self, (start, end): (i64, i64)) -> Vec<(i64, i64)> {
        let length = match self.grain {
            Grain::Hour => HOUR,
            Grain::Day => DAY,
            Grain::Week => 7 * DAY,
        };
        let mut at = start;
        let mut out = Vec::new();
        while at < end {
            // From local hour to local hour; a week goes from its first day.
            let local = at + i64::from(self.zone.0.whole_seconds()) * 1_000;
            let next = if self.grain == Grain::Week { at + length } else { at + length - local.rem_euclid(length) };
            out.push((at, next.min(end)));
            at = next;
        }
        out
    }

    /// How such a part is named on an axis.
    pub(super) fn label(&self, at: i64, lang: Lang) -> String {
        let local = self.zone.local(at);
        let (month, day) = (u8::from(local.month()), local.day());
        match self.grain {
            Grain::Hour if self.length() <= DAY => format!("{:02}", local.hour()),
            Grain::Hour => format!("{month:02}-{day:02} {:02}", local.hour()),
            Grain::Day if self.length() <= 7 * DAY => {
                let i = usize::from(local.weekday().number_days_from_monday());
                let names = lang.of(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], ["월", "화", "수", "목", "금", "토", "일"]);
                format!("{} {month:02}-{day:02}", names[i])
            }
            Grain::Day | Grain::Week => format!("{month:02}-{day:02}"),
        }
    }

    /// The part of a file's name that says when: `2026-01-05`, or from and to; of moments with their time.
    pub fn range_name(&self) -> String {
        let is_midnight = |ms: i64| (ms + i64::from(self.zone.0.whole_seconds()) * 1_000) % DAY == 0;
        if self.template == Template::Custom && !(is_midnight(self.start) && (self.is_cut || is_midnight(self.end))) {
            return [self.start, self.end].map(|ms| self.zone.moment(ms).replace(' ', "T").replace(':', "")).join("_");
        }
        let (first, last) = (self.zone.day(self.start), self.zone.day((self.end - 1).max(self.start)));
        if first == last { first } else { format!("{first}_{last}") }
    }
}

fn month(of: Date) -> Date {
    of.replace_day(1).unwrap_or(of)
}

fn date(parameter: &'static str, text: &str) -> Result<Date, WindowError> {
    let parsed = Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
    let in_reach =
        parsed.filter(|d| (1970..=9000).contains(&d.year()) && *d > Date::from_calendar_date(1970, Month::January, 1).unwrap_or(Date::MIN));
    in_reach.map_or_else(|| refuse(parameter, text, "a date such as 2026-01-31"), Ok)
}

fn moment(parameter: &'static str, text: &str) -> Result<i64, WindowError> {
    // A `+` in a query is a blank; in a moment it can only be the sign of the offset.
    let parsed = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).ok().filter(|t| (1970..=9000).contains(&t.year()));
    let ms = parsed.and_then(|m| i64::try_from(m.unix_timestamp_nanos() / 1_000_000).ok());
    ms.map_or_else(|| refuse(parameter, text, "RFC 3339 with an offset, such as 2026-01-01T09:00:00+09:00"), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        moment("start_time", text).unwrap()
    }

    fn of(template: Template, zone: &str, given: Given<'_>) -> Result<(String, String, String), String> {
        // A Wednesday.
        let now = ms("2026-03-04T02:30:00+09:00");
        let window = Window::of(template, Zone::parse(zone).unwrap(), &given, now).map_err(|e| e.to_string())?;
        let z = window.zone;
        Ok((z.moment(window.start), z.moment(window.end), z.moment(window.before.0)))
    }

    #[test]
    fn without_a_date_it_is_the_last_whole_day_week_or_month_there() {
        let text = |a: &str, b: &str, c: &str| Ok((format!("{a} 00:00"), format!("{b} 00:00"), format!("{c} 00:00")));
        let none = Given::default();
        assert_eq!(of(Template::Daily, "+09:00", none), text("2026-03-03", "2026-03-04", "2026-03-02"));
        // There it is still the third.
        assert_eq!(of(Template::Daily, "Z", none), text("2026-03-02", "2026-03-03", "2026-03-01"));
        assert_eq!(of(Template::Weekly, "+09:00", none), text("2026-02-23", "2026-03-02", "2026-02-16"));
        assert_eq!(of(Template::Monthly, "+09:00", none), text("2026-02-01", "2026-03-01", "2026-01-01"));
        assert!(of(Template::Custom, "Z", none).unwrap_err().contains("custom needs a start and an end"));
    }

    #[test]
    fn a_date_chooses_another_and_the_present_is_cut_at_now() {
        let day = |d| Given { start_date: Some(d), ..Given::default() };
        assert_eq!(of(Template::Daily, "Z", day("2026-01-31")).unwrap().1, "2026-02-01 00:00");
        assert_eq!(of(Template::Daily, "+09:00", day("2026-03-04")).unwrap().1, "2026-03-04 02:30");
        assert_eq!(
            of(Template::Monthly, "Z", day("2024-02-10")).unwrap(),
            ("2024-02-01 00:00".into(), "2024-03-01 00:00".into(), "2024-01-01 00:00".into())
        );
        let range = Given { start_date: Some("2026-01-01"), end_date: Some("2026-01-10"), ..Given::default() };
        assert_eq!(
            of(Template::Custom, "Z", range).unwrap(),
            ("2026-01-01 00:00".into(), "2026-01-11 00:00".into(), "2025-12-22 00:00".into())
        );
        let exact = Given { start_time: Some("2026-01-01T00:00:00 09:00"), end_time: Some("2026-01-01T01:00:00Z"), ..Given::default() };
        assert_eq!(of(Template::Custom, "Z", exact).unwrap().0, "2025-12-31 15:00");
    }

    #[test]
    fn a_bad_wish_says_which_parameter_and_what_is_allowed() {
        let both = |s, e| Given { start_date: Some(s), end_date: Some(e), ..Given::default() };
        for (template, given, expected) in [
            (Template::Daily, both("2026-01-01", "2026-01-03"), "end_date cannot be \"2026-01-03\"; allowed: 2026-01-01"),
            (Template::Daily, both("1.1.2026", "2026-01-03"), "start_date"),
            (Template::Weekly, Given { start_time: Some("x"), ..Given::default() }, "only with template=custom"),
            (Template::Daily, both("2026-03-05", "2026-03-05"), "has begun"),
            (Template::Custom, both("2026-01-05", "2026-01-03"), "an end after the start"),
            (Template::Custom, both("2020-01-05", "2026-01-03"), "731 days"),
            (Template::Custom, Given { start_time: Some("2026-01-01"), end_time: Some("y"), ..Given::default() }, "RFC 3339"),
            (Template::Custom, both("0000-01-01", "9999-12-31"), "a date such as"),
        ] {
            let error = of(template, "Z", given).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for bad in ["KST", "+9", "+15:00", "+09:60", "09:00", "+0x:00", "", "+-9:00"] {
            assert_eq!(Zone::parse(bad), None, "{bad}");
        }
        assert_eq!(Zone::parse("-03:30").unwrap().name(), "-03:30");
    }

    #[test]
    fn a_window_that_is_not_over_is_compared_with_as_much_of_the_one_before() {
        let given = Given { start_date: Some("2026-03-04"), ..Given::default() };
        let window = Window::of(Template::Daily, Zone::default(), &given, ms("2026-03-04T10:00:00Z")).unwrap();
        assert!(window.is_cut);
        assert_eq!((window.length(), window.before), (10 * HOUR, (ms("2026-03-03T00:00:00Z"), ms("2026-03-03T10:00:00Z"))));
        let whole = Window::of(Template::Daily, Zone::default(), &given, ms("2026-03-05T10:00:00Z")).unwrap();
        assert_eq!(whole.before.1 - whole.before.0, whole.length());
    }

    #[test]
    fn parts_are_local_hours_and_days() {
        let zone = Zone::parse("+05:30").unwrap();
        let given = Given { start_date: Some("2026-01-01"), ..Given::default() };
        let window = Window::of(Template::Daily, zone, &given, ms("2026-02-01T00:00:00Z")).unwrap();
        let parts = window.parts(window.span());
        assert_eq!(parts.len(), 24);
        assert_eq!(window.label(parts[23].0, Lang::En), "23");
        let given = Given { start_time: Some("2026-01-01T10:20:00Z"), end_time: Some("2026-01-05T00:00:00Z"), ..Given::default() };
        let window = Window::of(Template::Custom, Zone::default(), &given, ms("2026-02-01T00:00:00Z")).unwrap();
        let parts = window.parts(window.span());
        assert_eq!((parts.len(), parts[0].1 - parts[0].0), (4, 13 * HOUR + 40 * MINUTE));
        assert_eq!(window.range_name(), "2026-01-01T1020_2026-01-05T0000");
    }
}
