//! Java.

use tree_sitter::Node as Syn;

use crate::extract::{Definition, Field, Flow, Syntax, Via, Walk};
use crate::facts::Manner;
use crate::{NodeKind, Visibility};

pub(super) fn syntax() -> Syntax {
    Syntax::new(
        tree_sitter_java::LANGUAGE.into(),
        ".",
        &[
            ("class_declaration", class),
            ("record_declaration", class),
            ("interface_declaration", interface),
            ("annotation_type_declaration", interface),
            ("enum_declaration", enumeration),
            ("enum_constant", constant),
            ("method_declaration", method),
            ("constructor_declaration", method),
            ("compact_constructor_declaration", method),
            ("annotation_type_element_declaration", method),
            ("field_declaration", field),
            ("constant_declaration", field),
            ("local_variable_declaration", local_variable),
            ("formal_parameter", parameter),
            ("catch_formal_parameter", parameter),
            ("resource", parameter),
            ("enhanced_for_statement", loop_variable),
            ("import_declaration", import),
            ("method_invocation", call),
            ("object_creation_expression", construct),
            ("superclass", superclass),
            ("super_interfaces", interfaces),
            ("extends_interfaces", extends_interfaces),
            ("type_identifier", type_name),
            ("marker_annotation", annotation),
            ("annotation", annotation),
            ("identifier", value),
            ("field_access", field_access),
        ],
        &[
            "if_statement",
            "for_statement",
            "while_statement",
            "do_statement",
            "catch_clause",
            "ternary_expression",
            "switch_label",
            "'&&'",
            "'||'",
        ],
        &[
            "line_comment",
            "block_comment",
            "string_literal",
            "character_literal",
            "package_declaration",
            "type_parameters",
        ],
    )
}

fn modifiers<'t>(node: Syn<'t>) -> Option<Syn<'t>> {
    let mut cursor = node.walk();
    node.children(&mut cursor).find(|child| child.kind() == "modifiers")
}

fn visibility(walk: &Walk<'_>, node: Syn<'_>) -> Option<Visibility> {
    if let Some(modifiers) = modifiers(node) {
        for word in walk.text_of(modifiers).split_ascii_whitespace() {
            match word {
                "public" => return Some(Visibility::Public),
                "private" => return Some(Visibility::Private),
                "protected" => return Some(Visibility::Protected),
                _ => {}
            }
        }
    }
    let in_interface = walk.in_type() && walk.scope_kind() == NodeKind::Interface;
    Some(if in_interface { Visibility::Public } else { Visibility::Internal })
}

fn define(walk: &mut Walk<'_>, node: Syn<'_>, kind: NodeKind) -> Flow {
    let Some(name) = walk.text_in(node, Field::Name) else { return Flow::Descend };
    let (visibility, body) = (visibility(walk, node), walk.child(node, Field::Body));
    walk.define(node, Definition { kind, name, visibility, body });
    Flow::Descend
}

fn class(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Class)
}

fn interface(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Interface)
}

fn enumeration(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Enum)
}

fn constant(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Constant)
}

fn method(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    define(walk, node, NodeKind::Method)
}

fn type_of<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<&'s str> {
    match node.kind() {
        "type_identifier" => Some(walk.text_of(node)).filter(|name| *name != "var"),
        "generic_type" | "annotated_type" => type_of(walk, node.named_child(0)?),
        "scoped_type_identifier" => {
            let count = node.named_child_count();
            type_of(walk, node.named_child(count.checked_sub(1)? as u32)?)
        }
        _ => None,
    }
}

fn written_type<'s>(walk: &Walk<'s>, node: Syn<'_>) -> Option<&'s str> {
    type_of(walk, walk.child(node, Field::Type)?)
}

fn field(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let fixed = modifiers(node).is_some_and(|modifiers| {
        let text = walk.text_of(modifiers);
        text.contains("static") && text.contains("final")
    });
    let kind = if fixed || node.kind() == "constant_declaration" { NodeKind::Constant } else { NodeKind::Field };
    let (of_type, visibility) = (written_type(walk, node), visibility(walk, node));
    let mut cursor = node.walk();
    for declarator in node.named_children(&mut cursor).filter(|child| child.kind() == "variable_declarator") {
        if let Some(name) = walk.text_in(declarator, Field::Name) {
            walk.define_leaf(declarator, Definition { kind, name, visibility, body: None });
            walk.variable_of_type_or_none(name, of_type);
        }
    }
    Flow::Descend
}

fn local_variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let written = written_type(walk, node);
    let mut cursor = node.walk();
    for declarator in node.named_children(&mut cursor).filter(|child| child.kind() == "variable_declarator") {
        let made = walk.child(declarator, Field::Value).filter(|value| value.kind() == "object_creation_expression");
        let of_type = written.or_else(|| made.and_then(|value| written_type(walk, value)));
        if let Some(name) = walk.text_in(declarator, Field::Name) {
            walk.variable(name, of_type);
        }
    }
    Flow::Descend
}

fn parameter(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let of_type = written_type(walk, node);
    if let Some(name) = walk.text_in(node, Field::Name) {
        walk.variable(name, of_type);
    }
    Flow::Descend
}

fn loop_variable(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    walk.branch();
    parameter(walk, node)
}

fn import(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let mut cursor = node.walk();
    let wildcard = node.children(&mut cursor).any(|child| child.kind() == "asterisk");
    let fixed = node.child(1).is_some_and(|child| child.kind() == "static");
    let path =
        node.named_children(&mut cursor).find(|child| matches!(child.kind(), "scoped_identifier" | "identifier"));
    let Some(path) = path else { return Flow::Skip };
    let text = walk.text_of(path);
    let pieces: Vec<_> = text.split('.').map(str::trim).collect();
    let Some((last, class)) = pieces.split_last() else { return Flow::Skip };
    match (wildcard, fixed) {
        // A member of a class.
        (false, true) => walk.import(node, class, &[(last, last)], false),
        (true, _) => walk.import(node, &pieces, &[], true),
        (false, false) => walk.import(node, &pieces, &[(last, last)], false),
    }
    walk.import_node(node, text);
    Flow::Skip
}

fn call(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let Some(name) = walk.text_in(node, Field::Name) else { return Flow::Descend };
    let via = walk.child(node, Field::Object).map_or(Via::Nothing, |object| receiver(walk, object));
    walk.mention(Manner::Call, name, via, node);
    Flow::Descend
}

fn receiver<'s>(walk: &Walk<'s>, object: Syn<'_>) -> Via<'s> {
    match object.kind() {
        "this" | "super" => Via::Own,
        "identifier" => {
            let name = walk.text_of(object);
            match walk.field_type(name) {
                Some(of_type) if !walk.is_variable(name) => Via::Typed(of_type),
                _ => Via::Named(name),
            }
        }
        "field_access" => {
            let field = walk.text_in(object, Field::Member).unwrap_or_default();
            match walk.child(object, Field::Object).map(|inner| inner.kind()) {
                Some("this") => walk.field_type(field).map_or(Via::Unknown, Via::Typed),
                _ if field.starts_with(char::is_uppercase) => Via::Named(field),
                _ => Via::Unknown,
            }
        }
        "object_creation_expression" => written_type(walk, object).map_or(Via::Unknown, Via::Typed),
        _ => Via::Unknown,
    }
}

fn construct(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = written_type(walk, node) {
        walk.mention(Manner::Call, name, Via::Nothing, node);
    }
    Flow::Descend
}

fn all_types(walk: &mut Walk<'_>, manner: Manner, node: Syn<'_>) {
    let mut cursor = node.walk();
    for child in node.named_children(&mut cursor) {
        if child.kind() == "type_list" {
            all_types(walk, manner, child);
        } else if let Some(name) = type_of(walk, child) {
            walk.mention(manner, name, Via::Nothing, child);
        }
    }
}

fn superclass(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    all_types(walk, Manner::Inherit, node);
    Flow::Skip
}

fn interfaces(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    all_types(walk, Manner::Implement, node);
    Flow::Skip
}

fn extends_interfaces(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    all_types(walk, Manner::Inherit, node);
    Flow::Skip
}

fn type_name(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    let name = walk.text_of(node);
    walk.mention(Manner::Type, name, Via::Nothing, node);
    Flow::Skip
}

fn annotation(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if let Some(name) = walk.text_in(node, Field::Name) {
        walk.mention(Manner::Type, name, Via::Nothing, node);
    }
    Flow::Descend
}

fn value(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    if !walk.stands_in(Field::Name) {
        walk.mention_value(node);
    }
    Flow::Skip
}

/// `Type.CONSTANT`; of anything else only the object is looked at.
fn field_access(walk: &mut Walk<'_>, node: Syn<'_>) -> Flow {
    match walk.child(node, Field::Object) {
        Some(object) if object.kind() == "identifier" => {
            let name = walk.text_of(object);
            if name.starts_with(char::is_uppercase) {
                walk.mention(Manner::Type, name, Via::Nothing, object);
                if let Some(field) = walk.text_in(node, Field::Member) {
                    walk.mention(Manner::Type, field, Via::Named(name), node);
                }
            } else {
                walk.mention_value(object);
            }
            Flow::Skip
        }
        _ => Flow::Descend,
    }
}
