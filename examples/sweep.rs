//! Compares plain training, GNP and SAM over seeds, as `gnp-run sweep` does.
//!
//!     cargo run --release --example sweep -- models/mlp/model.onnx models/digits.npz sweeps/example

use gnp::engine::EngineKind;
use gnp::experiment::sweep::{self, Summary, Sweep, SweepObserver, grid};
use gnp::experiment::{Init, Run};
use gnp::loss::LossKind;
use gnp::rewrite::StepOptions;
use std::num::NonZero;
use std::sync::atomic::AtomicBool;

/// Ignores all that happens.
struct Quiet;

impl SweepObserver for Quiet {}

fn main() -> gnp::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, folder] = &*arguments else {
        return Err(gnp::Error::input("expected three arguments: MODEL DATA FOLDER"));
    };
    let sweep = Sweep {
        arms: grid(&[0.5], &[0.0, 0.8, 1.0])?,
        seeds: vec![0, 1],
        jobs: NonZero::<usize>::MIN.saturating_add(1),
        folder: folder.into(),
    };
    let of = |arm: usize, seed: u64| {
        let mut run = Run::new(model, data, "");
        let loss = LossKind::CrossEntropy.into();
        run.model.step = Some(StepOptions { loss, ..StepOptions::default() });
        run.data.preparation.divisor = Some(16.0);
        run.data.label_noise = 0.4;
        run.engine.engine = EngineKind::Tract.into();
        run.engine.threads = Some(NonZero::<u16>::MIN);
        run.training.learning_rate = Some(0.05);
        run.model.init = Init::Shuffle;
        let point = sweep.arms[arm].point;
        run.training.r = point.map(|point| point.r);
        run.training.alpha = point.map(|point| point.alpha);
        run.training.epochs = 5;
        run.seed = seed;
        Ok(run)
    };
    let Some(results) = sweep::run(&sweep, &of, &Quiet, &AtomicBool::new(false))? else { return Ok(()) };
    for arm in Summary::of(&sweep, &results).arms {
        if let Some(error) = arm.test_error {
            let margin = error.standard_error.unwrap_or(0.0);
            println!("{:<24} test error {:.2} ± {:.2} %", arm.name, 100.0 * error.mean, 100.0 * margin);
        }
    }
    Ok(())
}
