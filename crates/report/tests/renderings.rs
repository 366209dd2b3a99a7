//! Every rendering of made-up runs: what people and programs see, held still.

#[allow(dead_code, reason = "shared with the gallery, which shows more")]
mod common;

use squall_report::{
    OpenedRun, RunDir, RunRecord,
    record::Struck,
    render::{Colour, html, json, junit, markdown, terminal},
};

#[test]
fn the_terminal_of_a_passed_run() {
    insta::assert_snapshot!(terminal(&common::passed(), Colour::Off));
}

#[test]
fn the_terminal_of_a_run_with_losses() {
    insta::assert_snapshot!(terminal(&common::lossy(), Colour::Off));
}

#[test]
fn the_terminal_of_a_run_with_several_gateways() {
    insta::assert_snapshot!(terminal(&common::several(), Colour::Off));
}

#[test]
fn the_terminal_of_an_experiment_that_passed() {
    insta::assert_snapshot!(terminal(&common::withstood(), Colour::Off));
}

#[test]
fn the_summary_of_an_experiment_that_failed() {
    insta::assert_snapshot!(markdown(&common::gave_way()));
}

#[test]
fn junit_of_an_experiment_that_failed() {
    insta::assert_snapshot!(junit(&common::gave_way()));
}

#[test]
fn a_fault_that_struck_nothing_is_told_and_one_that_was_not_counted_is_silent() {
    let mut run = common::withstood();
    let fault = &mut run.record.faults[0];
    (fault.health_ms, fault.metrics_ms) = (None, None);
    for (struck, told) in [
        (Some(Struck { connections: 0, bytes: 0 }), "| **struck nothing** |"),
        (Some(Struck { connections: 1, bytes: 0 }), "| struck 1 connection |"),
        (Some(Struck { connections: 0, bytes: 2048 }), "| struck 0 connections, 2 KiB |"),
    ] {
        run.record.faults[0].struck = struck;
        assert!(markdown(&run).contains(told), "{told} is not in: {}", markdown(&run));
    }
    let fault = &mut run.record.faults[0];
    (fault.health_ms, fault.metrics_ms) = (Some(fault.at_ms + 75), Some(fault.at_ms + 1_200));
    let told = "| struck 0 connections, 2 KiB; told by /health after 75 ms, by the metrics after 1.20 s |";
    assert!(markdown(&run).contains(told), "{told} is not in: {}", markdown(&run));
    let fault = &mut run.record.faults[0];
    (fault.struck, fault.health_ms, fault.metrics_ms) = (None, None, None);
    assert!(!markdown(&run).contains("struck"));
}

#[test]
fn health_that_never_changed_is_no_table() {
    let mut run = common::gave_way();
    assert!(markdown(&run).contains("| 13.5 s | 1 | **degraded** | publish |"), "{}", markdown(&run));
    run.record.health.truncate(2);
    assert!(!markdown(&run).contains("Changes of health"));
    run.record.health.clear();
    assert!(!markdown(&run).contains("Changes of health"));
}

#[test]
fn an_experiment_that_expected_nothing_passes_no_ci_server() {
    let mut run = common::gave_way();
    run.record.experiment.as_mut().unwrap().expectations.clear();
    assert_eq!(run.verdict().exit_code(), 99);
    assert!(junit(&run).contains(r#"failures="1""#), "{}", junit(&run));
    assert!(markdown(&run).contains("- the experiment: it did not come to what had to hold"));
}

#[test]
fn an_experiment_comes_first_in_every_rendering() {
    for run in [common::withstood(), common::gave_way()] {
        let run = &run;
        for (text, order) in [
            (
                terminal(run, Colour::Off),
                ["Supposed:", "  Experiment\n", "  Time to detect", "  Error budget", "  Thresholds"],
            ),
            (markdown(run), ["Supposed:", "## Experiment", "## Time to detect", "## Error budget", "## Thresholds"]),
            (html(run), ["Supposed:", r#"id="experiment""#, r#"id="times""#, r#"id="budget""#, r#"id="thresholds""#]),
        ] {
            let places = order.map(|it| text.find(it).unwrap_or_else(|| panic!("{it} is not in: {text}")));
            assert!(places.is_sorted(), "{order:?} are at {places:?}");
        }
        assert!(terminal(run, Colour::Off).contains("struck 12 connections, 4.20 MiB"));
    }
}

/// The markup of the timeline, as far as its script.
fn timeline(page: &str) -> Option<&str> {
    page.split_once(r#"<figure class="card chart together" id="timeline""#)?.1.split("</figure>").next()
}

#[test]
fn the_timeline_has_load_latency_errors_faults_and_the_health_of_each_gateway() {
    let page = html(&common::gave_way());
    let timeline = timeline(&page).unwrap();
    for (what, number) in [
        (r#"class="caption""#, 4),
        (r#"class="line c"#, 4),
        (r#"class="layer c3""#, 1),
        (r#"class="band""#, 1),
        (r#"class="state healthy""#, 3),
        (r#"class="state degraded""#, 1),
        (r#"class="state draining""#, 1),
        (r#"class="state unreachable""#, 1),
        ("redis-stalls</span>", 1),
    ] {
        assert_eq!(timeline.matches(what).count(), number, "{what} in {timeline}");
    }
    let said = "Fault redis-stalls from 12.3 s to 20.3 s. gateway 1: healthy from 0 ms, degraded from 13.5 s, healthy from 20.9 s.";
    assert!(timeline.contains(said), "{timeline}");
    assert!(!page.contains("Health of the target"), "health is shown once");
}

#[test]
fn only_runs_with_faults_have_a_timeline() {
    for (name, run) in common::all() {
        let page = html(run);
        assert_eq!(timeline(&page).is_some(), !run.record.faults.is_empty(), "{name}");
        // What has no fault still shows its health, if there is any.
        let health = page.contains("Health of the target");
        assert_eq!(health, run.record.faults.is_empty() && !run.series.is_empty(), "{name}");
    }
}

#[test]
fn every_rendering_says_how_many_gateways_there_were_and_what_their_store_allows() {
    let run = common::several();
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [terminal(&run, Colour::Off), markdown(&run), html(&run), json(&run)] {
        let text = words(text).replace("&#39;", "'").replace("&#x27;", "'");
        for needle in
            ["gateway", "appendfsync everysec: up to a second of acknowledged work", "127.0.0.1:6379", "40123"]
        {
            assert!(text.contains(needle), "{needle} is not in: {text}");
        }
    }
    assert!(junit(&run).contains("every subscriber is told the same"));
}

#[test]
fn the_terminal_of_a_run_that_never_began() {
    insta::assert_snapshot!(terminal(&common::empty(), Colour::Off));
}

#[test]
fn the_summary_of_a_run_with_losses() {
    insta::assert_snapshot!(markdown(&common::lossy()));
}

#[test]
fn the_summary_of_a_killed_run() {
    insta::assert_snapshot!(markdown(&common::killed()));
}

#[test]
fn junit_of_a_run_with_losses() {
    insta::assert_snapshot!(junit(&common::lossy()));
}

#[test]
fn junit_of_an_interrupted_run() {
    insta::assert_snapshot!(junit(&common::interrupted()));
}

#[test]
fn a_terminal_has_a_hundred_columns_and_no_orders_from_others() {
    for (name, run) in common::all() {
        let plain = terminal(run, Colour::Off);
        for line in plain.lines() {
            assert!(line.chars().count() <= 100 || line.contains("  report  "), "{name}: {line}");
        }
        assert!(!plain.contains('\u{1b}'), "{name}");
        // With colour there are only our own sequences, and without them it is the same text.
        let mut coloured = terminal(run, Colour::On);
        for code in ["0", "1", "2", "31", "32", "33"] {
            coloured = coloured.replace(&format!("\u{1b}[{code}m"), "");
        }
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&coloured), words(&plain), "{name}");
    }
}

#[test]
fn the_page_needs_nothing_else() {
    for (name, run) in common::all() {
        // The hostile run shows this as text.
        let page = html(run).replace("img src=x onerror=alert(1)", "");
        for reference in
            ["src=", "href=", "url(", "@import", "fetch(", "XMLHttpRequest", "import(", "<link", "<iframe", "<object"]
        {
            assert!(!page.contains(reference), "{name} has {reference}");
        }
        assert!(page.contains("default-src 'none'"), "{name}: the browser holds it too");
    }
}

#[test]
fn the_page_shows_hostile_names_as_text() {
    let page = html(&common::hostile());
    let calm = html(&common::lossy());
    for tag in ["<script", "</script", "<img", "<style", "<svg", "<section", "<table"] {
        let count = |page: &str| page.matches(tag).count();
        match tag {
            // More lanes and errors have more charts and tables, but no more ways out of one.
            "<img" => assert_eq!(count(&page), 0),
            "<script" => assert_eq!(count(&page), page.matches("</script").count()),
            "<style" => assert_eq!(count(&page), count(&calm)),
            _ => {}
        }
    }
    assert!(page.contains("&#60;img src=x onerror=alert(1)&#62;"), "the name is shown");
    assert!(page.contains(r"\u003c/script\u003e"), "the name is in the data of a chart");
}

#[test]
fn the_data_of_every_chart_is_json() {
    for (name, run) in common::all() {
        let page = html(run);
        let mut charts = 0;
        for part in page.split(r#"<script type="application/json">"#).skip(1) {
            let data: serde_json::Value = serde_json::from_str(part.split("</script>").next().unwrap()).unwrap();
            let positions = data["at"].as_array().unwrap();
            assert!(positions.len() <= 480, "{name}: {} positions", positions.len());
            assert!(positions.is_sorted_by(|one, two| one.as_f64() <= two.as_f64()), "{name}");
            for line in data["lines"].as_array().unwrap() {
                assert_eq!(line["values"].as_array().unwrap().len(), positions.len(), "{name}");
            }
            charts += 1;
        }
        let expected = match *name {
            "empty" => 0,
            "slow" | "interrupted" | "killed" => 7,
            _ => 9,
        };
        assert!(charts >= expected, "{name} has {charts} charts");
    }
}

#[test]
fn numbers_in_drawings_are_numbers() {
    for (name, run) in common::all() {
        let page = html(run);
        for word in ["NaN", "inf ", "infinity"] {
            assert!(!page.contains(word), "{name} contains {word}");
        }
    }
}

#[test]
fn markdown_keeps_its_tables_whole() {
    for (name, run) in common::all() {
        let mut columns = None;
        for line in markdown(run).lines() {
            let cells = line.replace(r"\|", "").matches('|').count();
            if !line.starts_with('|') {
                columns = None;
            } else if *columns.get_or_insert(cells) != cells {
                panic!("{name}: {line}");
            }
        }
    }
}

#[test]
fn json_is_the_record_and_its_verdict() {
    let run = common::lossy();
    let value: serde_json::Value = serde_json::from_str(&json(&run)).unwrap();
    assert_eq!((&value["verdict"], &value["exit_code"]), (&"loss".into(), &98.into()));
    assert_eq!(value["reasons"].as_array().unwrap().len(), 4);
    let record: RunRecord = serde_json::from_value(value).unwrap();
    assert_eq!(record, run.record);
}

#[test]
fn a_finished_directory_has_every_rendering_and_gives_them_again() {
    let runs = tempfile::tempdir().unwrap();
    let mut run = common::passed();
    let mut dir = RunDir::create(runs.path(), "demo", run.record.started_at).unwrap();
    dir.begin(&run.record).unwrap();
    for second in &run.series {
        dir.append_second(second).unwrap();
    }
    dir.finish(&mut run.record).unwrap();
    let opened = OpenedRun::open(dir.path()).unwrap();
    assert_eq!(opened.record, run.record);
    assert!(opened.series == run.series);
    for (name, again) in
        [("summary.md", markdown(&opened)), ("junit.xml", junit(&opened)), ("report.html", html(&opened))]
    {
        assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), again, "{name}");
    }
    assert!(!dir.path().join("run.tmp").exists());
}
