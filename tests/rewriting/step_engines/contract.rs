//! What engines take, refuse, and leave as it was.

use super::{assert_close, engines, stock, take};
use crate::support::step::{self, batch, difference};
use gnp::engine::EngineOptions;
use gnp::engine::{Device, Ort, Rates, State, StepEngine, StepModel, Tract};
use gnp::onnx::Model;
use gnp::onnx::proto::tensor_proto::DataLocation;
use gnp::onnx::proto::{NodeProto, StringStringEntryProto};
use gnp::tensor::{ElementType, Tensor};
use ndarray::ArrayD;
use prost::Message as _;
use std::fs;
use std::path::Path;

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
    for (mut engine, (_, mut whole)) in engines.into_iter().zip(super::engines(folder.path())) {
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
