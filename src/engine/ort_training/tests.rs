use super::*;
use crate::engine::{Device, ElementType, runtime};
use ndarray::{ArrayD, IxDyn};
use std::fs;

/// The runtime that all tests of the process share.
fn training_runtime() -> Runtime {
    runtime::install_training(&mut |_| {}).unwrap()
}

fn artifacts(model: &str) -> Artifacts {
    let folder = Path::new(&std::env::var("MODELS").unwrap()).join(model);
    Artifacts {
        training_model: folder.join("training_model.onnx"),
        eval_model: Some(folder.join("eval_model.onnx")),
        optimizer_model: folder.join("optimizer_model.onnx"),
        checkpoint: folder.join("checkpoint"),
    }
}

fn ports(sample: &[usize]) -> Vec<Port> {
    let dims = [None].into_iter().chain(sample.iter().copied().map(Some)).collect();
    vec![
        Port { name: "input".into(), element: ElementType::F32, dims },
        Port { name: "labels".into(), element: ElementType::I64, dims: vec![None] },
    ]
}

fn load(model: &str, sample: &[usize]) -> OrtTraining {
    OrtTraining::load(
        &training_runtime(),
        &artifacts(model),
        &ports(sample),
        &Options { seed: 7, ..Options::default() },
    )
    .unwrap()
}

/// A batch of 16 samples, the same for the same `start`.
fn batch(sample: &[usize], start: usize) -> Vec<Tensor> {
    let shape: Vec<usize> = [16].iter().chain(sample).copied().collect();
    let count: usize = shape.iter().product();
    let pixels = (0..count).map(|i| ((i * 7919 + start * 104_729) % 1000) as f32 / 1000.0).collect();
    let labels = (0..16).map(|i| ((i + start) % 10) as i64).collect();
    vec![
        Tensor::F32(ArrayD::from_shape_vec(IxDyn(&shape), pixels).unwrap()),
        Tensor::I64(ArrayD::from_shape_vec(IxDyn(&[16]), labels).unwrap()),
    ]
}

const RATES: Rates = Rates { learning_rate: 0.01, r: None, alpha: None };

#[test]
fn time_it() {
    for (model, sample, p) in
        [("mlp", &[64][..], "fc1.weight"), ("cnn", &[1, 28, 28], "conv1.weight"), ("vit", &[1, 8, 8], "patch.weight")]
    {
        let mut finals = vec![];
        for _ in 0..2 {
            let mut e = load(model, sample);
            let b = batch(sample, 0);
            let mut loss = vec![];
            for _ in 0..20 {
                loss.push(e.step(&b, &RATES).unwrap()[0].to_scalar().unwrap());
            }
            let t = std::time::Instant::now();
            for _ in 0..200 {
                e.step(&b, &RATES).unwrap();
            }
            eprintln!("{model} {:?} a step; {loss:?}", t.elapsed() / 200);
            let t = std::time::Instant::now();
            for _ in 0..200 {
                e.evaluate(&b).unwrap();
            }
            eprintln!("{model} {:?} an eval", t.elapsed() / 200);
            finals.push(e.parameter(p).unwrap());
        }
        eprintln!("equal: {}", finals[0] == finals[1]);
    }
}
