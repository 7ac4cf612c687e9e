//! The evaluation model: loss and predictions of a forward model at given parameters.
//!
//! Inputs, in order: the data inputs; the labels, where the loss needs them; then, of the step model's state, what the
//! forward model has under the same name: parameters and statistics, each with its initializer. Outputs: [`LOSS`], then
//! the values that losses are taken of, then what is counted of the batch ([`Tally::named`]), and each of several losses.

use crate::pass;
use foldhash::HashSet;
use gnp_base::Result;
use gnp_base::contract::{LABELS, LOSS};
use gnp_gradient::loss::{Appended, Summed, Tally};
use gnp_model::graph::{Builder, Fact, Graph, Value};
use gnp_model::onnx::{DataType, Model};

/// What is evaluated.
#[derive(Clone, Copy, Debug)]
pub enum Evaluated<'a> {
    /// A loss that was put on predictions.
    Appended(&'a Appended, &'a Value, &'a Fact),
    /// Several losses.
    Summed(&'a Summed),
    /// The model's own loss.
    Scalar(&'a Value),
}

/// Declares inputs and outputs of the evaluation model.
pub fn assemble(model: &mut Model, mut graph: Graph, evaluated: Evaluated<'_>, state: &HashSet<&str>) {
    let fact = |t: &gnp_model::onnx::proto::TensorProto| Some(Fact::with_sizes(t.element()?, &t.dims));
    let initializers = graph.proto().initializer.iter().filter(|t| state.contains(t.name()));
    let fed: Vec<_> = initializers.filter_map(|t| Some(fact(t)?.info(t.name()))).collect();
    let scalar = Fact::with_sizes(DataType::Float, &[]);
    let (mut results, mut outputs) = (Vec::new(), vec![scalar.info(LOSS)]);
    match evaluated {
        Evaluated::Scalar(loss) => results.push((loss, LOSS.to_owned())),
        Evaluated::Appended(appended, predictions, fact) => {
            results.push((&appended.loss, LOSS.to_owned()));
            results.extend(appended.tally.iter().flat_map(Tally::named).map(|(name, value)| (value, name.to_owned())));
            outputs.push(fact.info(predictions));
            outputs.extend(results[1..].iter().map(|(_, name)| scalar.info(name)));
        }
        Evaluated::Summed(summed) => {
            results.push((&summed.loss, LOSS.to_owned()));
            let tally = summed.tally.iter().flat_map(Tally::named).map(|(name, value)| (value, name.to_owned()));
            results.extend(tally.chain(summed.each.iter().map(|(name, value)| (value, name.clone()))));
            outputs.extend(summed.predictions.iter().map(|(value, fact)| fact.info(value)));
            outputs.extend(results[1..].iter().map(|(_, name)| scalar.info(name)));
        }
    }
    super::step::name_results(&mut graph, &results);
    match evaluated {
        Evaluated::Appended(appended, ..) => graph.declare_inputs([appended.labels.info(LABELS)]),
        Evaluated::Summed(summed) => {
            graph.declare_inputs(summed.labels.iter().map(|(name, fact, _)| fact.info(name)));
        }
        Evaluated::Scalar(_) => {}
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
