//! What is seen of a run, by the programs that people look at it with.
use crate::support::browser::Page;
use crate::support::python;
use gnp::report::{self, About, AlphaPoint, AlphaSeries, History, Reference, TensorBoard};
use gnp::report::{Counts, EpochReport, Event, Measures, StepReport};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const STEPS_AN_EPOCH: u64 = 10;

/// The events of steps `from..=to`, with an epoch's after every tenth; `scale` tells runs apart.
fn events(from: u64, to: u64, scale: f32) -> Vec<Event> {
    let mut events = Vec::new();
    for step in from..=to {
        let time = step as f32 / STEPS_AN_EPOCH as f32;
        let noise = (step * 7919 % 101) as f32 / 1010.0;
        let measures = Measures {
            loss: scale * (2.3 * (-0.4 * time).exp() + noise),
            loss_perturbed: Some(scale * (2.5 * (-0.4 * time).exp() + noise)),
            sharpness: Some(scale * (0.2 * (-0.4 * time).exp())),
            grad_norm: Some(scale * (1.0 / (1.0 + time) + noise)),
            mixed_grad_norm: Some(scale * (1.5 / (1.0 + time) + noise)),
            param_norm: Some(10.0 + time.sqrt()),
            error: Some(0.9 * (-0.5 * time).exp()),
            learning_rate: 0.1 / (1.0 + time),
            r: Some(0.1),
            alpha: Some(0.8),
            ..Measures::default()
        };
        let epoch = step.div_ceil(STEPS_AN_EPOCH);
        let (seconds, data_seconds) = (0.01, 0.001);
        events.push(Event::Step(StepReport {
            epoch,
            step,
            measures,
            seconds,
            data_seconds,
            examples_per_second: 6400.0,
            counts: Counts::default(),
        }));
        if step % STEPS_AN_EPOCH == 0 {
            events.push(Event::Epoch(EpochReport {
                epoch,
                step,
                measures,
                test_loss: Some(f64::from(scale) * (2.4 * (-0.3 * f64::from(time)).exp())),
                test_error: Some(0.05 + 0.9 * (-0.5 * f64::from(time)).exp()),
                test_top5_error: Some(0.01),
                test_scores: Default::default(),
                seconds: 0.1,
                data_seconds: 0.01,
                examples_per_second: 6400.0,
            }));
        }
    }
    events
}

/// What TensorBoard must show of `events`.
fn scalars(events: &[Event]) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut scalars: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    let mut add = |group: &str, name: &str, step: u64, value: Option<f32>| {
        if let Some(value) = value {
            scalars.entry(format!("{group}/{name}")).or_default().push((step, value));
        }
    };
    for event in events {
        let (group, step, measures, speed) = match event {
            Event::Step(report) => ("train", report.step, report.measures, report.examples_per_second),
            Event::Epoch(report) => ("epoch", report.step, report.measures, report.examples_per_second),
            other => panic!("{other:?}"),
        };
        for (name, value) in measures.named() {
            add(group, name, step, value);
        }
        add(group, "examples_per_second", step, Some(speed as f32));
        if let Event::Epoch(report) = event {
            add("test", "loss", step, report.test_loss.map(|number| number as f32));
            add("test", "error", step, report.test_error.map(|number| number as f32));
            add("test", "top5_error", step, report.test_top5_error.map(|number| number as f32));
        }
    }
    scalars
}

#[test]
fn tensorboard_reads_what_was_logged_and_forgets_what_a_killed_run_did() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/tensorboard");
    let Some(python) = python::environment("tensorboard", &scripts.join("requirements.txt")) else { return };
    let shown = |folder: &Path| -> BTreeMap<String, Vec<(u64, f32)>> {
        let printed = python::run(Command::new(&python).arg(scripts.join("read.py")).arg(folder));
        serde_json::from_str(&printed).unwrap()
    };
    let log = |folder: &Path, resumed_at: Option<u64>, events: &[Event]| {
        let mut board = TensorBoard::create(folder, resumed_at).unwrap();
        events.iter().for_each(|event| board.log(event).unwrap());
        board.flush().unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let killed = events(1, 27, 1.0);
    log(folder, None, &killed);
    assert_eq!(shown(folder), scalars(&killed));

    // The run goes on after the checkpoint of step 20 and takes the steps after it differently.
    let again = events(21, 40, 2.0);
    log(folder, Some(20), &again);
    let whole: Vec<_> = events(1, 20, 1.0).into_iter().chain(again).collect();
    assert_eq!(shown(folder), scalars(&whole));

    let anew = events(1, 10, 3.0);
    log(folder, None, &anew);
    assert_eq!(shown(folder), scalars(&anew));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

/// A run's folder with `events` in it.
fn run(folder: &Path, events: &[Event]) {
    fs::create_dir_all(folder).unwrap();
    let lines = events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n");
    fs::write(folder.join("metrics.jsonl"), lines.collect::<String>()).unwrap();
}

/// The objects of a run's `metrics.jsonl`, steps or epochs.
fn logged(folder: &Path, kind: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["kind"] == kind).collect()
}

/// Checks that the curve `name` of the chart `title` has the numbers `key` of `lines` against epochs, `scale` times.
#[track_caller]
fn assert_curve(page: &Page, title: &str, name: &str, lines: &[serde_json::Value], key: &str, scale: f64) {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.abs();
    let found = page.curve(title, name);
    let wanted = lines
        .iter()
        .map(|line| (line["step"].as_f64().unwrap() / STEPS_AN_EPOCH as f64, scale * line[key].as_f64().unwrap()));
    assert_eq!(found.len(), lines.len(), "{title}: {name}");
    for (found, wanted) in found.into_iter().zip(wanted) {
        assert!(close(found.0, wanted.0) && close(found.1, wanted.1), "{title}, {name}: {found:?} for {wanted:?}");
    }
}

#[test]
fn a_browser_shows_a_report_offline() {
    needs!(browser);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, &events(1, 40, 1.0));
    fs::write(folder.join("config.toml"), "epochs = 4 # <of ten steps>\n").unwrap();
    let about = About {
        model: "A <b>model</b> & co".into(),
        engine: "tract".into(),
        method: "GNP".into(),
        error: None,
        command: Some("gnp-run model.onnx".into()),
    };
    let page = Page::load(&report::write(folder, &History::read(folder).unwrap(), &about).unwrap());
    page.assert_self_contained();
    let (steps, epochs) = (logged(folder, "step"), logged(folder, "epoch"));
    for (title, name, lines, key, scale) in [
        ("Loss", "train, steps", &steps, "loss", 1.0),
        ("Loss", "train", &epochs, "loss", 1.0),
        ("Loss", "test", &epochs, "test_loss", 1.0),
        ("Error (%)", "train", &epochs, "error", 100.0),
        ("Error (%)", "test", &epochs, "test_error", 100.0),
        ("Error (%)", "test, top 5", &epochs, "test_top5_error", 100.0),
        ("Gradient norm", "‖∇L(θ)‖, steps", &steps, "grad_norm", 1.0),
        ("Gradient norm", "mixed", &epochs, "mixed_grad_norm", 1.0),
        ("Sharpness L(θ + ε) − L(θ)", "sharpness", &epochs, "sharpness", 1.0),
        ("Parameter norm ‖θ‖", "‖θ‖", &epochs, "param_norm", 1.0),
        ("Learning rate", "learning rate", &steps, "learning_rate", 1.0),
        ("Radius r", "r", &steps, "r", 1.0),
        ("Weight α", "α", &steps, "alpha", 1.0),
    ] {
        assert_curve(&page, title, name, lines, key, scale);
    }
    for text in ["A &lt;b&gt;model&lt;/b&gt; &amp; co", "epochs = 4 # &lt;of ten steps&gt;", "gnp-run model.onnx"] {
        assert!(page.dom.contains(text), "`{text}` is not on the page");
    }
}

#[test]
fn a_browser_shows_runs_side_by_side() {
    needs!(browser);
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<PathBuf> = ["plain", "gnp <α = 0.8>"].map(|name| folder.path().join(name)).into();
    run(&runs[0], &events(1, 40, 2.0));
    run(&runs[1], &events(1, 20, 1.0));
    let output = folder.path().join("compare.html");
    report::compare(&runs, &output).unwrap();
    let page = Page::load(&output);
    page.assert_self_contained();
    assert_curve(&page, "Training loss", "plain", &logged(&runs[0], "epoch"), "loss", 1.0);
    assert_curve(&page, "Test error (%)", "gnp &lt;α = 0.8&gt;", &logged(&runs[1], "epoch"), "test_error", 100.0);
}

#[test]
fn a_browser_shows_a_sweep() {
    needs!(browser);
    let point =
        |alpha: f64| AlphaPoint { alpha, error: (0.05 - 0.01 * alpha, 0.001), grad_norm: (1.0 - 0.5 * alpha, 0.1) };
    let points = vec![point(0.0), point(0.5), point(1.0)];
    let series = [AlphaSeries { r: 0.05, points: points.clone() }, AlphaSeries { r: 0.1, points }];
    let references = [Reference { label: "plain, 2× epochs".into(), error: 0.048, grad_norm: Some(0.7) }];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figure.svg");
    fs::write(&file, report::alpha_figure(&series, &references)).unwrap();
    let page = Page::load(&file);
    page.assert_self_contained();
    assert!(page.dom.starts_with("<svg") && !page.dom.contains("parsererror"), "{}", page.dom);
    assert_eq!(page.dom.matches("data-points=\"0,5 0.5,4.5 1,4\"").count(), 2);
    assert_eq!(page.dom.matches("data-points=\"0,1 0.5,0.75 1,0.5\"").count(), 2);
}

#[test]
fn the_browser_tells_what_is_not_self_contained() {
    needs!(browser);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    fs::write(&file, "<img src=\"http://127.0.0.1:9/a.png\"><script>console.error('no')</script>").unwrap();
    let page = Page::load(&file);
    assert_eq!(page.requests, ["http://127.0.0.1:9/a.png"]);
    assert!(page.console.len() == 1 && page.console[0].contains("no"), "{:?}", page.console);
}
