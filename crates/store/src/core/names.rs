//! Numbers for names that come up again and again: lanes and tenants. A number is for ever, also over restarts.

use std::sync::Arc;

use hashbrown::HashMap;

/// A table of names; numbers count up from 0.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Names {
    /// The number of a name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The name of a number; a number that was never given has the empty name.
    #[must_use]
    pub fn name(&self, number: u32) -> Arc<str> {
        self.names.get(number as usize).cloned().unwrap_or_else(|| Arc::from(""))
    }

    /// The number that the next name gets.
    #[must_use]
    pub fn next(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// Gives `number` to `name`. Numbers that a damaged log skipped get empty names.
    pub fn set(&mut self, number: u32, name: &str) {
        let name: Arc<str> = name.into();
        while self.names.len() <= number as usize {
            self.names.push(Arc::from(""));
        }
        self.names[number as usize] = Arc::clone(&name);
        self.numbers.insert(name, number);
    }

    /// All names, by number.
    #[must_use]
    pub fn all(&self) -> &[Arc<str>] {
        &self.names
    }
}
