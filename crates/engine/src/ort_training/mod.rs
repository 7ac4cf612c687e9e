//! Training through ONNX Runtime's own on-device training API.
//!
//! A thin layer over the C functions, because the `ort` crate's `Trainer` panics on tensor outputs (2.0.0-rc.14 and
//! -rc.15).

mod api;
mod checkpoint;
mod session;
mod stepping;

pub use checkpoint::Property;
pub use stepping::OrtTrainingStep;

use super::ort::api::Api;
use super::ort::session_options::SessionOptions;
use super::ort::value::Value;
use super::runtime::Runtime;
use super::{Engine, EngineOptions, Rates, State, step_model};
use api::TrainingApi;
use gnp_base::contract::artifacts::{BUFFER_SUFFIX, FileNames, RESET};
use gnp_base::contract::{ALPHA, NUMBERS_KEY, R, is_reserved};
use gnp_base::{Error, Result, files};
use gnp_model::onnx::proto::ValueInfoProto;
use gnp_model::onnx::{self, Model};
use gnp_tensor::{NotFinite, Port, Tensor, check_batch, finite};
use session::{Session, Signature};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// The checkpoint's property that counts the steps taken.
const STEPS_PROPERTY: &str = "gnp.steps";

/// ONNX Runtime writes no model of more bytes to an absolute path.
const LARGEST_EXPORT: u64 = i32::MAX as u64;

/// The files that ONNX Runtime trains from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifacts {
    /// The graph that computes loss and gradients.
    pub training_model: PathBuf,
    /// The graph that computes the loss only; needed for [`Engine::evaluate`] and [`OrtTraining::export`].
    pub eval_model: Option<PathBuf>,
    /// The graph that moves the parameters.
    pub optimizer_model: PathBuf,
    /// The parameters and, where it was saved by a training run, the optimizer's state.
    pub checkpoint: PathBuf,
}

impl Artifacts {
    /// The files of `folder` under the names that `generate_artifacts` gives them; an eval model only where there is
    /// one.
    pub fn in_folder(folder: &Path) -> Self {
        Self::named(folder, &FileNames::default())
    }

    /// The same under names with a prefix.
    pub fn named(folder: &Path, names: &FileNames) -> Self {
        Self {
            training_model: folder.join(names.training_model()),
            eval_model: Some(folder.join(names.eval_model())).filter(|file| file.is_file()),
            optimizer_model: folder.join(names.optimizer_model()),
            checkpoint: folder.join(names.checkpoint()),
        }
    }

    /// Checks that all are files: ONNX Runtime reads them itself, and would wait for a pipe. A checkpoint may be a
    /// folder.
    fn check_files(&self) -> Result<()> {
        let Self { training_model, eval_model, optimizer_model, checkpoint } = self;
        let checkpoint = Some(checkpoint).filter(|path| !path.is_dir()).map(|file| ("read the checkpoint", file));
        let models = [training_model, optimizer_model].into_iter().chain(eval_model);
        for (doing, file) in models.map(|file| ("read the model", file)).chain(checkpoint) {
            files::open(file).map_err(|e| Error::io(doing, file, &e))?;
        }
        Ok(())
    }
}

/// Where an input of a graph gets its value from.
enum Feed {
    /// The tensor of this index in the batch.
    Batch(usize),
    /// The hyperparameter of this name, and what it is where no rate is given.
    Number(String, Option<f32>),
}

/// A graph's inputs and outputs, ready to be run.
struct Interface {
    feeds: Vec<Feed>,
    outputs: Vec<String>,
}

/// A training run through ONNX Runtime's training API.
pub struct OrtTraining {
    api: TrainingApi,
    session: Session,
    batch: Vec<Port>,
    training: Interface,
    eval: Option<Interface>,
    seed: i64,
    /// The steps taken since the run began, through all its checkpoints.
    steps: i64,
    /// The names of all parameters, frozen ones and statistics among them.
    parameters: Vec<String>,
    /// What they take together.
    parameter_bytes: u64,
    not_finite: Option<NotFinite>,
}

impl OrtTraining {
    /// Loads `artifacts` into `runtime`.
    ///
    /// A process can load one ONNX Runtime; every engine in it must use that one.
    ///
    /// # Errors
    /// Where the runtime does not load, cannot train, has no provider for the device, or is not the process's; where it
    /// refuses the artifacts; where the training model takes data of a type that batches cannot have, or the evaluation
    /// model does not fit it.
    pub fn load(runtime: &Runtime, artifacts: &Artifacts, options: &EngineOptions) -> Result<Self> {
        options.refuse_profile("ONNX Runtime's training API")?;
        let api = TrainingApi::load(runtime)?;
        artifacts.check_files()?;
        let session_options = SessionOptions::new(api.ort, runtime, options)?;
        let session = Session::new(api, artifacts, &session_options)?;

        let signature = session.training_signature()?;
        let model = onnx::read(&artifacts.training_model)?;
        let in_model = |error: Error| error.in_file(&artifacts.training_model);
        let numbers = numbers(&model).map_err(in_model)?;
        let batch = batch_ports(&signature, &model, &numbers).map_err(in_model)?;
        let parameters = parameter_names(&signature, &model);
        let training = Interface::new(signature, &batch, &numbers).map_err(in_model)?;
        let eval = match &artifacts.eval_model {
            Some(model) => {
                Some(Interface::new(session.eval_signature()?, &batch, &numbers).map_err(|e| e.in_file(model))?)
            }
            None => None,
        };
        // A checkpoint that comes from no run of ours has no such property.
        let steps = match session.checkpoint.property(STEPS_PROPERTY) {
            Ok(Property::Int(steps)) => steps,
            _ => 0,
        };
        let not_finite = None;
        let seed = options.seed;
        let parameter_bytes = bytes_of(&model, &parameters);
        Ok(Self { api, session, batch, training, eval, seed, steps, parameters, parameter_bytes, not_finite })
    }

    /// A copy of the parameter `name`, trainable or frozen.
    ///
    /// # Errors
    /// Where there is no such parameter.
    pub fn parameter(&self, name: &str) -> Result<Tensor> {
        self.session.checkpoint.parameter(name)
    }

    /// A copy of all parameters that are float32, int32 or int64, frozen ones among them.
    ///
    /// # Errors
    /// Where the device cannot be read.
    pub fn parameters(&self) -> Result<State> {
        self.parameters.iter().map(|name| Ok((name.clone(), self.parameter(name)?))).collect()
    }

    /// Overwrites the parameter `name`.
    ///
    /// # Errors
    /// Where there is no such parameter, or `value` differs from it in shape or element type.
    pub fn set_parameter(&mut self, name: &str, value: &Tensor) -> Result<()> {
        self.session.checkpoint.set_parameter(name, value)
    }

    /// The property `name` of the checkpoint.
    ///
    /// # Errors
    /// Where there is no such property.
    pub fn property(&self, name: &str) -> Result<Property> {
        self.session.checkpoint.property(name)
    }

    /// Adds the property `name` to the checkpoint, or overwrites it.
    ///
    /// # Errors
    /// Where the name or the text holds a NUL character.
    pub fn set_property(&mut self, name: &str, property: &Property) -> Result<()> {
        self.session.checkpoint.set_property(name, property)
    }

    /// Whether there is a model for inference to [export](Self::export): predictions behind the loss, and no more
    /// parameters than ONNX Runtime writes.
    pub fn has_export(&self) -> bool {
        !self.predictions().is_empty() && self.parameter_bytes <= LARGEST_EXPORT
    }

    /// What the evaluation graph returns of the model itself: what is counted needs labels.
    fn predictions(&self) -> Vec<String> {
        let outputs = self.eval.iter().flat_map(|eval| eval.outputs.iter().skip(1));
        outputs.filter(|name| !is_reserved(name)).cloned().collect()
    }

    /// Writes the trained model for inference to `file`.
    ///
    /// # Errors
    /// Where the file cannot be written, or there is [nothing](Self::has_export) to write.
    pub fn export(&mut self, file: &Path) -> Result<()> {
        self.check_finite()?;
        required(&self.eval)?;
        let predictions = self.predictions();
        if predictions.is_empty() {
            return Err(Error::input(
                "cannot write the inference model: the evaluation model returns nothing but the loss",
            )
            .in_file(file)
            .help("make the artifacts with the model's outputs in `additional_output_names`"));
        }
        if self.parameter_bytes > LARGEST_EXPORT {
            return Err(Error::unsupported("ONNX Runtime does not write an inference model of more than 2 GiB here")
                .in_file(file)
                .help(
                    "take the weights from the run's last checkpoint: gnp-run checkpoint convert, or train the ordinary model \
                     with --engine ort-training",
                ));
        }
        self.session.export(file, &predictions)
    }

    /// Checks that all parameters are numbers; of other types than float nothing is asked.
    fn check_finite(&self) -> Result<()> {
        let parameters = self.parameters.iter().filter_map(|name| Some((name, self.parameter(name).ok()?)));
        parameters.into_iter().try_for_each(|(name, tensor)| {
            finite::find([(name.as_str(), &tensor)]).map_or(Ok(()), |found| Err(found.in_state()))
        })
    }
}

/// The evaluation graph, which must be there.
fn required(eval: &Option<Interface>) -> Result<&Interface> {
    eval.as_ref().ok_or_else(|| {
        Error::input("there is no evaluation model").help("put eval_model.onnx beside the training model")
    })
}

impl Engine for OrtTraining {
    fn batch_ports(&self) -> &[Port] {
        &self.batch
    }

    fn step_outputs(&self) -> &[String] {
        &self.training.outputs
    }

    fn evaluate_outputs(&self) -> &[String] {
        self.eval.as_ref().map_or(&[], |eval| &eval.outputs)
    }

    fn step(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>> {
        check_batch(&self.batch, batch)?;
        let inputs = self.training.values(self.api.ort, batch, Some(rates))?;
        let seed = step_seed(self.seed, self.steps);
        let returned = self.session.train_step(&inputs, self.training.outputs.len(), seed)?;
        self.not_finite = finite::of_outputs(&self.training.outputs, &returned);
        if self.not_finite.is_none() {
            self.session.optimizer_step(rates.learning_rate)?;
            self.steps += 1;
        }
        self.session.reset_gradients()?;
        Ok(returned)
    }

    fn rehearse(&mut self, batch: &[Tensor], rates: &Rates) -> Result<Vec<Tensor>> {
        check_batch(&self.batch, batch)?;
        let inputs = self.training.values(self.api.ort, batch, Some(rates))?;
        // Statistics move as the gradient is computed.
        let before = self.parameters.iter().filter_map(|name| Some((name, self.parameter(name).ok()?)));
        let before: Vec<(String, Tensor)> = before.map(|(name, tensor)| (name.clone(), tensor)).collect();
        let seed = step_seed(self.seed, self.steps);
        let returned = self.session.train_step(&inputs, self.training.outputs.len(), seed);
        drop(inputs);
        self.session.reset_gradients()?;
        for (name, tensor) in &before {
            if self.parameter(name)? != *tensor {
                self.set_parameter(name, tensor)?;
            }
        }
        returned
    }

    fn not_finite(&self) -> Option<&NotFinite> {
        self.not_finite.as_ref()
    }

    fn evaluate(&mut self, batch: &[Tensor]) -> Result<Vec<Tensor>> {
        let eval = required(&self.eval)?;
        check_batch(&self.batch, batch)?;
        let inputs = eval.values(self.api.ort, batch, None)?;
        let count = eval.outputs.len();
        self.session.eval_step(&inputs, count)
    }

    fn save(&mut self, file: &Path) -> Result<()> {
        self.check_finite()?;
        self.session.checkpoint.set_property(STEPS_PROPERTY, &Property::Int(self.steps))?;
        self.session.checkpoint.save(file)
    }
}

impl Interface {
    /// # Errors
    /// Where the graph takes what is neither part of the batch nor a hyperparameter.
    fn new(signature: Signature, batch: &[Port], numbers: &BTreeMap<String, f32>) -> Result<Self> {
        let feeds = signature.inputs.iter().map(|name| match name.as_str() {
            name if is_number(name, numbers) => Ok(Feed::Number(name.to_owned(), numbers.get(name).copied())),
            name => batch.iter().position(|port| port.name == name).map(Feed::Batch).ok_or_else(|| {
                let known: Vec<&str> = batch.iter().map(|port| port.name.as_str()).collect();
                Error::input(format!("unknown input `{name}`: a batch consists of {}", known.join(", ")))
            }),
        });
        Ok(Self { feeds: feeds.collect::<Result<_>>()?, outputs: signature.outputs })
    }

    /// What the graph is run on, in its order, in the memory of `batch`, which has a tensor a port, and of `rates`.
    fn values<'a>(
        &'a self,
        api: &'static Api,
        batch: &'a [Tensor],
        rates: Option<&'a Rates>,
    ) -> Result<Vec<Value<'a>>> {
        let feed = |feed: &'a Feed| match feed {
            Feed::Batch(index) => Value::of(api, &batch[*index]),
            Feed::Number(name, default) => {
                let given = rates.and_then(|rates| given(rates, name)).or(default.as_ref());
                Value::scalar(
                    api,
                    given.ok_or_else(|| {
                        Error::input(format!("the graph needs a value for its input `{name}`, but none is given"))
                    })?,
                )
            }
        };
        self.feeds.iter().map(feed).collect()
    }
}

/// The rate that is given for the input `name`.
fn given<'r>(rates: &'r Rates, name: &str) -> Option<&'r f32> {
    match name {
        R => rates.r.as_ref(),
        ALPHA => rates.alpha.as_ref(),
        _ => rates.others.get(name),
    }
}

/// What is fed to the inputs that are numbers where no rate is given, as the model says.
fn numbers(model: &Model) -> Result<BTreeMap<String, f32>> {
    let Some(numbers) = model.metadata(NUMBERS_KEY) else { return Ok(BTreeMap::new()) };
    serde_json::from_str(numbers).map_err(|e| {
        Error::format(format!("its metadata `{NUMBERS_KEY}` are damaged: {e}")).help("make the artifacts again")
    })
}

/// Whether the input `name` is a hyperparameter.
fn is_number(name: &str, numbers: &BTreeMap<String, f32>) -> bool {
    [R, ALPHA].contains(&name) || numbers.contains_key(name)
}

/// The ports of the data and the labels: what the training graph takes but hyperparameters, in its order.
fn batch_ports(signature: &Signature, model: &Model, numbers: &BTreeMap<String, f32>) -> Result<Vec<Port>> {
    let mut ranges = step_model::ranges_of(model)?;
    let inputs: HashMap<&str, &ValueInfoProto> = model.graph.input.iter().map(|i| (i.name(), i)).collect();
    let data = signature.inputs.iter().filter(|name| !is_number(name, numbers));
    data.map(|name| {
        let port = inputs.get(name.as_str()).and_then(|input| crate::ports::of(input)).ok_or_else(|| {
            Error::input(format!("the input `{name}` is no tensor of float32, int32 or int64"))
                .help("batches are read as these types; cast inside the model")
        })?;
        Ok(Port { ranges: ranges.remove(name).unwrap_or_default(), ..port })
    })
    .collect()
}

/// What the training graph takes that the caller does not feed: parameters. Its gradients, and whether they begin anew,
/// are told by their names.
fn parameter_names(signature: &Signature, model: &Model) -> Vec<String> {
    let is_gradient = |name: &str| name.ends_with(BUFFER_SUFFIX) || name == RESET;
    let inputs = model.graph.input.iter().map(|input| input.name().to_owned());
    inputs.filter(|name| !signature.inputs.contains(name) && !is_gradient(name)).collect()
}

/// The bytes of the inputs `names`, as far as the model declares their sizes.
fn bytes_of(model: &Model, names: &[String]) -> u64 {
    let names: HashSet<&str> = names.iter().map(String::as_str).collect();
    let parameters = model.graph.input.iter().filter(|input| names.contains(input.name()));
    let bytes = |port: Port| {
        let elements = port.dims.iter().map(|dim| dim.unwrap_or(0) as u64).fold(1, u64::saturating_mul);
        elements.saturating_mul(port.element.size() as u64)
    };
    parameters.filter_map(crate::ports::of).map(bytes).fold(0, u64::saturating_add)
}

/// What the draws of one step follow from: far apart for neighbouring steps (the finalizer of SplitMix64), because ONNX
/// Runtime itself takes the following seeds for the following draws.
fn step_seed(seed: i64, step: i64) -> i64 {
    let mut bits = seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)) as u64;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 1) as i64
}
