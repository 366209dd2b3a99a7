//! A PostgreSQL of one's own, with what only tests ask of it: SQL, and TLS.

use std::fs::Permissions;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::certificate;

/// One PostgreSQL with a superuser `squall` that needs no password; it ends with this value.
#[derive(Debug)]
pub struct Postgres(squall_services::Postgres);

impl Postgres {
    /// Makes a cluster and starts it; with `fsync` what was committed survives power loss, as outside of tests.
    ///
    /// # Panics
    /// When there is no PostgreSQL, or it does not come up.
    #[must_use]
    pub fn start(fsync: bool) -> Self {
        Self(squall_services::Postgres::start(fsync).expect("a PostgreSQL"))
    }

    /// From now on it speaks TLS too, with a certificate for 127.0.0.1; answers the file of the authority that signed it.
    ///
    /// # Panics
    /// When there is no `openssl`, or PostgreSQL does not want to.
    #[must_use]
    pub fn speak_tls(&self) -> PathBuf {
        let dir = self.data_dir();
        certificate::make(&dir);
        // It wants to be the only one who can read its key.
        let owner = std::fs::metadata(&dir).expect("its directory");
        for (made, wanted) in [("server.pem", "server.crt"), ("server.key", "server.key")] {
            let wanted = dir.join(wanted);
            std::fs::rename(dir.join(made), &wanted).expect("renamed");
            std::fs::set_permissions(&wanted, Permissions::from_mode(0o600)).expect("its own");
            chown(&wanted, Some(owner.uid()), Some(owner.gid())).expect("its own");
        }
        self.sql("ALTER SYSTEM SET ssl = on");
        self.sql("SELECT pg_reload_conf()");
        dir.join("ca.pem")
    }

    /// Runs SQL with `psql`, and answers what it printed: a line for each row, columns with `|` between them.
    ///
    /// # Panics
    /// When it is refused.
    pub fn sql(&self, text: &str) -> String {
        let mut psql = Command::new(squall_services::Postgres::program("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--command"]);
        let ran = psql.arg(text).arg(self.url()).output().expect("psql is installed");
        assert!(ran.status.success(), "{text}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
    }

    /// Starts it again where it was, with what it had written.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.0.restart().expect("the same PostgreSQL again");
    }
}

impl Deref for Postgres {
    type Target = squall_services::Postgres;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Postgres {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
