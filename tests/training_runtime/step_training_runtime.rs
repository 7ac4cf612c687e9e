//! The training build of ONNX Runtime runs step models too.
use crate::support::step::{self, batch, difference};
use crate::support::{models, training_runtime};

use gnp::engine::EngineOptions;
use gnp::engine::{Engine as _, Ort, Rates, StepEngine as _, Tract};
use gnp::loss::LossKind;
use gnp::onnx::{self, WriteOptions};
use gnp::rewrite::{StepOptions, make_step};
use gnp::tensor::Tensor;
use ndarray::ArrayD;
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

/// Dropout too, whose draws are those of any other engine.
#[test]
fn the_training_runtime_draws() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = onnx::read(models().join("cnn/model.onnx")).unwrap();
    let options = StepOptions { loss: LossKind::CrossEntropy.into(), ..StepOptions::default() };
    let path = folder.path().join("step.onnx");
    onnx::write(make_step(model, &options).unwrap().0, &path, &WriteOptions::default()).unwrap();
    let step = onnx::read(&path).unwrap();
    assert!(step.graph.input.iter().any(|input| input.name() == gnp::contract::SEED));

    let options = EngineOptions { threads: NonZero::new(1), seed: 7, ..EngineOptions::default() };
    let mut ort = Ort::load(&training_runtime(), &step, None, &options).unwrap();
    let mut tract = Tract::load(&step, None, &options).unwrap();
    for (number, samples) in [8usize, 5, 8].into_iter().enumerate() {
        let pixels = (0..samples * 784).map(|i| (i * 7919 % 1000 + number) as f32 / 1000.0).collect();
        let labels = (0..samples as i64).map(|i| i % 10).collect();
        let batch = [
            Tensor::F32(ArrayD::from_shape_vec(vec![samples, 1, 28, 28], pixels).unwrap()),
            Tensor::I64(ArrayD::from_shape_vec(vec![samples], labels).unwrap()),
        ];
        let (a, b) = (ort.step(&batch, &Rates::new(0.1)).unwrap(), tract.step(&batch, &Rates::new(0.1)).unwrap());
        assert!(difference(&a[0], &b[0]) < 1e-4, "{:?} {:?}", a[0], b[0]);
    }
}
