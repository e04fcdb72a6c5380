//! Reports that make themselves: when each is due, for which window, and where it goes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::{Date, Duration};

use super::model::Price;
use super::render::Format;
use super::text::Lang;
use super::window::{Given, Template, Window, WindowError, Zone};
use crate::history::Endpoint;

/// What the operator's files say of reports.
#[derive(Clone, Default)]
pub struct Settings {
    pub zone: Zone,
    pub lang: Lang,
    pub price: Option<Price>,
    pub plans: Vec<Plan>,
}

/// A time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub hour: u8,
    pub minute: u8,
}

impl Default for At {
    /// When the night is over, and late points of the day before are there.
    fn default() -> Self {
        Self { hour: 6, minute: 0 }
    }
}

impl Serialize for At {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:02}:{:02}", self.hour, self.minute))
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let two = |t: &str, most: u8| (t.len() == 2).then(|| t.parse().ok().filter(|n| *n <= most)).flatten();
        let parsed = text.split_once(':').and_then(|(h, m)| Some(Self { hour: two(h, 23)?, minute: two(m, 59)? }));
        parsed.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no time of day; one is written as 06:00")))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    #[default]
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// One report that makes itself.
#[derive(Clone)]
pub struct Plan {
    pub name: String,
    pub template: Template,
    pub at: At,
    /// Of a weekly one.
    pub weekday: Weekday,
    /// Of a monthly one: 1 to 28.
    pub day: u8,
    pub zone: Zone,
    pub lang: Lang,
    pub formats: Vec<Format>,
    /// A report each; one over all where none is named.
    pub clusters: Vec<String>,
    pub delivery: Delivery,
}

/// Where reports go.
#[derive(Clone, Default)]
pub struct Delivery {
    pub directory: Option<PathBuf>,
    pub webhook: Option<Webhook>,
}

/// Takes each file as the body of a POST.
pub type Webhook = Endpoint;

impl Plan {
    fn moment(&self, date: Date) -> i64 {
        self.zone.midnight(date) + i64::from(self.at.hour) * 3_600_000 + i64::from(self.at.minute) * 60_000
    }

    fn is_day(&self, date: Date) -> bool {
        match self.template {
            Template::Weekly => date.weekday().number_days_from_monday() == self.weekday as u8,
            Template::Monthly => date.day() == self.day,
            Template::Daily | Template::Custom => true,
        }
    }

    /// When it was due last.
    pub(super) fn last_due(&self, now: i64) -> i64 {
        let mut date = self.zone.local(now).date();
        while self.moment(date) > now || !self.is_day(date) {
            date -= Duration::days(1);
        }
        self.moment(date)
    }

    /// When it is due next.
    pub fn next_due(&self, now: i64) -> i64 {
        let mut date = self.zone.local(now).date();
        while self.moment(date) <= now || !self.is_day(date) {
            date += Duration::days(1);
        }
        self.moment(date)
    }

    /// The window of a run that was due then, however late it is made.
    pub(super) fn window(&self, due: i64) -> Result<Window, WindowError> {
        Window::of(self.template, self.zone, &Given::default(), due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(template: Template) -> Plan {
        Plan {
            name: "p".into(),
            template,
            at: At { hour: 6, minute: 30 },
            weekday: Weekday::Tuesday,
            day: 1,
            zone: Zone::parse("+09:00").unwrap(),
            lang: Lang::Ko,
            formats: vec![Format::Pdf],
            clusters: Vec::new(),
            delivery: Delivery::default(),
        }
    }

    #[test]
    fn it_is_due_at_its_local_time_and_about_the_whole_days_before_it() {
        let zone = Zone::parse("+09:00").unwrap();
        // A Tuesday, 06:29 there.
        let before = zone.midnight(Date::from_calendar_date(2026, time::Month::September, 1).unwrap()) + 6 * 3_600_000 + 29 * 60_000;
        for (template, last, next, first) in [
            (Template::Daily, "2026-08-31 06:30", "2026-09-01 06:30", "2026-08-30 00:00"),
            (Template::Weekly, "2026-08-25 06:30", "2026-09-01 06:30", "2026-08-17 00:00"),
            (Template::Monthly, "2026-08-01 06:30", "2026-09-01 06:30", "2026-07-01 00:00"),
        ] {
            let plan = plan(template);
            let (l, n) = (plan.last_due(before), plan.next_due(before));
            assert_eq!((zone.moment(l), zone.moment(n)), (last.to_owned(), next.to_owned()));
            assert_eq!(zone.moment(plan.window(l).unwrap().start), first);
            assert_eq!(plan.last_due(before + 60_000), n, "a minute later it is due");
            assert!(plan.next_due(n) > n);
        }
    }
}
