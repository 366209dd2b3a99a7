//! Which field of a JSON text an error is about. serde says line and column; a person looks for the field. Pure.

/// The path of the value that ends or begins at a line and column (both from 1), such as `retry.backoff` or `[2].kind`.
///
/// The text need not be JSON to its end; what comes after the place does not matter. `None` when the place is the whole.
pub(crate) fn field(text: &[u8], line: usize, column: usize) -> Option<String> {
    let before: usize = text.split_inclusive(|&byte| byte == b'\n').take(line.checked_sub(1)?).map(<[u8]>::len).sum();
    let text = &text[..text.len().min(before + column)];
    let mut path: Vec<Step> = Vec::new();
    let mut string: Option<usize> = None;
    let mut last: Option<&[u8]> = None;
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        if let Some(start) = string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    last = Some(&text[start..at]);
                    string = None;
                }
                _ => {}
            }
            continue;
        }
        match (byte, path.last_mut()) {
            (b'"', _) => string = Some(at + 1),
            (b'{', _) => path.push(Step::Key(None)),
            (b'[', _) => path.push(Step::Index(0)),
            (b'}' | b']', _) => drop(path.pop()),
            (b':', Some(Step::Key(key))) => *key = last.map(|name| String::from_utf8_lossy(name).into_owned()),
            (b',', Some(Step::Key(key))) => *key = None,
            (b',', Some(Step::Index(index))) => *index += 1,
            _ => {}
        }
    }
    let mut shown = String::new();
    for step in path {
        match step {
            Step::Key(None) => {}
            Step::Key(Some(key)) if shown.is_empty() => shown = key,
            Step::Key(Some(key)) => shown = format!("{shown}.{key}"),
            Step::Index(index) => shown = format!("{shown}[{index}]"),
        }
    }
    (!shown.is_empty()).then_some(shown)
}

enum Step {
    Key(Option<String>),
    Index(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_an_error_is_about_is_named() {
        type Anything = std::collections::BTreeMap<String, serde_json::Value>;
        // The error is provoked by the word that is none, so that its place is serde's own.
        for (text, expected) in [
            (r#"{"kind":wrong}"#, Some("kind")),
            (r#"{"a":1,"retry":{"max":1,"backoff":wrong}}"#, Some("retry.backoff")),
            (r#"{"a":[1,{"b":2},{"c":wrong}]}"#, Some("a[2].c")),
            (r#"{"a":{"b":1},"c":wrong}"#, Some("c")),
            (r#"{"a\"}{":{"b":"x,y:z\\","c":wrong}}"#, Some(r#"a\"}{.c"#)),
            ("{\n  \"a\": 1,\n  \"b\": wrong\n}", Some("b")),
            ("wrong", None),
            (r#"{"a":1,wrong"#, None),
        ] {
            let error = serde_json::from_str::<Anything>(text).unwrap_err();
            assert_eq!(field(text.as_bytes(), error.line(), error.column()).as_deref(), expected, "{text}: {error}");
        }
        for (line, column) in [(0, 0), (1, 0), (1, 99), (9, 9)] {
            let _ = field(b"{}", line, column);
        }
    }
}
