//! `junit.xml`: each expectation of an experiment, each threshold and each promise of the ledger as a test case, for CI servers.
//!
//! What did not hold, a failed threshold and a loss are failures; a run that could not be judged is an error, so that a CI server does not
//! mistake it for a measurement.

use std::fmt::Write as _;

use crate::{OpenedRun, Verdict, record::FeedFindingClass, render::amount};

struct Case {
    class: &'static str,
    name: String,
    problem: Option<(&'static str, String)>,
}

/// The whole document.
#[must_use]
pub fn junit(run: &OpenedRun) -> String {
    let cases = cases(run);
    let count = |tag| cases.iter().filter(|case| case.problem.as_ref().is_some_and(|(it, _)| *it == tag)).count();
    let (failures, errors) = (count("failure"), count("error"));
    let time = run.record.duration.total_ms as f64 / 1000.0;
    let name = escape(&format!("squall {}", run.record.scenario.name));
    let totals = format!(r#"tests="{}" failures="{failures}" errors="{errors}" time="{time:.3}""#, cases.len());

    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites name=\"{name}\" {totals}>");
    let timestamp = run.record.started_at.strftime("%Y-%m-%dT%H:%M:%SZ");
    let _ = writeln!(xml, "  <testsuite name=\"{name}\" {totals} timestamp=\"{timestamp}\">");
    let _ = writeln!(xml, "    <properties>");
    for (key, value) in [
        ("verdict", run.verdict().headline().to_owned()),
        ("run", run.record.id.clone()),
        ("seed", run.record.seed.to_string()),
    ] {
        let _ = writeln!(xml, "      <property name=\"{key}\" value=\"{}\"/>", escape(&value));
    }
    let _ = writeln!(xml, "    </properties>");
    for case in cases {
        let open = format!("    <testcase classname=\"{}\" name=\"{}\"", case.class, escape(&case.name));
        let _ = match case.problem {
            None => writeln!(xml, "{open}/>"),
            Some((tag, message)) => {
                writeln!(xml, "{open}>\n      <{tag} message=\"{}\"/>\n    </testcase>", escape(&message))
            }
        };
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn cases(run: &OpenedRun) -> Vec<Case> {
    let record = &run.record;
    let mut cases = Vec::new();
    let unjudged = match run.verdict() {
        Verdict::CouldNotRun | Verdict::Invalid | Verdict::Unsettled | Verdict::Interrupted => {
            Some(("error", Verdict::reasons(record).join("; ")))
        }
        Verdict::Passed | Verdict::Loss | Verdict::ExperimentFailed | Verdict::ThresholdFailed => None,
    };
    cases.push(Case { class: "run", name: "ran to its end, and its numbers are valid".into(), problem: unjudged });
    for it in record.experiment.iter().flat_map(|experiment| &experiment.expectations) {
        let problem = (!it.held).then(|| ("failure", it.found.clone()));
        cases.push(Case { class: "experiment", name: it.what.clone(), problem });
    }
    // One that expected nothing did not pass either, and a server that counts failures has to see one.
    if record.experiment.as_ref().is_some_and(|it| !it.passed && it.expectations.iter().all(|it| it.held)) {
        let problem = Some(("failure", "it did not come to what had to hold".to_owned()));
        cases.push(Case { class: "experiment", name: "passed".into(), problem });
    }
    for it in &record.thresholds {
        let measured = it.measured.map(|measured| amount(measured, it.unit));
        let problem = (!it.passed)
            .then(|| ("failure", measured.or_else(|| it.reason.clone()).unwrap_or_else(|| "not measured".into())));
        cases.push(Case { class: "threshold", name: format!("{} {}", it.selector, it.expression), problem });
    }
    if let Some(ledger) = &record.ledger {
        for (name, count, class) in [
            ("nothing acknowledged is lost", ledger.lost, crate::record::FindingClass::Lost),
            ("nothing unexpected is delivered", ledger.unexpected, crate::record::FindingClass::Unexpected),
        ] {
            let problem = (count > 0).then(|| {
                let named: Vec<&str> =
                    ledger.findings.iter().filter(|it| it.class == class).take(10).map(|it| it.task.as_str()).collect();
                ("failure", format!("{count}: {}", named.join(", ")))
            });
            cases.push(Case { class: "ledger", name: name.into(), problem });
        }
    }
    if let Some(feed) = &record.feed {
        for (name, count, class) in [
            ("no event is missing", feed.gaps, FeedFindingClass::Gap),
            ("no event comes twice", feed.repeats, FeedFindingClass::Repeat),
            ("every subscriber is told the same", feed.conflicts, FeedFindingClass::Conflict),
        ] {
            let problem = (count > 0).then(|| {
                let named = feed.findings.iter().filter(|it| it.class == class).take(10);
                let offsets: Vec<String> = named.map(|it| format!("at offset {}", it.offset)).collect();
                ("failure", format!("{count}: {}", offsets.join(", ")))
            });
            cases.push(Case { class: "feed", name: name.into(), problem });
        }
    }
    cases
}

/// For attributes in double quotes. Characters that XML 1.0 cannot hold at all are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' | '\r' => escaped.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            it => escaped.push(it),
        }
    }
    escaped
}
