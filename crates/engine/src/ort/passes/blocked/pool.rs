//! Pools of images in blocks, and the gradient of a maximum.

use super::convolution::with_blocks;
use super::{Blocked, NCHWC};
use gnp_model::graph::Value;
use gnp_model::onnx::proto::NodeProto;

impl Blocked<'_> {
    /// A pool over an image that is in blocks alone, by ONNX Runtime's operator. It has one output.
    pub(super) fn pool(&mut self, node: &NodeProto) -> Option<()> {
        let x = node.input(0).filter(|x| self.is_only_blocked(x))?;
        let has_more = node.output.iter().skip(1).any(|output| !output.is_empty());
        if has_more || self.image(&node.output[0]).is_none() {
            return None;
        }
        let blocked = self.blocked(&x.into())?;
        let packed = self.fold(&blocked);
        let attributes = node.attribute.iter().filter(|a| a.name() != "storage_order").cloned().collect();
        let fact = self.b.fact(&node.output[0].as_str().into());
        let pooled = self.b.node_in(NCHWC, node.op_type(), &[&packed], attributes, fact);
        self.define_packed(&node.output[0], &pooled)
    }

    /// The gradient of a maximum by our kernel, which takes images in blocks.
    pub(super) fn max_pool_grad(&mut self, node: &NodeProto) -> Option<()> {
        let [x, dy] = [node.input(0)?, node.input(1)?].map(Value::from);
        if !self.kernels || ![&x, &dy].into_iter().any(|image| self.is_only_blocked(image)) {
            return None;
        }
        self.image(&dy)?;
        let fact = self.fact_in_blocks(&self.b.fact(&x))?;
        let (x, dy) = (self.blocked(&x)?, self.blocked(&dy)?);
        let attributes = with_blocks(node, &[self.block; 2]);
        let dx = self.b.node_in(node.domain(), node.op_type(), &[&x, &dy], attributes, fact);
        self.define(&node.output[0], dx);
        Some(())
    }
}
