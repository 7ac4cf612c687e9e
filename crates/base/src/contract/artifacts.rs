//! The names of the files of ONNX Runtime's training artifacts.

/// The file of an artifact folder that holds the gradient.
pub const TRAINING_MODEL: &str = "training_model.onnx";
/// The file of an artifact folder that holds the loss without a gradient.
pub const EVAL_MODEL: &str = "eval_model.onnx";
/// The file of an artifact folder that holds the update of the parameters.
pub const OPTIMIZER_MODEL: &str = "optimizer_model.onnx";
/// The parameters in an artifact folder: a file, a folder in old versions, with `checkpoint.data` beside it where it is
/// large.
pub const CHECKPOINT: &str = "checkpoint";
