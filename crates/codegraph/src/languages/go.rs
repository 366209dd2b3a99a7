//! Go.

use tree_sitter::Node as Syn;

use crate::extract::{Definition, Field, Flow, Syntax, Via, Walk};
use crate::facts::Manner;
use crate::{NodeKind, Visibility};

pub(super) fn syntax() -> Syntax {
    Syntax::new(
        tree_sitter_go::LANGUAGE.into(),
        ".",
        &[
            ("function_declaration", function),
            ("method_declaration", method),
            ("method_elem", method_of_interface),
            ("type_spec", type_spec),
            ("type_alias", alias),
            ("field_declaration", field),
            ("const_spec", constant),
            ("var_spec", variable),
            ("import_spec", import),
            ("call_expression", call),
            ("parameter_declaration", parameter),
            ("variadic_parameter_declaration", parameter),
            ("short_var_declaration", short_variable),
            ("range_clause", loop_variable),
            ("type_identifier", type_name),
            ("qualified_type", type_path),
            ("identifier", value),
            ("selector_expression", selector),
        ],
        &["if_statement", "for_statement", "expression_case", "type_case", "communication_case", "'&&'", "'||'"],
        &[
            "comment",
            "interpreted_string_literal",
            "raw_string_literal",
            "rune_literal",
            "package_clause",
            "type_parameter_list",
        ],
    )
}

fn visibility(name: &str) -> Option<Visibility> {
    Some(if name.starts_with(char::is_uppercase) { Visibility::Public } else { Visibility::Internal })
}

fn define(walk: &mut Walk<'_>, node: Syn<'_>, kind: NodeKind) -> Flow {
    let Some(name) = walk.text_in(node, Field::Name) else { return Flow::Descend };
    let body = walk.child(node, Field::Body);
    walk.define(node, Definition { kind, name, visibility: visibility(name), body });
    Flow::Descend
}

fn function(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Function)
}

fn method(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let receiver = walk.child(node, Field::Receiver);
    let of_type = receiver.and_then(|list| list.named_child(0)).and_then(|one| walk.child(one, Field::Type));
    let Some(of_type) = of_type.and_then(|of_type| type_of(walk, of_type)) else {
        return define(walk, node, NodeKind::Method);
    };
    walk.open_type(of_type);
    define(walk, node, NodeKind::Method)
}

fn method_of_interface(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if walk.in_type() { define(walk, node, NodeKind::Method) } else { Flow::Descend }
}

/// The plain name of a type, behind pointers and type arguments.
fn type_of<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<&'s str> {
    match node.kind() {
        "type_identifier" | "identifier" => Some(walk.text_of(node)),
        "qualified_type" => walk.text_in(node, Field::Name),
        "pointer_type" | "parenthesized_type" => type_of(walk, node.named_child(0)?),
        "generic_type" => type_of(walk, walk.child(node, Field::Type)?),
        _ => None,
    }
}

fn type_spec(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let of_type = walk.child(node, Field::Type);
    let kind = match of_type.map(|of_type| of_type.kind()) {
        Some("struct_type") => NodeKind::Struct,
        Some("interface_type") => NodeKind::Interface,
        _ => NodeKind::TypeAlias,
    };
    if walk.in_function() {
        return Flow::Descend;
    }
    let Some(name) = walk.text_in(node, Field::Name) else { return Flow::Descend };
    let body = of_type.filter(|_| kind != NodeKind::TypeAlias).and_then(|of_type| of_type.child(1));
    walk.define(node, Definition { kind, name, visibility: visibility(name), body });
    // An interface that is named inside of another.
    if let Some(of_type) = of_type.filter(|_| kind == NodeKind::Interface) {
        let mut cursor = of_type.walk();
        for elem in of_type.named_children(&mut cursor).filter(|elem| elem.kind() == "type_elem") {
            if let Some(name) =
                elem.named_child(0).filter(|_| elem.named_child_count() == 1).and_then(|one| type_of(walk, one))
            {
                walk.mention(Manner::Inherit, name, Via::Nothing, elem);
            }
        }
    }
    Flow::Descend
}

fn alias(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if walk.in_function() { Flow::Descend } else { define(walk, node, NodeKind::TypeAlias) }
}

fn field(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let of_type = walk.child(node, Field::Type);
    let plain = of_type.and_then(|of_type| type_of(walk, of_type));
    let Some(name) = walk.text_in(node, Field::Name) else {
        // An embedded type: its methods are the struct's.
        if let (Some(of_type), Some(plain)) = (of_type, plain) {
            walk.mention(Manner::Inherit, plain, Via::Nothing, of_type);
        }
        return Flow::Descend;
    };
    if !walk.in_type() {
        return Flow::Descend;
    }
    walk.define(node, Definition { kind: NodeKind::Field, name, visibility: visibility(name), body: None });
    walk.variable_outside(name, plain);
    Flow::Descend
}

fn constant(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    local_or(walk, node, NodeKind::Constant)
}

fn variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    local_or(walk, node, NodeKind::Variable)
}

/// One declaration may have several names.
fn local_or(walk: &mut Walk<'_>, node: Syn<'_>, kind: NodeKind) -> Flow {
    let of_type = walk.child(node, Field::Type).and_then(|of_type| type_of(walk, of_type));
    let mut cursor = node.walk();
    let names: Vec<_> = node.children_by_field_name("name", &mut cursor).filter(|name| name.is_named()).collect();
    for name in &names {
        let name = walk.text_of(*name);
        let definition = Definition { kind, name, visibility: visibility(name), body: None };
        if walk.in_function() {
            walk.variable(name, of_type);
        } else if names.len() > 1 {
            walk.define_leaf(node, definition);
        } else {
            walk.define(node, definition);
        }
    }
    Flow::Descend
}

fn parameter(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let of_type = walk.child(node, Field::Type).and_then(|of_type| type_of(walk, of_type));
    let mut cursor = node.walk();
    for child in node.named_children(&mut cursor).filter(|child| child.kind() == "identifier") {
        let name = walk.text_of(child);
        walk.variable(name, of_type);
    }
    Flow::Descend
}

fn short_variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let (Some(left), Some(right)) = (walk.child(node, Field::Left), walk.child(node, Field::Right)) else {
        return Flow::Descend;
    };
    let mut cursor = left.walk();
    for (index, child) in left.named_children(&mut cursor).enumerate() {
        let value =
            if left.named_child_count() == right.named_child_count() { right.named_child(index as u32) } else { None };
        let of_type = value.and_then(|value| made_type(walk, value));
        let name = walk.text_of(child);
        walk.variable(name, of_type);
    }
    Flow::Descend
}

/// The type of `Type{…}` and `&Type{…}`.
fn made_type<'s>(walk: &Walk<'s>, value: Syn<'_>) -> Option<&'s str> {
    match value.kind() {
        "composite_literal" => type_of(walk, walk.child(value, Field::Type)?),
        "unary_expression" => made_type(walk, walk.child(value, Field::Operand)?),
        _ => None,
    }
}

fn loop_variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(left) = walk.child(node, Field::Left) {
        let mut cursor = left.walk();
        for child in left.named_children(&mut cursor).filter(|child| child.kind() == "identifier") {
            let name = walk.text_of(child);
            walk.variable(name, None);
        }
    }
    Flow::Descend
}

fn call(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(function) = walk.child(node, Field::Function) else { return Flow::Descend };
    match function.kind() {
        "identifier" => {
            let name = walk.text_of(function);
            walk.mention(Manner::Call, name, Via::Nothing, function);
        }
        "selector_expression" => {
            if let (Some(operand), Some(name)) =
                (walk.child(function, Field::Operand), walk.text_in(function, Field::Member))
            {
                let via = match operand.kind() {
                    "identifier" => Via::Named(walk.text_of(operand)),
                    "selector_expression" => walk
                        .text_in(operand, Field::Member)
                        .and_then(|field| walk.field_type(field))
                        .map_or(Via::Unknown, Via::Typed),
                    _ => Via::Unknown,
                };
                walk.mention(Manner::Call, name, via, function);
            }
        }
        _ => {}
    }
    Flow::Descend
}

fn type_name(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let name = walk.text_of(node);
    walk.mention(Manner::Type, name, Via::Nothing, node);
    Flow::Skip
}

fn type_path(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let (Some(package), Some(name)) = (walk.text_in(node, Field::Package), walk.text_in(node, Field::Name)) {
        walk.mention(Manner::Type, name, Via::Named(package), node);
    }
    Flow::Skip
}

fn value(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.stands_in(Field::Name) {
        walk.mention_value(node);
    }
    Flow::Skip
}

/// `package.Name` as a value; of anything else only the operand is looked at.
fn selector(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let is_called = walk.stands_in(Field::Function);
    let operand = walk.child(node, Field::Operand);
    match operand {
        Some(operand) if operand.kind() == "identifier" => {
            let package = walk.text_of(operand);
            let name = walk.text_in(node, Field::Member).unwrap_or_default();
            if !is_called && name.starts_with(char::is_uppercase) {
                walk.mention(Manner::Type, name, Via::Named(package), node);
            }
            walk.mention_value(operand);
            Flow::Skip
        }
        _ => Flow::Descend,
    }
}

fn import(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(path) = walk.text_in(node, Field::Path) else { return Flow::Skip };
    let path = path.trim_matches(['"', '`']);
    let pieces: Vec<_> = path.split('/').collect();
    let last = pieces.iter().rev().find(|piece| !is_version(piece)).copied().unwrap_or(path);
    match walk.text_in(node, Field::Name) {
        Some(".") => walk.import(node, &pieces, &[], true),
        Some("_") => walk.import(node, &pieces, &[], false),
        Some(alias) => walk.import(node, &pieces, &[(alias, "")], false),
        None => walk.import(node, &pieces, &[(last, "")], false),
    }
    walk.import_node(node, path);
    Flow::Skip
}

/// `v2` at the end of a path is no package's name.
fn is_version(piece: &str) -> bool {
    piece.strip_prefix('v').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}
