//! What the storm writes into a payload, so that a worker knows what it got without asking anybody.

use serde::{Deserialize, Serialize};

/// `{"squall":"1f00c2ab","n":123,"t":45678901,"pad":"…"}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Label<'a> {
    /// Which run; a task of another run is none of ours.
    #[serde(rename = "squall", borrow)]
    pub(crate) run: &'a str,
    /// The task's number in the ledger.
    pub(crate) n: u32,
    /// When it should have been published, microseconds since the start of the run.
    pub(crate) t: u64,
}

impl<'a> Label<'a> {
    /// `None` when it is not a label at all.
    pub(crate) fn read(payload: &'a str) -> Option<Self> {
        serde_json::from_str(payload).ok()
    }

    /// Appends the payload, filled up to `bytes` with a pad.
    pub(crate) fn write(&self, bytes: usize, out: &mut Vec<u8>) {
        use std::io::Write;
        let start = out.len();
        // Writing to a Vec does not fail.
        let _ = write!(out, r#"{{"squall":"{}","n":{},"t":{}"#, self.run, self.n, self.t);
        let used = out.len() - start + r#","pad":""}"#.len();
        if bytes > used {
            out.extend_from_slice(br#","pad":""#);
            out.resize(out.len() + bytes - used, b'x');
            out.push(b'"');
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_at_any_size() {
        let label = Label { run: "1f00c2ab", n: 123, t: 45_678_901 };
        for bytes in [0, 41, 60, 256, 5_000] {
            let mut out = Vec::new();
            label.write(bytes, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(Label::read(&text), Some(label));
            assert!(bytes < 60 || text.len() == bytes, "{bytes}: {text}");
        }
        assert_eq!(Label::read(r#"{"n":1}"#), None);
        assert_eq!(Label::read("null"), None);
    }
}
