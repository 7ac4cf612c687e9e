//! What is seen of a run, by the programs that people look at it with.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use gnp::train::report::TensorBoard;
use gnp::train::{EpochReport, Event, Measures, StepReport};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::python;

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
            top5_error: None,
            learning_rate: 0.1 / (1.0 + time),
            r: Some(0.1),
            alpha: Some(0.8),
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
        }));
        if step % STEPS_AN_EPOCH == 0 {
            events.push(Event::Epoch(EpochReport {
                epoch,
                step,
                measures,
                test_loss: Some(f64::from(scale) * (2.4 * (-0.3 * f64::from(time)).exp())),
                test_error: Some(0.05 + 0.9 * (-0.5 * f64::from(time)).exp()),
                test_top5_error: Some(0.01),
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
    let python = python::environment("tensorboard", &scripts.join("requirements.txt"));
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
