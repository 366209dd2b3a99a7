//! Reads a tree and says how long that took: `cargo run --release -p squall-codegraph --example analyze -- <dir>`.
//!
//! With `--parse-only` the same files are only parsed, by the same number of threads: that is the limit. With `--threads N` by
//! so many. Without `--parse-only` one file of the tree is touched (a line is added at its end, and taken away again) to
//! measure the analysis of one change, unless `--read-only` is given; and a snapshot is written and read.

#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use squall_codegraph::queries::{Category, Window, categories, stats};
use squall_codegraph::{Analyzer, Config, FileState, How, Step};

fn main() -> Result<(), Box<dyn Error>> {
    let mut root = None;
    let (mut parse_only, mut read_only, mut threads) = (false, false, 0);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--parse-only" => parse_only = true,
            "--read-only" => read_only = true,
            "--threads" => threads = words.next().ok_or("--threads of how many?")?.parse()?,
            _ => root = Some(PathBuf::from(word)),
        }
    }
    let config = Config { root: root.ok_or("which folder?")?, threads, ..Config::default() };
    let never = AtomicBool::new(false);
    let mut analyzer = Analyzer::new(config.clone())?;
    let mut changes = 0;
    let mut count = |step: Step| {
        if let Step::Changes(list) = step {
            changes += list.len();
        }
    };
    let analysis = analyzer.analyze(How::Changed, None, &never, &mut count)?;
    let graph = analyzer.graph();
    if parse_only {
        let paths: Vec<String> = {
            let graph = graph.read();
            graph.files().filter(|file| file.state == FileState::Analysed).map(|file| file.path.to_string()).collect()
        };
        return parse(&config, analyzer.root(), &paths);
    }
    let seconds = analysis.duration.as_secs_f64();
    let megabytes = analysis.parsed_bytes as f64 / 1e6;
    println!(
        "cold: {} files, {megabytes:.1} MB in {seconds:.3} s: {:.0} files/s, {:.1} MB/s; {} skipped; {changes} changes",
        analysis.parsed,
        analysis.parsed as f64 / seconds,
        megabytes / seconds,
        analysis.skipped
    );
    {
        let graph = graph.read();
        let figures = stats(&graph);
        println!("nodes: {} {:?}", figures.total_nodes, figures.node_kinds);
        println!("relationships: {} {:?}", figures.total_relationships, figures.relationship_kinds);
        let linked = figures.total_relationships
            - figures.relationship_kinds.get(&squall_codegraph::RelationshipKind::Contains).copied().unwrap_or(0);
        let share = figures.unresolved as f64 * 100.0 / (figures.unresolved as f64 + linked as f64).max(1.0);
        println!("unresolved: {} ({share:.1} %); complexity {:?}", figures.unresolved, figures.complexity);
        let begun = Instant::now();
        for _ in 0..1_000 {
            std::hint::black_box(categories(&graph, Category::Hubs, Window { offset: 0, limit: 50 }));
        }
        println!("categories: {:.1} µs each", begun.elapsed().as_secs_f64() * 1e3);
    }
    println!("memory: {} MB resident", resident_bytes() / 1_000_000);

    let analysis = analyzer.analyze(How::Changed, None, &never, &mut |_| {})?;
    println!("walk, nothing changed: {:.1} ms", analysis.duration.as_secs_f64() * 1e3);

    let largest = graph
        .read()
        .files()
        .filter(|file| file.state == FileState::Analysed && file.size_bytes < 100_000)
        .max_by_key(|file| file.nodes)
        .map(|file| analyzer.root().join(&*file.path));
    if let Some(path) = largest.filter(|_| !read_only) {
        touch(&mut analyzer, &path, &never)?;
    }

    let snapshot = std::env::temp_dir().join("squall-graph.snapshot");
    let begun = Instant::now();
    analyzer.save(&snapshot)?;
    let saved = begun.elapsed();
    let size = fs::metadata(&snapshot)?.len();
    let mut again = Analyzer::new(config)?;
    let begun = Instant::now();
    again.load(&snapshot)?;
    let loaded = begun.elapsed();
    fs::remove_file(&snapshot)?;
    println!(
        "snapshot: {:.1} MB, written in {:.0} ms, read in {:.0} ms",
        size as f64 / 1e6,
        saved.as_secs_f64() * 1e3,
        loaded.as_secs_f64() * 1e3
    );
    Ok(())
}

/// Analyses one file with a line more, and again without it.
fn touch(analyzer: &mut Analyzer, path: &Path, never: &AtomicBool) -> Result<(), Box<dyn Error>> {
    let text = fs::read(path)?;
    let mut longer = text.clone();
    longer.push(b'\n');
    let mut times = Vec::new();
    for round in 0..20 {
        fs::write(path, if round % 2 == 0 { &longer } else { &text })?;
        let paths = [path.to_path_buf()];
        let analysis = analyzer.analyze(How::Changed, Some(&paths), never, &mut |_| {})?;
        times.push(analysis.duration.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "one file changed ({}): median {:.2} ms, worst {:.2} ms",
        path.display(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
    Ok(())
}

/// Only parses, with as many threads as an analysis has.
fn parse(config: &Config, root: &Path, paths: &[String]) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..config.thread_count() {
            scope.spawn(|| {
                let mut parser = squall_codegraph::languages::BareParser::default();
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
                    bytes.fetch_add(text.len(), Ordering::Relaxed);
                    parser.parse(path, &text);
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let megabytes = bytes.into_inner() as f64 / 1e6;
    println!("parse only: {} files, {megabytes:.1} MB in {seconds:.3} s: {:.1} MB/s", paths.len(), megabytes / seconds);
    Ok(())
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}
