//! What is known of a tree, kept in one file over a restart, so that only what changed meanwhile is parsed and told.
//!
//! The file is a head (a mark with the version, a CRC-32, a length) and a body. It is of one version of this part and of one
//! tree, and is written beside its place and then moved there, so that it is whole or the former one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::facts::{Facts, Import, Place, Reference, Through};
use crate::files::{Found, Skipped, Stamp};
use crate::names::{Name, Names};
use crate::node::node_id;
use crate::{Analyzer, Language, Node, NodeKind, SnapshotError, Visibility, languages};

/// Changes whenever facts of the same text would be others: with the types here, and with what the languages find.
const MARK: &[u8; 8] = b"squallg1";
const HEAD_BYTES: usize = 8 + 4 + 8;

#[derive(Serialize, Deserialize)]
struct Body {
    root: String,
    settings: u64,
    names: Vec<Arc<str>>,
    files: Vec<File>,
}

#[derive(Serialize, Deserialize)]
struct File {
    path: Arc<str>,
    stamp: Stamp,
    hash: u64,
    skipped: Option<Skipped>,
    facts: Option<StoredFacts>,
}

#[derive(Serialize, Deserialize)]
struct StoredFacts {
    language: Language,
    lines: u32,
    errors: u32,
    nodes: Vec<StoredNode>,
    references: Vec<Reference>,
    imports: Vec<Import>,
}

/// A node with its place. Its id, path and language follow from the file and what came before.
#[derive(Serialize, Deserialize)]
struct StoredNode {
    kind: NodeKind,
    place: Place,
    /// Absent where it is the plain name.
    qualified_name: Option<Arc<str>>,
    start_line: u32,
    start_column: u32,
    end_line: u32,
    end_column: u32,
    complexity: u32,
    visibility: Option<Visibility>,
    signature: Option<Arc<str>>,
}

impl StoredFacts {
    fn of(facts: &Facts, number: &mut dyn FnMut(Name) -> Name) -> Self {
        let nodes = facts.nodes.iter().zip(&facts.places);
        let nodes = nodes.map(|(node, place)| StoredNode {
            kind: node.kind,
            place: Place { name: number(place.name), container: number(place.container), ..*place },
            qualified_name: (node.qualified_name != node.name).then(|| Arc::clone(&node.qualified_name)),
            start_line: node.start_line,
            start_column: node.start_column,
            end_line: node.end_line,
            end_column: node.end_column,
            complexity: node.complexity.unwrap_or(0),
            visibility: node.visibility,
            signature: node.signature.clone(),
        });
        let nodes = nodes.collect();
        let mut stored = Self {
            language: facts.language,
            lines: facts.lines,
            errors: facts.errors,
            nodes,
            references: facts.references.clone(),
            imports: facts.imports.clone(),
        };
        each_name(&mut stored.references, &mut stored.imports, number);
        stored
    }

    /// The facts again; none when a number points nowhere. The checksum says that the file is as it was written, not that it
    /// was written well.
    fn into_facts(mut self, path: &Arc<str>, names: &[Arc<str>]) -> Option<Facts> {
        let count = self.nodes.len();
        let mut sound = count > 0;
        each_name(&mut self.references, &mut self.imports, &mut |name| {
            sound &= (name.0 as usize) < names.len();
            name
        });
        sound &= self.references.iter().all(|reference| (reference.source as usize) < count);
        sound &= self
            .nodes
            .iter()
            .all(|node| (node.place.parent as usize) < count && (node.place.container.0 as usize) < names.len());
        if !sound {
            return None;
        }
        let mut repeated: HashMap<(NodeKind, Arc<str>), u32> = HashMap::with_capacity(count);
        let mut nodes = Vec::with_capacity(count);
        let mut places = Vec::with_capacity(count);
        for stored in self.nodes {
            let name = names.get(stored.place.name.0 as usize)?;
            let qualified_name = stored.qualified_name.unwrap_or_else(|| Arc::clone(name));
            let number = repeated.entry((stored.kind, Arc::clone(&qualified_name))).or_insert(0);
            let id = node_id(stored.kind, path, &qualified_name, *number);
            *number += 1;
            nodes.push(Arc::new(Node {
                id,
                kind: stored.kind,
                name: Arc::clone(name),
                qualified_name,
                path: Arc::clone(path),
                language: self.language,
                start_line: stored.start_line,
                start_column: stored.start_column,
                end_line: stored.end_line,
                end_column: stored.end_column,
                complexity: (stored.complexity > 0).then_some(stored.complexity),
                visibility: stored.visibility,
                signature: stored.signature,
            }));
            places.push(stored.place);
        }
        Some(Facts {
            language: self.language,
            lines: self.lines,
            errors: self.errors,
            nodes,
            places,
            references: self.references,
            imports: self.imports,
        })
    }
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
            .map(|(source, kept)| File {
                path: Arc::clone(&kept.path),
                stamp: kept.stamp,
                hash: kept.hash,
                skipped: kept.skipped.clone(),
                facts: source.map(|source| StoredFacts::of(&source.facts, &mut |name| numbers.of(name, &names))),
            })
            .collect();
        let root = self.root().to_string_lossy().into_owned();
        let body = Body { root, settings: self.settings(), names: numbers.texts, files };
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
        let mut files = Vec::with_capacity(body.files.len());
        for file in body.files {
            let facts = match file.facts {
                Some(stored) => {
                    let facts = stored.into_facts(&file.path, &body.names);
                    Some(facts.ok_or_else(|| unusable("its numbers point nowhere"))?)
                }
                None => None,
            };
            files.push((Found { path: file.path, stamp: file.stamp }, file.hash, file.skipped, facts));
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
            for (found, hash, skipped, facts) in files {
                match (facts, skipped) {
                    (Some(facts), _) => this.put_facts(&found, facts, hash, run),
                    (None, Some(why)) => {
                        let language = languages::by_path(Path::new(&*found.path)).unwrap_or(Language::Rust);
                        this.put_skipped(&found, language, hash, why, run);
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

fn each_name(references: &mut [Reference], imports: &mut [Import], change: &mut dyn FnMut(Name) -> Name) {
    for reference in references {
        reference.name = change(reference.name);
        match &mut reference.through {
            Through::Own(name) | Through::Named(name) | Through::Typed(name) => *name = change(*name),
            Through::Nothing | Through::Unknown => {}
        }
    }
    for import in imports {
        import.from.iter_mut().for_each(|name| *name = change(*name));
        for binding in &mut import.names {
            binding.alias = change(binding.alias);
            binding.original = change(binding.original);
        }
    }
}
