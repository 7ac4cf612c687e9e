//! One step model on every engine that runs one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use gnp::engine::ort::Options;
use gnp::engine::runtime::{self, Runtime};
use gnp::engine::{Engine, Ort, Rates, State, StepEngine, Tensor, Tract};
use std::path::Path;
use support::step::{self, batch, difference, state_names};

fn stock() -> Runtime {
    runtime::install_onnxruntime(&mut |_| {}).unwrap()
}

fn engines(folder: &Path) -> [(&'static str, Box<dyn StepEngine>); 2] {
    let (step, eval) = step::write(folder);
    let (step, eval) = (step::read(&step), step::read(&eval));
    let options = Options::default();
    [
        ("tract", Box::new(Tract::load(&step, Some(&eval), &options).unwrap())),
        ("onnxruntime", Box::new(Ort::load(&stock(), &step, Some(&eval), &options).unwrap())),
    ]
}

/// What ten steps return, batches of two sizes among them, with the penalty and without.
fn ten_steps(engine: &mut dyn StepEngine) -> Vec<Vec<Tensor>> {
    (0..10).map(|number| take(engine, number)).collect()
}

fn take(engine: &mut dyn StepEngine, number: usize) -> Vec<Tensor> {
    let r = if number == 4 { 0.0 } else { 0.3 };
    let rates = Rates { r: Some(r), others: [("gnp.momentum".to_owned(), 0.8)].into(), ..Rates::new(0.2) };
    engine.step(&batch(if number == 7 { 5 } else { 8 }, number), &rates).unwrap()
}

#[track_caller]
fn assert_close(a: &State, b: &State) {
    assert!(a.iter().map(|(name, _)| name).eq(b.iter().map(|(name, _)| name)));
    for (name, tensor) in a.iter() {
        let difference = difference(tensor, b.get(name).unwrap());
        assert!(difference < 1e-5, "{name} differs by {difference}");
    }
}

#[test]
fn engines_agree() {
    let folder = tempfile::tempdir().unwrap();
    let [(_, mut tract), (_, mut ort)] = engines(folder.path());
    assert_eq!(tract.batch_ports(), ort.batch_ports());
    assert_eq!(tract.step_outputs(), ["loss", "gnp.grad_norm", "gnp.loss_perturbed"]);
    let before = tract.state().unwrap();
    assert_eq!(before, ort.state().unwrap());
    assert_eq!(before.len(), state_names().len());

    let [a, b] = [ten_steps(&mut *tract), ten_steps(&mut *ort)];
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert!(difference(a, b) < 1e-5, "{a:?} {b:?}");
    }
    let after = tract.state().unwrap();
    assert_close(&after, &ort.state().unwrap());
    assert!(difference(after.get("w1").unwrap(), before.get("w1").unwrap()) > 1e-2);
    assert_eq!(after.get("step"), Some(&Tensor::I64(ndarray::arr0(10).into_dyn())));
}
