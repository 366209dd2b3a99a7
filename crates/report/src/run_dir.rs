//! The run directory: `runs/<time>-<scenario>/`, written as the run goes, so that a run that was killed leaves what it had.
//!
//! | file | written |
//! |---|---|
//! | `run.json` | at the beginning (unfinished) and at the end, each time replaced as a whole |
//! | `series.jsonl` | one line per second, in one write each |
//! | `sessions/*.json`, `dead-letters/*.json` | one file each, at most [`MAX_FILES`] of a kind |
//! | `target.log` | by the storm, from the target's output |
//! | `summary.md`, `report.html`, `junit.xml` | at the end |

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::{
    Error, RunRecord, SecondSample, Verdict,
    rebuild::rebuild,
    record::{Ended, SCHEMA},
    render,
};

/// Most files in `sessions/`, and in `dead-letters/`. What comes after is counted, and the record says so.
pub const MAX_FILES: u64 = 10_000;

/// A run directory that is being written.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    series: File,
    sessions: Shelf,
    dead_letters: Shelf,
}

/// One kind of small files.
#[derive(Debug)]
struct Shelf {
    name: &'static str,
    written: u64,
    omitted: u64,
}

/// A run directory that was read again.
#[derive(Clone, Debug)]
pub struct OpenedRun {
    /// Where it is.
    pub path: PathBuf,
    /// What `run.json` says.
    pub record: RunRecord,
    /// Every complete line of `series.jsonl`.
    pub series: Vec<SecondSample>,
    /// What could not be read, in sentences; empty for a run that ended well.
    pub problems: Vec<String>,
}

impl RunDir {
    /// Makes `runs_dir/<time>-<scenario>` and what belongs into it. Two runs in the same second get different names.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn create(runs_dir: &Path, scenario: &str, now: Timestamp) -> Result<Self, Error> {
        fs::create_dir_all(runs_dir).map_err(io_error("create", runs_dir))?;
        let stem = format!("{}-{}", now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ"), file_stem(scenario));
        let mut path = runs_dir.join(&stem);
        for number in 2.. {
            match fs::create_dir(&path) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = runs_dir.join(format!("{stem}-{number}"))
                }
                Err(error) => return Err(io_error("create", &path)(error)),
            }
        }
        let series = path.join("series.jsonl");
        let series = OpenOptions::new().create(true).append(true).open(&series).map_err(io_error("create", &series))?;
        let mut dir = Self { path, series, sessions: Shelf::new("sessions"), dead_letters: Shelf::new("dead-letters") };
        for shelf in [&mut dir.sessions, &mut dir.dead_letters] {
            let path = dir.path.join(shelf.name);
            fs::create_dir(&path).map_err(io_error("create", &path))?;
        }
        Ok(dir)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, which is the run's id.
    #[must_use]
    pub fn id(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where the target's output goes; of several gateways, that of the one with this number.
    #[must_use]
    pub fn target_log_path(&self, number: Option<u32>) -> PathBuf {
        let name = number.map_or_else(|| "target.log".to_owned(), |number| format!("target-{number}.log"));
        self.path.join(name)
    }

    /// Where the output of a program of the scenario goes. `name` is letters, digits and a few signs.
    #[must_use]
    pub fn process_log_path(&self, name: &str) -> PathBuf {
        self.path.join(format!("process-{name}.log"))
    }

    /// Writes `run.json` of a run that begins: without an end and without a verdict, whatever the record says.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn begin(&self, record: &RunRecord) -> Result<(), Error> {
        let unfinished =
            RunRecord { id: self.id(), ended: Ended::Unfinished, finished_at: None, verdict: None, ..record.clone() };
        self.write_record(&unfinished)
    }

    /// Adds one second to `series.jsonl`. The line is with the system when this returns.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn append_second(&mut self, sample: &SecondSample) -> Result<(), Error> {
        let mut line = serde_json::to_vec(sample).map_err(|error| self.format_error("series.jsonl", &error))?;
        line.push(b'\n');
        self.series.write_all(&line).map_err(io_error("write", &self.path.join("series.jsonl")))
    }

    /// Writes the report of one session to `sessions/<id>.json`; false when there are [`MAX_FILES`] already.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_session<T: Serialize>(&mut self, id: &str, value: &T) -> Result<bool, Error> {
        self.sessions.write(&self.path, id, value)
    }

    /// Writes one dead letter to `dead-letters/<id>.json`; false when there are [`MAX_FILES`] already.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_dead_letter<T: Serialize>(&mut self, id: &str, value: &T) -> Result<bool, Error> {
        self.dead_letters.write(&self.path, id, value)
    }

    /// Ends the run: fills in id and verdict, notes what was left out, writes `run.json` and all renderings.
    ///
    /// # Errors
    /// When the file system refuses. `run.json` is written first, so that a full disk costs the renderings, which can be
    /// made again, and not the record.
    pub fn finish(&mut self, record: &mut RunRecord) -> Result<Verdict, Error> {
        record.id = self.id();
        for shelf in [&self.sessions, &self.dead_letters] {
            if shelf.omitted > 0 {
                record.notes.push(format!(
                    "{}/ holds {} files; {} more were left out",
                    shelf.name, shelf.written, shelf.omitted
                ));
            }
        }
        let verdict = Verdict::of(record);
        record.verdict = Some(verdict);
        self.write_record(record)?;
        OpenedRun::open(&self.path)?.write_renderings()?;
        Ok(verdict)
    }

    fn write_record(&self, record: &RunRecord) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(record).map_err(|error| self.format_error("run.json", &error))?;
        replace(&self.path.join("run.json"), &json)
    }

    fn format_error(&self, file: &str, error: &serde_json::Error) -> Error {
        Error::Format { path: self.path.join(file), message: error.to_string() }
    }
}

impl Shelf {
    const fn new(name: &'static str) -> Self {
        Self { name, written: 0, omitted: 0 }
    }

    fn write<T: Serialize>(&mut self, run: &Path, id: &str, value: &T) -> Result<bool, Error> {
        if self.written >= MAX_FILES {
            self.omitted += 1;
            return Ok(false);
        }
        let path = run.join(self.name).join(format!("{}.json", file_stem(id)));
        let json = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::Format { path: path.clone(), message: error.to_string() })?;
        fs::write(&path, json).map_err(io_error("write", &path))?;
        self.written += 1;
        Ok(true)
    }
}

impl OpenedRun {
    /// Reads a run directory, or the directory of a `run.json` that is named itself. A run that was killed is read as far as
    /// it got: the record says that it has no end, its totals are made again from the seconds, and a torn last line of the series becomes a problem, not an error.
    ///
    /// # Errors
    /// When there is no `run.json`, or it cannot be read, or a later Squall wrote it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = if path.file_name().is_some_and(|name| name == "run.json") {
            path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
        } else {
            path
        };
        let mut record = read_record(path)?;
        let mut problems = Vec::new();
        let series = read_series(&path.join("series.jsonl"), &mut problems)?;
        if record.ended == Ended::Unfinished {
            problems.push("run.json has no end: the run was killed, or is still going".into());
            rebuild(&mut record, &series);
        }
        Ok(Self { path: path.to_owned(), record, series, problems })
    }

    /// The verdict on what was read; that of a run without an end is [`Verdict::CouldNotRun`].
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::of(&self.record)
    }

    /// Makes `summary.md`, `report.html` and `junit.xml` (again).
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_renderings(&self) -> Result<(), Error> {
        for (name, content) in [
            ("summary.md", render::markdown(self)),
            ("junit.xml", render::junit(self)),
            ("report.html", render::html(self)),
        ] {
            replace(&self.path.join(name), content.as_bytes())?;
        }
        Ok(())
    }
}

fn read_record(dir: &Path) -> Result<RunRecord, Error> {
    let path = dir.join("run.json");
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NoRun { path: dir.to_owned() },
        _ => io_error("read", &path)(error),
    })?;
    let format = |error: serde_json::Error| Error::Format { path: path.clone(), message: error.to_string() };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(format)?;
    // Before the shape is looked at: a later shape would only give a confusing message.
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        None => Err(Error::Format { path, message: "it has no \"schema\"".into() }),
        Some(found) if found == 0 || found > u64::from(SCHEMA) => Err(Error::Schema { path, found, supported: SCHEMA }),
        Some(_) => serde_json::from_value(value).map_err(format),
    }
}

fn read_series(path: &Path, problems: &mut Vec<String>) -> Result<Vec<SecondSample>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            problems.push("there is no series.jsonl".into());
            return Ok(Vec::new());
        }
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let (mut reader, mut line, mut series, mut number) = (BufReader::new(file), Vec::new(), Vec::new(), 0);
    while reader.read_until(b'\n', &mut line).map_err(io_error("read", path))? > 0 {
        number += 1;
        match serde_json::from_slice(&line) {
            Ok(sample) => series.push(sample),
            Err(_) if line.last() != Some(&b'\n') => {
                problems.push(format!(
                    "the last line of series.jsonl ({number}) is torn: the run was killed while writing it"
                ));
            }
            Err(error) => problems.push(format!("series.jsonl:{number} cannot be read, and is left out: {error}")),
        }
        line.clear();
    }
    Ok(series)
}

/// Writes beside, syncs, renames: a reader sees the old file or the new one, also after a crash.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(io_error("write", path))
}

/// A file name from an id that somebody else chose: what is not harmless is written as `%hex`, and it is cut at 120 bytes.
fn file_stem(id: &str) -> String {
    let mut name = String::new();
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte as char),
            b'.' if !name.is_empty() => name.push('.'),
            _ => drop(write!(name, "%{byte:02X}")),
        }
        if name.len() >= 120 {
            break;
        }
    }
    if name.is_empty() { "unnamed".into() } else { name }
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn begun(runs: &Path) -> RunDir {
        let now = "2026-11-21T07:26:29Z".parse().unwrap();
        let mut dir = RunDir::create(runs, "demo", now).unwrap();
        dir.begin(&RunRecord { seed: 7, ..RunRecord::default() }).unwrap();
        for second in 1..=3 {
            let counters = [("tasks_published".to_owned(), second * 10)].into();
            dir.append_second(&SecondSample {
                t_ms: second * 1000,
                span_ms: 1000,
                counters,
                ..SecondSample::default()
            })
            .unwrap();
        }
        dir
    }

    #[test]
    fn a_run_that_ends_is_read_as_it_was_written() {
        let runs = tempfile::tempdir().unwrap();
        let mut dir = begun(runs.path());
        assert_eq!(dir.id(), "20261121T072629Z-demo");
        let mut record = RunRecord { seed: 7, ended: Ended::Completed, ..RunRecord::default() };
        assert_eq!(dir.finish(&mut record).unwrap(), Verdict::Passed);
        let opened = OpenedRun::open(dir.path()).unwrap();
        assert_eq!((opened.record, opened.series.len(), opened.problems), (record, 3, Vec::new()));
    }

    #[test]
    fn a_run_that_was_killed_leaves_what_it_had() {
        let runs = tempfile::tempdir().unwrap();
        let dir = begun(runs.path());
        let series = dir.path().join("series.jsonl");
        let length = fs::metadata(&series).unwrap().len();
        OpenOptions::new().write(true).open(&series).unwrap().set_len(length - 5).unwrap();

        let opened = OpenedRun::open(dir.path()).unwrap();
        assert_eq!((opened.record.seed, opened.record.ended.clone(), opened.series.len()), (7, Ended::Unfinished, 2));
        assert_eq!(opened.record.duration.load_ms, 2_000, "the seconds that it had");
        assert_eq!(opened.verdict(), Verdict::CouldNotRun);
        assert_eq!(
            opened.problems,
            [
                "the last line of series.jsonl (3) is torn: the run was killed while writing it",
                "run.json has no end: the run was killed, or is still going",
            ]
        );
    }

    #[test]
    fn what_is_no_run_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let message = |content: Option<&str>| {
            if let Some(content) = content {
                fs::write(dir.path().join("run.json"), content).unwrap();
            }
            let message = OpenedRun::open(dir.path()).unwrap_err().to_string();
            message.replace(dir.path().to_str().unwrap(), "DIR")
        };
        for (content, expected) in [
            (None, "DIR is not a run directory: it has no run.json"),
            (Some("{"), "cannot read DIR/run.json: EOF while parsing an object at line 1 column 1"),
            (Some("{}"), "cannot read DIR/run.json: it has no \"schema\""),
            (Some(r#"{"schema":2}"#), "DIR/run.json has schema 2; this Squall reads up to 1"),
        ] {
            assert_eq!(message(content), expected);
        }
    }

    #[test]
    fn two_runs_in_one_second_do_not_mix() {
        let runs = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..3).map(|_| begun(runs.path()).id()).collect();
        assert_eq!(names, ["20261121T072629Z-demo", "20261121T072629Z-demo-2", "20261121T072629Z-demo-3"]);
    }

    #[test]
    fn an_id_is_never_a_path() {
        let runs = tempfile::tempdir().unwrap();
        let mut dir = begun(runs.path());
        for (id, name) in [
            ("a-1", "a-1.json"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.json"),
            ("", "unnamed.json"),
            ("ö", "%C3%B6.json"),
        ] {
            assert!(dir.write_session(id, &json!({"id": id})).unwrap());
            assert!(dir.path().join("sessions").join(name).is_file(), "{name}");
        }
        assert!(dir.write_dead_letter(&"x".repeat(5_000), &json!({})).unwrap());
    }

    #[test]
    fn files_have_a_bound_and_the_record_says_so() {
        let runs = tempfile::tempdir().unwrap();
        let mut dir = begun(runs.path());
        dir.sessions.written = MAX_FILES - 1;
        assert!(dir.write_session("last", &json!({})).unwrap());
        assert!(!dir.write_session("too many", &json!({})).unwrap());
        let mut record = RunRecord::default();
        dir.finish(&mut record).unwrap();
        assert_eq!(record.notes, ["sessions/ holds 10000 files; 1 more were left out"]);
    }
}
