//! The evaluation model: loss and predictions of a forward model at given parameters.
//!
//! Inputs, in order: the data inputs; the labels, where the loss needs them; then, of the step model's state, what the
//! forward model has under the same name: parameters and statistics, each with its initializer. Outputs: [`LOSS`], then
//! the values that losses are taken of, then what is counted of the batch and each of several losses ([`Total::told`]).

use crate::pass;
use foldhash::HashSet;
use gnp_base::Result;
use gnp_base::contract::LOSS;
use gnp_gradient::loss::Total;
use gnp_model::graph::{Builder, Fact, Graph, Value};
use gnp_model::onnx::{DataType, Model};

/// What is evaluated.
#[derive(Clone, Copy, Debug)]
pub enum Evaluated<'a> {
    /// A loss that was put on predictions.
    Put(&'a Total),
    /// The model's own loss.
    Own(&'a Value),
}

/// Declares inputs and outputs of the evaluation model.
pub fn assemble(model: &mut Model, mut graph: Graph, evaluated: Evaluated<'_>, state: &HashSet<&str>) {
    let fact = |t: &gnp_model::onnx::proto::TensorProto| Some(Fact::with_sizes(t.element()?, &t.dims));
    let initializers = graph.proto().initializer.iter().filter(|t| state.contains(t.name()));
    let fed: Vec<_> = initializers.filter_map(|t| Some(fact(t)?.info(t.name()))).collect();
    let scalar = Fact::with_sizes(DataType::Float, &[]);
    let mut outputs = vec![scalar.info(LOSS)];
    match evaluated {
        Evaluated::Own(loss) => super::step::name_results(&mut graph, &[(loss, LOSS.to_owned())]),
        Evaluated::Put(total) => {
            let results: Vec<_> = [(&total.loss, LOSS.to_owned())].into_iter().chain(total.told()).collect();
            super::step::name_results(&mut graph, &results);
            graph.declare_inputs(total.labels.iter().map(|(name, fact, _)| fact.info(name)));
            outputs.extend(total.predictions.iter().map(|(value, fact)| fact.info(value)));
            outputs.extend(results[1..].iter().map(|(_, name)| scalar.info(name)));
        }
    }
    graph.declare_outputs(outputs);
    graph.clear_types();
    graph.retain_needed();
    let used: HashSet<&str> = graph.proto().initializer.iter().map(|t| t.name()).collect();
    let fed: Vec<_> = fed.into_iter().filter(|info| used.contains(info.name())).collect();
    graph.declare_inputs(fed);
    model.graph = graph.into_proto();
}

/// Lets nodes that train differently from how they infer infer. A BatchNormalization that reads statistics which the
/// graph computes has no others.
pub fn infer(graph: &mut Graph) -> Result<()> {
    let made: HashSet<String> = graph.nodes().iter().flat_map(|node| node.output.iter().cloned()).collect();
    Builder::new(graph, pass::INFERENCE).replace_nodes(|mut node| {
        let is_layer = [3, 4].iter().all(|&i| node.input(i).is_none_or(|statistic| !made.contains(statistic)));
        if node.is("", "BatchNormalization") && is_layer {
            node.attribute.retain(|a| a.name() != "training_mode");
            node.output.truncate(1);
        } else if node.is("", "Dropout") {
            node.input.truncate(1);
            node.attribute.retain(|a| a.name() != "seed");
        }
        Ok(Some(node))
    })
}
