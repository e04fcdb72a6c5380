//! The history of a host that keeps none: an agent is read by a host that does.

use super::{Aggregate, History, HistoryError, Holds, Observation, Point, Upkeep};

/// Forgets every point; who asks for the past is told so.
pub struct Nothing;

impl History for Nothing {
    fn committed(&self) -> Result<u64, HistoryError> {
        Ok(0)
    }

    fn commit(&self, _: u64, _: i64, _: &[Point]) -> Result<(), HistoryError> {
        Ok(())
    }

    fn raw(&self, _: &str, _: &str, _: i64, _: i64) -> Result<Vec<Observation>, HistoryError> {
        Err(HistoryError::Nothing)
    }

    fn range(&self, _: &str, _: &str, _: (i64, i64), _: i64, _: Aggregate) -> Result<Vec<Observation>, HistoryError> {
        Err(HistoryError::Nothing)
    }

    fn upkeep(&self, _: i64) -> Result<Upkeep, HistoryError> {
        Ok(Upkeep::default())
    }

    fn holds(&self) -> Holds {
        Holds::default()
    }
}
