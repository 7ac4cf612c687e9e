//! ONNX Runtime has a kernel on CUDA for every node of a step model, by the table in `tests/fixtures/cuda/kernels.txt`.
//! A node without one is computed on the processor, and what it reads and makes is copied there and back.
use crate::support::{forward, models, python};
use gnp::graph::{Facts, inline_functions};
use gnp::loss::LossKind;
use gnp::onnx::proto::{GraphProto, ModelProto, NodeProto};
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
