//! What every case needs and no case is about: servers as child processes, the disk probe, statistics, the table.

pub mod clock;
pub mod ledger;
pub mod probe;
pub mod process;
pub mod report;
pub mod stats;
