//! Every name once: a name in a file's facts is a number, so that facts are small and names are compared as numbers.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};

/// A name, as its number. [`Name::NONE`] is the empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub(crate) struct Name(pub(crate) u32);

impl Name {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// All names of a tree. They are never taken back; an analysis from scratch and a snapshot begin with those in use.
pub(crate) struct Names {
    hasher: DefaultHashBuilder,
    numbers: HashTable<u32>,
    texts: Vec<Arc<str>>,
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Self { hasher: DefaultHashBuilder::default(), numbers: HashTable::new(), texts: Vec::new() };
        names.intern("");
        names
    }
}

impl Names {
    /// The number of a name, new if it has none.
    pub(crate) fn intern(&mut self, text: &str) -> Name {
        let hash = self.hasher.hash_one(text);
        if let Some(number) = self.numbers.find(hash, |number| &*self.texts[*number as usize] == text) {
            return Name(*number);
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.into());
        let (hasher, texts) = (&self.hasher, &self.texts);
        self.numbers.insert_unique(hash, number, |number| hasher.hash_one(&*texts[*number as usize]));
        Name(number)
    }

    /// The number of a name that somebody has used.
    pub(crate) fn get(&self, text: &str) -> Option<Name> {
        let hash = self.hasher.hash_one(text);
        self.numbers.find(hash, |number| &*self.texts[*number as usize] == text).map(|number| Name(*number))
    }

    pub(crate) fn text(&self, name: Name) -> &Arc<str> {
        &self.texts[name.0 as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }
}
