//! Step models that call one function, whose body is standard operators: to see that a kernel computes the same.

use super::step::{difference, float_info, floats};
use gnp::contract::functions::{DOMAIN, numbered};
use gnp::engine::runtime::Runtime;
use gnp::engine::{Engine as _, EngineOptions, Kernels, Ort, Rates, StepEngine as _};
use gnp::formula::{Formula, Operation, Term};
use gnp::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto,
};
use gnp::onnx::{DataType, Model};
use gnp::tensor::Tensor;
use ndarray::ArrayD;

/// A call of a function of a kind, on inputs of these shapes.
pub struct Call {
    pub kind: &'static str,
    pub attributes: Vec<AttributeProto>,
    pub shapes: Vec<Vec<usize>>,
    /// The body: from the inputs `x0`, `x1` … to the outputs.
    pub body: Nodes,
    pub outputs: &'static [&'static str],
}

/// Nodes in the order of their making.
#[derive(Clone, Default)]
pub struct Nodes(Vec<NodeProto>);

impl Nodes {
    pub fn add(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.add_of(operator, inputs, &[output], attributes);
    }

    fn add_of(&mut self, operator: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) {
        let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        self.0.push(NodeProto {
            op_type: Some(operator.into()),
            input: names(inputs),
            output: names(outputs),
            attribute: attributes,
            ..Default::default()
        });
    }

    fn constant(&mut self, tensor: TensorProto, output: &str) {
        self.add("Constant", &[], output, vec![AttributeProto::tensor("value", tensor)]);
    }

    /// The formula in standard operators, as `result`.
    fn formula(&mut self, formula: &Formula, result: &str) {
        use Operation as O;
        for (place, term) in formula.terms().iter().enumerate() {
            let name = format!("f{place}");
            match term {
                Term::Operand(number) => self.add("Identity", &[&format!("x{number}")], &name, vec![]),
                Term::Constant(value) => self.constant(floats("", &[], &[*value]), &name),
                Term::Apply(operation, arguments) => {
                    let mut from: Vec<String> = arguments.iter().map(|id| format!("f{}", id.index())).collect();
                    let truths = match operation {
                        O::And | O::Or | O::Not => from.len(),
                        O::Where => 1,
                        _ => 0,
                    };
                    for (number, from) in from[..truths].iter_mut().enumerate() {
                        let truth = format!("{name}.{number}");
                        self.cast(from, DataType::Bool, &truth);
                        *from = truth;
                    }
                    let from: Vec<&str> = from.iter().map(String::as_str).collect();
                    // Operations are called as the standard's operators are.
                    let operator = format!("{operation:?}");
                    let is_truth = truths > 0 && *operation != O::Where
                        || matches!(operation, O::Less | O::LessOrEqual | O::Greater | O::GreaterOrEqual | O::Equal);
                    if is_truth {
                        let truth = format!("{name}.truth");
                        self.add(&operator, &from, &truth, vec![]);
                        self.cast(&truth, DataType::Float, &name);
                    } else {
                        self.add(&operator, &from, &name, vec![]);
                    }
                }
            }
        }
        self.add("Identity", &[&format!("f{}", formula.terms().len() - 1)], result, vec![]);
    }

    fn cast(&mut self, from: &str, to: DataType, output: &str) {
        self.add("Cast", &[from], output, vec![AttributeProto::int("to", to as i64)]);
    }
}

impl Call {
    pub fn elementwise(text: &str, shapes: &[&[usize]]) -> Self {
        let formula: Formula = text.parse().unwrap();
        let mut body = Nodes::default();
        body.formula(&formula, "y");
        let attributes = vec![AttributeProto::string("formula", text)];
        Self {
            kind: "Elementwise",
            attributes,
            shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
            body,
            outputs: &["y"],
        }
    }

    pub fn reduce(text: &str, shapes: &[&[usize]], axes: &[i64], keep: bool, is_mean: bool) -> Self {
        let formula: Formula = text.parse().unwrap();
        let mut body = Nodes::default();
        body.formula(&formula, "values");
        body.constant(TensorProto::int64s("", axes), "axes");
        let keep = AttributeProto::int("keepdims", keep.into());
        let operator = if is_mean { "ReduceMean" } else { "ReduceSum" };
        body.add(operator, &["values", "axes"], "y", vec![keep.clone()]);
        let mean = AttributeProto::int("mean", is_mean.into());
        let attributes = vec![AttributeProto::string("formula", text), AttributeProto::ints("axes", axes), keep, mean];
        Self {
            kind: "Reduce",
            attributes,
            shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
            body,
            outputs: &["y"],
        }
    }

    /// A step model with the call, through the function of this number of its kind. Its state is read by nothing else.
    fn model(&self, number: usize) -> Model {
        let name = numbered(self.kind, number);
        let outputs = || self.outputs.iter().map(|&output| output.to_owned()).collect::<Vec<_>>();
        let inputs: Vec<String> = (0..self.shapes.len()).map(|number| format!("x{number}")).collect();
        let opset = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
        let function = FunctionProto {
            name: Some(name.clone()),
            domain: Some(DOMAIN.into()),
            input: inputs.clone(),
            output: outputs(),
            attribute: self.attributes.iter().map(|attribute| attribute.name().to_owned()).collect(),
            node: self.body.0.clone(),
            opset_import: vec![opset("", 18)],
            ..Default::default()
        };
        // The memory of what a node computes may become that of the next one's output.
        let read: Vec<String> = ["computed".to_owned()].into_iter().chain(inputs[1..].iter().cloned()).collect();
        let call = NodeProto {
            op_type: Some(name),
            domain: Some(DOMAIN.into()),
            input: read,
            output: outputs(),
            attribute: self.attributes.clone(),
            ..Default::default()
        };
        let mut nodes = Nodes::default();
        nodes.add("Neg", &["x0"], "computed", vec![]);
        nodes.0.push(call);
        if let [output] = self.outputs {
            nodes.add("Identity", &[output], "loss", vec![]);
        } else {
            nodes.constant(TensorProto::int64s("", &[-1]), "flat");
            let flat: Vec<String> = self.outputs.iter().map(|output| format!("{output}.flat")).collect();
            for (output, flat) in self.outputs.iter().zip(&flat) {
                nodes.add("Reshape", &[output, "flat"], flat, vec![]);
            }
            let flat: Vec<&str> = flat.iter().map(String::as_str).collect();
            nodes.add("Concat", &flat, "loss", vec![AttributeProto::int("axis", 0)]);
        }
        nodes.add("Identity", &["s"], "s.next", vec![]);
        let fixed = |shape: &[usize]| shape.iter().copied().map(Some).collect::<Vec<_>>();
        let info = |(name, shape): (&String, &Vec<usize>)| float_info(name, &fixed(shape));
        let graph = GraphProto {
            name: Some("call".into()),
            input: inputs.iter().zip(&self.shapes).map(info).chain([float_info("s", &[])]).collect(),
            output: vec![gnp::onnx::proto::ValueInfoProto { name: Some("loss".into()), ..float_info("", &[]) }],
            initializer: vec![floats("s", &[], &[0.0])],
            node: nodes.0,
            ..Default::default()
        };
        let state =
            StringStringEntryProto { key: Some("gnp.state".into()), value: Some(r#"[["s", "s.next"]]"#.into()) };
        let mut proto = ModelProto {
            ir_version: Some(8),
            opset_import: vec![opset("", 18), opset(DOMAIN, 1)],
            functions: vec![function],
            graph: Some(graph),
            metadata_props: vec![state],
            ..Default::default()
        };
        if let Some(graph) = &mut proto.graph {
            graph.output[0].r#type = None;
            graph.output.push(float_info("s.next", &[]));
        }
        Model::new(proto, "call.onnx").unwrap()
    }

    /// Checks that the kernel computes what the function's body does, of elements of about 1: to `error` of the largest
    /// of the result, or of 1.
    #[track_caller]
    pub fn agrees(&self, runtime: &Runtime, number: usize, error: f64) {
        let value = |of: usize, place: usize| ((place * 7919 + of * 104_729) % 1009) as f32 / 504.5 - 1.0;
        let batch: Vec<Tensor> = self
            .shapes
            .iter()
            .enumerate()
            .map(|(of, shape)| {
                let values = (0..shape.iter().product()).map(|place| value(of, place)).collect();
                Tensor::F32(ArrayD::from_shape_vec(shape.clone(), values).unwrap())
            })
            .collect();
        let model = self.model(number);
        let [with, without] = [(Kernels::Auto, 1), (Kernels::None, 0)].map(|(kernels, count)| {
            let options = EngineOptions { kernels, ..EngineOptions::default() };
            let mut engine = Ort::load(runtime, &model, None, &options).unwrap();
            assert_eq!(engine.kernels(), count);
            engine.step(&batch, &Rates::new(0.0)).unwrap().remove(0)
        });
        let Tensor::F32(values) = &without else { panic!("{without:?}") };
        let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let found = difference(&with, &without);
        assert!(found <= error * f64::from(largest).max(1.0), "{} {:?}: {found} of {largest}", self.kind, self.shapes);
    }
}

/// Calls of each kind, of which the kernels are to compute what the bodies do.
pub fn all() -> Vec<Call> {
    let image: &[usize] = &[3, 5, 7, 9];
    let channel: &[usize] = &[5, 1, 1];
    let mut calls = vec![
        Call::elementwise("x0 * (x1 > 0)", &[image, image]),
        Call::elementwise("(x0 - x1) * x2 + x1", &[image, channel, channel]),
        Call::elementwise("x0 + x1", &[&[4, 1, 6], &[3, 1]]),
        Call::elementwise("0.9 * x0 + x1", &[&[70_000], &[70_000]]),
        Call::elementwise("x0 - x2 * x1", &[&[300, 41], &[41], &[]]),
        Call::elementwise("0.5 * x0 * (1 + erf(x0 / 1.4142135))", &[&[2000]]),
        Call::elementwise("x0 / (sqrt(abs(x1)) + 1e-3) - pow(x0, 2)", &[&[65, 33], &[65, 33]]),
        Call::elementwise("tanh(x0) * sigmoid(x1) + exp(x0) - log(2 + x1)", &[&[17, 19], &[19]]),
        Call::elementwise("where(x0 > x1 and not (x0 < 0.5 or x1 == 0), min(x0, x1), max(x0, -x1))", &[image, image]),
        Call::elementwise("sign(x0) * floor(3 * x1) + ceil(x0) - round(5 * x1) + reciprocal(x0 + 2)", &[image, image]),
        Call::elementwise("sin(x0) + cos(x1) + (x0 <= x1) * (x0 >= -x1)", &[&[40], &[40]]),
    ];
    for (axes, keep, is_mean) in [
        (&[0i64, 2, 3] as &[i64], false, false),
        (&[0, 2, 3], true, true),
        (&[-1], true, true),
        (&[0], false, false),
        (&[1, 2], false, true),
        (&[0, 1, 2, 3], false, false),
    ] {
        calls.push(Call::reduce("x0", &[image], axes, keep, is_mean));
        calls.push(Call::reduce("x0 * (x1 - x2)", &[image, image, channel], axes, keep, is_mean));
    }
    calls.push(Call::reduce("x0 * x0", &[&[10_007]], &[0], false, false));
    calls.extend(convolutions());
    calls.extend(pools());
    calls.extend(norms());
    calls
}

fn norms() -> Vec<Call> {
    let mut calls = Vec::new();
    for (shape, axis) in
        [(&[2usize, 9, 24] as &[usize], -1i64), (&[3, 5, 7, 40], 3), (&[4, 3, 6], 1), (&[70, 33], -1), (&[3, 1], 1)]
    {
        let first = axis.rem_euclid(shape.len() as i64) as usize;
        let (batch, normal) = shape.split_at(first);
        let statistic = [batch, &vec![1; normal.len()]].concat();
        let mut body = Nodes::default();
        let axes = |range: std::ops::Range<usize>| range.map(|axis| axis as i64).collect::<Vec<_>>();
        body.constant(TensorProto::int64s("", &axes(first..shape.len())), "normal_axes");
        body.constant(TensorProto::int64s("", &axes(0..first)), "batch_axes");
        body.add("Sub", &["x0", "x3"], "centred", vec![]);
        body.add("Mul", &["centred", "x4"], "normal", vec![]);
        body.add("Mul", &["x1", "x2"], "scaled", vec![]);
        body.add("Mul", &["scaled", "normal"], "scaled_normal", vec![]);
        for (from, to) in [("scaled", "along_one"), ("scaled_normal", "along_x")] {
            body.add("ReduceMean", &[from, "normal_axes"], to, vec![]);
        }
        body.add("Mul", &["normal", "along_x"], "of_x", vec![]);
        body.add("Sub", &["scaled", "along_one"], "less_one", vec![]);
        body.add("Sub", &["less_one", "of_x"], "less", vec![]);
        body.add("Mul", &["less", "x4"], "dx", vec![]);
        body.add("Mul", &["x1", "normal"], "of_scale", vec![]);
        for (from, to) in [("of_scale", "dscale"), ("x1", "dbias")] {
            body.add("ReduceSum", &[from, "batch_axes"], to, vec![AttributeProto::int("keepdims", 0)]);
        }
        let shapes = [shape, shape, normal, &statistic, &statistic].map(<[usize]>::to_vec).into();
        let attributes = vec![AttributeProto::int("axis", axis)];
        calls.push(Call { kind: "LayerNormGrad", attributes, shapes, body, outputs: &["dx", "dscale", "dbias"] });
    }
    calls
}

fn pools() -> Vec<Call> {
    let mut calls = Vec::new();
    // Sizes of x; kernel, stride, dilation; pads; whether windows may begin on x and end beyond it.
    for (x, [kernel, stride, dilation], pads, ceil) in [
        ([2, 3, 9, 8], [3, 2, 1], [1, 1, 1, 1], false),
        ([2, 16, 8, 8], [2, 2, 1], [0, 0, 0, 0], false),
        ([1, 5, 12, 11], [2, 3, 3], [0, 1, 1, 0], false),
        ([2, 4, 10, 7], [3, 2, 1], [0, 0, 0, 0], true),
    ] {
        let reach = (kernel - 1) * dilation + 1;
        let size = |axis: usize| {
            let room: usize = x[2 + axis] + pads[axis] + pads[axis + 2] - reach;
            1 + if ceil { room.div_ceil(stride) } else { room / stride }
        };
        let y = vec![x[0], x[1], size(0), size(1)];
        let ints = |name: &str, values: &[usize]| {
            AttributeProto::ints(name, &values.iter().map(|&value| value as i64).collect::<Vec<_>>())
        };
        let attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("dilations", &[dilation; 2]),
            ints("pads", &pads),
        ];
        let of_pool = [&attributes[..], &[AttributeProto::int("ceil_mode", ceil.into())]].concat();
        let mut body = Nodes::default();
        body.add_of("MaxPool", &["x0"], &["pooled", "places"], of_pool);
        body.constant(TensorProto::int64s("", &[-1]), "flat");
        for (from, to) in [("places", "indices"), ("x1", "dy")] {
            body.add("Reshape", &[from, "flat"], to, vec![]);
        }
        body.constant(floats("", &[x.iter().product()], &vec![0.0; x.iter().product()]), "zeros");
        let added = vec![AttributeProto::string("reduction", "add")];
        body.add("ScatterElements", &["zeros", "indices", "dy"], "dx", added);
        body.add("Shape", &["x0"], "shape", vec![]);
        body.add("Reshape", &["dx", "shape"], "y", vec![]);
        calls.push(Call { kind: "MaxPoolGrad", attributes, shapes: vec![x.to_vec(), y], body, outputs: &["y"] });
    }
    calls
}

fn convolutions() -> Vec<Call> {
    let mut calls = Vec::new();
    // Sizes of x; channels of y; kernel, stride, dilation; pads; groups.
    for (x, outputs, [kernel, stride, dilation], pads, group) in [
        ([2, 3, 9, 8], 4, [3, 1, 1], [1, 1, 1, 1], 1),
        ([2, 16, 7, 7], 32, [3, 2, 1], [1, 1, 1, 1], 1),
        ([1, 4, 11, 10], 8, [2, 3, 2], [0, 1, 2, 0], 1),
        ([3, 6, 8, 8], 6, [3, 1, 1], [1, 1, 1, 1], 6),
        ([2, 32, 5, 5], 16, [1, 1, 1], [0, 0, 0, 0], 1),
    ] {
        let reach = (kernel - 1) * dilation + 1;
        let size = |axis: usize| x[2 + axis] + pads[axis] + pads[axis + 2] - reach;
        let y = [x[0], outputs, size(0) / stride + 1, size(1) / stride + 1];
        let w = [outputs, x[1] / group, kernel, kernel];
        let ints = |name: &str, values: [usize; 2]| AttributeProto::ints(name, &values.map(|value| value as i64));
        let pads = AttributeProto::ints("pads", &pads.map(|pad| pad as i64));
        let window = vec![
            ints("kernel_shape", [kernel; 2]),
            ints("strides", [stride; 2]),
            ints("dilations", [dilation; 2]),
            pads.clone(),
            AttributeProto::int("group", group as i64),
        ];
        let left_over = ints("output_padding", [size(0) % stride, size(1) % stride]);
        let attributes = [window, vec![left_over]].concat();
        let mut body = Nodes::default();
        body.add("ConvTranspose", &["x0", "x1"], "y", attributes.clone());
        calls.push(Call {
            kind: "ConvGradInput",
            attributes: attributes.clone(),
            shapes: vec![y.to_vec(), w.to_vec()],
            body,
            outputs: &["y"],
        });
        if group > 1 {
            continue;
        }
        // dw is the convolution of x with dy, batch and channels in each other's place, dy spread by the stride.
        let mut body = Nodes::default();
        let swapped = || vec![AttributeProto::ints("perm", &[1, 0, 2, 3])];
        body.add("Transpose", &["x0"], "x", swapped());
        body.add("Transpose", &["x1"], "dy", swapped());
        let spread = vec![ints("strides", [dilation; 2]), ints("dilations", [stride; 2]), pads];
        body.add("Conv", &["x", "dy"], "all", spread);
        body.constant(TensorProto::int64s("", &[0, 0]), "starts");
        body.constant(TensorProto::int64s("", &[kernel as i64; 2]), "ends");
        body.constant(TensorProto::int64s("", &[2, 3]), "axes");
        body.add("Slice", &["all", "starts", "ends", "axes"], "dw", vec![]);
        body.add("Transpose", &["dw"], "y", swapped());
        let attributes = attributes[..5].to_vec();
        calls.push(Call {
            kind: "ConvGradWeight",
            attributes,
            shapes: vec![x.to_vec(), y.to_vec()],
            body,
            outputs: &["y"],
        });
    }
    calls
}
