//! Gelu as exporters write it, x · ½(1 + erf(x/√2)), as the one operator that ONNX Runtime has for it.

use super::PASS;
use foldhash::HashMap;
use gnp_base::Result;
use gnp_model::graph::{Builder, Facts, Graph, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{MICROSOFT, NodeProto};
use std::f64::consts::SQRT_2;

/// Puts the runtime's Gelu in place of the last node of each, where it is of float32. The others are left for whoever
/// reads them, if someone does.
pub(super) fn fuse(graph: &mut Graph) -> Result<()> {
    let found = found(graph);
    let b = Builder::new(graph, PASS);
    b.replace_nodes(|node| {
        let Some(x) = node.output.first().and_then(|output| found.get(output.as_str())) else { return Ok(Some(node)) };
        b.set_scope(node.label());
        b.define(&node.output[0], b.node_in(MICROSOFT, "Gelu", &[x], vec![], b.fact(x)));
        Ok(None)
    })
}

/// The values that are Gelu of another, by their names, with the other.
fn found(graph: &Graph) -> HashMap<String, Value> {
    let makers = graph.nodes().iter().flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node)));
    let pattern = Pattern { makers: makers.collect(), facts: graph.facts() };
    let products = graph.nodes().iter().filter(|node| node.is("", "Mul"));
    products.filter_map(|node| Some((node.output.first()?.clone(), pattern.gelu_of(node)?))).collect()
}

struct Pattern<'a> {
    makers: HashMap<&'a str, &'a NodeProto>,
    facts: &'a Facts,
}

impl Pattern<'_> {
    /// The x that a product is the Gelu of: its factors, in any order, are x, ½ and 1 + erf(x/√2).
    fn gelu_of(&self, product: &NodeProto) -> Option<Value> {
        let x = self.operands(product).into_iter().flatten().find_map(|(one, other)| {
            let inner = self.maker(other, "Mul")?;
            self.operands(inner).into_iter().flatten().find_map(|(two, three)| {
                let factors = [[one, two, three], [two, one, three], [two, three, one]];
                factors
                    .into_iter()
                    .find_map(|[x, half, gate]| (self.is(half, 0.5) && self.is_gate(gate, x)).then_some(x))
            })
        })?;
        let is_float = self.facts.get(x).is_some_and(|fact| fact.element == DataType::Float);
        is_float.then(|| x.into())
    }

    /// Whether `gate` is 1 + erf(x/√2).
    fn is_gate(&self, gate: &str, x: &str) -> bool {
        let sum = self.maker(gate, "Add").map(|sum| self.operands(sum)).unwrap_or_default();
        sum.into_iter().flatten().any(|(erf, one)| {
            let scaled = self.maker(erf, "Erf").and_then(|erf| erf.input(0));
            self.is(one, 1.0) && scaled.is_some_and(|scaled| self.is_scaled(scaled, x))
        })
    }

    /// Whether `scaled` is x/√2.
    fn is_scaled(&self, scaled: &str, x: &str) -> bool {
        let quotient = self.maker(scaled, "Div").and_then(|node| Some((node.input(0)?, node.input(1)?)));
        let product = self.maker(scaled, "Mul").map(|product| self.operands(product)).unwrap_or_default();
        quotient.is_some_and(|(of, by)| of == x && self.is(by, SQRT_2))
            || product.into_iter().flatten().any(|(of, by)| of == x && self.is(by, 1.0 / SQRT_2))
    }

    fn maker(&self, value: &str, operator: &str) -> Option<&NodeProto> {
        self.makers.get(value).copied().filter(|node| node.is("", operator))
    }

    /// The operands of a commutative operator, in either order.
    fn operands<'n>(&self, node: &'n NodeProto) -> [Option<(&'n str, &'n str)>; 2] {
        let (a, b) = (node.input(0), node.input(1));
        [a.zip(b), b.zip(a)]
    }

    /// Whether `value` is this number, as a float.
    fn is(&self, value: &str, number: f64) -> bool {
        self.facts.number(value).is_some_and(|known| (known - number).abs() < 1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::Fact;
    use gnp_model::onnx::proto::{GraphProto, TensorProto};
    use gnp_model::testing::{TestNode, body, node};

    /// The operators of a graph from x to y once Gelu has been looked for, and the nodes that nobody reads removed.
    fn fused(nodes: &[TestNode], element: DataType) -> Vec<String> {
        let number =
            |name: &str, value: f32| TensorProto::raw(name, DataType::Float, &[], value.to_le_bytes().to_vec().into());
        let numbers = [("half", 0.5), ("one", 1.0), ("root", 2f32.sqrt()), ("inverse", 0.5f32.sqrt()), ("two", 2.0)];
        let initializer = numbers.map(|(name, value)| number(name, value)).into();
        let mut graph = Graph::new(GraphProto { initializer, ..body(&["x"], nodes, &["y"]) }).unwrap();
        graph.declare("x", Fact::with_sizes(element, &[4]));
        fuse(&mut graph).unwrap();
        graph.retain_needed();
        graph.nodes().iter().map(NodeProto::operator).collect()
    }

    fn exported(scaled: TestNode, last: [TestNode; 2]) -> Vec<TestNode> {
        let gate = [node("Erf", &["scaled"], &["erf"]), node("Add", &["one", "erf"], &["gate"])];
        [scaled].into_iter().chain(gate).chain(last).collect()
    }

    #[test]
    fn it_is_found_in_the_forms_that_exporters_write() {
        let divided = || node("Div", &["x", "root"], &["scaled"]);
        let multiplied = || node("Mul", &["inverse", "x"], &["scaled"]);
        let product = |a: &str, b: &str, y: &str| node("Mul", &[a, b], &[y]);
        for last in [
            [product("x", "gate", "p"), product("p", "half", "y")],
            [product("half", "x", "p"), product("p", "gate", "y")],
            [product("gate", "half", "p"), product("x", "p", "y")],
        ] {
            assert_eq!(fused(&exported(divided(), last.clone()), DataType::Float), ["com.microsoft.Gelu"]);
            assert_eq!(fused(&exported(multiplied(), last.clone()), DataType::Float), ["com.microsoft.Gelu"]);
            assert_eq!(fused(&exported(divided(), last), DataType::Float16).len(), 5);
        }
    }

    #[test]
    fn what_is_something_else_stays() {
        let last = || [node("Mul", &["x", "gate"], &["p"]), node("Mul", &["p", "half"], &["y"])];
        let other_scale = exported(node("Div", &["x", "two"], &["scaled"]), last());
        let other_way = exported(node("Div", &["root", "x"], &["scaled"]), last());
        let doubled = [node("Mul", &["x", "gate"], &["p"]), node("Mul", &["p", "two"], &["y"])];
        let other_factor = exported(node("Div", &["x", "root"], &["scaled"]), doubled);
        for nodes in [other_scale, other_way, other_factor] {
            assert_eq!(fused(&nodes, DataType::Float).len(), 5);
        }
    }
}
