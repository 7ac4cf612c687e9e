//! Trains a model on data from files, as `gnp-run model.onnx --data digits.npz` does, and says what came of it.
//!
//!     cargo run --release --example train -- models/mlp/model.onnx models/digits.npz runs/example

use gnp::engine::EngineKind;
use gnp::experiment::{Observer, Run, run};
use gnp::loss::LossKind;
use gnp::penalty::Penalty;
use gnp::report::Event;
use gnp::rewrite::StepOptions;
use std::sync::atomic::AtomicBool;

/// Prints a line an epoch.
struct Console;

impl Observer for Console {
    fn event(&mut self, event: &Event) {
        if let Event::Epoch(report) = event {
            let error = report.test_error.map_or("unknown".to_owned(), |error| format!("{:.2} %", 100.0 * error));
            println!("epoch {:>2}  loss {:.4}  test error {error}", report.epoch, report.measures.loss);
        }
    }
}

fn main() -> gnp::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(data), Some(folder)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(gnp::Error::input("expected three arguments: MODEL DATA FOLDER"));
    };
    let mut settings = Run::new(model, data, folder);
    settings.model.step = Some(StepOptions {
        loss: LossKind::CrossEntropy.into(),
        penalty: Penalty { r: 0.1, alpha: 0.8, ..Penalty::default() },
        ..StepOptions::default()
    });
    settings.data.preparation.divisor = Some(16.0);
    settings.training.epochs = 10;
    settings.training.learning_rate = Some(0.05);
    settings.engine.engine = EngineKind::Tract.into();

    // Another thread, or a signal handler, may set this to have the run stop with a checkpoint.
    let stop = AtomicBool::new(false);
    let outcome = run(settings, &mut Console, &stop)?;
    if let Some((what, file)) = outcome.result {
        println!("{what}: {}", file.display());
    }
    Ok(())
}
