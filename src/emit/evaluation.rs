//! The evaluation model: loss and predictions of a forward model at given parameters.
//!
//! Inputs, in order: the data inputs; the labels, where the loss needs them; then, of the step model's state, what the forward model
//! has under the same name: parameters and statistics, each with its initializer. Outputs: [`LOSS`], then the value that the loss is taken of.

use crate::contract::{LABELS, LOSS};
use crate::graph::{Fact, Graph, Value};
use crate::onnx::{DataType, Model};
use foldhash::HashSet;

/// Declares inputs and outputs of the evaluation model. `predictions` is none where the model has its own loss.
pub fn assemble(
    model: &mut Model,
    mut graph: Graph,
    labels: Option<&Fact>,
    loss: &Value,
    predictions: Option<(&Value, &Fact)>,
    state: &HashSet<&str>,
) {
    let fact = |t: &crate::onnx::proto::TensorProto| Some(Fact::with_sizes(t.element()?, &t.dims));
    let initializers = graph.proto().initializer.iter().filter(|t| state.contains(t.name()));
    let fed: Vec<_> = initializers.filter_map(|t| Some(fact(t)?.info(t.name()))).collect();
    let scalar = Fact::with_sizes(DataType::Float, &[]);
    super::step::name_results(&mut graph, &[(loss, LOSS.to_owned())]);
    let (input, output) = graph.interface_mut();
    input.extend(labels.map(|labels| labels.info(LABELS)));
    let before = output.len();
    output.splice(..before, [scalar.info(LOSS)].into_iter().chain(predictions.map(|(value, fact)| fact.info(value))));
    graph.clear_types();
    graph.retain_needed();
    let used: HashSet<&str> = graph.proto().initializer.iter().map(|t| t.name()).collect();
    let fed: Vec<_> = fed.into_iter().filter(|info| used.contains(info.name())).collect();
    graph.interface_mut().0.extend(fed);
    model.graph = graph.into_proto();
}

/// Lets nodes that train differently from how they infer infer. A BatchNormalization that reads statistics which the graph computes has
/// no others.
pub fn infer(graph: &mut Graph) {
    let made: HashSet<String> = graph.nodes().iter().flat_map(|node| node.output.iter().cloned()).collect();
    for node in graph.nodes_mut() {
        let is_layer = [3, 4].iter().all(|&i| node.input(i).is_none_or(|statistic| !made.contains(statistic)));
        if node.is("", "BatchNormalization") && is_layer {
            node.attribute.retain(|a| a.name() != "training_mode");
            node.output.truncate(1);
        } else if node.is("", "Dropout") {
            node.input.truncate(1);
            node.attribute.retain(|a| a.name() != "seed");
        }
    }
}
