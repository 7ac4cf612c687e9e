//! The names of the files of ONNX Runtime's training artifacts.

use crate::{Error, Result};

/// The file of an artifact folder that holds the gradient.
pub const TRAINING_MODEL: &str = "training_model.onnx";
/// The file of an artifact folder that holds the loss without a gradient.
pub const EVAL_MODEL: &str = "eval_model.onnx";
/// The file of an artifact folder that holds the update of the parameters.
pub const OPTIMIZER_MODEL: &str = "optimizer_model.onnx";
/// The parameters in an artifact folder: a file, a folder in old versions, with `checkpoint.data` beside it where it is
/// large.
pub const CHECKPOINT: &str = "checkpoint";

/// The suffix of a gradient buffer's name; before it stands the parameter's.
pub const BUFFER_SUFFIX: &str = "_grad.accumulation.buffer";
/// The suffix of what an accumulator returns, a bool.
pub const OUT_SUFFIX: &str = "_grad.accumulation.out";
/// The input that has the accumulators begin anew, a bool of one element.
pub const RESET: &str = "lazy_reset_grad";

/// The names of the files in a folder of artifacts, all of which may begin with a prefix (`prefix` of
/// `generate_artifacts`).
///
/// ```
/// use gnp_base::contract::artifacts::FileNames;
/// assert_eq!(FileNames::default().training_model(), "training_model.onnx");
/// assert_eq!(FileNames::new("mnist_")?.checkpoint(), "mnist_checkpoint");
/// assert!(FileNames::new("../").is_err());
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileNames {
    prefix: String,
}

impl FileNames {
    /// Names that begin with `prefix`.
    ///
    /// # Errors
    /// Where the names would be in another folder, or hidden.
    pub fn new(prefix: &str) -> Result<Self> {
        if prefix.contains(['/', '\\', '\0']) || prefix.starts_with('.') {
            return Err(Error::input(format!("`{prefix}` is no beginning of a file's name"))
                .help("give --artifact-prefix letters and digits, and -o the folder"));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// The file that holds the gradient.
    pub fn training_model(&self) -> String {
        self.with(TRAINING_MODEL)
    }

    /// The file that holds the loss without a gradient.
    pub fn eval_model(&self) -> String {
        self.with(EVAL_MODEL)
    }

    /// The file that holds the update of the parameters.
    pub fn optimizer_model(&self) -> String {
        self.with(OPTIMIZER_MODEL)
    }

    /// The parameters.
    pub fn checkpoint(&self) -> String {
        self.with(CHECKPOINT)
    }

    /// All of them.
    pub fn all(&self) -> [String; 4] {
        [self.training_model(), self.eval_model(), self.optimizer_model(), self.checkpoint()]
    }

    fn with(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
