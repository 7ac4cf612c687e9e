//! Dropout that drops.

use super::{Dropout, Lowering, Random, required};
use gnp_base::{Error, Result};
use gnp_model::graph::{Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{AttributeProto, NodeProto};

/// The least number of 32 bits with a sign, and how many there are.
const LEAST: f64 = -2_147_483_648.0;
const RANGE: f64 = 4_294_967_296.0;

/// Lets the Dropout nodes in the bodies of a node pass on what they are given.
pub(super) fn turn_off_in_bodies(node: &mut NodeProto) {
    for body in node.subgraphs_mut() {
        for inner in &mut body.node {
            if inner.is("", "Dropout") && inner.output.len() == 1 {
                inner.op_type = Some("Identity".into());
                inner.input.truncate(1);
                inner.attribute.clear();
            }
            turn_off_in_bodies(inner);
        }
    }
}

impl Lowering<'_> {
    /// y = x ∘ m / (1 − ratio), with m = 1 where a draw keeps the element, 0 with probability `ratio`. m does not
    /// depend on x, so that evaluations at other parameters share it.
    ///
    /// [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html), operator set 13.
    pub(super) fn dropout(&mut self, node: &NodeProto) -> Result<()> {
        let x = required(node, 0)?;
        let ratio = node.input(1).map(Value::from);
        let known = ratio.as_ref().map_or(Some(0.5), |ratio| self.b.known_number(ratio));
        if self.settings.dropout == Dropout::Off || known == Some(0.0) {
            return self.pass_through(node, &x);
        }
        if let Some(ratio) = known.filter(|ratio| !(0.0..1.0).contains(ratio)) {
            return Err(Error::input(format!("its ratio is {ratio}; expected 0 ≤ ratio < 1")));
        }
        let (mask, keep) = match self.settings.random {
            Random::Counter => self.mask(&x, ratio.as_ref(), known),
            Random::Engine => self.mask_by_engine(node, &x, ratio.as_ref()),
        };
        self.define(node, 0, self.b.mul(&x, &mask));
        self.define(node, 1, keep);
        Ok(())
    }

    /// m / (1 − ratio), and which elements are kept.
    fn mask(&mut self, x: &Value, ratio: Option<&Value>, known: Option<f64>) -> (Value, Value) {
        let keep = self.keep(x, ratio, known);
        let b = self.b;
        let mask = b.mask(&keep, x);
        let mask = match (known, ratio) {
            (Some(ratio), _) => b.scale(&mask, 1.0 / (1.0 - ratio)),
            (None, Some(ratio)) => b.div(&mask, b.minus_from(1.0, b.cast_like(ratio, x))),
            (None, None) => mask,
        };
        (mask, keep)
    }

    /// Which elements of a tensor shaped like `x` a draw from the seed and the step keeps: those whose number of 32
    /// bits is not among the `ratio` · 2³² lowest.
    fn keep(&mut self, x: &Value, ratio: Option<&Value>, known: Option<f64>) -> Value {
        let bits = self.random.bits_like(x, self.b);
        let b = self.b;
        let threshold = match (known, ratio) {
            (None, Some(ratio)) => {
                b.cast(b.plus(b.scale(b.cast(ratio, DataType::Float), RANGE), LEAST), DataType::Int32)
            }
            _ => b.number_of((known.unwrap_or(0.5) * RANGE + LEAST).round().min(-LEAST - 1.0), DataType::Int32),
        };
        b.compare("GreaterOrEqual", &bits, &threshold)
    }

    /// The same by the engine's own Dropout, of ones: so it does not depend on `x`. A node without a seed is given its
    /// number, so that a run can be repeated.
    fn mask_by_engine(&mut self, node: &NodeProto, x: &Value, ratio: Option<&Value>) -> (Value, Value) {
        let seed = node.int("seed", self.random.site().into());
        let b = self.b;
        let ones = b.filled(1.0, x);
        let ratio = ratio.cloned().unwrap_or_else(|| b.number_of(0.5, DataType::Float));
        let training = b.number_of(1.0, DataType::Bool);
        let data = b.fact(x);
        let keep = Fact { element: DataType::Bool, shape: data.shape.clone() }.into();
        let attributes = vec![AttributeProto::int("seed", seed)];
        let mut outputs = b.nodes("Dropout", &[&ones, &ratio, &training], attributes, vec![data, keep]);
        let keep = outputs.swap_remove(1);
        (outputs.swap_remove(0), keep)
    }

    fn pass_through(&mut self, node: &NodeProto, x: &Value) -> Result<()> {
        self.define(node, 0, x.clone());
        if node.output.get(1).is_some_and(|mask| !mask.is_empty()) {
            let b = self.b;
            let zeros = b.zeros_like(x);
            self.define(node, 1, b.compare("Equal", &zeros, &zeros));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::autodiff::Gradients;
    use crate::lowering::tests::tensor_info;
    use crate::lowering::{Random, Settings, lower};
    use gnp_model::graph::Graph;
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::{GraphProto, NodeProto, TensorProto};
    use gnp_model::testing::node;

    #[test]
    fn a_ratio_of_0_draws_nothing() {
        for random in [Random::Counter, Random::Engine] {
            let nodes = [node("Dropout", &["x", "ratio"], &["d"]), node("Neg", &["d"], &["y"])];
            let proto = GraphProto {
                input: vec![tensor_info("x", &[2, 3])],
                node: nodes.map(NodeProto::from).to_vec(),
                output: vec![tensor_info("y", &[2, 3])],
                initializer: vec![TensorProto::raw("ratio", DataType::Float, &[], vec![0; 4].into())],
                ..Default::default()
            };
            let mut graph = Graph::new(proto).unwrap();
            let settings = Settings { random, ..Settings::default() };
            let lowered = lower(&mut graph, &settings, Gradients::Standard, &Default::default()).unwrap();
            graph.remove_unused();
            assert!(!lowered.draws);
            let left: Vec<_> = graph.nodes().iter().map(NodeProto::op_type).collect();
            assert_eq!(left, ["Identity", "Neg"]);
        }
    }
}
