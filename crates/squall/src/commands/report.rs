//! `squall report`: a run that was, told again, alone or beside another.

use std::io::IsTerminal;
use std::path::Path;

use squall_report::OpenedRun;
use squall_report::comparison::{self, Options};
use squall_report::render::{self, Colour};

use crate::cli::ReportFormat;
use crate::exit::{Exit, Usage};

/// Prints a run in one of the forms. That the run failed is in what is printed; printing it did not.
pub(crate) fn report(dir: &Path, format: ReportFormat) -> anyhow::Result<Exit> {
    let run = OpenedRun::open(dir)?;
    match format {
        ReportFormat::Terminal => print_summary(&run),
        ReportFormat::Markdown => print!("{}", render::markdown(&run)),
        ReportFormat::Json => print!("{}", render::json(&run)),
        ReportFormat::Junit => print!("{}", render::junit(&run)),
        ReportFormat::Html => print!("{}", render::html(&run)),
    }
    Ok(Exit::OK)
}

/// Says how a run differs from an earlier one; a change of less than `margin` (0.1 is 10 %) does not matter. Ends with the
/// exit code of the outcome.
pub(crate) fn compare(baseline: &Path, dir: &Path, format: ReportFormat, margin: f64) -> anyhow::Result<Exit> {
    let (baseline, run) = (OpenedRun::open(baseline)?, OpenedRun::open(dir)?);
    let comparison = comparison::compare(&baseline, &run, &Options { margin, ..Options::default() });
    match format {
        ReportFormat::Terminal => print!("{}", render::comparison_terminal(&comparison, colour())),
        ReportFormat::Markdown => print!("{}", render::comparison_markdown(&comparison)),
        ReportFormat::Json => println!("{}", serde_json::to_string_pretty(&comparison)?),
        ReportFormat::Junit | ReportFormat::Html => {
            return Err(Usage("a comparison is made as terminal, markdown or json".to_owned()).into());
        }
    }
    Ok(Exit(comparison.outcome().exit_code()))
}

/// The summary on standard output, in colour when people read it.
pub(crate) fn print_summary(run: &OpenedRun) {
    print!("{}", render::terminal(run, colour()));
}

fn colour() -> Colour {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { Colour::On } else { Colour::Off }
}
