//! Step models on ONNX Runtime, any build of it: the state stays on the device from step to step.
//!
//! Every run binds values rather than copying them: the outputs `<state>.next` of one step are the state inputs of the
//! next, in the memory that the device computed them in. [`OrtTraining`](super::OrtTraining) shares what lies beneath.

pub(crate) mod api;
mod copying;
mod passes;
mod provider;
mod session;
pub(crate) mod session_options;
pub(crate) mod value;
mod weights;

use super::runtime::Runtime;
use super::step_model::{EvalModel, no_evaluation, read_names};
use super::{Device, Engine, EngineOptions, Rates, State, StepEngine, StepModel};
use api::Api;
use copying::copying_model;
use foldhash::HashSet;
use gnp_base::{Error, Result};
use gnp_model::onnx::Model;
use gnp_tensor::{NotFinite, Port, Tensor, check_batch, finite};
use passes::Passes;
use prost::Message as _;
use session::{Memory, Session, c_names};
use session_options::SessionOptions;
use std::ffi::CString;
use std::path::Path;
use value::Value;

/// A training run of a step model on ONNX Runtime.
pub struct Ort {
    api: &'static Api,
    options: SessionOptions,
    device: Device,
    memory: Memory,
    model: StepModel,
    names: Names,
    step: Session,
    eval: Option<Eval>,
    /// One value a slot, where the device computes.
    state: Vec<Value<'static>>,
    not_finite: Option<NotFinite>,
    seed: i64,
}

/// The names of a step model's inputs and outputs, as ONNX Runtime takes them.
struct Names {
    batch: Vec<CString>,
    hyperparameters: Vec<CString>,
    state: Vec<CString>,
    outputs: Vec<CString>,
    next: Vec<CString>,
    /// Of each hyperparameter, whether the graph reads it.
    hyperparameter_is_read: Vec<bool>,
    /// Of each part of the state, whether the graph reads it.
    state_is_read: Vec<bool>,
}

impl Names {
    /// The names of `model`, which is the one in `file`.
    fn of(model: &StepModel, file: &Model) -> Result<Self> {
        let read = read_names(file);
        Ok(Self {
            hyperparameter_is_read: model.hyperparameters.iter().map(|h| read.contains(&*h.name)).collect(),
            state_is_read: model.state.iter().map(|slot| read.contains(&*slot.port.name)).collect(),
            batch: c_names(model.batch.iter().map(|port| port.name.as_str()))?,
            hyperparameters: c_names(model.hyperparameters.iter().map(|h| h.name.as_str()))?,
            state: c_names(model.state.iter().map(|slot| slot.port.name.as_str()))?,
            outputs: c_names(model.outputs.iter().map(String::as_str))?,
            next: c_names(model.state.iter().map(|slot| slot.next.as_str()))?,
        })
    }
}

struct Eval {
    model: EvalModel,
    session: Session,
    outputs: Vec<CString>,
}

impl Ort {
    /// Loads the step model `file` into `runtime`, and `eval`, what it is evaluated with. Training begins with the
    /// state in the model. Neither need be in a file; external data is where the models' paths say.
    ///
    /// A process can load one ONNX Runtime; every engine in it must use that one.
    ///
    /// # Errors
    /// Where the runtime does not load, has no provider for the device, or is not the process's; where `file` is no
    /// step model, or `eval` does not fit it; where the runtime refuses either.
    pub fn load(runtime: &Runtime, file: &Model, eval: Option<&Model>, options: &EngineOptions) -> Result<Self> {
        let api = Api::load(runtime)?;
        let model = StepModel::recognise(file)?;
        let session_options = SessionOptions::new(api, runtime, options)?;
        let passes = Passes::of(api, &session_options, options);
        let eval = eval.map(|eval| {
            let found = EvalModel::recognise(eval, &model)?;
            let fed = found.state.iter().map(|&index| model.state[index].port.name.as_str()).collect();
            let session = Session::of_model(api, passes.apply(eval)?, &fed, &session_options)?;
            Ok::<_, Error>(Eval { outputs: c_names(found.outputs.iter().map(String::as_str))?, model: found, session })
        });
        let eval = eval.transpose()?;
        let fed = model.state.iter().map(|slot| slot.port.name.as_str()).collect();
        let step = passes.apply(&without_unread(file, &model))?;
        let step_session = Session::of_model(api, step, &fed, &session_options)?;
        Self::new(api, file, model, step_session, eval, session_options, options)
    }

    /// Loads the step model in the file that `step` was read from, as any application does, and nothing to evaluate it
    /// with.
    ///
    /// # Errors
    /// As [`Ort::load`].
    pub fn load_file(runtime: &Runtime, step: &Model, options: &EngineOptions) -> Result<Self> {
        let api = Api::load(runtime)?;
        let model = StepModel::recognise(step)?;
        let session_options = SessionOptions::new(api, runtime, options)?;
        let session = Session::of_file(api, step.path(), &session_options)?;
        Self::new(api, step, model, session, None, session_options, options)
    }

    fn new(
        api: &'static Api,
        file: &Model,
        model: StepModel,
        step: Session,
        eval: Option<Eval>,
        session_options: SessionOptions,
        options: &EngineOptions,
    ) -> Result<Self> {
        let mut engine = Self {
            memory: Memory::of(api, options.device)?,
            names: Names::of(&model, file)?,
            step,
            eval,
            state: Vec::new(),
            not_finite: None,
            api,
            options: session_options,
            device: options.device,
            model,
            seed: options.seed,
        };
        let state = engine.model.initial_state(file)?;
        engine.set_state(&state).map_err(|e| e.in_file(file.path()))?;
        Ok(engine)
    }

    /// What a step returns, and the state that it leads to.
    fn compute(&mut self, batch: &[Tensor], rates: &Rates) -> Result<(Vec<Tensor>, Vec<Value<'static>>)> {
        check_batch(&self.model.batch, batch)?;
        let given = self.model.given(rates, self.seed)?;
        let batch = batch.iter().map(|tensor| Value::of(self.api, tensor)).collect::<Result<Vec<_>>>()?;
        let hyperparameters =
            given.iter().map(|(_, tensor)| Value::of(self.api, tensor)).collect::<Result<Vec<_>>>()?;

        let mut run = self.step.bind()?;
        for (name, value) in self.names.batch.iter().zip(&batch) {
            run.input(name, value)?;
        }
        for ((index, _), value) in given.iter().zip(&hyperparameters) {
            if self.names.hyperparameter_is_read[*index] {
                run.input(&self.names.hyperparameters[*index], value)?;
            }
        }
        let state = self.names.state.iter().zip(&self.state).zip(&self.names.state_is_read);
        for ((name, value), _) in state.filter(|(_, is_read)| **is_read) {
            run.input(name, value)?;
        }
        for name in &self.names.outputs {
            run.output(name, &Memory::host(self.api))?;
        }
        for name in &self.names.next {
            run.output(name, &self.memory)?;
        }
        let mut returned = run.run()?;
        let next = returned.split_off(self.names.outputs.len());
        Ok((returned.iter().map(Value::to_tensor).collect::<Result<_>>()?, next))
    }

    /// What is no number in `state`, where the processor can look into it at once.
    fn find_in(&self, state: &[Value<'_>]) -> Result<Option<NotFinite>> {
        if self.device != Device::Cpu {
            return Ok(None);
        }
        for (slot, value) in self.model.state.iter().zip(state) {
            let Some(floats) = value.floats()? else { continue };
            if let Some(index) = finite::first_not_finite(floats) {
                return Ok(Some(NotFinite { name: slot.port.name.clone(), value: floats[index] }));
            }
        }
        Ok(None)
    }

    /// The values of the state, where the processor can read them.
    fn state_on_host(&self) -> Result<Vec<Value<'static>>> {
        let mut copy = Session::of_bytes(self.api, &copying_model(&self.model).encode_to_vec(), &self.options)?;
        let mut run = copy.bind()?;
        for (name, value) in self.names.state.iter().zip(&self.state) {
            run.input(name, value)?;
        }
        for name in &self.names.next {
            run.output(name, &Memory::host(self.api))?;
        }
        run.run()
    }
}

impl Engine for Ort {
    fn batch_ports(&self) -> &[Port] {
        &self.model.batch
    }

    fn step_outputs(&self) -> &[String] {
        &self.model.outputs
    }

    fn evaluate_outputs(&self) -> &[String] {
        self.eval.as_ref().map_or(&[], |eval| &eval.model.outputs)
    }

    fn step(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>> {
        let (returned, next) = self.compute(batch, rates)?;
        self.not_finite = match finite::of_outputs(&self.model.outputs, &returned) {
            None => self.find_in(&next)?,
            found => found,
        };
        if self.not_finite.is_none() {
            self.state = next;
        }
        Ok(returned)
    }

    fn rehearse(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>> {
        self.compute(batch, rates).map(|(returned, _)| returned)
    }

    fn not_finite(&self) -> Option<&NotFinite> {
        self.not_finite.as_ref()
    }

    fn evaluate(&mut self, batch: &[Tensor]) -> Result<Vec<Tensor>> {
        let Some(eval) = &mut self.eval else { return Err(no_evaluation()) };
        check_batch(&self.model.batch, batch)?;
        let batch = batch.iter().map(|tensor| Value::of(self.api, tensor)).collect::<Result<Vec<_>>>()?;
        let mut run = eval.session.bind()?;
        for &index in &eval.model.batch {
            run.input(&self.names.batch[index], &batch[index])?;
        }
        for &index in &eval.model.state {
            run.input(&self.names.state[index], &self.state[index])?;
        }
        for name in &eval.outputs {
            run.output(name, &Memory::host(self.api))?;
        }
        run.run()?.iter().map(Value::to_tensor).collect()
    }

    fn save(&mut self, file: &Path) -> Result<()> {
        let state = self.state()?;
        state.check_finite()?;
        state.write(file)
    }
}

impl StepEngine for Ort {
    fn state(&self) -> Result<State> {
        let copies;
        let values = match self.device {
            Device::Cpu => &self.state,
            Device::Cuda(_) => {
                copies = self.state_on_host()?;
                &copies
            }
        };
        let names = self.model.state.iter().map(|slot| slot.port.name.clone());
        names.zip(values).map(|(name, value)| Ok((name, value.to_tensor()?))).collect()
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        let tensors = self.model.in_order(state)?;
        self.state = tensors.into_iter().map(|tensor| Value::copy_of(self.api, tensor)).collect::<Result<_>>()?;
        Ok(())
    }

    fn kernels(&self) -> usize {
        self.step.kernels
    }
}

/// The step model without the parts of the state that its graph does not read: ONNX Runtime takes no value for them.
fn without_unread(step: &Model, model: &StepModel) -> Model {
    let read = read_names(step);
    let slots = model.state.iter().map(|slot| slot.port.name.as_str());
    let unread: HashSet<&str> = slots.filter(|name| !read.contains(name)).collect();
    let mut rest = step.clone();
    rest.graph.input.retain(|input| !unread.contains(input.name()));
    rest.graph.initializer.retain(|tensor| !unread.contains(tensor.name()));
    rest
}
