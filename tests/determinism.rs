//! The seed decides every random draw. Alone in its process, because dropout draws from one generator a process.

#![allow(clippy::unwrap_used)]

use gnp::engine::ort_training::{Artifacts, Options};
use gnp::engine::{Engine, OrtTraining, Rates, Tensor, runtime};
use ndarray::{ArrayD, IxDyn};
use std::path::Path;

/// The parameters of the CNN, which has a Dropout, after five steps.
fn train(seed: i64) -> Vec<Tensor> {
    let artifacts = Artifacts::in_folder(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/cnn")));
    let runtime = runtime::install_training(&mut |_| {}).unwrap();
    let options = Options { seed, ..Options::default() };
    let mut engine = OrtTraining::load(&runtime, &artifacts, &options).unwrap();

    let samples = 32;
    let pixels = (0..samples * 784).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect();
    let labels = (0..samples as i64).map(|i| i % 10).collect();
    let batch = [
        Tensor::F32(ArrayD::from_shape_vec(IxDyn(&[samples, 1, 28, 28]), pixels).unwrap()),
        Tensor::I64(ArrayD::from_shape_vec(IxDyn(&[samples]), labels).unwrap()),
    ];
    for _ in 0..5 {
        engine.step(&batch, &Rates { learning_rate: 0.01, r: None, alpha: None }).unwrap();
    }
    ["conv1.weight", "conv2.bias"].map(|name| engine.parameter(name).unwrap()).to_vec()
}

#[test]
fn equal_seeds_give_equal_bits_and_others_do_not() {
    let first = train(1);
    assert_eq!(first, train(1));
    assert_ne!(first, train(2));
}
