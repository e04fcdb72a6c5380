//! Inventories (IPMI Platform Management FRU Information Storage Definition v1.0): who made a thing, what it is, its serial number.

use kcloud_collector_sdk::CollectError;
use serde::{Deserialize, Serialize};

use crate::bmc::Bmc;
use crate::sdr::text;

/// What an inventory says of its thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
}

/// Bytes at once: some BMCs bring no more than 32 with their own head.
const PART: u16 = 24;
/// No area is longer.
const MOST: usize = 255 * 8;

/// Reads the product area of an inventory, or its board area. None where there is no inventory, or nothing in it.
pub(crate) fn identity(bmc: &mut impl Bmc, device: u8) -> Result<Option<Identity>, CollectError> {
    let Some(head) = part(bmc, device, 0, 8)? else { return Ok(None) };
    let [1, _, _, board, product, ..] = head[..] else { return Ok(None) };
    let mut found = Identity::default();
    // Type and length of what stands before the fields; a board has a date there.
    for (offset, before, order) in [(product, 3, [0, 1, 4]), (board, 6, [0, 1, 2])] {
        if offset == 0 {
            continue;
        }
        let Some(area) = area(bmc, device, u16::from(offset) * 8)? else { continue };
        let fields = fields(&area, before);
        let field = |n: usize| fields.get(n).filter(|t| !t.is_empty()).cloned();
        let [manufacturer, model, serial] = order.map(field);
        found.manufacturer = found.manufacturer.or(manufacturer);
        found.model = found.model.or(model);
        found.serial_number = found.serial_number.or(serial);
    }
    Ok((found != Identity::default()).then_some(found))
}

fn area(bmc: &mut impl Bmc, device: u8, from: u16) -> Result<Option<Vec<u8>>, CollectError> {
    let Some(head) = part(bmc, device, from, 8)? else { return Ok(None) };
    let length = usize::from(*head.get(1).unwrap_or(&0)) * 8;
    if length == 0 || length > MOST {
        return Ok(None);
    }
    let mut area = head;
    while area.len() < length {
        let want = PART.min((length - area.len()) as u16);
        let Some(more) = part(bmc, device, from + area.len() as u16, want)? else { break };
        if more.is_empty() {
            break;
        }
        area.extend(more);
    }
    // A checksum that does not hold says that the store is damaged, or was never written.
    let holds = area.len() >= length && area[..length].iter().fold(0_u8, |sum, b| sum.wrapping_add(*b)) == 0;
    Ok(holds.then_some(area))
}

fn part(bmc: &mut impl Bmc, device: u8, from: u16, count: u16) -> Result<Option<Vec<u8>>, CollectError> {
    let [low, high] = from.to_le_bytes();
    let answer = bmc.one(0x0a, 0x11, &[device, low, high, count as u8])?;
    Ok(answer.ok().and_then(|data| data.get(1..).map(<[u8]>::to_vec)))
}

/// Fields until the end mark.
pub(crate) fn fields(area: &[u8], before: usize) -> Vec<String> {
    let mut fields = Vec::new();
    let mut at = before;
    while let Some(head) = area.get(at).filter(|h| **h != 0xc1) {
        let length = usize::from(head & 0x3f);
        let Some(bytes) = area.get(at + 1..at + 1 + length) else { break };
        fields.push(text(*head, bytes));
        at += 1 + length;
    }
    fields
}
