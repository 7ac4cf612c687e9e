//! Gradients in ONNX Runtime's own operators are those in standard ones, which other tests compare with finite
//! differences.
use crate::support::forward::{self, info, node, weight, with};
use crate::support::training_runtime;
use gnp::autodiff::Gradients;
use gnp::contract::{GRAD_NORM, LOSS, RANGES_KEY, WRONG};
use gnp::engine::{Engine as _, EngineOptions, Ort, Rates, State, StepEngine as _};
use gnp::loss::{LossKind, Wanted};
use gnp::lowering::{self, Dropout};
use gnp::onnx::proto::{AttributeProto, NodeProto, TensorProto};
use gnp::onnx::{self, DataType, Model};
use gnp::penalty::Penalty;
use gnp::rewrite::{StepOptions, make_step};
use gnp::tensor::Tensor;
use gnp::weights::Selection;
use ndarray::ArrayD;
use std::num::NonZero;

const TOLERANCE: f64 = 1e-5;

/// A small network around an operator.
struct Case {
    name: &'static str,
    /// The shape of a sample; all of it is moved by a trained parameter.
    sample: &'static [usize],
    weights: Vec<(&'static str, &'static [usize])>,
    /// From `x` to `y`.
    nodes: Vec<NodeProto>,
    /// What its gradient is made of.
    operator: &'static str,
}

fn case(
    name: &'static str,
    sample: &'static [usize],
    weights: &[(&'static str, &'static [usize])],
    nodes: impl Into<Vec<NodeProto>>,
    operator: &'static str,
) -> Case {
    Case { name, sample, weights: weights.to_vec(), nodes: nodes.into(), operator }
}

fn all_with(node: NodeProto, attributes: impl Into<Vec<AttributeProto>>) -> NodeProto {
    NodeProto { attribute: attributes.into(), ..node }
}

fn conv(attributes: impl Into<Vec<AttributeProto>>) -> [NodeProto; 1] {
    [all_with(node("Conv", &["x", "w", "b"], "y"), attributes)]
}

fn layer(inputs: &[&str], axis: i64) -> [NodeProto; 1] {
    [with(node("LayerNormalization", inputs, "y"), AttributeProto::int("axis", axis))]
}

/// Gelu as it is exported: by division or multiplication, with ½ before or behind.
fn exported_gelu(scale: [&str; 2], half_first: bool) -> Vec<NodeProto> {
    let [operator, number] = scale;
    let mut nodes = vec![
        node(operator, &["x", number], "scaled"),
        node("Erf", &["scaled"], "erf"),
        node("Add", &["erf", "one"], "gate"),
    ];
    if half_first {
        nodes.extend([node("Mul", &["half", "x"], "product"), node("Mul", &["product", "gate"], "y")]);
    } else {
        nodes.extend([node("Mul", &["gate", "x"], "product"), node("Mul", &["product", "half"], "y")]);
    }
    nodes
}

fn batch_norm_of(x: &str, y: &str) -> NodeProto {
    node("BatchNormalization", &[x, "scale", "bias", "mean", "variance"], y)
}

fn batch_norm() -> [NodeProto; 1] {
    [batch_norm_of("x", "y")]
}

/// A module that is called twice, which has one pair of statistics.
fn batch_norm_twice() -> [NodeProto; 3] {
    [batch_norm_of("x", "first"), node("Sin", &["first"], "between"), batch_norm_of("between", "y")]
}

fn cases() -> Vec<Case> {
    let ints = AttributeProto::ints;
    let axis = |operator, axis| [with(node(operator, &["x"], "y"), AttributeProto::int("axis", axis))];
    let of = |channels: &'static [usize]| {
        [("scale", channels), ("bias", channels), ("mean", channels), ("variance", channels)]
    };
    vec![
        case("relu", &[4, 5], &[], [node("Relu", &["x"], "y")], "ReluGrad"),
        case("sigmoid", &[4, 5], &[], [node("Sigmoid", &["x"], "y")], "SigmoidGrad"),
        case("softmax", &[4, 5], &[], axis("Softmax", -1), "SoftmaxGrad_13"),
        case("softmax of an inner axis", &[4, 5], &[], axis("Softmax", 1), "SoftmaxGrad_13"),
        case("log softmax", &[4, 5], &[], axis("LogSoftmax", -1), "LogSoftmaxGrad_13"),
        case("log softmax of an inner axis", &[4, 5], &[], axis("LogSoftmax", 1), "LogSoftmaxGrad_13"),
        case("gelu", &[4, 5], &[], [node("Gelu", &["x"], "y")], "GeluGrad"),
        case("gelu by division", &[4, 5], &[], exported_gelu(["Div", "root"], false), "GeluGrad"),
        case("gelu by multiplication", &[4, 5], &[], exported_gelu(["Mul", "reciprocal"], true), "GeluGrad"),
        case("conv", &[2, 6, 7], &[("w", &[3, 2, 3, 3]), ("b", &[3])], conv([]), "ConvGrad"),
        case(
            "conv with all attributes",
            &[4, 9, 9],
            &[("w", &[6, 2, 3, 2]), ("b", &[6])],
            conv([
                ints("strides", &[2, 3]),
                ints("pads", &[1, 2, 1, 2]),
                ints("dilations", &[2, 1]),
                AttributeProto::int("group", 2),
                AttributeProto::string("auto_pad", "NOTSET"),
            ]),
            "ConvGrad",
        ),
        case(
            "conv along one axis",
            &[2, 8],
            &[("w", &[3, 2, 3]), ("b", &[3])],
            conv([ints("pads", &[1, 1])]),
            "ConvGrad",
        ),
        case("conv of large windows", &[4, 6, 7], &[("w", &[3, 4, 6, 5]), ("b", &[3])], conv([]), "ConvGrad"),
        case("conv in space", &[2, 4, 4, 4], &[("w", &[3, 2, 2, 2, 2]), ("b", &[3])], conv([]), "ConvGrad"),
        case("batch norm of vectors", &[3], &of(&[3]), batch_norm(), "BatchNormalizationGrad"),
        case("batch norm of images", &[3, 4, 4], &of(&[3]), batch_norm(), "BatchNormalizationGrad"),
        case("batch norm twice", &[3, 4, 4], &of(&[3]), batch_norm_twice(), "BatchNormalizationGrad"),
        case("batch norm in space", &[3, 2, 4, 3], &of(&[3]), batch_norm(), "BatchNormalizationGrad"),
        case("layer norm", &[4, 5], &[("g", &[5]), ("b", &[5])], layer(&["x", "g", "b"], -1), "LayerNormalizationGrad"),
        case("layer norm without bias", &[4, 5], &[("g", &[5])], layer(&["x", "g"], -1), "LayerNormalizationGrad"),
        case(
            "layer norm over two axes",
            &[4, 5],
            &[("g", &[4, 5]), ("b", &[4, 5])],
            layer(&["x", "g", "b"], 1),
            "LayerNormalizationGrad",
        ),
    ]
}

/// Pools whose gradient needs no second MaxPool.
fn pools() -> Vec<(&'static str, &'static [usize], NodeProto)> {
    let ints = AttributeProto::ints;
    let pool = |attributes: Vec<AttributeProto>| all_with(node("MaxPool", &["x"], "y"), attributes);
    let kernel = ints("kernel_shape", &[2, 3]);
    vec![
        ("pool", &[3, 6, 6], pool(vec![kernel.clone(), ints("strides", &[2, 3])])),
        ("pool of windows that overlap", &[3, 7, 6], pool(vec![kernel.clone(), ints("pads", &[1, 1, 0, 2])])),
        ("pool along one axis", &[3, 9], pool(vec![ints("kernel_shape", &[3]), ints("strides", &[2])])),
        (
            "pool with dilations, rounded up",
            &[3, 9, 8],
            pool(vec![
                kernel,
                ints("strides", &[2, 2]),
                ints("dilations", &[2, 1]),
                AttributeProto::int("ceil_mode", 1),
                AttributeProto::string("auto_pad", "NOTSET"),
            ]),
        ),
    ]
}

/// What the runtime's operators get wrong, or refuse.
fn declined() -> Vec<Case> {
    let approximate = with(node("Gelu", &["x"], "y"), AttributeProto::string("approximate", "tanh"));
    let weights: [(&str, &[usize]); 2] = [("w", &[3, 2, 3, 3]), ("b", &[3])];
    let same = conv([AttributeProto::string("auto_pad", "SAME_UPPER")]);
    let uneven = conv([AttributeProto::ints("pads", &[0, 1, 1, 0])]);
    vec![
        case("gelu by tanh", &[4, 5], &[], [approximate], "GeluGrad"),
        case("conv with auto_pad", &[2, 6, 6], &weights, same, "ConvGrad"),
        case("conv with uneven margins", &[2, 6, 6], &weights, uneven, "ConvGrad"),
        case("tanh", &[4, 5], &[], [node("Tanh", &["x"], "y")], "TanhGrad"),
    ]
}

impl Case {
    /// The mean of sin 3y, where x is the batch and a parameter; sin, since the sum of squares of what is normalised is
    /// constant.
    fn model(&self) -> Model {
        let mut model = forward::empty();
        model.opset_import[0].version = Some(20);
        let graph = forward::graph(&mut model);
        let sizes: Vec<String> = self.sample.iter().map(usize::to_string).collect();
        graph.input = vec![info("data", DataType::Float, &format!("batch,{}", sizes.join(",")))];
        graph.initializer = self.weights.iter().map(|(name, shape)| weight(name, shape)).collect();
        graph.initializer.push(weight("shift", self.sample));
        let variance = graph.initializer.iter_mut().filter(|tensor| tensor.name() == "variance");
        variance.for_each(|tensor| *tensor = number("variance", &tensor.dims, 1.0));
        let numbers =
            [("one", 1.0), ("half", 0.5), ("three", 3.0), ("root", 2f32.sqrt()), ("reciprocal", 0.5f32.sqrt())];
        graph.initializer.extend(numbers.map(|(name, value)| number(name, &[], value)));
        graph.node = vec![node("Add", &["data", "shift"], "x")];
        graph.node.extend(self.nodes.iter().cloned());
        graph.node.extend([
            node("Mul", &["y", "three"], "tripled"),
            node("Sin", &["tripled"], "wave"),
            with(node("ReduceMean", &["wave"], "loss"), AttributeProto::int("keepdims", 0)),
        ]);
        graph.output = vec![info("loss", DataType::Float, "")];
        let folder = tempfile::tempdir().unwrap();
        onnx::read(forward::write(&model, &folder.path().join("model.onnx"))).unwrap()
    }

    fn step(&self, gradients: Gradients, r: f32) -> Model {
        let trained = self.weights.iter().map(|(name, _)| *name).filter(|name| !["mean", "variance"].contains(name));
        let options = StepOptions {
            loss: Wanted { loss_output: Some("loss".into()), ..Wanted::default() },
            selection: Selection {
                train: ["shift"].into_iter().chain(trained).map(String::from).collect(),
                ..Selection::default()
            },
            ..options(gradients, r)
        };
        make_step(self.model(), &options).unwrap().0
    }

    fn batch(&self) -> Vec<Tensor> {
        let shape: Vec<usize> = [5].into_iter().chain(self.sample.iter().copied()).collect();
        vec![numbers(&shape)]
    }
}

fn number(name: &str, dims: &[i64], value: f32) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    TensorProto::raw(name, DataType::Float, dims, value.to_le_bytes().repeat(count).into())
}

fn numbers(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let values = (0..count).map(|i: usize| ((i * 37 + 11) % 101) as f32 / 40.0 - 1.3).collect();
    Tensor::F32(ArrayD::from_shape_vec(shape, values).unwrap())
}

/// With momentum, the buffers of which hold the gradient after the first step.
fn options(gradients: Gradients, r: f32) -> StepOptions {
    StepOptions { gradients, penalty: Penalty { r, alpha: 0.7, ..Penalty::default() }, ..StepOptions::default() }
}

/// The state after a step that leaves the parameters as they are.
fn stepped(step: &Model, batch: &[Tensor]) -> State {
    let options = EngineOptions { threads: NonZero::new(1), ..EngineOptions::default() };
    let mut engine = Ort::load(&training_runtime(), step, None, &options).unwrap();
    engine.step(batch, &Rates::new(0.0)).unwrap();
    engine.state().unwrap()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// The largest relative distance of two states' tensors. A gradient that is much smaller than the whole one, before a
/// normalisation even 0, is compared with a hundredth of that.
#[track_caller]
fn distance(a: &State, b: &State) -> f64 {
    let floats = |tensor: &Tensor| tensor.as_f32().map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
    let gradients = a.iter().filter(|(name, _)| name.ends_with(".momentum"));
    let whole = norm(gradients.filter_map(|(_, tensor)| floats(tensor)).flatten());
    assert!(whole > 1e-3, "the gradient is too small to tell anything");
    let errors = a.iter().zip(b.iter()).filter_map(|((name, a), (other, b))| {
        assert_eq!(name, other);
        let (a, b) = (floats(a)?, floats(b)?);
        let least = if name.ends_with(".momentum") { 1e-2 * whole } else { 0.0 };
        let apart = norm(a.iter().zip(b).map(|(a, b)| a - b));
        Some(apart / norm(a.into_iter()).max(least))
    });
    errors.fold(0.0, f64::max)
}

fn has(step: &Model, operator: &str) -> bool {
    step.graph.node.iter().any(|node| node.operator() == format!("com.microsoft.{operator}"))
}

/// Compares the gradients that each choice gives, in one pass and in two.
#[track_caller]
fn choices_agree(case: &Case) {
    for r in [0.0, 0.05] {
        let own = stepped(&case.step(Gradients::Standard, r), &case.batch());
        for choice in [Gradients::Ort, Gradients::OrtCuda] {
            let error = distance(&own, &stepped(&case.step(choice, r), &case.batch()));
            println!("{:>31} {choice:?} r {r}: {error:.1e}", case.name);
            assert!(error <= TOLERANCE, "{} {choice:?} r {r}: {error:e}", case.name);
        }
    }
}

#[test]
fn each_operator_gives_the_gradient_of_the_standard_ones() {
    needs!(engines);
    for case in cases() {
        assert!(has(&case.step(Gradients::OrtCuda, 0.0), case.operator), "{}", case.name);
        assert!(!has(&case.step(Gradients::Standard, 0.0), case.operator), "{}", case.name);
        choices_agree(&case);
    }
}

#[test]
fn a_pool_itself_says_where_its_greatest_elements_are() {
    needs!(engines);
    // A gradient by standard operators pools once more, in the body of its function.
    let is_pool = |node: &NodeProto| node.is("", "MaxPool") || node.is("gnp", "MaxPoolGrad");
    let count = |step: &Model| step.graph.node.iter().filter(|node| is_pool(node)).count();
    for (name, sample, pool) in pools() {
        let case = case(name, sample, &[], [pool], "MaxPool");
        assert_eq!(count(&case.step(Gradients::Standard, 0.0)), 2, "{name}");
        assert_eq!(count(&case.step(Gradients::Ort, 0.0)), 1, "{name}");
        choices_agree(&case);
    }
    let by_columns = [AttributeProto::ints("kernel_shape", &[2, 2]), AttributeProto::int("storage_order", 1)];
    let pool = all_with(node("MaxPool", &["x"], "y"), by_columns);
    let case = case("pool that counts by columns", &[3, 5, 4], &[], [pool], "MaxPool");
    assert_eq!(count(&case.step(Gradients::Ort, 0.0)), 2);
    choices_agree(&case);
}

#[test]
fn what_an_operator_gets_wrong_is_left_to_the_standard_ones() {
    needs!(engines);
    for case in declined() {
        let [own, fused] = [Gradients::Standard, Gradients::OrtCuda].map(|choice| case.step(choice, 0.0));
        assert!(!has(&fused, case.operator), "{}", case.name);
        let error = distance(&stepped(&own, &case.batch()), &stepped(&fused, &case.batch()));
        assert!(error <= TOLERANCE, "{}: {error:e}", case.name);
    }
}

#[test]
fn on_the_processor_those_that_take_longer_are_left_out() {
    for case in cases() {
        let is_faster =
            ["BatchNormalizationGrad", "ConvGrad", "LayerNormalizationGrad", "SigmoidGrad", "SoftmaxGrad_13"];
        let step = case.step(Gradients::Ort, 0.0);
        assert_eq!(has(&step, case.operator), is_faster.contains(&case.operator), "{}", case.name);
    }
    // A window on each channel for itself.
    let conv = conv([AttributeProto::int("group", 4), AttributeProto::ints("pads", &[3, 3, 3, 3])]);
    let case = case("conv on each channel", &[4, 8, 8], &[("w", &[4, 1, 7, 7]), ("b", &[4])], conv, "ConvGrad");
    assert!(!has(&case.step(Gradients::Ort, 0.0), case.operator));
    assert!(has(&case.step(Gradients::OrtCuda, 0.0), case.operator));
}

const CROSS_ENTROPY: &str = "SoftmaxCrossEntropyLossInternalGrad";

/// Cross-entropy of logits that are the wave of sin, `sample` without the axis of samples, with class numbers.
struct Classes {
    name: &'static str,
    sample: &'static [usize],
    loss: Wanted,
    /// As many as five samples have.
    labels: fn(usize) -> i64,
}

fn cross_entropy() -> Wanted {
    Wanted { loss: Some(LossKind::CrossEntropy), logits: Some("wave".into()), ..Wanted::default() }
}

fn classes() -> Vec<Classes> {
    let plain = || Wanted { class_axis: Some(1), ..cross_entropy() };
    let weights = || Wanted { class_weights: vec![0.5, 0.0, 2.0, 1.0], ..plain() };
    let five = |i: usize| (i * 7 % 5) as i64;
    let four = |i: usize| (i * 7 % 4) as i64;
    let some = |i: usize| if i.is_multiple_of(3) { -100 } else { (i % 4) as i64 };
    let of = |name, sample, loss, labels| Classes { name, sample, loss, labels };
    vec![
        of("classes", &[5], plain(), five),
        of("some do not count", &[4], plain(), some),
        of("a class does not count", &[4], Wanted { ignore_index: Some(2), ..plain() }, four),
        of("none counts", &[4], plain(), |_| -100),
        of("weights", &[4], weights(), some),
        of("weights of nothing", &[4], weights(), |_| 1),
        of("classes of pixels", &[4, 3, 2], plain(), some),
        of("weights of pixels", &[4, 6], weights(), some),
    ]
}

impl Classes {
    fn step(&self, gradients: Gradients, r: f32) -> Model {
        let case = case(self.name, self.sample, &[], [node("Identity", &["x"], "y")], CROSS_ENTROPY);
        let selection = Selection { train: vec!["shift".into()], ..Selection::default() };
        let options = StepOptions { loss: self.loss.clone(), selection, ..options(gradients, r) };
        make_step(case.model(), &options).unwrap().0
    }

    fn batch(&self, labels: impl Fn(usize) -> i64) -> [Tensor; 2] {
        let shape = |axes: &[usize]| [5].into_iter().chain(axes.iter().copied()).collect::<Vec<_>>();
        let places = shape(&self.sample[1..]);
        let labels = (0..places.iter().product()).map(labels).collect();
        [numbers(&shape(self.sample)), Tensor::I64(ArrayD::from_shape_vec(places, labels).unwrap())]
    }
}

/// What a step returns, by name, and the state after it. Labels of any number are let through.
fn returned(step: &Model, batch: &[Tensor]) -> (Vec<(String, f32)>, State) {
    let mut step = step.clone();
    step.header.metadata_props.retain(|entry| entry.key() != RANGES_KEY);
    let options = EngineOptions { threads: NonZero::new(1), ..EngineOptions::default() };
    let mut engine = Ort::load(&training_runtime(), &step, None, &options).unwrap();
    let returned = engine.step(batch, &Rates::new(0.0)).unwrap();
    let named = engine.step_outputs().iter().zip(&returned);
    (named.filter_map(|(name, x)| Some((name.clone(), x.to_scalar()?))).collect(), engine.state().unwrap())
}

#[test]
fn cross_entropy_is_that_of_the_standard_operators() {
    needs!(engines);
    for case in classes() {
        for r in [0.0, 0.05] {
            let own = case.step(Gradients::Standard, r);
            assert!(!has(&own, CROSS_ENTROPY));
            let (own, state) = returned(&own, &case.batch(case.labels));
            for choice in [Gradients::Ort, Gradients::OrtCuda] {
                let step = case.step(choice, r);
                assert!(has(&step, CROSS_ENTROPY), "{} {choice:?}", case.name);
                let (fused, fused_state) = returned(&step, &case.batch(case.labels));
                assert!(own.iter().any(|(name, _)| name == WRONG), "{own:?}");
                assert_eq!(own.len(), fused.len());
                for ((name, a), (other, b)) in own.iter().zip(&fused) {
                    assert_eq!(name, other);
                    let far = (a - b).abs() > 1e-5 * a.abs().max(1e-3);
                    assert!(!far && a.is_finite(), "{} {choice:?} r {r}: {name} is {a} and {b}", case.name);
                }
                let counts = own.iter().any(|(name, loss)| name == LOSS && *loss > 0.0);
                assert_eq!(counts, !["none counts", "weights of nothing"].contains(&case.name));
                if counts {
                    let error = distance(&state, &fused_state);
                    println!("{:>24} {choice:?} r {r}: {error:.1e}", case.name);
                    assert!(error <= TOLERANCE, "{} {choice:?} r {r}: {error:e}", case.name);
                }
            }
        }
    }
}

/// The runtime's operator would read beyond the logits.
#[test]
fn a_label_that_is_no_class_makes_loss_and_gradient_nan() {
    needs!(engines);
    for case in classes() {
        for wild in [7, -1, 1 << 40, i64::MIN] {
            let labels = |i| if i == 2 { wild } else { (case.labels)(i) };
            for choice in [Gradients::Standard, Gradients::Ort, Gradients::OrtCuda] {
                let (returned, _) = returned(&case.step(choice, 0.0), &case.batch(labels));
                for name in [LOSS, GRAD_NORM] {
                    let found = returned.iter().find(|(other, _)| other == name);
                    assert!(found.is_some_and(|(_, x)| x.is_nan()), "{} {choice:?} {wild}: {returned:?}", case.name);
                }
            }
        }
    }
}

#[test]
fn cross_entropy_in_another_form_is_left_to_the_standard_operators() {
    let of = |sample, loss| Classes { name: "form", sample, loss, labels: |_| 0 };
    let many = of(&[100], cross_entropy());
    let smooth = of(&[5], Wanted { label_smoothing: 0.1, ..cross_entropy() });
    let last = of(&[3, 5], Wanted { class_axis: Some(-1), ..cross_entropy() });
    for form in [&many, &smooth, &last] {
        assert!(!has(&form.step(Gradients::Ort, 0.0), CROSS_ENTROPY), "{:?}", form.loss);
    }
    assert!(has(&many.step(Gradients::OrtCuda, 0.0), CROSS_ENTROPY));
}

#[test]
fn whole_networks_have_the_same_gradient() {
    needs!(engines);
    for (name, sample) in [("mlp", &[64][..]), ("cnn", &[1, 28, 28]), ("vit", &[1, 8, 8])] {
        let step = |gradients, r| {
            let loss = LossKind::CrossEntropy.into();
            let model = onnx::read(crate::support::models().join(name).join("model.onnx")).unwrap();
            // This runtime draws no numbers from a counter.
            let lowering = lowering::Settings { dropout: Dropout::Off, ..lowering::Settings::default() };
            make_step(model, &StepOptions { loss, lowering, ..options(gradients, r) }).unwrap().0
        };
        let shape: Vec<usize> = [16].into_iter().chain(sample.iter().copied()).collect();
        let labels = ArrayD::from_shape_vec(vec![16], (0..16).map(|i| i % 10).collect()).unwrap();
        let batch = [numbers(&shape), Tensor::I64(labels)];
        for r in [0.0, 0.05] {
            let own = stepped(&step(Gradients::Standard, r), &batch);
            for gradients in [Gradients::Ort, Gradients::OrtCuda] {
                let error = distance(&own, &stepped(&step(gradients, r), &batch));
                println!("{name:>5} {gradients:?} r {r}: {error:.1e}");
                assert!(error <= TOLERANCE, "{name} {gradients:?} r {r}: {error:e}");
            }
        }
    }
}
