//! Steps that are recorded once, and then given to a card as a whole: CUDA graphs.
//!
//! What a recorded step reads and writes has to stay where it was: the state alternates between two places, so there
//! are two recordings, and the batch, the hyperparameters and the outputs have places of their own. ONNX Runtime
//! records by itself in the first run with a number, and repeats the recording of that number in all later ones
//! (`gpu_graph_id` in `onnxruntime_run_options_config_keys.h`; with -1 a run is an ordinary one).

use super::api::Api;
use super::device_memory::DeviceMemory;
use super::session::RunOptions;
use super::value::Value;
use crate::StepModel;
use gnp_base::Result;
use gnp_tensor::Tensor;

/// Has ONNX Runtime record a run under a number, or not at all.
pub(super) struct Numbers {
    /// By which place of the state is read.
    recorded: [RunOptions; 2],
    /// For a run that is not recorded.
    ordinary: RunOptions,
}

impl Numbers {
    pub(super) fn new(api: &'static Api) -> Result<Self> {
        let number = |number| RunOptions::new(api, &[(c"gpu_graph_id", number)]);
        Ok(Self { recorded: [number(c"1")?, number(c"2")?], ordinary: number(c"-1")? })
    }

    /// For a step that reads the state's place `current`.
    pub(super) fn of(&self, current: usize) -> &RunOptions {
        &self.recorded[current]
    }

    pub(super) fn ordinary(&self) -> &RunOptions {
        &self.ordinary
    }
}

/// Where a recorded step finds a batch and hyperparameters, and leaves what it returns.
pub(super) struct Places {
    shapes: Vec<Vec<usize>>,
    pub(super) batch: Vec<Value<'static>>,
    pub(super) hyperparameters: Vec<Value<'static>>,
    pub(super) outputs: Vec<Value<'static>>,
    /// What is in the places of the hyperparameters.
    written: Vec<Option<Tensor>>,
}

impl Places {
    /// For steps with batches like `batch`, which return tensors like `returned`.
    pub(super) fn new(memory: &DeviceMemory, model: &StepModel, batch: &[Tensor], returned: &[Tensor]) -> Result<Self> {
        memory.enter()?;
        let place = |tensor: &Tensor| memory.value(tensor.element(), tensor.shape());
        let places = |tensors: &[Tensor]| tensors.iter().map(place).collect::<Result<Vec<_>>>();
        Ok(Self {
            shapes: shapes(batch),
            batch: places(batch)?,
            hyperparameters: model.hyperparameters.iter().map(|h| place(&h.default)).collect::<Result<_>>()?,
            outputs: places(returned)?,
            written: vec![None; model.hyperparameters.len()],
        })
    }

    /// The shapes of the batch.
    pub(super) fn shapes(&self) -> &[Vec<usize>] {
        &self.shapes
    }

    /// Whether a step with `batch` can be the recorded one.
    pub(super) fn fit(&self, batch: &[Tensor]) -> bool {
        self.shapes == shapes(batch)
    }

    /// Puts a batch and hyperparameters there: those `given`, by their index, and the model's own.
    pub(super) fn fill(
        &mut self,
        memory: &DeviceMemory,
        model: &StepModel,
        batch: &[Tensor],
        given: &[(usize, Tensor)],
    ) -> Result<()> {
        memory.enter()?;
        for (tensor, place) in batch.iter().zip(&self.batch) {
            memory.write(tensor, place)?;
        }
        for (index, place) in self.hyperparameters.iter().enumerate() {
            let given = given.iter().find(|(known, _)| *known == index).map(|(_, tensor)| tensor);
            let tensor = given.unwrap_or(&model.hyperparameters[index].default);
            if self.written[index].as_ref() != Some(tensor) {
                self.written[index] = None;
                memory.write(tensor, place)?;
                self.written[index] = Some(tensor.clone());
            }
        }
        Ok(())
    }

    /// What the step has left.
    pub(super) fn returned(&self, memory: &DeviceMemory) -> Result<Vec<Tensor>> {
        self.outputs.iter().map(|value| memory.read(value)).collect()
    }
}

/// The shape of each tensor.
pub(super) fn shapes(batch: &[Tensor]) -> Vec<Vec<usize>> {
    batch.iter().map(|tensor| tensor.shape().to_vec()).collect()
}
