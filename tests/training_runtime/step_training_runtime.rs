//! The training build of ONNX Runtime runs step models too.
use crate::support::step::{self, batch, difference};
use crate::support::training_runtime;

use gnp::engine::EngineOptions;
use gnp::engine::{Engine as _, Ort, Rates, StepEngine as _, Tract};
use std::num::NonZero;

#[test]
fn the_training_runtime_runs_step_models() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let (step, eval) = step::write(folder.path());
    let (step, eval) = (step::read(&step), step::read(&eval));
    let options = EngineOptions { threads: NonZero::new(1), ..EngineOptions::default() };
    let mut ort = Ort::load(&training_runtime(), &step, Some(&eval), &options).unwrap();
    let mut tract = Tract::load(&step, Some(&eval), &options).unwrap();
    for number in 0..3 {
        let (a, b) = (ort.step(&batch(8, number), &Rates::new(0.2)), tract.step(&batch(8, number), &Rates::new(0.2)));
        assert!(difference(&a.unwrap()[0], &b.unwrap()[0]) < 1e-5);
    }
    let (a, b) = (ort.state().unwrap(), tract.state().unwrap());
    assert!(a.iter().zip(b.iter()).all(|((_, a), (_, b))| difference(a, b) < 1e-5));
    let (a, b) = (ort.evaluate(&batch(6, 9)).unwrap(), tract.evaluate(&batch(6, 9)).unwrap());
    assert!(a.iter().zip(&b).all(|(a, b)| difference(a, b) < 1e-5));
}
