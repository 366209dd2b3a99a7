//! What is known survives a restart, and nothing wrong is taken for it.

use std::sync::atomic::AtomicBool;

use super::Tree;
use crate::{Analyzer, How, SnapshotError, Step};

#[test]
fn after_a_restart_only_what_changed_is_parsed_and_told() {
    let mut tree = Tree::new(&[
        ("a.rs", "use crate::b::B;\n/// x\npub fn a(b: &B) { b.go(); unknown(); }"),
        ("b.rs", "pub struct B { x: u8 }\nimpl B { pub fn go(&self) {} }\nmod b { fn go() {} fn go() {} }"),
        ("c.py", "class C:\n    def m(self): pass\n"),
        ("bad.c", "\0"),
    ]);
    tree.analyze();
    let before = tree.graph_as_changes();
    let snapshot = tree.path("snapshot");
    tree.analyzer.save(&snapshot).unwrap();

    let mut again = Analyzer::new(tree.analyzer.config().clone()).unwrap();
    again.load(&snapshot).unwrap();
    assert_eq!(again.graph().read().as_changes(), before);
    assert_eq!(again.graph().read().unresolved(), tree.analyzer.graph().read().unresolved());
    let mut steps = Vec::new();
    let analysis = again.analyze(How::Changed, None, &AtomicBool::new(false), &mut |step| steps.push(step)).unwrap();
    assert_eq!((analysis.parsed, analysis.files, analysis.skipped), (0, 3, 1));
    assert_eq!(
        steps,
        [Step::Started { files_total: 4 }],
        "they are too new to be known by their times, and have the same text"
    );

    tree.write("c.py", "class D: pass\n");
    let mut again = Analyzer::new(tree.analyzer.config().clone()).unwrap();
    again.load(&snapshot).unwrap();
    let mut changes = 0;
    let analysis = again.analyze(How::Changed, None, &AtomicBool::new(false), &mut |step| {
        if let Step::Changes(list) = step {
            changes += list.len();
        }
    });
    assert_eq!(analysis.unwrap().parsed, 1);
    // C and m with what contains them gone, D with what contains it there, the module one line shorter.
    assert_eq!(changes, 2 + 2 + 1 + 1 + 1);
    assert_eq!(again.graph().read().as_changes(), tree.fresh());
}

#[test]
fn a_damaged_snapshot_is_ignored_with_a_reason() {
    let mut tree = Tree::new(&[("a.rs", "fn a() {}")]);
    tree.analyze();
    let snapshot = tree.path("snapshot");
    tree.analyzer.save(&snapshot).unwrap();
    let whole = std::fs::read(&snapshot).unwrap();
    let why = |bytes: &[u8]| {
        std::fs::write(&snapshot, bytes).unwrap();
        let mut again = Analyzer::new(tree.analyzer.config().clone()).unwrap();
        let error = again.load(&snapshot).unwrap_err();
        assert_eq!(again.graph().read().node_count(), 0);
        let SnapshotError::Unusable { why, .. } = error else { panic!("{error}") };
        why
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        why(&flipped);
        why(&whole[..at]);
    }
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    assert_eq!(why(&flipped), "it is damaged: the checksum is another");
    assert_eq!(why(b"squallg0 and more of it"), "it is of another version");

    let other = Tree::new(&[]);
    std::fs::write(other.path("snapshot"), &whole).unwrap();
    let mut again = Analyzer::new(other.analyzer.config().clone()).unwrap();
    let error = again.load(&other.path("snapshot")).unwrap_err().to_string();
    assert!(error.contains("it is of the tree "), "{error}");
    let missing = again.load(&other.path("none")).unwrap_err();
    assert!(matches!(missing, SnapshotError::Io { .. }), "{missing}");
}
