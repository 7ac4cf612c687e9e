//! Optimizers and warm-ups inside a training graph: of artifacts made of a forward model, and put into artifacts that
//! are there. Against PyTorch's numbers, and the formula in double precision; through a checkpoint in the middle.
use crate::support::command::gnp_rewrite;
use crate::support::training_runtime;
use gnp::engine::ort_training::Artifacts;
use gnp::engine::{Engine as _, EngineOptions, OrtTraining, Rates};
use gnp::onnx;
use gnp::penalty::Warmup;
use gnp::tensor::Tensor;
use ndarray::{Array1, Array2, ArrayD, Axis};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// Of the way that the parameters went.
const BOUND: f64 = 1e-5;
/// The same where the runtime's own AdamW takes the step. It computes 1 − β₂ᵗ in single precision, which is off by up to
/// 6e-5 at first. So the parameters themselves are held to [`BOUND`].
const BOUND_OF_ADAMW: f64 = 5e-5;

type Rows = Vec<Vec<f64>>;

/// `tests/fixtures/optimizers/make.py` says what these are.
#[derive(Deserialize)]
struct Fixture {
    start: (Rows, Vec<f64>),
    batches: Vec<(Rows, Rows)>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    flags: Vec<String>,
    after: (Rows, Vec<f64>),
}

/// The parameters of y = x·w + b.
#[derive(Clone)]
struct Theta {
    w: Array2<f64>,
    b: Array1<f64>,
}

/// x and the targets.
type Batch = (Array2<f64>, Array2<f64>);

fn matrix(rows: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(row, column)| rows[row][column])
}

impl Theta {
    fn of((w, b): &(Rows, Vec<f64>)) -> Self {
        Self { w: matrix(w), b: Array1::from_vec(b.clone()) }
    }

    /// self + factor·other.
    fn plus(&self, factor: f64, other: &Self) -> Self {
        Self { w: &self.w + factor * &other.w, b: &self.b + factor * &other.b }
    }

    fn scaled(&self, factor: f64) -> Self {
        Self { w: factor * &self.w, b: factor * &self.b }
    }

    fn norm(&self) -> f64 {
        (self.w.iter().chain(&self.b).map(|x| x * x).sum::<f64>()).sqrt()
    }

    /// The gradient of the mean squared error.
    fn gradient(&self, (x, target): &Batch) -> Self {
        let error = 2.0 / target.len() as f64 * (x.dot(&self.w) + &self.b - target);
        Self { w: x.t().dot(&error), b: error.sum_axis(Axis(0)) }
    }

    /// (1 − α)·∇L(θ) + α·∇L(θ + r·∇L/‖∇L‖).
    fn penalised(&self, batch: &Batch, r: f64, alpha: f64) -> Self {
        let here = self.gradient(batch);
        let there = self.plus(r / here.norm(), &here).gradient(batch);
        here.scaled(1.0 - alpha).plus(alpha, &there)
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn fixture() -> Fixture {
    serde_json::from_str(&fs::read_to_string(fixtures().join("optimizers/optimizers.json")).unwrap()).unwrap()
}

fn batches(fixture: &Fixture) -> Vec<Batch> {
    let batches: Vec<Batch> = fixture.batches.iter().map(|(x, target)| (matrix(x), matrix(target))).collect();
    assert_eq!(batches.len(), 50);
    batches
}

/// Artifacts with what the flags name inside: made of the forward model, and put into those of the package.
fn both_ways(folder: &Path, flags: &[String]) -> [PathBuf; 2] {
    let linear = fixtures().join("artifacts/linear");
    let [made, put] = ["made", "put"].map(|name| folder.join(name));
    let mut command = gnp_rewrite();
    command.arg(linear.join("model.onnx")).args(["--emit", "ort-training", "--loss", "mse", "--quiet", "-o"]);
    command.arg(&made).args(flags).assert().success();
    gnp_rewrite().arg(linear).arg("--quiet").arg("-o").arg(&put).args(flags).assert().success();
    [made, put]
}

fn load(folder: &Path, checkpoint: PathBuf) -> OrtTraining {
    let artifacts = Artifacts { checkpoint, ..Artifacts::in_folder(folder) };
    let options = EngineOptions { threads: NonZero::new(1), ..EngineOptions::default() };
    OrtTraining::load(&training_runtime(), &artifacts, &options).unwrap()
}

fn tensor(array: &Array2<f64>) -> Tensor {
    Tensor::F32(array.mapv(|x| x as f32).into_dyn())
}

/// θ after a step with each of the batches, as the runtime trains the artifacts in `folder`: by one engine up to the
/// middle, and from there by another, from what the first one has saved. Of `not_finite` batches before each it can
/// make no number, and so takes no step.
fn trained(folder: &Path, batches: &[Batch], rate: f32, not_finite: usize) -> Theta {
    let mut engine = load(folder, folder.join("checkpoint"));
    for (number, (x, target)) in batches.iter().enumerate() {
        if number == batches.len() / 2 {
            let saved = folder.join("saved");
            engine.save(&saved).unwrap();
            engine = load(folder, saved);
        }
        for _ in 0..not_finite {
            let nowhere = [tensor(&x.mapv(|_| f64::NAN)), tensor(target)];
            let returned = engine.step(&nowhere, &Rates::new(rate)).unwrap();
            assert!(returned[0].to_scalar().unwrap().is_nan());
        }
        engine.step(&[tensor(x), tensor(target)], &Rates::new(rate)).unwrap();
    }
    let read = |name: &str| -> ArrayD<f64> { engine.parameter(name).unwrap().as_f32().unwrap().mapv(f64::from) };
    Theta { w: read("w").into_dimensionality().unwrap(), b: read("b").into_dimensionality().unwrap() }
}

/// Checks that the way from `start` to `found` is that to `expected`.
#[track_caller]
fn assert_way(what: &str, start: &Theta, found: &Theta, expected: &Theta, bound: f64) {
    let largest = |x: &Theta| x.w.iter().chain(&x.b).fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let error = largest(&found.plus(-1.0, expected));
    let of_way = error / largest(&expected.plus(-1.0, start));
    println!("{what}: {of_way:.1e}");
    assert!(of_way <= bound && error <= BOUND * largest(expected), "{what}: {of_way:e}");
}

/// Whether the runtime's own AdamW takes the step of the artifacts in `folder`.
fn is_adamw(folder: &Path) -> bool {
    let optimizer = onnx::read(folder.join("optimizer_model.onnx")).unwrap();
    optimizer.graph.node[0].op_type() == "AdamWOptimizer"
}

/// PyTorch's default, as in the fixture.
fn rate(flags: &[String]) -> f32 {
    if flags.iter().any(|flag| flag == "rmsprop") { 1e-2 } else { 1e-3 }
}

fn plain(flags: &[String]) -> Vec<String> {
    ["--r", "0"].map(str::to_owned).into_iter().chain(flags.iter().cloned()).collect()
}

#[test]
fn optimizers_are_those_of_pytorch() {
    needs!(engines);
    let fixture = fixture();
    let (start, batches) = (Theta::of(&fixture.start), batches(&fixture));
    for (name, case) in &fixture.cases {
        let folder = tempfile::tempdir().unwrap();
        for artifacts in both_ways(folder.path(), &plain(&case.flags)) {
            let found = trained(&artifacts, &batches, rate(&case.flags), 0);
            let what = format!("{name}, {}", artifacts.file_name().unwrap().display());
            let bound = if is_adamw(&artifacts) { BOUND_OF_ADAMW } else { BOUND };
            assert_way(&what, &start, &found, &Theta::of(&case.after), bound);
        }
    }
}

#[test]
fn a_step_that_comes_to_no_number_leaves_what_is_kept() {
    needs!(engines);
    let fixture = fixture();
    let (start, batches) = (Theta::of(&fixture.start), batches(&fixture));
    for name in ["momentum", "nesterov", "rmsprop", "adamw, groups", "momentum, clipped and decayed"] {
        let case = &fixture.cases[name];
        let folder = tempfile::tempdir().unwrap();
        for artifacts in both_ways(folder.path(), &plain(&case.flags)) {
            let found = trained(&artifacts, &batches, rate(&case.flags), 1);
            assert_way(name, &start, &found, &Theta::of(&case.after), BOUND);
        }
    }
}

#[test]
fn warm_ups_are_the_formula() {
    needs!(engines);
    let (r, alpha, steps, rate, momentum) = (0.5_f32, 0.75_f32, 20, 0.05, 0.9);
    let fixture = fixture();
    let (start, batches) = (Theta::of(&fixture.start), batches(&fixture));
    for (name, warmup) in [("r", Warmup::R), ("lambda", Warmup::Lambda), ("zero", Warmup::Zero)] {
        let flags = format!(
            "--optimizer momentum --r {r} --alpha {alpha} --gr-warmup {name} --gr-warmup-steps {steps} --clip-norm 1"
        );
        let flags: Vec<String> = flags.split(' ').map(str::to_owned).collect();
        let ways = [true, false].map(|is_warmed_up| {
            let (mut theta, mut velocity) = (start.clone(), start.scaled(0.0));
            for (number, batch) in batches.iter().enumerate() {
                let done = if is_warmed_up { number } else { batches.len() };
                let (r, alpha) = warmup.at(done as u64, steps as f32, r, alpha);
                let gradient = theta.penalised(batch, r.into(), alpha.into());
                let clipped = gradient.scaled((1.0 / gradient.norm()).min(1.0));
                velocity = clipped.plus(momentum, &velocity);
                theta = theta.plus(-f64::from(rate), &velocity);
            }
            theta
        });
        let [expected, without] = ways;
        assert!(expected.plus(-1.0, &without).norm() > 100.0 * BOUND, "the warm-up makes no difference");
        let folder = tempfile::tempdir().unwrap();
        for artifacts in both_ways(folder.path(), &flags) {
            for not_finite in [0, 2] {
                let found = trained(&artifacts, &batches, rate, not_finite);
                assert_way(&format!("warm-up {name}"), &start, &found, &expected, BOUND);
            }
        }
    }
}
