//! Training runs from data to model, through ONNX Runtime's training API.
use crate::support::{models, training_runtime};

use gnp::contract::artifacts::FileNames;
use gnp::data::{Array, Data, DataSource, Dataset, Feed, Preparation, Values};
use gnp::engine::EngineOptions;
use gnp::engine::{Engine, OrtTraining};
use gnp::report::{EpochReport, Event};
use gnp::train::{
    Checkpoint, Ended, Fingerprint, Fit, OwnRates, Plan, RunFolder, Schedule, Span, TrainingSettings, find_artifacts,
    fit, prepare,
};
use std::fs;
use std::io::Write;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn digits() -> Data {
    Data::load(&DataSource::new(models().join("digits.npz")), 0).unwrap()
}

const SEED: u64 = 3;

fn training(epochs: u64) -> TrainingSettings {
    TrainingSettings {
        epochs,
        learning_rate: Some(2e-3),
        schedule: Schedule::Cosine { final_share: 0.0 },
        warmup: Span::Steps(10),
        ..TrainingSettings::default()
    }
}

/// The plan of such a training.
fn plan(training: &TrainingSettings) -> Plan {
    Plan::new(training, &OwnRates::default(), SEED).unwrap()
}

fn config(epochs: u64) -> Plan {
    plan(&training(epochs))
}

fn mlp(checkpoint: Option<&Checkpoint>) -> OrtTraining {
    let mut artifacts = find_artifacts(&models().join("mlp"), &FileNames::default()).unwrap();
    if let Some(checkpoint) = checkpoint {
        artifacts.checkpoint = checkpoint.engine_file();
    }
    let options = EngineOptions { threads: NonZero::new(1), ..EngineOptions::default() };
    OrtTraining::load(&training_runtime(), &artifacts, &options).unwrap()
}

/// Trains the MLP on the digits in `root`, from its newest checkpoint on, up to `until` steps in all.
fn train(root: &Path, config: &Plan, until: u64) -> (Ended, Option<EpochReport>) {
    let begun = root.join("metrics.jsonl").is_file();
    let checkpoint = begun.then(|| RunFolder::newest_checkpoint(root).unwrap()).flatten();
    let mut engine = mlp(checkpoint.as_ref());
    let mut data = digits();
    assert_eq!(prepare(&mut engine, &mut data, &Preparation::divide(16.0), 0.0, config).unwrap(), Some(10));
    let feed = |data| Feed::new(data, engine.batch_ports(), &Preparation::divide(16.0), SEED).unwrap();
    let (train, test) = (feed(&data.train), data.test.as_ref().map(feed));
    let mut folder = match &checkpoint {
        Some(checkpoint) => RunFolder::resume(root, config.fingerprint(), checkpoint).unwrap(),
        None => RunFolder::create(root, config.fingerprint(), false).unwrap(),
    };
    let stop = AtomicBool::new(until == 0);
    let mut last = None;
    let ended = fit(
        Fit {
            engine: &mut engine,
            train: &train,
            test: test.as_ref(),
            plan: config,
            folder: Some(&mut folder),
            observe: &mut |event| match event {
                Event::Step(report) => stop.store(report.step >= until, Ordering::Relaxed),
                Event::Epoch(report) => last = Some(report.clone()),
                _ => {}
            },
            stop: &stop,
        },
        checkpoint.map(|checkpoint| checkpoint.progress().clone()).unwrap_or_default(),
    );
    let ended = ended.unwrap();
    if ended == Ended::Finished {
        folder.write_model(|file| engine.export(file)).unwrap();
    }
    (ended, last)
}

/// What `metrics.jsonl` says of the run's course, without the times.
fn course(root: &Path) -> Vec<(u64, f64)> {
    let lines = fs::read_to_string(root.join("metrics.jsonl")).unwrap();
    let course = lines.lines().map(|line| match serde_json::from_str(line).unwrap() {
        Event::Step(report) => (report.step, f64::from(report.measures.loss)),
        Event::Epoch(report) => {
            (report.step, f64::from(report.measures.loss) + report.test_loss.unwrap() + report.test_error.unwrap())
        }
        other => panic!("{other:?}"),
    });
    course.collect()
}

#[test]
fn a_run_learns_the_digits() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let (ended, last) = train(folder.path(), &config(8), u64::MAX);
    assert_eq!(ended, Ended::Finished);
    let last = last.unwrap();
    assert_eq!((last.epoch, last.step), (8, 8 * 16));
    assert!(last.test_error.unwrap() < 0.1, "{last:?}");
    assert!(folder.path().join("model.onnx").is_file());
}

#[test]
fn the_seed_decides_the_run() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, config: &Plan| {
        train(&folder.path().join(name), config, u64::MAX);
        course(&folder.path().join(name))
    };
    let first = run("first", &config(2));
    assert_eq!(first, run("second", &config(2)));
    assert_ne!(first, run("other", &Plan::new(&training(2), &OwnRates::default(), 4).unwrap()));
    let model = |name: &str| fs::read(folder.path().join(name).join("model.onnx")).unwrap();
    assert_eq!(model("first"), model("second"));
}

#[test]
fn a_run_that_was_stopped_ends_as_one_that_was_not() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    train(&whole, &config(3), u64::MAX);
    // Before the first step, within an epoch, between an epoch's last step and its evaluation, and to the end.
    for until in [0, 5, 16, 20] {
        assert_eq!(train(&parts, &config(3), until).0, Ended::Stopped);
    }
    // What was written after the last checkpoint, as by a run that was killed, is forgotten.
    let mut metrics = fs::OpenOptions::new().append(true).open(parts.join("metrics.jsonl")).unwrap();
    metrics.write_all(b"{\"kind\":\"step\",\"epo").unwrap();
    assert_eq!(train(&parts, &config(3), u64::MAX).0, Ended::Finished);
    assert_eq!(course(&parts), course(&whole));
    let model = |root: &Path| fs::read(root.join("model.onnx")).unwrap();
    assert_eq!(model(&parts), model(&whole));
}

#[test]
fn nothing_is_left_to_do_after_the_last_epoch() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &config(1), u64::MAX);
    let before = course(folder.path());
    assert_eq!(train(folder.path(), &config(1), u64::MAX), (Ended::Finished, None));
    assert_eq!(course(folder.path()), before);
}

#[test]
fn other_choices_do_not_continue_a_run() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &config(1), u64::MAX);
    let checkpoint = RunFolder::newest_checkpoint(folder.path()).unwrap().unwrap();
    let other = plan(&TrainingSettings { batch_size: 32, ..training(1) }).fingerprint();
    let error = RunFolder::resume(folder.path(), other, &checkpoint).unwrap_err();
    assert!(error.to_string().ends_with("the run was begun otherwise: batch size was 64, is 32"), "{error}");
}

#[test]
fn a_diverged_run_keeps_its_last_checkpoint() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut engine = mlp(None);
    let data = digits();
    let feed = Feed::new(&data.train, engine.batch_ports(), &Preparation::divide(16.0), SEED).unwrap();
    let config = plan(&TrainingSettings {
        learning_rate: Some(1e30),
        schedule: Schedule::Constant,
        warmup: Span::default(),
        ..training(2)
    });
    let mut run_folder = RunFolder::create(folder.path(), Fingerprint::default(), false).unwrap();
    run_folder.save(&mut engine, &Default::default(), &config.training().checkpoints).unwrap();
    let error = fit(
        Fit {
            engine: &mut engine,
            train: &feed,
            test: None,
            plan: &config,
            folder: Some(&mut run_folder),
            observe: &mut |_| {},
            stop: &AtomicBool::new(false),
        },
        Default::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("training has diverged"), "{error}");
    assert_eq!(RunFolder::newest_checkpoint(folder.path()).unwrap().unwrap().progress().step, 0);
    mlp(Some(&RunFolder::newest_checkpoint(folder.path()).unwrap().unwrap()));
}

#[test]
fn labels_are_checked_before_training() {
    needs!(engines);
    let mut engine = mlp(None);
    let mut data = digits();
    let samples = data.train.samples().clone();
    let labels =
        Array::new(vec![1000], Values::I64((0..1000).map(|sample| if sample == 700 { 10 } else { 0 }).collect()));
    data.train = Dataset::new(samples, labels.unwrap()).unwrap();
    let error = prepare(&mut engine, &mut data, &Preparation::default(), 0.0, &config(1)).unwrap_err();
    assert!(error.to_string().ends_with("sample 700 of the training data has the label 10; expected 0 to 9"));
}
