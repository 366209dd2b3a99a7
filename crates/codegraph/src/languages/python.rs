//! Python.

use tree_sitter::Node as Syn;

use crate::extract::{Definition, Field, Flow, Syntax, Via, Walk};
use crate::facts::Manner;
use crate::{NodeKind, Visibility};

pub(super) fn syntax() -> Syntax {
    Syntax::new(
        tree_sitter_python::LANGUAGE.into(),
        ".",
        &[
            ("class_definition", class),
            ("function_definition", function),
            ("assignment", assignment),
            ("type_alias_statement", alias),
            ("import_statement", import),
            ("import_from_statement", import_from),
            ("future_import_statement", import_nothing),
            ("call", call),
            ("typed_parameter", typed_parameter),
            ("typed_default_parameter", typed_parameter),
            ("default_parameter", default_parameter),
            ("parameters", parameters),
            ("lambda_parameters", parameters),
            ("for_statement", loop_variable),
            ("for_in_clause", loop_variable),
            ("as_pattern_target", as_target),
            ("keyword_argument", keyword_argument),
            ("type", annotation),
            ("identifier", value),
            ("attribute", attribute),
            ("match_statement", match_statement),
            ("case_clause", case),
        ],
        &[
            "if_statement",
            "elif_clause",
            "while_statement",
            "except_clause",
            "conditional_expression",
            "boolean_operator",
            "if_clause",
            "assert_statement",
        ],
        &["comment", "string_content", "integer", "float"],
    )
}

fn visibility(name: &str) -> Option<Visibility> {
    let special = name.starts_with("__") && name.ends_with("__");
    Some(if name.starts_with('_') && !special { Visibility::Private } else { Visibility::Public })
}

fn class(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(name) = walk.text_in(node, Field::Name) else { return Flow::Descend };
    let body = walk.child(node, Field::Body);
    walk.define(node, Definition { kind: NodeKind::Class, name, visibility: visibility(name), body });
    if let Some(bases) = walk.child(node, Field::Superclasses) {
        let mut cursor = bases.walk();
        for base in bases.named_children(&mut cursor) {
            let base =
                if base.kind() == "subscript" { base.child_by_field_name("value").unwrap_or(base) } else { base };
            if let Some((via, name)) = named(walk, base) {
                walk.mention(Manner::Inherit, name, via, base);
            }
        }
    }
    Flow::Descend
}

/// `name` or `module.name`.
fn named<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<(Via<'s>, &'s str)> {
    match node.kind() {
        "identifier" => Some((Via::Nothing, walk.text_of(node))),
        "attribute" => {
            let object = walk.child(node, Field::Object)?;
            Some((receiver(walk, object), node.child_by_field_name("attribute").map(|name| walk.text_of(name))?))
        }
        _ => None,
    }
}

fn receiver<'s>(walk: &Walk<'s>, object: Syn<'_>) -> Via<'s> {
    match object.kind() {
        "identifier" => match walk.text_of(object) {
            "self" | "cls" => Via::Own,
            name => Via::Named(name),
        },
        "attribute" => {
            let name = object.child_by_field_name("attribute").map(|name| walk.text_of(name));
            match (walk.text_in(object, Field::Object), name) {
                (Some("self"), Some(name)) => walk.field_type(name).map_or(Via::Unknown, Via::Typed),
                // `package.module.function`
                (Some(outer), Some(name)) if !outer.contains(['(', '[', '.']) => Via::Named(name),
                _ => Via::Unknown,
            }
        }
        "call" if walk.text_in(object, Field::Function) == Some("super") => Via::Own,
        _ => Via::Unknown,
    }
}

fn function(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(name) = walk.text_in(node, Field::Name) else { return Flow::Descend };
    let kind = if walk.in_type() { NodeKind::Method } else { NodeKind::Function };
    let body = walk.child(node, Field::Body);
    walk.define(node, Definition { kind, name, visibility: visibility(name), body });
    Flow::Descend
}

fn assignment(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(left) = walk.child(node, Field::Left) else { return Flow::Descend };
    let written = walk.child(node, Field::Type).and_then(|of_type| type_of(walk, of_type));
    let of_type = written.or_else(|| walk.child(node, Field::Right).and_then(|value| made_type(walk, value)));
    if left.kind() == "attribute" && walk.text_in(left, Field::Object) == Some("self") && walk.in_function() {
        if let (Some(name), Some(of_type)) = (left.child_by_field_name("attribute"), of_type) {
            let name = walk.text_of(name);
            walk.variable_of_type(name, of_type);
        }
        return Flow::Descend;
    }
    if walk.in_function() {
        bind(walk, left, of_type);
        return Flow::Descend;
    }
    if left.kind() != "identifier" {
        return Flow::Descend;
    }
    let name = walk.text_of(left);
    let constant = name.chars().any(char::is_alphabetic) && !name.chars().any(char::is_lowercase);
    let kind = match (constant, walk.in_type()) {
        (true, _) => NodeKind::Constant,
        (false, true) => NodeKind::Field,
        (false, false) => NodeKind::Variable,
    };
    walk.define(node, Definition { kind, name, visibility: visibility(name), body: None });
    if of_type.is_some() {
        walk.variable_outside(name, of_type);
    }
    Flow::Descend
}

/// The class of `Class(…)`.
fn made_type<'s>(walk: &Walk<'s>, value: Syn<'_>) -> Option<&'s str> {
    let function = walk.child(value, Field::Function).filter(|_| value.kind() == "call")?;
    let (_, name) = named(walk, function)?;
    name.trim_start_matches('_').starts_with(char::is_uppercase).then_some(name)
}

fn type_of<'s>(walk: &Walk<'s>, of_type: Syn<'_>) -> Option<&'s str> {
    let inner = if of_type.kind() == "type" { of_type.named_child(0)? } else { of_type };
    named(walk, inner).map(|(_, name)| name)
}

/// All names that an assignment brings.
fn bind(walk: &mut Walk<'_>, target: Syn<'_>, of_type: Option<&str>) {
    match target.kind() {
        "identifier" => {
            let name = walk.text_of(target);
            walk.variable(name, of_type);
        }
        "pattern_list" | "tuple_pattern" | "list_pattern" | "list_splat_pattern" | "dictionary_splat_pattern" => {
            let mut cursor = target.walk();
            for child in target.named_children(&mut cursor) {
                bind(walk, child, None);
            }
        }
        _ => {}
    }
}

fn alias(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(left) = walk.child(node, Field::Left).filter(|_| !walk.in_function()) {
        let name = walk.text_of(left);
        walk.define(node, Definition { kind: NodeKind::TypeAlias, name, visibility: visibility(name), body: None });
    }
    Flow::Descend
}

fn parameters(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let mut cursor = node.walk();
    for child in node.named_children(&mut cursor) {
        bind(walk, child, None);
    }
    Flow::Descend
}

fn typed_parameter(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let of_type = walk.child(node, Field::Type).and_then(|of_type| type_of(walk, of_type));
    if let Some(name) = walk.child(node, Field::Name).or_else(|| node.named_child(0)) {
        bind(walk, name, of_type);
    }
    Flow::Descend
}

fn default_parameter(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.child(node, Field::Name) {
        bind(walk, name, None);
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

fn as_target(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = node.named_child(0).filter(|_| walk.in_function()) {
        bind(walk, name, None);
    }
    Flow::Descend
}

/// The name before `=` is a parameter of somebody else.
fn keyword_argument(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(value) = walk.child(node, Field::Value).filter(|value| value.kind() == "identifier") {
        walk.mention_value(value);
        return Flow::Skip;
    }
    Flow::Descend
}

fn case(walk: &mut Walk<'_>, _: Syn<'_>) -> Flow {
    walk.branch();
    Flow::Descend
}

/// The last case is what is left.
fn match_statement(walk: &mut Walk<'_>, _: Syn<'_>) -> Flow {
    walk.join_branches();
    Flow::Descend
}

fn call(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(function) = walk.child(node, Field::Function)
        && let Some((via, name)) = named(walk, function)
    {
        walk.mention(Manner::Call, name, via, function);
    }
    Flow::Descend
}

fn annotation(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some((via, name)) = node.named_child(0).and_then(|inner| named(walk, inner)) {
        walk.mention(Manner::Type, name, via, node);
        return Flow::Skip;
    }
    Flow::Descend
}

/// Of `object.name` only the object can be a name of this file.
fn attribute(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    match walk.child(node, Field::Object) {
        Some(object) if object.kind() == "identifier" => {
            walk.mention_value(object);
            Flow::Skip
        }
        _ => Flow::Descend,
    }
}

fn value(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.stands_in(Field::Name) {
        walk.mention_value(node);
    }
    Flow::Skip
}

fn import_nothing(_: &mut Walk<'_>, _: Syn<'_>) -> Flow {
    Flow::Skip
}

fn import(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let mut cursor = node.walk();
    for child in node.named_children(&mut cursor) {
        let (path, alias) = path_and_alias(walk, child);
        let pieces: Vec<_> = path.split('.').map(str::trim).collect();
        let first = pieces.first().copied().unwrap_or_default();
        match alias {
            Some(alias) => walk.import(node, &pieces, &[(alias, "")], false),
            // `import a.b` brings `a`, and `a.b.c()` goes through `b`.
            None => {
                let last = pieces.last().copied().unwrap_or_default();
                walk.import(node, &pieces, &[(last, "")], false);
                if pieces.len() > 1 {
                    walk.import(node, &[first], &[(first, "")], false);
                }
            }
        }
    }
    let text = walk.text_of(node);
    walk.import_node(node, text.trim_start_matches("import").trim_start());
    Flow::Skip
}

fn path_and_alias<'s>(walk: &Walk<'s>, node: Syn<'_>) -> (&'s str, Option<&'s str>) {
    if node.kind() == "aliased_import" {
        (walk.text_in(node, Field::Name).unwrap_or_default(), walk.text_in(node, Field::Alias))
    } else {
        (walk.text_of(node), None)
    }
}

fn import_from(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(module) = walk.child(node, Field::ModuleName) else { return Flow::Skip };
    let path = walk.text_of(module).trim();
    let dots = path.len() - path.trim_start_matches('.').len();
    let mut pieces = Vec::new();
    if dots > 0 {
        pieces.push(".");
        pieces.extend(std::iter::repeat_n("..", dots - 1));
    }
    pieces.extend(path[dots..].split('.').map(str::trim).filter(|piece| !piece.is_empty()));
    let mut cursor = node.walk();
    let mut names = Vec::new();
    let mut wildcard = false;
    for child in node.named_children(&mut cursor).filter(|child| child.id() != module.id()) {
        if child.kind() == "wildcard_import" {
            wildcard = true;
            continue;
        }
        let (name, alias) = path_and_alias(walk, child);
        names.push((alias.unwrap_or(name), name));
    }
    walk.import(node, &pieces, &names, wildcard);
    walk.import_node(node, path);
    Flow::Skip
}
