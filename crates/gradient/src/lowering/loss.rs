//! The losses of the standard, in what they are made of.

use super::{Lowering, required};
use gnp_base::{Error, Result};
use gnp_model::graph::{Fact, Value};
use gnp_model::onnx::proto::{AttributeProto, NodeProto};

impl Lowering<'_> {
    /// The negative log-likelihood of log softmax over the axis of the classes, 1.
    ///
    /// [SoftmaxCrossEntropyLoss](https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html), operator set 13.
    pub(super) fn cross_entropy(&mut self, node: &NodeProto) -> Result<()> {
        let scores = required(node, 0)?;
        let fact = self.b.fact(&scores);
        let log_probability = self.b.node("LogSoftmax", &[&scores], vec![AttributeProto::int("axis", 1)], fact);
        let loss = self.likelihood(node, &log_probability)?;
        self.define(node, 0, loss);
        self.define(node, 1, log_probability);
        Ok(())
    }

    /// [NegativeLogLikelihoodLoss](https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html), operator set
    /// 13.
    pub(super) fn negative_log_likelihood(&mut self, node: &NodeProto) -> Result<()> {
        let log_probability = required(node, 0)?;
        let loss = self.likelihood(node, &log_probability)?;
        self.define(node, 0, loss);
        Ok(())
    }

    /// −w · log p of the class that the target names, w = weight of the class, 0 where the target is to be ignored;
    /// reduced by sum, mean (divided by the sum of w) or not at all. The mean over nothing is not a number, as in
    /// PyTorch.
    fn likelihood(&mut self, node: &NodeProto, log_probability: &Value) -> Result<Value> {
        let (mut target, weights) = (required(node, 1)?, node.input(2).map(Value::from));
        let b = self.b;
        let counted = node.attribute("ignore_index").map(|ignored| {
            let same = b.compare("Equal", &target, b.number(ignored.i() as f64, &target));
            b.node("Not", &[&same], vec![], b.fact(&same))
        });
        if let Some(counted) = &counted {
            // Any class will do where it does not count.
            target = b.mul(&target, b.mask(counted, &target));
        }
        let index = b.unsqueeze(&target, &[1]);
        let fact = Fact { element: b.fact(log_probability).element, shape: b.fact(&index).shape.clone() };
        let axis = vec![AttributeProto::int("axis", 1)];
        let picked = b.node("GatherElements", &[log_probability, &index], axis, fact);
        let loss = b.neg(b.squeeze(&picked, &[1]));
        let mask = counted.map(|counted| b.mask(&counted, log_probability));
        let weight = match (weights.map(|weights| b.gather(&weights, &target, 0)), mask) {
            (Some(weight), Some(mask)) => Some(b.mul(&weight, &mask)),
            (weight, mask) => weight.or(mask),
        };
        let weighted = weight.as_ref().map_or_else(|| loss.clone(), |weight| b.mul(&loss, weight));
        match (node.string("reduction", "mean"), weight) {
            ("none", _) => Ok(weighted),
            ("sum", _) => Ok(b.reduce_all("ReduceSum", &weighted)),
            ("mean", None) => Ok(b.reduce_all("ReduceMean", &weighted)),
            ("mean", Some(weight)) => {
                let (sum, count) = (b.reduce_all("ReduceSum", &weighted), b.reduce_all("ReduceSum", &weight));
                Ok(b.div(&sum, &count))
            }
            (other, _) => Err(Error::input(format!("its reduction is `{other}`; expected none, sum or mean"))),
        }
    }
}
