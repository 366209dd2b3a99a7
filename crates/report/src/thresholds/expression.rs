//! `p(99)<500`: one aggregation, one operator, one number.
//!
//! ```text
//! expression  = aggregation operator number
//! aggregation = "avg" | "min" | "max" | "med" | "p(" number ")" | "count" | "rate" | "value"
//! operator    = "<" | "<=" | ">" | ">=" | "==" | "===" | "!="
//! ```
//!
//! Spaces are allowed between the three. Which kind answers which aggregation is k6's table: a counter `count` and
//! `rate`, a gauge `value`, a rate `rate`, a trend the others.

use std::{fmt, str::FromStr};

use crate::statistics::{Measured, MetricKind, Unit, per_second};

/// What is read from a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregation {
    /// The mean of a trend.
    Avg,
    /// The smallest value of a trend.
    Min,
    /// The largest value of a trend.
    Max,
    /// The median of a trend.
    Med,
    /// A percentile of a trend, 0 to 100.
    Percentile(f64),
    /// How often a counter counted.
    Count,
    /// Per second for a counter, the share of hits for a rate.
    Rate,
    /// The last level of a gauge.
    Value,
}

impl Aggregation {
    /// Whether a metric of that kind answers it.
    #[must_use]
    pub const fn fits(self, kind: MetricKind) -> bool {
        match kind {
            MetricKind::Counter => matches!(self, Self::Count | Self::Rate),
            MetricKind::Gauge => matches!(self, Self::Value),
            MetricKind::Rate => matches!(self, Self::Rate),
            MetricKind::Trend => matches!(self, Self::Avg | Self::Min | Self::Max | Self::Med | Self::Percentile(_)),
        }
    }

    /// What a metric of that kind answers, for messages.
    #[must_use]
    pub const fn choices(kind: MetricKind) -> &'static str {
        match kind {
            MetricKind::Counter => "count, rate",
            MetricKind::Gauge => "value",
            MetricKind::Rate => "rate",
            MetricKind::Trend => "avg, min, max, med, p(N)",
        }
    }

    /// Reads it from what was measured, in the metric's unit; none without a sample, or when it does not fit the kind.
    #[must_use]
    pub fn read(self, measured: &Measured, unit: Unit, elapsed_ms: u64) -> Option<f64> {
        let shown = |recorded: f64| recorded / unit.scale();
        match (measured, self) {
            (Measured::Counter(count), Self::Count) => Some(*count as f64),
            (Measured::Counter(count), Self::Rate) => Some(per_second(*count, elapsed_ms)),
            (Measured::Gauge(gauge), Self::Value) => gauge.map(|gauge| gauge.last),
            (Measured::Rate(rate), Self::Rate) => rate.share(),
            (Measured::Trend(trend), Self::Avg) => trend.mean().map(shown),
            (Measured::Trend(trend), Self::Min) => trend.min().map(|it| shown(it as f64)),
            (Measured::Trend(trend), Self::Max) => trend.max().map(|it| shown(it as f64)),
            (Measured::Trend(trend), Self::Med) => trend.quantile(0.5).map(|it| shown(it as f64)),
            (Measured::Trend(trend), Self::Percentile(p)) => trend.quantile(p / 100.0).map(|it| shown(it as f64)),
            _ => None,
        }
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Avg => f.write_str("avg"),
            Self::Min => f.write_str("min"),
            Self::Max => f.write_str("max"),
            Self::Med => f.write_str("med"),
            Self::Percentile(p) => write!(f, "p({p})"),
            Self::Count => f.write_str("count"),
            Self::Rate => f.write_str("rate"),
            Self::Value => f.write_str("value"),
        }
    }
}

/// How the measured value must stand to the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`, and `===`, which k6 has because it came from JavaScript.
    Equal,
    /// `!=`
    NotEqual,
}

/// Longest first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, Operator); 7] = [
    ("===", Operator::Equal),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Operator {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    /// Whether the measured value keeps the promise.
    #[must_use]
    pub fn holds(self, measured: f64, target: f64) -> bool {
        match self {
            Self::Less => measured < target,
            Self::LessOrEqual => measured <= target,
            Self::Greater => measured > target,
            Self::GreaterOrEqual => measured >= target,
            Self::Equal => measured == target,
            Self::NotEqual => measured != target,
        }
    }
}

/// One promise about one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expression {
    /// What is read.
    pub aggregation: Aggregation,
    /// How it is compared.
    pub operator: Operator,
    /// With what, in the metric's unit.
    pub target: f64,
}

/// Where and why an expression cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("threshold {expression:?}, column {column}: {message}")]
pub struct ExpressionError {
    /// What was written.
    pub expression: String,
    /// The character that is wrong, from 1.
    pub column: usize,
    /// What was expected there.
    pub message: String,
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let mut at = Cursor { text, position: 0 };
        at.skip_spaces();
        let aggregation = at.aggregation()?;
        at.skip_spaces();
        let operator = at.operator()?;
        at.skip_spaces();
        let target = at.number("a number")?;
        at.skip_spaces();
        if at.rest().is_empty() { Ok(Self { aggregation, operator, target }) } else { Err(at.expected("nothing more")) }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.aggregation, self.operator.as_str(), self.target)
    }
}

/// A place in the text that is being read.
struct Cursor<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn skip_spaces(&mut self) {
        self.position = self.text.len() - self.rest().trim_start().len();
    }

    fn while_matches(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|it| !matches(it)).unwrap_or(rest.len());
        self.position += end;
        &rest[..end]
    }

    fn error_at(&self, position: usize, message: String) -> ExpressionError {
        let column = self.text[..position].chars().count() + 1;
        ExpressionError { expression: self.text.to_owned(), column, message }
    }

    fn expected(&self, what: &str) -> ExpressionError {
        let found = self.rest();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
        self.error_at(self.position, format!("expected {what}, found {found}"))
    }

    fn aggregation(&mut self) -> Result<Aggregation, ExpressionError> {
        let start = self.position;
        let word = self.while_matches(|it| it.is_ascii_alphanumeric() || it == '_');
        Ok(match word {
            "avg" => Aggregation::Avg,
            "min" => Aggregation::Min,
            "max" => Aggregation::Max,
            "med" => Aggregation::Med,
            "count" => Aggregation::Count,
            "rate" => Aggregation::Rate,
            "value" => Aggregation::Value,
            "p" => {
                self.literal("(")?;
                let (position, percentile) = (self.position, self.number("a percentile")?);
                if !(0.0..=100.0).contains(&percentile) {
                    return Err(self.error_at(position, format!("a percentile is 0 to 100, not {percentile}")));
                }
                self.literal(")")?;
                Aggregation::Percentile(percentile)
            }
            _ => {
                self.position = start;
                return Err(self.expected("one of avg, min, max, med, p(N), count, rate, value"));
            }
        })
    }

    fn operator(&mut self) -> Result<Operator, ExpressionError> {
        for (written, operator) in OPERATORS {
            if self.rest().starts_with(written) {
                self.position += written.len();
                return Ok(operator);
            }
        }
        Err(self.expected("one of <, <=, >, >=, ==, ===, !="))
    }

    fn literal(&mut self, written: &str) -> Result<(), ExpressionError> {
        if !self.rest().starts_with(written) {
            return Err(self.expected(&format!("{written:?}")));
        }
        self.position += written.len();
        Ok(())
    }

    fn number(&mut self, what: &str) -> Result<f64, ExpressionError> {
        let start = self.position;
        let word = self.while_matches(|it| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '+'));
        // Rust also reads "inf" and "nan", and neither is a target that anything can meet.
        match word.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => {
                self.position = start;
                Err(self.expected(what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_grammar() {
        use Aggregation as A;
        use Operator as O;
        for (text, aggregation, operator, target) in [
            ("p(99)<500", A::Percentile(99.0), O::Less, 500.0),
            ("p(99.9) <= 1.5", A::Percentile(99.9), O::LessOrEqual, 1.5),
            ("p(0)>0", A::Percentile(0.0), O::Greater, 0.0),
            (" avg\t< 2e3 ", A::Avg, O::Less, 2000.0),
            ("min>=0.5", A::Min, O::GreaterOrEqual, 0.5),
            ("max!=7", A::Max, O::NotEqual, 7.0),
            ("med===7", A::Med, O::Equal, 7.0),
            ("count==0", A::Count, O::Equal, 0.0),
            ("rate>0.95", A::Rate, O::Greater, 0.95),
            ("value>-1", A::Value, O::Greater, -1.0),
        ] {
            assert_eq!(text.parse(), Ok(Expression { aggregation, operator, target }), "{text}");
        }
    }

    #[test]
    fn says_where_it_is_wrong() {
        for (text, column, message) in [
            ("", 1, "expected one of avg, min, max, med, p(N), count, rate, value, found the end"),
            ("p99<500", 1, "expected one of avg, min, max, med, p(N), count, rate, value, found \"p99<500\""),
            ("p[99]<500", 2, "expected \"(\", found \"[99]<500\""),
            ("p(99<500", 5, "expected \")\", found \"<500\""),
            ("p()<500", 3, "expected a percentile, found \")<500\""),
            ("p(101)<500", 3, "a percentile is 0 to 100, not 101"),
            ("p(-1)<500", 3, "a percentile is 0 to 100, not -1"),
            ("p(99)", 6, "expected one of <, <=, >, >=, ==, ===, !=, found the end"),
            ("p(99)=500", 6, "expected one of <, <=, >, >=, ==, ===, !=, found \"=500\""),
            ("p(99)<<500", 7, "expected a number, found \"<500\""),
            ("rate>95%", 8, "expected nothing more, found \"%\""),
            ("p(99)<500ms", 7, "expected a number, found \"500ms\""),
            ("avg<inf", 5, "expected a number, found \"inf\""),
            ("avg<5 and med<3", 7, "expected nothing more, found \"and med<3\""),
            ("größe<5", 1, "expected one of avg, min, max, med, p(N), count, rate, value, found \"größe<5\""),
            ("avg <ö", 6, "expected a number, found \"ö\""),
        ] {
            let error = text.parse::<Expression>().unwrap_err();
            assert_eq!((error.column, error.message.as_str()), (column, message), "{text}");
        }
    }

    #[test]
    fn is_written_as_it_is_read() {
        for text in ["p(99.9)<=1.5", "count==0", "rate>0.95", "med!=3"] {
            assert_eq!(text.parse::<Expression>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn operators_compare() {
        for (text, below, same, above) in [
            ("avg<5", true, false, false),
            ("avg<=5", true, true, false),
            ("avg>5", false, false, true),
            ("avg>=5", false, true, true),
            ("avg==5", false, true, false),
            ("avg===5", false, true, false),
            ("avg!=5", true, false, true),
        ] {
            let it: Expression = text.parse().unwrap();
            let holds = |measured| it.operator.holds(measured, it.target);
            assert_eq!((holds(4.0), holds(5.0), holds(6.0)), (below, same, above), "{text}");
        }
    }
}
