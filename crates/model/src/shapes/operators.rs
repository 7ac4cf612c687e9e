//! tract's inference rules, one node at a time.
//!
//! A whole model in tract's hands would stop at the first operator that it cannot build, and would have to hold the
//! weights. One by one, its rules are a function from the facts of the inputs to the facts of the outputs.

use crate::graph::SMALL;
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto, TensorProto};
use foldhash::{HashMap, HashSet};
use gnp_base::quietly::quietly;
use prost::Message as _;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb;
use tract_onnx::tract_hir::internal::{
    Factoid, InferenceFact, InferenceModel, InferenceOp, IntoArcTensor as _, IntoTValue as _, ShapeFactoid, Symbol,
    SymbolScope, TDim, TVec,
};

/// The rules, for nodes of one operator set.
pub(super) struct Operators {
    onnx: tract_onnx::Onnx,
    model: pb::ModelProto,
    template: InferenceModel,
    opset: i64,
    answered: HashMap<Question, Option<TVec<InferenceFact>>>,
}

/// An operation, and the facts that it is applied to.
type Question = (Vec<u8>, TVec<InferenceFact>);

impl Operators {
    pub(super) fn new(opset: i64) -> Self {
        Self {
            onnx: tract_onnx::onnx(),
            model: pb::ModelProto::default(),
            template: InferenceModel::default(),
            opset,
            answered: HashMap::default(),
        }
    }

    /// Where the symbols live. Those that a rule makes for a size that it does not know come from here too, so that
    /// they differ from all others.
    pub(super) fn scope(&self) -> &SymbolScope {
        &self.template.symbols
    }

    /// What `node` makes of the inputs that it has, without those that are left out: one fact for each output. None
    /// where tract does not know.
    pub(super) fn infer(&mut self, node: &NodeProto, inputs: TVec<InferenceFact>) -> Option<TVec<InferenceFact>> {
        if !axis_exists(node, &inputs) {
            return None;
        }
        // Models repeat their blocks.
        let question = (operation(node), without_empty(node, inputs));
        if let Some(outputs) = self.answered.get(&question) {
            return outputs.clone();
        }
        // Some rules panic on what they do not foresee, and tract's arithmetic where a size overflows: one more thing
        // that is not known.
        let outputs = quietly(|| self.ask(node, &question.1)).ok().flatten();
        if outputs.iter().flatten().all(|output| is_repeatable(output, &question.1)) {
            self.answered.insert(question, outputs.clone());
        }
        outputs
    }

    fn ask(&self, node: &NodeProto, inputs: &[InferenceFact]) -> Option<TVec<InferenceFact>> {
        let mut bytes = node.encode_to_vec();
        if node.is("", "ConstantOfShape") && node.attribute.is_empty() {
            // Zeros of float32 by the standard, of float64 by tract.
            let zero = TensorProto::raw("", DataType::Float, &[1], vec![0; 4].into());
            let attribute = vec![AttributeProto::tensor("value", zero)];
            NodeProto { attribute, ..Default::default() }.encode(&mut bytes).ok()?;
        }
        let mut operator = self.build(&pb::NodeProto::decode(&*bytes).ok()?)?;
        let facts = infer(&mut *operator, inputs).or_else(|| {
            // Symbols that are equal without the file's saying so are different to a rule that wants them equal.
            let open: Vec<_> = inputs.iter().map(without_symbols).collect();
            infer(&mut *operator, &open)
        })?;
        if facts.len() == node.output.len() {
            return Some(facts);
        }
        // Other operators do not have the outputs that are left out.
        let mut facts = facts.into_iter();
        node.output
            .iter()
            .map(|name| if name.is_empty() { Some(InferenceFact::default()) } else { facts.next() })
            .collect()
    }

    fn build(&self, node: &pb::NodeProto) -> Option<Box<dyn InferenceOp>> {
        let context = ParsingContext {
            onnx_operator_set_version: self.opset,
            framework: &self.onnx,
            model: &self.model,
            parent_graphs: Vec::new(),
            model_dir: None,
            template: self.template.clone(),
        };
        let build = self.onnx.op_register.0.get(&node.op_type)?;
        build(&context, node).ok().map(|(operator, _)| operator)
    }
}

/// Operators to which a list without elements says something.
const WITH_LISTS: [&str; 6] = ["Reshape", "Expand", "ConstantOfShape", "Resize", "Squeeze", "Unsqueeze"];

/// The inputs without the numbers of those that have none: some rules read the first.
fn without_empty(node: &NodeProto, inputs: TVec<InferenceFact>) -> TVec<InferenceFact> {
    if WITH_LISTS.contains(&node.op_type()) || node.op_type().starts_with("Reduce") {
        return inputs;
    }
    let is_empty = |fact: &InferenceFact| fact.value.concretize().is_some_and(|tensor| tensor.len() == 0);
    inputs.into_iter().map(|fact| if is_empty(&fact) { fact.without_value() } else { fact }).collect()
}

/// Whether the attribute `axis`, if there is one, is an axis of the first input, or at most the one after its last.
/// Some rules count up to it, and to a negative one for ever.
fn axis_exists(node: &NodeProto, inputs: &[InferenceFact]) -> bool {
    let Some(rank) = inputs.first().and_then(|input| input.shape.rank().concretize()) else { return true };
    let is_of_output = node.is("", "OneHot");
    node.attribute("axis").is_none_or(|axis| (-rank - i64::from(is_of_output)..=rank).contains(&axis.i()))
}

/// What a node does, whatever its name and those of the values: operator, attributes, and which inputs and outputs it
/// has.
fn operation(node: &NodeProto) -> Vec<u8> {
    let mut bytes = node.op_type().as_bytes().to_vec();
    for names in [&node.input, &node.output] {
        bytes.push(0xff);
        bytes.extend(names.iter().map(|name| u8::from(name.is_empty())));
    }
    for attribute in &node.attribute {
        bytes.extend(attribute.encode_length_delimited_to_vec());
    }
    bytes
}

/// Whether another node that is given the same inputs has the same output: not if a symbol was made for it.
fn is_repeatable(output: &InferenceFact, inputs: &[InferenceFact]) -> bool {
    let symbols = symbols(output);
    symbols.is_empty() || symbols.is_subset(&inputs.iter().flat_map(self::symbols).collect())
}

/// The symbols of a shape, and of a constant that is computed from shapes.
fn symbols(fact: &InferenceFact) -> HashSet<Symbol> {
    let value = fact.value.concretize();
    let numbers = value.as_ref().and_then(|value| value.to_plain_array_view::<TDim>().ok());
    let sizes = fact.shape.dims().filter_map(Factoid::concretize);
    sizes.chain(numbers.iter().flatten().cloned()).flat_map(|dim| dim.symbols()).collect()
}

fn infer(operator: &mut dyn InferenceOp, inputs: &[InferenceFact]) -> Option<TVec<InferenceFact>> {
    let open = InferenceFact::default();
    let blank = (0..operator.nboutputs().ok()?).map(|_| &open).collect();
    let (_, facts, _) = operator.infer_facts(inputs.iter().collect(), blank, TVec::new()).ok()?;
    Some(evaluate(operator, inputs, &facts).unwrap_or(facts))
}

/// The outputs as constants, where the inputs are constants and the outputs are small.
fn evaluate(
    operator: &dyn InferenceOp,
    inputs: &[InferenceFact],
    outputs: &[InferenceFact],
) -> Option<TVec<InferenceFact>> {
    let small = |fact: &InferenceFact| {
        let sizes = fact.shape.as_concrete_finite().ok().flatten();
        sizes.is_some_and(|sizes| sizes.iter().product::<usize>() <= SMALL)
    };
    if inputs.is_empty() || outputs.iter().all(|o| o.value.is_concrete()) || !outputs.iter().all(small) {
        return None;
    }
    let constants = inputs.iter().map(|i| Some(i.value.concretize()?.into_tvalue())).collect::<Option<_>>()?;
    let values = operator.eval_out_of_plan(constants).ok()??;
    values.into_iter().map(|value| value.into_arc_tensor().try_into().ok()).collect()
}

fn without_symbols(fact: &InferenceFact) -> InferenceFact {
    if fact.shape.is_open() {
        return fact.clone();
    }
    let dims = fact.shape.dims().map(|dim| dim.concretize().filter(|d| matches!(d, TDim::Val(_))));
    let shape = ShapeFactoid::closed(dims.map(|dim| dim.map(Into::into).unwrap_or_default()).collect());
    InferenceFact { shape, ..fact.clone() }
}
