//! Plans: a graph made ready for inputs of exactly these shapes.

use super::specialise::specialise;
use super::{branch, log_softmax, scan};
use foldhash::{HashMap, HashSet};
use gnp_base::caught::caught;
use gnp_base::{Error, Result};
use gnp_model::graph::inline_functions;
use gnp_model::onnx::proto::{NodeProto, ValueInfoProto};
use gnp_model::onnx::{Model, Payloads};
use gnp_tensor::Tensor;
use prost::Message as _;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::multithread::Executor;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TypedSimplePlan;

/// How many plans are kept: a training batch, the epoch's last, and as many for evaluation.
const KEPT: usize = 2;

/// The element type and shape of every input.
type Shapes = Vec<(DatumType, TVec<usize>)>;

/// A graph, and the plans that have been made of it.
pub(super) struct Plans {
    model: Model,
    executor: Executor,
    /// The most recently used last.
    made: Vec<(Shapes, Arc<TypedSimplePlan>)>,
}

impl Plans {
    /// The graph of `model` with `inputs` as its only inputs and `outputs` as its only outputs, in this order; what
    /// else it declares as an input has the value of its initializer.
    ///
    /// # Errors
    /// Where external data cannot be read.
    pub(super) fn new(model: &Model, inputs: &[&str], outputs: &[&str], executor: Executor) -> Result<Self> {
        let mut model = model.clone();
        inline_functions(&mut model);
        declare(&mut model.graph.input, inputs);
        declare(&mut model.graph.output, outputs);
        let fed: HashSet<&str> = inputs.iter().copied().collect();
        model.graph.initializer.retain(|tensor| !fed.contains(tensor.name()));
        Payloads::new(model.folder()).bring_in(&mut model)?;
        log_softmax::write_out(&mut model);
        name_apart(&mut model.graph.node);
        Ok(Self { model, executor, made: Vec::new() })
    }

    /// What the graph returns for `inputs`.
    ///
    /// # Errors
    /// Where tract cannot compute the graph for inputs of such shapes, or not of these values.
    pub(super) fn run(&mut self, inputs: TVec<TValue>) -> Result<TVec<TValue>> {
        let shapes: Shapes = inputs.iter().map(|input| (input.datum_type(), input.shape().into())).collect();
        let (shapes, plan) = match self.made.iter().position(|(made, _)| *made == shapes) {
            Some(index) => self.made.remove(index),
            None => {
                let plan = caught(|| self.make(&shapes)).unwrap_or_else(|panic| Err(TractError::msg(panic)));
                (shapes, plan.map_err(|e| refused("cannot prepare this graph", &e))?)
            }
        };
        // A plan's own state is made anew for each run: in one that goes on, a Scan would go on where it has ended. A
        // kernel that finds no place for an index panics.
        let outputs = caught(|| plan.run(inputs)).unwrap_or_else(|panic| Err(TractError::msg(panic)));
        let outputs = outputs.map_err(|e| refused("cannot compute this graph", &e))?;
        if self.made.len() == KEPT {
            self.made.remove(0);
        }
        self.made.push((shapes, plan));
        Ok(outputs)
    }

    fn make(&self, inputs: &Shapes) -> TractResult<Arc<TypedSimplePlan>> {
        // Declared shapes of outputs may be wrong, or in symbols that cannot be told to be equal.
        let reader = onnx().with_ignore_output_shapes(true);
        let sizes: Vec<_> = inputs.iter().map(|(_, shape)| shape.iter().map(|&size| size as i64).collect()).collect();
        let mut model = specialise(&self.model, &sizes).map_err(|error| TractError::msg(error.to_string()))?;
        scan::set_apart(&mut model.graph);
        let proto = model.into_proto();
        let proto = ModelProto::decode(proto.encode_to_vec().as_slice())?;
        let mut model = reader.parse(&proto, None)?.model;
        for (index, (element, shape)) in inputs.iter().enumerate() {
            model.set_input_fact(index, InferenceFact::dt_shape(*element, shape))?;
        }
        branch::prepare(&mut model);
        branch::plan(model.into_typed()?, &self.executor)
    }
}

/// Gives nodes names that no value has. tract calls what it makes of a node by the node's name and an ending,
/// `conv1.bias` say, which exporters give to the parameter itself.
fn name_apart(nodes: &mut [NodeProto]) {
    for node in nodes {
        node.name = Some(format!("node {}", node.label()));
        node.subgraphs_mut().for_each(|body| name_apart(&mut body.node));
    }
}

/// Makes `names` all that is declared, in this order.
fn declare(declared: &mut Vec<ValueInfoProto>, names: &[&str]) {
    let mut found: HashMap<String, ValueInfoProto> =
        declared.drain(..).map(|value| (value.name().to_owned(), value)).collect();
    declared.extend(names.iter().filter_map(|name| found.remove(*name)));
}

/// What tract says, on one line: the innermost cause says what is wrong, the outermost where.
pub(super) fn refused(what: &str, error: &TractError) -> Error {
    let chain: Vec<String> = error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
    let said = chain.join(": ");
    let error = Error::engine(format!("tract {what}: {}", said)).help("train with ONNX Runtime: --engine onnxruntime");
    // `node #15 "node conv1" Conv: …`
    let place = said.split_once("\"node ").and_then(|(_, rest)| rest.split_once("\" "));
    match place.and_then(|(name, rest)| Some((name, rest.split([':', ' ', '.']).next()?))) {
        Some((name, operator)) => error.at_node(name, operator),
        None => error,
    }
}

/// A copy of `tensor` for tract.
pub(super) fn to_tract(tensor: &Tensor) -> Result<TValue> {
    macro_rules! copy {
        ($array:expr) => {{
            let array = $array.as_standard_layout();
            let elements = array.as_slice().ok_or_else(|| Error::internal("a tensor in no order"))?;
            tract_onnx::prelude::Tensor::from_shape(array.shape(), elements)
        }};
    }
    let copy = match tensor {
        Tensor::F32(a) => copy!(a),
        Tensor::I32(a) => copy!(a),
        Tensor::I64(a) => copy!(a),
    };
    copy.map(IntoTValue::into_tvalue).map_err(|e| refused("cannot hold a tensor", &e))
}

/// A copy of what tract returned.
pub(super) fn from_tract(value: &TValue) -> Result<Tensor> {
    let unreadable = |e: TractError| refused("returned what cannot be read", &e);
    Ok(match value.datum_type() {
        DatumType::F32 => Tensor::F32(value.to_plain_array_view().map_err(unreadable)?.to_owned()),
        DatumType::I32 => Tensor::I32(value.to_plain_array_view().map_err(unreadable)?.to_owned()),
        DatumType::I64 => Tensor::I64(value.to_plain_array_view().map_err(unreadable)?.to_owned()),
        // A count that tract has taken for a dimension.
        DatumType::TDim => {
            let cast = value.cast_to::<i64>().map_err(unreadable)?;
            Tensor::I64(cast.to_plain_array_view().map_err(unreadable)?.to_owned())
        }
        other => {
            return Err(Error::engine(format!(
                "the graph returns elements of type {other:?}: expected float32, int32 or int64"
            )));
        }
    })
}

/// `value` in the element type of `other`: tract takes some counts for dimensions, a type of its own.
pub(super) fn as_type_of(value: TValue, other: &TValue) -> Result<TValue> {
    if value.datum_type() == other.datum_type() {
        return Ok(value);
    }
    let cast = value.cast_to_dt(other.datum_type()).map_err(|e| refused("returned another type", &e))?;
    Ok(cast.into_owned().into_tvalue())
}
