//! The history store's own files, damaged: as they are, or with checksums made right so that what lies behind them is read, too.

use arbitrary::{Result, Unstructured};
use kcloud_monitor::history;

const MAGIC: &[u8; 8] = b"KCHIST\x00\x01";

pub fn run(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let tier = mode % 3;
    match mode >> 6 {
        0 => drop(history::read_row(rest)),
        1 => read(rest, tier),
        _ => {
            if let Ok(file) = file(&mut Unstructured::new(rest)) {
                read(&file, tier);
            }
        }
    }
}

fn read(file: &[u8], tier: u8) {
    let folder = crate::folder();
    let path = folder.path().join("block.kch");
    std::fs::write(&path, file).expect("in memory");
    drop(history::read_sealed(&path, tier));
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A length that counts, in any number of bytes.
fn number(u: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u.int_in_range(0..=7)? {
        0 => u.arbitrary()?,
        1 => u.arbitrary::<u32>()?.into(),
        _ => u.int_in_range(0..=40)?,
    })
}

/// Writes a record as `history/block.rs` does and gives its place.
fn record(out: &mut Vec<u8>, payload: &[u8]) -> u64 {
    let at = out.len() as u64;
    varint(out, payload.len() as u64);
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
    at
}

/// A whole file of up to four series: what is in the records is the input's, what holds them together is right.
fn file(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    let mut directory = Vec::new();
    for series in 0..u.int_in_range(1..=4u32)? {
        let mut times = Vec::new();
        varint(&mut times, number(u)?);
        column(u, &mut times)?;
        let times_at = record(&mut out, &times);
        let mut chunk = Vec::new();
        varint(&mut chunk, if u.ratio(1, 16)? { number(u)? } else { times_at });
        let ends = number(u)?;
        varint(&mut chunk, ends);
        for _ in 0..ends.min(8) {
            varint(&mut chunk, number(u)?);
        }
        for _ in 0..u.int_in_range(0..=6)? {
            let mut values = Vec::new();
            column(u, &mut values)?;
            varint(&mut chunk, if u.ratio(1, 16)? { number(u)? } else { values.len() as u64 });
            chunk.extend_from_slice(&values);
        }
        let at = record(&mut out, &chunk);
        directory.extend_from_slice(&series.to_le_bytes());
        directory.extend_from_slice(&(at as u32).to_le_bytes());
    }
    let at = out.len() as u64;
    out.extend_from_slice(&directory);
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&(directory.len() as u64 / 8).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&directory).to_le_bytes());
    out.extend_from_slice(MAGIC);
    Ok(out)
}

/// Form and content of a column.
fn column(u: &mut Unstructured<'_>, out: &mut Vec<u8>) -> Result<()> {
    out.push(u.int_in_range(0..=3)?);
    match u.arbitrary()? {
        true => {
            for _ in 0..u.int_in_range(0..=4)? {
                varint(out, number(u)?);
            }
        }
        false => out.extend_from_slice(u.arbitrary::<&[u8]>()?),
    }
    Ok(())
}
