//! What was read from a socket and not yet understood.

use std::io::Read;

use anyhow::{Context, Result, bail};

/// A buffer that grows to the largest message and is otherwise reused.
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { bytes: vec![0; 256 << 10], start: 0, end: 0 }
    }
}

impl Inbox {
    /// Reads once, and blocks until there is something.
    pub fn fill(&mut self, stream: &mut impl Read) -> Result<()> {
        if self.start > 0 && (self.start == self.end || self.bytes.len() - self.end < 64 << 10) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        let n = stream.read(&mut self.bytes[self.end..]).context("the server did not answer in time, or hung up")?;
        if n == 0 {
            bail!("the server closed the connection");
        }
        self.end += n;
        Ok(())
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The first `n` bytes are done with.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
    }
}
