//! From a text to its facts: one walk over the syntax tree, in which the language's table says what each node means.
//!
//! The walk keeps a stack of open scopes. A visitor of a language looks at one node and says what it defines, mentions or
//! imports; where that belongs follows from the scopes.

#![cfg_attr(
    not(all(
        feature = "rust",
        feature = "python",
        feature = "vue",
        feature = "go",
        feature = "java",
        feature = "c",
        feature = "cpp"
    )),
    allow(dead_code, unused_variables, reason = "what is used depends on the languages that are built in")
)]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tree_sitter::{Node as Syn, ParseOptions, Parser, Tree};

use crate::facts::{Binding, Facts, Import, Manner, Place, Reference, Through};
use crate::files::Skipped;
use crate::languages::{self, GRAMMARS};
use crate::names::{Name, Names};
use crate::node::node_id;
use crate::{Language, Node, NodeKind, Visibility};

/// What the walk does with a kind of node.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// Looks inside.
    Descend,
    /// Leaves it out with all that is inside.
    Skip,
    /// Counts one more way through the function, and looks inside.
    Branch,
    /// Asks the language.
    Visit(Visitor),
}

/// Looks at one node.
pub(crate) type Visitor = fn(&mut Walk<'_>, Syn<'_>) -> Flow;

/// How the walk goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Descend,
    Skip,
}

macro_rules! fields {
    ($($name:ident = $word:literal,)+) => {
        /// A field of a syntax node.
        #[derive(Clone, Copy)]
        #[repr(usize)]
        #[allow(dead_code, reason = "which are used depends on the languages that are built in")]
        pub(crate) enum Field { $($name,)+ }

        const FIELDS: &[&str] = &[$($word,)+];
    };
}

fields! {
    Alias = "alias", Argument = "argument", Arguments = "arguments", Body = "body", Bounds = "bounds",
    Constructor = "constructor", Declarator = "declarator", Function = "function", Interfaces = "interfaces",
    Member = "field", Kind = "kind", Left = "left", List = "list", Macro = "macro", Module = "module",
    ModuleName = "module_name", Name = "name", Object = "object", Operand = "operand", Package = "package",
    Parameters = "parameters", Path = "path", Pattern = "pattern", Property = "property", Receiver = "receiver",
    Right = "right", Scope = "scope", Source = "source", Superclass = "superclass", Superclasses = "superclasses",
    Trait = "trait", Type = "type", Value = "value", Declaration = "declaration",
}

/// A grammar with what its nodes mean.
pub(crate) struct Syntax {
    pub(crate) language: tree_sitter::Language,
    rules: Vec<Rule>,
    fields: [u16; FIELDS.len()],
    /// Between the parts of a qualified name.
    separator: &'static str,
}

impl Syntax {
    /// The table of a grammar: what is visited, which kinds are branches, which are left out. A token stands in quotes of its
    /// own: `"'&&'"` is the operator.
    pub(crate) fn new(
        language: tree_sitter::Language,
        separator: &'static str,
        visits: &[(&str, Visitor)],
        branches: &[&str],
        skips: &[&str],
    ) -> Self {
        let mut rules = vec![Rule::Descend; language.node_kind_count()];
        for id in 0..language.node_kind_count() as u16 {
            let Some(kind) = language.node_kind_for_id(id) else { continue };
            let named = language.node_kind_is_named(id);
            let is = |word: &str| match word.strip_prefix('\'').and_then(|word| word.strip_suffix('\'')) {
                Some(token) => !named && token == kind,
                None => named && word == kind,
            };
            rules[id as usize] = if let Some((_, visitor)) = visits.iter().find(|(word, _)| is(word)) {
                Rule::Visit(*visitor)
            } else if branches.iter().any(|word| is(word)) {
                Rule::Branch
            } else if skips.iter().any(|word| is(word)) {
                Rule::Skip
            } else {
                Rule::Descend
            };
        }
        let fields = std::array::from_fn(|field| language.field_id_for_name(FIELDS[field]).map_or(0, |id| id.get()));
        Self { language, rules, fields, separator }
    }
}

/// The parsers of one thread.
pub(crate) struct Parsers {
    parsers: [Option<Parser>; GRAMMARS],
    timeout: Duration,
}

impl Parsers {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { parsers: [const { None }; GRAMMARS], timeout }
    }

    /// The tree of one part of a text.
    pub(crate) fn parse(&mut self, part: &languages::Part, text: &str) -> Result<Tree, Skipped> {
        let timed_out = Skipped::TimedOut(self.timeout.as_millis() as u64);
        let syntax = languages::syntax(part.grammar).ok_or(Skipped::DoesNotParse { errors: 0 })?;
        let parser = match &mut self.parsers[part.grammar as usize] {
            Some(parser) => parser,
            empty => {
                let mut parser = Parser::new();
                parser.set_language(&syntax.language).map_err(|_| Skipped::DoesNotParse { errors: 0 })?;
                empty.insert(parser)
            }
        };
        parser.set_included_ranges(&part.ranges).map_err(|_| Skipped::DoesNotParse { errors: 0 })?;
        let bytes = text.as_bytes();
        let until = Instant::now() + self.timeout;
        let mut late = |_: &tree_sitter::ParseState| {
            if Instant::now() > until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let options = ParseOptions::new().progress_callback(&mut late);
        let tree = parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options));
        if tree.is_none() {
            parser.reset();
        }
        tree.ok_or(timed_out)
    }
}

/// The facts of one text.
pub(crate) fn extract(
    path: &Arc<str>,
    language: Language,
    text: &str,
    parsers: &mut Parsers,
    names: &Mutex<Names>,
) -> Result<Facts, Skipped> {
    let (language, parts) = languages::parts(language, path, text);
    let mut walk = Walk::new(path, language, text);
    let mut bad_bytes = 0;
    let mut parsed_bytes = 0;
    for part in &parts {
        let tree = parsers.parse(part, text)?;
        let root = tree.root_node();
        parsed_bytes += match &part.ranges[..] {
            [] => text.len(),
            ranges => ranges.iter().map(|range| range.end_byte - range.start_byte).sum(),
        };
        if root.has_error() {
            bad_bytes += walk.count_errors(root);
        }
        if root.is_error() || bad_bytes * 2 > parsed_bytes {
            return Err(Skipped::DoesNotParse { errors: walk.errors.max(1) });
        }
        if let Some(syntax) = languages::syntax(part.grammar) {
            walk.tree(syntax, &tree);
        }
    }
    Ok(walk.finish(names))
}

/// A number of a name within one file.
type Local = u32;
const NOTHING: Local = 0;

/// Something open: what is written now belongs to it.
struct Scope {
    depth: u32,
    node: u32,
    /// The type or inline module, for what is directly inside.
    container: Local,
    /// Directly inside are members of a type.
    of_type: bool,
    /// The type around, for `self`.
    own: Local,
    /// The children belong to the type of this name, wherever the file has it.
    adopts: Local,
    /// The function whose complexity counts.
    function: Option<u32>,
    qualified: String,
    /// What the last `public:` said.
    access: Option<Visibility>,
    /// Names that are variables here, with their types where these are written.
    variables: Vec<(Local, Local)>,
}

/// What a visitor says of a definition.
pub(crate) struct Definition<'a> {
    pub(crate) kind: NodeKind,
    pub(crate) name: &'a str,
    pub(crate) visibility: Option<Visibility>,
    /// Where the signature ends.
    pub(crate) body: Option<Syn<'a>>,
}

struct Defined {
    kind: NodeKind,
    name: Local,
    qualified: Arc<str>,
    parent: u32,
    container: Local,
    adopted_by: Local,
    member: bool,
    start: tree_sitter::Point,
    end: tree_sitter::Point,
    complexity: u32,
    visibility: Option<Visibility>,
    signature: Option<Arc<str>>,
}

struct Mentioned {
    source: u32,
    /// The source is this type of the file, if it has it.
    of_type: Local,
    manner: Manner,
    name: Local,
    through: LocalThrough,
    line: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum LocalThrough {
    Nothing,
    Own(Local),
    Named(Local),
    Typed(Local),
    Unknown,
}

/// What a call or a path goes through, as a visitor sees it.
#[derive(Clone, Copy)]
pub(crate) enum Via<'a> {
    /// Nothing: a bare name.
    Nothing,
    /// The type around.
    Own,
    /// A name, which may be a variable.
    Named(&'a str),
    /// A value of this type.
    Typed(&'a str),
    /// A value of who knows what.
    Unknown,
}

struct Imported {
    from: Vec<Local>,
    names: Vec<(Local, Local)>,
    wildcard: bool,
    line: u32,
}

/// The walk over one file.
pub(crate) struct Walk<'s> {
    path: &'s Arc<str>,
    language: Language,
    pub(crate) text: &'s str,
    syntax: Option<&'static Syntax>,
    locals: HashMap<&'s str, Local>,
    local_texts: Vec<&'s str>,
    /// For each name the last node that mentioned it as a value.
    last_mention: Vec<u32>,
    defined: Vec<Defined>,
    mentioned: Vec<Mentioned>,
    imported: Vec<Imported>,
    scopes: Vec<Scope>,
    opened: bool,
    /// The field of its parent in which the visited node stands; 0 for none.
    field: u16,
    /// Types of fields, by the type that has them.
    fields: HashMap<(Local, Local), Local>,
    /// Before this byte everything is given away by an `export`.
    pub(crate) exported_until: usize,
    /// Before this byte every variable is declared with `const`.
    pub(crate) constant_until: usize,
    errors: u32,
}

impl<'s> Walk<'s> {
    fn new(path: &'s Arc<str>, language: Language, text: &'s str) -> Self {
        let mut walk = Self {
            path,
            language,
            text,
            syntax: None,
            locals: HashMap::new(),
            local_texts: Vec::new(),
            last_mention: Vec::new(),
            defined: Vec::new(),
            mentioned: Vec::new(),
            imported: Vec::new(),
            scopes: Vec::new(),
            opened: false,
            field: 0,
            fields: HashMap::new(),
            exported_until: 0,
            constant_until: 0,
            errors: 0,
        };
        walk.local("");
        let name = walk.local(languages::module_name(language, path));
        let lines = text.lines().count().max(1);
        let last = text.lines().next_back().map_or(0, str::len);
        walk.defined.push(Defined {
            kind: NodeKind::Module,
            name,
            qualified: Arc::clone(path),
            parent: 0,
            container: NOTHING,
            adopted_by: NOTHING,
            member: false,
            start: tree_sitter::Point { row: 0, column: 0 },
            end: tree_sitter::Point { row: lines - 1, column: last },
            complexity: 0,
            visibility: None,
            signature: None,
        });
        walk
    }

    fn local(&mut self, text: &'s str) -> Local {
        let next = self.local_texts.len() as Local;
        let number = *self.locals.entry(text).or_insert(next);
        if number == next {
            self.local_texts.push(text);
            self.last_mention.push(u32::MAX);
        }
        number
    }

    fn tree(&mut self, syntax: &'static Syntax, tree: &Tree) {
        self.syntax = Some(syntax);
        self.exported_until = 0;
        self.constant_until = 0;
        self.scopes.clear();
        self.scopes.push(Scope {
            depth: u32::MAX,
            node: 0,
            container: NOTHING,
            of_type: false,
            own: NOTHING,
            adopts: NOTHING,
            function: None,
            qualified: String::new(),
            access: None,
            variables: Vec::new(),
        });
        let mut cursor = tree.walk();
        let mut depth = 0;
        loop {
            let node = cursor.node();
            let descend = match syntax.rules.get(node.kind_id() as usize) {
                Some(Rule::Skip) => false,
                Some(Rule::Branch) => {
                    self.branch();
                    true
                }
                Some(Rule::Visit(visit)) => {
                    self.opened = false;
                    self.field = cursor.field_id().map_or(0, |id| id.get());
                    let flow = visit(self, node);
                    if self.opened {
                        // A visitor may open two at once: a type, and its method.
                        let new = self.scopes.iter_mut().skip(1).rev().take_while(|scope| scope.depth == u32::MAX);
                        new.for_each(|scope| scope.depth = depth);
                    }
                    flow == Flow::Descend
                }
                // ERROR has a number beyond the table.
                Some(Rule::Descend) | None => true,
            };
            if descend && cursor.goto_first_child() {
                depth += 1;
                continue;
            }
            loop {
                while self.top().depth == depth {
                    self.scopes.pop();
                }
                if cursor.goto_next_sibling() {
                    break;
                }
                if !cursor.goto_parent() {
                    return;
                }
                depth -= 1;
            }
        }
    }

    /// How many bytes are inside of what makes no sense; counts the places.
    fn count_errors(&mut self, root: Syn<'_>) -> usize {
        let mut bytes = 0;
        let mut cursor = root.walk();
        loop {
            let node = cursor.node();
            let bad = node.is_error();
            if bad || node.is_missing() {
                self.errors += 1;
                bytes += node.end_byte() - node.start_byte();
            }
            if !bad && node.has_error() && cursor.goto_first_child() {
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return bytes;
                }
            }
        }
    }

    fn top(&mut self) -> &mut Scope {
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    fn scope(&self) -> &Scope {
        &self.scopes[self.scopes.len() - 1]
    }

    // What visitors ask.

    /// The text of a node.
    pub(crate) fn text_of(&self, node: Syn<'_>) -> &'s str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }

    /// The child in a field.
    pub(crate) fn child<'t>(&self, node: Syn<'t>, field: Field) -> Option<Syn<'t>> {
        let id = self.syntax?.fields[field as usize];
        if id == 0 { None } else { node.child_by_field_id(id) }
    }

    /// The text of the child in a field.
    pub(crate) fn text_in(&self, node: Syn<'_>, field: Field) -> Option<&'s str> {
        self.child(node, field).map(|child| self.text_of(child))
    }

    /// True when the visited node stands in this field of its parent.
    pub(crate) fn stands_in(&self, field: Field) -> bool {
        self.field != 0 && self.syntax.is_some_and(|syntax| syntax.fields[field as usize] == self.field)
    }

    /// True directly inside of a type.
    pub(crate) fn in_type(&self) -> bool {
        self.scope().of_type
    }

    /// True inside of a function.
    pub(crate) fn in_function(&self) -> bool {
        self.scope().function.is_some()
    }

    /// The name of the type around.
    pub(crate) fn own_type(&self) -> &'s str {
        self.local_texts[self.scope().own as usize]
    }

    /// What kind of node the scope is of.
    pub(crate) fn scope_kind(&self) -> NodeKind {
        self.defined[self.scope().node as usize].kind
    }

    /// The visibility of the scope's node.
    pub(crate) fn scope_visibility(&self) -> Option<Visibility> {
        self.defined[self.scope().node as usize].visibility
    }

    // What visitors say.

    /// One more way through the function.
    pub(crate) fn branch(&mut self) {
        if let Some(function) = self.scope().function {
            let complexity = &mut self.defined[function as usize].complexity;
            *complexity = complexity.wrapping_add(1);
        }
    }

    /// One way fewer: of the arms of a `match`, which are counted one by one, the last is what is left.
    pub(crate) fn join_branches(&mut self) {
        if let Some(function) = self.scope().function {
            let complexity = &mut self.defined[function as usize].complexity;
            *complexity = complexity.wrapping_sub(1);
        }
    }

    /// From here on the members of the type are visible to these.
    pub(crate) fn set_access(&mut self, access: Visibility) {
        self.top().access = Some(access);
    }

    /// Who sees the members of the type from here on.
    pub(crate) fn access(&self) -> Option<Visibility> {
        self.scope().access
    }

    /// A definition; what is inside of its node belongs to it.
    pub(crate) fn define(&mut self, node: Syn<'_>, definition: Definition<'_>) {
        let name = self.intern(definition.name);
        let text = self.local_texts[name as usize];
        let kind = definition.kind;
        let separator = self.syntax.map_or(".", |syntax| syntax.separator);
        let scope = self.scope();
        let (parent, container, adopted_by, member) = (scope.node, scope.container, scope.adopts, scope.of_type);
        let (outer_own, outer_function) = (scope.own, scope.function);
        let qualified = if scope.qualified.is_empty() {
            text.to_owned()
        } else {
            [scope.qualified.as_str(), separator, text].concat()
        };
        let complexity = u32::from(kind.is_callable());
        let signature = (kind.is_callable() || kind.is_type()).then(|| self.signature(node, definition.body));
        let number = self.defined.len() as u32;
        self.defined.push(Defined {
            kind,
            name,
            qualified: qualified.as_str().into(),
            parent,
            container,
            adopted_by,
            member,
            start: node.start_position(),
            end: node.end_position(),
            complexity,
            visibility: definition.visibility,
            signature,
        });
        let encloses = kind.is_type() || kind == NodeKind::Module;
        self.scopes.push(Scope {
            depth: u32::MAX,
            node: number,
            container: if encloses { name } else { container },
            of_type: kind.is_type(),
            own: if kind.is_type() { name } else { outer_own },
            adopts: NOTHING,
            function: match kind {
                _ if kind.is_callable() => Some(number),
                _ if encloses => None,
                _ => outer_function,
            },
            qualified,
            access: None,
            variables: Vec::new(),
        });
        self.opened = true;
    }

    /// A definition that nothing belongs to: what is inside of its node belongs to what is around.
    pub(crate) fn define_leaf(&mut self, node: Syn<'_>, definition: Definition<'_>) {
        let opened = self.opened;
        self.define(node, definition);
        self.scopes.pop();
        self.opened = opened;
    }

    /// What is inside of this node belongs to a type of that name, which is defined elsewhere: in the file, or in another.
    pub(crate) fn open_type(&mut self, name: &str) {
        let name = self.intern(name);
        let scope = self.scope();
        let separator = self.syntax.map_or(".", |syntax| syntax.separator);
        let text = self.local_texts[name as usize];
        let qualified = if scope.qualified.is_empty() {
            text.to_owned()
        } else {
            [scope.qualified.as_str(), separator, text].concat()
        };
        let (node, function) = (scope.node, None);
        self.scopes.push(Scope {
            depth: u32::MAX,
            node,
            container: name,
            of_type: true,
            own: name,
            adopts: name,
            function,
            qualified,
            access: None,
            variables: Vec::new(),
        });
        self.opened = true;
    }

    /// A variable of the function or type that is open, with its type where that is written.
    pub(crate) fn variable(&mut self, name: &str, of_type: Option<&str>) {
        if name.is_empty() {
            return;
        }
        let pair = (self.intern(name), of_type.map_or(NOTHING, |name| self.intern(name)));
        // A field's type is known to the whole type, a parameter's to the whole function.
        self.top().variables.push(pair);
    }

    /// The field that was defined last, with its type if that has a plain name.
    pub(crate) fn variable_outside(&mut self, name: &str, of_type: Option<&str>) {
        if let Some(of_type) = of_type {
            self.variable_of_type(name, of_type);
        }
    }

    /// A field of the type around, with its type: one that is seen when a method sets it.
    pub(crate) fn variable_of_type(&mut self, name: &str, of_type: &str) {
        let (name, of_type, own) = (self.intern(name), self.intern(of_type), self.scope().own);
        self.fields.entry((own, name)).or_insert(of_type);
    }

    /// A field of the type that is open, with its type if that has a plain name.
    pub(crate) fn variable_of_type_or_none(&mut self, name: &str, of_type: Option<&str>) {
        if let Some(of_type) = of_type {
            self.variable_of_type(name, of_type);
        }
    }

    /// True when the function that is open has a variable of that name.
    pub(crate) fn is_variable(&self, name: &str) -> bool {
        self.locals.get(name).is_some_and(|name| self.variable_type(*name).is_some())
    }

    /// A mention of something.
    pub(crate) fn mention(&mut self, manner: Manner, name: &str, via: Via<'_>, node: Syn<'_>) {
        if name.is_empty() {
            return;
        }
        let name = self.intern(name);
        let through = self.through(via);
        let source = self.scope().node;
        let line = node.start_position().row as u32 + 1;
        // What stands between the methods of a type, and in the head above them, is said by the type.
        let of_type = self.scope().adopts;
        self.mentioned.push(Mentioned { source, of_type, manner, name, through, line });
    }

    /// A mention by a type that need not be the one that is open.
    pub(crate) fn mention_by_type(&mut self, manner: Manner, of_type: &str, name: &str, via: Via<'_>, node: Syn<'_>) {
        let of_type = self.intern(of_type);
        self.mention(manner, name, via, node);
        if let Some(last) = self.mentioned.last_mut() {
            last.of_type = of_type;
        }
    }

    /// A bare name that stands for a value; not one that stands where a name is given.
    pub(crate) fn mention_value(&mut self, node: Syn<'_>) {
        let name = self.local(self.text_of(node));
        let source = self.scope().node;
        if self.last_mention[name as usize] == source || self.variable_type(name).is_some() {
            return;
        }
        self.last_mention[name as usize] = source;
        let line = node.start_position().row as u32 + 1;
        self.mentioned.push(Mentioned {
            source,
            of_type: NOTHING,
            manner: Manner::Value,
            name,
            through: LocalThrough::Nothing,
            line,
        });
    }

    /// An import, which is a node of its own.
    pub(crate) fn import(&mut self, node: Syn<'_>, from: &[&str], names: &[(&str, &str)], wildcard: bool) {
        let from: Vec<Local> = from.iter().map(|piece| self.intern(piece)).collect();
        let names = names.iter().map(|(alias, original)| (self.intern(alias), self.intern(original))).collect();
        self.imported.push(Imported { from, names, wildcard, line: node.start_position().row as u32 + 1 });
    }

    /// The node of an import that is an expression of something else.
    pub(crate) fn import_leaf(&mut self, node: Syn<'_>, name: &str) {
        let name = clip(name, 200);
        self.define_leaf(node, Definition { kind: NodeKind::Import, name, visibility: None, body: None });
    }

    /// The node of an import statement. What it says is said with [`Walk::import`].
    pub(crate) fn import_node(&mut self, node: Syn<'_>, name: &str) {
        self.define(node, Definition { kind: NodeKind::Import, name: clip(name, 200), visibility: None, body: None });
    }

    fn through(&mut self, via: Via<'_>) -> LocalThrough {
        match via {
            Via::Nothing => LocalThrough::Nothing,
            Via::Own => match self.scope().own {
                NOTHING => LocalThrough::Unknown,
                own => LocalThrough::Own(own),
            },
            Via::Named(name) => {
                let name = self.intern(name);
                match self.variable_type(name) {
                    Some(NOTHING) => LocalThrough::Unknown,
                    Some(of_type) => LocalThrough::Typed(of_type),
                    None => LocalThrough::Named(name),
                }
            }
            Via::Typed(name) => LocalThrough::Typed(self.intern(name)),
            Via::Unknown => LocalThrough::Unknown,
        }
    }

    /// The written type of a variable that is in scope; `NOTHING` when none is written.
    fn variable_type(&self, name: Local) -> Option<Local> {
        let found =
            |scope: &Scope| scope.variables.iter().rev().find(|(variable, _)| *variable == name).map(|found| found.1);
        self.scopes.iter().rev().take_while(|scope| scope.function.is_some()).find_map(found)
    }

    /// The written type of a field of the type around.
    pub(crate) fn field_type(&self, name: &str) -> Option<&'s str> {
        let name = *self.locals.get(name)?;
        let found = self.fields.get(&(self.scope().own, name)).filter(|of_type| **of_type != NOTHING)?;
        Some(self.local_texts[*found as usize])
    }

    /// Names come from the text, or are among the few words that a language adds.
    fn intern(&mut self, text: &str) -> Local {
        if let Some(number) = self.locals.get(text) {
            return *number;
        }
        let at = (text.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        match self.text.get(at..at.wrapping_add(text.len())) {
            Some(inside) if at < self.text.len() => self.local(inside),
            // Not of this text, so it is kept for as long as the program runs; there is a handful of such words.
            _ => match WORDS.iter().find(|word| **word == text) {
                Some(word) => self.local(word),
                None => NOTHING,
            },
        }
    }

    fn signature(&self, node: Syn<'_>, body: Option<Syn<'_>>) -> Arc<str> {
        let end = body.map_or(node.end_byte(), |body| body.start_byte());
        let text = self.text.get(node.start_byte()..end).unwrap_or_default();
        let mut line = String::with_capacity(text.len().min(SIGNATURE_BYTES + 8));
        for word in text.split_ascii_whitespace() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            if line.len() > SIGNATURE_BYTES {
                line.truncate(clip(&line, SIGNATURE_BYTES).len());
                line.push('…');
                break;
            }
        }
        let trimmed = line.trim_end_matches([' ', '{', ':', ';', '=', '>']).len();
        // `->` and generics end with the same character as an arrow function.
        let trimmed =
            if line[..].ends_with("=>") { trimmed } else { line.trim_end_matches([' ', '{', ':', ';']).len() };
        line.truncate(trimmed);
        line.into()
    }

    fn finish(mut self, names: &Mutex<Names>) -> Facts {
        // Types by name, for what is written elsewhere in the file but belongs to them.
        let mut types: HashMap<Local, u32> = HashMap::new();
        let mut known: HashSet<Local> = HashSet::new();
        for (number, defined) in self.defined.iter().enumerate() {
            if defined.kind.is_type() {
                types.entry(defined.name).or_insert(number as u32);
            }
            let is_bare =
                !defined.member || matches!(self.language.family(), languages::Family::Java | languages::Family::C);
            if number > 0 && defined.kind != NodeKind::Import && is_bare {
                known.insert(defined.name);
            }
        }
        for import in &self.imported {
            known.extend(import.names.iter().map(|(alias, _)| *alias));
        }
        for number in 0..self.defined.len() {
            let adopted_by = self.defined[number].adopted_by;
            if let Some(parent) = types.get(&adopted_by).filter(|_| adopted_by != NOTHING) {
                self.defined[number].parent = *parent;
            }
        }
        for mentioned in &mut self.mentioned {
            if let Some(source) = types.get(&mentioned.of_type).filter(|_| mentioned.of_type != NOTHING) {
                mentioned.source = *source;
            }
        }

        // A value is worth keeping only where the file can say what it is; and neither it nor a type where the same is said in
        // a stronger way.
        let mut seen: HashSet<(u32, Manner, Local, LocalThrough)> = HashSet::with_capacity(self.mentioned.len());
        let mut stronger: HashSet<(u32, Local)> = HashSet::new();
        for mentioned in &self.mentioned {
            if matches!(mentioned.manner, Manner::Call | Manner::Expand | Manner::Inherit | Manner::Implement) {
                stronger.insert((mentioned.source, mentioned.name));
            }
        }
        self.mentioned.retain(|mentioned| {
            let plain = (mentioned.source, mentioned.name);
            let wanted = match mentioned.manner {
                Manner::Value => known.contains(&mentioned.name) && !stronger.contains(&plain),
                Manner::Type => !stronger.contains(&plain),
                _ => true,
            };
            wanted && seen.insert((mentioned.source, mentioned.manner, mentioned.name, mentioned.through))
        });

        // All names at once, so that threads seldom wait for each other.
        let mut wanted = vec![false; self.local_texts.len()];
        let mut want = |local: Local| wanted[local as usize] = true;
        for defined in &self.defined {
            want(defined.name);
            want(defined.container);
        }
        for mentioned in &self.mentioned {
            want(mentioned.name);
            match mentioned.through {
                LocalThrough::Own(name) | LocalThrough::Named(name) | LocalThrough::Typed(name) => want(name),
                LocalThrough::Nothing | LocalThrough::Unknown => {}
            }
        }
        for import in &self.imported {
            import.from.iter().for_each(|local| want(*local));
            import.names.iter().for_each(|(alias, original)| {
                want(*alias);
                want(*original);
            });
        }
        let mut numbers = vec![Name::NONE; self.local_texts.len()];
        let mut texts: Vec<Option<Arc<str>>> = vec![None; self.local_texts.len()];
        {
            let mut names = names.lock();
            for (local, text) in self.local_texts.iter().enumerate().filter(|(local, _)| wanted[*local]) {
                numbers[local] = names.intern(text);
            }
            for defined in &self.defined {
                let local = defined.name as usize;
                texts[local].get_or_insert_with(|| Arc::clone(names.text(numbers[local])));
            }
        }
        let name = |local: Local| numbers[local as usize];

        let mut repeated: HashMap<(NodeKind, &str), u32> = HashMap::with_capacity(self.defined.len());
        let mut nodes = Vec::with_capacity(self.defined.len());
        let mut places = Vec::with_capacity(self.defined.len());
        for defined in &self.defined {
            let number = repeated.entry((defined.kind, &*defined.qualified)).or_insert(0);
            let id = node_id(defined.kind, self.path, &defined.qualified, *number);
            *number += 1;
            let plain = texts[defined.name as usize].clone().unwrap_or_default();
            let qualified_name =
                if *plain == *defined.qualified { Arc::clone(&plain) } else { Arc::clone(&defined.qualified) };
            nodes.push(Arc::new(Node {
                id,
                kind: defined.kind,
                name: plain,
                qualified_name,
                path: Arc::clone(self.path),
                language: self.language,
                start_line: defined.start.row as u32 + 1,
                start_column: defined.start.column as u32 + 1,
                end_line: defined.end.row as u32 + 1,
                end_column: defined.end.column as u32 + 1,
                complexity: (defined.complexity > 0).then_some(defined.complexity),
                visibility: defined.visibility,
                signature: defined.signature.clone(),
            }));
            places.push(Place {
                parent: defined.parent,
                name: name(defined.name),
                container: name(defined.container),
                member: defined.member,
            });
        }
        let references = self.mentioned.iter().map(|mentioned| Reference {
            source: mentioned.source,
            manner: mentioned.manner,
            name: name(mentioned.name),
            through: match mentioned.through {
                LocalThrough::Nothing => Through::Nothing,
                LocalThrough::Own(local) => Through::Own(name(local)),
                LocalThrough::Named(local) => Through::Named(name(local)),
                LocalThrough::Typed(local) => Through::Typed(name(local)),
                LocalThrough::Unknown => Through::Unknown,
            },
            line: mentioned.line,
        });
        let imports = self.imported.iter().map(|import| Import {
            from: import.from.iter().map(|local| name(*local)).collect(),
            names: import
                .names
                .iter()
                .map(|(alias, original)| Binding { alias: name(*alias), original: name(*original) })
                .collect(),
            wildcard: import.wildcard,
            line: import.line,
        });
        Facts {
            language: self.language,
            lines: self.defined[0].end.row as u32 + u32::from(!self.text.is_empty()),
            errors: self.errors,
            references: references.collect(),
            imports: imports.collect(),
            nodes,
            places,
        }
    }
}

/// Words that languages add to those of the text.
const WORDS: &[&str] = &[".", "..", "/", "*", "default", "crate", "self", "super", "<", "constructor", "__init__"];

const SIGNATURE_BYTES: usize = 200;

/// The beginning of a text, at most so many bytes, never half a character.
pub(crate) fn clip(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
