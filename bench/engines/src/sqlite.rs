//! A queue with a feed in SQLite, as well as it can be done with one writer: the change and its event in one transaction.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use rusqlite::{Connection, params};
use std::sync::Mutex;
use tokio::sync::oneshot;

use super::{Engine, payload};

const SCHEMA: &str = "
    CREATE TABLE tasks (
        seq INTEGER PRIMARY KEY, id BLOB NOT NULL, lane INTEGER NOT NULL, priority INTEGER NOT NULL, state INTEGER NOT NULL,
        attempts INTEGER NOT NULL, due_at INTEGER NOT NULL, lease_until INTEGER, receipt INTEGER, payload TEXT NOT NULL);
    CREATE INDEX ready ON tasks (lane, priority, seq) WHERE state = 0;
    CREATE TABLE feed (offset INTEGER PRIMARY KEY, time INTEGER NOT NULL, topic INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE idempotency (tenant INTEGER NOT NULL, key TEXT NOT NULL, id BLOB NOT NULL, until INTEGER NOT NULL,
        PRIMARY KEY (tenant, key)) WITHOUT ROWID;";

enum Command {
    Publish {
        payloads: Vec<Box<str>>,
        keyed: bool,
        reply: oneshot::Sender<()>,
    },
    /// Leases up to `credit` tasks, and acknowledges those leased before.
    Turn {
        acks: Vec<i64>,
        credit: usize,
        reply: oneshot::Sender<Vec<i64>>,
    },
}

pub struct Sqlite {
    commands: Mutex<Option<Sender<Command>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a database");
    connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
    connection.pragma_update(None, "synchronous", "FULL").expect("FULL");
    connection.pragma_update(None, "cache_size", -64_000).expect("64 MB of cache");
    connection
}

impl Sqlite {
    pub fn open(path: &Path) -> Self {
        let writer = connect(path);
        writer.execute_batch(SCHEMA).expect("tables");
        // Checkpoints sync as well; a thread beside the writer does them.
        writer.pragma_update(None, "wal_autocheckpoint", 0).expect("no checkpoints here");
        let (commands, waiting) = channel();
        let (stop, stopped) = channel::<()>();
        let beside = connect(path);
        let checkpoints = std::thread::spawn(move || {
            while stopped
                .recv_timeout(Duration::from_millis(200))
                .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let _ = beside.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            }
        });
        let committer = std::thread::spawn(move || {
            run(writer, &waiting);
            drop(stop);
        });
        Self { commands: Mutex::new(Some(commands)), threads: Mutex::new(vec![committer, checkpoints]) }
    }

    fn send(&self, command: Command) {
        let commands = self.commands.lock().expect("no panic");
        commands.as_ref().expect("open").send(command).expect("the writer runs");
    }
}

impl Engine for Sqlite {
    fn publish(&self, count: usize, keyed: bool) -> BoxFuture<'static, ()> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Publish { payloads: (0..count).map(|_| payload()).collect(), keyed, reply });
        answer.map(|answer| answer.expect("committed")).boxed()
    }

    fn consume(&self, count: u64) -> BoxFuture<'_, ()> {
        async move {
            let mut left = count;
            let mut acks = Vec::new();
            while left > 0 || !acks.is_empty() {
                let (reply, answer) = oneshot::channel();
                self.send(Command::Turn { acks: std::mem::take(&mut acks), credit: left.min(1_000) as usize, reply });
                acks = answer.await.expect("committed");
                left -= acks.len() as u64;
            }
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.commands.lock().expect("no panic").take();
        for thread in self.threads.lock().expect("no panic").drain(..) {
            thread.join().expect("no panic");
        }
        async {}.boxed()
    }
}

fn run(connection: Connection, waiting: &Receiver<Command>) {
    let mut offset = 0_i64;
    let mut serial = 0_u64;
    while let Ok(first) = waiting.recv() {
        let mut answers: Vec<Box<dyn FnOnce()>> = Vec::new();
        connection.execute_batch("BEGIN IMMEDIATE").expect("begin");
        {
            let mut task = connection
                .prepare_cached("INSERT INTO tasks (id, lane, priority, state, attempts, due_at, payload) VALUES (?1, 0, 1, 0, 0, ?2, ?3)")
                .expect("a statement");
            let mut event = connection
                .prepare_cached("INSERT INTO feed (offset, time, topic, data) VALUES (?1, ?2, 1, ?3)")
                .expect("a statement");
            let mut key = connection
                .prepare_cached("INSERT INTO idempotency (tenant, key, id, until) VALUES (0, ?1, ?2, ?3)")
                .expect("a statement");
            let mut ready = connection
                .prepare_cached("SELECT seq FROM tasks WHERE state = 0 AND lane = 0 ORDER BY priority, seq LIMIT ?1")
                .expect("a statement");
            let mut lease = connection
                .prepare_cached("UPDATE tasks SET state = 1, attempts = attempts + 1, lease_until = ?2, receipt = ?3 WHERE seq = ?1 RETURNING id, payload")
                .expect("a statement");
            let mut done = connection.prepare_cached("DELETE FROM tasks WHERE seq = ?1").expect("a statement");
            let now = squall_store::now().0 as i64;
            // What the feed needs of a change; the log's records hold about as much.
            let data = [7_u8; 48];
            let mut carry = |command: Command| match command {
                Command::Publish { payloads, keyed, reply } => {
                    for payload in payloads {
                        let id = uuid::Uuid::new_v4();
                        task.execute(params![id.as_bytes(), now, payload]).expect("a task");
                        offset += 1;
                        event.execute(params![offset, now, data]).expect("an event");
                        if keyed {
                            serial += 1;
                            key.execute(params![serial.to_string(), id.as_bytes(), now + 86_400_000]).expect("a key");
                        }
                    }
                    answers.push(Box::new(move || {
                        let _ = reply.send(());
                    }));
                }
                Command::Turn { acks, credit, reply } => {
                    for seq in acks {
                        done.execute([seq]).expect("an ack");
                        offset += 1;
                        event.execute(params![offset, now, data]).expect("an event");
                    }
                    let got: Vec<i64> = ready
                        .query_map([credit as i64], |row| row.get(0))
                        .expect("tasks")
                        .map(|seq| seq.expect("a task"))
                        .collect();
                    for &seq in &got {
                        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?));
                        lease.query_row(params![seq, now + 30_000, seq], read).expect("a lease");
                        offset += 1;
                        event.execute(params![offset, now, data]).expect("an event");
                    }
                    answers.push(Box::new(move || drop(reply.send(got))));
                }
            };
            carry(first);
            while let Ok(command) = waiting.try_recv() {
                carry(command);
            }
        }
        connection.execute_batch("COMMIT").expect("commit");
        for answer in answers {
            answer();
        }
    }
}
