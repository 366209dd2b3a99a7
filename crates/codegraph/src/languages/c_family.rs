//! What C and C++ have in common. C++ has more kinds of nodes; C's grammar has none of them, and its table none of their rows.

use tree_sitter::Node as Syn;

use crate::extract::{Definition, Field, Flow, Syntax, Via, Visitor, Walk};
use crate::facts::Manner;
use crate::{NodeKind, Visibility};

pub(super) fn syntax(language: tree_sitter::Language) -> Syntax {
    const VISITS: &[(&str, Visitor)] = &[
        ("function_definition", function),
        ("declaration", declaration),
        ("field_declaration", field),
        ("struct_specifier", structure),
        ("union_specifier", structure),
        ("class_specifier", class),
        ("enum_specifier", enumeration),
        ("enumerator", constant),
        ("type_definition", typedef),
        ("alias_declaration", alias),
        ("namespace_definition", namespace),
        ("preproc_def", macro_constant),
        ("preproc_function_def", macro_function),
        ("preproc_include", include),
        ("parameter_declaration", parameter),
        ("optional_parameter_declaration", parameter),
        ("for_range_loop", loop_variable),
        ("call_expression", call),
        ("new_expression", construct),
        ("base_class_clause", bases),
        ("access_specifier", access),
        ("type_identifier", type_name),
        ("identifier", value),
        ("qualified_identifier", path),
    ];
    Syntax::new(
        language,
        "::",
        VISITS,
        &[
            "if_statement",
            "for_statement",
            "while_statement",
            "do_statement",
            "case_statement",
            "conditional_expression",
            "catch_clause",
            "'&&'",
            "'||'",
        ],
        &[
            "comment",
            "string_literal",
            "raw_string_literal",
            "char_literal",
            "system_lib_string",
            "template_parameter_list",
            "preproc_call",
            "attribute_specifier",
        ],
    )
}

/// The name that a declarator declares, behind pointers, arrays and parentheses, and whether it is a function's.
fn declared<'t>(walk: &Walk<'_>, node: Syn<'t>) -> Option<(Syn<'t>, bool)> {
    match node.kind() {
        "identifier"
        | "field_identifier"
        | "type_identifier"
        | "qualified_identifier"
        | "destructor_name"
        | "operator_name"
        | "operator_cast" => Some((node, false)),
        "function_declarator" => {
            let inner = walk.child(node, Field::Declarator)?;
            // `int (*name)(int)` is a variable.
            let is_pointer = inner.kind() == "parenthesized_declarator";
            declared(walk, inner).map(|(name, _)| (name, !is_pointer))
        }
        "template_function" => declared(walk, walk.child(node, Field::Name)?),
        "reference_declarator" | "parenthesized_declarator" | "attributed_declarator" => {
            let mut cursor = node.walk();
            node.named_children(&mut cursor).find_map(|child| declared(walk, child))
        }
        _ => declared(walk, walk.child(node, Field::Declarator)?),
    }
}

/// The last piece of a path, and the piece before it.
fn pieces<'s>(walk: &Walk<'s>, node: Syn<'_>) -> (Option<&'s str>, &'s str) {
    let text = walk.text_of(node);
    if node.kind() != "qualified_identifier" {
        return (None, text);
    }
    match text.rsplit_once("::") {
        Some((before, name)) => {
            let before = before.rsplit("::").next().unwrap_or(before);
            let before = before.split('<').next().unwrap_or(before).trim();
            (Some(before).filter(|before| !before.is_empty()), name.split('<').next().unwrap_or(name).trim())
        }
        None => (None, text),
    }
}

fn has_word(walk: &Walk<'_>, node: Syn<'_>, word: &str) -> bool {
    let mut cursor = node.walk();
    node.children(&mut cursor).any(|child| {
        matches!(child.kind(), "storage_class_specifier" | "type_qualifier") && walk.text_of(child) == word
    })
}

/// In a class what the last `public:` said; outside, `static` keeps it in the file.
fn visibility(walk: &Walk<'_>, node: Syn<'_>) -> Option<Visibility> {
    if !walk.in_type() {
        return Some(if has_word(walk, node, "static") { Visibility::Private } else { Visibility::Public });
    }
    walk.access()
}

fn access(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let access = match walk.text_of(node) {
        "private" => Visibility::Private,
        "protected" => Visibility::Protected,
        _ => Visibility::Public,
    };
    walk.set_access(access);
    Flow::Skip
}

fn function(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let declarator = walk.child(node, Field::Declarator);
    let Some((name, _)) = declarator.and_then(|declarator| declared(walk, declarator)) else { return Flow::Descend };
    let (of_type, name) = pieces(walk, name);
    let body = walk.child(node, Field::Body);
    let visibility = if of_type.is_some() { None } else { visibility(walk, node) };
    if let Some(of_type) = of_type {
        walk.open_type(of_type);
    }
    let kind = if walk.in_type() { NodeKind::Method } else { NodeKind::Function };
    walk.define(node, Definition { kind, name, visibility, body });
    Flow::Descend
}

/// Variables of a module, and functions that are declared here and written elsewhere. The latter are no nodes, because the
/// definition is; a header whose functions are nowhere in the tree says nothing about the tree.
fn declaration(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let of_type = written_type(walk, node);
    let mut cursor = node.walk();
    let declarators: Vec<_> =
        node.children_by_field_name("declarator", &mut cursor).filter_map(|child| declared(walk, child)).collect();
    for (name, is_function) in declarators {
        let text = pieces(walk, name).1;
        if walk.in_function() {
            walk.variable(text, of_type);
        } else if is_function && walk.in_type() {
            let visibility = visibility(walk, node);
            walk.define_leaf(node, Definition { kind: NodeKind::Method, name: text, visibility, body: None });
        } else if !is_function && !has_word(walk, node, "extern") {
            // `const char *` may point elsewhere.
            let before_value = walk.text_of(node).split('=').next().unwrap_or_default();
            let fixed = has_word(walk, node, "const") && !before_value.contains('*');
            let kind = if fixed || has_word(walk, node, "constexpr") { NodeKind::Constant } else { NodeKind::Variable };
            let visibility = visibility(walk, node);
            walk.define_leaf(node, Definition { kind, name: text, visibility, body: None });
        }
    }
    Flow::Descend
}

fn field(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.in_type() {
        return Flow::Descend;
    }
    let of_type = written_type(walk, node);
    let visibility = visibility(walk, node);
    let mut cursor = node.walk();
    let declarators: Vec<_> =
        node.children_by_field_name("declarator", &mut cursor).filter_map(|child| declared(walk, child)).collect();
    for (name, is_function) in declarators {
        let text = walk.text_of(name);
        let kind = if is_function { NodeKind::Method } else { NodeKind::Field };
        walk.define_leaf(node, Definition { kind, name: text, visibility, body: None });
        if !is_function {
            walk.variable_of_type_or_none(text, of_type);
        }
    }
    Flow::Descend
}

/// The plain name of a declaration's type.
fn written_type<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<&'s str> {
    let of_type = walk.child(node, Field::Type)?;
    type_of(walk, of_type)
}

fn type_of<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<&'s str> {
    match node.kind() {
        "type_identifier" => Some(walk.text_of(node)),
        "qualified_identifier" => Some(pieces(walk, node).1),
        "struct_specifier" | "class_specifier" | "union_specifier" | "enum_specifier" | "template_type" => {
            walk.text_in(node, Field::Name)
        }
        _ => None,
    }
}

fn specifier(walk: &mut Walk<'_>, node: Syn<'_>, kind: NodeKind) -> Flow {
    // Without a body it only names the type.
    let (Some(name), Some(body)) = (walk.child(node, Field::Name), walk.child(node, Field::Body)) else {
        return Flow::Descend;
    };
    if walk.in_function() {
        return Flow::Descend;
    }
    let (_, name) = pieces(walk, name);
    let name = name.split('<').next().unwrap_or(name).trim();
    walk.define(node, Definition { kind, name, visibility: None, body: Some(body) });
    walk.set_access(if kind == NodeKind::Class { Visibility::Private } else { Visibility::Public });
    Flow::Descend
}

fn structure(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    specifier(walk, node, NodeKind::Struct)
}

fn class(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    specifier(walk, node, NodeKind::Class)
}

fn enumeration(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    specifier(walk, node, NodeKind::Enum)
}

fn constant(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.text_in(node, Field::Name).filter(|_| !walk.in_function()) {
        walk.define(node, Definition { kind: NodeKind::Constant, name, visibility: None, body: None });
    }
    Flow::Descend
}

fn typedef(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let of_type = walk.child(node, Field::Type);
    let declarator = walk.child(node, Field::Declarator).and_then(|declarator| declared(walk, declarator));
    let Some((name, _)) = declarator.filter(|_| !walk.in_function()) else { return Flow::Descend };
    let name = walk.text_of(name);
    // `typedef struct { … } Name` is that struct's only name.
    let body = of_type.and_then(|of_type| walk.child(of_type, Field::Body));
    let named = of_type.is_some_and(|of_type| walk.child(of_type, Field::Name).is_some());
    let kind = match of_type.map(|of_type| of_type.kind()) {
        Some("struct_specifier" | "union_specifier") if body.is_some() && !named => NodeKind::Struct,
        Some("enum_specifier") if body.is_some() && !named => NodeKind::Enum,
        _ => NodeKind::TypeAlias,
    };
    if kind == NodeKind::TypeAlias {
        walk.define_leaf(node, Definition { kind, name, visibility: None, body: None });
    } else {
        walk.define(node, Definition { kind, name, visibility: None, body });
        walk.set_access(Visibility::Public);
    }
    Flow::Descend
}

fn alias(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.text_in(node, Field::Name).filter(|_| !walk.in_function()) {
        walk.define(node, Definition { kind: NodeKind::TypeAlias, name, visibility: None, body: None });
    }
    Flow::Descend
}

fn namespace(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.text_in(node, Field::Name) {
        walk.define(node, Definition { kind: NodeKind::Module, name, visibility: None, body: None });
    }
    Flow::Descend
}

fn macro_constant(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    // A macro without a value is a guard.
    let value = walk.text_in(node, Field::Value).filter(|value| !value.trim().is_empty());
    if let Some(name) = walk.text_in(node, Field::Name).filter(|_| value.is_some()) {
        walk.define(node, Definition { kind: NodeKind::Constant, name, visibility: None, body: None });
    }
    Flow::Skip
}

fn macro_function(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.text_in(node, Field::Name) {
        walk.define(node, Definition { kind: NodeKind::Macro, name, visibility: None, body: None });
    }
    Flow::Skip
}

fn include(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(path) = walk.child(node, Field::Path) else { return Flow::Skip };
    let text = walk.text_of(path);
    let inner = text.trim_matches(['"', '<', '>']);
    let mut from = if text.starts_with('<') { vec!["<"] } else { Vec::new() };
    from.extend(inner.split('/'));
    walk.import(node, &from, &[], true);
    walk.import_node(node, inner);
    Flow::Skip
}

fn parameter(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let of_type = written_type(walk, node);
    let name = walk.child(node, Field::Declarator).and_then(|declarator| declared(walk, declarator));
    if let Some((name, _)) = name.filter(|_| walk.in_function()) {
        let name = walk.text_of(name);
        walk.variable(name, of_type);
    }
    Flow::Descend
}

fn loop_variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    walk.branch();
    parameter(walk, node)
}

fn call(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(function) = walk.child(node, Field::Function) else { return Flow::Descend };
    match function.kind() {
        "identifier" => {
            let name = walk.text_of(function);
            walk.mention(Manner::Call, name, Via::Nothing, function);
        }
        "template_function" => {
            if let Some(name) = walk.text_in(function, Field::Name) {
                walk.mention(Manner::Call, name, Via::Nothing, function);
            }
        }
        "qualified_identifier" => {
            let (before, name) = pieces(walk, function);
            walk.mention(Manner::Call, name, before.map_or(Via::Nothing, Via::Named), function);
        }
        "field_expression" => {
            let (Some(object), Some(name)) =
                (walk.child(function, Field::Argument), walk.text_in(function, Field::Member))
            else {
                return Flow::Descend;
            };
            let via = match object.kind() {
                "this" => Via::Own,
                "identifier" => {
                    let text = walk.text_of(object);
                    match walk.field_type(text) {
                        Some(of_type) if !walk.is_variable(text) => Via::Typed(of_type),
                        _ => Via::Named(text),
                    }
                }
                _ => Via::Unknown,
            };
            walk.mention(Manner::Call, name, via, function);
        }
        _ => {}
    }
    Flow::Descend
}

fn construct(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = written_type(walk, node) {
        walk.mention(Manner::Call, name, Via::Nothing, node);
    }
    Flow::Descend
}

fn bases(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let mut cursor = node.walk();
    for base in node.named_children(&mut cursor) {
        if let Some(name) = type_of(walk, base) {
            let via = pieces(walk, base).0.map_or(Via::Nothing, Via::Named);
            walk.mention(Manner::Inherit, name, via, base);
        }
    }
    Flow::Skip
}

fn type_name(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.stands_in(Field::Declarator) {
        let name = walk.text_of(node);
        walk.mention(Manner::Type, name, Via::Nothing, node);
    }
    Flow::Skip
}

fn value(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.stands_in(Field::Name) && !walk.stands_in(Field::Declarator) {
        walk.mention_value(node);
    }
    Flow::Skip
}

/// `Type::name` as a type or a value; in a call it has been mentioned as what is called.
fn path(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.stands_in(Field::Function) && !walk.stands_in(Field::Declarator) {
        let (before, name) = pieces(walk, node);
        walk.mention(Manner::Type, name, before.map_or(Via::Nothing, Via::Named), node);
    }
    Flow::Skip
}
