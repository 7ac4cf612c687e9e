//! What can be trained.

use gnp_base::{Error, Result};
use gnp_engine::StepModel;
use gnp_model::onnx::{self, Model};
use gnp_step::rewrite;
use std::path::Path;

/// What a path names, for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder of ONNX Runtime's training artifacts.
    Artifacts,
    /// A step model, as `gnp-rewrite` makes them.
    Step,
    /// An ordinary model, which a step model is made of.
    Forward,
}

impl Kind {
    /// What the file or folder at `path` is.
    ///
    /// # Errors
    /// Where it is neither a folder nor an ONNX model, or one file of a folder of artifacts.
    ///
    /// ```
    /// use gnp_train::experiment::Kind;
    /// assert_eq!(Kind::of("../../models/mlp".as_ref())?, Kind::Artifacts);
    /// assert_eq!(Kind::of("../../models/mlp/model.onnx".as_ref())?, Kind::Forward);
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    pub fn of(path: &Path) -> Result<Self> {
        if path.is_dir() { Ok(Self::Artifacts) } else { Self::of_model(&onnx::read(path)?) }
    }

    pub(super) fn of_model(model: &Model) -> Result<Self> {
        if StepModel::is_one(model) {
            return Ok(Self::Step);
        }
        if rewrite::is_training_model(model) {
            return Err(Error::input("is a part of ONNX Runtime's training artifacts")
                .in_file(model.path())
                .help("name their folder"));
        }
        Ok(Self::Forward)
    }
}
