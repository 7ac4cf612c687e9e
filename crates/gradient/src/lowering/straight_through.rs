//! Straight-through estimators (Bengio, Léonard, Courville, 2013): what is rounded, or looked up, in the forward pass
//! and skipped by the gradient.
//!
//! In PyTorch one writes `x + (q(x) − x).detach()`. An exported graph has no detach, and what is left, x + (q(x) − x),
//! has the derivative of q: zero where q rounds. No one writes that for another reason, so the pattern tells what was
//! meant.

use super::PASS;
use crate::autodiff::{Rule, rule};
use crate::whole::{DOMAIN, STRAIGHT_THROUGH, is_step};
use foldhash::HashMap;
use gnp_base::Result;
use gnp_model::graph::{Builder, Graph, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::NodeProto;
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// Where the gradient passes straight through an operator whose derivative is zero.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum StraightThrough {
    /// Where the graph computes x + (q(x) − x), which an estimator is exported as
    #[default]
    Auto,
    /// There, and through every Round, Floor, Ceil and Sign
    All,
    /// Nowhere
    Off,
}

/// Lets gradients pass where `choice` says; returns the labels of the nodes behind which they do.
pub(super) fn mark(graph: &mut Graph, choice: StraightThrough) -> Result<Vec<String>> {
    if choice == StraightThrough::Off {
        return Ok(vec![]);
    }
    let estimators = estimators(graph);
    let b = Builder::new(graph, PASS);
    let (mut marked, mut indices) = (Vec::new(), 0..);
    b.replace_nodes(|node| {
        let index = indices.next().unwrap_or_default();
        let source = match estimators.get(&index) {
            Some(source) => Some(source.clone()),
            None if choice == StraightThrough::All && is_step(&node) => node.input(0).map(Value::from),
            None => None,
        };
        let Some(x) = source else { return Ok(Some(node)) };
        b.set_scope(node.label());
        let fact = b.fact(&node.output[0].as_str().into());
        let inputs: Vec<Value> = node.input.iter().map(|input| input.as_str().into()).collect();
        let inputs: Vec<&Value> = inputs.iter().collect();
        let q = b.node(node.op_type(), &inputs, node.attribute.clone(), fact.clone());
        b.define(&node.output[0], b.node_in(DOMAIN, STRAIGHT_THROUGH, &[&x, &q], vec![], fact));
        marked.push(node.label().to_owned());
        Ok(None)
    })?;
    Ok(marked)
}

/// Nodes that compute x + (q − x), where q depends on x through an operator whose derivative is zero; with the x.
fn estimators(graph: &Graph) -> HashMap<usize, Value> {
    let makers: HashMap<&str, usize> =
        graph.nodes().iter().enumerate().flat_map(|(i, n)| n.output.iter().map(move |o| (o.as_str(), i))).collect();
    let mut found = HashMap::default();
    for (index, node) in graph.nodes().iter().enumerate().filter(|(_, node)| node.is("", "Add")) {
        for (x, difference) in [(0, 1), (1, 0)] {
            let (Some(x), Some(difference)) = (node.input(x), node.input(difference)) else { continue };
            let minus = makers.get(difference).map(|&i| &graph.nodes()[i]).filter(|node| node.is("", "Sub"));
            let Some(q) = minus.filter(|minus| minus.input(1) == Some(x)).and_then(|minus| minus.input(0)) else {
                continue;
            };
            let between = graph.dependents([x], |_| false).and(&graph.ancestors([q]));
            if between.iter().any(|i| stops(&graph.nodes()[i])) {
                found.insert(index, x.into());
            }
        }
    }
    found
}

/// Whether no gradient goes through a node.
fn stops(node: &NodeProto) -> bool {
    let to_whole = || DataType::try_from(node.int("to", 0) as i32).is_ok_and(|to| !to.as_str_name().contains("FLOAT"));
    matches!(rule(node.domain(), node.op_type()), Some(Rule::Zero)) || node.is("", "Cast") && to_whole()
}

/// y = q
pub(super) fn expand(node: &NodeProto, b: &Builder<'_>) {
    if let (Some(q), Some(name)) = (node.input(1).map(Value::from), node.output.first()) {
        b.define(name, &q);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::testing::{TestNode, body, node};

    fn marked(nodes: &[TestNode], choice: StraightThrough) -> (Vec<String>, Graph) {
        let mut graph = Graph::new(body(&["x"], nodes, &["y"])).unwrap();
        let passed = mark(&mut graph, choice).unwrap();
        (passed, graph)
    }

    fn estimator(order: [&str; 2]) -> Vec<TestNode> {
        vec![
            node("Round", &["x"], &["q"]),
            node("Sub", &["q", "x"], &["d"]),
            node("Add", &order, &["s"]),
            node("Neg", &["s"], &["y"]),
        ]
    }

    #[test]
    fn an_estimator_is_found_in_either_order() {
        for order in [["x", "d"], ["d", "x"]] {
            let (passed, graph) = marked(&estimator(order), StraightThrough::Auto);
            assert_eq!(passed, ["s"]);
            let node = graph.nodes().iter().find(|node| node.is(DOMAIN, STRAIGHT_THROUGH)).unwrap();
            assert_eq!((&*node.input[0], &*node.output[0]), ("x", "s"));
            assert!(marked(&estimator(order), StraightThrough::Off).0.is_empty());
        }
    }

    #[test]
    fn what_rounds_nothing_is_no_estimator() {
        let nodes = [node("Tanh", &["x"], &["q"]), node("Sub", &["q", "x"], &["d"]), node("Add", &["x", "d"], &["y"])];
        assert!(marked(&nodes, StraightThrough::Auto).0.is_empty());
        let other = [node("Round", &["x"], &["q"]), node("Sub", &["x", "q"], &["d"]), node("Add", &["x", "d"], &["y"])];
        assert!(marked(&other, StraightThrough::Auto).0.is_empty());
    }

    #[test]
    fn every_step_may_pass() {
        let nodes = [node("Floor", &["x"], &["q"]), node("Ceil", &["q"], &["y"])];
        assert_eq!(marked(&nodes, StraightThrough::All).0, ["q", "y"]);
        assert!(marked(&nodes, StraightThrough::Auto).0.is_empty());
    }
}
