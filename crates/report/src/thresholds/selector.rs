//! `task_latency{lane:gpt4}`: a metric, and the tags by which its series are chosen.

use std::{fmt, str::FromStr};

use crate::statistics::Tags;

/// Which series a threshold reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// The metric.
    pub metric: String,
    /// All of these tags must be on a series; sorted.
    pub tags: Tags,
}

/// Where and why a selector cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("threshold on {selector:?}, column {column}: {message}")]
pub struct SelectorError {
    /// What was written.
    pub selector: String,
    /// The character that is wrong, from 1.
    pub column: usize,
    /// What was expected there.
    pub message: String,
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let error = |position: usize, message: &str| SelectorError {
            selector: text.to_owned(),
            column: text[..position].chars().count() + 1,
            message: message.to_owned(),
        };
        let Some(open) = text.find('{') else {
            let metric = text.trim().to_owned();
            return if metric.is_empty() {
                Err(error(0, "expected a metric"))
            } else {
                Ok(Self { metric, tags: Vec::new() })
            };
        };
        let metric = text[..open].trim().to_owned();
        if metric.is_empty() {
            return Err(error(0, "expected a metric before \"{\""));
        }
        let Some(inside) = text.trim_end().strip_suffix('}').map(|it| &it[open + 1..]) else {
            return Err(error(text.trim_end().len(), "expected \"}\""));
        };
        let (mut tags, mut position) = (Tags::new(), open + 1);
        for part in inside.split(',') {
            match part.split_once(':') {
                Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
                    tags.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                _ => return Err(error(position, "expected tag:value")),
            }
            position += part.len() + 1;
        }
        tags.sort();
        Ok(Self { metric, tags })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        if self.tags.is_empty() {
            return Ok(());
        }
        let tags: Vec<String> = self.tags.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        write!(f, "{{{}}}", tags.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, written) in [
            ("lost", "lost"),
            (" lost ", "lost"),
            ("task_latency{lane:gpt4}", "task_latency{lane:gpt4}"),
            ("task_latency { priority: high , lane:gpt4 }", "task_latency{lane:gpt4,priority:high}"),
            ("x{url:http://host/a}", "x{url:http://host/a}"),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn says_where_it_is_wrong() {
        for (text, column, message) in [
            ("", 1, "expected a metric"),
            ("{lane:gpt4}", 1, "expected a metric before \"{\""),
            ("a{lane:gpt4", 12, "expected \"}\""),
            ("a{lane}", 3, "expected tag:value"),
            ("a{lane:x,:y}", 10, "expected tag:value"),
            ("a{}", 3, "expected tag:value"),
        ] {
            let error = text.parse::<Selector>().unwrap_err();
            assert_eq!((error.column, error.message.as_str()), (column, message), "{text}");
        }
    }
}
