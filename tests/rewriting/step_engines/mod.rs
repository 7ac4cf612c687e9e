//! One step model on every engine that runs one.

mod agreement;
mod contract;

use crate::support::step::{self, batch, difference};
use gnp::engine::EngineOptions;
use gnp::engine::runtime::{self, Runtime};
use gnp::engine::{Ort, Rates, State, StepEngine, Tract};
use gnp::tensor::Tensor;
use std::path::Path;

fn stock() -> Runtime {
    runtime::install_onnxruntime(&mut |_| {}).unwrap()
}

/// A fresh engine of each kind.
fn engines(folder: &Path) -> [(&'static str, Box<dyn StepEngine>); 2] {
    let (step, eval) = step::write(folder);
    let (step, eval) = (step::read(&step), step::read(&eval));
    let options = EngineOptions::default();
    [
        ("tract", Box::new(Tract::load(&step, Some(&eval), &options).unwrap())),
        ("onnxruntime", Box::new(Ort::load(&stock(), &step, Some(&eval), &options).unwrap())),
    ]
}

fn take(engine: &mut dyn StepEngine, number: usize) -> Vec<Tensor> {
    let rates = Rates { r: Some(radius(number)), others: [("gnp.momentum".to_owned(), 0.8)].into(), ..Rates::new(0.2) };
    engine.step(&batch(size(number), number), &rates).unwrap()
}

fn radius(number: usize) -> f32 {
    if number == 4 { 0.0 } else { 0.3 }
}

fn size(number: usize) -> usize {
    if number == 7 { 5 } else { 8 }
}

#[track_caller]
fn assert_close(a: &State, b: &State) {
    assert!(a.iter().map(|(name, _)| name).eq(b.iter().map(|(name, _)| name)));
    for (name, tensor) in a.iter() {
        let difference = difference(tensor, b.get(name).unwrap());
        assert!(difference < 1e-5, "{name} differs by {difference}");
    }
}
