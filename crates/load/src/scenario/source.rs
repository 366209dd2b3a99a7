//! Reads a TOML text with its places, so that every mistake is told with file, line, what was wrong and the nearest word
//! that would have been right. Knows tables and values; what the words mean is the business of those who ask.

use std::fmt;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A scenario that cannot be read: `scenarios/x.toml:12: unknown executor "constant-rate"; did you mean …?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file, or the name of the built-in scenario.
    pub file: String,
    /// The line, from 1; 0 when the mistake is not in one place.
    pub line: usize,
    /// What was wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for ScenarioError {}

type Result<T> = std::result::Result<T, ScenarioError>;

/// The text, and what it is called in errors.
#[derive(Clone, Copy)]
pub(crate) struct Source<'t> {
    pub(crate) file: &'t str,
    pub(crate) text: &'t str,
}

impl Source<'_> {
    pub(crate) fn error(&self, at: usize, message: impl Into<String>) -> ScenarioError {
        let line = self.text.get(..at).map_or(0, |before| before.matches('\n').count() + 1);
        ScenarioError { file: self.file.to_owned(), line, message: message.into() }
    }
}

/// A word, and where it stands.
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) at: usize,
}

/// One table that is being read. Every key that is asked for becomes a known key; [`Section::finish`] refuses the others.
pub(crate) struct Section<'t> {
    source: Source<'t>,
    /// As the user wrote it: `[[load]]`, `[target]`.
    what: String,
    at: usize,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(crate) fn new(source: Source<'t>, what: impl Into<String>, at: usize, table: &'t DeTable<'t>) -> Self {
        Self { source, what: what.into(), at, table, known: Vec::new() }
    }

    pub(crate) fn error_at(&self, at: usize, message: impl Into<String>) -> ScenarioError {
        self.source.error(at, message)
    }

    /// An error about the table as a whole.
    pub(crate) fn error(&self, message: impl fmt::Display) -> ScenarioError {
        self.source.error(self.at, format!("{}: {message}", self.what))
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// The line of the first of these keys that is there, or of the table, for errors found when the text is gone.
    pub(crate) fn line(&self, keys: &[&str]) -> usize {
        let is_there = |key: &&&str| self.table.iter().any(|(name, _)| name.get_ref() == **key);
        let place = keys.iter().find(is_there).map_or(self.at, |key| self.place(key));
        self.error_at(place, "").line
    }

    /// Where a key's value stands, for errors found later.
    pub(crate) fn place(&self, key: &str) -> usize {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map_or(self.at, |(_, value)| value.span().start)
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> ScenarioError {
        let found = match value.get_ref() {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            other => format!("a{} {}", if other.is_array() { "n" } else { "" }, other.type_str()),
        };
        self.source.error(value.span().start, format!("`{key}` in {} must be {expected}, not {found}", self.what))
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<Located<String>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(Located { value: text.to_string(), at: value.span().start })),
            _ => Err(self.wrong(key, value, "text")),
        }
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.get_ref().as_bool().map(Some).ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    /// A whole number from `low` to `high`.
    pub(crate) fn whole(&mut self, key: &'static str, low: u64, high: u64) -> Result<Option<u64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value.get_ref() {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number.and_then(|number| u64::try_from(number).ok()).filter(|number| (low..=high).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, value, &format!("a whole number from {low} to {high}"))),
        }
    }

    /// A whole number from `low` to `high`, or else this word: then `None` within.
    pub(crate) fn whole_or(
        &mut self,
        key: &'static str,
        low: u64,
        high: u64,
        word: &str,
    ) -> Result<Option<Option<u64>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value.get_ref() {
            DeValue::String(text) if text == word => return Ok(Some(None)),
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number.filter(|number| (low..=high).contains(number)) {
            Some(number) => Ok(Some(Some(number))),
            None => Err(self.wrong(key, value, &format!("a whole number from {low} to {high}, or {word:?}"))),
        }
    }

    /// A number from `low` to `high`, with or without a point.
    pub(crate) fn number(&mut self, key: &'static str, low: f64, high: f64) -> Result<Option<f64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match number_of(value.get_ref()).filter(|number| (low..=high).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, value, &format!("a number from {low} to {high}"))),
        }
    }

    /// A share: 0 to 1.
    pub(crate) fn share(&mut self, key: &'static str) -> Result<Option<f64>> {
        self.number(key, 0.0, 1.0)
    }

    /// A length of time: `"500ms"`, `"1m30s"`.
    pub(crate) fn span(&mut self, key: &'static str) -> Result<Option<Duration>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref().as_str().and_then(parse_span) {
            Some(span) => Ok(Some(span)),
            None => Err(self.wrong(key, value, "a length of time such as \"500ms\", \"30s\" or \"1m30s\"")),
        }
    }

    pub(crate) fn texts(&mut self, key: &'static str) -> Result<Option<Vec<Located<String>>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wrong = || self.wrong(key, value, "a list of texts");
        let list = value.get_ref().as_array().ok_or_else(wrong)?;
        let text = |item: &Spanned<DeValue<'_>>| {
            let text = item.get_ref().as_str()?.to_owned();
            Some(Located { value: text, at: item.span().start })
        };
        list.iter().map(text).collect::<Option<Vec<_>>>().map(Some).ok_or_else(wrong)
    }

    /// A text, or a list of them.
    pub(crate) fn words(&mut self, key: &'static str) -> Result<Option<Vec<Located<String>>>> {
        let one = self.table.iter().any(|(name, value)| name.get_ref() == key && value.get_ref().is_str());
        if one { Ok(self.text(key)?.map(|word| vec![word])) } else { self.texts(key) }
    }

    /// A value as it is, and where it stands.
    pub(crate) fn json(&mut self, key: &'static str) -> Result<Option<(usize, serde_json::Value)>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let json = json_of(value.get_ref())
            .ok_or_else(|| self.wrong(key, value, "made of tables, lists, texts and numbers"))?;
        Ok(Some((value.span().start, json)))
    }

    pub(crate) fn wholes(&mut self, key: &'static str) -> Result<Option<Vec<u64>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wrong = || self.wrong(key, value, "a list of whole numbers");
        let list = value.get_ref().as_array().ok_or_else(wrong)?;
        let whole = |item: &Spanned<DeValue<'_>>| item.get_ref().as_integer()?.as_str().parse().ok();
        list.iter().map(whole).collect::<Option<Vec<_>>>().map(Some).ok_or_else(wrong)
    }

    pub(crate) fn section(&mut self, key: &'static str) -> Result<Option<Section<'t>>> {
        let source = self.source;
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(Section::new(source, format!("[{key}]"), value.span().start, table))),
            _ => Err(self.wrong(key, value, "a table")),
        }
    }

    /// Tables in a row: `[[load]]`, or `stages = [{ … }, { … }]`.
    pub(crate) fn sections(&mut self, key: &'static str) -> Result<Vec<Section<'t>>> {
        let source = self.source;
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let DeValue::Array(list) = value.get_ref() else { return Err(self.wrong(key, value, "a list of tables")) };
        let each = |item: &'t Spanned<DeValue<'t>>| match item.get_ref() {
            DeValue::Table(table) => Ok(Section::new(source, format!("[[{key}]]"), item.span().start, table)),
            _ => Err(self.wrong(key, item, "a list of tables")),
        };
        list.iter().map(each).collect()
    }

    /// Keys that the user chose, with their values: `[thresholds]`.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Located<&'t str>, &'t Spanned<DeValue<'t>>)> + use<'t> {
        self.table.iter().map(|(key, value)| (Located { value: key.get_ref().as_ref(), at: key.span().start }, value))
    }

    /// One of the words, or an error that names the nearest.
    pub(crate) fn choice<T: Copy>(
        &self,
        what: &str,
        word: &Located<String>,
        choices: &[(&'static str, T)],
    ) -> Result<T> {
        match choices.iter().find(|(name, _)| *name == word.value) {
            Some((_, value)) => Ok(*value),
            None => {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                Err(self.error_at(word.at, unknown(what, &word.value, &names)))
            }
        }
    }

    /// Refuses the keys that nobody asked for.
    pub(crate) fn finish(self) -> Result<()> {
        for (key, _) in self.table.iter() {
            if !self.known.iter().any(|known| known == key.get_ref()) {
                let message = unknown(&format!("key in {}", self.what), key.get_ref(), &self.known);
                return Err(self.source.error(key.span().start, message));
            }
        }
        Ok(())
    }
}

pub(crate) fn number_of(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(number) => number.as_str().parse().ok(),
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    }
}

fn json_of(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok()?.into(),
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect::<Option<Vec<_>>>()?.into(),
        DeValue::Table(table) => {
            let field = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                Some((AsRef::<str>::as_ref(key.get_ref()).to_owned(), json_of(value.get_ref())?))
            };
            serde_json::Value::Object(table.iter().map(field).collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}

/// `unknown <what> "<word>"; did you mean "<nearest>"?`, or all words when none is near.
pub(crate) fn unknown(what: &str, word: &str, choices: &[&str]) -> String {
    match nearest(word, choices) {
        Some(near) => format!("unknown {what} {word:?}; did you mean {near:?}?"),
        None => format!("unknown {what} {word:?}; one of: {}", choices.join(", ")),
    }
}

/// The choice that looks most like `word`; upper case, `_` and `-` do not count, so that k6's spelling finds ours.
pub(crate) fn nearest<'c>(word: &str, choices: &[&'c str]) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let word = plain(word);
    let alike = |choice: &&'c str| strsim::jaro_winkler(&word, &plain(choice));
    let best = choices.iter().copied().map(|choice| (alike(&choice), choice)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.8).then_some(best.1)
}

/// `"500ms"`, `"1.5s"`, `"1m30s"`, `"2h"`.
#[must_use]
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|span| *span <= Duration::from_secs(30 * 86_400))
}

/// The shortest text that [`parse_span`] reads as `span` (to the millisecond).
#[must_use]
pub fn show_span(span: Duration) -> String {
    let ms = span.as_millis();
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let mut text = String::new();
    for (count, unit) in [(h, "h"), (m, "m"), (s, "s"), (ms % 1000, "ms")] {
        if count > 0 {
            text += &format!("{count}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, ms) in
            [("500ms", 500), ("30s", 30_000), ("1m30s", 90_000), ("1.5s", 1500), ("2h", 7_200_000), ("0s", 0)]
        {
            let span = parse_span(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(span.as_millis(), ms, "{text}");
            assert_eq!(parse_span(&show_span(span)), Some(span));
        }
        for bad in ["", "30", "s", "5 m", "-1s", "1d", "1..5s", "99999h"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_nearest_word() {
        let executors = ["constant-vus", "ramping-vus", "constant-arrival-rate", "ramping-arrival-rate"];
        for (word, near) in [
            ("constant-rate", Some("constant-arrival-rate")),
            ("constantVUs", Some("constant-vus")),
            ("ramping-arrivalrate", Some("ramping-arrival-rate")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(word, &executors), near, "{word}");
        }
    }
}
