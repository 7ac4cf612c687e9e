//! Low-rank adapters: their gradients, and what becomes of them.
use crate::support::forward::{append, classifier, graph, info, node, perceptron, weight, with, write};
use crate::support::step::{self, batch, difference};

use gnp::engine::{Engine as _, EngineOptions, Ort, Rates, State, StepEngine, StepModel, Tract, runtime};
use gnp::onnx::proto::{AttributeProto, MICROSOFT, ModelProto, OperatorSetIdProto, TensorProto};
use gnp::onnx::{DataType, Model, WriteOptions};
use gnp::rewrite::{StepConfig, StepOptions, make_evaluation, make_step};
use gnp::tensor::Tensor;
use gnp::train::Original;
use gnp::transform::{Optimizer, OptimizerKind};
use gnp::weights::{Lora, LoraWrite, Selection};
use ndarray::ArrayD;
use std::path::Path;

fn options(write: Option<LoraWrite>) -> StepOptions {
    StepOptions {
        lora: Some(Lora { rank: 2, alpha: Some(3.0), targets: vec!["fc*.weight".into()], write }),
        optimizer: Optimizer { kind: OptimizerKind::Sgd, ..Optimizer::default() },
        ..StepOptions::default()
    }
}

/// A classifier whose second layer is a Gemm with a factor that reads its weight transposed.
fn gemm_classifier() -> ModelProto {
    let mut model = classifier();
    let graph = graph(&mut model);
    let layer = graph.node.iter().position(|node| node.output[0] == "fc2").unwrap();
    let gemm = with(node("Gemm", &["hidden", "fc2.weight"], "fc2"), AttributeProto::int("transB", 1));
    graph.node[layer] = gemm;
    graph.node[layer].attribute.push(AttributeProto::float("alpha", 0.5));
    let place = graph.initializer.iter().position(|tensor| tensor.name() == "fc2.weight").unwrap();
    graph.initializer[place] = weight("fc2.weight", &[3, 8]);
    model
}

/// A classifier whose first weight is of eight bits.
fn quantised_classifier() -> ModelProto {
    let mut model = classifier();
    let graph = graph(&mut model);
    graph.initializer.retain(|tensor| tensor.name() != "fc1.weight");
    let bytes: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37)).collect();
    graph.initializer.push(TensorProto::raw("fc1.weight_quantized", DataType::Int8, &[4, 8], bytes.into()));
    let scale = 0.01f32.to_le_bytes().to_vec();
    graph.initializer.push(TensorProto::raw("fc1.scale", DataType::Float, &[], scale.into()));
    graph.node.insert(0, node("DequantizeLinear", &["fc1.weight_quantized", "fc1.scale"], "fc1.weight"));
    model
}

/// A classifier whose second weight has so many bits a number, packed for ONNX Runtime's own product: of 8 inputs,
/// in blocks of 16, and with zero points of its own.
fn packed_classifier(bits: usize) -> ModelProto {
    let mut model = classifier();
    let opset = OperatorSetIdProto { domain: Some(MICROSOFT.into()), version: Some(1) };
    model.opset_import.push(opset);
    let graph = graph(&mut model);
    graph.initializer.retain(|tensor| tensor.name() != "fc2.weight");
    let bytes = |count: usize| -> Vec<u8> { (0..count).map(|i| (i * 37 + 11) as u8).collect() };
    let blob = 2 * bits;
    let packed = TensorProto::raw("fc2.weight_Q4", DataType::Uint8, &[3, 1, blob as i64], bytes(3 * blob).into());
    let scales: Vec<u8> = (0..3).flat_map(|i| (0.02 + 0.01 * i as f32).to_le_bytes()).collect();
    let scales = TensorProto::raw("fc2.weight_scales", DataType::Float, &[3, 1], scales.into());
    let zeros = TensorProto::raw("fc2.weight_zero_points", DataType::Uint8, &[3, 1], bytes(3).into());
    graph.initializer.extend([packed, scales, zeros]);
    let layer = graph.node.iter().position(|node| node.output[0] == "fc2").unwrap();
    let mut product =
        node("MatMulNBits", &["hidden", "fc2.weight_Q4", "fc2.weight_scales", "fc2.weight_zero_points"], "fc2");
    product.domain = Some(MICROSOFT.into());
    let sizes = [("K", 8), ("N", 3), ("bits", bits as i64), ("block_size", 16)];
    product.attribute.extend(sizes.map(|(name, size)| AttributeProto::int(name, size)));
    graph.node[layer] = product;
    model
}

/// A classifier whose second weight has four bits a number, in blocks of two of its inputs.
fn blocked_classifier() -> ModelProto {
    let mut model = classifier();
    model.opset_import[0].version = Some(21);
    let graph = graph(&mut model);
    graph.initializer.retain(|tensor| tensor.name() != "fc2.weight");
    let bytes: Vec<u8> = (0..12u8).map(|i| i.wrapping_mul(37)).collect();
    graph.initializer.push(TensorProto::raw("fc2.weight_Q4", DataType::Int4, &[8, 3], bytes.into()));
    graph.initializer.push(weight("fc2.scales", &[4, 3]));
    let mut dequantised = node("DequantizeLinear", &["fc2.weight_Q4", "fc2.scales"], "fc2.weight");
    dequantised.attribute.extend([AttributeProto::int("axis", 0), AttributeProto::int("block_size", 2)]);
    graph.node.insert(0, dequantised);
    model
}

fn read(model: &ModelProto, folder: &Path) -> Model {
    gnp::onnx::read(write(model, &folder.join("model.onnx"))).unwrap()
}

/// The step model of `forward`, and engines that compute it.
fn made(forward: &Model, options: &StepOptions, folder: &Path) -> (Model, [Box<dyn StepEngine>; 2]) {
    let (step, eval, ort) = made_for_ort(forward, options, folder);
    let tract = Tract::load(&step, Some(&eval), &EngineOptions::default()).unwrap();
    (step, [Box::new(ort), Box::new(tract)])
}

/// The step model of `forward`, the model that it is evaluated with, and ONNX Runtime with both.
fn made_for_ort(forward: &Model, options: &StepOptions, folder: &Path) -> (Model, Model, Ort) {
    let step = make_step(forward.clone(), options).unwrap().0;
    let names: Vec<_> = StepModel::recognise(&step).unwrap().state.into_iter().map(|slot| slot.port.name).collect();
    let eval = make_evaluation(forward.clone(), &StepConfig::of(&step).unwrap(), &names).unwrap();
    let write = |model: Model, name: &str| {
        let path = folder.join(name);
        gnp::onnx::write(model, &path, &WriteOptions { force: true, ..WriteOptions::default() }).unwrap();
        step::read(&path)
    };
    let (step, eval) = (write(step, "step.onnx"), write(eval, "eval.onnx"));
    let runtime = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    let ort = Ort::load(&runtime, &step, Some(&eval), &EngineOptions::default()).unwrap();
    (step, eval, ort)
}

/// A state in which B is not zero, so that A has a gradient.
fn moved(state: &State) -> State {
    let value = |i: usize| ((i * 29 + 3) % 13) as f32 / 13.0 - 0.5;
    let moved = state.iter().map(|(name, tensor)| match tensor {
        Tensor::F32(array) if name.contains("lora_B") => {
            let values = (0..array.len()).map(value).collect();
            (name.to_owned(), Tensor::F32(ArrayD::from_shape_vec(array.shape(), values).unwrap()))
        }
        _ => (name.to_owned(), tensor.clone()),
    });
    moved.collect()
}

fn with_element(state: &State, name: &str, index: usize, by: f32) -> State {
    let changed = state.iter().map(|(other, tensor)| {
        let mut tensor = tensor.clone();
        if let (true, Tensor::F32(array)) = (name == other, &mut tensor) {
            array.as_slice_mut().unwrap()[index] += by;
        }
        (other.to_owned(), tensor)
    });
    changed.collect()
}

#[test]
fn gradients_of_adapters_are_finite_differences() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&gemm_classifier(), folder.path());
    let (_, mut engines) = made(&forward, &options(None), folder.path());
    engines.iter_mut().for_each(|engine| assert_gradients_are_differences(&mut **engine));
}

/// The first step's gradients are finite differences of the loss.
#[track_caller]
fn assert_gradients_are_differences(engine: &mut dyn StepEngine) {
    let batch = batch(8, 1);
    let begin = moved(&engine.state().unwrap());
    assert_eq!(begin.len(), 4, "adapters alone are in the state");
    engine.set_state(&begin).unwrap();
    engine.step(&batch, &Rates { r: Some(0.0), ..Rates::new(1.0) }).unwrap();
    let after = engine.state().unwrap();
    let mut largest = 0f64;
    for (name, tensor) in begin.iter() {
        let (before, after) = (tensor.as_f32().unwrap(), after.get(name).unwrap().as_f32().unwrap());
        for index in 0..before.len() {
            let gradient = f64::from(before.as_slice().unwrap()[index] - after.as_slice().unwrap()[index]);
            let mut loss_at = |by: f32| {
                engine.set_state(&with_element(&begin, name, index, by)).unwrap();
                f64::from(engine.evaluate(&batch).unwrap()[0].to_scalar().unwrap())
            };
            let slope = (loss_at(0.01) - loss_at(-0.01)) / 0.02;
            assert!((gradient - slope).abs() < 1e-4, "{name}[{index}]: {gradient}, by differences {slope}");
            largest = largest.max(gradient.abs());
        }
    }
    assert!(largest > 0.02, "{largest}");
    engine.set_state(&begin).unwrap();
}

/// Weights of few bits stay packed, in the step and in the trained model. The gradient of the first layer's adapters
/// comes through them.
#[test]
fn weights_of_few_bits_stay_as_they_are() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for model in [packed_classifier(4), packed_classifier(8), blocked_classifier()] {
        let forward = read(&model, folder.path());
        let (step, _, mut engine) = made_for_ort(&forward, &options(None), folder.path());
        assert_gradients_are_differences(&mut engine);
        let packed = |model: &Model| {
            let tensor = model.graph.initializer.iter().find(|tensor| tensor.name() == "fc2.weight_Q4").unwrap();
            (tensor.element(), tensor.dims.clone(), tensor.raw_data.clone().unwrap())
        };
        assert_eq!(packed(&step), packed(&forward));
        (0..3).for_each(|number| _ = engine.step(&batch(8, number), &Rates::new(0.1)).unwrap());
        let (state, trained) = (engine.state().unwrap(), engine.evaluate(&batch(8, 5)).unwrap());
        let restored = Original::new(forward.clone(), StepConfig::of(&step).unwrap()).with_weights(&state).unwrap();
        assert_eq!(packed(&restored), packed(&forward));
        let count =
            |model: &Model, operator: &str| model.graph.node.iter().filter(|node| node.op_type() == operator).count();
        for operator in ["MatMulNBits", "DequantizeLinear"] {
            assert_eq!(count(&restored, operator), count(&forward, operator), "{operator}");
        }
        let mut whole = made_for_ort(&restored, &StepOptions::default(), folder.path()).2;
        let evaluated = whole.evaluate(&batch(8, 5)).unwrap();
        let apart = difference(&trained[1], &evaluated[1]);
        assert!(apart < 1e-5, "{apart}");
    }
}

#[test]
fn packed_weights_of_other_forms_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, size, says) in [
        ("bits", 3, "weights of 3 bits"),
        ("N", 1 << 40, "which no engine computes"),
        ("K", -8, "are no sizes of a weight in blocks"),
        ("block_size", 0, "are no sizes of a weight in blocks"),
    ] {
        let mut model = packed_classifier(4);
        let product = graph(&mut model).node.iter_mut().find(|node| node.op_type() == "MatMulNBits").unwrap();
        product.attribute.retain(|attribute| attribute.name() != name);
        product.attribute.push(AttributeProto::int(name, size));
        let error = make_step(read(&model, folder.path()), &options(None)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn merged_and_kept_adapters_compute_what_was_trained() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for model in [gemm_classifier(), quantised_classifier()] {
        let forward = read(&model, folder.path());
        for written in [LoraWrite::Merge, LoraWrite::Adapters] {
            let (step, mut engines) = made(&forward, &options(Some(written)), folder.path());
            let engine = &mut engines[0];
            engine.set_state(&moved(&engine.state().unwrap())).unwrap();
            (0..3).for_each(|number| _ = engine.step(&batch(8, number), &Rates::new(0.1)).unwrap());
            let state = engine.state().unwrap();
            let trained = engine.evaluate(&batch(8, 5)).unwrap();

            let original = Original::new(forward.clone(), StepConfig::of(&step).unwrap());
            let restored = original.with_weights(&state).unwrap();
            let has_adapters = restored.graph.initializer.iter().any(|tensor| tensor.name().contains("lora_A"));
            assert_eq!(has_adapters, written == LoraWrite::Adapters);
            let (_, mut whole) = made(&restored, &StepOptions::default(), folder.path());
            let evaluated = whole[0].evaluate(&batch(8, 5)).unwrap();
            let apart = difference(&trained[1], &evaluated[1]);
            assert!(apart < 1e-5, "{written:?}: {apart}");

            let adapters = original.adapters(&state).unwrap().unwrap();
            let shapes: Vec<_> = adapters.iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
            let expected = [
                ("fc1.lora_A.weight", vec![2, 4]),
                ("fc1.lora_B.weight", vec![8, 2]),
                ("fc2.lora_A.weight", vec![2, 8]),
                ("fc2.lora_B.weight", vec![3, 2]),
            ];
            assert_eq!(shapes, expected);
        }
    }
}

#[test]
fn a_quantised_weight_stays_as_it_is() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&quantised_classifier(), folder.path());
    let (step, mut engines) = made(&forward, &options(None), folder.path());
    let bytes = |model: &Model| {
        let tensor = model.graph.initializer.iter().find(|tensor| tensor.name() == "fc1.weight_quantized").unwrap();
        assert!(model.graph.node.iter().any(|node| node.op_type() == "DequantizeLinear"));
        tensor.raw_data.clone().unwrap()
    };
    assert_eq!(bytes(&step), bytes(&forward));
    let before = engines[0].evaluate(&batch(8, 1)).unwrap();
    for engine in &mut engines {
        (0..5).for_each(|_| _ = engine.step(&batch(8, 1), &Rates::new(0.2)).unwrap());
    }
    let states = engines.each_mut().map(|engine| engine.state().unwrap());
    for (name, tensor) in states[0].iter() {
        assert!(difference(tensor, states[1].get(name).unwrap()) < 1e-5, "{name}");
    }
    let after = engines[0].evaluate(&batch(8, 1)).unwrap();
    assert!(after[0].to_scalar() < before[0].to_scalar());
    let original = Original::new(forward.clone(), StepConfig::of(&step).unwrap());
    assert_eq!(bytes(&original.with_weights(&states[0]).unwrap()), bytes(&forward));
}

#[test]
fn what_is_named_trains_beside_adapters() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(None);
    options.selection = Selection { also_train: vec!["fc2.*".into()], ..Selection::default() };
    let forward = read(&classifier(), folder.path());
    let (step, mut engines) = made(&forward, &options, folder.path());
    let names: Vec<String> = engines[0].state().unwrap().iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["fc1.lora_A.weight", "fc1.lora_B.weight", "fc2.bias", "fc2.weight"]);
    engines[0].step(&batch(8, 1), &Rates::new(0.2)).unwrap();
    let state = engines[0].state().unwrap();
    let original = Original::new(forward, StepConfig::of(&step).unwrap());
    assert_eq!(original.adapters(&state).unwrap().unwrap().len(), 4, "as PEFT's modules_to_save");
}

/// The gradient through a frozen embedding of another model's shape: an input that no adapter meets first.
#[test]
fn a_layer_behind_a_frozen_one_is_reached() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut model = perceptron();
    graph(&mut model).initializer.push(weight("head.weight", &[3, 3]));
    append(
        &mut model,
        node("MatMul", &["logits", "head.weight"], "scores"),
        info("scores", DataType::Float, "batch,3"),
    );
    append(&mut model, node("Softmax", &["scores"], "y"), info("y", DataType::Float, "batch,3"));
    let forward = read(&model, folder.path());
    let mut options = options(None);
    options.lora.as_mut().unwrap().targets = vec!["fc1.weight".into()];
    let (_, mut engines) = made(&forward, &options, folder.path());
    let before = engines[0].evaluate(&batch(8, 1)).unwrap()[0].to_scalar();
    (0..5).for_each(|_| _ = engines[0].step(&batch(8, 1), &Rates::new(0.5)).unwrap());
    assert!(engines[0].evaluate(&batch(8, 1)).unwrap()[0].to_scalar() < before);
}
