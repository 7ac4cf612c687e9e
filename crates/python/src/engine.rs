//! A step model in an engine.

use crate::arrays;
use crate::error::{caught, exception};
use crate::options;
use crate::step_model::StepModel;
use gnp::engine::{Available, Backend as _, EngineKind, EngineOptions, Rates, State, StepEngine};
use gnp::experiment::EngineChoice;
use gnp::tensor::{NotFinite, Port, Tensor};
use gnp::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process;
use std::sync::{Mutex, PoisonError};

/// A training run of a step model. Threads may share it: their calls take turns.
#[pyclass(frozen, module = "gnp._gnp")]
pub struct Engine {
    /// None from when it is dropped.
    engine: Mutex<Option<Box<dyn StepEngine>>>,
    name: String,
    /// Threads of the engine are not there in a process that was forked off.
    process: u32,
    ports: Vec<Port>,
    step_outputs: Vec<String>,
    evaluate_outputs: Vec<String>,
}

#[pymethods]
impl Engine {
    /// Loads `step`; `options` are those of `gnp-run` for engines.
    #[new]
    fn new(py: Python<'_>, step: &StepModel, seed: i64, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = options::engine(options)?;
        let EngineChoice::Of(kind) = settings.engine else {
            return Err(exception(Error::internal("an engine of one's own")));
        };
        py.detach(|| {
            caught(|| {
                if kind == EngineKind::OrtTraining {
                    return Err(Error::input("a Trainer has the engines onnxruntime and tract")
                        .help("gnp.run trains a model with engine=\"ort-training\""));
                }
                let found = Available::of(kind, settings.ort_lib.as_deref(), settings.device)?;
                let options = EngineOptions {
                    device: settings.device,
                    seed,
                    threads: settings.threads,
                    layout: settings.layout,
                    kernels: settings.kernels,
                    tf32: settings.tf32,
                    half: settings.half,
                    cuda_graph: settings.cuda_graph,
                    ort: settings.ort_options,
                    profile: false,
                };
                let engine = found.load(&step.step, step.evaluation_model()?.as_ref(), &options)?;
                Ok(Self {
                    name: found.name(),
                    process: process::id(),
                    ports: engine.batch_ports().to_vec(),
                    step_outputs: engine.step_outputs().to_vec(),
                    evaluate_outputs: engine.evaluate_outputs().to_vec(),
                    engine: Mutex::new(Some(engine)),
                })
            })
        })
    }

    /// The engine's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The names of what a step returns.
    #[getter]
    fn step_outputs(&self) -> Vec<String> {
        self.step_outputs.clone()
    }

    /// The names of what an evaluation returns; none where the engine cannot evaluate.
    #[getter]
    fn evaluate_outputs(&self) -> Vec<String> {
        self.evaluate_outputs.clone()
    }

    /// What a report says of how steps are computed.
    #[getter]
    fn remarks(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.with(py, |engine| Ok(engine.remarks()))
    }

    /// How many nodes of a step gnp's own kernels compute.
    #[getter]
    fn kernels(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |engine| Ok(engine.kernels()))
    }

    /// Takes a step on `batch`, arrays in the order of `batch_inputs`, and returns its outputs: numbers as floats.
    #[pyo3(signature = (batch, lr, r, alpha, others))]
    fn step<'py>(
        &self,
        py: Python<'py>,
        batch: &Bound<'py, PyList>,
        lr: f32,
        r: Option<f32>,
        alpha: Option<f32>,
        others: BTreeMap<String, f32>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let batch = self.batch(batch)?;
        let rates = Rates { learning_rate: lr, r, alpha, others };
        let returned = self.with(py, |engine| {
            let returned = engine.step(&batch, &rates)?;
            engine.not_finite().map_or(Ok(returned), |found| Err(not_taken(found)))
        })?;
        named(py, &self.step_outputs, returned)
    }

    /// The evaluation of `batch`.
    fn evaluate<'py>(&self, py: Python<'py>, batch: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyDict>> {
        let batch = self.batch(batch)?;
        let returned = self.with(py, |engine| engine.evaluate(&batch))?;
        named(py, &self.evaluate_outputs, returned)
    }

    /// A copy of the state.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.with(py, |engine| engine.state())?;
        arrays::dict(py, state)
    }

    /// Goes on from `state`.
    fn set_state(&self, py: Python<'_>, state: &Bound<'_, PyDict>) -> PyResult<()> {
        let state = arrays::state(state)?;
        self.with(py, |engine| engine.set_state(&state))
    }

    /// Writes the state to `file`.
    fn save(&self, py: Python<'_>, file: PathBuf) -> PyResult<()> {
        self.with(py, |engine| engine.state()?.save(&file))
    }

    /// Goes on from the state in `file`.
    fn load(&self, py: Python<'_>, file: PathBuf) -> PyResult<()> {
        self.with(py, |engine| engine.set_state(&State::read(&file)?))
    }
}

impl Engine {
    /// What `use_it` makes of the engine, while other threads run Python.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        use_it: impl FnOnce(&mut dyn StepEngine) -> Result<T> + Send,
    ) -> PyResult<T> {
        if self.process != process::id() {
            return Err(exception(
                Error::engine("the engine belongs to the process that this one was forked off")
                    .help("make a Trainer in each process, or have multiprocessing start processes with \"spawn\""),
            ));
        }
        py.detach(|| {
            let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
            caught(|| match &mut *engine {
                Some(engine) => use_it(engine.as_mut()),
                None => Err(Error::internal("an engine that is gone is used")),
            })
        })
    }

    fn batch(&self, arrays: &Bound<'_, PyList>) -> PyResult<Vec<Tensor>> {
        if arrays.len() != self.ports.len() {
            let names: Vec<&str> = self.ports.iter().map(|port| &*port.name).collect();
            return Err(exception(Error::input(format!(
                "the batch has {} arrays; expected {}: {}",
                arrays.len(),
                names.len(),
                names.join(", ")
            ))));
        }
        self.ports.iter().zip(arrays).map(|(port, array)| arrays::tensor(&port.name, &array)).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The threads that it would wait for are in the other process.
        if self.process != process::id() {
            let engine = self.engine.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            std::mem::forget(engine);
        }
    }
}

fn not_taken(found: &NotFinite) -> Error {
    Error::diverged(format!(
        "the step was not taken, for `{}` would be {}: all is as it was before",
        found.name, found.value
    ))
    .help("a smaller lr= or r=, or a rewrite with clip_norm=, keeps numbers finite")
}

/// Outputs under their names, numbers as floats.
fn named<'py>(py: Python<'py>, names: &[String], outputs: Vec<Tensor>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, tensor) in names.iter().zip(outputs) {
        match tensor.to_scalar().filter(|_| tensor.shape().is_empty()) {
            Some(number) => dict.set_item(name, number)?,
            None => dict.set_item(name, arrays::array(py, tensor))?,
        }
    }
    Ok(dict)
}
