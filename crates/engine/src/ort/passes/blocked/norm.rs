//! LayerNormalizations over the channels of images, by our kernel, which takes them in blocks.

use super::Blocked;
use gnp_base::contract::functions::{BLOCKED, CHANNELS_FIRST};
use gnp_model::graph::Value;
use gnp_model::onnx::proto::{AttributeProto, NodeProto};
use std::sync::Arc;

impl Blocked<'_> {
    /// A LayerNormalization, or the gradient of one: the first `images` inputs are images, the first output is one.
    pub(super) fn norm(&mut self, node: &NodeProto, images: usize) -> Option<()> {
        let inputs = node.input.get(..images)?;
        if node.int(CHANNELS_FIRST, 0) == 0 || !inputs.iter().any(|image| self.is_only_blocked(image)) {
            return None;
        }
        let image = self.fact_in_blocks(&self.b.fact(&inputs[0].as_str().into()))?;
        let read = |(place, name): (usize, &String)| {
            let value = Value::from(name.as_str());
            if place < images { self.blocked(&value) } else { Some(self.plain(&value)) }
        };
        let inputs: Vec<Value> = node.input.iter().enumerate().map(read).collect::<Option<_>>()?;
        let further = node.output[1..].iter().map(|output| self.b.fact(&output.as_str().into()));
        let facts = [Arc::new(image)].into_iter().chain(further).map(Some).collect();
        let blocked = AttributeProto::int(BLOCKED, self.block);
        let attributes = node.attribute.iter().cloned().chain([blocked]).collect();
        let inputs: Vec<&Value> = inputs.iter().collect();
        let outputs = self.b.nodes_in(node.domain(), node.op_type(), &inputs, attributes, facts);
        let outputs: Vec<Value> = outputs.into_iter().flatten().collect();
        self.define(&node.output[0], outputs[0].clone());
        self.b.define_all(node.output.iter().map(String::as_str).zip(&outputs).skip(1));
        Some(())
    }
}
