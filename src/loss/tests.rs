//! Losses and their gradients against PyTorch's, computed by tract; the numbers and the script that made them are in `tests/fixtures`.

use super::*;
use crate::autodiff::gradient;
use crate::graph::{Builder, Facts, Graph, scalar_info};
use crate::lowering::tests::{infer, tensor_info};
use crate::onnx::DataType;
use crate::onnx::proto::GraphProto;
use tract_onnx::prelude::Tensor;

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: LossKind,
    smoothing: f32,
    axis: i64,
    shape: Vec<i64>,
    logits: Vec<f32>,
    labels: Vec<f64>,
    label_shape: Vec<usize>,
    classes: bool,
    loss: f32,
    gradient: Vec<f32>,
}

/// The loss and its gradient at the logits.
fn computed(case: &Case) -> [Vec<f32>; 2] {
    let input = vec![tensor_info("logits", &case.shape)];
    let mut graph = Graph::new(GraphProto { input, ..Default::default() }).unwrap();
    let mut facts = Facts::declared(graph.proto());
    let loss =
        Loss { kind: case.kind, label_smoothing: case.smoothing, class_axis: (case.axis != 1).then_some(case.axis) };
    let logits = Value::from("logits");
    let (value, labels) = loss.append(&mut TypedBuilder::new(&mut graph, &mut facts, "loss"), &logits).unwrap();
    let gradients = gradient(&mut graph, &mut facts, &value, &[logits], "gradient").unwrap();
    graph.insert_input(1, labels.info("labels")).unwrap();
    for (i, (value, name)) in [(&value, "out"), (gradients[0].as_ref().unwrap(), "dlogits")].into_iter().enumerate() {
        Builder::new(&mut graph, "test").alias(value, name).unwrap();
        graph.insert_output(i, scalar_info(name, DataType::Float));
    }
    let sizes: Vec<usize> = case.shape.iter().map(|&size| size as usize).collect();
    let labels = if case.classes {
        let numbers: Vec<i64> = case.labels.iter().map(|&label| label as i64).collect();
        Tensor::from_shape(&case.label_shape, &numbers).unwrap()
    } else {
        let numbers: Vec<f32> = case.labels.iter().map(|&label| label as f32).collect();
        Tensor::from_shape(&case.label_shape, &numbers).unwrap()
    };
    infer(&graph, vec![Tensor::from_shape(&sizes, &case.logits).unwrap(), labels]).try_into().unwrap()
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/fixtures/losses.json")).unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let [loss, gradient] = computed(&case);
        let off = |a: f32, b: f32| (a - b).abs() / (1.0 + b.abs());
        assert!(off(loss[0], case.loss) < 1e-5, "{}: {} and not {}", case.name, loss[0], case.loss);
        let worst = gradient.iter().zip(&case.gradient).map(|(a, b)| off(*a, *b)).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{}: the gradient is off by {worst}", case.name);
    }
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let smoothed = |kind, label_smoothing| Loss { kind, label_smoothing, class_axis: None }.validate();
    assert!(smoothed(LossKind::CrossEntropy, 1.0).is_err());
    assert!(smoothed(LossKind::Mse, 0.1).unwrap_err().to_string().contains("classes"));
    assert!(smoothed(LossKind::SoftCrossEntropy, 0.1).is_ok());
}
