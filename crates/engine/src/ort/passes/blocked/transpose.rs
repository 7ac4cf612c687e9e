//! Images whose channels come last, [N, H, W, C], from blocks and into blocks: runs of a block are moved as they are,
//! and no image in the model's own order is made in between.

use super::Blocked;
use foldhash::HashSet;
use gnp_base::contract::functions;
use gnp_model::graph::{Dim, Value};
use gnp_model::onnx::proto::{GraphProto, NodeProto};

impl Blocked<'_> {
    /// [N, C, H, W] to [N, H, W, C], or back.
    pub(super) fn transpose(&mut self, node: &NodeProto) -> Option<()> {
        match node.ints("perm")? {
            [0, 2, 3, 1] => self.channels_to_the_end(node),
            [0, 3, 1, 2] => self.channels_from_the_end(node),
            _ => None,
        }
    }

    /// Of an image that is in blocks alone.
    fn channels_to_the_end(&mut self, node: &NodeProto) -> Option<()> {
        let image = node.input(0).filter(|image| self.is_only_blocked(image))?;
        let blocked = self.blocked(&image.into())?;
        let moved = self.b.transpose(&blocked, &[0, 2, 3, 1, 4]);
        let output = Value::from(node.output[0].as_str());
        self.b.define(&output, self.b.reshape_like(&moved, &output));
        Some(())
    }

    /// To an image that a convolution reads.
    fn channels_from_the_end(&mut self, node: &NodeProto) -> Option<()> {
        let output = node.output[0].as_str();
        let [channels, height, width] = self.image(output).filter(|_| self.convolved.contains(output))?;
        let batch = self.b.fact(&output.into()).dim(0)?.clone();
        let x = self.plain(&node.input(0)?.into());
        let sizes = [height, width, channels / self.block, self.block].map(Dim::Known);
        let parts = self.b.reshape_dims(&x, [vec![batch], sizes.to_vec()].concat())?;
        let blocked = self.b.transpose(&parts, &[0, 3, 1, 2, 4]);
        self.define(output, blocked);
        Some(())
    }
}

/// The values that convolutions and their gradients read as images, in bodies too.
pub(super) fn convolved(graph: &GraphProto) -> HashSet<String> {
    let mut found = HashSet::default();
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        for node in &graph.node {
            let images = match (node.domain(), functions::kind_of(node.op_type())) {
                ("", "Conv") | (functions::DOMAIN, functions::CONV_GRAD_INPUT) => 1,
                (functions::DOMAIN, functions::CONV_GRAD_WEIGHT) => 2,
                _ => 0,
            };
            found.extend(node.input.iter().take(images).cloned());
            graphs.extend(node.subgraphs());
        }
    }
    found
}
