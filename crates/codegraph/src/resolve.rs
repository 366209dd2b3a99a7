//! From facts to relationships: what each mention of a file means, given what all files define.
//!
//! The relationships of a file are a function of its own facts and of the answers to the questions that it asked of the
//! [`Index`]. The questions are kept as numbers; when a file changes, the files that asked something whose answer may be
//! another now are resolved again, and no others. So the graph does not depend on the order in which files were read.

use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

use crate::facts::{Facts, Import, Manner, Place, Reference, Through};
use crate::languages::{self, Family};
use crate::names::{Name, Names};
use crate::relationship::{confidence, relationship_id};
use crate::{Language, NodeKind, Relationship, RelationshipKind};

/// A file's number.
pub(crate) type FileId = u32;

/// More candidates than this, and nothing is linked without other evidence.
const FEW: usize = 3;
/// More definitions of one bare name than this are not looked through.
const MANY: usize = 256;
/// A package of Go is linked to so many of its files.
const PACKAGE_FILES: usize = 16;

/// Where a definition is: file and node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) file: FileId,
    pub(crate) node: u32,
}

type Definitions = SmallVec<[Definition; 2]>;

/// What the resolver knows of each file.
pub(crate) struct Source {
    pub(crate) path: Arc<str>,
    pub(crate) language: Language,
    /// The name by which others import it.
    pub(crate) module: Name,
    pub(crate) facts: Facts,
}

/// All definitions of a tree, by name.
#[derive(Default)]
pub(crate) struct Index {
    sources: Vec<Option<Source>>,
    /// What is found by its bare name.
    free: HashMap<(Family, Name), Definitions>,
    /// What belongs to a type.
    members: HashMap<(Family, Name), Definitions>,
    /// Both, by what contains them: a type, or the module.
    inside: HashMap<(Family, Name, Name), Definitions>,
    modules: HashMap<(Family, Name), SmallVec<[FileId; 2]>>,
    paths: HashMap<Arc<str>, FileId>,
}

/// A question to the index, as a number. Two questions may have the same; then a file is resolved once too often.
type Question = u32;

fn question(tag: u8, a: u32, b: u32) -> Question {
    let mut value = (u64::from(a) << 32 | u64::from(b)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(tag);
    value ^= value >> 29;
    value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (value >> 32) as u32
}

fn free_question(name: Name) -> Question {
    question(1, name.0, 0)
}

fn member_question(name: Name) -> Question {
    question(2, name.0, 0)
}

fn inside_question(container: Name, name: Name) -> Question {
    question(3, container.0, name.0)
}

/// By the text: it may be asked for before anybody has the name.
fn module_question(module: &str) -> Question {
    let hash = xxhash_rust::xxh3::xxh3_64(module.as_bytes());
    question(4, (hash >> 32) as u32, hash as u32)
}

fn path_question(path: &str) -> Question {
    let hash = xxhash_rust::xxh3::xxh3_64(path.as_bytes());
    question(5, (hash >> 32) as u32, hash as u32)
}

impl Index {
    pub(crate) fn source(&self, file: FileId) -> Option<&Source> {
        self.sources.get(file as usize)?.as_ref()
    }

    /// Puts a file in the place of what it was. Answers the questions whose answers changed.
    pub(crate) fn replace(&mut self, file: FileId, source: Option<Source>, changed: &mut Vec<Question>) {
        if self.sources.len() <= file as usize {
            self.sources.resize_with(file as usize + 1, || None);
        }
        let former = self.sources[file as usize].take();
        if matches!((&former, &source), (Some(former), Some(source)) if same_definitions(former, source)) {
            // Numbers of nodes are the same too, so the index is right as it is.
            self.sources[file as usize] = source;
            return;
        }
        let gone = former.as_ref().map(|former| (former.language, Arc::clone(&former.path)));
        let came = source.as_ref().map(|source| (source.language, Arc::clone(&source.path)));
        if gone != came {
            for (language, path) in gone.iter().chain(&came) {
                changed.push(path_question(path));
                changed.push(module_question(languages::module_name(*language, path)));
            }
        }
        if let Some(former) = &former {
            self.take_out(file, former, changed);
        }
        if let Some(source) = &source {
            self.put_in(file, source, changed);
        }
        self.sources[file as usize] = source;
    }

    fn put_in(&mut self, file: FileId, source: &Source, changed: &mut Vec<Question>) {
        let family = source.language.family();
        self.paths.insert(Arc::clone(&source.path), file);
        self.modules.entry((family, source.module)).or_default().push(file);
        for (node, place) in definitions(&source.facts) {
            let definition = Definition { file, node };
            let container = container_of(source, place);
            self.inside.entry((family, container, place.name)).or_default().push(definition);
            changed.push(inside_question(container, place.name));
            if place.member {
                let members = self.members.entry((family, place.name)).or_default();
                // Beyond a few the answer is "many", whoever they are.
                if members.len() <= FEW {
                    changed.push(member_question(place.name));
                }
                members.push(definition);
            } else {
                self.free.entry((family, place.name)).or_default().push(definition);
                changed.push(free_question(place.name));
            }
        }
    }

    fn take_out(&mut self, file: FileId, source: &Source, changed: &mut Vec<Question>) {
        let family = source.language.family();
        self.paths.remove(&source.path);
        if let Some(files) = self.modules.get_mut(&(family, source.module)) {
            files.retain(|other| *other != file);
        }
        for (node, place) in definitions(&source.facts) {
            let gone = Definition { file, node };
            let container = container_of(source, place);
            changed.push(inside_question(container, place.name));
            remove(&mut self.inside, (family, container, place.name), gone);
            if place.member {
                if remove(&mut self.members, (family, place.name), gone) <= FEW {
                    changed.push(member_question(place.name));
                }
            } else {
                remove(&mut self.free, (family, place.name), gone);
                changed.push(free_question(place.name));
            }
        }
    }
}

/// Takes one out; says how many are left.
fn remove<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Definitions>, key: K, gone: Definition) -> usize {
    let Some(list) = map.get_mut(&key) else { return 0 };
    list.retain(|definition| *definition != gone);
    let left = list.len();
    if left == 0 {
        map.remove(&key);
    }
    left
}

/// What others can name: everything but the file itself and its imports.
fn definitions(facts: &Facts) -> impl Iterator<Item = (u32, &Place)> {
    facts
        .places
        .iter()
        .zip(&facts.nodes)
        .enumerate()
        .skip(1)
        .filter(|(_, (_, node))| node.kind != NodeKind::Import)
        .map(|(number, (place, _))| (number as u32, place))
}

fn container_of(source: &Source, place: &Place) -> Name {
    if place.container.is_none() { source.module } else { place.container }
}

fn same_definitions(a: &Source, b: &Source) -> bool {
    a.path == b.path
        && a.language == b.language
        && a.module == b.module
        && a.facts.nodes.len() == b.facts.nodes.len()
        && a.facts
            .places
            .iter()
            .zip(&b.facts.places)
            .all(|(a, b)| a.name == b.name && a.container == b.container && a.member == b.member)
        && a.facts.nodes.iter().zip(&b.facts.nodes).all(|(a, b)| a.id == b.id)
}

/// What a file's mentions came to.
#[derive(Default)]
pub(crate) struct Resolved {
    /// By id.
    pub(crate) relationships: Vec<Relationship>,
    pub(crate) unresolved: u32,
    /// Sorted.
    pub(crate) asked: Vec<Question>,
}

/// Resolves one file.
pub(crate) fn resolve(index: &Index, names: &Names, file: FileId) -> Resolved {
    let Some(source) = index.source(file) else { return Resolved::default() };
    let mut resolver = Resolver {
        index,
        names,
        file,
        source,
        family: source.language.family(),
        own: HashMap::with_capacity(source.facts.places.len()),
        imports: Vec::new(),
        aliases: HashMap::new(),
        bases: HashMap::new(),
        asked: Vec::new(),
        found: SmallVec::new(),
    };
    resolver.prepare();
    resolver.run()
}

struct Imported {
    files: SmallVec<[FileId; 2]>,
    confidence: f32,
}

struct Resolver<'a> {
    index: &'a Index,
    names: &'a Names,
    file: FileId,
    source: &'a Source,
    family: Family,
    /// The file's own definitions.
    own: HashMap<Name, SmallVec<[u32; 2]>>,
    /// Beside the facts' imports.
    imports: Vec<Imported>,
    /// What an alias stands for: import and binding.
    aliases: HashMap<Name, (u32, u32)>,
    /// The names of a type's bases.
    bases: HashMap<Name, SmallVec<[Name; 2]>>,
    asked: Vec<Question>,
    /// What the reference that is looked at may mean.
    found: SmallVec<[(Definition, f32); 4]>,
}

impl<'a> Resolver<'a> {
    fn prepare(&mut self) {
        let facts = &self.source.facts;
        for (node, place) in definitions(facts) {
            self.own.entry(place.name).or_default().push(node);
        }
        for (number, import) in facts.imports.iter().enumerate() {
            let imported = self.target(import);
            self.imports.push(imported);
            for (binding, names) in import.names.iter().enumerate() {
                // The first wins, as the first definition does.
                self.aliases.entry(names.alias).or_insert((number as u32, binding as u32));
            }
        }
        for reference in &facts.references {
            if matches!(reference.manner, Manner::Inherit | Manner::Implement) {
                let of_type = facts.places[reference.source as usize].name;
                self.bases.entry(of_type).or_default().push(reference.name);
            }
        }
    }

    fn run(mut self) -> Resolved {
        let facts = &self.source.facts;
        let mut best: HashMap<(RelationshipKind, u32, Definition2), (f32, u32)> = HashMap::new();
        let mut put = |kind, source: u32, target: Definition, confidence: f32, line: u32| {
            let key = (kind, source, Definition2(target.file, target.node));
            let entry = best.entry(key).or_insert((confidence, line));
            if confidence > entry.0 || (confidence >= entry.0 && line < entry.1) {
                *entry = (confidence, line);
            }
        };
        for (number, import) in facts.imports.iter().enumerate() {
            // `from package import module` is an import of the module.
            let mut of_package = import.names.is_empty();
            for binding in 0..import.names.len() {
                let modules = match import.names[binding].original.is_none() {
                    false if matches!(self.family, Family::Rust | Family::Python) => {
                        self.module_of((number as u32, binding as u32))
                    }
                    _ => SmallVec::new(),
                };
                of_package |= modules.is_empty();
                for file in modules.into_iter().filter(|file| *file != self.file) {
                    put(RelationshipKind::Imports, 0, Definition { file, node: 0 }, confidence::PATH_END, import.line);
                }
            }
            let imported = &self.imports[number];
            for file in imported.files.iter().copied().filter(|file| of_package && *file != self.file) {
                put(RelationshipKind::Imports, 0, Definition { file, node: 0 }, imported.confidence, import.line);
            }
        }
        let mut unresolved = 0;
        for reference in &facts.references {
            self.found.clear();
            self.look(reference);
            if self.found.is_empty() {
                unresolved += u32::from(reference.manner != Manner::Value);
                continue;
            }
            let kind = match reference.manner {
                Manner::Call | Manner::Expand => RelationshipKind::Calls,
                Manner::Inherit => RelationshipKind::Inherits,
                Manner::Implement => RelationshipKind::Implements,
                Manner::Type | Manner::Value => RelationshipKind::References,
            };
            for (target, confidence) in &self.found {
                let itself = target.file == self.file && target.node == reference.source;
                if !itself || kind == RelationshipKind::Calls {
                    put(kind, reference.source, *target, *confidence, reference.line);
                }
            }
        }
        let mut relationships: Vec<_> = best
            .into_iter()
            .filter_map(|((kind, source, target), (confidence, line))| {
                let source = facts.nodes[source as usize].id;
                let target = self.index.source(target.0)?.facts.nodes[target.1 as usize].id;
                let id = relationship_id(kind, source, target);
                Some(Relationship { id, kind, source, target, confidence, path: Arc::clone(&self.source.path), line })
            })
            .collect();
        relationships.sort_unstable_by_key(|relationship| relationship.id);
        self.asked.sort_unstable();
        self.asked.dedup();
        self.asked.shrink_to_fit();
        Resolved { relationships, unresolved, asked: self.asked }
    }

    fn look(&mut self, reference: &Reference) {
        match reference.through {
            Through::Nothing => self.bare(reference),
            Through::Own(own) => self.own(reference, own),
            Through::Named(through) => self.named(reference, through),
            Through::Typed(of_type) => self.typed(reference, of_type),
            Through::Unknown => self.member(reference),
        }
    }

    fn kind(&self, definition: Definition) -> Option<NodeKind> {
        Some(self.index.source(definition.file)?.facts.nodes.get(definition.node as usize)?.kind)
    }

    fn place(&self, definition: Definition) -> Option<&'a Place> {
        self.index.source(definition.file)?.facts.places.get(definition.node as usize)
    }

    fn fits(&self, reference: &Reference, definition: Definition) -> bool {
        self.kind(definition).is_some_and(|kind| fits(reference.manner, reference.through, kind, self.family))
    }

    // What is asked of the index.

    fn ask_inside(&mut self, container: Name, name: Name) -> &'a [Definition] {
        self.asked.push(inside_question(container, name));
        self.index.inside.get(&(self.family, container, name)).map_or(&[], |list| &list[..])
    }

    fn ask_free(&mut self, name: Name) -> &'a [Definition] {
        self.asked.push(free_question(name));
        let list = self.index.free.get(&(self.family, name)).map_or(&[][..], |list| &list[..]);
        if list.len() > MANY { &[] } else { list }
    }

    fn ask_members(&mut self, name: Name) -> &'a [Definition] {
        self.asked.push(member_question(name));
        let list = self.index.members.get(&(self.family, name)).map_or(&[][..], |list| &list[..]);
        if list.len() > FEW { &[] } else { list }
    }

    fn ask_path(&mut self, path: &str) -> Option<FileId> {
        self.asked.push(path_question(path));
        self.index.paths.get(path).copied()
    }

    // The ways to find something, the surest first.

    /// Puts those that fit; a single one with the first confidence, a few with the lowest.
    fn take(&mut self, reference: &Reference, list: impl Iterator<Item = Definition>, one: f32) -> bool {
        let is_c = self.family == Family::C;
        let most = if is_c { MANY } else { FEW + 1 };
        let mut fitting: SmallVec<[Definition; 4]> =
            list.filter(|found| self.fits(reference, *found)).take(most).collect();
        if is_c && fitting.len() > 1 {
            // A method that is declared in one file and written in another is one.
            fitting.sort_by_key(|found| {
                self.index.source(found.file).map(|source| (is_header(&source.path), &source.path, found.node))
            });
            let mut seen: SmallVec<[&str; 4]> = SmallVec::new();
            fitting.retain(|found| {
                let source = self.index.source(found.file);
                let name = source.map_or("", |source| &*source.facts.nodes[found.node as usize].qualified_name);
                let is_new = !seen.contains(&name);
                seen.push(name);
                is_new
            });
        }
        match fitting.len() {
            0 => false,
            1 => {
                self.found.push((fitting[0], one));
                true
            }
            count if count <= FEW => {
                self.found.extend(fitting.into_iter().map(|found| (found, confidence::ONE_OF_FEW)));
                true
            }
            _ => false,
        }
    }

    /// Puts the one that fits and comes first by path: several definitions of a name in one type or module are overloads or
    /// branches of a condition.
    fn take_first(&mut self, reference: &Reference, list: impl Iterator<Item = Definition>, sure: f32) -> bool {
        let first = list
            .filter(|found| self.fits(reference, *found))
            .min_by_key(|found| (self.index.source(found.file).map(|source| &source.path), found.node));
        if let Some(first) = first {
            self.found.push((first, sure));
        }
        first.is_some()
    }

    fn bare(&mut self, reference: &Reference) {
        if self.in_file(reference) {
            return;
        }
        let place = &self.source.facts.places[reference.source as usize];
        // A method of the type around, or of one that it is derived from.
        if place.member && reference.manner == Manner::Call && matches!(self.family, Family::Java | Family::C) {
            self.own(reference, place.container);
            if !self.found.is_empty() {
                return;
            }
        }
        if let Some(alias) = self.aliases.get(&reference.name).copied() {
            // A name that is imported from outside of the tree is nobody's here.
            self.imported(reference, alias);
            return;
        }
        if reference.manner == Manner::Value || self.is_built_in(reference.name) {
            return;
        }
        let free = self.ask_free(reference.name);
        if free.is_empty() {
            return;
        }
        let near: SmallVec<[Definition; 4]> = free.iter().copied().filter(|found| self.is_near(found.file)).collect();
        if !near.is_empty() && self.take_first(reference, near.into_iter(), confidence::NEAR) {
            return;
        }
        let file = self.file;
        self.take(reference, free.iter().copied().filter(|found| found.file != file), confidence::ONLY_ONE);
    }

    /// In the file itself: the innermost scope first.
    fn in_file(&mut self, reference: &Reference) -> bool {
        let Some(nodes) = self.own.get(&reference.name) else { return false };
        let places = &self.source.facts.places;
        let mut around: SmallVec<[u32; 8]> = SmallVec::new();
        let mut scope = reference.source;
        loop {
            around.push(scope);
            let parent = places[scope as usize].parent;
            if parent == scope || around.len() > 64 {
                break;
            }
            scope = parent;
        }
        let members_are_bare = matches!(self.family, Family::Java | Family::C);
        let mut best: Option<(usize, u32)> = None;
        for node in nodes {
            let place = &places[*node as usize];
            let depth = around.iter().position(|scope| *scope == place.parent);
            if place.member && !(members_are_bare && depth.is_some()) {
                continue;
            }
            if !self.fits(reference, Definition { file: self.file, node: *node }) {
                continue;
            }
            let rank = (depth.unwrap_or(usize::MAX), *node);
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
            }
        }
        let Some((depth, node)) = best else { return false };
        let inner = depth != usize::MAX && around[depth] != 0;
        let sure = if inner { confidence::SAME_SCOPE } else { confidence::SAME_FILE };
        self.found.push((Definition { file: self.file, node }, sure));
        true
    }

    /// Through a wildcard import, an include, or by being of the same package.
    fn is_near(&self, file: FileId) -> bool {
        if file == self.file {
            return false;
        }
        let imports = self.source.facts.imports.iter().zip(&self.imports);
        if imports.into_iter().any(|(import, imported)| import.wildcard && imported.files.contains(&file)) {
            return true;
        }
        let Some(source) = self.index.source(file) else { return false };
        match self.family {
            Family::Go => folder(&source.path) == folder(&self.source.path),
            Family::Java => {
                let there = folder(&source.path);
                let mut wildcards = self.source.facts.imports.iter().filter(|import| import.wildcard);
                there == folder(&self.source.path)
                    || wildcards.any(|import| {
                        let pieces: SmallVec<[&str; 8]> =
                            import.from.iter().map(|name| &**self.names.text(*name)).collect();
                        ends_with_path(there, &pieces.join("/"))
                    })
            }
            _ => false,
        }
    }

    /// A name that an import brings.
    fn imported(&mut self, reference: &Reference, (import, binding): (u32, u32)) -> bool {
        let original = self.source.facts.imports[import as usize].names[binding as usize].original;
        let files = self.imports[import as usize].files.clone();
        let name = if original.is_none() { reference.name } else { original };
        let is_default = self.names.text(name).as_ref() == "default";
        for file in &files {
            let Some(target) = self.index.source(*file) else { continue };
            let wanted = if is_default { reference.name } else { name };
            let inside = self.ask_inside(target.module, wanted);
            if self.take_first(
                reference,
                inside.iter().copied().filter(|found| found.file == *file),
                confidence::IMPORTED,
            ) {
                return true;
            }
        }
        // Or the module itself, under its own name or as what the file gives away by default.
        if reference.manner == Manner::Value || (is_default && self.family == Family::Web) {
            let file = self.module_of((import, binding)).first().copied();
            if let Some(file) = file.filter(|file| *file != self.file) {
                self.found.push((Definition { file, node: 0 }, confidence::IMPORTED));
                return true;
            }
        }
        // It passes the name on from elsewhere.
        if !files.is_empty() && !is_default {
            let (free, file) = (self.ask_free(name), self.file);
            return self.take(reference, free.iter().copied().filter(|found| found.file != file), confidence::ONLY_ONE);
        }
        false
    }

    /// The files that an alias stands for, when it stands for a module.
    fn module_of(&mut self, (import, binding): (u32, u32)) -> SmallVec<[FileId; 2]> {
        let import_facts = &self.source.facts.imports[import as usize];
        let original = import_facts.names[binding as usize].original;
        if original.is_none() || self.names.text(original).as_ref() == "default" {
            return self.imports[import as usize].files.clone();
        }
        if self.family == Family::Web {
            return SmallVec::new();
        }
        let mut from = import_facts.from.clone();
        from.push(original);
        let mut files = self.target(&Import { from, names: Vec::new(), wildcard: false, line: 0 }).files;
        // Where there is no such module, the way may still lead to the crate.
        files.retain(|file| self.index.source(*file).is_some_and(|source| source.module == original));
        files
    }

    /// `Through::name`.
    fn named(&mut self, reference: &Reference, through: Name) {
        let places = &self.source.facts.places;
        let own: SmallVec<[Definition; 4]> = self
            .own
            .get(&reference.name)
            .into_iter()
            .flatten()
            .filter(|node| places[**node as usize].container == through)
            .map(|node| Definition { file: self.file, node: *node })
            .collect();
        if self.take_first(reference, own.into_iter(), confidence::SAME_FILE) {
            return;
        }
        if let Some(alias) = self.aliases.get(&through).copied() {
            let modules = self.module_of(alias);
            for file in &modules {
                let Some(target) = self.index.source(*file) else { continue };
                let inside = self.ask_inside(target.module, reference.name);
                let here = inside.iter().copied().filter(|found| found.file == *file);
                if self.take_first(reference, here, confidence::IMPORTED) {
                    return;
                }
            }
            let import = &self.source.facts.imports[alias.0 as usize];
            let original = import.names[alias.1 as usize].original;
            let of_type =
                if original.is_none() || self.names.text(original).as_ref() == "default" { through } else { original };
            if self.imports[alias.0 as usize].files.is_empty() && modules.is_empty() && self.family != Family::Java {
                return;
            }
            let inside = self.ask_inside(of_type, reference.name);
            if self.take(reference, inside.iter().copied(), confidence::IMPORTED) || modules.is_empty() {
                return;
            }
            // The module passes it on from elsewhere.
            let (free, file) = (self.ask_free(reference.name), self.file);
            self.take(reference, free.iter().copied().filter(|found| found.file != file), confidence::ONLY_ONE);
            return;
        }
        let inside = self.ask_inside(through, reference.name);
        if self.take(reference, inside.iter().copied(), confidence::IMPORTED) {
            return;
        }
        // A variable that nobody declared here, such as a field of an object.
        let is_variable = self.names.text(through).starts_with(|first: char| first.is_lowercase() || first == '_');
        if is_variable && self.family != Family::Rust {
            self.member(reference);
        }
    }

    /// `variable.name`, of a variable whose type is written.
    fn typed(&mut self, reference: &Reference, of_type: Name) {
        if self.of_own_type(reference, of_type, confidence::SAME_FILE) {
            return;
        }
        let original = match self.aliases.get(&of_type) {
            Some((import, binding)) => {
                let original = self.source.facts.imports[*import as usize].names[*binding as usize].original;
                if original.is_none() || self.names.text(original).as_ref() == "default" { of_type } else { original }
            }
            None => of_type,
        };
        let inside = self.ask_inside(original, reference.name);
        if !self.take(reference, inside.iter().copied(), confidence::NEAR) {
            self.of_bases(reference, of_type);
        }
    }

    /// `self.name`.
    fn own(&mut self, reference: &Reference, own: Name) {
        if self.of_own_type(reference, own, confidence::SAME_SCOPE) {
            return;
        }
        let inside = self.ask_inside(own, reference.name);
        if self.take(reference, inside.iter().copied(), confidence::IMPORTED) {
            return;
        }
        self.of_bases(reference, own);
    }

    /// A method of what a type of this file is derived from.
    fn of_bases(&mut self, reference: &Reference, of_type: Name) {
        for base in self.bases.get(&of_type).cloned().unwrap_or_default() {
            let inside = self.ask_inside(base, reference.name);
            if self.take(reference, inside.iter().copied(), confidence::NEAR) {
                return;
            }
        }
    }

    fn of_own_type(&mut self, reference: &Reference, of_type: Name, sure: f32) -> bool {
        let places = &self.source.facts.places;
        let own: SmallVec<[Definition; 4]> = self
            .own
            .get(&reference.name)
            .into_iter()
            .flatten()
            .filter(|node| places[**node as usize].member && places[**node as usize].container == of_type)
            .map(|node| Definition { file: self.file, node: *node })
            .collect();
        self.take_first(reference, own.into_iter(), sure)
    }

    /// `something.name`.
    fn member(&mut self, reference: &Reference) {
        if self.is_built_in(reference.name) {
            return;
        }
        let members = self.ask_members(reference.name);
        let members = members.iter().copied().filter(|found| self.place(*found).is_some_and(|place| place.member));
        let members: SmallVec<[Definition; 4]> = members.collect();
        self.take(reference, members.into_iter(), confidence::ONLY_METHOD);
    }

    fn is_built_in(&self, name: Name) -> bool {
        languages::is_built_in(self.family, self.names.text(name))
    }

    // Which file an import means.

    fn target(&mut self, import: &Import) -> Imported {
        let pieces: SmallVec<[Arc<str>; 8]> =
            import.from.iter().map(|name| Arc::clone(self.names.text(*name))).collect();
        let pieces: SmallVec<[&str; 8]> = pieces.iter().map(|piece| &**piece).collect();
        if pieces.is_empty() {
            return Imported { files: SmallVec::new(), confidence: 0.0 };
        }
        let exact = |file| Imported { files: SmallVec::from_slice(&[file]), confidence: confidence::SAME_SCOPE };
        let by_end = |file| Imported { files: SmallVec::from_slice(&[file]), confidence: confidence::PATH_END };
        let none = Imported { files: SmallVec::new(), confidence: 0.0 };
        match self.family {
            Family::Web => {
                if matches!(pieces[0], "." | "..") {
                    let Some(path) = join(folder(&self.source.path), &pieces) else { return none };
                    return self.with_extension(&path, WEB_ENDS).map_or(none, exact);
                }
                // `@/…` and `~/…` are the root of a source folder, by the settings of a bundler.
                if matches!(pieces[0], "@" | "~") {
                    return self.by_path_end(&pieces[1..], WEB_ENDS).map_or(none, by_end);
                }
                none
            }
            Family::Python => {
                if matches!(pieces[0], "." | "..") {
                    let Some(path) = join(folder(&self.source.path), &pieces) else { return none };
                    return self.with_extension(&path, PYTHON_ENDS).map_or(none, exact);
                }
                let Some(file) = self.by_path_end(&pieces, PYTHON_ENDS) else { return none };
                // `import json` means the library's, unless the tree has one where this file would find it.
                let path = self.index.source(file).map_or("", |source| &source.path);
                let module = path.strip_suffix("/__init__.py").unwrap_or(path);
                let found_in = folder(module);
                let beside = found_in.is_empty() || ends_with_path(found_in, "src") || ends_with_path(found_in, "lib");
                if pieces.len() == 1 && !beside && folder(&self.source.path) != found_in {
                    return none;
                }
                by_end(file)
            }
            Family::C => {
                if pieces[0] == "<" {
                    return self.by_path_end(&pieces[1..], &[""]).map_or(none, by_end);
                }
                if let Some(path) = join(folder(&self.source.path), &pieces)
                    && let Some(file) = self.ask_path(&path)
                {
                    return exact(file);
                }
                self.by_path_end(&pieces, &[""]).map_or(none, by_end)
            }
            Family::Java => {
                if import.wildcard {
                    return self.package(&pieces);
                }
                self.by_path_end(&pieces, &[".java"]).map_or(none, by_end)
            }
            Family::Go => self.package(&pieces),
            Family::Rust => self.rust(&pieces),
        }
    }

    fn with_extension(&mut self, path: &str, ends: &[&str]) -> Option<FileId> {
        if let Some(file) = ends.iter().find_map(|end| self.ask_path(&[path, end].concat())) {
            return Some(file);
        }
        // TypeScript names a module as it will be called when it is JavaScript.
        let stem =
            path.strip_suffix(".js").or_else(|| path.strip_suffix(".mjs")).or_else(|| path.strip_suffix(".jsx"))?;
        [".ts", ".tsx", ".mts"].iter().find_map(|end| self.ask_path(&[stem, end].concat()))
    }

    /// The file whose path ends so; the nearest of several.
    fn by_path_end(&mut self, pieces: &[&str], ends: &[&str]) -> Option<FileId> {
        let last = pieces.last()?;
        // A file is found by the name of its module, which is that of the folder for `index` and its like.
        let stem = if self.family == Family::C { last } else { last.split_once('.').map_or(*last, |(stem, _)| stem) };
        let files = self.ask_name(stem);
        let joined = pieces.join("/");
        let wanted: SmallVec<[String; 8]> = ends.iter().map(|end| [joined.as_str(), end].concat()).collect();
        let fitting = files.iter().copied().filter(|file| {
            let path = self.index.source(*file).map_or("", |source| &source.path);
            wanted.iter().any(|wanted| ends_with_path(path, wanted))
        });
        self.nearest(fitting)
    }

    /// Files by the name of their module, which may be a name that nobody has.
    fn ask_name(&mut self, module: &str) -> &'a [FileId] {
        self.asked.push(module_question(module));
        let name = self.names.get(module);
        name.and_then(|name| self.index.modules.get(&(self.family, name))).map_or(&[], |list| &list[..])
    }

    fn nearest(&self, files: impl Iterator<Item = FileId>) -> Option<FileId> {
        files.max_by(|a, b| {
            let path = |file: &FileId| self.index.source(*file).map_or("", |source| &*source.path);
            let (a, b) = (path(a), path(b));
            common(a, &self.source.path).cmp(&common(b, &self.source.path)).then_with(|| b.cmp(a))
        })
    }

    /// All files of the folder whose path has most of the import's end.
    fn package(&mut self, pieces: &[&str]) -> Imported {
        let none = Imported { files: SmallVec::new(), confidence: 0.0 };
        let mut pieces = pieces;
        if self.family == Family::Go
            && let [rest @ .., last] = pieces
            && last.starts_with('v')
            && last.len() > 1
            && last[1..].bytes().all(|byte| byte.is_ascii_digit())
            && !rest.is_empty()
        {
            pieces = rest;
        }
        let Some(last) = pieces.last() else { return none };
        let files: Vec<FileId> = if self.family == Family::Go {
            self.ask_name(last).to_vec()
        } else {
            // Java's modules are classes, so packages are looked for by what is asked of them, in `is_near`.
            return none;
        };
        let matching = |path: &str| {
            let folders = folder(path).rsplit('/');
            folders.zip(pieces.iter().rev()).take_while(|(a, b)| a == *b).count()
        };
        let path = |file: FileId| self.index.source(file).map_or("", |source| &*source.path);
        // Of packages with the same end the nearest is meant.
        let best = files.iter().copied().max_by(|a, b| {
            let (a, b) = (path(*a), path(*b));
            let near = |path: &str| (matching(path), common(path, &self.source.path));
            near(a).cmp(&near(b)).then_with(|| b.cmp(a))
        });
        let Some(best) = best.filter(|best| matching(path(*best)) > 0) else { return none };
        let package = folder(path(best));
        // One piece of a longer path is no evidence, unless nothing else could be meant.
        if matching(path(best)) == 1 && pieces.len() > 1 && !package.is_empty() && package.contains('/') {
            return none;
        }
        let mut same: Vec<FileId> = files
            .iter()
            .copied()
            .filter(|file| folder(path(*file)) == package && !path(*file).ends_with("_test.go"))
            .collect();
        same.sort_unstable_by(|a, b| path(*a).cmp(path(*b)));
        same.truncate(PACKAGE_FILES);
        Imported { files: same.into_iter().collect(), confidence: confidence::PATH_END }
    }

    fn rust(&mut self, pieces: &[&str]) -> Imported {
        let none = Imported { files: SmallVec::new(), confidence: 0.0 };
        let relative = pieces.iter().take_while(|piece| matches!(**piece, "crate" | "self" | "super")).count();
        let rest = &pieces[relative..];
        let root = crate_root(&self.source.path);
        let path = self.source.path.clone();
        if relative > 0 {
            // The folder in which this module's children are.
            let mut base: String = match path.rsplit_once('/') {
                Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
                Some((folder, file)) => [folder, "/", file.strip_suffix(".rs").unwrap_or(file)].concat(),
                None if matches!(&*path, "lib.rs" | "main.rs" | "mod.rs") => String::new(),
                None => path.strip_suffix(".rs").unwrap_or(&path).to_owned(),
            };
            if pieces[0] == "crate" {
                base = root.to_owned();
            }
            for piece in &pieces[..relative] {
                if *piece == "super" {
                    base = folder(&base).to_owned();
                }
            }
            let join = |more: &str| if base.is_empty() { more.to_owned() } else { [base.as_str(), "/", more].concat() };
            let candidates = if rest.is_empty() {
                vec![join("mod.rs"), join("lib.rs"), join("main.rs"), [base.as_str(), ".rs"].concat()]
            } else {
                let way = rest.join("/");
                vec![join(&[way.as_str(), ".rs"].concat()), join(&[way.as_str(), "/mod.rs"].concat())]
            };
            let found = candidates.iter().find_map(|path| self.ask_path(path));
            return found.map_or(none, |file| Imported {
                files: SmallVec::from_slice(&[file]),
                confidence: confidence::SAME_SCOPE,
            });
        }
        let by_end = |file| Imported { files: SmallVec::from_slice(&[file]), confidence: confidence::PATH_END };
        let [first, inner @ ..] = rest else { return none };
        // A crate is called as its folder, or the folder as the end of its name: `squall_store` is in `store`.
        let dashed = first.replace('_', "-");
        let short = first.rsplit_once('_').map(|(_, short)| short);
        let names: SmallVec<[&str; 3]> =
            [Some(*first), Some(dashed.as_str()).filter(|name| name != first), short].into_iter().flatten().collect();
        for name in names {
            let roots: SmallVec<[FileId; 4]> = self
                .ask_name(name)
                .iter()
                .copied()
                .filter(|file| self.index.source(*file).is_some_and(|source| source.path.ends_with("lib.rs")))
                .collect();
            let Some(root) = self.nearest(roots.into_iter()) else { continue };
            if inner.is_empty() {
                return by_end(root);
            }
            let base = self.index.source(root).map_or("", |source| folder(&source.path)).to_owned();
            let way = [base.as_str(), "/", &inner.join("/")].concat();
            let found = [".rs", "/mod.rs"].iter().find_map(|end| self.ask_path(&[way.as_str(), end].concat()));
            return by_end(found.unwrap_or(root));
        }
        // Or a module beside or below this one.
        let way = [folder(&path), "/", &rest.join("/")].concat();
        let way = way.trim_start_matches('/');
        let found = [".rs", "/mod.rs"].iter().find_map(|end| self.ask_path(&[way, end].concat()));
        found.map_or(none, by_end)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Definition2(FileId, u32);

const WEB_ENDS: &[&str] = &[
    "",
    ".ts",
    ".tsx",
    ".d.ts",
    ".js",
    ".jsx",
    ".mjs",
    ".cjs",
    ".mts",
    ".vue",
    "/index.ts",
    "/index.tsx",
    "/index.d.ts",
    "/index.js",
    "/index.jsx",
    "/index.mjs",
    "/index.vue",
];
const PYTHON_ENDS: &[&str] = &[".py", "/__init__.py", ".pyi", "/__init__.pyi"];

fn fits(manner: Manner, through: Through, kind: NodeKind, family: Family) -> bool {
    match manner {
        Manner::Call => {
            kind.is_callable()
                || matches!(kind, NodeKind::Class | NodeKind::Struct)
                // A variant with values, and a macro that looks like a function.
                || (family == Family::Rust && kind == NodeKind::Constant && through != Through::Unknown)
                || (family == Family::C && kind == NodeKind::Macro)
        }
        Manner::Expand => kind == NodeKind::Macro,
        Manner::Inherit | Manner::Implement => kind.is_type(),
        Manner::Type if through == Through::Nothing => kind.is_type(),
        Manner::Type => !matches!(kind, NodeKind::Import | NodeKind::Module),
        Manner::Value => !matches!(kind, NodeKind::Import | NodeKind::Module | NodeKind::Field),
    }
}

fn is_header(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| extension.starts_with('h'))
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The folder of a crate's sources.
fn crate_root(path: &str) -> &str {
    if let Some(at) = path.rfind("/src/") {
        return &path[..at + 4];
    }
    if path.starts_with("src/") { "src" } else { folder(path) }
}

/// A relative path from a folder; none when it leaves the tree.
fn join(folder: &str, pieces: &[&str]) -> Option<String> {
    let mut way: SmallVec<[&str; 16]> = folder.split('/').filter(|piece| !piece.is_empty()).collect();
    for piece in pieces {
        match *piece {
            "." | "" => {}
            ".." => {
                way.pop()?;
            }
            piece => way.push(piece),
        }
    }
    Some(way.join("/"))
}

fn ends_with_path(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// How many folders two paths have in common.
fn common(a: &str, b: &str) -> usize {
    folder(a).split('/').zip(folder(b).split('/')).take_while(|(a, b)| a == b).count()
}

/// Whether any of the questions was asked; both lists are sorted.
pub(crate) fn asked_any(asked: &[Question], changed: &[Question]) -> bool {
    if changed.len() * 8 < asked.len() {
        return changed.iter().any(|question| asked.binary_search(question).is_ok());
    }
    let (mut a, mut b) = (asked.iter().peekable(), changed.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => _ = a.next(),
            std::cmp::Ordering::Greater => _ = b.next(),
            std::cmp::Ordering::Equal => return true,
        }
    }
    false
}
