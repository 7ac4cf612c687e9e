//! A trainee in its engine, and what is written of it.

use crate::experiment::OutputSettings;
use crate::{Checkpoint, Original, RunFolder};
#[cfg(feature = "ort")]
use gnp_base::Error;
use gnp_base::Result;
use gnp_engine::{Engine, Profile, State, StepEngine};
#[cfg(feature = "ort")]
use gnp_engine::{EngineOptions, OrtTraining, ort_training::Artifacts, runtime::Runtime};
use gnp_model::onnx::{self, Watch, WriteOptions};
use std::path::{Path, PathBuf};

/// A trainee in its engine.
pub(in crate::experiment) struct InEngine {
    /// The engine's name.
    pub name: String,
    what: What,
}

enum What {
    /// With what it was loaded from.
    #[cfg(feature = "ort")]
    Artifacts { engine: Box<OrtTraining>, runtime: Runtime, artifacts: Artifacts, options: EngineOptions },
    /// With the model that its trained weights go into.
    Step {
        engine: Box<dyn StepEngine>,
        forward: Option<Box<Original>>,
        /// What was chosen for this machine, which is said already.
        chosen: Option<String>,
        said: Vec<String>,
    },
}

impl InEngine {
    #[cfg(feature = "ort")]
    pub(super) fn of_artifacts(
        name: String,
        engine: Box<OrtTraining>,
        runtime: Runtime,
        artifacts: Artifacts,
        options: EngineOptions,
    ) -> Self {
        Self { name, what: What::Artifacts { engine, runtime, artifacts, options } }
    }

    pub(super) fn of_step(
        name: String,
        engine: Box<dyn StepEngine>,
        forward: Option<Box<Original>>,
        chosen: Option<String>,
    ) -> Self {
        Self { name, what: What::Step { engine, forward, chosen, said: Vec::new() } }
    }

    pub fn engine(&mut self) -> &mut dyn Engine {
        match &mut self.what {
            #[cfg(feature = "ort")]
            What::Artifacts { engine, .. } => &mut **engine,
            What::Step { engine, .. } => &mut **engine,
        }
    }

    /// The engine's name, what was chosen for this machine, and what is to be said of how it computes: all of it is
    /// known when steps were taken.
    pub fn description(&self) -> String {
        let remarks = match &self.what {
            #[cfg(feature = "ort")]
            What::Artifacts { .. } => Vec::new(),
            What::Step { engine, chosen, .. } => {
                chosen.iter().cloned().chain(engine.remarks()).collect::<Vec<String>>()
            }
        };
        [std::slice::from_ref(&self.name), &remarks].concat().join("; ")
    }

    /// Where the time of the steps went, where that was asked for.
    pub fn profile(&mut self) -> Result<Option<Profile>> {
        match &mut self.what {
            #[cfg(feature = "ort")]
            What::Artifacts { .. } => Ok(None),
            What::Step { engine, .. } => engine.profile(),
        }
    }

    /// What is to be said of how it computes, and was not said yet.
    pub fn news(&mut self) -> Vec<String> {
        match &mut self.what {
            #[cfg(feature = "ort")]
            What::Artifacts { .. } => Vec::new(),
            What::Step { engine, said, .. } => {
                let news: Vec<String> = engine.remarks().into_iter().filter(|remark| !said.contains(remark)).collect();
                said.extend_from_slice(&news);
                news
            }
        }
    }

    /// Writes the outcome of the training into the run's folder, and what the parameters were at the checkpoint `best`,
    /// where there is one; of these the best to the output's file too, where it is a model. Returns what that is, and
    /// where it lies.
    pub fn write(
        &mut self,
        folder: &RunFolder,
        best: Option<&Checkpoint>,
        output: &OutputSettings,
        watch: Watch<'_>,
    ) -> Result<(String, PathBuf)> {
        let (what, name) = match best {
            None => ("model", RunFolder::MODEL),
            Some(_) => ("best model", RunFolder::BEST_MODEL),
        };
        let written = folder.path_of(name);
        let (output, external_data) = (output.file.as_deref(), output.external_data);
        let options = WriteOptions { force: true, external_data, ..WriteOptions::default() };
        match &mut self.what {
            #[cfg(feature = "ort")]
            What::Artifacts { engine, .. } if !engine.has_export() && output.is_none() => {
                let last = RunFolder::newest_checkpoint(folder.root())?;
                let last = last.ok_or_else(|| Error::internal("a run that has ended has no checkpoint"))?;
                return Ok(("checkpoint".into(), last.engine_file()));
            }
            #[cfg(feature = "ort")]
            What::Artifacts { engine, runtime, artifacts, options: engine_options } => {
                folder.write_model(|file| engine.export(file))?;
                if let Some(best) = best {
                    let artifacts = Artifacts { checkpoint: best.engine_file(), ..artifacts.clone() };
                    let mut engine = OrtTraining::load(runtime, &artifacts, engine_options)?;
                    folder.write_result(RunFolder::BEST_MODEL, |file| engine.export(file))?;
                }
                if let Some(output) = output {
                    onnx::write_watched(onnx::read(&written)?, output, &options, watch)?;
                }
            }
            What::Step { engine, forward: Some(forward), .. } => {
                let last = engine.state()?;
                let mut write = |state: &State, file: &Path| {
                    onnx::write_watched(forward.with_weights(state)?, file, &options, watch).map(drop)
                };
                write(&last, &folder.path_of(RunFolder::MODEL))?;
                let best = best.map(|best| State::read(&best.engine_file())).transpose()?;
                if let Some(best) = &best {
                    write(best, &written)?;
                }
                let chosen = best.as_ref().unwrap_or(&last);
                if let Some(output) = output {
                    write(chosen, output)?;
                }
                if let Some(adapters) = forward.adapters(chosen)? {
                    folder.write_result(RunFolder::ADAPTERS, |file| adapters.write(file))?;
                }
            }
            // There is no model to write: `Trainee::check_output`.
            What::Step { engine, forward: None, .. } => {
                return Ok(("state".into(), folder.write_state(|file| engine.save(file))?));
            }
        }
        Ok((what.into(), output.map_or(written, Path::to_owned)))
    }
}
