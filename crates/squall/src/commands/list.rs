//! `squall list`: the built-in storms.

use crate::exit::Exit;

/// Prints name and description of each.
pub(crate) fn list() -> Exit {
    for (name, description) in squall_load::scenario::list() {
        println!("{name:<8} {description}");
    }
    println!(
        "\nsquall run NAME starts one; squall run --explain NAME says what it does; a path of a TOML file is a scenario too."
    );
    Exit::OK
}
