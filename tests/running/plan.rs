//! What `gnp-run` takes each step with, and what it says of it in `metrics.jsonl`.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::{models, training_runtime};
use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Of the 1,000 training digits in batches of 64.
const STEPS_PER_EPOCH: usize = 16;

/// A quiet run on the digits, by tract where the model is a file.
fn run(model: &Path, out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("gnp-run").unwrap();
    command.arg(model).arg("--data").arg(models().join("digits.npz")).args(["--divisor", "16", "--quiet", "--out"]);
    command.arg(out).args(arguments);
    if model.is_file() {
        command.args(["--engine", "tract"]);
    }
    command
}

/// The steps of a run, as its metrics have them.
#[track_caller]
fn steps(model: &Path, out: &Path, arguments: &[&str]) -> Vec<Value> {
    run(model, out, arguments).assert().success();
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "step").collect()
}

fn numbers(steps: &[Value], name: &str) -> Vec<f32> {
    steps.iter().map(|step| step[name].as_f64().unwrap() as f32).collect()
}

/// The step model of the MLP.
fn step_model(folder: &Path, arguments: &[&str]) -> PathBuf {
    let step = folder.join("step.onnx");
    let model = models().join("mlp/model.onnx");
    gnp_rewrite()
        .arg(model)
        .args(["--loss", "cross-entropy", "--quiet", "-fo"])
        .arg(&step)
        .args(arguments)
        .assert()
        .success();
    step
}

/// The artifacts of the MLP, rewritten.
fn artifacts(folder: &Path, arguments: &[&str]) -> PathBuf {
    training_runtime();
    let output = folder.join("artifacts");
    gnp_rewrite().arg(models().join("mlp")).args(["--quiet", "-fo"]).arg(&output).args(arguments).assert().success();
    output
}

#[test]
fn a_step_says_all_that_is_known_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let step = step_model(folder.path(), &["--r", "0.25", "--alpha", "0.5"]);
    let all = steps(&step, &folder.path().join("out"), &["--epochs", "8", "--lr", "0.05"]);
    assert_eq!(all.len(), 8 * STEPS_PER_EPOCH);
    for step in &all {
        let number = |name: &str| step[name].as_f64().unwrap_or_else(|| panic!("{name} is not in {step}"));
        let sharpness = number("loss_perturbed") - number("loss");
        assert!((number("sharpness") - sharpness).abs() <= 1e-6 && sharpness > 0.0, "{step}");
        assert!(number("param_norm") > 1.0 && number("mixed_grad_norm") > 0.0 && number("grad_norm") > 0.0);
        assert!((0.0..=1.0).contains(&number("error")) && number("top5_error") <= number("error"), "{step}");
        assert_eq!((number("r"), number("alpha")), (0.25, 0.5));
    }
    let mean = |steps: &[Value]| numbers(steps, "error").iter().sum::<f32>() / steps.len() as f32;
    let (first, last) = (mean(&all[..4]), mean(&all[all.len() - 4..]));
    assert!(first > 0.7 && last < 0.2, "{first} {last}");
}

#[test]
fn hybrid_training_takes_plain_steps_and_goes_on_as_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let step = step_model(folder.path(), &["--r", "0.25"]);
    let hybrid = |out: &str, epochs: &str, more: &[&str]| {
        let arguments = [&["--lr", "0.05", "--hybrid", "0.5", "--epochs", epochs], more].concat();
        steps(&step, &folder.path().join(out), &arguments)
    };
    let whole = hybrid("whole", "4", &[]);
    let plain: Vec<_> = whole.iter().filter(|step| step["r"] == 0.0).collect();
    let others = whole.iter().filter(|step| step["r"] == 0.25).count();
    assert!(plain.len() > 16 && others > 16 && plain.len() + others == whole.len(), "{} {others}", plain.len());
    for step in plain {
        assert_eq!((&step["loss_perturbed"], &step["sharpness"]), (&step["loss"], &Value::from(0.0)));
        assert_eq!(step["mixed_grad_norm"], step["grad_norm"]);
    }

    hybrid("parts", "2", &[]);
    let parts = hybrid("parts", "4", &["--resume"]);
    assert_eq!(numbers(&parts, "r"), numbers(&whole, "r"));
    let state = |out: &str| fs::read(folder.path().join(out).join("state.safetensors")).unwrap();
    assert!(state("parts") == state("whole"));
    let said = refusal(&mut run(&step, &folder.path().join("parts"), &["--lr", "0.05", "--epochs", "5", "--resume"]));
    assert_says(&said, &["the run was begun otherwise: hybrid was 0.5, is not given"]);
}

#[test]
fn a_warm_up_in_epochs_is_that_of_as_many_steps() {
    let folder = tempfile::tempdir().unwrap();
    let model = models().join("mlp/model.onnx");
    let run = |name: &str, length: &[&str]| {
        let arguments = ["--loss", "cross-entropy", "--r", "0.25", "--gr-warmup", "r", "--epochs", "2", "--lr", "0.05"];
        let out = folder.path().join(name);
        let steps = steps(&model, &out, &[&arguments[..], length].concat());
        (steps, fs::read(out.join("model.onnx")).unwrap())
    };
    let (in_epochs, trained) = run("epochs", &["--gr-warmup-epochs", "0.5"]);
    let (in_steps, same) = run("steps", &["--gr-warmup-steps", "8"]);
    assert!(trained == same);
    let expected: Vec<f32> = (0..in_epochs.len()).map(|step| 0.25 * (step as f32 / 8.0).min(1.0)).collect();
    assert_eq!(numbers(&in_epochs, "r"), expected);
    assert_eq!(numbers(&in_steps, "r"), expected);
    // The graph does what is said of it.
    assert_eq!(in_epochs[0]["loss_perturbed"], in_epochs[0]["loss"]);
    assert!(in_epochs[1]["sharpness"].as_f64() > Some(0.0));
}

#[test]
fn the_length_of_a_step_models_warm_up_can_be_set() {
    let folder = tempfile::tempdir().unwrap();
    let step = step_model(folder.path(), &["--r", "0.5", "--gr-warmup", "zero", "--gr-warmup-steps", "3"]);
    let plain = |out: &str, arguments: &[&str]| {
        let steps = steps(&step, &folder.path().join(out), &[&["--epochs", "1"], arguments].concat());
        let count = |wanted: &dyn Fn(&Value) -> bool| steps.iter().filter(|&step| wanted(step)).count();
        let by_report = count(&|step| step["r"] == 0.0);
        assert_eq!(by_report, count(&|step| step["sharpness"] == 0.0));
        by_report
    };
    assert_eq!(plain("own", &[]), 3);
    assert_eq!(plain("epochs", &["--gr-warmup-epochs", "0.5"]), STEPS_PER_EPOCH / 2);
    assert_eq!(plain("by name", &["--set", "gnp.warmup_steps=5"]), 5);
}

#[test]
fn artifacts_with_inputs_are_warmed_up_by_what_they_are_fed() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let exposed = artifacts(folder.path(), &["--expose", "r,alpha", "--metrics", "--r", "0.25", "--mix", "unit"]);
    let warm = ["--epochs", "1", "--gr-warmup", "r", "--gr-warmup-steps", "8", "--hybrid", "0.75"];
    let all = steps(&exposed, &folder.path().join("out"), &warm);
    let radii = numbers(&all, "r");
    let ramp = |step: usize| 0.25 * (step as f32 / 8.0).min(1.0);
    assert!(radii.iter().enumerate().all(|(step, r)| *r == 0.0 || *r == ramp(step)), "{radii:?}");
    assert!(radii[1..].contains(&0.0) && radii.contains(&0.25), "{radii:?}");
    for step in &all {
        assert_eq!(step["r"] == 0.0, step["sharpness"] == 0.0, "{step}");
        assert!(step["param_norm"].is_number() && step["alpha"] == 0.8, "{step}");
    }

    let said = |arguments: &[&str]| refusal(&mut run(&exposed, &folder.path().join("other"), arguments));
    let length = said(&["--epochs", "1", "--gr-warmup", "r"]);
    assert_says(&length, &["the warm-up of the penalty has no length", "--gr-warmup-epochs"]);
    let vain = said(&["--epochs", "1", "--gr-warmup-epochs", "1"]);
    assert_says(&vain, &["--gr-warmup-epochs is of no use: the penalty is not warmed up"]);

    let constant = models().join("mlp");
    let said = |arguments: &[&str]| refusal(&mut run(&constant, &folder.path().join("other"), arguments));
    let hybrid = said(&["--epochs", "1", "--hybrid", "0.5"]);
    assert_says(&hybrid, &["hybrid training needs a graph with an input for r", "gnp-rewrite --expose r"]);
    let warmup = said(&["--epochs", "1", "--gr-warmup", "lambda", "--gr-warmup-steps", "5"]);
    assert_says(&warmup, &["needs a graph with an input for alpha", "gnp-rewrite --expose alpha"]);
}

#[test]
fn the_learning_rate_follows_its_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let step = step_model(folder.path(), &[]);
    let stepped = ["--epochs", "3", "--lr", "0.08", "--schedule", "stepped", "--milestones", "1,2", "--gamma", "0.5"];
    let all = steps(&step, &folder.path().join("out"), &[&stepped[..], &["--warmup", "0.25ep"]].concat());
    let rates = numbers(&all, "learning_rate");
    assert_eq!(rates[..5], [0.02, 0.04, 0.06, 0.08, 0.08]);
    assert_eq!([15, 16, 31, 32, 47].map(|step| rates[step]), [0.08, 0.04, 0.04, 0.02, 0.02]);
    let said = refusal(&mut run(&step, &folder.path().join("b"), &["--epochs", "1", "--schedule", "stepped"]));
    assert_says(&said, &["a stepped schedule needs the epochs of its steps", "--milestones 60,120,160"]);
    let said = refusal(&mut run(&step, &folder.path().join("b"), &["--epochs", "1", "--warmup", "soon"]));
    assert_says(&said, &["expected a number of steps, as in 500, or of epochs, as in 5ep"]);
}
