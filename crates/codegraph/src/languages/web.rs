//! What JavaScript and TypeScript have in common, which is nearly everything.

use tree_sitter::Node as Syn;

use crate::extract::{Definition, Field, Flow, Syntax, Via, Visitor, Walk};
use crate::facts::Manner;
use crate::{NodeKind, Visibility};

/// The table of one of the grammars; kinds that it does not have are nobody's.
pub(super) fn syntax(language: tree_sitter::Language) -> Syntax {
    const VISITS: &[(&str, Visitor)] = &[
        ("class_declaration", class),
        ("abstract_class_declaration", class),
        ("class", class),
        ("interface_declaration", interface),
        ("enum_declaration", enumeration),
        ("enum_assignment", enum_member),
        ("type_alias_declaration", alias),
        ("internal_module", namespace),
        ("module", namespace),
        ("function_declaration", function),
        ("generator_function_declaration", function),
        ("function_signature", function),
        ("method_definition", method),
        ("method_signature", method),
        ("abstract_method_signature", method),
        ("public_field_definition", field),
        ("field_definition", field),
        ("property_signature", field),
        ("lexical_declaration", declaration),
        ("variable_declarator", variable),
        ("required_parameter", parameter),
        ("optional_parameter", parameter),
        ("formal_parameters", parameters),
        ("arrow_function", arrow),
        ("catch_clause", catch),
        ("for_in_statement", loop_variable),
        ("import_statement", import),
        ("export_statement", export),
        ("export_specifier", export_specifier),
        ("call_expression", call),
        ("new_expression", construct),
        ("jsx_opening_element", element),
        ("jsx_self_closing_element", element),
        ("class_heritage", heritage),
        ("extends_type_clause", extends_type),
        ("type_identifier", type_name),
        ("nested_type_identifier", type_path),
        ("identifier", value),
        ("shorthand_property_identifier", value),
    ];
    Syntax::new(
        language,
        ".",
        VISITS,
        &[
            "if_statement",
            "for_statement",
            "while_statement",
            "do_statement",
            "switch_case",
            "ternary_expression",
            "'&&'",
            "'||'",
            "'??'",
        ],
        &["comment", "string", "regex", "number", "type_parameters", "jsx_text"],
    )
}

/// What a module gives away is public; the rest of it is its own.
fn visibility(walk: &Walk<'_>, node: Syn<'_>) -> Option<Visibility> {
    let mut cursor = node.walk();
    if let Some(modifier) = node.children(&mut cursor).find(|child| child.kind() == "accessibility_modifier") {
        return Some(match walk.text_of(modifier) {
            "private" => Visibility::Private,
            "protected" => Visibility::Protected,
            _ => Visibility::Public,
        });
    }
    if walk.in_type() {
        let private = walk.text_in(node, Field::Name).is_some_and(|name| name.starts_with('#'));
        return Some(if private { Visibility::Private } else { Visibility::Public });
    }
    let exported = node.start_byte() < walk.exported_until;
    Some(if exported { Visibility::Public } else { Visibility::Private })
}

fn define(walk: &mut Walk<'_>, node: Syn<'_>, kind: NodeKind) -> Flow {
    let Some(name) = walk.text_in(node, Field::Name) else { return Flow::Descend };
    let name = name.trim_matches(['"', '\'']);
    let (visibility, body) = (visibility(walk, node), walk.child(node, Field::Body));
    walk.define(node, Definition { kind, name, visibility, body });
    Flow::Descend
}

/// A class; the word `class` is a node of that kind too, and has no name.
fn class(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if node.is_named() { define(walk, node, NodeKind::Class) } else { Flow::Skip }
}

fn interface(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Interface)
}

fn enumeration(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let flow = define(walk, node, NodeKind::Enum);
    if let Some(body) = walk.child(node, Field::Body) {
        let mut cursor = body.walk();
        for member in body.named_children(&mut cursor).filter(|child| child.kind() == "property_identifier") {
            let name = walk.text_of(member);
            walk.define_leaf(
                member,
                Definition { kind: NodeKind::Constant, name, visibility: Some(Visibility::Public), body: None },
            );
        }
    }
    flow
}

fn enum_member(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Constant)
}

fn alias(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if walk.in_function() { Flow::Descend } else { define(walk, node, NodeKind::TypeAlias) }
}

fn namespace(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if node.is_named() { define(walk, node, NodeKind::Module) } else { Flow::Skip }
}

fn function(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Function)
}

fn method(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    // A method of an object that has no name is a function.
    let kind = if walk.in_type() { NodeKind::Method } else { NodeKind::Function };
    define(walk, node, kind)
}

fn is_function(node: Syn<'_>) -> bool {
    matches!(node.kind(), "arrow_function" | "function_expression" | "generator_function")
}

fn field(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.in_type() {
        return Flow::Descend;
    }
    let name = walk.child(node, Field::Name).or_else(|| walk.child(node, Field::Property));
    let Some(name) = name.map(|name| walk.text_of(name)) else { return Flow::Descend };
    let function = walk.child(node, Field::Value).filter(|value| is_function(*value));
    let kind = if function.is_some() { NodeKind::Method } else { NodeKind::Field };
    let visibility = visibility(walk, node);
    let body = function.and_then(|function| walk.child(function, Field::Body));
    walk.define(node, Definition { kind, name, visibility, body });
    let of_type = written_type(walk, node);
    walk.variable_outside(name, of_type);
    Flow::Descend
}

fn declaration(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if walk.text_in(node, Field::Kind) == Some("const") {
        walk.constant_until = node.end_byte();
    }
    Flow::Descend
}

fn variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let (Some(name), value) = (walk.child(node, Field::Name), walk.child(node, Field::Value)) else {
        return Flow::Descend;
    };
    let function = value.filter(|value| is_function(*value));
    let of_type = written_type(walk, node).or_else(|| value.and_then(|value| made_type(walk, value)));
    if name.kind() != "identifier" {
        if walk.in_function() {
            bind(walk, name, None);
        }
        return required(walk, node, name, value);
    }
    let text = walk.text_of(name);
    if walk.in_function() && function.is_none() {
        walk.variable(text, of_type);
        return required(walk, node, name, value);
    }
    if required(walk, node, name, value) == Flow::Skip {
        return Flow::Skip;
    }
    let constant = node.start_byte() < walk.constant_until;
    let kind = match function {
        Some(_) => NodeKind::Function,
        None if constant => NodeKind::Constant,
        None => NodeKind::Variable,
    };
    let visibility = visibility(walk, node);
    let body = function.and_then(|function| walk.child(function, Field::Body));
    walk.define(node, Definition { kind, name: text, visibility, body });
    Flow::Descend
}

/// `const name = require("path")` is an import.
fn required(walk: &mut Walk<'_>, node: Syn<'_>, name: Syn<'_>, value: Option<Syn<'_>>) -> Flow {
    let path = value
        .filter(|value| value.kind() == "call_expression" && walk.text_in(*value, Field::Function) == Some("require"));
    let path = path.and_then(|call| walk.child(call, Field::Arguments)).and_then(|list| list.named_child(0));
    let Some(path) = path.filter(|path| path.kind() == "string") else { return Flow::Descend };
    let path = walk.text_of(path).trim_matches(['"', '\'', '`']);
    let pieces: Vec<_> = path.split('/').collect();
    let mut names = Vec::new();
    if name.kind() == "identifier" {
        names.push((walk.text_of(name), ""));
    } else {
        let mut cursor = name.walk();
        for child in name.named_children(&mut cursor) {
            let text = walk.text_of(child);
            match child.kind() {
                "shorthand_property_identifier_pattern" => names.push((text, text)),
                "pair_pattern" => {
                    let key = child.child_by_field_name("key").map_or("", |key| walk.text_of(key));
                    names.push((walk.text_in(child, Field::Value).unwrap_or(key), key));
                }
                _ => {}
            }
        }
    }
    walk.import(node, &pieces, &names, false);
    walk.import_leaf(node, path);
    Flow::Skip
}

fn written_type<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<&'s str> {
    let annotation = walk.child(node, Field::Type)?;
    type_of(walk, annotation.named_child(0)?)
}

fn type_of<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<&'s str> {
    match node.kind() {
        "type_identifier" => Some(walk.text_of(node)),
        "generic_type" => type_of(walk, walk.child(node, Field::Name)?),
        "nested_type_identifier" => walk.text_in(node, Field::Name),
        _ => None,
    }
}

/// The class of `new Class(…)`.
fn made_type<'s>(walk: &Walk<'s>, value: Syn<'_>) -> Option<&'s str> {
    match value.kind() {
        "new_expression" => walk.text_in(value, Field::Constructor).filter(|name| !name.contains(['.', '('])),
        _ => None,
    }
}

/// All names that a pattern brings.
fn bind(walk: &mut Walk<'_>, pattern: Syn<'_>, of_type: Option<&str>) {
    match pattern.kind() {
        "identifier" | "shorthand_property_identifier_pattern" => {
            let name = walk.text_of(pattern);
            walk.variable(name, of_type);
        }
        "pair_pattern" => {
            if let Some(value) = walk.child(pattern, Field::Value) {
                bind(walk, value, None);
            }
        }
        "assignment_pattern" | "object_assignment_pattern" => {
            if let Some(left) = walk.child(pattern, Field::Left) {
                bind(walk, left, of_type);
            }
        }
        "object_pattern" | "array_pattern" | "rest_pattern" => {
            let mut cursor = pattern.walk();
            for child in pattern.named_children(&mut cursor) {
                bind(walk, child, None);
            }
        }
        _ => {}
    }
}

fn parameter(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let of_type = written_type(walk, node);
    if let Some(pattern) = walk.child(node, Field::Pattern).filter(|_| walk.in_function()) {
        bind(walk, pattern, of_type);
    }
    Flow::Descend
}

fn parameters(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if walk.in_function() {
        let mut cursor = node.walk();
        for child in node.named_children(&mut cursor) {
            bind(walk, child, None);
        }
    }
    Flow::Descend
}

fn arrow(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(parameter) = node.child_by_field_name("parameter").filter(|_| walk.in_function()) {
        bind(walk, parameter, None);
    }
    Flow::Descend
}

fn catch(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    walk.branch();
    if let Some(parameter) = node.child_by_field_name("parameter").filter(|_| walk.in_function()) {
        bind(walk, parameter, None);
    }
    Flow::Descend
}

fn loop_variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    walk.branch();
    if let Some(left) = walk.child(node, Field::Left).filter(|_| walk.in_function()) {
        bind(walk, left, None);
    }
    Flow::Descend
}

fn import(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(source) = walk.text_in(node, Field::Source) else { return Flow::Skip };
    let path = source.trim_matches(['"', '\'']);
    let pieces: Vec<_> = path.split('/').collect();
    let mut names = Vec::new();
    let mut cursor = node.walk();
    if let Some(clause) = node.named_children(&mut cursor).find(|child| child.kind() == "import_clause") {
        let mut cursor = clause.walk();
        for child in clause.named_children(&mut cursor) {
            match child.kind() {
                "identifier" => names.push((walk.text_of(child), "default")),
                "namespace_import" => {
                    if let Some(name) = child.named_child(0) {
                        names.push((walk.text_of(name), ""));
                    }
                }
                "named_imports" => {
                    let mut cursor = child.walk();
                    for one in child.named_children(&mut cursor).filter(|one| one.kind() == "import_specifier") {
                        let name = walk.text_in(one, Field::Name).unwrap_or_default();
                        names.push((walk.text_in(one, Field::Alias).unwrap_or(name), name));
                    }
                }
                _ => {}
            }
        }
    }
    walk.import(node, &pieces, &names, false);
    walk.import_node(node, path);
    Flow::Skip
}

/// `export … from "path"` imports; what it passes on is not followed.
fn export(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(source) = walk.text_in(node, Field::Source) else {
        walk.exported_until = node.end_byte();
        return Flow::Descend;
    };
    let path = source.trim_matches(['"', '\'']);
    let pieces: Vec<_> = path.split('/').collect();
    let mut cursor = node.walk();
    let wildcard = node.children(&mut cursor).any(|child| child.kind() == "*");
    walk.import(node, &pieces, &[], wildcard);
    walk.import_node(node, path);
    Flow::Skip
}

fn export_specifier(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.child(node, Field::Name) {
        walk.mention_value(name);
    }
    Flow::Skip
}

fn receiver<'s>(walk: &Walk<'s>, object: Syn<'_>) -> Via<'s> {
    match object.kind() {
        "this" | "super" => Via::Own,
        "identifier" => Via::Named(walk.text_of(object)),
        "member_expression" if walk.child(object, Field::Object).is_some_and(|inner| inner.kind() == "this") => {
            let of_type = walk.text_in(object, Field::Property).and_then(|field| walk.field_type(field));
            of_type.map_or(Via::Unknown, Via::Typed)
        }
        "new_expression" => made_type(walk, object).map_or(Via::Unknown, Via::Typed),
        _ => Via::Unknown,
    }
}

fn call(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(function) = walk.child(node, Field::Function) else { return Flow::Descend };
    match function.kind() {
        "identifier" => {
            let name = walk.text_of(function);
            walk.mention(Manner::Call, name, Via::Nothing, function);
        }
        "member_expression" => {
            if let (Some(object), Some(name)) =
                (walk.child(function, Field::Object), walk.text_in(function, Field::Property))
            {
                let via = receiver(walk, object);
                walk.mention(Manner::Call, name, via, function);
            }
        }
        _ => {}
    }
    Flow::Descend
}

fn construct(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    match walk.child(node, Field::Constructor) {
        Some(name) if name.kind() == "identifier" => {
            let text = walk.text_of(name);
            walk.mention(Manner::Call, text, Via::Nothing, name);
        }
        Some(path) if path.kind() == "member_expression" => {
            if let (Some(object), Some(name)) = (walk.child(path, Field::Object), walk.text_in(path, Field::Property)) {
                let via = receiver(walk, object);
                walk.mention(Manner::Call, name, via, path);
            }
        }
        _ => {}
    }
    Flow::Descend
}

/// A component is an element with a capital.
fn element(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.child(node, Field::Name).filter(|name| name.kind() == "identifier") {
        let text = walk.text_of(name);
        if text.starts_with(char::is_uppercase) {
            walk.mention_value(name);
        }
    }
    Flow::Descend
}

fn named<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<(Via<'s>, &'s str)> {
    match node.kind() {
        "identifier" | "type_identifier" => Some((Via::Nothing, walk.text_of(node))),
        "member_expression" => {
            Some((receiver(walk, walk.child(node, Field::Object)?), walk.text_in(node, Field::Property)?))
        }
        "nested_type_identifier" => {
            Some((Via::Named(walk.text_in(node, Field::Module)?), walk.text_in(node, Field::Name)?))
        }
        "generic_type" => named(walk, walk.child(node, Field::Name)?),
        _ => None,
    }
}

fn heritage(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let mut cursor = node.walk();
    for clause in node.named_children(&mut cursor) {
        match clause.kind() {
            "extends_clause" => {
                if let Some(base) = walk.child(clause, Field::Value) {
                    mention(walk, Manner::Inherit, base);
                }
            }
            "implements_clause" => {
                let mut cursor = clause.walk();
                for one in clause.named_children(&mut cursor) {
                    mention(walk, Manner::Implement, one);
                }
            }
            // JavaScript has no clauses.
            _ => mention(walk, Manner::Inherit, clause),
        }
    }
    Flow::Skip
}

fn extends_type(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let mut cursor = node.walk();
    for base in node.named_children(&mut cursor) {
        mention(walk, Manner::Inherit, base);
    }
    Flow::Skip
}

fn mention(walk: &mut Walk<'_>, manner: Manner, node: Syn<'_>) {
    if let Some((via, name)) = named(walk, node) {
        walk.mention(manner, name, via, node);
    }
}

fn type_name(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let name = walk.text_of(node);
    walk.mention(Manner::Type, name, Via::Nothing, node);
    Flow::Skip
}

fn type_path(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    mention(walk, Manner::Type, node);
    Flow::Skip
}

fn value(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.stands_in(Field::Name) {
        walk.mention_value(node);
    }
    Flow::Skip
}
