//! The meter at the facility's door, as a page of its own.

use crate::page::Page;
use crate::truth::watts;
use crate::{Fleet, Moment};

pub(crate) fn write(fleet: &Fleet, moment: Moment) -> String {
    let mut page = Page::new();
    page.gauge("facility_power_watts").sample(&[("meter", "main")], watts(fleet.facility_milliwatts(moment.tick)));
    let joules = moment.lifetime(0, |t| fleet.facility_milliwatts(t)) / 1e3;
    page.counter("facility_energy_joules_total").sample(&[("meter", "main")], joules);
    page.done()
}
