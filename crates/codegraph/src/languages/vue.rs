//! Vue: the script blocks of a component, at the lines that they have in the file. What templates mention is not read.

use tree_sitter::{Point, Range};

use super::{Grammar, Part};

/// The script blocks that stand at the outermost level, each in the language that it says.
pub(super) fn scripts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find('<').map(|found| at + found) {
        let rest = &text[start..];
        if rest.starts_with("<!--") {
            at = rest.find("-->").map_or(text.len(), |end| start + end + 3);
            continue;
        }
        let Some(name) = ["script", "template", "style"].into_iter().find(|name| opens(rest, name)) else {
            at = start + 1;
            continue;
        };
        let Some((head_end, closed)) = end_of_tag(rest) else { break };
        let head = &rest[..head_end];
        let inside = start + head_end;
        if closed {
            at = inside;
            continue;
        }
        let end = end_of_block(text, inside, name);
        if name == "script" && !text[inside..end].trim().is_empty() {
            let grammar = match attribute(head, "lang") {
                Some("ts") => Grammar::Typescript,
                Some("tsx") => Grammar::Tsx,
                _ => Grammar::Javascript,
            };
            let range = Range {
                start_byte: inside,
                end_byte: end,
                start_point: point(text, inside),
                end_point: point(text, end),
            };
            // Two blocks of one language are one module.
            match parts.iter_mut().find(|part| part.grammar == grammar) {
                Some(part) => part.ranges.push(range),
                None => parts.push(Part { grammar, ranges: vec![range] }),
            }
        }
        at = end;
    }
    parts
}

fn opens(text: &str, name: &str) -> bool {
    let after = text[1..].strip_prefix(name);
    after.is_some_and(|after| after.starts_with(|next: char| next == '>' || next == '/' || next.is_ascii_whitespace()))
}

/// After the `>` that ends a tag, and whether the tag closes itself.
fn end_of_tag(text: &str) -> Option<(usize, bool)> {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some((at + 1, text[..at].ends_with('/'))),
            _ => {}
        }
    }
    None
}

/// Where the block ends. Templates may be in each other; scripts and styles end at the first end.
fn end_of_block(text: &str, from: usize, name: &str) -> usize {
    let close = ["</", name].concat();
    let mut depth = 1;
    let mut at = from;
    while let Some(start) = text[at..].find('<').map(|found| at + found) {
        let rest = &text[start..];
        if rest.starts_with(&close) {
            depth -= 1;
            if depth == 0 {
                return start;
            }
        } else if name == "template" && opens(rest, name) && end_of_tag(rest).is_some_and(|(_, closed)| !closed) {
            depth += 1;
        }
        at = start + 1;
    }
    text.len()
}

fn attribute<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches(['"', '\'', '>']))
}

fn point(text: &str, at: usize) -> Point {
    let before = &text[..at];
    let row = before.bytes().filter(|byte| *byte == b'\n').count();
    Point { row, column: at - before.rfind('\n').map_or(0, |newline| newline + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_where_they_are() {
        let text = "<template>\n<template #a>x</template>\n</template>\n<!-- <script> -->\n<script setup lang=\"ts\">\nlet a = 1\n</script>\n<style>a</style>\n<script>\nlet b\n</script>\n";
        let parts = scripts(text);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].grammar, Grammar::Typescript);
        assert_eq!(&text[parts[0].ranges[0].start_byte..parts[0].ranges[0].end_byte], "\nlet a = 1\n");
        assert_eq!(parts[0].ranges[0].start_point, Point { row: 4, column: 24 });
        assert_eq!(parts[1].grammar, Grammar::Javascript);
        assert!(scripts("<script src=\"./a.js\" />\n<template/>").is_empty());
    }
}
