//! Thresholds: what a scenario promises, in k6's grammar, and whether the run kept it.
//!
//! ```toml
//! [thresholds]
//! task_latency = ["p(50)<100", "p(99)<500"]
//! "task_latency{lane:gpt4}" = "p(99)<200"
//! session_success = "rate>0.95"
//! lost = [{ threshold = "count==0", abort_on_fail = true, delay_abort_eval = "10s" }]
//! ```
//!
//! A threshold that would never be evaluated is an error before the run: unknown metric, a method that the metric's kind
//! does not answer, tags that nobody records. A threshold on a metric without a sample *fails*, because what was not
//! measured was not kept; only a counter without a sample is an honest zero. Evaluation is pure: tallies and elapsed time
//! go in, results come out.

mod config;
mod evaluate;
mod expression;
mod selector;

pub use config::{FullSpec, OneOrMany, ThresholdConfig, ThresholdSpec, parse_duration_ms};
pub use evaluate::{Phase, ThresholdError, ThresholdResult, Thresholds};
pub use expression::{Aggregation, Expression, ExpressionError, Operator};
pub use selector::{Selector, SelectorError};
