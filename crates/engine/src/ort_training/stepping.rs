//! Artifacts whose whole state is in the parameters of their checkpoint, as an engine of steps like any other.

use super::OrtTraining;
use crate::{Engine, Rates, State, StepEngine};
use gnp_base::Result;
use gnp_base::contract::STEP;
use gnp_tensor::{NotFinite, Port, Tensor};
use std::any::Any;
use std::fmt;
use std::path::Path;

/// ONNX Runtime's training API as an engine for step models: it trains artifacts that were made of the same model, with
/// the same optimizer in their training graph, and has the state that the step model has.
pub struct OrtTrainingStep {
    engine: OrtTraining,
    /// What is to live as long as the engine: the folder of the artifacts, say.
    _kept: Box<dyn Any + Send>,
}

impl fmt::Debug for OrtTrainingStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrtTrainingStep").finish_non_exhaustive()
    }
}

impl OrtTrainingStep {
    /// The engine of artifacts all of whose state is parameters. `kept` lives as long as it does.
    pub fn new(engine: OrtTraining, kept: impl Any + Send) -> Self {
        Self { engine, _kept: Box::new(kept) }
    }
}

impl Engine for OrtTrainingStep {
    fn batch_ports(&self) -> &[Port] {
        self.engine.batch_ports()
    }

    fn step_outputs(&self) -> &[String] {
        self.engine.step_outputs()
    }

    fn evaluate_outputs(&self) -> &[String] {
        self.engine.evaluate_outputs()
    }

    fn step(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>> {
        self.engine.step(batch, rates)
    }

    fn rehearse(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>> {
        self.engine.rehearse(batch, rates)
    }

    fn not_finite(&self) -> Option<&NotFinite> {
        self.engine.not_finite()
    }

    fn evaluate(&mut self, batch: &[Tensor]) -> Result<Vec<Tensor>> {
        self.engine.evaluate(batch)
    }

    fn save(&mut self, file: &Path) -> Result<()> {
        let state = self.state()?;
        state.check_finite()?;
        state.write(file)
    }
}

impl StepEngine for OrtTrainingStep {
    fn state(&self) -> Result<State> {
        let parameters = self.engine.parameters()?;
        Ok(parameters.into_iter().map(|(name, parameter)| (name.clone(), as_state(&name, parameter))).collect())
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        let port = |(name, tensor): (&str, &Tensor)| {
            Port::new(name, tensor.element(), tensor.shape().iter().copied().map(Some).collect::<Vec<_>>())
        };
        let ports: Vec<Port> = self.state()?.iter().map(port).collect();
        state.in_order_of(ports.iter())?;
        for (name, tensor) in state.iter() {
            match counted(name, tensor) {
                Some(steps) => {
                    self.engine.steps = steps;
                    self.engine.set_parameter(name, &Tensor::scalar(steps as f32))?;
                }
                None => self.engine.set_parameter(name, tensor)?,
            }
        }
        Ok(())
    }
}

/// A parameter as it is in a state: the counter, which a checkpoint has as a float, is a whole number there.
fn as_state(name: &str, parameter: Tensor) -> Tensor {
    match parameter.to_scalar() {
        Some(count) if name == STEP => Tensor::I64(ndarray::arr0(count as i64).into_dyn()),
        _ => parameter,
    }
}

/// The number of the step, where the tensor `name` of a state is it.
fn counted(name: &str, tensor: &Tensor) -> Option<i64> {
    match tensor {
        Tensor::I64(count) if name == STEP => count.first().copied(),
        _ => None,
    }
}
