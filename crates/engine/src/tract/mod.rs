//! Step models on tract, which is part of this program: nothing need be installed.
//!
//! tract wants every shape to be known, so there is a plan for each shape of batch, made when the first such batch
//! comes.

mod branch;
mod log_softmax;
mod plans;
mod recurrent;
mod scan;
mod specialise;

use super::step_model::{EvalModel, no_evaluation};
use super::{Device, Engine, EngineOptions, Rates, State, StepEngine, StepModel, half};
use crate as engine;
use gnp_base::{Error, Result};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{GraphProto, NodeProto};
use gnp_tensor::{NotFinite, Port, check_batch, finite};
use plans::{Plans, as_type_of, from_tract, to_tract};
use std::num::NonZero;
use std::path::Path;
use std::thread;
use tract_onnx::prelude::TValue;
use tract_onnx::prelude::multithread::Executor;

/// A training run of a step model on tract.
pub struct Tract {
    model: StepModel,
    step: Plans,
    eval: Option<(EvalModel, Plans)>,
    state: Vec<TValue>,
    not_finite: Option<NotFinite>,
    seed: i64,
}

impl Tract {
    /// Loads the step model `step`, and `eval`, what it is evaluated with. Training begins with the state in the file.
    ///
    /// # Errors
    /// Where the device is not the processor; where `step` is no step model, or `eval` does not fit it. That tract
    /// cannot compute the graph comes out with the first batch.
    pub fn load(step: &Model, eval: Option<&Model>, options: &EngineOptions) -> Result<Self> {
        if options.device != Device::Cpu {
            return Err(Error::engine(format!("tract does not compute on `{}`", options.device))
                .help("use --device cpu, or --engine onnxruntime"));
        }
        if let Some(option) = options.ort.first() {
            return Err(Error::input(format!("--ort-option {option} is of no use: the engine is tract"))
                .help("leave it out, or use --engine onnxruntime"));
        }
        options.check_tf32()?;
        options.refuse_profile("tract")?;
        half::check_tract(step)?;
        if let Some(node) = find(&step.graph, &|node| node.is("", "Loop")) {
            return Err(Error::unsupported("tract has no loops")
                .at_node(node.label(), &node.operator())
                .in_file(step.path())
                .help(
                    "use --engine onnxruntime, or, where the loop takes the batch in parts, leave --accumulate out \
                     (or --micro-batch) where the step model is made",
                ));
        }
        let model = StepModel::recognise(step)?;
        let executor = executor(options.threads);
        let eval = match eval {
            None => None,
            Some(eval) => {
                let found = EvalModel::recognise(eval, &model)?;
                let batch = found.batch.iter().map(|&index| &model.batch[index].name);
                let state = found.state.iter().map(|&index| &model.state[index].port.name);
                let plans = Plans::new(eval, &names(batch.chain(state)), &names(&found.outputs), executor.clone())?;
                Some((found, plans))
            }
        };
        let batch = model.batch.iter().map(|port| &port.name);
        let hyperparameters = model.hyperparameters.iter().map(|h| &h.name);
        let state = model.state.iter().map(|slot| &slot.port.name);
        let next = model.state.iter().map(|slot| &slot.next);
        let inputs = names(batch.chain(hyperparameters).chain(state));
        let plans = Plans::new(step, &inputs, &names(model.outputs.iter().chain(next)), executor)?;
        let initial = model.initial_state(step)?;
        let mut engine = Self { model, step: plans, eval, state: Vec::new(), not_finite: None, seed: options.seed };
        engine.set_state(&initial).map_err(|e| e.in_file(step.path()))?;
        Ok(engine)
    }
}

impl Tract {
    /// What a step returns, and the state that it leads to.
    fn compute(&mut self, batch: &[engine::Tensor], rates: &Rates) -> Result<(Vec<engine::Tensor>, Vec<TValue>)> {
        check_batch(&self.model.batch, batch)?;
        let mut hyperparameters: Vec<_> = self.model.hyperparameters.iter().map(|h| h.default.clone()).collect();
        for (index, value) in self.model.given(rates, self.seed)? {
            hyperparameters[index] = value;
        }
        // The state is shared, not copied: it must still be there should the step fail.
        let state = self.state.iter().cloned().map(Ok);
        let inputs = batch.iter().chain(&hyperparameters).map(to_tract).chain(state).collect::<Result<_>>()?;
        let mut returned = self.step.run(inputs)?;
        let next = returned.drain(self.model.outputs.len()..).zip(&self.state);
        let next = next.map(|(value, before)| as_type_of(value, before)).collect::<Result<Vec<_>>>()?;
        Ok((returned.iter().map(from_tract).collect::<Result<_>>()?, next))
    }

    /// What is no number in `state`.
    fn find_in(&self, state: &[TValue]) -> Option<NotFinite> {
        self.model.state.iter().zip(state).find_map(|(slot, value)| {
            let view = value.to_plain_array_view::<f32>().ok()?;
            let floats = view.as_slice()?;
            let index = finite::first_not_finite(floats)?;
            Some(NotFinite { name: slot.port.name.clone(), value: floats[index] })
        })
    }
}

/// The first node of the graph, or of a body in it, that `is_one`.
fn find<'g>(graph: &'g GraphProto, is_one: &dyn Fn(&NodeProto) -> bool) -> Option<&'g NodeProto> {
    graph
        .node
        .iter()
        .find_map(|node| if is_one(node) { Some(node) } else { node.subgraphs().find_map(|body| find(body, is_one)) })
}

/// What computes with so many threads; one a core where the number is left open.
fn executor(threads: Option<NonZero<u16>>) -> Executor {
    let available = || thread::available_parallelism().map_or(1, NonZero::get);
    match threads.map_or_else(available, |threads| threads.get().into()) {
        1 => Executor::SingleThread,
        threads => Executor::multithread(threads),
    }
}

fn names<'n>(names: impl IntoIterator<Item = &'n String>) -> Vec<&'n str> {
    names.into_iter().map(String::as_str).collect()
}

impl Engine for Tract {
    fn batch_ports(&self) -> &[Port] {
        &self.model.batch
    }

    fn step_outputs(&self) -> &[String] {
        &self.model.outputs
    }

    fn evaluate_outputs(&self) -> &[String] {
        self.eval.as_ref().map_or(&[], |(eval, _)| &eval.outputs)
    }

    fn step(&mut self, batch: &[engine::Tensor], rates: &Rates) -> Result<Vec<engine::Tensor>> {
        let (returned, next) = self.compute(batch, rates)?;
        self.not_finite = finite::of_outputs(&self.model.outputs, &returned).or_else(|| self.find_in(&next));
        if self.not_finite.is_none() {
            self.state = next;
        }
        Ok(returned)
    }

    fn rehearse(&mut self, batch: &[engine::Tensor], rates: &Rates) -> Result<Vec<engine::Tensor>> {
        self.compute(batch, rates).map(|(returned, _)| returned)
    }

    fn not_finite(&self) -> Option<&NotFinite> {
        self.not_finite.as_ref()
    }

    fn evaluate(&mut self, batch: &[engine::Tensor]) -> Result<Vec<engine::Tensor>> {
        let Some((eval, plans)) = &mut self.eval else { return Err(no_evaluation()) };
        check_batch(&self.model.batch, batch)?;
        let batch = eval.batch.iter().map(|&index| to_tract(&batch[index]));
        let state = eval.state.iter().map(|&index| Ok(self.state[index].clone()));
        let outputs = plans.run(batch.chain(state).collect::<Result<_>>()?)?;
        outputs.iter().map(from_tract).collect()
    }

    fn save(&mut self, file: &Path) -> Result<()> {
        let state = self.state()?;
        state.check_finite()?;
        state.write(file)
    }
}

impl StepEngine for Tract {
    fn state(&self) -> Result<State> {
        let names = self.model.state.iter().map(|slot| slot.port.name.clone());
        names.zip(&self.state).map(|(name, value)| Ok((name, from_tract(value)?))).collect()
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        self.state = self.model.in_order(state)?.into_iter().map(to_tract).collect::<Result<_>>()?;
        Ok(())
    }
}
