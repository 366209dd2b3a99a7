//! A source tree that is made for a run: modules in folders, with structs, functions that call one another within a file and over files,
//! and imports. The same numbers give the same tree, so runs can be compared.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::scenario::Sources;

/// Files in one folder.
const IN_A_FOLDER: u32 = 10;

/// Makes the tree.
pub(super) fn make(root: &Path, sources: Sources) -> io::Result<()> {
    for number in 0..sources.files {
        let folder = root.join(folder(number));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("part_{number}.rs")), text(number, sources))?;
    }
    Ok(())
}

fn folder(number: u32) -> String {
    format!("group_{}", number / IN_A_FOLDER)
}

fn text(number: u32, sources: Sources) -> String {
    let other = (number + 1) % sources.files;
    let mut text = format!(
        "//! Part {number}.\n\nuse crate::{}::part_{other};\n\n/// What part {number} keeps.\npub struct Part{number} {{\n    count: u64,\n}}\n\n\
         impl Part{number} {{\n    pub fn step(&mut self) -> u64 {{\n        self.count += work_{number}_0(self.count);\n        self.count\n    }}\n}}\n",
        folder(other)
    );
    for function in 0..sources.functions {
        let next = (function + 1) % sources.functions;
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "\npub fn work_{number}_{function}(input: u64) -> u64 {{\n    if input % 2 == 0 {{\n        \
             return part_{other}::work_{other}_{next}(input / 2);\n    }}\n    work_{number}_{next}(input + 1)\n}}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_what_was_asked_for_and_always_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources { files: 23, functions: 3 };
        make(dir.path(), sources).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        assert_eq!(fs::read_dir(dir.path().join("group_2")).unwrap().count(), 3);
        let last = fs::read_to_string(dir.path().join("group_2/part_22.rs")).unwrap();
        assert_eq!(last, text(22, sources));
        assert!(last.contains("use crate::group_0::part_0;") && last.contains("part_0::work_0_1(input / 2)"), "{last}");
    }
}
