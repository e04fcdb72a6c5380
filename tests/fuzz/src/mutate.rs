//! Random changes without guidance, the same every time: what the short run does with the kept inputs.

/// xorshift64*: small, fast, and the same on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }
}

/// Bytes that mean something to one parser or another.
const TELLING: &[u8] = b"\0\n\"\\{}[]=,. 019-\x7f\xff";

/// One of the kept inputs with up to eight changes: bytes flipped, set, left out, repeated, or taken from another input.
pub fn mutate(random: &mut Random, kept: &[Vec<u8>]) -> Vec<u8> {
    let mut out = kept[random.below(kept.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(out.len());
        let end = (at + 1 + random.below(32)).min(out.len());
        match random.below(6) {
            0 if !out.is_empty() => out[at] ^= 1 << random.below(8),
            1 if !out.is_empty() => out[at] = TELLING[random.below(TELLING.len())],
            2 => drop(out.drain(at..end)),
            3 => {
                let again = out[at..end].to_vec();
                out.splice(at..at, again);
            }
            4 => out.truncate(at),
            _ => {
                let other = &kept[random.below(kept.len())];
                let from = random.below(other.len());
                let piece = &other[from..(from + 1 + random.below(64)).min(other.len())];
                out.splice(at..at, piece.iter().copied());
            }
        }
    }
    out
}
