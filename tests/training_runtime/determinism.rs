//! The seed decides every random draw, though ONNX Runtime draws from one generator a process.

use gnp::engine::EngineOptions;
use gnp::engine::ort_training::Artifacts;
use gnp::engine::{Engine, OrtTraining, Rates, runtime};
use gnp::tensor::Tensor;
use ndarray::{ArrayD, IxDyn};
use std::path::Path;

/// The CNN, which has a Dropout.
fn cnn() -> Artifacts {
    Artifacts::in_folder(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/cnn")))
}

fn load(artifacts: &Artifacts, seed: i64) -> OrtTraining {
    let runtime = runtime::install_training(&mut |_| {}).unwrap();
    OrtTraining::load(&runtime, artifacts, &EngineOptions { seed, ..EngineOptions::default() }).unwrap()
}

fn steps(engine: &mut OrtTraining, count: usize) {
    let samples = 32;
    let pixels = (0..samples * 784).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect();
    let labels = (0..samples as i64).map(|i| i % 10).collect();
    let batch = [
        Tensor::F32(ArrayD::from_shape_vec(IxDyn(&[samples, 1, 28, 28]), pixels).unwrap()),
        Tensor::I64(ArrayD::from_shape_vec(IxDyn(&[samples]), labels).unwrap()),
    ];
    for _ in 0..count {
        engine.step(&batch, &Rates::new(0.01)).unwrap();
    }
}

fn parameters(engine: &OrtTraining) -> Vec<Tensor> {
    ["conv1.weight", "conv2.bias", "bn1.running_mean"].map(|name| engine.parameter(name).unwrap()).to_vec()
}

#[test]
fn the_seed_decides_every_draw() {
    needs!(engines);
    let uninterrupted = |seed| {
        let mut engine = load(&cnn(), seed);
        steps(&mut engine, 6);
        parameters(&engine)
    };
    let expected = uninterrupted(1);
    assert_eq!(uninterrupted(1), expected);
    assert_ne!(uninterrupted(2), expected);
    // Beside another run in another thread.
    std::thread::scope(|scope| {
        let other = scope.spawn(|| uninterrupted(2));
        assert_eq!(uninterrupted(1), expected);
        other.join().unwrap();
    });

    // Stopped and resumed.
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint");
    let mut stopped = load(&cnn(), 1);
    steps(&mut stopped, 2);
    stopped.save(&checkpoint).unwrap();
    let mut resumed = load(&Artifacts { checkpoint, ..cnn() }, 1);
    steps(&mut resumed, 4);
    assert_eq!(parameters(&resumed), expected);
}
