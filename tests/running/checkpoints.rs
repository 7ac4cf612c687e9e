//! When a run evaluates, saves, and ends before its last epoch; and what it says of an epoch.
#![cfg(unix)]
use crate::support::command::{assert_says, refusal};
use crate::support::run::{STEPS_AN_EPOCH, Training, course, events};
use assert_cmd::Command;
use gnp::report::{EpochReport, Event, StepReport};
use gnp::train::{Checkpoint, Metric, RunFolder};
use std::fs;
use std::path::Path;

fn run(training: &Training, out: &Path, epochs: u64, more: &[&str]) -> Command {
    let mut command = training.command(out, epochs);
    command.args(more);
    Command::from_std(command)
}

fn said(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stderr.clone()).unwrap()
}

fn checkpoints(out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out.join("checkpoints")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn epochs(out: &Path) -> Vec<EpochReport> {
    events(out)
        .into_iter()
        .filter_map(|event| if let Event::Epoch(report) = event { Some(report) } else { None })
        .collect()
}

fn newest(out: &Path) -> Checkpoint {
    RunFolder::newest_checkpoint(out).unwrap().unwrap()
}

#[test]
fn keeps_what_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let kept = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        said(&mut run(&training, &out, 7, more));
        checkpoints(&out)
    };
    assert_eq!(kept("default", &[]), ["epoch-00006", "epoch-00007"]);
    assert_eq!(kept("one", &["--keep", "1"]), ["epoch-00007"]);
    assert_eq!(
        kept("third", &["--checkpoint-every", "3", "--keep", "9"]),
        ["epoch-00003", "epoch-00006", "epoch-00007"]
    );
}

#[test]
fn the_best_epoch_is_that_of_the_metrics_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    for (name, metric) in [("test-error", Metric::TestError), ("test-loss", Metric::TestLoss), ("loss", Metric::Loss)] {
        let out = folder.path().join(name);
        let more = ["--lr", "0.05", "--best", name, "--keep", "1", "--checkpoint-every", "100"];
        said(&mut run(&training, &out, 12, &more));
        let reports = epochs(&out);
        let values = reports.iter().map(|report| metric.of(report).unwrap());
        let (epoch, value) = (1..).zip(values).reduce(|best, now| if now.1 < best.1 { now } else { best }).unwrap();

        let state = fs::read_to_string(out.join("checkpoints/epoch-00012/state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        let best = &state["progress"]["standing"]["best"];
        assert_eq!((best["epoch"].as_u64(), best["metric"].as_str()), (Some(epoch), Some(name)));
        assert_eq!(best["value"].as_f64(), Some(value));
        let expected = [format!("epoch-{epoch:05}"), "epoch-00012".to_owned()];
        assert_eq!(checkpoints(&out), &expected[..if epoch == 12 { 1 } else { 2 }]);

        let newest = newest(&out);
        let run_folder = RunFolder::resume(&out, newest.fingerprint().clone(), &newest).unwrap();
        assert_eq!(run_folder.best_checkpoint().unwrap().unwrap().progress().epoch, epoch);
        let other = refusal(&mut run(&training, &out, 12, &["--resume", "--quiet", "--lr", "0.05"]));
        assert_says(&other, &["best by was"]);
    }
}

#[test]
fn evaluates_as_often_as_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let [all, some] = ["all", "some"].map(|name| folder.path().join(name));
    said(&mut run(&training, &all, 10, &[]));
    said(&mut run(&training, &some, 10, &["--evaluate-every", "4"]));
    for (report, with_all) in epochs(&some).iter().zip(epochs(&all)) {
        let is_due = [4, 8, 10].contains(&report.epoch);
        assert_eq!(report.test_loss, with_all.test_loss.filter(|_| is_due));
        assert_eq!(report.measures, with_all.measures);
    }
    assert_eq!(fs::read(some.join("model.onnx")).unwrap(), fs::read(all.join("model.onnx")).unwrap());
}

#[test]
fn stops_early_and_goes_on_with_more_patience() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    // The first epoch is an improvement over none.
    let patient = |out: &Path, patience: &str, more: &[&str]| {
        said(run(&training, out, 50, &["--patience", patience, "--min-delta", "100"]).args(more))
    };
    assert_says(&patient(&parts, "3", &["--checkpoint-every", "7"]), &["stopped early"]);
    assert_eq!((epochs(&parts).len(), newest(&parts).progress().epoch), (4, 4));
    assert!(parts.join("model.onnx").is_file());
    assert_says(&patient(&parts, "3", &["--resume"]), &["stopped early"]);
    assert_eq!(epochs(&parts).len(), 4);
    patient(&parts, "5", &["--resume"]);
    patient(&whole, "5", &[]);
    assert_eq!(epochs(&whole).len(), 6);
    assert_eq!(course(&parts), course(&whole));
    assert_eq!(newest(&parts).progress(), newest(&whole).progress());
}

#[test]
fn an_epoch_is_the_mean_of_its_samples() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let out = folder.path().join("out");
    said(&mut run(&training, &out, 2, &["--schedule", "cosine"]));
    for group in events(&out).chunk_by(|_, next| !matches!(next, Event::Step(step) if step.step % STEPS_AN_EPOCH == 1))
    {
        let (Some(Event::Epoch(epoch)), steps) = (group.last(), &group[..group.len() - 1]) else { panic!("{group:?}") };
        let steps: Vec<&StepReport> =
            steps.iter().map(|event| if let Event::Step(step) = event { step } else { panic!("{event:?}") }).collect();
        let mean = |name: usize| {
            let sizes = [16.0, 16.0, 16.0, 16.0, 16.0, 10.0];
            let values = steps.iter().map(|step| f64::from(step.measures.named()[name].1.unwrap()));
            (values.zip(sizes).map(|(value, size)| value * size).sum::<f64>() / 90.0) as f32
        };
        let means = ["loss", "loss_perturbed", "grad_norm"];
        for (index, (name, value)) in epoch.measures.named().into_iter().enumerate() {
            if means.contains(&name) {
                assert_eq!(value, Some(mean(index)), "{name}");
            }
        }
        assert_eq!(epoch.measures.learning_rate, steps.last().unwrap().measures.learning_rate);
        assert_eq!(epoch.seconds, steps.iter().map(|step| step.seconds).sum::<f64>());
        assert_eq!(epoch.examples_per_second, 90.0 / epoch.seconds);
    }
}

#[test]
fn a_metric_that_is_not_measured_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut training = Training::new(folder.path());
    // Away from the model that it was made of, which it is evaluated with.
    let alone = folder.path().join("alone");
    fs::create_dir(&alone).unwrap();
    training.step = alone.join("step.onnx");
    fs::rename(folder.path().join("network.step.onnx"), &training.step).unwrap();
    let out = folder.path().join("out");
    for metric in ["test-error", "test-loss"] {
        let said = refusal(&mut run(&training, &out, 2, &["--quiet", "--best", metric]));
        assert_says(&said, &[&format!("the best epoch by {metric} cannot be told"), "help: "]);
        assert!(!out.exists());
    }
    said(&mut run(&training, &out, 2, &["--best", "loss"]));
    assert_eq!(newest(&out).progress().standing.best.unwrap().metric, Metric::Loss);
}
