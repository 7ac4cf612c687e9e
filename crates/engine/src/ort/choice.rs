//! Which branch a step takes, told by the processor before the step.

use super::api::{Api, c_string};
use super::passes::branches::Branches;
use super::session::{Memory, Session, c_names};
use super::session_options::SessionOptions;
use super::value::Value;
use crate::StepModel;
use foldhash::HashSet;
use gnp_base::Result;
use gnp_model::onnx::Model;
use gnp_tensor::Tensor;
use std::ffi::CString;
use std::mem;

/// The condition of a step model's branches. What of the state it depends on is kept here too, and goes on with every
/// step that is taken.
pub(super) struct Choice {
    api: &'static Api,
    session: Session,
    condition: CString,
    /// The hyperparameters that it takes, by their index.
    hyperparameters: Vec<(usize, CString)>,
    /// The parts of the state that it takes, by their index.
    state: Vec<(usize, CString)>,
    next: Vec<CString>,
    /// The values of these parts.
    values: Vec<Value<'static>>,
    /// What they are after the step that was asked about last.
    next_values: Vec<Value<'static>>,
}

impl Choice {
    /// What tells the branches of `model` apart, and the models of both. `options` are for the processor.
    pub(super) fn new(
        api: &'static Api,
        branches: Branches,
        model: &StepModel,
        options: &SessionOptions,
    ) -> Result<(Self, [Model; 2])> {
        let Branches { condition, name, hyperparameters, state, models } = branches;
        let fed: HashSet<&str> = state.iter().map(|&index| model.state[index].port.name.as_str()).collect();
        let session = Session::of_model(api, condition, &fed, options)?;
        let next = c_names(state.iter().map(|&index| model.state[index].next.as_str()))?;
        let hyperparameter = |index: usize| Ok((index, c_string(&model.hyperparameters[index].name)?));
        let slot = |index: usize| Ok((index, c_string(&model.state[index].port.name)?));
        let new = Self {
            api,
            session,
            condition: c_string(&name)?,
            hyperparameters: hyperparameters.into_iter().map(hyperparameter).collect::<Result<_>>()?,
            state: state.into_iter().map(slot).collect::<Result<_>>()?,
            next,
            values: Vec::new(),
            next_values: Vec::new(),
        };
        Ok((new, models))
    }

    /// Goes on from a state, whose tensors are in the order of the slots.
    pub(super) fn set_state(&mut self, tensors: &[&Tensor]) -> Result<()> {
        let copies = self.state.iter().map(|(index, _)| Value::copy_of(self.api, tensors[*index]));
        self.values = copies.collect::<Result<_>>()?;
        Ok(())
    }

    /// Whether the condition holds for a step with the hyperparameters `given`, by their index.
    pub(super) fn holds(&mut self, given: &[(usize, Tensor)]) -> Result<bool> {
        let mut fed = Vec::with_capacity(self.hyperparameters.len());
        for (index, name) in &self.hyperparameters {
            if let Some((_, tensor)) = given.iter().find(|(known, _)| known == index) {
                fed.push((name, Value::of(self.api, tensor)?));
            }
        }
        let mut run = self.session.bind()?;
        for (name, value) in &fed {
            run.input(name, value)?;
        }
        for ((_, name), value) in self.state.iter().zip(&self.values) {
            run.input(name, value)?;
        }
        for name in std::iter::once(&self.condition).chain(&self.next) {
            run.output(name, &Memory::host(self.api))?;
        }
        run.run(None)?;
        let mut returned = run.returned()?;
        self.next_values = returned.split_off(1);
        returned[0].boolean()
    }

    /// The step that was asked about last was taken.
    pub(super) fn go_on(&mut self) {
        mem::swap(&mut self.values, &mut self.next_values);
    }
}
