//! Which constants of a forward graph train.
//!
//! A file does not say which of its constants are weights. Those are that stand where an operator has its weights, and those
//! that are combined, element by element, with something that depends on weights: a bias behind a matrix product, a position
//! embedding, a layer's scale. What normalises the input before the first weight, a temperature, an epsilon, does not train.

use crate::choice::{Choice, nearest};
use crate::graph::{Facts, Graph, Value, for_each_subgraph};
use crate::onnx::DataType;
use crate::onnx::proto::NodeProto;
use crate::{Error, Result};
use foldhash::{HashMap, HashSet};
use wildmatch::WildMatch;

/// What the user said of what trains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Globs over the names of constants: these train, and no others; empty for what is inferred.
    pub train: Vec<String>,
    /// Globs over the names of constants: these do not train.
    pub freeze: Vec<String>,
}

/// The float32 constants of the graph that train, in the file's order.
///
/// # Errors
/// Where a glob matches nothing, or what is to train is not float32.
pub fn trainable(graph: &Graph, facts: &Facts, selection: &Selection) -> Result<(Vec<Value>, Vec<Choice>)> {
    let initializers = &graph.proto().initializer;
    let is_float = |name: &str| facts.get(name).is_some_and(|fact| fact.element == DataType::Float);
    let floats: Vec<&str> = initializers.iter().map(|t| t.name()).filter(|name| is_float(name)).collect();
    let train = matchers(&selection.train, &floats, "--train")?;
    let freeze = matchers(&selection.freeze, &floats, "--freeze")?;
    let inferred = weights(graph, facts);
    let chosen = |name: &&&str| {
        let wanted = if train.is_empty() { inferred.contains(**name) } else { train.iter().any(|m| m.matches(name)) };
        wanted && !freeze.iter().any(|m| m.matches(name))
    };
    let parameters: Vec<Value> = floats.iter().filter(chosen).map(|name| (*name).into()).collect();
    if parameters.is_empty() {
        return Err(none(&inferred, &floats, initializers.iter().filter_map(|t| t.element())));
    }
    let mut choices = Vec::new();
    if train.is_empty() && freeze.is_empty() {
        let all = floats.iter().filter(|name| inferred.contains(**name)).count();
        let numbers: usize =
            initializers.iter().filter(|t| inferred.contains(t.name())).map(|t| t.element_count()).sum();
        choices.push(Choice::new(format!("all {all} weights train ({numbers} numbers)"), "--train, --freeze"));
    }
    Ok((parameters, choices))
}

fn none(inferred: &HashSet<Value>, floats: &[&str], mut elements: impl Iterator<Item = DataType>) -> Error {
    let error = Error::input("no trainable parameter: expected float32 weights among the graph's constants");
    if !inferred.is_empty() {
        error.help("--freeze names all that train; leave some out of it")
    } else if !floats.is_empty() {
        error.help(format!("name what trains: --train GLOB; {}", nearest("", floats.iter().copied())))
    } else if elements.any(|e| matches!(e, DataType::Float16 | DataType::Double | DataType::Bfloat16)) {
        error.help("its weights are of another floating type; convert the model to float32")
    } else {
        error.help(
            "where the weights are inputs, as in the eval_model.onnx of training artifacts, give the folder of the artifacts or \
             their training_model.onnx; else export the model with its weights in it",
        )
    }
}

fn matchers(globs: &[String], names: &[&str], flag: &str) -> Result<Vec<WildMatch>> {
    let matcher = |glob: &String| {
        let matcher = WildMatch::new(glob);
        if names.iter().any(|name| matcher.matches(name)) {
            return Ok(matcher);
        }
        Err(Error::input(format!("{flag} {glob}: no float constant of the graph has such a name"))
            .help(nearest(glob, names.iter().copied())))
    };
    globs.iter().map(matcher).collect()
}

/// What is known of a value on the way through the graph.
#[derive(Clone)]
enum Origin {
    /// It is computed from constants alone: these, if they are floats.
    Constant(Vec<Value>),
    /// It depends on the data and on weights.
    Learned,
}

/// The constants that stand where weights stand.
fn weights(graph: &Graph, facts: &Facts) -> HashSet<Value> {
    let mut search = Search { facts, origins: HashMap::default(), weights: HashSet::default() };
    for tensor in &graph.proto().initializer {
        let name = Value::from(tensor.name());
        let is_float = tensor.element() == Some(DataType::Float);
        search.origins.insert(name.clone(), Origin::Constant(if is_float { vec![name] } else { vec![] }));
    }
    search.visit(graph.nodes());
    search.weights
}

struct Search<'f> {
    facts: &'f Facts,
    origins: HashMap<Value, Origin>,
    weights: HashSet<Value>,
}

impl Search<'_> {
    fn visit(&mut self, nodes: &[NodeProto]) {
        for node in nodes {
            let mut learned = false;
            for_each_subgraph(node, &mut |body| {
                self.visit(&body.node);
                let is_learned = |name: &str| matches!(self.origins.get(name), Some(Origin::Learned));
                learned |= body.output.iter().any(|o| is_learned(o.name()));
            });
            let origins: Vec<_> = (0..node.input.len()).map(|i| self.origins.get(node.input(i)?).cloned()).collect();
            let given = |i: &usize| node.input(*i).is_some();
            let inputs: Vec<usize> = (0..node.input.len()).filter(given).collect();
            if !inputs.is_empty() && inputs.iter().all(|&i| matches!(origins[i], Some(Origin::Constant(_)))) {
                let roots = origins.iter().flatten().flat_map(|origin| match origin {
                    Origin::Constant(roots) => roots.clone(),
                    Origin::Learned => vec![],
                });
                let roots = Origin::Constant(roots.collect());
                node.output.iter().for_each(|o| _ = self.origins.insert(o.as_str().into(), roots.clone()));
                continue;
            }
            learned |= origins.iter().flatten().any(|origin| matches!(origin, Origin::Learned));
            for (i, origin) in origins.iter().enumerate() {
                let Some(Origin::Constant(roots)) = origin else { continue };
                let trains = is_weight(node, i);
                for root in roots {
                    if trains || (learned && is_combined(node, i) && self.has_several_elements(root)) {
                        self.weights.insert(root.clone());
                        learned |= trains;
                    }
                }
            }
            if learned {
                node.output.iter().for_each(|o| _ = self.origins.insert(o.as_str().into(), Origin::Learned));
            }
        }
    }

    fn has_several_elements(&self, value: &Value) -> bool {
        self.facts.get(value).and_then(|f| f.sizes()).is_some_and(|sizes| sizes.iter().product::<i64>() > 1)
    }
}

/// Whether an operator has its weights in this place.
fn is_weight(node: &NodeProto, input: usize) -> bool {
    match node.op_type() {
        "Conv"
        | "ConvTranspose"
        | "BatchNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "LayerNormalization" => matches!(input, 1 | 2),
        "PRelu" | "RMSNormalization" => input == 1,
        "Gemm" | "MatMul" | "Einsum" => true,
        "Gather" => input == 0,
        "LSTM" | "GRU" | "RNN" => matches!(input, 1..=3),
        _ => false,
    }
}

/// Whether an operator combines this operand with the others.
fn is_combined(node: &NodeProto, input: usize) -> bool {
    match node.op_type() {
        "Add" | "Sub" | "Mul" | "Sum" | "Concat" => true,
        "Div" => input == 1,
        "Where" => input > 0,
        _ => false,
    }
}
