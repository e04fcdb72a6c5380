//! Reports: what a fleet drew, wasted and suffered over a window, for people.
//!
//! In: history and a snapshot. Out: one model ([`Report`]), and files made of it (`render`). It waits for the disk and computes:
//! only [`Reports`] calls it, off the async threads and bounded in number. It never invents: what nobody observed is
//! counted as missing, and no total is made of it.

mod books;
pub mod chart;
mod document;
mod excel;
pub mod format;
mod gather;
mod html;
mod model;
pub mod pdf;
mod render;
mod rows;
mod schedule;
mod service;
#[cfg(test)]
mod tests;
mod text;
mod window;

pub use gather::{Ask, Stop, gather};
pub use model::{Drawn, Incident, Price, Report, Row};
pub use render::{Format, ReportError, render};
pub use schedule::{At, Delivery, Plan, Settings, Webhook, Weekday};
pub use service::{Reports, Run};
pub use text::Lang;
pub use window::{Given, Template, Window, WindowError, Zone};
