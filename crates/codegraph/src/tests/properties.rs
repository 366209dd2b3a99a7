//! However a tree came to be what it is, its graph is that of the tree.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::Tree;
use crate::{Config, How};

/// Paths and texts are few, so that edits meet: names are defined twice, moved, imported before they are there.
const PATHS: &[&str] = &[
    "src/lib.rs",
    "src/a.rs",
    "src/b/mod.rs",
    "other/src/lib.rs",
    "web/one.ts",
    "web/two.js",
    "web/dir/index.ts",
    "web/View.vue",
    "py/one.py",
    "py/pkg/__init__.py",
    "py/pkg/two.py",
    "go/x/a.go",
    "go/x/b.go",
    "go/y/c.go",
    "java/p/One.java",
    "java/q/Two.java",
    "c/one.c",
    "c/one.h",
    "c/two.cc",
];

const RUST: &[&str] = &[
    "pub fn run() {}\npub struct Task;\nimpl Task { pub fn new() -> Self { run(); Task } fn go(&self) { self.stop(); } fn stop(&self) {} }",
    "use crate::a::Task;\nuse crate::b;\npub fn main() { let t = Task::new(); t.go(); b::helper(); }",
    "mod a;\nmod b;\npub fn helper() { run(); }\npub trait Work { fn go(&self); }\nimpl Work for Task { fn go(&self) {} }",
    "use other::Task as T;\nfn x(t: &T) { t.go(); t.unknown(); }\npub enum Kind { A, B(u8) }\nfn y() -> Kind { Kind::B(1) }",
    "use super::*;\n\nstruct Task { a: Kind }\nfn helper() { main(); run(); }",
    "",
    "fn broken( {{{",
];
const WEB: &[&str] = &[
    "import { helper, Task } from './two';\nimport * as d from './dir';\nexport function run() { helper(); d.run(); new Task().go(); }\n",
    "export class Task extends Base { go() { this.stop(); } stop() {} }\nexport const helper = () => run();\n",
    "import Base from './one.js';\nexport default class Base { go() { return 1; } }\n",
    "import View from './View.vue';\nimport { run } from './dir';\nrun(); go(View);\nfunction go(x) { x.stop(); }\n",
    "export * from './one';\nexport interface Base { a: Task }\nexport function run() {}\n",
];
const PYTHON: &[&str] = &[
    "from .two import helper\nfrom . import two\nimport pkg.two as t\n\ndef run():\n    helper()\n    two.helper()\n    t.helper()\n",
    "class Base:\n    def go(self):\n        self.stop()\n    def stop(self): pass\n\ndef helper(): run()\n",
    "from pkg.two import Base\nfrom pkg import *\n\nclass Task(Base):\n    def run(self):\n        self.go()\n        helper()\n",
];
const GO: &[&str] = &[
    "package x\n\ntype Task struct { inner Base }\nfunc (t *Task) Go() { t.inner.Stop(); Run() }\n",
    "package x\nimport \"z/y\"\n\nfunc Run() { y.Run(); t := Task{}; t.Go() }\ntype Base interface { Stop() }\n",
    "package y\n\nfunc Run() {}\nfunc (b *Base) Stop() {}\n",
];
const JAVA: &[&str] = &[
    "package p;\nimport q.Two;\npublic class One extends Base { Two two; void go() { two.run(); stop(); } }\n",
    "package q;\nimport p.*;\nclass Two implements Base { public void run() { new One().go(); } }\ninterface Base { void stop(); }\n",
];
const C: &[&str] = &[
    "#include \"one.h\"\nint run(void) { struct task t; return helper(&t); }\n",
    "struct task { int a; };\ntypedef struct task task_t;\nint helper(task_t *t);\n#define LIMIT 3\n",
    "#include \"one.h\"\nclass Base { public: void go(); };\nvoid Base::go() { helper(0); run(); }\nclass Task : public Base {};\n",
];

fn texts(path: &str) -> &'static [&'static str] {
    match path.split('/').next() {
        Some("web") => WEB,
        Some("py") => PYTHON,
        Some("go") => GO,
        Some("java") => JAVA,
        Some("c") => C,
        _ => RUST,
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Write(usize, usize),
    Shift(usize),
    Remove(usize),
    Ignore(usize),
    Analyze { tell_paths: bool },
    Cancelled,
    FromScratch,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let path = 0..PATHS.len();
    let edit = prop_oneof![
        8 => (path.clone(), 0..7_usize).prop_map(|(path, text)| Edit::Write(path, text)),
        2 => path.clone().prop_map(Edit::Shift),
        3 => path.clone().prop_map(Edit::Remove),
        1 => path.prop_map(Edit::Ignore),
        4 => any::<bool>().prop_map(|tell_paths| Edit::Analyze { tell_paths }),
        1 => Just(Edit::Cancelled),
        1 => Just(Edit::FromScratch),
    ];
    prop::collection::vec(edit, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_graph_that_followed_is_the_graph_of_the_tree(edits in edits()) {
        let mut tree = Tree::with(Config::default(), &[]);
        let never = AtomicBool::new(false);
        let mut touched = Vec::new();
        for edit in edits {
            match edit {
                Edit::Write(path, text) => {
                    let path = PATHS[path];
                    let texts = texts(path);
                    let text = texts[text % texts.len()];
                    let script = format!("<template><p/></template>\n<script lang=\"ts\">\n{text}</script>\n");
                    tree.write(path, if path.ends_with(".vue") { &script } else { text });
                    touched.push(tree.path(path));
                }
                Edit::Shift(path) => {
                    if let Ok(text) = std::fs::read_to_string(tree.path(PATHS[path])) {
                        tree.write(PATHS[path], &format!("\n{text}"));
                        touched.push(tree.path(PATHS[path]));
                    }
                }
                Edit::Remove(path) => {
                    if std::fs::remove_file(tree.path(PATHS[path])).is_ok() {
                        touched.push(tree.path(PATHS[path]));
                    }
                }
                Edit::Ignore(path) => {
                    tree.write(".gitignore", PATHS[path]);
                    // Whoever watches says "everything" here.
                    tree.run(How::Changed, None, &never);
                    touched.clear();
                }
                Edit::Analyze { tell_paths } => {
                    let paths = std::mem::take(&mut touched);
                    tree.run(How::Changed, tell_paths.then_some(&paths[..]), &never);
                    prop_assert_eq!(tree.graph_as_changes(), tree.fresh());
                }
                Edit::Cancelled => {
                    let cancel = AtomicBool::new(false);
                    let mut told = Vec::new();
                    tree.analyzer.analyze(How::Changed, None, &cancel, &mut |step| {
                        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
                        told.push(step);
                    }).unwrap();
                    for step in told {
                        if let crate::Step::Changes(changes) = step {
                            changes.iter().for_each(|change| super::apply_strictly(&mut tree.told, change));
                        }
                    }
                    prop_assert_eq!(tree.told.as_changes(), tree.graph_as_changes());
                }
                Edit::FromScratch => {
                    tree.run(How::FromScratch, None, &never);
                    touched.clear();
                    prop_assert_eq!(tree.graph_as_changes(), tree.fresh());
                }
            }
        }
        tree.analyze();
        prop_assert_eq!(tree.graph_as_changes(), tree.fresh());
    }
}
