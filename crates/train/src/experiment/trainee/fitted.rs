//! A batch in as many parts as a step needs to fit into memory.

use crate::Checkpoint;
use crate::experiment::{EngineChoice, FitMemory, Run};
use gnp_base::{Error, Result};
use gnp_engine::{Device, EngineKind};
use gnp_model::onnx::Model;
use gnp_step::fit::Fit;
use std::fs;
use std::num::NonZero;
use std::path::PathBuf;

/// The choice of a run that says in how many parts it has begun.
pub(in crate::experiment) const FITTED: &str = "parts that fit into memory";

/// How many parts there are, and why.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    pub parts: NonZero<u32>,
    pub why: String,
}

impl Fitted {
    /// Of the batches of `run`, which `step` takes at once. A run that goes on has as many as it has begun with.
    ///
    /// # Errors
    /// Where it is not known how much memory there is, or what a step takes; where a step of one sample takes more.
    pub fn of(fit: FitMemory, step: &Model, run: &Run, begun: Option<&Checkpoint>) -> Result<Self> {
        if matches!(run.engine.engine, EngineChoice::Of(EngineKind::OrtTraining)) {
            return Err(Error::input("--micro-batch is of a step model: the training API adds up gradients by itself")
                .help("leave it out, or let another engine train"));
        }
        let begun = begun.and_then(|checkpoint| checkpoint.fingerprint().choice(FITTED)?.as_u64());
        if let Some(parts) = begun.and_then(|parts| NonZero::new(u32::try_from(parts).ok()?)) {
            let why = format!("each batch is taken in {parts} parts, as when the run was begun");
            return Ok(Self { parts, why });
        }
        let memory = match fit.limit {
            Some(limit) => limit,
            None => free(run)?,
        };
        let batch = u32::try_from(run.training.batch_size).unwrap_or(u32::MAX);
        let fit = Fit::of(step, batch, memory)?;
        Ok(Self { parts: fit.parts, why: fit.describe(batch, memory) })
    }
}

/// The bytes that a step may take of what is free where the run computes, when its data are in memory: nine tenths.
fn free(run: &Run) -> Result<u64> {
    let device = run.engine.device;
    let unknown = || {
        Error::input(format!("--micro-batch auto: how much memory is free on {device} cannot be told"))
            .help("say how much a step may take: --memory 8GB; or give --micro-batch a number in place of auto")
    };
    let free = match device {
        Device::Cpu => {
            let source = &run.data.source;
            let files: [Option<&PathBuf>; 2] = [Some(&source.train), source.test.as_ref()];
            let of_file = |file: &PathBuf| fs::metadata(file).ok().filter(fs::Metadata::is_file).map(|data| data.len());
            let data: u64 = files.into_iter().flatten().filter_map(of_file).sum();
            gnp_data::free_memory().map(|free| free.saturating_sub(data))
        }
        Device::Cuda(_) => device.free_on_card(),
    };
    free.map(|free| free - free / 10).ok_or_else(unknown)
}
