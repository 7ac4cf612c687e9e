//! A training session: the three models, compiled, over one checkpoint.

use super::Artifacts;
use super::api::TrainingApi;
use super::checkpoint::Checkpoint;
use crate::ort::api::{c_path, c_string};
use crate::ort::session_options::SessionOptions;
use crate::ort::value::Value;
use gnp_base::{Error, Result};
use gnp_tensor::Tensor;
use ort::sys::{OrtAllocator, OrtRunOptions, OrtStatusPtr, OrtTrainingSession, OrtValue};
use std::ffi::{CString, c_char};
use std::path::Path;
use std::{fs, ptr};

type Count = unsafe extern "system" fn(*const OrtTrainingSession, *mut usize) -> OrtStatusPtr;
type Name =
    unsafe extern "system" fn(*const OrtTrainingSession, usize, *mut OrtAllocator, *mut *const c_char) -> OrtStatusPtr;
type Run = unsafe extern "system" fn(
    *mut OrtTrainingSession,
    *const OrtRunOptions,
    usize,
    *const *const OrtValue,
    usize,
    *mut *mut OrtValue,
) -> OrtStatusPtr;

/// A training session and the checkpoint that it trains.
pub(super) struct Session {
    api: TrainingApi,
    pointer: *mut OrtTrainingSession,
    pub(super) checkpoint: Checkpoint,
}

// SAFETY: ONNX Runtime lets any thread use and release it, one at a time.
unsafe impl Send for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the session is ours; the checkpoint that it refers to is dropped after this.
        unsafe { (self.api.training.ReleaseTrainingSession)(self.pointer) }
    }
}

/// The names of what a graph takes from the caller and returns to the caller, in order.
pub(super) struct Signature {
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
}

impl Session {
    pub(super) fn new(api: TrainingApi, artifacts: &Artifacts, options: &SessionOptions) -> Result<Self> {
        let models = [Some(&artifacts.training_model), artifacts.eval_model.as_ref(), Some(&artifacts.optimizer_model)];
        for model in models.into_iter().flatten() {
            fs::metadata(model).map_err(|e| Error::io("read the model", model, &e))?;
        }
        let checkpoint = Checkpoint::load(api, &artifacts.checkpoint)?;
        let training = c_path(&artifacts.training_model)?;
        let eval = artifacts.eval_model.as_deref().map(c_path).transpose()?;
        let optimizer = c_path(&artifacts.optimizer_model)?;
        let mut pointer = ptr::null_mut();
        // SAFETY: the environment lives as long as the process, the checkpoint as long as the session; paths are
        // NUL-terminated, and a model that is absent is null.
        let status = unsafe {
            (api.training.CreateTrainingSession)(
                api.environment(),
                options.pointer(),
                checkpoint.pointer(),
                training.as_ptr(),
                eval.as_ref().map_or(ptr::null(), |path| path.as_ptr()),
                optimizer.as_ptr(),
                &mut pointer,
            )
        };
        api.check(status).map_err(|e| {
            Error::engine(format!("cannot load the training artifacts: {e}"))
                .in_file(&artifacts.training_model)
                .help("models and checkpoint must have been generated together")
        })?;
        Ok(Self { api, pointer, checkpoint })
    }

    /// What the training graph takes and returns.
    pub(super) fn training_signature(&self) -> Result<Signature> {
        let t = self.api.training;
        Ok(Signature {
            inputs: self
                .names(t.TrainingSessionGetTrainingModelInputCount, t.TrainingSessionGetTrainingModelInputName)?,
            outputs: self
                .names(t.TrainingSessionGetTrainingModelOutputCount, t.TrainingSessionGetTrainingModelOutputName)?,
        })
    }

    /// What the evaluation graph takes and returns. There must be one.
    pub(super) fn eval_signature(&self) -> Result<Signature> {
        let t = self.api.training;
        Ok(Signature {
            inputs: self.names(t.TrainingSessionGetEvalModelInputCount, t.TrainingSessionGetEvalModelInputName)?,
            outputs: self.names(t.TrainingSessionGetEvalModelOutputCount, t.TrainingSessionGetEvalModelOutputName)?,
        })
    }

    fn names(&self, count: Count, name: Name) -> Result<Vec<String>> {
        let mut length = 0;
        // SAFETY: both functions take this session; a name comes from the default allocator and becomes ours.
        unsafe {
            self.api.check(count(self.pointer, &mut length))?;
            (0..length)
                .map(|index| {
                    let mut text = ptr::null();
                    self.api.check(name(self.pointer, index, self.api.allocator, &mut text))?;
                    self.api.take_string(text)
                })
                .collect()
        }
    }

    /// Runs the training graph: its `outputs` first values, and the gradients, added up inside the session. Its random
    /// draws follow from `seed`.
    pub(super) fn train_step(&mut self, inputs: &[Value<'_>], outputs: usize, seed: i64) -> Result<Vec<Tensor>> {
        let _draws = self.api.seed_draws(seed)?;
        self.run(self.api.training.TrainStep, inputs, outputs)
    }

    /// Runs the evaluation graph, which must be there.
    pub(super) fn eval_step(&mut self, inputs: &[Value<'_>], outputs: usize) -> Result<Vec<Tensor>> {
        self.run(self.api.training.EvalStep, inputs, outputs)
    }

    fn run(&mut self, run: Run, inputs: &[Value<'_>], outputs: usize) -> Result<Vec<Tensor>> {
        let inputs: Vec<*const OrtValue> = inputs.iter().map(|value| value.pointer().cast_const()).collect();
        let mut returned = vec![ptr::null_mut(); outputs];
        // SAFETY: the arrays have the lengths given, and the inputs live through the call.
        let status = unsafe {
            run(self.pointer, ptr::null(), inputs.len(), inputs.as_ptr(), returned.len(), returned.as_mut_ptr())
        };
        // Taken over before the status is looked at: what was returned besides an error is released, too.
        // SAFETY: what is not null is a new value of ours.
        let returned: Vec<Value> = returned
            .into_iter()
            .filter(|value| !value.is_null())
            .map(|value| unsafe { Value::from_raw(self.api.ort, value) })
            .collect();
        self.api.check(status)?;
        returned.iter().map(Value::to_tensor).collect()
    }

    /// Moves the parameters by the gradients that have been added up.
    pub(super) fn optimizer_step(&mut self, learning_rate: f32) -> Result<()> {
        let t = self.api.training;
        // SAFETY: the session is valid and has an optimizer model.
        unsafe {
            self.api.check((t.SetLearningRate)(self.pointer, learning_rate))?;
            self.api.check((t.OptimizerStep)(self.pointer, ptr::null()))
        }
    }

    /// Forgets the gradients that have been added up.
    pub(super) fn reset_gradients(&mut self) -> Result<()> {
        // SAFETY: the session is valid.
        self.api.check(unsafe { (self.api.training.LazyResetGrad)(self.pointer) })
    }

    /// Writes the part of the evaluation graph that computes `outputs`, with the parameters as they stand.
    pub(super) fn export(&mut self, file: &Path, outputs: &[String]) -> Result<()> {
        let path = c_path(file)?;
        let names = outputs.iter().map(|name| c_string(name)).collect::<Result<Vec<CString>>>()?;
        let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the session is valid; path and names are NUL-terminated and live through the call.
        let status = unsafe {
            (self.api.training.ExportModelForInferencing)(self.pointer, path.as_ptr(), names.len(), names.as_ptr())
        };
        self.api
            .check(status)
            .map_err(|e| Error::engine(format!("cannot write the inference model: {e}")).in_file(file))
    }
}
