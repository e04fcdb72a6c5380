//! The old documents, Thermal and Power, whose rows are parts.

use kcloud_collector_sdk::{GapReason, SubjectRef};
use serde_json::Value;

use crate::chassis::{Reader, Whole};
use crate::out::is_absent;
use crate::sensors::Quantity;
use crate::value::{num, text};

impl Reader<'_, '_, '_> {
    pub(crate) fn old_thermal(&mut self, old: &Value, subject: SubjectRef, temperatures: bool, fans: bool) {
        for (position, row) in rows(old, "Temperatures").filter(|_| temperatures).enumerate() {
            let of = self.old_sensor(subject, row, "Temperatures", position);
            self.typed(of, "temperature", "Cel");
            self.row(of, row, num(&row["ReadingCelsius"]), &Quantity::new("temperature", "temperature_celsius"));
        }
        for (position, row) in rows(old, "Fans").filter(|_| fans).enumerate() {
            let name = text(&row["Name"]).or_else(|| text(&row["FanName"]));
            let of = self.out.part("fan", Some(subject), &member(row), name.as_deref(), position);
            let is_percent = text(&row["ReadingUnits"]).is_some_and(|u| u.starts_with('%') || u.eq_ignore_ascii_case("percent"));
            let (metric, factor) = if is_percent { ("fan_ratio", 0.01) } else { ("fan_speed_rpm", 1.0) };
            let value = num(&row["Reading"]).or_else(|| num(&row["ReadingRPM"]));
            self.row(of, row, value, &Quantity { kind: "fan", metric, factor });
            self.out.health(of, row);
        }
    }

    pub(crate) fn old_power(&mut self, old: &Value, subject: SubjectRef, whole: &mut Whole, [watts, supplies, voltages]: [bool; 3]) {
        for (position, row) in rows(old, "PowerControl").filter(|_| watts).enumerate() {
            let consumed = num(&row["PowerConsumedWatts"]);
            // The first is the whole; what follows are parts of it (processors, memory).
            if position > 0 {
                let of = self.old_sensor(subject, row, "PowerControl", position);
                self.typed(of, "power", "W");
                self.out.value(of, "power_watts", consumed);
                continue;
            }
            (whole.is_named, whole.watts) = (true, consumed);
            whole.limit = whole.limit.or_else(|| num(&row["PowerLimit"]["LimitInWatts"]));
        }
        for (position, row) in rows(old, "PowerSupplies").filter(|_| supplies).enumerate() {
            let psu = self.out.part("psu", Some(subject), &member(row), text(&row["Name"]).as_deref(), position);
            self.supply(row, psu);
            if is_absent(row) {
                continue;
            }
            // Dell's iDRAC shows the most that a supply may draw in its place.
            let rated = num(&row["Oem"]["Dell"]["DellPowerSupplyView"]["Range1MaxInputPowerWatts"]);
            match num(&row["PowerInputWatts"]) {
                Some(input) if rated == Some(input) => self.out.gap(psu, "power_input_watts", GapReason::Unsupported),
                input => self.out.value(psu, "power_input_watts", input),
            }
            self.out.known(psu, "power_output_watts", num(&row["PowerOutputWatts"]).or_else(|| num(&row["LastPowerOutputWatts"])));
            self.out.known(psu, "voltage_volts", num(&row["LineInputVoltage"]));
        }
        let voltages = voltages && self.parts.sensors;
        for (position, row) in rows(old, "Voltages").filter(|_| voltages).enumerate() {
            let of = self.old_sensor(subject, row, "Voltages", position);
            // Dell again: "power good" as a voltage of 1 without a range.
            let is_flag = num(&row["MaxReadingRange"]) == Some(0.0) && num(&row["MinReadingRange"]) == Some(0.0);
            let quantity = if is_flag { Quantity::new("other", "reading_value") } else { Quantity::new("voltage", "voltage_volts") };
            self.typed(of, quantity.kind, if is_flag { "" } else { "V" });
            self.row(of, row, num(&row["ReadingVolts"]), &quantity);
        }
    }

    fn old_sensor(&mut self, subject: SubjectRef, row: &Value, of: &str, position: usize) -> SubjectRef {
        let entity = Some(member(row)).filter(|m| !m.is_empty()).map_or_else(|| format!("{of}/{position}"), |m| format!("{of}/{m}"));
        self.out.part("sensor", Some(subject), &entity, text(&row["Name"]).as_deref(), position)
    }

    fn typed(&mut self, of: SubjectRef, kind: &str, unit: &str) {
        self.out.label(of, "sensor_type", Some(kind.to_owned()));
        self.out.label(of, "unit", Some(unit.to_owned()).filter(|u| !u.is_empty()));
    }
}

fn rows<'v>(of: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    of[name].as_array().into_iter().flatten().filter(|row| row.is_object())
}

/// What tells a row from the others of its list.
fn member(row: &Value) -> String {
    text(&row["MemberId"]).or_else(|| num(&row["MemberId"]).map(|n| n.to_string())).unwrap_or_default()
}
