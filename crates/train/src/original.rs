//! The model that a step model was made of, and back: trained weights in it.

use gnp_base::Result;
use gnp_engine::State;
use gnp_model::onnx::Model;
use gnp_step::emit::step::Renames;
use gnp_step::emit::trained::Trained;
use gnp_step::rewrite::{self, StepConfig};
use gnp_step::weights::Edit;
use gnp_tensor::Tensor;

/// The model that trained weights go into.
#[derive(Clone, Debug)]
pub struct Original {
    model: Model,
    edits: Vec<Edit>,
    renames: Renames,
}

impl Original {
    /// `model`, of which a step model was made with `config`.
    pub fn new(model: Model, config: StepConfig) -> Self {
        Self { model, edits: config.edits, renames: config.renames }
    }

    /// The model with the weights of `state`; the rest is as it was. No weight of the model is copied.
    ///
    /// # Errors
    /// Where a number of the state is NaN or infinite, or the model is another one than the step model was made of.
    pub fn with_weights(&self, state: &State) -> Result<Model> {
        state.check_finite()?;
        let mut trained = self.model.clone();
        rewrite::restore(&mut trained, tensors(state), &self.edits, &self.renames)?;
        Ok(trained)
    }
}

/// The float tensors of a state.
fn tensors(state: &State) -> Vec<Trained> {
    let tensors = state.iter().filter_map(|(name, tensor)| {
        let Tensor::F32(array) = tensor else { return None };
        let payload = tensor.to_le_bytes().into_owned().into();
        let dims = array.shape().iter().map(|&size| size as i64).collect();
        Some(Trained { name: name.to_owned(), dims, payload })
    });
    tensors.collect()
}
