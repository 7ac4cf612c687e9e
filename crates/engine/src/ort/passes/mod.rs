//! What is done to a graph when it is loaded: what depends on this machine, and so has no place in a file.

mod blocked;
mod reductions;

use super::api::Api;
use super::session_options::SessionOptions;
use crate::{Device, EngineOptions, Kernels, Layout};
use gnp_base::Result;
use gnp_model::onnx::Model;

/// The passes that a graph goes through.
pub(super) struct Passes {
    /// The number of channels in a block, where images are to be in blocks.
    block: Option<i64>,
    /// Whether functions are computed by our kernels.
    kernels: bool,
    /// Whether they are on a card.
    is_on_card: bool,
}

impl Passes {
    /// Those for this runtime on this machine.
    pub(super) fn of(api: &'static Api, session: &SessionOptions, options: &EngineOptions) -> Self {
        let on_processor = options.device == Device::Cpu && options.layout == Layout::Auto;
        let block = on_processor.then(|| blocked::probe::block(api, session)).flatten();
        Self { block, kernels: options.kernels == Kernels::Auto, is_on_card: session.has_kernels_on_card() }
    }

    /// `model` after all of them.
    ///
    /// # Errors
    /// Where the graph is not well-formed.
    pub(super) fn apply(&self, model: &Model) -> Result<Model> {
        let mut model = model.clone();
        if let Some(block) = self.block {
            blocked::apply(&mut model, block, self.kernels)?;
        }
        if self.is_on_card {
            reductions::apply(&mut model);
        }
        Ok(model)
    }
}
