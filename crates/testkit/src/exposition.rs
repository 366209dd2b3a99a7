//! Reads the Prometheus text format, strictly: what a scraper would refuse is an error here.

use std::collections::{BTreeMap, HashMap};

/// Labels in the order of their names.
pub type Labels = BTreeMap<String, String>;

/// All samples of one scrape.
#[derive(Debug, Default)]
pub struct Samples {
    values: HashMap<String, Vec<(Labels, f64)>>,
    types: HashMap<String, String>,
}

impl Samples {
    /// Reads a scrape.
    ///
    /// # Errors
    /// Names the first line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut samples = Self::default();
        for (nth, line) in text.lines().enumerate() {
            samples.line(line).map_err(|why| format!("line {}: {why}: {line}", nth + 1))?;
        }
        Ok(samples)
    }

    /// Sum over all samples of this name whose labels include these; zero when there are none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |of: &Labels| labels.iter().all(|(name, value)| of.get(*name).is_some_and(|is| is == value));
        self.of(name).iter().filter(|(of, _)| fits(of)).map(|(_, value)| value).sum()
    }

    /// All samples of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> &[(Labels, f64)] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The names of all samples, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.values.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The names of all metrics that have a type, in order; their samples may have suffixes.
    #[must_use]
    pub fn families(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.types.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(told) = comment.strip_prefix("TYPE ") {
                let (name, kind) = told.split_once(' ').ok_or("a TYPE without a type")?;
                let known = ["counter", "gauge", "histogram", "summary", "info", "unknown", "untyped", "stateset"];
                if !known.contains(&kind) {
                    return Err("a type that does not exist");
                }
                if self.types.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err("a second TYPE for one metric");
                }
            }
            return Ok(());
        }
        if line.is_empty() {
            return Ok(());
        }
        let name_end = line.find(['{', ' ']).ok_or("a sample without a value")?;
        let (name, rest) = line.split_at(name_end);
        let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(fine) {
            return Err("a name that is none");
        }
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Labels::new(), rest),
        };
        // An OpenMetrics exemplar may follow the value.
        let value = rest.trim_start().split([' ', '#']).next().unwrap_or_default();
        let value = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number.parse().map_err(|_| "a value that is no number")?,
        };
        let of = self.values.entry(name.to_owned()).or_default();
        if of.iter().any(|(other, _)| *other == labels) {
            return Err("a sample twice");
        }
        of.push((labels, value));
        Ok(())
    }
}

/// `name="value",…}` and what follows.
fn labels(mut rest: &str) -> Result<(Labels, &str), &'static str> {
    let mut labels = Labels::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, value) = rest.split_once("=\"").ok_or("a label without a value")?;
        let mut text = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().ok_or("a label without an end")? {
                (end, '"') => break end,
                (_, '\\') => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, other)) => text.push(other),
                    None => return Err("a label without an end"),
                },
                (_, other) => text.push(other),
            }
        };
        if labels.insert(name.to_owned(), text).is_some() {
            return Err("a label twice");
        }
        rest = value[end + 1..].strip_prefix(',').unwrap_or(&value[end + 1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP a Help with {braces}\n# TYPE a counter\na_total{x=\"1\",y=\"a\\\"b\"} 3\na_total{x=\"2\"} 4.5\n\
                    h_bucket{le=\"+Inf\"} 7 # {trace=\"x\"} 1\nplain 1e3\n# EOF\n";
        let samples = Samples::parse(text).unwrap();
        assert_eq!(samples.sum("a_total", &[]), 7.5);
        assert_eq!(samples.sum("a_total", &[("y", "a\"b")]), 3.0);
        assert_eq!(samples.sum("h_bucket", &[("le", "+Inf")]), 7.0);
        assert_eq!(samples.sum("plain", &[]), 1_000.0);
        assert_eq!(samples.sum("absent", &[]), 0.0);
        assert_eq!(samples.names(), ["a_total", "h_bucket", "plain"]);
        assert_eq!(samples.families(), ["a"]);
    }

    #[test]
    fn what_a_scraper_would_refuse_is_named() {
        for (text, why) in [
            ("a", "without a value"),
            ("a x", "no number"),
            ("1a 2", "a name"),
            ("a{x=\"1} 2", "without an end"),
            ("a{x=1} 2", "without a value"),
            ("a 1\na 2", "twice"),
            ("# TYPE a counter\n# TYPE a gauge", "second TYPE"),
            ("# TYPE a speed", "does not exist"),
        ] {
            let error = Samples::parse(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
