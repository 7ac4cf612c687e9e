//! What the end-to-end tests share: the runtime, the example artifacts, batches, and gradients read through the engine.
#![allow(dead_code, reason = "each test uses what it needs")]

#[macro_use]
pub mod needs;

pub mod browser;
pub mod calls;
pub mod command;
pub mod forward;
pub mod halves;
pub mod kills;
pub mod plain;
pub mod python;
pub mod run;
pub mod step;

use gnp::engine::EngineOptions;
use gnp::engine::ort_training::{Artifacts, OrtTraining};
use gnp::engine::runtime::{self, Runtime};
use gnp::engine::{Engine as _, Rates};
use gnp::onnx;
use gnp::tensor::Tensor;
use ndarray::ArrayD;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Keeps other tests that use `what` in the build folder out until it is dropped: those of other processes, too.
pub fn alone(what: &str) -> File {
    let file = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join(what).with_extension("lock")).unwrap();
    file.lock().unwrap();
    file
}

/// The seed of every engine of these tests. ONNX Runtime draws from one generator a process, so that tests that run at
/// once must agree on it.
pub const SEED: i64 = 11;

pub const RATES: Rates = Rates::new(0.0);

/// The runtime that all tests of a process share, fetched where it is missing.
pub fn training_runtime() -> Runtime {
    runtime::install_training(&mut |_| {}).unwrap()
}

pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// An example artifact whose optimizer is plain gradient descent, w ← w − lr·g, so that g can be read back.
pub struct Example {
    pub name: &'static str,
    pub sample: &'static [usize],
}

pub const EXAMPLES: [Example; 4] = [
    Example { name: "mlp", sample: &[64] },
    Example { name: "cnn", sample: &[1, 28, 28] },
    Example { name: "vit", sample: &[1, 8, 8] },
    Example { name: "cnn_head", sample: &[1, 28, 28] },
];

impl Example {
    pub fn training_model(&self) -> PathBuf {
        models().join(self.name).join("training_model.onnx")
    }

    /// The trainable parameters.
    pub fn parameters(&self) -> Vec<String> {
        let model = onnx::read(self.training_model()).unwrap();
        let suffix = "_grad.accumulation.buffer";
        model.graph.input.iter().filter_map(|i| i.name().strip_suffix(suffix)).map(str::to_owned).collect()
    }

    /// The example's own parameters, with another training model.
    pub fn load(&self, training_model: &Path) -> OrtTraining {
        let artifacts = Artifacts {
            training_model: training_model.to_owned(),
            eval_model: None,
            optimizer_model: models().join("sgd_optimizer.onnx"),
            ..Artifacts::in_folder(&models().join(self.name))
        };
        OrtTraining::load(&training_runtime(), &artifacts, &EngineOptions { seed: SEED, ..EngineOptions::default() })
            .unwrap()
    }

    /// A batch of `count` samples of noise with labels from 0 to 9.
    pub fn batch(&self, count: usize) -> Vec<Tensor> {
        let shape: Vec<usize> = [count].iter().chain(self.sample).copied().collect();
        let pixel = |i: usize| ((i * 7919 + 104_729) % 1009) as f32 / 1009.0;
        let pixels = (0..shape.iter().product()).map(pixel).collect();
        let labels = (0..count).map(|i| (i * 3 % 10) as i64).collect();
        vec![
            Tensor::F32(ArrayD::from_shape_vec(shape, pixels).unwrap()),
            Tensor::I64(ArrayD::from_shape_vec(vec![count], labels).unwrap()),
        ]
    }
}

/// A vector in the space of all trainable parameters.
pub type Vector = Vec<f64>;

pub fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// ‖a − b‖/‖b‖.
pub fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    norm(&a.iter().zip(b).map(|(x, y)| x - y).collect::<Vec<_>>()) / norm(b)
}

pub fn read(engine: &OrtTraining, parameters: &[String]) -> Vector {
    let tensors = parameters.iter().map(|name| engine.parameter(name).unwrap());
    tensors.flat_map(|t| t.as_f32().unwrap().iter().map(|x| f64::from(*x)).collect::<Vec<_>>()).collect()
}

/// Sets the parameters to `values`, rounded to float32.
pub fn write(engine: &mut OrtTraining, parameters: &[String], values: &[f64]) {
    let mut values = values.iter();
    for name in parameters {
        let shape = engine.parameter(name).unwrap().shape().to_vec();
        let count = shape.iter().product();
        let array = values.by_ref().take(count).map(|x| *x as f32).collect();
        engine.set_parameter(name, &Tensor::F32(ArrayD::from_shape_vec(shape, array).unwrap())).unwrap();
    }
}

/// The gradient that the training model accumulates at the parameters as they stand, read through one step of gradient
/// descent. The learning rate is a power of two, so large that rounding w − lr·g costs about half a unit in the last
/// place of the gradient. The parameters are put back.
pub fn gradient(engine: &mut OrtTraining, parameters: &[String], batch: &[Tensor], rates: &Rates) -> Vector {
    let learning_rate = 65536.0;
    let before = read(engine, parameters);
    engine.step(batch, &Rates { learning_rate, ..rates.clone() }).unwrap();
    let after = read(engine, parameters);
    write(engine, parameters, &before);
    before.iter().zip(&after).map(|(w, v)| (w - v) / f64::from(learning_rate)).collect()
}
