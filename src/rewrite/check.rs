//! Whether a written model keeps what the rewrite promises: structure, names, types; and whether an engine takes it.

use super::trial::{self, Trial};
use crate::contract::{ALPHA, LEARNING_RATE, R, WARMUP_STEPS};
use crate::engine::ort_training::{Artifacts, Options, OrtTraining};
use crate::engine::runtime::Runtime;
use crate::engine::{Available, Device, Rates, StepEngine, StepModel};
use crate::graph::{Graph, is_added, tensor_type};
use crate::onnx::proto::tensor_shape_proto::Dimension;
use crate::onnx::proto::tensor_shape_proto::dimension::Value::DimValue;
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto, standard_domain, type_proto};
use crate::onnx::{self, DataType, Model};
use crate::penalty::Penalty;
use crate::{Error, Result};
use foldhash::{HashMap, HashSet};
use serde::Serialize;
use std::path::Path;

/// Whether an engine takes a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loaded {
    /// The engine that loaded it.
    pub runtime: Option<String>,
    /// What a step came to in it.
    pub step: Option<Trial>,
    /// Why none did.
    pub why_not: Option<String>,
}

/// Reads the training model at `path` from disk, checks it, loads it in `runtime`, where there is one, with the other
/// artifacts in `artifacts`, and tries a step on made-up data.
///
/// # Errors
/// Where structure, names or types are not as they should be, or the runtime refuses the model or the step.
pub fn check(path: &Path, artifacts: &Path, runtime: Result<&Runtime, &Error>) -> Result<Loaded> {
    let model = onnx::read(path)?;
    verify(&model)
        .and_then(|()| verify_names(&model))
        .and_then(|()| Graph::new(model.graph.clone()))
        .map_err(|e| e.in_file(path))?;
    let why_not = |why: String| Ok(Loaded { runtime: None, step: None, why_not: Some(why) });
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return why_not(format!("{error} (see gnp-run engines)")),
    };
    let files = Artifacts { training_model: path.to_owned(), ..Artifacts::in_folder(artifacts) };
    if !files.checkpoint.exists() || !files.optimizer_model.exists() {
        return why_not("its checkpoint and optimizer model are not in the folder of the input".into());
    }
    let mut engine = OrtTraining::load(runtime, &files, &Options::default())?;
    let has = |name: &str| model.graph.input.iter().any(|input| input.name() == name);
    let Penalty { r, alpha, .. } = Penalty::default();
    let rates = Rates { r: has(R).then_some(r), alpha: has(ALPHA).then_some(alpha), ..Rates::new(0.001) };
    let step = trial::take(&mut engine, &model, &rates).map_err(|e| e.in_file(path))?;
    Ok(Loaded { runtime: Some(format!("ONNX Runtime {}", runtime.version)), step: Some(step), why_not: None })
}

/// Reads the step model at `path` from disk and checks it: its structure and types; that the fastest engine that is
/// there loads the file (ONNX Runtime, the library `named` by the caller or one that is found, else tract), and
/// computes a step on made-up data.
///
/// # Errors
/// Where its structure, types, inputs or outputs are not as they should be, or the engine refuses the model or the
/// step.
pub fn check_step(path: &Path, named: Option<&Path>) -> Result<Loaded> {
    let model = onnx::read(path)?;
    let engine = Available::best(named, Device::Cpu)?;
    try_step(&model, &engine, |options| engine.load_file(&model, options))
}

/// The same of a step model that is not in a file.
///
/// # Errors
/// As [`check_step`].
pub fn check_unwritten_step(model: &Model, named: Option<&Path>) -> Result<Loaded> {
    let engine = Available::best(named, Device::Cpu)?;
    try_step(model, &engine, |options| engine.load(model, None, options))
}

fn try_step(
    model: &Model,
    engine: &Available,
    load: impl FnOnce(&Options) -> Result<Box<dyn StepEngine>>,
) -> Result<Loaded> {
    let in_file = |error: Error| error.in_file(model.path());
    verify(model).and_then(|()| Graph::new(model.graph.clone())).map_err(in_file)?;
    let mut loaded = load(&Options::default())?;
    let step = StepModel::recognise(model)?;
    let mut rates = Rates::new(step.default_of(LEARNING_RATE).unwrap_or_default());
    // As after the warm-up, so that the second pass is computed.
    rates.others.extend(step.default_of(WARMUP_STEPS).map(|_| (WARMUP_STEPS.to_owned(), 0.0)));
    let trial = trial::take(&mut *loaded, model, &rates).map_err(in_file)?;
    Ok(Loaded { runtime: Some(engine.to_string()), step: Some(trial), why_not: None })
}

/// Checks that every operator set in use is imported, and that the operands of added nodes are of one type and of
/// shapes that broadcast.
///
/// # Errors
/// Where one of these does not hold.
pub fn verify(model: &Model) -> Result<()> {
    let imported: HashSet<&str> = model.header.opset_import.iter().map(|o| standard_domain(o.domain())).collect();
    let types = declared_types(&model.graph);
    for node in &model.graph.node {
        let damaged = |what: String| {
            let error = Error::input(what).at_node(node.label(), &node.operator());
            Err(error.help("the model is damaged; make the artifacts again"))
        };
        if !imported.contains(standard_domain(node.domain())) {
            return damaged(format!("the model imports no operator set for the domain `{}`", node.domain()));
        }
        if !is_added(node) {
            continue;
        }
        if let Err(what) = operands_agree(node, &types) {
            return damaged(what);
        }
    }
    Ok(())
}

/// Checks that no name that was added to an artifact can be taken for a gradient of ONNX Runtime's training API.
///
/// # Errors
/// Where one can: that is a defect of the rewrite.
pub fn verify_names(model: &Model) -> Result<()> {
    for node in model.graph.node.iter().filter(|node| is_added(node)) {
        let mut names = node.output.iter().filter(|o| !o.is_empty());
        if let Some(name) = names.find(|n| n.ends_with("_grad") || !n.starts_with("gnp")) {
            let what = format!("the added value `{name}` has a name that training would take for another's");
            return Err(Error::internal(what).at_node(node.name(), &node.operator()));
        }
    }
    Ok(())
}

/// What a graph says of the type of a value.
#[derive(Clone, Copy)]
enum Declared<'g> {
    Value(&'g type_proto::Tensor),
    Constant(&'g TensorProto),
}

impl Declared<'_> {
    fn element(self) -> i32 {
        match self {
            Self::Value(tensor) => tensor.elem_type(),
            Self::Constant(tensor) => tensor.data_type(),
        }
    }

    /// The dimensions, where all are known.
    fn dims(self) -> Option<Vec<i64>> {
        let size = |dim: &Dimension| if let Some(DimValue(size)) = dim.value { Some(size) } else { None };
        match self {
            Self::Value(tensor) => tensor.shape.as_ref()?.dim.iter().map(size).collect(),
            Self::Constant(tensor) => Some(tensor.dims.clone()),
        }
    }
}

fn declared_types(graph: &GraphProto) -> HashMap<&str, Declared<'_>> {
    let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    let values = values.filter_map(|v| Some((v.name(), Declared::Value(tensor_type(v)?))));
    values.chain(graph.initializer.iter().map(|t| (t.name(), Declared::Constant(t)))).collect()
}

/// Whether the operands of an elementwise operator, as far as their types are known, go together.
fn operands_agree(node: &NodeProto, types: &HashMap<&str, Declared<'_>>) -> Result<(), String> {
    if !["Add", "Sub", "Mul", "Div", "Max", "Sum"].iter().any(|op| node.is("", op)) {
        return Ok(());
    }
    let known: Vec<_> = node.input.iter().filter_map(|i| Some((i, *types.get(i.as_str())?))).collect();
    for pair in known.windows(2) {
        let [(a, type_a), (b, type_b)] = pair else { continue };
        if type_a.element() != type_b.element() {
            let name = |t: i32| DataType::try_from(t).map_or("an unknown type", |t| t.as_str_name());
            let (x, y) = (name(type_a.element()), name(type_b.element()));
            return Err(format!("its operands differ in type: `{a}` is {x}, `{b}` is {y}"));
        }
        if let (Some(x), Some(y)) = (type_a.dims(), type_b.dims())
            && x.iter().rev().zip(y.iter().rev()).any(|(m, n)| m != n && *m != 1 && *n != 1)
        {
            return Err(format!("its operands do not broadcast: `{a}` is {x:?}, `{b}` is {y:?}"));
        }
    }
    Ok(())
}
