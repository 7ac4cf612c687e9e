//! Models that compute in half precision, or in double: what their step models compute, and what their trained files hold.
use crate::support::forward::{classifier, graph, network, node, with, write};
use crate::support::halves::{converted, rounded};
use crate::support::step::{batch, difference};
use gnp::engine::{Engine as _, EngineOptions, Rates, State, StepEngine as _, StepModel, Tract};
use gnp::onnx::proto::{AttributeProto, ModelProto, TensorProto};
use gnp::onnx::{DataType, Model};
use gnp::rewrite::{StepConfig, StepOptions, StepReport, make_evaluation, make_step};
use gnp::tensor::Tensor;
use gnp::train::Original;
use gnp::weights::{Lora, LoraWrite};
use std::path::Path;

/// The model as it stands in a file of its own in `folder`.
fn read(model: &ModelProto, folder: &Path) -> Model {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile_in(folder).unwrap();
    gnp::onnx::read(write(model, &file.into_temp_path().keep().unwrap())).unwrap()
}

fn step(forward: &Model, options: &StepOptions) -> (Model, StepReport) {
    make_step(forward.clone(), options).unwrap()
}

/// The step model of `forward`, and tract, which computes it.
fn engine(forward: &Model, options: &StepOptions) -> (Model, Tract) {
    let step = step(forward, options).0;
    let names: Vec<_> = StepModel::recognise(&step).unwrap().state.into_iter().map(|slot| slot.port.name).collect();
    let eval = make_evaluation(forward.clone(), &StepConfig::of(&step).unwrap(), &names).unwrap();
    let engine = Tract::load(&step, Some(&eval), &EngineOptions::default()).unwrap();
    (step, engine)
}

fn elements(model: &Model, name: &str) -> (DataType, Vec<f32>) {
    let tensor = model.graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap();
    (tensor.element().unwrap(), tensor.floats().unwrap().into_iter().map(|x| x as f32).collect())
}

#[test]
fn the_step_model_is_that_of_float32_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    for element in [DataType::Float16, DataType::Bfloat16, DataType::Double] {
        let single = step(&read(&rounded(network(), element), folder.path()), &StepOptions::default()).0;
        let (other, report) =
            step(&read(&converted(network(), element, false), folder.path()), &StepOptions::default());
        let name = element.name();
        assert_eq!(other.graph, single.graph, "{name}");
        let said = format!(
            "the model computes in {name}: it trains in float32; back in the model's file, 8 tensors are {name} again"
        );
        assert_eq!(report.warnings, [said]);
    }
}

#[test]
fn casts_at_inputs_and_outputs_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let steps = |model: &ModelProto| {
        let forward = read(model, folder.path());
        let (_, mut engine) = engine(&forward, &StepOptions::default());
        (0..3).for_each(|number| _ = engine.step(&batch(8, number), &Rates::new(0.1)).unwrap());
        (engine.evaluate(&batch(8, 5)).unwrap(), engine.state().unwrap())
    };
    let (expected, states) = steps(&rounded(classifier(), DataType::Float16));
    let (evaluated, state) = steps(&converted(classifier(), DataType::Float16, true));
    assert_eq!(evaluated, expected);
    assert!(state.iter().zip(states.iter()).all(|(a, b)| a == b));
}

#[test]
fn the_trained_file_has_the_types_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    for element in [DataType::Float16, DataType::Bfloat16, DataType::Double] {
        for keeps_ports in [false, true] {
            let forward = read(&converted(classifier(), element, keeps_ports), folder.path());
            let (step, mut engine) = engine(&forward, &StepOptions::default());
            (0..3).for_each(|number| _ = engine.step(&batch(8, number), &Rates::new(0.1)).unwrap());
            let state = engine.state().unwrap();
            let written = Original::new(forward.clone(), StepConfig::of(&step).unwrap()).with_weights(&state).unwrap();
            assert_eq!((&written.graph.node, &written.graph.input), (&forward.graph.node, &forward.graph.input));
            for name in ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"] {
                let (kind, found) = elements(&written, name);
                assert_eq!(kind, element);
                // Half a unit in the last place: of 11, 8 and 24 binary places.
                let unit = match element {
                    DataType::Float16 => 2f32.powi(-11),
                    DataType::Bfloat16 => 2f32.powi(-8),
                    _ => 0.0,
                };
                let state = state.get(name).unwrap().as_f32().unwrap();
                for (&found, &trained) in found.iter().zip(state) {
                    assert!(
                        (found - trained).abs() <= unit * trained.abs() + 2f32.powi(-25),
                        "{name}: {found} {trained}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_weight_beyond_its_type_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&converted(classifier(), DataType::Float16, false), folder.path());
    let (step, engine) = engine(&forward, &StepOptions::default());
    let large = |(name, tensor): (&str, &Tensor)| {
        let mut tensor = tensor.clone();
        if let (true, Tensor::F32(array)) = (name == "fc1.weight", &mut tensor) {
            array.as_slice_mut().unwrap()[3] = 70000.0;
        }
        (name.to_owned(), tensor)
    };
    let state: State = engine.state().unwrap().iter().map(large).collect();
    let error = Original::new(forward, StepConfig::of(&step).unwrap()).with_weights(&state).unwrap_err();
    assert!(
        error.to_string().ends_with("`fc1.weight` is float16, which reaches to 6.5504e4, and holds 7e4"),
        "{error}"
    );
    assert!(error.help_text().unwrap().contains("float32"));
}

/// A float32 classifier whose file holds its first weight in float16.
fn compressed() -> ModelProto {
    let mut model = classifier();
    let graph = graph(&mut model);
    let weight = graph.initializer.iter_mut().find(|tensor| tensor.name() == "fc1.weight").unwrap();
    let floats = weight.raw_data.clone().unwrap();
    weight.data_type = Some(DataType::Float16 as i32);
    weight.set_float32(floats).unwrap();
    graph.node[0].input[1] = "fc1.float".into();
    graph
        .node
        .insert(0, with(node("Cast", &["fc1.weight"], "fc1.float"), AttributeProto::int("to", DataType::Float as i64)));
    model
}

#[test]
fn weights_that_the_file_alone_holds_in_half_precision_train_under_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&compressed(), folder.path());
    let (step, mut engine) = engine(&forward, &StepOptions::default());
    engine.step(&batch(8, 1), &Rates::new(0.5)).unwrap();
    let state = engine.state().unwrap();
    assert!(state.get("fc1.weight").is_some());
    let before = elements(&forward, "fc1.weight").1;
    let written = Original::new(forward, StepConfig::of(&step).unwrap()).with_weights(&state).unwrap();
    let (kind, after) = elements(&written, "fc1.weight");
    assert!(kind == DataType::Float16 && after != before);
    assert_eq!(elements(&written, "fc2.weight").0, DataType::Float);
}

#[test]
fn adapters_stand_beside_weights_of_half_precision() {
    let folder = tempfile::tempdir().unwrap();
    let options = |write| StepOptions {
        lora: Some(Lora { rank: 2, alpha: Some(3.0), targets: vec!["fc*.weight".into()], write: Some(write) }),
        ..StepOptions::default()
    };
    for model in [converted(classifier(), DataType::Float16, false), compressed()] {
        let forward = read(&model, folder.path());
        for write in [LoraWrite::Merge, LoraWrite::Adapters] {
            let (step, mut trained) = engine(&forward, &options(write));
            (0..9).for_each(|number| _ = trained.step(&batch(8, number), &Rates::new(0.5)).unwrap());
            let evaluated = trained.evaluate(&batch(8, 5)).unwrap();
            let original = Original::new(forward.clone(), StepConfig::of(&step).unwrap());
            let written = original.with_weights(&trained.state().unwrap()).unwrap();
            // An engine takes no node whose inputs are of two types.
            let facts = gnp::shapes::analyse(&written, &Default::default()).unwrap();
            for node in written.graph.node.iter().filter(|node| matches!(node.op_type(), "MatMul" | "Add" | "Mul")) {
                let types: Vec<_> = node.input.iter().filter_map(|input| facts.get(input)).map(|f| f.element).collect();
                assert!(types.len() == 2 && types[0] == types[1], "{} reads {types:?}", node.label());
            }
            assert_eq!(elements(&written, "fc1.weight").0, DataType::Float16);
            let (_, mut whole) = engine(&written, &StepOptions::default());
            let apart = difference(&evaluated[1], &whole.evaluate(&batch(8, 5)).unwrap()[1]);
            assert!(apart < 2e-3, "{write:?}: {apart}");
        }
    }
}

#[test]
fn what_is_frozen_beside_adapters_stays_as_the_file_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = StepOptions {
        lora: Some(Lora { rank: 2, alpha: None, targets: vec!["fc1.weight".into()], write: None }),
        ..StepOptions::default()
    };
    let forward = read(&compressed(), folder.path());
    let (step, _) = step(&forward, &options);
    assert_eq!(elements(&step, "fc1.weight"), elements(&forward, "fc1.weight"));
}

#[test]
fn a_dequantised_weight_has_the_type_of_its_scale() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = converted(classifier(), DataType::Float16, false);
    let graph = graph(&mut model);
    graph.initializer.retain(|tensor| tensor.name() != "fc1.weight");
    let bytes: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37)).collect();
    graph.initializer.push(TensorProto::raw("fc1.quantized", DataType::Int8, &[4, 8], bytes.into()));
    graph.initializer.push(TensorProto::raw("fc1.scale", DataType::Float16, &[], vec![0x00, 0x20].into()));
    graph.node.insert(0, node("DequantizeLinear", &["fc1.quantized", "fc1.scale"], "fc1.weight"));
    let forward = read(&model, folder.path());
    let (step, mut engine) = engine(&forward, &StepOptions::default());
    engine.step(&batch(8, 1), &Rates::new(0.1)).unwrap();
    let original = Original::new(forward, StepConfig::of(&step).unwrap());
    let written = original.with_weights(&engine.state().unwrap()).unwrap();
    let constant = written.graph.node.iter().find(|node| node.output[0] == "fc1.weight").unwrap();
    let held = constant.attribute("value").unwrap().t.as_deref().unwrap();
    assert_eq!((constant.op_type(), held.element()), ("Constant", Some(DataType::Float16)));
}
