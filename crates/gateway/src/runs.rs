//! The runs of storms that lie in a directory, as `squall run` leaves them. What a record says is the storm's business; here it is found,
//! and handed on as it is.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use squall_protocol::{RunView, Time};
use tokio::fs;

/// A larger file is none that a storm wrote.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// What a list says of a run, out of its `run.json`.
#[derive(Deserialize)]
struct Record {
    id: String,
    scenario: Scenario,
    verdict: Option<String>,
    started_at: Time,
    finished_at: Option<Time>,
}

#[derive(Deserialize)]
struct Scenario {
    name: String,
}

/// The directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs<'a>(pub(crate) &'a Path);

impl Runs<'_> {
    /// Runs whose id is before `before`, newest first, at most `limit`; without their records. A directory that is not there has none, and
    /// what is no run is left out. Ids begin with the time, so their order is that of the runs.
    pub(crate) async fn list(
        self,
        scenario: Option<&str>,
        before: Option<&str>,
        limit: usize,
    ) -> io::Result<Vec<RunView>> {
        let mut names = match fs::read_dir(self.0).await {
            Ok(mut entries) => {
                let mut names = Vec::new();
                while let Some(entry) = entries.next_entry().await? {
                    names.extend(entry.file_name().into_string().ok());
                }
                names
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        names.retain(|name| before.is_none_or(|before| name.as_str() < before));
        names.sort_unstable_by(|a, b| b.cmp(a));
        let mut runs = Vec::new();
        for name in names {
            let Ok(Some((run, _))) = self.read(&name).await else { continue };
            if scenario.is_none_or(|scenario| run.scenario == scenario) {
                runs.push(run);
            }
            if runs.len() == limit {
                break;
            }
        }
        Ok(runs)
    }

    /// One run with its record.
    ///
    /// # Errors
    /// When it cannot be read, or is no run.
    pub(crate) async fn get(self, id: &str) -> io::Result<Option<RunView>> {
        let found = self.read(id).await?;
        Ok(found.map(|(run, text)| RunView { record: RawValue::from_string(text).ok(), ..run }))
    }

    /// One run without its record, and that as text.
    async fn read(self, id: &str) -> io::Result<Option<(RunView, String)>> {
        let Some(text) = self.file(id, "run.json").await? else { return Ok(None) };
        let record: Record = serde_json::from_str(&text).map_err(io::Error::other)?;
        let run = RunView {
            id: record.id,
            scenario: record.scenario.name,
            verdict: record.verdict,
            started_at: record.started_at,
            finished_at: record.finished_at,
            record: None,
        };
        Ok((run.id == id).then_some((run, text)))
    }

    /// The complete lines of its `series.jsonl`, one for each second.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn series(self, id: &str) -> io::Result<Option<Vec<Box<RawValue>>>> {
        let Some(text) = self.file(id, "series.jsonl").await? else { return Ok(None) };
        // The last line of a run that was killed may be torn.
        Ok(Some(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()))
    }

    /// Its `report.html`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn report(self, id: &str) -> io::Result<Option<String>> {
        self.file(id, "report.html").await
    }

    async fn file(self, id: &str, name: &str) -> io::Result<Option<String>> {
        let Some(path) = self.path(id, name) else { return Ok(None) };
        match fs::metadata(&path).await {
            Ok(found) if found.len() > MAX_FILE_BYTES => {
                Err(io::Error::other(format!("{} is too large", path.display())))
            }
            Ok(_) => fs::read_to_string(&path).await.map(Some),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where a file of a run would be; none for an id that is no name of a directory.
    fn path(self, id: &str, name: &str) -> Option<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_name = !id.is_empty() && !id.starts_with('.') && id.bytes().all(plain);
        is_name.then(|| self.0.join(id).join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_are_found_newest_first_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs(dir.path());
        let put = |id: &str, file: &str, text: &str| {
            std::fs::create_dir_all(dir.path().join(id)).unwrap();
            std::fs::write(dir.path().join(id).join(file), text).unwrap();
        };
        let record = |id: &str, scenario: &str| {
            format!(
                r#"{{"id":"{id}","scenario":{{"name":"{scenario}"}},"started_at":"2026-11-26T11:49:41.078417323Z","more":1}}"#
            )
        };
        for (id, scenario) in [("20261126T1-a", "a"), ("20261126T2-b", "b"), ("20261126T3-a", "a")] {
            put(id, "run.json", &record(id, scenario));
        }
        put("20261126T4-a", "run.json", "{ torn");
        put("20261126T5-a", "run.json", &record("another", "a"));
        put("20261126T1-a", "series.jsonl", "{\"t_ms\":1000}\n{\"t_ms\":2000}\n{\"t_m");
        let ids = |runs: Vec<RunView>| runs.into_iter().map(|run| run.id).collect::<Vec<_>>();
        assert_eq!(ids(runs.list(None, None, 10).await.unwrap()), ["20261126T3-a", "20261126T2-b", "20261126T1-a"]);
        assert_eq!(ids(runs.list(Some("a"), Some("20261126T3-a"), 10).await.unwrap()), ["20261126T1-a"]);
        assert_eq!(ids(runs.list(None, None, 1).await.unwrap()), ["20261126T3-a"]);
        let run = runs.get("20261126T2-b").await.unwrap().unwrap();
        assert_eq!(run.record.unwrap().get(), record("20261126T2-b", "b"));
        assert_eq!(runs.series("20261126T1-a").await.unwrap().unwrap().len(), 2);
        for id in ["nothing", "..", "20261126T1-a/../20261126T2-b", "", "."] {
            assert!(runs.get(id).await.unwrap().is_none(), "{id}");
        }
        assert!(Runs(Path::new("/nowhere")).list(None, None, 10).await.unwrap().is_empty());
    }
}
