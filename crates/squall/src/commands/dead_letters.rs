//! `squall dead-letters`: what an operator does about tasks that were given up, over HTTP against a running gateway.

use std::io::{self, Write};

use anyhow::Context;
use squall_client::{Http, Options};
use squall_protocol::dead_letter::{Handled, ReplayRequest};
use squall_protocol::{DeadLetter, DeadLetterFilter, TaskId};

use crate::cli::{DeadLettersArgs, DeadLettersCommand, Which};
use crate::exit::{Exit, Usage};

/// Dead letters asked for at a time.
const PAGE: usize = 1_000;

/// Does what one of the subcommands asks.
pub(crate) fn dead_letters(args: DeadLettersArgs) -> anyhow::Result<Exit> {
    let endpoint = args.gateway.endpoint()?;
    let mut http = Http::new(endpoint, Options::default());
    let mut out = io::stdout().lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            DeadLettersCommand::List { filter, limit, json } => {
                list(&mut http, &mut out, &filter.into(), limit, json).await
            }
            DeadLettersCommand::Show { id } => show(&mut http, &mut out, id).await,
            DeadLettersCommand::Replay { which, rate, limit } => {
                replay(&mut http, &mut out, which.into(), rate, limit).await
            }
            DeadLettersCommand::Purge { which, yes } => purge(&mut http, &mut out, which.into(), yes).await,
        }
    })?;
    Ok(Exit::OK)
}

async fn list(
    http: &mut Http,
    out: &mut impl Write,
    filter: &DeadLetterFilter,
    limit: u64,
    json: bool,
) -> anyhow::Result<()> {
    let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut cursor: Option<String> = None;
    let mut printed = 0_u64;
    loop {
        let page = http.dead_letters(filter, cursor.as_deref(), left.min(PAGE), json).await?;
        left -= page.items.len().min(left);
        for letter in &page.items {
            if json {
                serde_json::to_writer(&mut *out, letter)?;
                writeln!(out)?;
            } else {
                if printed == 0 {
                    writeln!(out, "{}", line("ID", "DEAD SINCE", "LANE", "KIND", "REASON", "TRIES", "DETAIL"))?;
                }
                writeln!(out, "{}", row(letter))?;
            }
            printed += 1;
        }
        cursor = page.next;
        if cursor.is_none() || left == 0 {
            break;
        }
    }
    if printed == 0 && !json {
        writeln!(out, "no dead letters")?;
    } else if cursor.is_some() && !json {
        writeln!(out, "… and more; --limit shows them")?;
    }
    Ok(())
}

async fn show(http: &mut Http, out: &mut impl Write, id: TaskId) -> anyhow::Result<()> {
    let letter = http.dead_letter(id).await?;
    serde_json::to_writer_pretty(&mut *out, &letter)?;
    writeln!(out)?;
    Ok(())
}

async fn replay(
    http: &mut Http,
    out: &mut impl Write,
    which: Which,
    rate_per_s: Option<f64>,
    limit: Option<u64>,
) -> anyhow::Result<()> {
    let handled = match which {
        Which::One(id) => http.replay(id).await?,
        Which::Filter(filter) => http.replay_all(&ReplayRequest { filter, rate_per_s, limit }).await?,
    };
    tell(out, handled, "sent back")
}

async fn purge(http: &mut Http, out: &mut impl Write, which: Which, yes: bool) -> anyhow::Result<()> {
    if !yes {
        let what = match &which {
            Which::One(id) => {
                let letter = http.dead_letter(*id).await?;
                format!("dead letter {id} ({} on lane {})", letter.kind, letter.lane)
            }
            Which::Filter(filter) => {
                let page = http.dead_letters(filter, None, PAGE, false).await?;
                let more = if page.next.is_some() { "more than " } else { "" };
                format!("{more}{} dead letters", page.items.len())
            }
        };
        return Err(Usage(format!("this would delete {what} for good; say --yes to do it")).into());
    }
    match which {
        Which::One(id) => {
            http.purge(id).await?;
            tell(out, Handled { matched: 1, done: 1, refused: 0 }, "deleted")
        }
        Which::Filter(filter) => {
            let handled = http.purge_all(&filter).await.context("purge")?;
            tell(out, handled, "deleted")
        }
    }
}

fn tell(out: &mut impl Write, handled: Handled, done: &str) -> anyhow::Result<()> {
    write!(out, "{} of {} {done}", handled.done, handled.matched)?;
    if handled.refused > 0 {
        write!(out, ", {} refused: replayed as often as is allowed, or their lane is full", handled.refused)?;
    }
    writeln!(out)?;
    Ok(())
}

fn row(letter: &DeadLetter) -> String {
    line(
        &letter.id.to_string(),
        &letter.dead_at.to_string(),
        &letter.lane,
        &letter.kind,
        letter.reason.as_str(),
        &letter.attempts.to_string(),
        &letter.detail,
    )
}

fn line(id: &str, since: &str, lane: &str, kind: &str, reason: &str, tries: &str, detail: &str) -> String {
    // What publishers and workers said may hold anything; a terminal must not obey it.
    let fine = |text: &str, most: usize| -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
    };
    let (lane, kind, detail) = (fine(lane, 40), fine(kind, 40), fine(detail, 80));
    format!("{id:<36}  {since:<24}  {lane:<12}  {kind:<16}  {reason:<17}  {tries:>5}  {detail}").trim_end().to_owned()
}
