//! Engines compute the same, and what the standard says.

use super::{assert_close, engines, radius, size, stock, take};
use crate::support::step::{self, batch, difference, state_names};
use crate::support::{forward, python};
use gnp::engine::EngineOptions;
use gnp::engine::{Ort, Rates, State, StepEngine, StepModel, Tract};
use gnp::loss::LossKind;
use gnp::onnx::proto::{AttributeProto, ModelProto};
use gnp::onnx::{DataType, Model, WriteOptions};
use gnp::penalty::{Mix, Penalty};
use gnp::rewrite::{StepConfig, StepOptions, make_evaluation, make_step};
use gnp::tensor::Tensor;
use gnp::transform::{Optimizer, OptimizerKind};
use ndarray::ArrayD;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What ten steps return, batches of two sizes among them, with the penalty and without.
fn ten_steps(engine: &mut dyn StepEngine) -> Vec<Vec<Tensor>> {
    (0..10).map(|number| take(engine, number)).collect()
}

#[test]
fn engines_agree() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let [(_, mut tract), (_, mut ort)] = engines(folder.path());
    assert_eq!(tract.batch_ports(), ort.batch_ports());
    assert_eq!(tract.step_outputs(), step::OUTPUTS);
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

/// Sequences of six steps, the recurrent layer `operator` with so many gates in both directions, and a linear layer.
fn recurrent_classifier(operator: &str, gates: usize) -> ModelProto {
    let mut model = forward::empty();
    let graph = forward::graph(&mut model);
    graph.input[0] = forward::info("x", DataType::Float, "batch,6,3");
    let with = forward::with;
    let directions = AttributeProto::string("direction", "bidirectional");
    let mut layer = with(forward::node(operator, &["steps", "rnn.W", "rnn.R", "rnn.B"], "all"), directions);
    layer.output.push("last".into());
    layer.attribute.push(AttributeProto::int("hidden_size", 5));
    graph.node.extend([
        with(forward::node("Transpose", &["x"], "steps"), AttributeProto::ints("perm", &[1, 0, 2])),
        layer,
        with(forward::node("Transpose", &["last"], "by_sample"), AttributeProto::ints("perm", &[1, 0, 2])),
        forward::node("Flatten", &["by_sample"], "features"),
        forward::node("MatMul", &["features", "head.weight"], "logits"),
    ]);
    let weights: [(&str, &[usize]); 4] = [
        ("rnn.W", &[2, gates * 5, 3]),
        ("rnn.R", &[2, gates * 5, 5]),
        ("rnn.B", &[2, 2 * gates * 5]),
        ("head.weight", &[10, 3]),
    ];
    graph.initializer.extend(weights.map(|(name, shape)| forward::weight(name, shape)));
    graph.output.push(forward::info("logits", DataType::Float, "batch,3"));
    model
}

/// ONNX Runtime computes the layer as a whole, tract by its equations in a loop of its own.
#[test]
fn engines_agree_on_recurrent_layers() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let options = StepOptions { loss: LossKind::CrossEntropy.into(), ..StepOptions::default() };
    for (operator, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        let model = recurrent_classifier(operator, gates);
        let forward = gnp::onnx::read(forward::write(&model, &folder.path().join("model.onnx"))).unwrap();
        let mut both = made(&forward, &options, folder.path(), operator);
        let before = both[0].state().unwrap();
        let stepped = both.each_mut().map(|engine| {
            (0..10).flat_map(|number| engine.step(&sequences(size(number), number), &rates(number)).unwrap()).collect()
        });
        let [a, b]: [Vec<Tensor>; 2] = stepped;
        for (a, b) in a.iter().zip(&b) {
            assert!(difference(a, b) < 1e-4, "{operator}: {a:?} {b:?}");
        }
        let [tract, ort] = both.each_mut().map(|engine| engine.state().unwrap());
        for (name, tensor) in tract.iter() {
            assert!(difference(tensor, ort.get(name).unwrap()) < 1e-4, "{operator}: {name}");
        }
        for name in ["rnn.W", "rnn.R", "rnn.B", "head.weight"] {
            let moved = difference(tract.get(name).unwrap(), before.get(name).unwrap());
            assert!(moved > 1e-2, "{operator}: {name} moved by {moved}");
        }
    }
}

fn rates(number: usize) -> Rates {
    Rates { r: Some(radius(number)), ..Rates::new(0.2) }
}

/// Sequences of six steps, and the classes of what they sum to.
fn sequences(count: usize, number: usize) -> Vec<Tensor> {
    let value = |i: usize| ((i * 7919 + number * 104_729) % 1009) as f32 / 504.5 - 1.0;
    let x = ArrayD::from_shape_vec(vec![count, 6, 3], (0..count * 18).map(value).collect()).unwrap();
    let class = |row: ndarray::ArrayViewD<'_, f32>| (row.sum() * 2.0).rem_euclid(3.0) as i64;
    let labels = x.outer_iter().map(class).collect();
    vec![Tensor::F32(x), Tensor::I64(ArrayD::from_shape_vec(vec![count], labels).unwrap())]
}

/// The four numbers and the logits of a step model that `gnp-rewrite` makes, against what the state and the evaluation
/// model tell.
#[test]
fn what_a_step_returns_is_what_the_state_tells() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = gnp::onnx::read(forward::write(&forward::classifier(), &folder.path().join("model.onnx"))).unwrap();
    for mix in [Mix::Raw, Mix::Unit] {
        let options = StepOptions {
            penalty: Penalty { mix, ..Penalty::default() },
            optimizer: Optimizer { kind: OptimizerKind::Sgd, clip_norm: Some(0.01), ..Optimizer::default() },
            ..StepOptions::default()
        };
        let unclipped =
            StepOptions { optimizer: Optimizer { clip_norm: None, ..options.optimizer.clone() }, ..options.clone() };
        let [mut clipped, mut unclipped] =
            [(&options, "clipped"), (&unclipped, "unclipped")].map(|(o, name)| made(&forward, o, folder.path(), name));
        for (clipped, unclipped) in clipped.iter_mut().zip(&mut unclipped) {
            for (r, alpha) in [(0.5, 0.8), (0.5, 1.0), (0.5, 0.0), (0.0, 0.8)] {
                let (batch, lr) = (batch(8, 1), 0.5);
                let rates = Rates { r: Some(r), alpha: Some(alpha), ..Rates::new(lr) };
                let before = unclipped.state().unwrap();
                clipped.set_state(&before).unwrap();
                let logits = unclipped.evaluate(&batch).unwrap().remove(1);
                let returned = unclipped.step(&batch, &rates).unwrap();
                let after = unclipped.state().unwrap();
                let number = |name: &str, outputs: &[Tensor]| {
                    let index = unclipped.step_outputs().iter().position(|output| output == name).unwrap();
                    f64::from(outputs[index].to_scalar().unwrap())
                };
                let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-4 * b, "{mix:?} {r} {alpha}: {a} {b}");
                close(number("gnp.param_norm", &returned), length(&before, &before, 0.0));
                let step = length(&before, &after, 1.0) / f64::from(lr);
                close(number("gnp.mixed_grad_norm", &returned), step);
                if r == 0.0 {
                    close(number("gnp.grad_norm", &returned), step);
                }
                // What is returned is of the mix before it is clipped.
                let returned_clipped = clipped.step(&batch, &rates).unwrap();
                close(number("gnp.mixed_grad_norm", &returned_clipped), step);
                close(length(&before, &clipped.state().unwrap(), 1.0) / f64::from(lr), 0.01);
                assert!(difference(returned.last().unwrap(), &logits) < 1e-5);
            }
        }
    }
}

/// The probability of the label is too small for a number, its logarithm is not.
#[test]
fn logits_far_apart_give_finite_losses() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = gnp::onnx::read(forward::write(&forward::classifier(), &folder.path().join("model.onnx"))).unwrap();
    let [mut tract, mut ort] = made(&forward, &StepOptions::default(), folder.path(), "far apart");
    let logits = ArrayD::from_shape_vec(vec![3], vec![500.0, 0.0, 0.0]).unwrap();
    for (labels, loss) in [([0, 0], 0.0), ([1, 1], 500.0), ([0, 2], 250.0)] {
        let labels = Tensor::I64(ArrayD::from_shape_vec(vec![2], labels.to_vec()).unwrap());
        let batch = [batch(2, 0).remove(0), labels];
        let returned = [&mut tract, &mut ort].map(|engine| {
            let state = engine.state().unwrap();
            let far_apart = state.iter().map(|(name, tensor)| match name {
                "fc2.weight" => (name.to_owned(), Tensor::F32(ArrayD::zeros(vec![8, 3]))),
                "fc2.bias" => (name.to_owned(), Tensor::F32(logits.clone())),
                _ => (name.to_owned(), tensor.clone()),
            });
            engine.set_state(&far_apart.collect()).unwrap();
            assert_eq!(engine.evaluate(&batch).unwrap()[0].to_scalar(), Some(loss));
            let rates = Rates { r: Some(0.25), alpha: Some(0.8), ..Rates::new(0.5) };
            let returned = engine.step(&batch, &rates).unwrap();
            assert_eq!(returned[0].to_scalar(), Some(loss));
            (returned, engine.state().unwrap())
        });
        let [(a, tract), (b, ort)] = &returned;
        for (a, b) in a.iter().zip(b) {
            assert!(difference(a, b) <= f64::from(f32::EPSILON) * 500.0, "{a:?} {b:?}");
        }
        assert_close(tract, ort);
    }
}

/// Engines of each kind with the step model of `forward`.
fn made(forward: &Model, options: &StepOptions, folder: &Path, name: &str) -> [Box<dyn StepEngine>; 2] {
    let write = |model: Model, what: &str| {
        let path = folder.join(format!("{name}.{what}.onnx"));
        gnp::onnx::write(model, &path, &WriteOptions { force: true, ..WriteOptions::default() }).unwrap();
        step::read(&path)
    };
    let step = write(make_step(forward.clone(), options).unwrap().0, "step");
    let names: Vec<_> = StepModel::recognise(&step).unwrap().state.into_iter().map(|slot| slot.port.name).collect();
    let eval = make_evaluation(forward.clone(), &StepConfig::of(&step).unwrap(), &names).unwrap();
    let eval = write(eval, "eval");
    [
        Box::new(Tract::load(&step, Some(&eval), &EngineOptions::default()).unwrap()),
        Box::new(Ort::load(&stock(), &step, Some(&eval), &EngineOptions::default()).unwrap()),
    ]
}

/// ‖a − c·b‖₂ over all tensors together.
fn length(a: &State, b: &State, c: f64) -> f64 {
    let squares = a.iter().zip(b.iter()).flat_map(|((_, a), (_, b))| {
        let (a, b) = (a.as_f32().unwrap(), b.as_f32().unwrap());
        a.iter().zip(b.iter()).map(|(a, b)| (f64::from(*a) - c * f64::from(*b)).powi(2)).collect::<Vec<_>>()
    });
    squares.sum::<f64>().sqrt()
}

/// The state after the ten steps, as the standard's own evaluator computes it.
fn reference(folder: &Path) -> Option<State> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let python = python::environment("onnx", &scripts.join("onnx-requirements.txt"))?;
    let scalar = |value: f32| json!([[], "float32", [value]]);
    let steps = (0..10).map(|number| {
        let batch = batch(size(number), number);
        let Tensor::I64(labels) = &batch[1] else { panic!("labels are classes") };
        let samples = batch[0].as_f32().unwrap();
        json!({
            "x": [samples.shape(), "float32", samples.iter().collect::<Vec<_>>()],
            "labels": [labels.shape(), "int64", labels.iter().collect::<Vec<_>>()],
            "lr": scalar(0.2),
            "gnp.r": scalar(radius(number)),
            "gnp.momentum": scalar(0.8),
        })
    });
    let task = json!({ "model": step::write(folder).0, "steps": steps.collect::<Vec<_>>() });
    let mut command = Command::new(python);
    command.arg(scripts.join("step_reference.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let state: serde_json::Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    let tensor = |value: &Value| {
        let shape: Vec<usize> = serde_json::from_value(value[0].clone()).unwrap();
        match value[1].as_str().unwrap() {
            "float32" => Tensor::F32(array(&shape, &value[2])),
            "int64" => Tensor::I64(array(&shape, &value[2])),
            other => panic!("{other}"),
        }
    };
    Some(state.iter().map(|(name, value)| (name.clone(), tensor(value))).collect())
}

fn array<T: serde::de::DeserializeOwned>(shape: &[usize], values: &Value) -> ArrayD<T> {
    ArrayD::from_shape_vec(shape, serde_json::from_value(values.clone()).unwrap()).unwrap()
}

#[test]
fn engines_agree_with_the_standard() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let Some(expected) = reference(folder.path()) else { return };
    for (name, mut engine) in engines(folder.path()) {
        println!("{name}");
        ten_steps(&mut *engine);
        assert_close(&engine.state().unwrap(), &expected);
    }
}

#[test]
fn a_run_goes_on_with_another_engine() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.safetensors");
    let mut whole = engines(folder.path());
    for (_, engine) in &mut whole {
        ten_steps(&mut **engine);
    }
    for one in [0, 1] {
        let (first, second) = (&mut engines(folder.path())[one].1, &mut engines(folder.path())[1 - one].1);
        let whole = whole[one].1.state().unwrap();
        (0..5).for_each(|number| _ = take(&mut **first, number));
        first.save(&file).unwrap();
        second.set_state(&State::read(&file).unwrap()).unwrap();
        assert_eq!(second.state().unwrap(), first.state().unwrap());
        (5..10).for_each(|number| _ = take(&mut **second, number));
        assert_close(&second.state().unwrap(), &whole);
        // By way of the other one and back: to the bit where the engine is the same.
        second.set_state(&State::read(&file).unwrap()).unwrap();
        first.set_state(&second.state().unwrap()).unwrap();
        (5..10).for_each(|number| _ = take(&mut **first, number));
        assert_eq!(first.state().unwrap(), whole);
    }
}
