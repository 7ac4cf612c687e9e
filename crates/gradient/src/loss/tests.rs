//! Losses and their gradients against PyTorch's, computed by tract; the numbers and the script that made them are in
//! `tests/fixtures`.

use super::*;
use crate::autodiff::{Gradients, gradient};
use crate::lowering::tests::{infer, tensor_info};
use gnp_model::graph::{Builder, Graph, scalar_info};
use gnp_model::onnx::proto::GraphProto;
use tract_onnx::prelude::Tensor;

#[derive(Clone, Deserialize)]
struct Case {
    name: String,
    kind: LossKind,
    #[serde(default)]
    smoothing: f32,
    ignore: Option<i64>,
    #[serde(default)]
    class_weights: Vec<f32>,
    #[serde(default)]
    pos_weight: Vec<f32>,
    axis: i64,
    shape: Vec<i64>,
    logits: Vec<f32>,
    labels: Vec<f64>,
    label_shape: Vec<usize>,
    classes: bool,
    loss: f32,
    gradient: Vec<f32>,
    /// How many labels count, how many of them are wrong, and the sum of their weights where they have such.
    counts: Vec<f32>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../../../tests/fixtures/losses.json")).unwrap()
}

/// The loss, its gradient at the logits, and what is counted. With `open` sizes the graph is made without knowing them.
fn computed(case: &Case, open: bool) -> Vec<Vec<f32>> {
    let input = vec![tensor_info("logits", &case.shape)];
    let mut graph = Graph::new(GraphProto { input, ..Default::default() }).unwrap();
    if open {
        let shape = Some((0..case.shape.len()).map(|axis| Dim::Symbol(format!("d{axis}").as_str().into())).collect());
        graph.declare("logits", Fact { element: DataType::Float, shape });
    }
    let plain = Loss::new(case.kind);
    let loss = Loss {
        label_smoothing: case.smoothing,
        class_axis: (case.axis != 1).then_some(case.axis),
        ignore_index: case.ignore.or(plain.ignore_index),
        class_weights: case.class_weights.clone(),
        pos_weight: case.pos_weight.clone(),
        ..plain
    };
    let logits = Value::from("logits");
    let appended = loss.append(&Builder::new(&mut graph, "loss"), &logits, Gradients::Standard).unwrap();
    let gradients = gradient(&mut graph, &appended.loss, &[logits], Gradients::Standard, "gradient").unwrap();
    graph.insert_input(1, appended.labels.info("labels")).unwrap();
    let mut outputs = vec![(&appended.loss, "out"), (gradients[0].as_ref().unwrap(), "dlogits")];
    outputs.extend(appended.tally.iter().flat_map(Tally::named).map(|(name, value)| (value, name)));
    for (i, (value, name)) in outputs.into_iter().enumerate() {
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
    infer(&graph, vec![Tensor::from_shape(&sizes, &case.logits).unwrap(), labels])
}

fn off(a: f32, b: f32) -> f32 {
    (a - b).abs() / (1.0 + b.abs())
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let cases = cases();
    assert_eq!(cases.len(), 23);
    for case in cases {
        for open in [false, true] {
            let found = computed(&case, open);
            let (loss, gradient) = (found[0][0], &found[1]);
            assert!(off(loss, case.loss) < 1e-5, "{}: {loss} and not {}", case.name, case.loss);
            let worst = gradient.iter().zip(&case.gradient).map(|(a, b)| off(*a, *b)).fold(0.0, f32::max);
            assert!(worst < 1e-6, "{}: the gradient is off by {worst}", case.name);
            assert_eq!(found[2..].concat(), case.counts, "{}", case.name);
        }
    }
}

#[test]
fn a_label_that_is_no_class_is_seen_in_the_loss() {
    let case = cases().into_iter().find(|case| case.ignore == Some(-1) && case.shape.len() == 2).unwrap();
    assert!(computed(&case, false)[0][0].is_finite());
    for number in [-2.0, 4.0, -100.0] {
        let mut case = case.clone();
        case.labels[1] = number;
        let found = computed(&case, false);
        assert!(found[0][0].is_nan() && found[1].iter().all(|number| number.is_nan()), "{number}: {found:?}");
    }
}

#[test]
fn a_model_that_tells_nothing_apart_is_wrong() {
    let mut case = cases().swap_remove(0);
    case.logits.fill(0.5);
    assert_eq!(computed(&case, false)[2..], [[5.0], [5.0]]);
}

/// As of a masked action or token: PyTorch's loss is finite there too.
#[test]
fn a_class_that_cannot_be_is_no_reason_for_nan() {
    let mut case = cases().swap_remove(0);
    let other = usize::from(case.labels[0] == 0.0);
    case.logits[other] = f32::NEG_INFINITY;
    let found = computed(&case, false);
    assert!(found[0][0].is_finite() && found[1].iter().all(|number| number.is_finite()), "{found:?}");
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let says = |loss: Loss, says: &str| {
        let error = loss.validate().unwrap_err();
        assert!(error.to_string().contains(says) && error.help_text().is_some(), "{error}");
    };
    let new = Loss::new;
    says(Loss { label_smoothing: 1.0, ..new(LossKind::CrossEntropy) }, "from 0 to below 1");
    says(Loss { label_smoothing: 0.1, ..new(LossKind::Mse) }, "classes");
    says(Loss { class_axis: Some(1), ..new(LossKind::Bce) }, "classes");
    says(Loss { ignore_index: Some(-1), ..new(LossKind::SoftCrossEntropy) }, "class numbers");
    says(Loss { class_weights: vec![1.0], ..new(LossKind::Bce) }, "class weights are for losses over classes");
    says(Loss { pos_weight: vec![1.0], ..new(LossKind::CrossEntropy) }, "binary cross-entropy");
    says(Loss { class_weights: vec![1.0, -1.0], ..new(LossKind::CrossEntropy) }, "--class-weights has -1");
    says(Loss { pos_weight: vec![f32::NAN], ..new(LossKind::Bce) }, "--pos-weight has NaN");
    Loss { label_smoothing: 0.1, class_weights: vec![1.0], ..new(LossKind::SoftCrossEntropy) }.validate().unwrap();
}

#[test]
fn there_is_a_weight_for_each_class() {
    let logits = Fact::with_sizes(DataType::Float, &[2, 6, 4]);
    let loss = Loss { class_weights: vec![1.0; 4], ..Loss::new(LossKind::CrossEntropy) };
    let error = loss.check_weights(&logits).unwrap_err().to_string();
    assert_eq!(error, "--class-weights has 4 numbers, and the logits are FLOAT [2, 6, 4]: 6 classes on axis 1");
    Loss { class_axis: Some(2), ..loss }.check_weights(&logits).unwrap();
}

#[test]
fn what_was_chosen_is_described() {
    let loss = Loss { label_smoothing: 0.1, class_weights: vec![1.0, 0.5], ..Loss::new(LossKind::CrossEntropy) };
    let said = loss.describe("y");
    assert_eq!(said, "cross-entropy of `y`; label smoothing 0.1; class weights 1, 0.5; labels of -100 do not count");
    let loss = Loss { pos_weight: (0..9).map(|i| i as f32).collect(), ..Loss::new(LossKind::Bce) };
    assert_eq!(loss.describe("y"), "bce of `y`; weight of labels of 1: 0, …, 8 (9)");
}

#[test]
fn the_loss_of_an_older_step_model_is_read() {
    let older = r#"{"kind":"cross-entropy","label_smoothing":0.1,"class_axis":null}"#;
    let expected = Loss { label_smoothing: 0.1, ignore_index: None, ..Loss::new(LossKind::CrossEntropy) };
    assert_eq!(serde_json::from_str::<Loss>(older).unwrap(), expected);
}
