//! Writes every rendering of some made-up runs into a directory, for looking at them while working on a rendering:
//! `cargo run -p squall-report --example gallery -- /tmp/gallery`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::{fs, path::PathBuf};

use squall_report::render;

fn main() -> std::io::Result<()> {
    let dir = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("squall-gallery"), PathBuf::from);
    fs::create_dir_all(&dir)?;
    for (name, run) in common::all() {
        fs::write(dir.join(format!("{name}.html")), render::html(run))?;
        fs::write(dir.join(format!("{name}.md")), render::markdown(run))?;
        fs::write(dir.join(format!("{name}.xml")), render::junit(run))?;
        fs::write(dir.join(format!("{name}.json")), render::json(run))?;
        fs::write(dir.join(format!("{name}.txt")), render::terminal(run, render::Colour::Off))?;
    }
    println!("{}", dir.display());
    Ok(())
}
