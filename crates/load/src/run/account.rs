//! At the end of a run: asks the gateway about the tasks that the storm cannot tell by itself, keeps the dead letters, and
//! lets the ledger classify.

use std::collections::{HashMap, HashSet};

use squall_client::Http;
use squall_protocol::{DeadLetter, DeadLetterFilter, DeadReason, ErrorCode, TaskId, TaskState, Time};

use super::conductor::Conductor;
use crate::ledger::{Account, Fate, Label, Ledger, classify, open_tasks};

/// Tasks that are asked about one by one at most. More open tasks than that are a catastrophe, and need no more examples.
const MOST_QUESTIONS: usize = 20_000;
/// Dead letters that are looked at at most.
const MOST_DEAD_LETTERS: usize = 200_000;
/// Errors in a row after which the gateway counts as gone.
const MOST_FAILURES: usize = 20;
const PAGE: usize = 500;
/// The gateway's clock may be behind ours by so much, and its dead letters of this run are still found.
const CLOCKS_DIFFER_MS: u64 = 300_000;

/// What came of it.
pub(super) struct Accounted {
    pub(super) account: Account,
    /// The lanes were quiet, so that what is missing is really lost.
    pub(super) settled: bool,
    /// Dead letters by lane and priority name.
    pub(super) dead: HashMap<(String, &'static str), u64>,
}

/// `None` when the scenario has nothing to account for.
pub(super) async fn settle_accounts(conductor: &mut Conductor, settled: bool) -> Option<Accounted> {
    let books: Vec<_> = conductor
        .leaves
        .iter_mut()
        .map(|leaves| std::mem::replace(&mut leaves.book, crate::ledger::Book::new(0, 1)))
        .collect();
    if !conductor.accounts_for_tasks() {
        return None;
    }
    let ledger = Ledger::merge(books);
    if ledger.full {
        conductor
            .record
            .invalid
            .push("the storm's ledger was full: it could no longer account for its tasks".to_owned());
    }
    if ledger.foreign > 0 {
        let note =
            format!("{} deliveries were of somebody else's tasks, and were given back untouched", ledger.foreign);
        conductor.record.notes.push(note);
    }
    let open = open_tasks(&ledger);
    let own: HashMap<TaskId, u32> = open.iter().map(|(n, id)| (*id, *n)).collect();
    let mut http = Http::new(conductor.run.gateways.clone(), conductor.run.options.clone());
    let mut fates: HashMap<u32, Fate> = HashMap::with_capacity(open.len());
    let mut dead = HashMap::new();
    for letter in dead_letters(&mut http, conductor, &ledger).await {
        *dead.entry((letter.lane.clone(), letter.priority.as_str())).or_default() += 1;
        if let Some(n) = own.get(&letter.id) {
            fates.insert(*n, Fate::Dead(letter.reason));
        }
    }
    let mut failures = 0;
    let unasked = open.iter().filter(|(n, _)| !fates.contains_key(n)).copied().collect::<Vec<_>>();
    for (n, id) in unasked.iter().take(MOST_QUESTIONS) {
        if failures >= MOST_FAILURES {
            break;
        }
        match fate(&mut http, *id).await {
            Some(fate) => {
                fates.insert(*n, fate);
                failures = 0;
            }
            None => failures += 1,
        }
    }
    if unasked.len() > MOST_QUESTIONS {
        let left = unasked.len() - MOST_QUESTIONS;
        conductor.record.notes.push(format!("{left} open tasks were not asked about; they count as pending"));
    }
    let account = classify(&ledger, |n| fates.get(&n).copied().unwrap_or(Fate::Unasked));
    Some(Accounted { account, settled, dead })
}

/// What the gateway says of a task; `None` when it does not answer.
async fn fate(http: &mut Http, id: TaskId) -> Option<Fate> {
    match http.task(id).await {
        Ok(view) => Some(match view.state {
            TaskState::Ready | TaskState::Delayed | TaskState::Leased => Fate::Pending,
            TaskState::Done => Fate::Done,
            TaskState::Cancelled => Fate::Cancelled,
            // It became one after the list was read; the reason is with the letter.
            TaskState::Dead => {
                let letter = http.dead_letter(id).await;
                Fate::Dead(letter.map_or(DeadReason::RetriesExhausted, |letter| letter.reason))
            }
        }),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Some(Fate::NotFound),
        Err(error) => {
            tracing::debug!(%error, %id, "no word about a task");
            None
        }
    }
}

/// All dead letters of this run, without payloads; they are kept in the run directory, as far as there is room.
async fn dead_letters(http: &mut Http, conductor: &mut Conductor, ledger: &Ledger) -> Vec<DeadLetter> {
    let own_gateway = conductor.run.own;
    // On somebody else's gateway there are letters of others, and of runs before this one.
    let published = if own_gateway { HashSet::new() } else { ledger.ids() };
    let since = (!own_gateway).then(|| Time(conductor.run.clock.wall_ms_at(0).saturating_sub(CLOCKS_DIFFER_MS)));
    let filter = DeadLetterFilter { since, ..DeadLetterFilter::default() };
    let (mut letters, mut seen, mut asked) = (Vec::new(), 0, 0);
    let mut cursor: Option<String> = None;
    loop {
        let page = match http.dead_letters(&filter, cursor.as_deref(), PAGE, false).await {
            Ok(page) => page,
            Err(error) => {
                conductor.record.notes.push(format!("the dead letters could not be read: {error}"));
                return letters;
            }
        };
        seen += page.items.len();
        for letter in page.items {
            let own = own_gateway || published.contains(&letter.id) || {
                // It may be of a publish that was never answered: then only its payload tells whose it is.
                asked += 1;
                asked <= MOST_QUESTIONS && is_own(http, letter.id, &conductor.run.id).await
            };
            if !own {
                continue;
            }
            if let Err(error) = conductor.dir.write_dead_letter(&letter.id.to_string(), &letter) {
                tracing::warn!(%error, "a dead letter could not be kept");
            }
            letters.push(letter);
        }
        match page.next {
            Some(next) if seen < MOST_DEAD_LETTERS => cursor = Some(next),
            _ => break,
        }
    }
    if asked > MOST_QUESTIONS {
        let left = asked - MOST_QUESTIONS;
        conductor.record.notes.push(format!("{left} dead letters were not asked whose they are; they do not count"));
    }
    letters
}

/// Whether a dead letter's payload carries this run's mark.
async fn is_own(http: &mut Http, id: TaskId, run: &str) -> bool {
    let letter = http.dead_letter(id).await;
    let payload = letter.ok().and_then(|letter| letter.payload);
    payload.is_some_and(|payload| Label::read(payload.get()).is_some_and(|label| label.run == run))
}
