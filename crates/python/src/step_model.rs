//! A step model, and what it was made of.

use crate::arrays;
use crate::error::{caught, exception};
use crate::options;
use bytes::Bytes;
use gnp::engine::{self, State};
use gnp::graph::tensor_type;
use gnp::named::Named as _;
use gnp::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use gnp::onnx::{self, ExternalData, Model, WriteOptions};
use gnp::rewrite::{self, StepConfig, StepReport};
use gnp::train::Original;
use gnp::{Error, Result, cli};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a model that is no file is called in messages.
const IN_MEMORY: &str = "ModelProto";

/// Where a model is: in a file, or in memory.
#[derive(FromPyObject)]
pub enum Source {
    /// Its bytes.
    Bytes(PyBackedBytes),
    /// Its file.
    File(PathBuf),
}

impl Source {
    /// The model. What is in memory has its external data, if it has any, in `folder`.
    fn read(self, folder: Option<PathBuf>) -> Result<Model> {
        match self {
            Self::File(file) => onnx::read(file),
            Self::Bytes(bytes) => {
                onnx::from_bytes(Bytes::from_owner(bytes), folder.unwrap_or_default().join(IN_MEMORY))
            }
        }
    }
}

/// The name of an input, its element type, and its sizes.
type Input<'py> = (String, String, Vec<Bound<'py, PyAny>>);

/// A step model: what `gnp-rewrite` makes of a model.
#[pyclass(frozen, name = "Step", module = "gnp._gnp")]
pub struct StepModel {
    pub step: Model,
    forward: Option<Model>,
    report: Option<StepReport>,
}

#[pymethods]
impl StepModel {
    /// Makes a step model of the model `source`.
    #[staticmethod]
    fn rewrite(py: Python<'_>, source: Source, folder: Option<PathBuf>, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let options = options::rewriting(options)?;
        py.detach(|| {
            caught(|| {
                let forward = source.read(folder)?;
                if rewrite::is_training_model(&forward) {
                    return Err(Error::input("the model is a training artifact already")
                        .in_file(forward.path())
                        .help("rewrite_artifacts puts the penalty into artifacts"));
                }
                let (step, report) = rewrite::make_step(forward.clone(), &options)?;
                Ok(Self { step, forward: Some(forward), report: Some(report) })
            })
        })
    }

    /// The step model `source`, which was made of the model `forward`, or of that of its name beside it.
    #[staticmethod]
    #[pyo3(signature = (source, forward=None))]
    fn open(py: Python<'_>, source: Source, forward: Option<Source>) -> PyResult<Self> {
        py.detach(|| {
            caught(|| {
                let step = source.read(None)?;
                engine::StepModel::recognise(&step)?;
                let forward = match forward {
                    Some(forward) => Some(forward.read(None)?),
                    None => beside(&step).map(onnx::read).transpose()?,
                };
                Ok(Self { step, forward, report: None })
            })
        })
    }

    /// The bytes of the step model.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        bytes(py, self.step.clone())
    }

    /// Writes the step model to `file`; `external_data` is copy, link or keep. Returns the bytes of the file.
    fn write(&self, py: Python<'_>, file: PathBuf, force: bool, external_data: &str) -> PyResult<usize> {
        let options = write_options(force, external_data).map_err(exception)?;
        py.detach(|| caught(|| Ok(onnx::write(self.step.clone(), file, &options)?.bytes)))
    }

    /// What was made of the model and why, as JSON; none where the step model was not made here.
    fn report(&self) -> PyResult<Option<String>> {
        let json = self.report.as_ref().map(serde_json::to_string).transpose();
        json.map_err(|error| exception(Error::internal(format!("cannot encode the report: {error}"))))
    }

    /// The same in words.
    fn described(&self, verbose: bool) -> Option<String> {
        let report = self.report.as_ref()?;
        Some(format!("{}\n{}", cli::describe::step(report), cli::describe::weights(&report.constants, verbose)))
    }

    /// What is fed in every step, the labels last: names, element types, and sizes: numbers, names, or None.
    fn batch_inputs<'py>(&self, py: Python<'py>) -> PyResult<Vec<Input<'py>>> {
        let model = caught(|| engine::StepModel::recognise(&self.step))?;
        let declared =
            |name: &str| self.step.graph.input.iter().find(|input| input.name() == name).and_then(tensor_type);
        let inputs = model.batch.into_iter().map(|port| {
            let shape = declared(&port.name).and_then(|tensor| tensor.shape.as_ref());
            let dims = shape.into_iter().flat_map(|shape| &shape.dim).map(|dim| dim_in_python(py, dim));
            Ok((port.name.clone(), port.element.to_string(), dims.collect::<PyResult<_>>()?))
        });
        inputs.collect()
    }

    /// The hyperparameters that may be fed, and what counts where they are not.
    fn hyperparameters(&self) -> PyResult<BTreeMap<String, f32>> {
        let model = caught(|| engine::StepModel::recognise(&self.step))?;
        let known = model.hyperparameters.into_iter();
        Ok(known.filter_map(|number| Some((number.name, number.default.to_scalar()?))).collect())
    }

    /// The state that training begins with.
    fn initial_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = py.detach(|| caught(|| engine::StepModel::recognise(&self.step)?.initial_state(&self.step)))?;
        arrays::dict(py, state)
    }

    /// The names of what is in the state.
    fn state_names(&self) -> PyResult<Vec<String>> {
        caught(|| state_names(&self.step))
    }

    /// The bytes of the evaluation model.
    fn evaluation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let model = py.detach(|| caught(|| self.evaluation_model()?.ok_or_else(|| self.without_forward())))?;
        bytes(py, model)
    }

    /// The bytes of the model with the weights of `state`.
    fn trained<'py>(&self, py: Python<'py>, state: &Bound<'_, PyDict>) -> PyResult<Bound<'py, PyBytes>> {
        let state = arrays::state(state)?;
        let model = py.detach(|| caught(|| self.with_weights(&state)))?;
        bytes(py, model)
    }

    /// Writes the model with the weights of `state` to `file`.
    fn write_trained(
        &self,
        py: Python<'_>,
        state: &Bound<'_, PyDict>,
        file: PathBuf,
        force: bool,
        external_data: &str,
    ) -> PyResult<()> {
        let state = arrays::state(state)?;
        let options = write_options(force, external_data).map_err(exception)?;
        py.detach(|| caught(|| onnx::write(self.with_weights(&state)?, file, &options).map(drop)))
    }

    /// Whether the model that it was made of is known.
    fn has_forward(&self) -> bool {
        self.forward.is_some()
    }
}

impl StepModel {
    /// What it is evaluated with, where the model that it was made of is known.
    pub fn evaluation_model(&self) -> Result<Option<Model>> {
        let Some(forward) = &self.forward else { return Ok(None) };
        let config = StepConfig::of(&self.step)?;
        rewrite::make_evaluation(forward.clone(), &config, &state_names(&self.step)?).map(Some)
    }

    fn with_weights(&self, state: &State) -> Result<Model> {
        let forward = self.forward.clone().ok_or_else(|| self.without_forward())?;
        Original::new(forward, StepConfig::of(&self.step)?).with_weights(state)
    }

    fn without_forward(&self) -> Error {
        Error::input("the model that the step model was made of is not known")
            .in_file(self.step.path())
            .help("name it: StepModel.load(…, forward=…)")
    }
}

fn dim_in_python<'py>(py: Python<'py>, dim: &Dimension) -> PyResult<Bound<'py, PyAny>> {
    match &dim.value {
        Some(dimension::Value::DimValue(size)) => size.into_bound_py_any(py),
        Some(dimension::Value::DimParam(name)) => name.into_bound_py_any(py),
        None => Ok(py.None().into_bound(py)),
    }
}

/// The model beside a step model of which it says that it was made of it.
fn beside(step: &Model) -> Option<PathBuf> {
    let config = StepConfig::of(step).ok()?;
    Some(step.folder().join(config.model)).filter(|file| file.is_file())
}

fn state_names(step: &Model) -> Result<Vec<String>> {
    Ok(engine::StepModel::recognise(step)?.state.into_iter().map(|slot| slot.port.name).collect())
}

/// The bytes of `model`, which needs no data beside it.
fn bytes(py: Python<'_>, model: Model) -> PyResult<Bound<'_, PyBytes>> {
    let mut model = model;
    let length = py.detach(|| caught(|| onnx::bring_in(&mut model)))?;
    PyBytes::new_with_writer(py, length, |writer| caught(|| onnx::encode(model, writer)))
}

fn write_options(force: bool, external_data: &str) -> Result<WriteOptions> {
    let known = ExternalData::all().iter().find(|known| known.name() == external_data);
    let external_data = *known
        .ok_or_else(|| Error::input(format!("--external-data is `{external_data}`; expected copy, link or keep")))?;
    Ok(WriteOptions { force, external_data, ..WriteOptions::default() })
}
