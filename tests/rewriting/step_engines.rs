//! One step model on every engine that runs one.
use crate::support::step::{self, batch, difference, state_names};
use crate::support::{forward, python};

use gnp::engine::EngineOptions;
use gnp::engine::runtime::{self, Runtime};
use gnp::engine::{Device, Ort, Rates, State, StepEngine, StepModel, Tract};
use gnp::loss::LossKind;
use gnp::onnx::proto::tensor_proto::DataLocation;
use gnp::onnx::proto::{AttributeProto, ModelProto, NodeProto, StringStringEntryProto};
use gnp::onnx::{DataType, Model, WriteOptions};
use gnp::penalty::{Mix, Penalty};
use gnp::rewrite::{StepConfig, StepOptions, make_evaluation, make_step};
use gnp::tensor::{ElementType, Tensor};
use gnp::transform::{Optimizer, OptimizerKind};
use ndarray::ArrayD;
use prost::Message as _;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

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

/// What ten steps return, batches of two sizes among them, with the penalty and without.
fn ten_steps(engine: &mut dyn StepEngine) -> Vec<Vec<Tensor>> {
    (0..10).map(|number| take(engine, number)).collect()
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

#[test]
fn what_is_not_given_has_the_value_in_the_file() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for [(_, mut given), (_, mut left_out)] in [0, 1].map(|_| engines(folder.path())) {
        let others = [("gnp.momentum".to_owned(), 0.9)].into();
        let rates = Rates { r: Some(0.5), alpha: Some(0.8), others, ..Rates::new(0.1) };
        for number in 0..3 {
            given.step(&batch(8, number), &rates).unwrap();
            left_out.step(&batch(8, number), &Rates::new(0.1)).unwrap();
        }
        assert_close(&given.state().unwrap(), &left_out.state().unwrap());
    }
}

#[test]
fn evaluates_at_the_present_parameters() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let batch = batch(8, 1);
    for (name, mut engine) in engines(folder.path()) {
        assert_eq!(engine.evaluate_outputs(), ["loss", "logits"]);
        let before = engine.evaluate(&batch).unwrap();
        assert_eq!(before[1].shape(), [8, step::CLASSES]);
        let state = engine.state().unwrap();
        let first = engine.step(&batch, &Rates::new(0.5)).unwrap();
        assert!(difference(&before[0], &first[0]) < 1e-6, "{name}");
        for _ in 0..30 {
            engine.step(&batch, &Rates::new(0.5)).unwrap();
        }
        let after = engine.evaluate(&batch).unwrap();
        assert!(after[0].to_scalar().unwrap() < before[0].to_scalar().unwrap() - 0.1, "{name}: {before:?} {after:?}");
        engine.set_state(&state).unwrap();
        assert_eq!(engine.evaluate(&batch).unwrap(), before, "{name}");
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let batch = batch(8, 0);
    let floats = Tensor::F32(ArrayD::zeros(vec![8]));
    let column = Tensor::I64(ArrayD::zeros(vec![8, 1]));
    for (name, mut engine) in engines(folder.path()) {
        let before = engine.state().unwrap();
        let mut message = |batch: &[Tensor]| {
            let error = engine.step(batch, &Rates::new(0.1)).unwrap_err();
            assert_eq!((error.exit_code(), engine.evaluate(batch).is_err()), (2, true), "{name}");
            error.to_string()
        };
        let said = message(&[batch[0].clone(), floats.clone()]);
        assert_eq!(said, "the input `labels` is int64 [?], but the batch has float32 [8]");
        let said = message(&[batch[0].clone(), column.clone()]);
        assert_eq!(said, "the input `labels` is int64 [?], but the batch has int64 [8, 1]");
        assert_eq!(message(&batch[..1]), "the graph takes 2 tensors (x, labels), but the batch has 1");
        assert!(message(&[batch[0].select(&[]), batch[1].select(&[])]).starts_with("the batch is empty"));
        // Inputs that fit one by one, and not together.
        message(&[batch[0].clone(), batch[1].select(&[0, 1, 2])]);
        assert_eq!(engine.state().unwrap(), before, "{name}");
        engine.step(&batch, &Rates::new(0.1)).unwrap();
    }
}

#[test]
fn an_unknown_hyperparameter_is_refused() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for (_, mut engine) in engines(folder.path()) {
        let rates = Rates { others: [("gnp.beta".to_owned(), 0.5)].into(), ..Rates::new(0.1) };
        let error = engine.step(&batch(8, 0), &rates).unwrap_err();
        assert_eq!(error.to_string(), "the step model has no hyperparameter `gnp.beta`");
        assert_eq!(error.help_text(), Some("it has lr, gnp.r, gnp.alpha, gnp.momentum"));
    }
}

#[test]
fn a_state_of_another_model_is_refused() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for (name, mut engine) in engines(folder.path()) {
        let state = engine.state().unwrap();
        let without = |left_out: &str| -> State {
            state.iter().filter(|(name, _)| *name != left_out).map(|(name, t)| (name.to_owned(), t.clone())).collect()
        };
        let with = |name: &str, tensor: Tensor| -> State {
            let more = [(name.to_owned(), tensor)];
            without(name).iter().map(|(name, t)| (name.to_owned(), t.clone())).chain(more).collect()
        };
        let mut message = |state: &State| engine.set_state(state).unwrap_err().to_string();
        assert_eq!(message(&without("b1.momentum")), "the state lacks `b1.momentum`", "{name}");
        assert_eq!(message(&with("b3", Tensor::scalar(0.0))), "the model has no state `b3`", "{name}");
        let said = message(&with("b2", Tensor::scalar(0.0)));
        assert_eq!(said, "`b2` is float32 [3], but in the state float32 []", "{name}");
        assert_eq!(engine.state().unwrap(), state, "{name}");
    }
}

/// The step model after an edit of its messages.
fn edited(folder: &Path, edit: impl FnOnce(&mut Model)) -> Model {
    let mut model = step::read(&step::write(folder).0);
    edit(&mut model);
    model
}

#[test]
fn what_is_no_step_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = |edit: fn(&mut Model)| {
        let error = StepModel::recognise(&edited(folder.path(), edit)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let said = error.to_string();
        said.split_once("step.onnx: ").unwrap().1.to_owned()
    };
    let said = message(|model| model.header.metadata_props.clear());
    assert_eq!(said, "not a step model: its metadata has no `gnp.state`");
    let said = message(|model| model.header.metadata_props[1].value = Some("w1".into()));
    assert!(said.starts_with("the metadata `gnp.state` is no list of pairs of names"), "{said}");
    let said = message(|model| model.graph.input.retain(|input| input.name() != "w1"));
    assert_eq!(said, "the metadata `gnp.state` names `w1`, which is no input");
    let said = message(|model| model.graph.output.retain(|output| output.name() != "step.next"));
    assert_eq!(said, "the metadata `gnp.state` names `step.next`, which is no output");
    let said = message(|model| model.graph.initializer.retain(|tensor| tensor.name() != "b1"));
    assert_eq!(said, "the state `b1` has no initializer, so there is nothing to begin with");
    let said = message(|model| model.graph.initializer.iter_mut().find(|t| t.name() == "lr").unwrap().dims = vec![2]);
    assert!(said.starts_with("the initializer `lr` is damaged: 4 bytes are no float32 of shape [2]"), "{said}");
}

#[test]
fn an_evaluation_model_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (step, eval) = step::write(folder.path());
    let (step, mut eval) = (step::read(&step), step::read(&eval));
    eval.graph.input[2].name = Some("w0".into());
    let error = Tract::load(&step, Some(&eval), &EngineOptions::default()).err().unwrap();
    assert!(
        error.to_string().ends_with("the evaluation model takes `w0`, which the step model does not have"),
        "{error}"
    );
}

#[test]
fn without_an_evaluation_model_there_is_no_evaluation() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let step = step::read(&step::write(folder.path()).0);
    let engines: [Box<dyn StepEngine>; 2] = [
        Box::new(Tract::load(&step, None, &EngineOptions::default()).unwrap()),
        Box::new(Ort::load(&stock(), &step, None, &EngineOptions::default()).unwrap()),
    ];
    for mut engine in engines {
        assert!(engine.evaluate_outputs().is_empty());
        assert_eq!(engine.evaluate(&batch(8, 0)).unwrap_err().to_string(), "there is no evaluation model");
        engine.step(&batch(8, 0), &Rates::new(0.1)).unwrap();
    }
}

#[test]
fn weights_in_a_file_of_their_own_are_found() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("external.onnx");
    let mut model = edited(folder.path(), |_| {}).into_proto();
    let mut data = vec![0; 16];
    for tensor in model.graph.as_mut().unwrap().initializer.iter_mut().filter(|tensor| tensor.name().starts_with('w')) {
        let payload = tensor.raw_data.take().unwrap();
        let entries = [
            ("location", "data".to_owned()),
            ("offset", data.len().to_string()),
            ("length", payload.len().to_string()),
        ];
        tensor.external_data =
            entries.map(|(key, value)| StringStringEntryProto { key: Some(key.into()), value: Some(value) }).into();
        tensor.data_location = Some(DataLocation::External as i32);
        data.extend(payload);
    }
    fs::write(folder.path().join("data"), data).unwrap();
    fs::write(&path, model.encode_to_vec()).unwrap();
    let external = step::read(&path);
    let engines: [Box<dyn StepEngine>; 2] = [
        Box::new(Tract::load(&external, None, &EngineOptions::default()).unwrap()),
        Box::new(Ort::load(&stock(), &external, None, &EngineOptions::default()).unwrap()),
    ];
    for (mut engine, (_, mut whole)) in engines.into_iter().zip(self::engines(folder.path())) {
        assert_eq!(engine.state().unwrap(), whole.state().unwrap());
        assert_eq!(take(&mut *engine, 0), take(&mut *whole, 0));
    }
}

#[test]
fn a_device_that_an_engine_does_not_have_is_refused() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let step = step::read(&step::write(folder.path()).0);
    let options = EngineOptions { device: Device::Cuda(0), ..EngineOptions::default() };
    let error = Tract::load(&step, None, &options).err().unwrap();
    assert_eq!(error.to_string(), "tract does not compute on `cuda:0`");
    let error = Ort::load(&stock(), &step, None, &options).err().unwrap();
    assert!(error.to_string().contains("`cuda:0`: it has no CUDAExecutionProvider"), "{error}");
}

#[test]
fn states_are_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    let state: State = [
        ("a".to_owned(), Tensor::F32(ArrayD::from_shape_vec(vec![2, 2], vec![1.0, f32::NAN, -0.0, 1e-42]).unwrap())),
        ("b".to_owned(), Tensor::I32(ArrayD::zeros(vec![0, 3]))),
        ("c".to_owned(), Tensor::I64(ndarray::arr0(i64::MIN).into_dyn())),
    ]
    .into_iter()
    .collect();
    state.write(&file).unwrap();
    let read = State::read(&file).unwrap();
    assert!(state.iter().zip(read.iter()).all(|((_, a), (_, b))| a.to_le_bytes() == b.to_le_bytes()));
    assert_eq!(read.get("b").map(|b| (b.element(), b.shape().to_vec())), Some((ElementType::I32, vec![0, 3])));
    fs::write(&file, "no tensors").unwrap();
    let error = State::read(&file).unwrap_err().to_string();
    assert!(error.contains("not a state in the format safetensors"), "{error}");
}

#[test]
fn inputs_that_nobody_reads_may_be_given() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut model = edited(folder.path(), |_| {}).into_proto();
    let graph = model.graph.as_mut().unwrap();
    for (like, name) in [("lr", "gnp.unread"), ("step", "unread")] {
        let renamed = |found: Option<&str>| (found == Some(like)).then(|| Some(name.to_owned()));
        graph.input.extend(graph.input.clone().into_iter().filter_map(|mut input| {
            input.name = renamed(input.name.as_deref())?;
            Some(input)
        }));
        graph.initializer.extend(graph.initializer.clone().into_iter().filter_map(|mut tensor| {
            tensor.name = renamed(tensor.name.as_deref())?;
            Some(tensor)
        }));
    }
    let counter = graph.output.iter().position(|output| output.name() == "step.next").unwrap();
    let mut next = graph.output[counter].clone();
    next.name = Some("unread.next".into());
    graph.output.push(next);
    graph.node.push(NodeProto {
        op_type: Some("Identity".into()),
        input: vec!["one".into()],
        output: vec!["unread.next".into()],
        ..Default::default()
    });
    let pairs = model.metadata_props.iter_mut().find(|entry| entry.key() == "gnp.state").unwrap();
    pairs.value = Some(pairs.value().replace("]]", r#"],["unread","unread.next"]]"#));
    let path = folder.path().join("unread.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    let model = step::read(&path);
    let engines: [Box<dyn StepEngine>; 2] = [
        Box::new(Tract::load(&model, None, &EngineOptions::default()).unwrap()),
        Box::new(Ort::load(&stock(), &model, None, &EngineOptions::default()).unwrap()),
    ];
    for mut engine in engines {
        let rates = Rates { others: [("gnp.unread".to_owned(), 3.0)].into(), ..Rates::new(0.1) };
        for number in 0..2 {
            engine.step(&batch(8, number), &rates).unwrap();
        }
        let state = engine.state().unwrap();
        assert_eq!(state.get("unread"), Some(&Tensor::I64(ndarray::arr0(1).into_dyn())));
        assert_eq!(state.get("step"), Some(&Tensor::I64(ndarray::arr0(2).into_dyn())));
    }
}

#[test]
fn a_step_that_comes_to_no_number_is_not_taken() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for (name, mut engine) in engines(folder.path()) {
        take(&mut *engine, 0);
        let before = engine.state().unwrap();
        let mut spoilt = batch(8, 1);
        if let Tensor::F32(samples) = &mut spoilt[0] {
            samples[[2, 1]] = f32::NAN;
        }
        engine.step(&spoilt, &Rates::new(0.2)).unwrap();
        assert!(engine.not_finite().is_some_and(|found| found.value.is_nan()), "{name}");
        assert_eq!(engine.state().unwrap(), before, "{name}");
        // What it returns are numbers, what it would lead to are none.
        let far = Rates { others: [("gnp.momentum".to_owned(), 0.8)].into(), ..Rates::new(f32::MAX) };
        while engine.step(&batch(8, 1), &far).unwrap()[0].to_scalar().is_some_and(f32::is_finite)
            && engine.not_finite().is_none()
        {}
        let found = engine.not_finite().cloned();
        engine.state().unwrap().check_finite().unwrap();
        assert!(found.is_some(), "{name}");
        engine.set_state(&before).unwrap();
        take(&mut *engine, 1);
        assert_eq!(engine.not_finite(), None, "{name}");

        let nan = ("b1".to_owned(), Tensor::F32(ArrayD::from_elem(vec![5], f32::NAN)));
        let spoilt: State =
            before.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).chain([nan]).collect();
        assert!(engine.set_state(&spoilt).unwrap_err().to_string().starts_with("`b1` holds NaN"), "{name}");
    }
}

#[test]
fn a_rehearsal_leaves_no_trace() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for ((name, mut engine), (_, mut other)) in engines(folder.path()).into_iter().zip(engines(folder.path())) {
        let before = engine.state().unwrap();
        let rates = Rates { r: Some(0.3), ..Rates::new(0.2) };
        let told = engine.rehearse(&batch(8, 0), &rates).unwrap();
        engine.rehearse(&batch(5, 1), &Rates::new(f32::INFINITY)).unwrap();
        assert_eq!((engine.state().unwrap(), engine.not_finite()), (before, None), "{name}");
        assert_eq!(engine.step(&batch(8, 0), &rates).unwrap(), told, "{name}");
        other.step(&batch(8, 0), &rates).unwrap();
        assert_eq!(engine.state().unwrap(), other.state().unwrap(), "{name}");
    }
}
