//! `squall migrate`: moves a stopped gateway's embedded store into Redis, and shows that all of it arrived.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use squall_store::migrate::{MigrateError, Outcome, Progress};
use squall_store::{embedded, redis};

use crate::cli::Migration;
use crate::exit::Exit;

/// How often it says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Moves, or with `--dry-run` counts.
pub(crate) fn migrate(migration: Migration) -> anyhow::Result<Exit> {
    let Migration { from, options, dry_run } = migration;
    let to = format!("{}, prefix {:?}", redis::without_secrets(&options.store.url), options.store.key_prefix);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let started = Instant::now();
    let mut told = started;
    let moving = squall_store::migrate::migrate(&from, options, dry_run, |progress| {
        if told.elapsed() >= TELL_EVERY || progress == Progress::Counting {
            told = Instant::now();
            eprintln!("{}", words(progress));
        }
    });
    let outcome = match runtime.block_on(moving) {
        Ok(outcome) => outcome,
        Err(MigrateError::From(error @ embedded::OpenError::Locked { .. })) => {
            return Err(error).context("stop the gateway first");
        }
        Err(error) => return Err(error.into()),
    };
    let mut out = io::stdout().lock();
    show(&mut out, &outcome)?;
    let took = started.elapsed();
    if dry_run {
        writeln!(out, "nothing was changed; without --dry-run this moves to {to}")?;
    } else if outcome.agrees() {
        writeln!(out, "moved to {to} in {:.1} s; epoch {}, offsets go on", took.as_secs_f64(), outcome.epoch)?;
        writeln!(out, "start gateways with store.url set to it; {} is not to be used any more", from.display())?;
    } else {
        out.flush()?;
        anyhow::bail!(
            "what is at {to} is not what was in {}: no gateway starts there, nothing was lost here",
            from.display()
        );
    }
    Ok(Exit::OK)
}

fn words(progress: Progress) -> String {
    match progress {
        Progress::Tasks(count) => format!("{count} tasks written"),
        Progress::Events(offset) => format!("events written up to offset {offset}"),
        Progress::Counting => "counting what is there".to_owned(),
    }
}

fn show(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    for note in &outcome.notes {
        writeln!(out, "note: {note}")?;
    }
    let rows = outcome.before.beside(outcome.after.as_ref());
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    writeln!(out, "{:width$}  {:>12}  {:>12}", "", "before", "after")?;
    for row in rows {
        let after = row.after.map_or_else(|| "-".to_owned(), |after| after.to_string());
        let differs = if row.after.is_some_and(|after| after != row.before) { "  differs" } else { "" };
        writeln!(out, "{:width$}  {:>12}  {after:>12}{differs}", row.what, row.before)?;
    }
    for odd in &outcome.odd {
        writeln!(out, "differs in itself: {odd}")?;
    }
    Ok(())
}
