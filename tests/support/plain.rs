//! The formula, evaluated with the unmodified artifact: what a rewritten one is compared with.

use super::{Example, RATES, Vector, gradient, norm, read, write};
use gnp::emit::artifact::Settings;
use gnp::engine::Engine as _;
use gnp::penalty::Perturbation;
use gnp::rewrite::{Options, rewrite};
use gnp::tensor::Tensor;
use std::path::{Path, PathBuf};

const BATCH: usize = 24;

pub fn rewritten(example: &Example, settings: Settings, folder: &Path) -> PathBuf {
    let output = folder.join("training_model.onnx");
    rewrite(&example.training_model(), &output, &Options { settings, force: true, ..Options::default() }).unwrap();
    output
}

/// The unmodified artifact as a function from parameters to gradients; every call sees the same random draws.
pub struct Plain<'e> {
    pub example: &'e Example,
    pub parameters: Vec<String>,
    pub batch: Vec<Tensor>,
}

impl<'e> Plain<'e> {
    pub fn new(example: &'e Example) -> Self {
        Self { example, parameters: example.parameters(), batch: example.batch(BATCH) }
    }

    pub fn theta(&self) -> Vector {
        read(&self.example.load(&self.example.training_model()), &self.parameters)
    }

    pub fn gradient_at(&self, theta: &[f64]) -> Vector {
        let mut engine = self.example.load(&self.example.training_model());
        write(&mut engine, &self.parameters, theta);
        gradient(&mut engine, &self.parameters, &self.batch, &RATES)
    }

    pub fn loss_at(&self, theta: &[f64]) -> f64 {
        let mut engine = self.example.load(&self.example.training_model());
        write(&mut engine, &self.parameters, theta);
        f64::from(engine.step(&self.batch, &RATES).unwrap()[0].to_scalar().unwrap())
    }
}

/// θ + ε, by the papers' formulas, in double precision.
pub fn perturbed(theta: &[f64], g: &[f64], r: f64, kind: Perturbation) -> Vector {
    let weighted: Vector = match kind {
        Perturbation::L2 => g.to_vec(),
        Perturbation::Adaptive => theta.iter().zip(g).map(|(w, g)| w * g).collect(),
    };
    let scale = r / norm(&weighted);
    let epsilon = weighted.iter().zip(theta).map(|(v, w)| match kind {
        Perturbation::L2 => scale * v,
        Perturbation::Adaptive => scale * w * v,
    });
    theta.iter().zip(epsilon).map(|(w, e)| w + e).collect()
}
