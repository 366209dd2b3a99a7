//! What is read and what is not, and what is told of it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Tree;
use crate::queries::{FileQuery, Window, files, stats};
use crate::{Change, Config, Ending, FileState, How, Step};

const ALL: Window = Window { offset: 0, limit: 500 };

/// Path and reason of each skipped file.
fn skipped(tree: &Tree) -> Vec<(String, String)> {
    let graph = tree.analyzer.graph();
    let listed = files(&graph.read(), &FileQuery { state: Some(FileState::Skipped), text: String::new() }, ALL);
    listed.items.into_iter().map(|file| (file.path.to_string(), file.why.unwrap())).collect()
}

fn analysed(tree: &Tree) -> Vec<String> {
    let graph = tree.analyzer.graph();
    let listed = files(&graph.read(), &FileQuery { state: Some(FileState::Analysed), text: String::new() }, ALL);
    listed.items.into_iter().map(|file| file.path.to_string()).collect()
}

#[test]
fn what_is_ignored_is_not_read_in_a_repository_or_not() {
    let files = [
        (".gitignore", "build/\n*.gen.rs\n!keep.gen.rs\n"),
        ("a.rs", "fn a() {}"),
        ("x.gen.rs", "fn x() {}"),
        ("keep.gen.rs", "fn keep() {}"),
        ("build/b.rs", "fn b() {}"),
        ("deep/.ignore", "c.py"),
        ("deep/c.py", "c = 1"),
        ("deep/d.py", "d = 1"),
        (".hidden/e.rs", "fn e() {}"),
        ("notes.txt", "no language"),
    ];
    let mut tree = Tree::new(&files);
    tree.analyze();
    assert_eq!(analysed(&tree), ["a.rs", "deep/d.py", "keep.gen.rs"]);

    // One path at a time it is the same.
    for (path, _) in files {
        tree.write(path, files.iter().find(|file| file.0 == path).unwrap().1);
        let path = tree.path(path);
        tree.run(How::Changed, Some(&[path]), &AtomicBool::new(false));
    }
    assert_eq!(analysed(&tree), ["a.rs", "deep/d.py", "keep.gen.rs"]);

    let mut tree = Tree::with(Config { exclude: vec!["deep/**".into()], ..Config::default() }, &files);
    tree.analyze();
    assert_eq!(analysed(&tree), ["a.rs", "keep.gen.rs"]);
}

#[test]
fn what_cannot_be_read_is_skipped_and_says_why() {
    let mut tree = Tree::with(
        Config { max_file_bytes: 100, ..Config::default() },
        &[
            ("large.rs", &"// long\n".repeat(20)),
            ("bad.rs", "}}}} ((( %% $$ ]]] {{{ ^^ !!"),
            ("binary.c", "int a;\0"),
            ("good.rs", "fn a() {}\nfn b( {}\nfn c() {}\nfn d() {}"),
        ],
    );
    std::fs::write(tree.path("latin.py"), b"name = '\xe9'").unwrap();
    let analysis = tree.analyze();
    assert_eq!((analysis.files, analysis.skipped), (1, 4));
    let skipped = skipped(&tree);
    let why: Vec<_> = skipped.iter().map(|(path, why)| format!("{path}: {}", why.split(',').next().unwrap())).collect();
    assert_eq!(
        why,
        [
            "bad.rs: does not parse: 1 places make no sense",
            "binary.c: binary",
            "large.rs: too large: 160 bytes",
            "latin.py: not UTF-8"
        ]
    );
    let graph = tree.analyzer.graph();
    let good = files(&graph.read(), &FileQuery { state: None, text: "good".into() }, ALL).items.remove(0);
    assert!(good.errors > 0, "a file with a mistake is read, and the mistake is counted");
    assert_eq!(tree.node("d").start_line, 4);

    // It is not read again while it stays so, and read when it is mended.
    tree.write("bad.rs", "fn good() {}");
    assert_eq!(tree.analyze().parsed, 1);
    tree.node("good");
}

#[test]
fn bounds_leave_files_out_and_take_them_in_when_there_is_room() {
    let files = [("a.rs", "fn a1() {} fn a2() {}"), ("b.rs", "fn b1() {}"), ("c.rs", "fn c1() {}")];
    let mut tree = Tree::with(Config { max_nodes: 5, ..Config::default() }, &files);
    tree.analyze();
    assert_eq!(skipped(&tree), [("c.rs".to_owned(), "its symbols would be more than 5 in all".to_owned())]);
    tree.remove("b.rs");
    tree.analyze();
    assert_eq!(skipped(&tree), []);

    let mut tree = Tree::with(Config { max_files: 2, ..Config::default() }, &files);
    tree.analyze();
    assert_eq!(skipped(&tree), [("c.rs".to_owned(), "beyond the first 2 files".to_owned())]);
}

#[test]
fn only_what_changed_is_parsed_and_told() {
    let mut tree = Tree::new(&[("a.rs", "fn a() { b(); }"), ("b.rs", "fn b() {}\nfn c() {}")]);
    assert_eq!(tree.analyze().parsed, 2);
    assert_eq!(tree.analyze().parsed, 0);
    // Written anew with the same text.
    tree.write("a.rs", "fn a() { b(); }");
    let (analysis, steps) = tree.run(How::Changed, None, &AtomicBool::new(false));
    assert_eq!((analysis.parsed, steps.iter().filter(|step| matches!(step, Step::Changes(_))).count()), (0, 0));

    let before = (tree.node("b").id, tree.node("c").id);
    tree.write("b.rs", "// a line more\nfn b() {}\nfn c() { if true {} }");
    let (analysis, steps) = tree.run(How::Changed, None, &AtomicBool::new(false));
    assert_eq!(analysis.parsed, 1);
    assert_eq!((tree.node("b").id, tree.node("c").id), before, "ids do not change when lines shift");
    assert_eq!((tree.node("b").start_line, tree.node("c").complexity), (2, Some(2)));
    let mut updated: Vec<_> = steps
        .iter()
        .flat_map(|step| if let Step::Changes(changes) = step { &changes[..] } else { &[] })
        .filter_map(|change| if let Change::NodeUpdated(node) = change { Some(node.name.to_string()) } else { None })
        .collect();
    updated.sort();
    assert_eq!(updated, ["b", "b", "c"], "the module ends elsewhere too");

    tree.remove("b.rs");
    tree.analyze();
    let graph = tree.analyzer.graph();
    let figures = stats(&graph.read());
    assert_eq!((figures.total_nodes, figures.total_relationships, figures.unresolved), (2, 1, 1));
}

#[test]
fn a_cancelled_analysis_leaves_what_it_told_and_the_next_one_goes_on() {
    let texts: Vec<_> =
        (0..200).map(|n| (format!("m{n:03}.rs"), format!("fn f{n}() {{ f{}(); }}", (n + 1) % 200))).collect();
    let files: Vec<_> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let mut tree = Tree::new(&files);
    tree.analyze();
    for how in [How::FromScratch, How::Changed] {
        for (path, text) in &files {
            tree.write(path, &format!("{text}\nfn more() {{}}\n// {how:?}\nfn {how:?}() {{}}"));
        }
        let cancel = AtomicBool::new(false);
        let mut told = Vec::new();
        let analysis = tree
            .analyzer
            .analyze(how, None, &cancel, &mut |step| {
                if matches!(step, Step::Changes(_)) {
                    cancel.store(true, Ordering::Relaxed);
                }
                told.push(step);
            })
            .unwrap();
        assert_eq!(analysis.status, Ending::Cancelled);
        assert!(analysis.parsed < 200, "it went on to the end");
        for step in told {
            match step {
                Step::Reset => tree.told = crate::Graph::default(),
                Step::Changes(changes) => {
                    changes.iter().for_each(|change| super::apply_strictly(&mut tree.told, change))
                }
                _ => {}
            }
        }
        assert_eq!(tree.told.as_changes(), tree.graph_as_changes());
        // Even if only one path is said to have changed.
        let path = tree.path("m000.rs");
        tree.run(How::Changed, Some(&[path]), &AtomicBool::new(false));
        assert_eq!(tree.graph_as_changes(), tree.fresh());
    }
}

#[test]
fn a_root_that_is_not_there_is_an_error() {
    let config = Config { root: "/nowhere/at/all".into(), ..Config::default() };
    let error = crate::Analyzer::new(config).err().unwrap().to_string();
    assert!(error.starts_with("the tree /nowhere/at/all cannot be read; is graph.root a folder?"), "{error}");
}
