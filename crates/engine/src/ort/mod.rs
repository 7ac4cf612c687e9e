//! Step models on ONNX Runtime, any build of it: the state stays on the device from step to step.
//!
//! Every run binds values rather than copying them: a step reads the state in one place and writes the next one to
//! another, both in the device's memory (`device_memory.rs`). Where a card is to repeat a recording, so lies all else
//! that a step reads and writes (`recorded.rs`). [`OrtTraining`](super::OrtTraining) shares what lies beneath.

pub(crate) mod api;
mod choice;
mod copying;
mod device_memory;
mod passes;
mod profiler;
mod provider;
mod recorded;
mod session;
pub(crate) mod session_options;
mod steps;
#[cfg(test)]
mod tests;
pub(crate) mod value;
mod weights;

use super::runtime::Runtime;
use super::step_model::{EvalModel, no_evaluation};
use super::{CudaGraph, Device, Engine, EngineOptions, Profile, Rates, State, StepEngine, StepModel, Tf32, half};
use api::Api;
use choice::Choice;
use device_memory::StateMemory;
use gnp_base::Result;
use gnp_model::onnx::Model;
use gnp_tensor::{NotFinite, Port, Tensor, check_batch, finite};
use passes::{Passes, branches};
use profiler::Profiler;
use recorded::{Numbers, Places};
use session::{Memory, Session, c_names};
use session_options::SessionOptions;
use std::ffi::CString;
use std::path::Path;
use steps::Steps;
use value::Value;

/// A training run of a step model on ONNX Runtime.
pub struct Ort {
    api: &'static Api,
    device: Device,
    tf32: Tf32,
    model: StepModel,
    names: Names,
    steps: Steps,
    eval: Option<Eval>,
    /// Where steps are to be recorded.
    recorder: Option<Recorder>,
    computes_in_half: bool,
    not_finite: Option<NotFinite>,
    seed: i64,
    profiler: Option<Profiler>,
    // Below the values in its memory.
    state: StateMemory,
}

/// The names of a step model's inputs and outputs, as ONNX Runtime takes them.
struct Names {
    batch: Vec<CString>,
    hyperparameters: Vec<CString>,
    state: Vec<CString>,
    outputs: Vec<CString>,
    next: Vec<CString>,
}

impl Names {
    fn of(model: &StepModel) -> Result<Self> {
        Ok(Self {
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

/// What has steps recorded.
struct Recorder {
    numbers: Numbers,
    /// The shapes of the batch of the last step.
    last: Vec<Vec<usize>>,
    /// From when two steps in a row had batches of one shape: only such steps are recorded.
    places: Option<Places>,
    /// Whether a step was recorded.
    has_recorded: bool,
}

impl Recorder {
    fn new(api: &'static Api) -> Result<Self> {
        Ok(Self { numbers: Numbers::new(api)?, last: Vec::new(), places: None, has_recorded: false })
    }
}

/// How many ordinary runs a session has before it records. The first ones compile, measure and plan memory: the runtime
/// lays out all of a run's memory after the first one, and takes it in the second. While a card records, it gives none.
const BEFORE_RECORDING: usize = 2;

/// How a step is computed that can be computed in more than one manner.
#[derive(Clone, Copy)]
struct Manner {
    /// Each branch is a session of its own, where the processor can decide which is taken.
    splits: bool,
    /// What a step reads and writes stays where it is, and the device records it if it can.
    records: bool,
}

impl Manner {
    fn of(options: &EngineOptions) -> Self {
        let is_on_card = options.device != Device::Cpu;
        let records = is_on_card && options.cuda_graph == CudaGraph::Auto;
        Self { splits: records, records }
    }
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
        Self::load_in(Manner::of(options), runtime, file, eval, options)
    }

    fn load_in(
        manner: Manner,
        runtime: &Runtime,
        file: &Model,
        eval: Option<&Model>,
        options: &EngineOptions,
    ) -> Result<Self> {
        half::check_ort(file, options)?;
        options.check_profile()?;
        let api = Api::load(runtime)?;
        let model = StepModel::recognise(file)?;
        let session_options = SessionOptions::new(api, runtime, options)?;
        let passes = Passes::of(api, &session_options, options);
        let eval = eval.map(|eval| {
            let found = EvalModel::recognise(eval, &model)?;
            let fed = found.state.iter().map(|&index| model.state[index].port.name.as_str()).collect();
            let session = Session::of_model(api, passes.apply(eval)?, &fed, &session_options)?;
            Ok(Eval { outputs: c_names(found.outputs.iter().map(String::as_str))?, model: found, session })
        });
        let eval = eval.transpose()?;
        let state = StateMemory::new(api, options.device, &model, &session_options)?;
        let (choice, models) = match manner.splits.then(|| branches::split(file, &model)).flatten() {
            Some(branches) => {
                let on_processor = SessionOptions::of_processor(api, runtime)?;
                let (choice, models) = Choice::new(api, branches, &model, &on_processor)?;
                (Some(choice), models.to_vec())
            }
            None => (None, vec![file.clone()]),
        };
        let recording = manner.records.then(|| SessionOptions::recording(api, runtime, options)).transpose()?;
        let steps = Steps::new(api, passes, session_options, recording, choice, models);
        Self::new(api, file, model, steps, eval, state, manner, options)
    }

    /// Loads the step model in the file that `step` was read from, as any application does, and nothing to evaluate it
    /// with.
    ///
    /// # Errors
    /// As [`Ort::load`].
    pub fn load_file(runtime: &Runtime, step: &Model, options: &EngineOptions) -> Result<Self> {
        half::check_ort(step, options)?;
        let api = Api::load(runtime)?;
        let model = StepModel::recognise(step)?;
        let session_options = SessionOptions::new(api, runtime, options)?;
        let session = Session::of_file(api, step.path(), &session_options)?;
        let state = StateMemory::new(api, options.device, &model, &session_options)?;
        let passes = Passes::of(api, &session_options, options);
        let steps = Steps::of_session(api, passes, session_options, session, step, &model);
        let manner = Manner { splits: false, records: false };
        Self::new(api, step, model, steps, None, state, manner, options)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one struct")]
    fn new(
        api: &'static Api,
        file: &Model,
        model: StepModel,
        steps: Steps,
        eval: Option<Eval>,
        state: StateMemory,
        manner: Manner,
        options: &EngineOptions,
    ) -> Result<Self> {
        let mut engine = Self {
            api,
            device: options.device,
            tf32: options.tf32.unwrap_or_default(),
            names: Names::of(&model)?,
            steps,
            eval,
            recorder: manner.records.then(|| Recorder::new(api)).transpose()?,
            computes_in_half: half::half_of(file).is_some(),
            not_finite: None,
            seed: options.seed,
            profiler: None,
            state,
            model,
        };
        let state = engine.model.initial_state(file)?;
        engine.set_state(&state).map_err(|e| e.in_file(file.path()))?;
        // The way of a step with the model's own hyperparameters: what the runtime refuses comes out now. A session that
        // records is made for the first batch.
        if !engine.steps.records() {
            engine.profiler = options.profile.then(|| engine.steps.profiled()).transpose()?;
            let way = engine.steps.way(&[])?;
            engine.steps.made(way, &engine.model)?;
        }
        Ok(engine)
    }

    /// What a step returns. It has left the state that it leads to where the next state belongs.
    fn compute(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>> {
        check_batch(&self.model.batch, batch)?;
        let given = self.model.given(rates, self.seed)?;
        let way = self.steps.way(&given)?;
        match self.repeat(way, batch, &given) {
            Ok(Some(returned)) => return Ok(returned),
            Ok(None) => {}
            Err(e) => self.steps.refuse(way, &e),
        }
        let shapes = recorded::shapes(batch);
        let is_steady =
            self.recorder.as_ref().is_some_and(|recorder| recorder.places.is_none() && recorder.last == shapes);
        let returned = self.run(way, batch, &shapes, is_steady, &given)?;
        if let Some(recorder) = &mut self.recorder {
            if is_steady {
                match Places::new(self.state.memory(), &self.model, batch, &returned) {
                    Ok(places) => recorder.places = Some(places),
                    Err(e) => self.steps.refuse(way, &e),
                }
            }
            recorder.last = shapes;
        }
        Ok(returned)
    }

    /// The step, as the device has recorded it or does so now; none where it is not to be recorded.
    fn repeat(&mut self, way: usize, batch: &[Tensor], given: &[(usize, Tensor)]) -> Result<Option<Vec<Tensor>>> {
        let Some(recorder) = &mut self.recorder else { return Ok(None) };
        let Some(places) = recorder.places.as_mut().filter(|places| places.fit(batch)) else { return Ok(None) };
        let made = self.steps.for_batch(way, &self.model, places.shapes(), true)?;
        if !made.records || made.ordinary_runs < BEFORE_RECORDING {
            return Ok(None);
        }
        let state = &self.state;
        places.fill(state.memory(), &self.model, batch, given)?;
        let current = state.current();
        let bound = match &mut made.bound[current] {
            Some(bound) => bound,
            none => {
                let hyperparameters = self.names.hyperparameters.iter().zip(&places.hyperparameters);
                let hyperparameters = hyperparameters.zip(&made.hyperparameter_is_read);
                let parts = self.names.state.iter().zip(state.values()).zip(&made.state_is_read);
                let read = hyperparameters.chain(parts).filter(|(_, is_read)| **is_read).map(|(bound, _)| bound);
                let outputs = self.names.outputs.iter().zip(&places.outputs);
                let mut bound = made.session.bind()?;
                for (name, value) in self.names.batch.iter().zip(&places.batch).chain(read) {
                    bound.input(name, value)?;
                }
                for (name, value) in outputs.chain(self.names.next.iter().zip(state.next())) {
                    bound.output_to(name, value)?;
                }
                none.insert(bound)
            }
        };
        bound.run(Some(recorder.numbers.of(current)))?;
        recorder.has_recorded = true;
        places.returned(state.memory()).map(Some)
    }

    /// The step, which is not recorded.
    fn run(
        &mut self,
        way: usize,
        batch: &[Tensor],
        shapes: &[Vec<usize>],
        is_steady: bool,
        given: &[(usize, Tensor)],
    ) -> Result<Vec<Tensor>> {
        let batch = batch.iter().map(|tensor| Value::of(self.api, tensor)).collect::<Result<Vec<_>>>()?;
        let hyperparameters =
            given.iter().map(|(_, tensor)| Value::of(self.api, tensor)).collect::<Result<Vec<_>>>()?;
        let made = self.steps.for_batch(way, &self.model, shapes, is_steady)?;
        let state = &self.state;
        let mut run = made.session.bind()?;
        for (name, value) in self.names.batch.iter().zip(&batch) {
            run.input(name, value)?;
        }
        for ((index, _), value) in given.iter().zip(&hyperparameters) {
            if made.hyperparameter_is_read[*index] {
                run.input(&self.names.hyperparameters[*index], value)?;
            }
        }
        let values = self.names.state.iter().zip(state.values());
        for ((name, value), _) in values.zip(&made.state_is_read).filter(|(_, is_read)| **is_read) {
            run.input(name, value)?;
        }
        for name in &self.names.outputs {
            run.output(name, &Memory::host(self.api))?;
        }
        for (name, value) in self.names.next.iter().zip(state.next()) {
            run.output_to(name, value)?;
        }
        let numbers = self.recorder.as_ref().filter(|_| made.records).map(|recorder| recorder.numbers.ordinary());
        run.run(numbers)?;
        let returned = run.returned()?;
        drop(run);
        made.ordinary_runs += 1;
        if let Some(profiler) = &mut self.profiler {
            profiler.has_run(&made.session)?;
        }
        returned.iter().take(self.names.outputs.len()).map(Value::to_tensor).collect()
    }

    /// What is no number in the next state, where the processor can look into it at once.
    fn not_finite_next(&self) -> Result<Option<NotFinite>> {
        if self.device != Device::Cpu {
            return Ok(None);
        }
        for (slot, value) in self.model.state.iter().zip(self.state.next()) {
            let Some(floats) = value.floats()? else { continue };
            if let Some(index) = finite::first_not_finite(floats) {
                return Ok(Some(NotFinite { name: slot.port.name.clone(), value: floats[index] }));
            }
        }
        Ok(None)
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
        let returned = self.compute(batch, rates)?;
        self.not_finite = match finite::of_outputs(&self.model.outputs, &returned) {
            None => self.not_finite_next()?,
            found => found,
        };
        if self.not_finite.is_none() {
            self.state.go_on();
            self.steps.go_on();
        }
        Ok(returned)
    }

    fn rehearse(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>> {
        self.compute(batch, rates)
    }

    fn not_finite(&self) -> Option<&NotFinite> {
        self.not_finite.as_ref()
    }

    fn evaluate(&mut self, batch: &[Tensor]) -> Result<Vec<Tensor>> {
        let Some(eval) = &mut self.eval else { return Err(no_evaluation()) };
        check_batch(&self.model.batch, batch)?;
        let batch = batch.iter().map(|tensor| Value::of(self.api, tensor)).collect::<Result<Vec<_>>>()?;
        let state = &self.state;
        let mut run = eval.session.bind()?;
        for &index in &eval.model.batch {
            run.input(&self.names.batch[index], &batch[index])?;
        }
        for &index in &eval.model.state {
            run.input(&self.names.state[index], &state.values()[index])?;
        }
        for name in &eval.outputs {
            run.output(name, &Memory::host(self.api))?;
        }
        run.run(None)?;
        run.returned()?.iter().map(Value::to_tensor).collect()
    }

    fn save(&mut self, file: &Path) -> Result<()> {
        let state = self.state()?;
        state.check_finite()?;
        state.write(file)
    }
}

impl StepEngine for Ort {
    fn state(&self) -> Result<State> {
        let names = self.model.state.iter().map(|slot| slot.port.name.clone());
        Ok(names.zip(self.state.read()?).collect())
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        let tensors = self.model.in_order(state)?;
        self.state.write(&tensors)?;
        self.steps.set_state(&tensors)
    }

    fn profile(&mut self) -> Result<Option<Profile>> {
        let Some(profiler) = &mut self.profiler else { return Ok(None) };
        let way = self.steps.way(&[])?;
        profiler.profile(&self.steps.made(way, &self.model)?.session).map(Some)
    }

    fn kernels(&self) -> usize {
        self.steps.kernels()
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        match (self.steps.lacks(), self.kernels()) {
            (Some(why), _) => remarks.push(format!("no kernels of gnp's: {why}")),
            (None, 0) => {}
            (None, nodes) => remarks.push(format!("gnp's kernels compute {nodes} nodes of a step")),
        }
        remarks.extend(self.steps.layout().map(str::to_owned));
        if self.device == Device::Cpu && self.computes_in_half {
            remarks.push("float16 as this processor emulates it".to_owned());
        }
        if self.device != Device::Cpu {
            let tf32: &str = self.tf32.into();
            remarks.push(format!("TF32 {tf32}"));
            match (&self.recorder, self.steps.refused()) {
                (None, _) => remarks.push("CUDA graph: no".to_owned()),
                (Some(_), Some(why)) => remarks.push(format!("CUDA graph: no, because {why}")),
                (Some(recorder), None) if recorder.has_recorded => remarks.push("CUDA graph: yes".to_owned()),
                // Not yet: no three steps in a row had batches of one shape.
                (Some(_), None) => {}
            }
        }
        remarks
    }
}
