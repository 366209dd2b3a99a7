//! Two made-up runs side by side: the four answers, and what stands beside them.

#![allow(clippy::unwrap_used, reason = "the lint only knows functions with #[test]")]

#[allow(dead_code, reason = "shared with the renderings, which need more")]
mod common;

use common::{Shape, play};
use squall_report::{
    OpenedRun,
    comparison::{Comparison, Options, Outcome, compare},
    render::{Colour, comparison_markdown, comparison_terminal},
};

fn run(seed: u64, slowness: f64, seconds: u64) -> OpenedRun {
    play(&Shape { seed, slowness, seconds, per_second: 400, kill_at: None, thresholds: "{}" })
}

fn outcome(comparison: &Comparison, name: &str) -> Outcome {
    comparison.figures.iter().find(|figure| figure.name == name).unwrap().outcome
}

#[test]
fn a_run_is_not_worse_than_itself() {
    let one = run(1, 1.0, 40);
    let comparison = compare(&one, &one, &Options::default());
    assert_eq!(comparison.outcome(), Outcome::Pass, "{comparison:#?}");
    assert!(comparison.differences.is_empty());
}

#[test]
fn the_same_load_played_again_is_no_regression() {
    // Six pairs of runs that differ by chance only. With 95 % intervals and a margin of 10 % a false alarm is rare;
    // none is expected here.
    for seed in 0..6 {
        let comparison = compare(&run(seed, 1.0, 30), &run(seed + 100, 1.0, 30), &Options::default());
        assert_ne!(comparison.outcome(), Outcome::Regression, "{comparison:#?}");
        assert_eq!(outcome(&comparison, "task_latency p50"), Outcome::Pass);
    }
}

#[test]
fn slower_is_a_regression_and_faster_an_improvement() {
    let (one, slower) = (run(1, 1.0, 30), run(2, 1.3, 30));
    let worse = compare(&one, &slower, &Options::default());
    assert_eq!((outcome(&worse, "task_latency p50"), worse.outcome()), (Outcome::Regression, Outcome::Regression));
    let better = compare(&slower, &one, &Options::default());
    assert_eq!((outcome(&better, "task_latency p50"), better.outcome()), (Outcome::Improvement, Outcome::Improvement));
    // What matters is the reader's to say.
    let generous = compare(&one, &slower, &Options { margin: 0.6, ..Options::default() });
    assert_eq!(outcome(&generous, "task_latency p50"), Outcome::Pass);
}

#[test]
fn a_run_of_three_seconds_cannot_tell() {
    let comparison = compare(&run(1, 1.0, 30), &run(2, 1.0, 3), &Options::default());
    assert_eq!(comparison.outcome(), Outcome::Inconclusive);
    assert_eq!(comparison.outcome().exit_code(), 1);
}

#[test]
fn one_more_loss_is_a_regression_whatever_the_speed() {
    let (one, mut two) = (run(1, 1.3, 30), run(2, 1.0, 30));
    two.record.ledger.as_mut().unwrap().lost = 1;
    let comparison = compare(&one, &two, &Options::default());
    assert_eq!((outcome(&comparison, "lost"), comparison.outcome()), (Outcome::Regression, Outcome::Regression));
}

#[test]
fn an_experiment_that_no_longer_holds_is_a_regression_and_its_moments_are_told() {
    let comparison = compare(&common::withstood(), &common::gave_way(), &Options::default());
    assert_eq!(outcome(&comparison, "expectations not held"), Outcome::Regression);
    for told in ["time to notice, metrics: 1.90 s before, never now", "time to recover: 1.80 s before, never now"] {
        assert!(comparison.differences.iter().any(|it| it == told), "{told}: {:?}", comparison.differences);
    }
    let (same, none) = (common::withstood(), common::slow());
    let names = |one, two| compare(one, two, &Options::default());
    assert_eq!(outcome(&names(&same, &same), "expectations not held"), Outcome::Pass);
    assert!(names(&same, &same).differences.is_empty());
    assert!(!names(&none, &same).figures.iter().any(|figure| figure.name == "expectations not held"));
}

#[test]
fn the_same_question_has_the_same_answer() {
    let (one, two) = (run(1, 1.0, 20), run(2, 1.1, 20));
    assert_eq!(compare(&one, &two, &Options::default()), compare(&one, &two, &Options::default()));
}

#[test]
fn runs_without_seconds_are_not_compared() {
    let comparison = compare(&common::empty(), &common::empty(), &Options::default());
    assert_eq!((comparison.figures.len(), comparison.outcome()), (0, Outcome::Inconclusive));
}

#[test]
fn renderings() {
    let (one, mut two) = (run(1, 1.0, 30), run(2, 1.3, 30));
    two.record.id = "20261121T081500Z-demo".into();
    two.record.target.durability = Some("every 100 ms (interval)".into());
    let comparison = compare(&one, &two, &Options::default());
    let plain = comparison_terminal(&comparison, Colour::Off);
    assert!(plain.lines().all(|line| line.chars().count() <= 100), "{plain}");
    insta::assert_snapshot!("terminal", plain);
    insta::assert_snapshot!("markdown", comparison_markdown(&comparison));
}
