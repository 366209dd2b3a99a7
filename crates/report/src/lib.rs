//! What a run of the storm leaves behind, and what it means.
//!
//! The storm records into [`statistics`], asks [`thresholds`] for the outcome, fills a [`record::RunRecord`] and a
//! [`series::SecondSample`] per second, and writes both through a [`run_dir::RunDir`] as it goes. From the record
//! comes the [`verdict::Verdict`], and from the directory, now or months later, [`render`] makes the summaries and
//! the report, and [`comparison`] says how two runs differ. In the order in which data passes:
//!
//! [`statistics`] → [`thresholds`] → [`record`], [`series`] → [`verdict`] → [`run_dir`] → [`render`], [`comparison`]
//!
//! What an acknowledgement is worth where it was given, says [`durability`].
//!
//! This part knows no other part of Squall, no runtime and no network: files in, files out.

pub mod comparison;
pub mod durability;
pub mod error;
mod rebuild;
pub mod record;
pub mod render;
pub mod run_dir;
pub mod series;
pub mod statistics;
pub mod thresholds;
pub mod verdict;

pub use error::Error;
pub use record::RunRecord;
pub use run_dir::{OpenedRun, RunDir};
pub use series::SecondSample;
pub use verdict::Verdict;
