//! Which tasks were acknowledged, and which came back: a figure counts only when the two are the same.

use anyhow::{Result, bail, ensure};

/// Bytes of a payload as it lies on the wire.
pub const PAYLOAD_BYTES: usize = 256;

/// Writes the text of one task: who published it, its number there, when it was due, and filler.
///
/// Digits and letters only, so that it is the same bytes raw and inside a JSON string.
pub fn stamp(text: &mut [u8], producer: u64, number: u64, due_ns: u64) {
    text.fill(b'x');
    for (field, value) in [producer, number, due_ns].into_iter().enumerate() {
        let mut left = value;
        for digit in text[field * 20..(field + 1) * 20].iter_mut().rev() {
            *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
            left /= 10;
        }
    }
}

/// Reads what [`stamp`] wrote.
pub fn read_stamp(text: &[u8]) -> Result<(u64, u64, u64)> {
    ensure!(text.len() >= PAYLOAD_BYTES - 2, "a payload of {} bytes came back", text.len());
    let field = |i: usize| -> Result<u64> { Ok(std::str::from_utf8(&text[i * 20..(i + 1) * 20])?.parse()?) };
    Ok((field(0)?, field(1)?, field(2)?))
}

/// One bit for each acknowledged task.
pub struct Ledger {
    expected: Vec<u64>,
    seen: Vec<Vec<u64>>,
    left: u64,
}

impl Ledger {
    /// `acked[p]` tasks of producer `p` were acknowledged, numbered from 0.
    pub fn new(acked: &[u64]) -> Self {
        let seen = acked.iter().map(|n| vec![0_u64; usize::try_from(n.div_ceil(64)).unwrap_or(0)]).collect();
        Self { expected: acked.to_vec(), seen, left: acked.iter().sum() }
    }

    /// How many have not come back.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// One came back. An error when it was not acknowledged, or came before.
    pub fn delivered(&mut self, producer: u64, number: u64) -> Result<()> {
        let p = usize::try_from(producer)?;
        if self.expected.get(p).is_none_or(|n| number >= *n) {
            bail!("task {producer}/{number} was delivered, but never acknowledged");
        }
        let (word, bit) = (&mut self.seen[p][usize::try_from(number / 64)?], 1_u64 << (number % 64));
        ensure!(*word & bit == 0, "task {producer}/{number} was delivered twice");
        *word |= bit;
        self.left -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_what_it_writes() {
        let mut text = [0_u8; PAYLOAD_BYTES];
        stamp(&mut text, 3, 1_234_567, 987_654_321_012);
        assert_eq!(read_stamp(&text).unwrap(), (3, 1_234_567, 987_654_321_012));
    }

    #[test]
    fn doubles_strangers_and_losses_are_found() {
        let mut ledger = Ledger::new(&[2, 1]);
        ledger.delivered(0, 1).unwrap();
        assert!(ledger.delivered(0, 1).unwrap_err().to_string().contains("twice"));
        assert!(ledger.delivered(1, 1).unwrap_err().to_string().contains("never acknowledged"));
        assert!(ledger.delivered(2, 0).is_err());
        assert_eq!(ledger.left(), 2);
    }
}
