//! A step model made by hand: a classifier of two layers, SGD with momentum, and the second pass of the penalty inside
//! an `If` whose branches capture outer values.

use gnp::onnx::proto::type_proto::{self, Value};
use gnp::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto,
};
use gnp::onnx::{DataType, Model};
use gnp::tensor::{ElementType, Tensor};
use ndarray::ArrayD;
use prost::Message as _;
use std::fs;
use std::path::{Path, PathBuf};

pub const FEATURES: usize = 4;
pub const CLASSES: usize = 3;
const HIDDEN: usize = 5;
const PARAMETERS: [(&str, &[usize]); 4] =
    [("w1", &[FEATURES, HIDDEN]), ("b1", &[HIDDEN]), ("w2", &[HIDDEN, CLASSES]), ("b2", &[CLASSES])];

/// What the step model returns besides the next state.
pub const OUTPUTS: [&str; 6] =
    ["loss", "gnp.grad_norm", "gnp.loss_perturbed", "gnp.mixed_grad_norm", "gnp.param_norm", "logits"];

/// What the step model takes from one step to the next.
pub fn state_names() -> Vec<String> {
    let slots = PARAMETERS.iter().map(|(name, _)| format!("{name}.momentum"));
    PARAMETERS.iter().map(|(name, _)| (*name).to_owned()).chain(slots).chain(["step".to_owned()]).collect()
}

/// A batch of `count` samples; `number` tells batches apart.
pub fn batch(count: usize, number: usize) -> Vec<Tensor> {
    let value = |i: usize| ((i * 7919 + number * 104_729) % 1009) as f32 / 1009.0 - 0.5;
    let samples = (0..count * FEATURES).map(value).collect();
    let labels = (0..count).map(|i| ((i * 5 + number) % CLASSES) as i64).collect();
    vec![
        Tensor::F32(ArrayD::from_shape_vec(vec![count, FEATURES], samples).unwrap()),
        Tensor::I64(ArrayD::from_shape_vec(vec![count], labels).unwrap()),
    ]
}

/// Writes the step model and the model that it is evaluated with into `folder`, and returns their paths.
pub fn write(folder: &Path) -> (PathBuf, PathBuf) {
    let (step, eval) = (folder.join("step.onnx"), folder.join("step.eval.onnx"));
    fs::write(&step, step_model().encode_to_vec()).unwrap();
    fs::write(&eval, eval_model().encode_to_vec()).unwrap();
    (step, eval)
}

pub fn read(path: &Path) -> Model {
    gnp::onnx::read(path).unwrap()
}

/// Nodes, each the operator, its inputs and its outputs.
#[derive(Default)]
struct Nodes(Vec<NodeProto>);

impl Nodes {
    fn add(&mut self, operator: &str, inputs: &[&str], output: &str) {
        self.0.push(NodeProto {
            op_type: Some(operator.into()),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            ..Default::default()
        });
    }

    fn with(&mut self, attribute: AttributeProto) {
        self.0.last_mut().unwrap().attribute.push(attribute);
    }

    /// Loss and logits at `parameters`, each value's name ending in `at`.
    fn forward(&mut self, parameters: &[String], at: &str) {
        let v = |name: &str| format!("{name}{at}");
        let [w1, b1, w2, b2] = [0, 1, 2, 3].map(|i| parameters[i].as_str());
        self.add("MatMul", &["x", w1], &v("xw"));
        self.add("Add", &[&v("xw"), b1], &v("pre"));
        self.add("Relu", &[&v("pre")], &v("h"));
        self.add("MatMul", &[&v("h"), w2], &v("hw"));
        self.add("Add", &[&v("hw"), b2], &v("logits"));
        self.add("LogSoftmax", &[&v("logits")], &v("logp"));
        self.with(AttributeProto::int("axis", -1));
        self.add("Mul", &[&v("logp"), "targets"], &v("picked"));
        self.add("ReduceSum", &[&v("picked")], &v("sum"));
        self.with(AttributeProto::int("keepdims", 0));
        self.add("Mul", &[&v("sum"), "weight"], &v("mean"));
        self.add("Neg", &[&v("mean")], &v("loss"));
    }

    /// The gradients `<parameter>.gradient` of what `forward` computed.
    fn backward(&mut self, parameters: &[String], at: &str) {
        let v = |name: &str| format!("{name}{at}");
        self.add("Exp", &[&v("logp")], &v("p"));
        self.add("Sub", &[&v("p"), "targets"], &v("dz_sum"));
        self.add("Mul", &[&v("dz_sum"), "weight"], &v("dz"));
        self.add("Transpose", &[&v("h")], &v("ht"));
        self.add("MatMul", &[&v("ht"), &v("dz")], &v("w2.gradient"));
        self.add("ReduceSum", &[&v("dz"), "axes"], &v("b2.gradient"));
        self.with(AttributeProto::int("keepdims", 0));
        self.add("Transpose", &[&parameters[2]], &v("w2t"));
        self.add("MatMul", &[&v("dz"), &v("w2t")], &v("dh"));
        self.add("Greater", &[&v("pre"), "zero"], &v("active"));
        self.add("Cast", &[&v("active")], &v("mask"));
        self.with(AttributeProto::int("to", DataType::Float as i64));
        self.add("Mul", &[&v("dh"), &v("mask")], &v("dpre"));
        self.add("Transpose", &["x"], &v("xt"));
        self.add("MatMul", &[&v("xt"), &v("dpre")], &v("w1.gradient"));
        self.add("ReduceSum", &[&v("dpre"), "axes"], &v("b1.gradient"));
        self.with(AttributeProto::int("keepdims", 0));
    }

    /// `name`, the norm of all `values` together.
    fn norm(&mut self, values: &[String], name: &str) {
        let squares: Vec<_> = values.iter().map(|value| format!("{value}.square")).collect();
        for (value, square) in values.iter().zip(&squares) {
            self.add("ReduceSumSquare", &[value], square);
            self.with(AttributeProto::int("keepdims", 0));
        }
        self.add("Sum", &squares.iter().map(String::as_str).collect::<Vec<_>>(), &format!("{name}.squares"));
        self.add("Sqrt", &[&format!("{name}.squares")], name);
    }

    /// The labels as rows of a table, and the weight of a sample: what the batch alone decides.
    fn targets(&mut self) {
        self.add("Unsqueeze", &["labels", "last"], "column");
        self.add("Equal", &["column", "classes"], "hit");
        self.add("Cast", &["hit"], "targets");
        self.with(AttributeProto::int("to", DataType::Float as i64));
        self.add("Shape", &["x"], "shape");
        self.add("Gather", &["shape", "first"], "count");
        self.add("Cast", &["count"], "samples");
        self.with(AttributeProto::int("to", DataType::Float as i64));
        self.add("Reciprocal", &["samples"], "weight");
    }
}

fn constants() -> Vec<TensorProto> {
    vec![
        TensorProto::int64s("axes", &[0]),
        TensorProto::int64s("last", &[1]),
        TensorProto::int64s("classes", &[0, 1, 2]),
        ints("first", &[], &[0]),
        floats("zero", &[], &[0.0]),
    ]
}

fn parameters() -> Vec<TensorProto> {
    let value = |i: usize| ((i * 31 + 7) % 17) as f32 / 17.0 - 0.5;
    let tensor = |(name, shape): &(&str, &[usize])| {
        let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
        floats(name, shape, &values)
    };
    PARAMETERS.iter().map(tensor).collect()
}

fn step_model() -> ModelProto {
    let names = PARAMETERS.map(|(name, _)| name.to_owned());
    let moved = names.clone().map(|name| format!("{name}/there"));
    let mut nodes = Nodes::default();
    nodes.targets();
    nodes.forward(&names, "");
    nodes.backward(&names, "");
    nodes.norm(&names.clone().map(|name| format!("{name}.gradient")), "gnp.grad_norm");
    nodes.norm(&names, "gnp.param_norm");
    nodes.add("Div", &["gnp.r", "gnp.grad_norm"], "ratio");
    nodes.add("Mul", &["gnp.r", "gnp.alpha"], "strength");
    nodes.add("Greater", &["strength", "zero"], "penalise");

    let mut yes = Nodes::default();
    for (name, there) in names.iter().zip(&moved) {
        yes.add("Mul", &[&format!("{name}.gradient"), "ratio"], &format!("{name}.epsilon"));
        yes.add("Add", &[name, &format!("{name}.epsilon")], there);
    }
    yes.forward(&moved, "/there");
    yes.backward(&moved, "/there");
    for name in &names {
        let (here, there) = (format!("{name}.gradient"), format!("{name}.gradient/there"));
        yes.add("Sub", &[&there, &here], &format!("{name}.difference"));
        yes.add("Mul", &[&format!("{name}.difference"), "gnp.alpha"], &format!("{name}.weighted"));
        yes.add("Add", &[&here, &format!("{name}.weighted")], &format!("{name}.mixed/yes"));
    }
    let mixed = |branch: &str| names.iter().map(|name| format!("{name}.mixed{branch}")).collect::<Vec<_>>();
    yes.norm(&mixed("/yes"), "mixed/yes");
    let mut no = Nodes::default();
    for name in &names {
        no.add("Identity", &[&format!("{name}.gradient")], &format!("{name}.mixed/no"));
    }
    no.add("Identity", &["loss"], "loss/no");
    no.add("Identity", &["gnp.grad_norm"], "mixed/no");

    let body = |nodes: Nodes, gradients: Vec<String>, scalars: [&str; 2]| {
        let outputs = gradients.iter().zip(&PARAMETERS).map(|(name, (_, shape))| float_info(name, &fixed(shape)));
        graph("branch", vec![], outputs.chain(scalars.map(|name| float_info(name, &[]))).collect(), vec![], nodes)
    };
    let mut outputs = mixed("");
    outputs.extend(["gnp.loss_perturbed".into(), "gnp.mixed_grad_norm".into()]);
    nodes.0.push(NodeProto {
        op_type: Some("If".into()),
        input: vec!["penalise".into()],
        output: outputs,
        attribute: vec![
            AttributeProto::graph("then_branch", body(yes, mixed("/yes"), ["loss/there", "mixed/yes"])),
            AttributeProto::graph("else_branch", body(no, mixed("/no"), ["loss/no", "mixed/no"])),
        ],
        ..Default::default()
    });
    for name in &names {
        nodes.add("Mul", &[&format!("{name}.momentum"), "gnp.momentum"], &format!("{name}.kept"));
        nodes.add("Add", &[&format!("{name}.kept"), &format!("{name}.mixed")], &format!("{name}.momentum.next"));
        nodes.add("Mul", &[&format!("{name}.momentum.next"), "lr"], &format!("{name}.move"));
        nodes.add("Sub", &[name, &format!("{name}.move")], &format!("{name}.next"));
    }
    nodes.add("Add", &["step", "one"], "step.next");

    let mut inputs = batch_inputs();
    inputs.extend(["lr", "gnp.r", "gnp.alpha", "gnp.momentum"].map(|name| float_info(name, &[])));
    let mut returned = OUTPUTS[..5].iter().map(|name| float_info(name, &[])).collect::<Vec<_>>();
    returned.push(float_info(OUTPUTS[5], &[None, Some(CLASSES)]));
    for suffix in ["", ".momentum"] {
        for (name, shape) in PARAMETERS {
            inputs.push(float_info(&format!("{name}{suffix}"), &fixed(shape)));
            returned.push(float_info(&format!("{name}{suffix}.next"), &fixed(shape)));
        }
    }
    inputs.push(info("step", DataType::Int64, &[]));
    returned.push(info("step.next", DataType::Int64, &[]));

    let zeros = PARAMETERS
        .iter()
        .map(|(name, shape)| floats(&format!("{name}.momentum"), shape, &vec![0.0; shape.iter().product()]));
    let mut initializers = constants();
    initializers.extend(
        [("lr", 0.1), ("gnp.r", 0.5), ("gnp.alpha", 0.8), ("gnp.momentum", 0.9)]
            .map(|(name, value)| floats(name, &[], &[value])),
    );
    initializers.extend(parameters());
    initializers.extend(zeros);
    initializers.extend([ints("step", &[], &[0]), ints("one", &[], &[1])]);

    let pairs: Vec<[String; 2]> =
        state_names().into_iter().map(|name| [name.clone(), format!("{name}.next")]).collect();
    let mut model = model(graph("step", inputs, returned, initializers, nodes));
    for (key, value) in [("gnp.version", "1".to_owned()), ("gnp.state", serde_json::to_string(&pairs).unwrap())] {
        model.metadata_props.push(StringStringEntryProto { key: Some(key.into()), value: Some(value) });
    }
    model
}

fn eval_model() -> ModelProto {
    let mut nodes = Nodes::default();
    nodes.targets();
    nodes.forward(&PARAMETERS.map(|(name, _)| name.to_owned()), "");
    let mut inputs = batch_inputs();
    inputs.extend(PARAMETERS.map(|(name, shape)| float_info(name, &fixed(shape))));
    let outputs = vec![float_info("loss", &[]), float_info("logits", &[None, Some(CLASSES)])];
    model(graph("eval", inputs, outputs, [constants(), parameters()].concat(), nodes))
}

/// A step model of linear regression with the mean squared error: float labels, no metrics, a state of one.
pub fn write_regression(folder: &Path) -> PathBuf {
    let mut nodes = Nodes::default();
    nodes.add("MatMul", &["x", "w"], "y");
    nodes.add("Sub", &["y", "labels"], "error");
    nodes.add("Mul", &["error", "error"], "squares");
    nodes.add("ReduceMean", &["squares"], "loss");
    nodes.with(AttributeProto::int("keepdims", 0));
    nodes.add("Shape", &["x"], "shape");
    nodes.add("Gather", &["shape", "first"], "count");
    nodes.add("Cast", &["count"], "samples");
    nodes.with(AttributeProto::int("to", DataType::Float as i64));
    nodes.add("Div", &["two", "samples"], "scale");
    nodes.add("Mul", &["error", "scale"], "dy");
    nodes.add("Transpose", &["x"], "xt");
    nodes.add("MatMul", &["xt", "dy"], "dw");
    nodes.add("Mul", &["dw", "lr"], "move");
    nodes.add("Sub", &["w", "move"], "w.next");
    let table = |name: &str| float_info(name, &[None, Some(FEATURES)]);
    let weights = |name: &str| float_info(name, &fixed(&[FEATURES, 1]));
    let inputs = vec![table("x"), float_info("labels", &[None, Some(1)]), float_info("lr", &[]), weights("w")];
    let constants = vec![
        ints("first", &[], &[0]),
        floats("two", &[], &[2.0]),
        floats("lr", &[], &[0.25]),
        floats("w", &[FEATURES, 1], &[0.0; FEATURES]),
    ];
    let mut model =
        model(graph("regression", inputs, vec![float_info("loss", &[]), weights("w.next")], constants, nodes));
    let pairs = StringStringEntryProto { key: Some("gnp.state".into()), value: Some(r#"[["w", "w.next"]]"#.into()) };
    model.metadata_props.push(pairs);
    let path = folder.join("regression.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

fn batch_inputs() -> Vec<ValueInfoProto> {
    vec![float_info("x", &[None, Some(FEATURES)]), info("labels", DataType::Int64, &[None])]
}

fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(18) }],
        graph: Some(graph),
        ..Default::default()
    }
}

fn graph(
    name: &str,
    input: Vec<ValueInfoProto>,
    output: Vec<ValueInfoProto>,
    initializer: Vec<TensorProto>,
    nodes: Nodes,
) -> GraphProto {
    GraphProto { name: Some(name.into()), input, output, initializer, node: nodes.0, ..Default::default() }
}

fn fixed(shape: &[usize]) -> Vec<Option<usize>> {
    shape.iter().copied().map(Some).collect()
}

pub fn float_info(name: &str, shape: &[Option<usize>]) -> ValueInfoProto {
    info(name, DataType::Float, shape)
}

fn info(name: &str, element: DataType, shape: &[Option<usize>]) -> ValueInfoProto {
    let dim = shape.iter().map(|size| tensor_shape_proto::Dimension {
        value: Some(match size {
            Some(size) => tensor_shape_proto::dimension::Value::DimValue(*size as i64),
            None => tensor_shape_proto::dimension::Value::DimParam("batch".into()),
        }),
        ..Default::default()
    });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor = type_proto::Tensor { elem_type: Some(element as i32), shape };
    let r#type = TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}

pub fn floats(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let dims: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    TensorProto::raw(name, DataType::Float, &dims, bytes.into())
}

fn ints(name: &str, shape: &[i64], values: &[i64]) -> TensorProto {
    TensorProto { dims: shape.to_vec(), ..TensorProto::int64s(name, values) }
}

/// The largest difference between two tensors of one shape, whatever their elements are.
pub fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!((a.element(), a.shape()), (b.element(), b.shape()));
    let numbers = |tensor: &Tensor| -> Vec<f64> {
        match tensor {
            Tensor::F32(a) => a.iter().map(|&x| x.into()).collect(),
            Tensor::I64(a) => a.iter().map(|&x| x as f64).collect(),
            other => panic!("{:?}", (other.element(), ElementType::I32)),
        }
    };
    numbers(a).iter().zip(numbers(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
