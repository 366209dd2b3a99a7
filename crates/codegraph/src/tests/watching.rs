//! What the watcher sees is what has to be looked at.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::Tree;
use crate::{How, Seen, Watcher};

/// Follows the tree until the graph is what a fresh look at the tree gives.
fn follow(tree: &mut Tree, watcher: &mut Watcher, what: &str) {
    let begun = Instant::now();
    while tree.graph_as_changes() != tree.fresh() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} was not seen");
        match watcher.wait(Duration::from_millis(500)).unwrap() {
            Seen::Paths(paths) => _ = tree.run(How::Changed, Some(&paths), &AtomicBool::new(false)),
            Seen::Everything => _ = tree.run(How::Changed, None, &AtomicBool::new(false)),
            Seen::Nothing => {}
        }
    }
}

#[test]
fn files_and_folders_are_seen_to_come_change_move_and_go() {
    let mut tree = Tree::new(&[("src/a.rs", "fn a() {}"), (".gitignore", "out/"), ("out/x.rs", "fn x() {}")]);
    let mut watcher = Watcher::new(tree.analyzer.config()).unwrap();
    tree.analyze();
    tree.write("src/b.rs", "fn b() { a(); }");
    follow(&mut tree, &mut watcher, "a new file");
    tree.node("b");
    tree.write("src/a.rs", "fn a() {}\nfn a2() {}");
    follow(&mut tree, &mut watcher, "a changed file");
    tree.node("a2");
    fs::rename(tree.path("src/b.rs"), tree.path("src/c.rs")).unwrap();
    follow(&mut tree, &mut watcher, "a renamed file");
    assert_eq!(&*tree.node("b").path, "src/c.rs");
    tree.write("new/deep/d.py", "d = 1");
    follow(&mut tree, &mut watcher, "a new folder");
    tree.write("new/deep/e.py", "e = 1");
    follow(&mut tree, &mut watcher, "a file in a new folder");
    tree.node("e");
    fs::rename(tree.path("new"), tree.path("moved")).unwrap();
    follow(&mut tree, &mut watcher, "a moved folder");
    assert_eq!(&*tree.node("e").path, "moved/deep/e.py");
    fs::remove_dir_all(tree.path("moved")).unwrap();
    follow(&mut tree, &mut watcher, "a folder that is gone");
    tree.remove("src/c.rs");
    follow(&mut tree, &mut watcher, "a file that is gone");
    tree.write(".gitignore", "a.rs");
    follow(&mut tree, &mut watcher, "another .gitignore");
    tree.node("x");
    tree.write("out/x.rs", "fn y() {}");
    follow(&mut tree, &mut watcher, "a file that is no longer ignored");
    tree.node("y");
}

#[test]
fn what_is_ignored_wakes_nobody() {
    let tree = Tree::new(&[(".gitignore", "out/"), ("out/x.rs", "fn x() {}"), ("a.rs", "")]);
    let mut watcher = Watcher::new(tree.analyzer.config()).unwrap();
    tree.write("out/x.rs", "fn y() {}");
    tree.write("notes.txt", "no language");
    // The file that comes last is the first that is seen.
    tree.write("a.rs", "fn a() {}");
    assert_eq!(watcher.wait(Duration::from_secs(20)).unwrap(), Seen::Paths(vec![tree.path("a.rs")]));
    assert_eq!(watcher.wait(Duration::ZERO).unwrap(), Seen::Nothing);
}
