//! ONNX Runtime has a kernel on CUDA for every node of a step model, by the table in `tests/fixtures/cuda/kernels.txt`.
//! A node without one is computed on the processor, and what it reads and makes is copied there and back.
use crate::support::{forward, models, python};
use gnp::graph::{Facts, inline_functions};
use gnp::loss::{LossKind, Wanted};
use gnp::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use gnp::onnx::{self, DataType, Model};
use gnp::precision::Precision;
use gnp::rewrite::{StepOptions, make_step};
use gnp::shapes::analyse;
use gnp::transform::{Optimizer, OptimizerKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use strum::VariantArray as _;

const TABLE: &str = include_str!("../fixtures/cuda/kernels.txt");
/// The operator set of the step models here.
const SET: i64 = 18;

/// A row of the table.
struct Kernel {
    versions: (i64, i64),
    /// The input whose types these are; the output, where it is none.
    input: Option<usize>,
    types: Vec<DataType>,
}

fn kernels() -> BTreeMap<&'static str, Vec<Kernel>> {
    let mut kernels = BTreeMap::<_, Vec<_>>::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        let (operator, versions, input) = (word(), word(), word());
        let (first, last) = versions.split_once('-').unwrap_or((versions, versions));
        let versions = (first.parse().unwrap(), last.parse().unwrap());
        let types = words.flat_map(types).collect();
        kernels.entry(operator).or_default().push(Kernel { versions, input: input.parse().ok(), types });
    }
    kernels
}

/// The types that a word of the table stands for.
fn types(word: &str) -> Vec<DataType> {
    use DataType::{Bfloat16, Bool, Double, Float, Float16, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    let and = |word, more: &[DataType]| [&types(word), more].concat();
    match word {
        "float" => vec![Double, Float, Float16],
        "float+" => and("float", &[Bfloat16]),
        "number" => and("float+", &[Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64]),
        "all" => and("number", &[Bool]),
        "double" => vec![Double],
        "float32" => vec![Float],
        "float16" => vec![Float16],
        "bool" => vec![Bool],
        "int8" => vec![Int8],
        "int16" => vec![Int16],
        "int32" => vec![Int32],
        "int64" => vec![Int64],
        "uint8" => vec![Uint8],
        "uint16" => vec![Uint16],
        "uint32" => vec![Uint32],
        "uint64" => vec![Uint64],
        other => panic!("{other} is no type"),
    }
}

/// What of a node the table has no kernel for, if anything.
fn without_kernel(node: &NodeProto, facts: &Facts, kernels: &BTreeMap<&str, Vec<Kernel>>) -> Option<String> {
    let Some(kernels) = kernels.get(node.op_type()).filter(|_| node.domain().is_empty()) else {
        return Some(node.operator().to_string());
    };
    // Those of the operator as it is in this set, which is what the last test is about.
    let first = kernels.iter().map(|kernel| kernel.versions.0).filter(|first| *first <= SET).max();
    kernels.iter().filter(|kernel| Some(kernel.versions.0) == first).find_map(|kernel| {
        let value = kernel.input.map_or(&node.output[0], |input| &node.input[input]);
        let element = facts.get(value).map(|fact| fact.element);
        let fits = element.is_some_and(|element| kernel.types.contains(&element));
        (!fits).then(|| format!("{} of {element:?}", node.op_type()))
    })
}

fn visit(graph: &GraphProto, each: &mut impl FnMut(&NodeProto)) {
    for node in &graph.node {
        each(node);
        node.subgraphs().for_each(|body| visit(body, each));
    }
}

#[track_caller]
fn assert_all_have_kernels(mut model: Model, what: &str) {
    assert_eq!(model.opset(""), Some(SET), "{what}");
    // As ONNX Runtime does where it has no kernel for a function.
    inline_functions(&mut model);
    let (facts, kernels) = (analyse(&model, &BTreeMap::new()).unwrap(), kernels());
    let mut without = BTreeSet::new();
    visit(&model.graph, &mut |node| without.extend(without_kernel(node, &facts, &kernels)));
    assert_eq!(without, BTreeSet::new(), "{what}");
}

#[test]
fn every_node_of_the_models_steps_has_a_kernel() {
    for name in ["mlp", "cnn", "vit"] {
        let model = onnx::read(models().join(name).join("model.onnx")).unwrap();
        for &kind in OptimizerKind::VARIANTS {
            let optimizer = Optimizer { kind, clip_norm: Some(1.0), ..Optimizer::default() };
            let options = StepOptions { loss: LossKind::CrossEntropy.into(), optimizer, ..StepOptions::default() };
            let (step, _) = make_step(model.clone(), &options).unwrap();
            assert_all_have_kernels(step, &format!("{name}, {kind:?}"));
        }
    }
}

/// In half precision too, at operator sets where convolutions are in bfloat16 and where they are not.
#[test]
fn every_node_of_the_models_steps_in_half_precision_has_a_kernel() {
    for name in ["mlp", "cnn", "vit"] {
        let model = onnx::read(models().join(name).join("model.onnx")).unwrap();
        for precision in [Precision::Float16, Precision::Bfloat16] {
            let options = StepOptions { loss: LossKind::CrossEntropy.into(), precision, ..StepOptions::default() };
            let (step, _) = make_step(model.clone(), &options).unwrap();
            assert_all_have_kernels(step, &format!("{name}, {}", precision.name()));
        }
    }
}

/// The operators that compute in half precision between a product and a loss, and their gradients.
#[test]
fn every_operator_in_half_precision_has_a_kernel() {
    let ints = |name: &str, values: &[i64]| AttributeProto::ints(name, values);
    let window = || vec![ints("kernel_shape", &[2, 2]), ints("strides", &[1, 1])];
    let text = |name: &str, value: &str| AttributeProto::string(name, value);
    // Operator, the inputs behind h [4, 16], attributes; those of images read [4, 4, 2, 2].
    let flat: Vec<(&str, &[&str], Vec<AttributeProto>)> = vec![
        ("Relu", &[], vec![]),
        ("LeakyRelu", &[], vec![]),
        ("PRelu", &["row"], vec![]),
        ("Clip", &["zero", "one"], vec![]),
        ("Sigmoid", &[], vec![]),
        ("Tanh", &[], vec![]),
        ("Erf", &[], vec![]),
        ("HardSigmoid", &[], vec![]),
        ("HardSwish", &[], vec![]),
        ("Softmax", &[], vec![]),
        ("Dropout", &[], vec![]),
        ("Neg", &[], vec![]),
        ("Abs", &[], vec![]),
        ("Add", &["row"], vec![]),
        ("Sub", &["row"], vec![]),
        ("Mul", &["row"], vec![]),
        ("Mul", &["h"], vec![]),
        ("Div", &["one"], vec![]),
        ("Max", &["row"], vec![]),
        ("Min", &["row"], vec![]),
        ("Sum", &["row", "h"], vec![]),
        ("MatMul", &["square"], vec![]),
        ("Gemm", &["square", "row"], vec![]),
        ("Einsum", &["square"], vec![text("equation", "ij,jk->ki")]),
        ("Transpose", &[], vec![ints("perm", &[1, 0])]),
        ("Flatten", &[], vec![]),
        ("Unsqueeze", &["first"], vec![]),
        ("Concat", &["h"], vec![AttributeProto::int("axis", 1)]),
        ("Slice", &["first", "second", "first"], vec![]),
        ("Gather", &["second"], vec![]),
        ("Expand", &["sizes"], vec![]),
        ("Tile", &["twice"], vec![]),
        ("Pad", &["pads"], vec![]),
        ("Trilu", &[], vec![]),
        ("Identity", &[], vec![]),
    ];
    let images: Vec<(&str, &[&str], Vec<AttributeProto>)> = vec![
        ("Conv", &["kernel"], vec![]),
        ("ConvTranspose", &["kernel"], vec![]),
        ("MaxPool", &[], window()),
        ("AveragePool", &[], window()),
        ("GlobalAveragePool", &[], vec![]),
        ("GlobalMaxPool", &[], vec![]),
        ("DepthToSpace", &[], vec![AttributeProto::int("blocksize", 2)]),
        ("SpaceToDepth", &[], vec![AttributeProto::int("blocksize", 2)]),
    ];
    let cases = flat.into_iter().map(|case| ("h", case)).chain(images.into_iter().map(|case| ("image", case)));
    for (data, (operator, others, attributes)) in cases {
        let mut model = forward::empty();
        let graph = forward::graph(&mut model);
        graph.input = vec![forward::info("x", DataType::Float, "4,8")];
        let inputs: Vec<&str> = [data].into_iter().chain(others.iter().copied()).collect();
        let mut under_test = forward::node(operator, &inputs, "y");
        under_test.attribute = attributes;
        let mut mean = forward::node("ReduceMean", &["y"], "loss");
        mean.attribute = vec![AttributeProto::int("keepdims", 0)];
        graph.node = vec![
            forward::node("MatMul", &["x", "w"], "h"),
            forward::node("Reshape", &["h", "as_image"], "image"),
            under_test,
            mean,
        ];
        let whole = |name: &str, values: &[i64]| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            TensorProto::raw(name, DataType::Int64, &[values.len() as i64], bytes.into())
        };
        let number =
            |name: &str, value: f32| TensorProto::raw(name, DataType::Float, &[], value.to_le_bytes().to_vec().into());
        graph.initializer = vec![
            forward::weight("w", &[8, 16]),
            forward::weight("row", &[16]),
            forward::weight("square", &[16, 16]),
            forward::weight("kernel", &[4, 4, 1, 1]),
            number("zero", 0.0),
            number("one", 1.5),
            whole("first", &[0]),
            whole("second", &[2]),
            whole("sizes", &[2, 4, 16]),
            whole("twice", &[1, 2]),
            whole("pads", &[0, 1, 0, 1]),
            whole("as_image", &[4, 4, 2, 2]),
        ];
        graph.output = vec![forward::info("loss", DataType::Float, "")];
        for precision in [Precision::Float16, Precision::Bfloat16] {
            let loss = Wanted { loss_output: Some("loss".into()), ..Wanted::default() };
            let options = StepOptions { loss, precision, ..StepOptions::default() };
            let (step, _) = make_step(Model::new(model.clone(), "model.onnx").unwrap(), &options).unwrap();
            let facts = analyse(&step, &BTreeMap::new()).unwrap();
            let is_half = |node: &NodeProto| facts.get(&node.output[0]).map(|fact| fact.element) == precision.half();
            let half: Vec<&NodeProto> = step.graph.node.iter().filter(|node| is_half(node)).collect();
            let is_there = |name: &str| half.iter().any(|node| node.op_type() == name);
            assert!(is_there("MatMul"), "{operator}");
            assert!(precision == Precision::Bfloat16 || operator == "Dropout" || is_there(operator), "{operator}");
            assert_all_have_kernels(step, &format!("{operator}, {}", precision.name()));
        }
    }
}

/// Dropout, and whatever else draws, at sizes that are known and at unknown ones.
#[test]
fn every_node_that_draws_has_a_kernel() {
    for dims in ["4,1,6,6", "batch,1,6,6", "batch,1,height,width"] {
        let mut model: ModelProto = forward::network();
        let graph = forward::graph(&mut model);
        graph.input = vec![forward::info("image", DataType::Float, dims)];
        let noisy = [
            forward::node("RandomNormalLike", &["image"], "normal"),
            forward::node("RandomUniformLike", &["image"], "uniform"),
            forward::node("Bernoulli", &["uniform"], "coin"),
            forward::node("Mul", &["normal", "coin"], "noise"),
            forward::node("Add", &["image", "noise"], "noisy"),
            forward::node("Dropout", &["noisy"], "kept"),
        ];
        graph.node.splice(0..0, noisy);
        graph.node[6].input[0] = "kept".into();
        let model = Model::new(model, "network.onnx").unwrap();
        let (step, _) = make_step(model, &StepOptions::default()).unwrap();
        assert_all_have_kernels(step, dims);
    }
}

/// The `onnx` package knows when operators were last changed: all of the table have a kernel for operator set 18.
#[test]
fn the_table_fits_the_operator_set() {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/onnx-requirements.txt");
    let Some(python) = python::environment("onnx", &requirements) else { return };
    let script = format!(
        "import onnx, sys\nfor op in sys.argv[1:]:\n \
         try: print(op, onnx.defs.get_schema(op, {SET}, '').since_version)\n except Exception: pass"
    );
    let kernels = kernels();
    let changed = python::run(Command::new(python).args(["-c", &script]).args(kernels.keys()));
    assert!(changed.lines().count() > 100);
    for line in changed.lines() {
        let (operator, version) = line.split_once(' ').unwrap();
        let version: i64 = version.parse().unwrap();
        let fits = kernels[operator].iter().any(|kernel| (kernel.versions.0..=kernel.versions.1).contains(&version));
        assert!(fits, "no kernel for {operator} as of operator set {version}");
    }
}
