//! Rust.

use tree_sitter::Node as Syn;

use crate::extract::{Definition, Field, Flow, Syntax, Via, Walk};
use crate::facts::Manner;
use crate::{NodeKind, Visibility};

pub(super) fn syntax() -> Syntax {
    Syntax::new(
        tree_sitter_rust::LANGUAGE.into(),
        "::",
        &[
            ("mod_item", module),
            ("struct_item", structure),
            ("union_item", structure),
            ("enum_item", enumeration),
            ("enum_variant", variant),
            ("trait_item", interface),
            ("impl_item", implementation),
            ("function_item", function),
            ("function_signature_item", function),
            ("const_item", constant),
            ("static_item", variable),
            ("type_item", alias),
            ("associated_type", alias),
            ("field_declaration", field),
            ("macro_definition", macro_definition),
            ("use_declaration", import),
            ("extern_crate_declaration", extern_crate),
            ("call_expression", call),
            ("macro_invocation", expand),
            ("struct_expression", construct),
            ("parameter", parameter),
            ("let_declaration", parameter),
            ("closure_parameters", closure_parameters),
            ("for_expression", loop_variable),
            ("let_condition", bound_pattern),
            ("match_expression", match_expression),
            ("match_arm", arm),
            ("type_identifier", type_name),
            ("identifier", value),
            ("scoped_identifier", path),
            ("scoped_type_identifier", type_path),
        ],
        &["if_expression", "while_expression", "loop_expression", "try_expression", "'&&'", "'||'"],
        &[
            "line_comment",
            "block_comment",
            "string_literal",
            "raw_string_literal",
            "char_literal",
            "attribute_item",
            "inner_attribute_item",
            "type_parameters",
            "lifetime",
            "visibility_modifier",
            "macro_rule",
        ],
    )
}

fn visibility(walk: &Walk<'_>, node: Syn<'_>) -> Option<Visibility> {
    let first = node.child(0).filter(|child| child.kind() == "visibility_modifier");
    Some(match first {
        Some(modifier) if walk.text_of(modifier) == "pub" => Visibility::Public,
        Some(_) => Visibility::Internal,
        // What a trait has is as visible as the trait.
        None if walk.scope_kind() == NodeKind::Trait && walk.in_type() => {
            return walk.scope_visibility();
        }
        None => Visibility::Private,
    })
}

fn define(walk: &mut Walk<'_>, node: Syn<'_>, kind: NodeKind) -> Flow {
    let Some(name) = walk.child(node, Field::Name) else { return Flow::Descend };
    let definition = Definition {
        kind,
        name: walk.text_of(name),
        visibility: visibility(walk, node),
        body: walk.child(node, Field::Body),
    };
    walk.define(node, definition);
    Flow::Descend
}

fn module(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if walk.child(node, Field::Body).is_some() {
        return define(walk, node, NodeKind::Module);
    }
    // `mod name;` is another file.
    if let Some(name) = walk.text_in(node, Field::Name) {
        walk.import(node, &["self", name], &[(name, "")], false);
        walk.import_node(node, name);
    }
    Flow::Skip
}

fn structure(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Struct)
}

fn enumeration(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Enum)
}

fn variant(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(name) = walk.text_in(node, Field::Name) else { return Flow::Descend };
    let visibility = walk.scope_visibility();
    walk.define(node, Definition { kind: NodeKind::Constant, name, visibility, body: None });
    Flow::Descend
}

fn interface(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let flow = define(walk, node, NodeKind::Trait);
    if let Some(bounds) = walk.child(node, Field::Bounds) {
        let mut cursor = bounds.walk();
        for bound in bounds.named_children(&mut cursor) {
            if let Some((via, name)) = type_reference(walk, bound) {
                walk.mention(Manner::Inherit, name, via, bound);
            }
        }
    }
    flow
}

fn implementation(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(of_type) = walk.child(node, Field::Type).and_then(|of_type| type_reference(walk, of_type)) else {
        return Flow::Descend;
    };
    walk.open_type(of_type.1);
    if let Some(bound) = walk.child(node, Field::Trait)
        && let Some((via, name)) = type_reference(walk, bound)
    {
        walk.mention_by_type(Manner::Implement, of_type.1, name, via, bound);
    }
    Flow::Descend
}

/// The name that a type goes by, and what it is said through.
fn type_reference<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<(Via<'s>, &'s str)> {
    match node.kind() {
        "type_identifier" | "identifier" => Some((Via::Nothing, walk.text_of(node))),
        "scoped_type_identifier" | "scoped_identifier" => {
            let name = walk.text_in(node, Field::Name)?;
            let via = walk.child(node, Field::Path).map_or(Via::Nothing, |path| via_path(walk, path));
            Some((via, name))
        }
        "generic_type" | "reference_type" | "pointer_type" | "generic_type_with_turbofish" => {
            type_reference(walk, walk.child(node, Field::Type)?)
        }
        "dynamic_type" | "abstract_type" => type_reference(walk, walk.child(node, Field::Trait)?),
        _ => None,
    }
}

/// The plain name of a type behind references and the usual boxes.
fn value_type<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<&'s str> {
    if node.kind() == "generic_type" {
        let outer = walk.text_in(node, Field::Type)?;
        if matches!(outer, "Arc" | "Rc" | "Box" | "Cow") {
            let arguments = node.child_by_field_name("type_arguments")?;
            let mut cursor = arguments.walk();
            let inner = arguments.named_children(&mut cursor).find(|child| child.kind() != "lifetime")?;
            return value_type(walk, inner);
        }
    }
    if matches!(node.kind(), "reference_type" | "pointer_type") {
        return value_type(walk, walk.child(node, Field::Type)?);
    }
    let name = type_reference(walk, node)?.1;
    Some(if name == "Self" { walk.own_type() } else { name }).filter(|name| !name.is_empty())
}

fn function(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let kind = if walk.in_type() { NodeKind::Method } else { NodeKind::Function };
    define(walk, node, kind)
}

fn constant(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    local_or(walk, node, NodeKind::Constant)
}

fn variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    local_or(walk, node, NodeKind::Variable)
}

fn alias(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    local_or(walk, node, NodeKind::TypeAlias)
}

/// What a function has for itself is no node.
fn local_or(walk: &mut Walk<'_>, node: Syn<'_>, kind: NodeKind) -> Flow {
    if walk.in_function() { Flow::Descend } else { define(walk, node, kind) }
}

fn field(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let flow = define(walk, node, NodeKind::Field);
    if let (Some(name), Some(of_type)) = (walk.text_in(node, Field::Name), walk.child(node, Field::Type)) {
        let of_type = value_type(walk, of_type);
        walk.variable_outside(name, of_type);
    }
    flow
}

fn macro_definition(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(name) = walk.text_in(node, Field::Name) else { return Flow::Skip };
    walk.define(node, Definition { kind: NodeKind::Macro, name, visibility: None, body: None });
    Flow::Skip
}

fn import(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(argument) = walk.child(node, Field::Argument) {
        branches(walk, node, argument, &mut Vec::new());
        let text = walk.text_of(argument);
        walk.import_node(node, text);
    }
    Flow::Skip
}

fn extern_crate(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.text_in(node, Field::Name) {
        let alias = walk.text_in(node, Field::Alias).unwrap_or(name);
        walk.import(node, &[name], &[(alias, "")], false);
        walk.import_node(node, name);
    }
    Flow::Skip
}

/// Each branch of a tree of imports with the way to it.
fn branches<'s>(walk: &mut Walk<'s>, statement: Syn<'_>, node: Syn<'_>, way: &mut Vec<&'s str>) {
    let depth = way.len();
    match node.kind() {
        "use_list" => {
            let mut cursor = node.walk();
            for child in node.named_children(&mut cursor) {
                branches(walk, statement, child, way);
            }
        }
        "scoped_use_list" => {
            if let Some(path) = walk.child(node, Field::Path) {
                pieces(walk, path, way);
            }
            if let Some(list) = walk.child(node, Field::List) {
                branches(walk, statement, list, way);
            }
        }
        "use_wildcard" => {
            if let Some(path) = node.named_child(0) {
                pieces(walk, path, way);
            }
            walk.import(statement, way, &[], true);
        }
        "use_as_clause" => {
            if let (Some(path), Some(alias)) = (walk.child(node, Field::Path), walk.text_in(node, Field::Alias)) {
                pieces(walk, path, way);
                leaf(walk, statement, way, Some(alias));
            }
        }
        _ => {
            pieces(walk, node, way);
            leaf(walk, statement, way, None);
        }
    }
    way.truncate(depth);
}

/// The last piece is a module or something of one: `use a::b` may mean either.
fn leaf<'s>(walk: &mut Walk<'s>, statement: Syn<'_>, way: &mut Vec<&'s str>, alias: Option<&'s str>) {
    if way.len() > 1 && way.last() == Some(&"self") {
        way.pop();
        if let Some(name) = way.last() {
            walk.import(statement, way, &[(alias.unwrap_or(name), "")], false);
        }
        return;
    }
    let Some((name, from)) = way.split_last() else { return };
    if from.is_empty() {
        walk.import(statement, &[name], &[(alias.unwrap_or(name), "")], false);
    } else {
        walk.import(statement, from, &[(alias.unwrap_or(name), name)], false);
    }
}

fn pieces<'s>(walk: &Walk<'s>, node: Syn<'_>, way: &mut Vec<&'s str>) {
    let text = walk.text_of(node);
    way.extend(text.split("::").map(str::trim).filter(|piece| !piece.is_empty()));
}

/// What a path goes through, by its last piece.
fn via_path<'s>(walk: &Walk<'s>, path: Syn<'_>) -> Via<'s> {
    match path.kind() {
        "identifier" | "type_identifier" | "crate" | "super" | "self" | "metavariable" => match walk.text_of(path) {
            "Self" => Via::Own,
            "crate" | "super" | "self" => Via::Nothing,
            name => Via::Named(name),
        },
        "scoped_identifier" | "scoped_type_identifier" => {
            walk.text_in(path, Field::Name).map_or(Via::Unknown, Via::Named)
        }
        "generic_type" | "bracketed_type" | "generic_type_with_turbofish" => {
            walk.child(path, Field::Type).map_or(Via::Unknown, |inner| via_path(walk, inner))
        }
        _ => Via::Unknown,
    }
}

fn call(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(function) = walk.child(node, Field::Function) {
        callee(walk, function);
    }
    Flow::Descend
}

fn callee(walk: &mut Walk<'_>, function: Syn<'_>) {
    match function.kind() {
        "identifier" => {
            let name = walk.text_of(function);
            walk.mention(Manner::Call, name, Via::Nothing, function);
        }
        "scoped_identifier" => {
            let via = walk.child(function, Field::Path).map_or(Via::Nothing, |path| via_path(walk, path));
            if let Some(name) = walk.text_in(function, Field::Name) {
                walk.mention(Manner::Call, name, via, function);
            }
        }
        "generic_function" => {
            if let Some(inner) = walk.child(function, Field::Function) {
                callee(walk, inner);
            }
        }
        "field_expression" => {
            let (Some(object), Some(name)) = (walk.child(function, Field::Value), walk.child(function, Field::Member))
            else {
                return;
            };
            let via = receiver(walk, object);
            let text = walk.text_of(name);
            walk.mention(Manner::Call, text, via, name);
        }
        _ => {}
    }
}

fn receiver<'s>(walk: &Walk<'s>, object: Syn<'_>) -> Via<'s> {
    match object.kind() {
        "self" => Via::Own,
        // A variable; a type is never written here.
        "identifier" => Via::Named(walk.text_of(object)),
        "field_expression" if walk.child(object, Field::Value).is_some_and(|value| value.kind() == "self") => {
            let of_type = walk.text_in(object, Field::Member).and_then(|field| walk.field_type(field));
            of_type.map_or(Via::Unknown, Via::Typed)
        }
        _ => Via::Unknown,
    }
}

fn expand(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.child(node, Field::Macro).and_then(|name| type_reference(walk, name)) {
        walk.mention(Manner::Expand, name.1, name.0, node);
    }
    Flow::Descend
}

fn construct(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.child(node, Field::Name)
        && let Some((via, text)) = type_reference(walk, name)
        && text != "Self"
    {
        walk.mention(Manner::Type, text, via, name);
    }
    Flow::Descend
}

/// Variables that a pattern brings, with the type that stands beside it or is plain from the value.
fn parameter(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(pattern) = walk.child(node, Field::Pattern) else { return Flow::Descend };
    let written = walk.child(node, Field::Type).and_then(|of_type| value_type(walk, of_type));
    let of_type = written.or_else(|| walk.child(node, Field::Value).and_then(|value| made_type(walk, value)));
    bind(walk, pattern, of_type);
    Flow::Descend
}

/// The type of `Type { … }` and of `Type::new(…)`.
fn made_type<'s>(walk: &Walk<'s>, value: Syn<'_>) -> Option<&'s str> {
    let name = match value.kind() {
        "struct_expression" => value_type(walk, walk.child(value, Field::Name)?)?,
        "reference_expression" => return made_type(walk, walk.child(value, Field::Value)?),
        "call_expression" => {
            let function =
                walk.child(value, Field::Function).filter(|function| function.kind() == "scoped_identifier")?;
            if !matches!(walk.text_in(function, Field::Name)?, "new" | "default" | "with_capacity" | "open" | "builder")
            {
                return None;
            }
            match via_path(walk, walk.child(function, Field::Path)?) {
                Via::Own => walk.own_type(),
                Via::Named(name) => name,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(name).filter(|name| name.starts_with(char::is_uppercase))
}

/// All names that a pattern brings.
fn bind(walk: &mut Walk<'_>, pattern: Syn<'_>, of_type: Option<&str>) {
    match pattern.kind() {
        "identifier" | "shorthand_field_identifier" => {
            let name = walk.text_of(pattern);
            // `None` and constants are patterns too, and no variables.
            if !name.starts_with(char::is_uppercase) {
                walk.variable(name, of_type);
            }
        }
        "scoped_identifier" | "self" => {}
        "mut_pattern" | "ref_pattern" | "reference_pattern" => {
            let mut cursor = pattern.walk();
            for child in pattern.named_children(&mut cursor) {
                bind(walk, child, of_type);
            }
        }
        _ => {
            let mut cursor = pattern.walk();
            for child in pattern.named_children(&mut cursor) {
                bind(walk, child, None);
            }
        }
    }
}

fn closure_parameters(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let mut cursor = node.walk();
    for child in node.named_children(&mut cursor).filter(|child| child.kind() != "parameter") {
        bind(walk, child, None);
    }
    Flow::Descend
}

fn loop_variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    walk.branch();
    bound_pattern(walk, node)
}

fn bound_pattern(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(pattern) = walk.child(node, Field::Pattern) {
        bind(walk, pattern, None);
    }
    Flow::Descend
}

fn arm(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    walk.branch();
    bound_pattern(walk, node)
}

fn match_expression(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    // One without arms has no way through at all.
    if walk.child(node, Field::Body).is_some_and(|body| body.named_child_count() > 0) {
        walk.join_branches();
    }
    Flow::Descend
}

fn type_name(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let name = walk.text_of(node);
    if name != "Self" {
        walk.mention(Manner::Type, name, Via::Nothing, node);
    }
    Flow::Skip
}

fn type_path(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some((via, name)) = type_reference(walk, node) {
        walk.mention(Manner::Type, name, via, node);
    }
    Flow::Skip
}

fn value(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.stands_in(Field::Name) && !walk.stands_in(Field::Macro) {
        walk.mention_value(node);
    }
    Flow::Skip
}

/// `Type::CONSTANT`, `module::function`; in a call it has been mentioned as what is called.
fn path(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let is_called = walk.stands_in(Field::Function) || walk.stands_in(Field::Macro);
    if let Some(path) = walk.child(node, Field::Path) {
        let via = via_path(walk, path);
        if !is_called && let Some(name) = walk.text_in(node, Field::Name) {
            walk.mention(Manner::Type, name, via, node);
        }
        // The type that it goes through is mentioned as well.
        if let Via::Named(name) = via
            && name.starts_with(char::is_uppercase)
        {
            walk.mention(Manner::Type, name, Via::Nothing, path);
        }
    }
    Flow::Skip
}
