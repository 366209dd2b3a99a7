//! `health.json` in the data directory: the last health, for whoever looks when the gateway does not answer any more.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use squall_protocol::Health;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::http::health;

/// Writes the file now, every `server.health_file_every_ms`, and once more when it is told to stop.
pub(crate) async fn keep(app: Arc<App>, stop: CancellationToken) {
    let every = Duration::from_millis(app.config.server.health_file_every_ms);
    loop {
        let last = stop.is_cancelled();
        let health = health::check(&app).await;
        let dir = app.config.server.data_dir.clone();
        let written = tokio::task::spawn_blocking(move || write(&dir, &health)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "health.json cannot be written");
        }
        if last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// Replaces the file as a whole: whoever reads it sees the old one or the new one, never half of one.
fn write(dir: &Path, health: &Health) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut text = serde_json::to_vec_pretty(health)?;
    text.push(b'\n');
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&text)?;
    file.as_file().sync_all()?;
    file.persist(dir.join("health.json"))?;
    Ok(())
}
