//! What is done to a graph when it is loaded: what depends on this machine, and so has no place in a file.

mod blocked;
pub(super) mod branches;
pub(super) mod recordable;
mod reductions;
mod rounded;

use super::api::Api;
use super::session_options::SessionOptions;
use crate::half::half_of;
use crate::{Device, EngineOptions, HalfPrecision, Kernels, Layout};
use gnp_base::Result;
use gnp_model::onnx::proto::{GraphProto, NodeProto};
use gnp_model::onnx::{DataType, Model};

/// The passes that a graph goes through.
pub(super) struct Passes {
    /// The number of channels in a block, where images are to be in blocks.
    block: Option<i64>,
    /// Whether functions are computed by our kernels.
    kernels: bool,
    /// Whether they are on a card.
    is_on_card: bool,
    /// Whether float16 is emulated.
    rounds: bool,
}

impl Passes {
    /// Those for this runtime on this machine.
    pub(super) fn of(api: &'static Api, session: &SessionOptions, options: &EngineOptions) -> Self {
        let on_processor = options.device == Device::Cpu && options.layout == Layout::Auto;
        let block = on_processor.then(|| blocked::probe::block(api, session)).flatten();
        let rounds = options.device == Device::Cpu && options.half == HalfPrecision::Emulated;
        Self { block, kernels: options.kernels == Kernels::Auto, is_on_card: session.has_kernels_on_card(), rounds }
    }

    /// `model` after all of them.
    ///
    /// # Errors
    /// Where the graph is not well-formed.
    pub(super) fn apply(&self, model: &Model) -> Result<Model> {
        let mut model = model.clone();
        if self.rounds && half_of(&model) == Some(DataType::Float16) {
            rounded::apply(&mut model);
        }
        if let Some(block) = self.block {
            blocked::apply(&mut model, block, self.kernels)?;
        }
        if self.is_on_card {
            reductions::apply(&mut model);
        }
        Ok(model)
    }

    /// How images lie in memory in `model`, after all passes; none where there are no convolutions.
    pub(super) fn layout(&self, model: &Model) -> Option<String> {
        let of_domain = |domain| convolutions(&model.graph, domain);
        match (of_domain(blocked::NCHWC), of_domain(""), self.block) {
            (0, 0, _) => None,
            (1.., _, Some(block)) => Some(format!("images in blocks of {block} channels")),
            _ => Some("images as the model has them".to_owned()),
        }
    }
}

/// How many convolutions of `domain` there are, those in bodies of nodes among them.
fn convolutions(graph: &GraphProto, domain: &str) -> usize {
    let of_node = |node: &NodeProto| {
        usize::from(node.is(domain, "Conv")) + node.subgraphs().map(|body| convolutions(body, domain)).sum::<usize>()
    };
    graph.node.iter().map(of_node).sum()
}
