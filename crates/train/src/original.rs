//! The model that a step model was made of, and back: trained weights in it.

use gnp_base::Result;
use gnp_engine::State;
use gnp_model::onnx::Model;
use gnp_step::emit::trained::Trained;
use gnp_step::rewrite::{self, StepConfig};
use gnp_step::weights::Edit;
use gnp_tensor::Tensor;
use std::collections::HashSet;

/// The model that trained weights go into.
#[derive(Clone, Debug)]
pub struct Original {
    model: Model,
    config: StepConfig,
}

impl Original {
    /// `model`, of which a step model was made with `config`.
    pub fn new(model: Model, config: StepConfig) -> Self {
        Self { model, config }
    }

    /// The model with the weights of `state`; the rest is as it was. No weight of the model is copied.
    ///
    /// # Errors
    /// Where a number of the state is NaN or infinite, or the model is another one than the step model was made of.
    pub fn with_weights(&self, state: &State) -> Result<Model> {
        state.check_finite()?;
        let mut trained = self.model.clone();
        rewrite::restore(&mut trained, tensors(state), &self.config)?;
        Ok(trained)
    }
}

impl Original {
    /// What adapters learned, by the names and in the shapes of PEFT, and the model's own tensors that trained or moved
    /// beside them; none where there are no adapters.
    ///
    /// # Errors
    /// Where a number of the state is NaN or infinite.
    pub fn adapters(&self, state: &State) -> Result<Option<State>> {
        let adapters = self.config.edits.iter().filter_map(Edit::adapter);
        let adapters: HashSet<String> = adapters.flat_map(|adapter| [adapter.a(), adapter.b()]).collect();
        if adapters.is_empty() {
            return Ok(None);
        }
        state.check_finite()?;
        let own: HashSet<&str> = self.model.graph.initializer.iter().map(|tensor| tensor.name()).collect();
        let is_learned = |name: &str| adapters.contains(name) || own.contains(name);
        let learned = state.iter().filter(|(name, _)| is_learned(name));
        Ok(Some(learned.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()))
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
