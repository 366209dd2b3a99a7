//! What is known of a tree, kept in one file over a restart, so that only what changed meanwhile is parsed and told.
//!
//! The file is a head (a mark with the version, a CRC-32, a length) and a body. It is of one version of this part and of one
//! tree, and is written beside its place and then moved there, so that it is whole or the former one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::facts::{Facts, Through};
use crate::files::{Found, Skipped, Stamp};
use crate::names::{Name, Names};
use crate::{Analyzer, Language, SnapshotError, languages};

/// Changes whenever facts of the same text would be others: with the types here, and with what the languages find.
const MARK: &[u8; 8] = b"squallg1";
const HEAD_BYTES: usize = 8 + 4 + 8;

#[derive(Serialize)]
struct BodyOut<'a> {
    root: &'a str,
    settings: u64,
    names: Vec<Arc<str>>,
    files: Vec<FileOut<'a>>,
}

#[derive(Serialize)]
struct FileOut<'a> {
    path: &'a str,
    stamp: Stamp,
    hash: u64,
    skipped: Option<&'a Skipped>,
    facts: Option<Facts>,
}

#[derive(Deserialize)]
struct Body {
    root: String,
    settings: u64,
    names: Vec<Arc<str>>,
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    path: Arc<str>,
    stamp: Stamp,
    hash: u64,
    skipped: Option<Skipped>,
    facts: Option<Facts>,
}

impl Analyzer {
    /// Writes what is known to a file.
    ///
    /// # Errors
    /// When it cannot be written; the former file is still there then.
    pub fn save(&self, path: &Path) -> Result<(), SnapshotError> {
        let body = self.body();
        let io = |source| SnapshotError::Io { path: path.to_path_buf(), source };
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(MARK);
        head.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        head.extend_from_slice(&(body.len() as u64).to_le_bytes());
        let beside = beside(path);
        let written = fs::File::create(&beside).and_then(|mut file| {
            file.write_all(&head)?;
            file.write_all(&body)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&beside, path)).map_err(io)
    }

    fn body(&self) -> Vec<u8> {
        let names = self.names.lock();
        // Only names in use are written, and numbered anew.
        let mut numbers = Renumber { new: vec![None; names.len()], texts: Vec::new() };
        numbers.of(Name::NONE, &names);
        let mut files: Vec<_> = self
            .kept
            .iter()
            .enumerate()
            .filter_map(|(file, kept)| Some((self.index.source(file as u32), kept.as_ref()?)))
            .collect();
        files.sort_unstable_by(|a, b| a.1.path.cmp(&b.1.path));
        let files = files
            .into_iter()
            .map(|(source, kept)| FileOut {
                path: &kept.path,
                stamp: kept.stamp,
                hash: kept.hash,
                skipped: kept.skipped.as_ref(),
                facts: source.map(|source| {
                    let mut facts = source.facts.clone();
                    each_name(&mut facts, &mut |name| numbers.of(name, &names));
                    facts
                }),
            })
            .collect();
        let root = self.root().to_string_lossy();
        let body = BodyOut { root: &root, settings: self.settings(), names: numbers.texts, files };
        // Serialising to memory fails for nothing that is in there; an empty body would be found unusable.
        postcard::to_stdvec(&body).unwrap_or_default()
    }

    /// Takes up what was known when the file was written, in place of what is known now. Nothing is told: it was told before.
    /// The next analysis tells the difference.
    ///
    /// # Errors
    /// When the file is not there, damaged, or of another version, tree or settings; then nothing has changed.
    pub fn load(&mut self, path: &Path) -> Result<(), SnapshotError> {
        let bytes = fs::read(path).map_err(|source| SnapshotError::Io { path: path.to_path_buf(), source })?;
        let unusable = |why: &str| SnapshotError::Unusable { path: path.to_path_buf(), why: why.into() };
        let body = checked(&bytes).map_err(unusable)?;
        let body: Body = postcard::from_bytes(body).map_err(|error| unusable(&error.to_string()))?;
        if *body.root != *self.root().to_string_lossy() {
            return Err(unusable(&format!("it is of the tree {}", body.root)));
        }
        if body.settings != self.settings() {
            return Err(unusable("it was written with other bounds or languages"));
        }
        if !body.files.iter().all(|file| file.facts.as_ref().is_none_or(|facts| is_sound(facts, body.names.len()))) {
            return Err(unusable("its numbers point nowhere"));
        }
        self.forget_all();
        {
            let mut names = self.names.lock();
            *names = Names::default();
            for text in &body.names {
                names.intern(text);
            }
        }
        self.silently(|this, run| {
            for file in body.files {
                let found = Found { path: Arc::clone(&file.path), stamp: file.stamp };
                match (file.facts, file.skipped) {
                    (Some(mut facts), _) => {
                        share(&mut facts, &file.path, &body.names);
                        this.put_facts(&found, facts, file.hash, run);
                    }
                    (None, Some(why)) => {
                        let language = languages::by_path(Path::new(&*file.path)).unwrap_or(Language::Rust);
                        this.put_skipped(&found, language, file.hash, why, run);
                    }
                    (None, None) => {}
                }
            }
        });
        Ok(())
    }

    /// What facts depend on besides the text.
    fn settings(&self) -> u64 {
        let config = self.config();
        let languages: Vec<bool> = ["a.rs", "a.py", "a.js", "a.ts", "a.vue", "a.go", "a.java", "a.c", "a.cc"]
            .iter()
            .map(|name| languages::by_path(Path::new(name)).is_some())
            .collect();
        let text = format!("{} {} {} {languages:?}", config.max_file_bytes, config.max_files, config.max_nodes);
        xxhash_rust::xxh3::xxh3_64(text.as_bytes())
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn checked(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let Some((head, body)) = bytes.split_at_checked(HEAD_BYTES) else { return Err("it is too short") };
    if !head.starts_with(MARK) {
        return Err("it is of another version");
    }
    let (crc, length) = head[8..].split_at(4);
    if length != (body.len() as u64).to_le_bytes() {
        return Err("it is cut off");
    }
    if crc != crc32fast::hash(body).to_le_bytes() {
        return Err("it is damaged: the checksum is another");
    }
    Ok(body)
}

struct Renumber {
    new: Vec<Option<Name>>,
    texts: Vec<Arc<str>>,
}

impl Renumber {
    fn of(&mut self, name: Name, names: &Names) -> Name {
        *self.new[name.0 as usize].get_or_insert_with(|| {
            self.texts.push(Arc::clone(names.text(name)));
            Name((self.texts.len() - 1) as u32)
        })
    }
}

fn each_name(facts: &mut Facts, change: &mut dyn FnMut(Name) -> Name) {
    for place in &mut facts.places {
        place.name = change(place.name);
        place.container = change(place.container);
    }
    for reference in &mut facts.references {
        reference.name = change(reference.name);
        match &mut reference.through {
            Through::Own(name) | Through::Named(name) | Through::Typed(name) => *name = change(*name),
            Through::Nothing | Through::Unknown => {}
        }
    }
    for import in &mut facts.imports {
        import.from.iter_mut().for_each(|name| *name = change(*name));
        for binding in &mut import.names {
            binding.alias = change(binding.alias);
            binding.original = change(binding.original);
        }
    }
}

/// Whether all numbers are of something. The checksum says that the file is as it was written, not that it was written well.
fn is_sound(facts: &Facts, names: usize) -> bool {
    let nodes = facts.nodes.len();
    let mut sound = nodes > 0 && facts.places.len() == nodes;
    sound &= facts.places.iter().all(|place| (place.parent as usize) < nodes);
    sound &= facts.references.iter().all(|reference| (reference.source as usize) < nodes);
    let mut copy = facts.clone();
    each_name(&mut copy, &mut |name| {
        sound &= (name.0 as usize) < names;
        name
    });
    sound
}

/// One text for each path and name, as it was before it was written.
fn share(facts: &mut Facts, path: &Arc<str>, names: &[Arc<str>]) {
    for (node, place) in facts.nodes.iter_mut().zip(&facts.places) {
        let Some(node) = Arc::get_mut(node) else { continue };
        node.path = Arc::clone(path);
        if let Some(name) = names.get(place.name.0 as usize) {
            let plain = node.name == node.qualified_name;
            node.name = Arc::clone(name);
            if plain {
                node.qualified_name = Arc::clone(name);
            }
        }
    }
}
