//! Puts the console where the gateway takes it from: what Vite built, or, where nobody has built it, a page that says how. So the
//! gateway builds without Node.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

const NOTICE: &str = "src/http/console/notice.html";

fn main() -> io::Result<()> {
    let dist = Path::new("../../web/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed={NOTICE}");
    let Some(out) = env::var_os("OUT_DIR") else { return Err(io::Error::other("cargo sets OUT_DIR")) };
    let console = PathBuf::from(out).join("console");
    if console.exists() {
        fs::remove_dir_all(&console)?;
    }
    fs::create_dir_all(&console)?;
    if dist.join("index.html").is_file() {
        copy(dist, &console)
    } else {
        fs::copy(NOTICE, console.join("index.html")).map(drop)
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
