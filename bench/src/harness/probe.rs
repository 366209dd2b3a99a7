//! What the disk can do just now: a bare loop of append and fdatasync. The state of a disk varies tenfold within
//! minutes, so a durable figure means something only beside its own probe.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Syncs per second of 272-byte appends to a file whose blocks are already there and zeroed, as a log segment's are.
pub fn fdatasync_per_s(dir: &Path, how_long: Duration) -> Result<f64> {
    let path = dir.join("probe");
    let file = File::create(&path)?;
    let size = 8_u64 << 20;
    file.write_all_at(&vec![0; usize::try_from(size)?], 0)?;
    file.sync_all()?;
    let record = [b'x'; 272];
    let (start, mut syncs) = (Instant::now(), 0_u32);
    while start.elapsed() < how_long {
        file.write_all_at(&record, u64::from(syncs) * 272 % (size - 272))?;
        file.sync_data()?;
        syncs += 1;
    }
    let rate = f64::from(syncs) / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
