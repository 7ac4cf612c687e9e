//! A folder of ONNX Runtime training artifacts, looked at before it is loaded.

use crate::engine::ort_training::Artifacts;
use crate::engine::{ElementType, Port};
use crate::onnx::proto::tensor_shape_proto::dimension;
use crate::onnx::proto::{ValueInfoProto, type_proto};
use crate::onnx::{self, DataType};
use crate::{Error, Result};
use std::path::Path;

/// The files of a folder of artifacts, and what the training model takes.
#[derive(Clone, Debug, PartialEq)]
pub struct ArtifactFolder {
    /// The files.
    pub files: Artifacts,
    /// The training model's inputs of the types that batches have. Parameters and gradients are among them.
    pub inputs: Vec<Port>,
}

impl ArtifactFolder {
    /// Looks at `folder`, which holds `training_model.onnx`, `eval_model.onnx`, `optimizer_model.onnx` and
    /// `checkpoint`, as `generate_artifacts` writes them.
    ///
    /// # Errors
    /// Where a file is missing, or the training model is no ONNX model.
    pub fn open(folder: &Path) -> Result<Self> {
        let files = Artifacts {
            training_model: folder.join("training_model.onnx"),
            eval_model: Some(folder.join("eval_model.onnx")),
            optimizer_model: folder.join("optimizer_model.onnx"),
            checkpoint: folder.join("checkpoint"),
        };
        let needed = [
            Some(&files.training_model),
            files.eval_model.as_ref(),
            Some(&files.optimizer_model),
            Some(&files.checkpoint),
        ];
        let missing: Vec<_> = needed
            .into_iter()
            .flatten()
            .filter(|file| !file.is_file())
            .filter_map(|file| file.file_name()?.to_str())
            .collect();
        if !missing.is_empty() {
            return Err(Error::input(format!("no training artifacts: {} missing", missing.join(", ")))
                .in_file(folder)
                .help("name the folder that onnxruntime.training.artifacts.generate_artifacts wrote, or that gnp-rewrite made of it"));
        }
        let model = onnx::read(&files.training_model)?;
        let inputs = model.graph.input.iter().filter_map(port).collect();
        Ok(Self { files, inputs })
    }

    /// Checks that the training model has the inputs that `r` and `alpha` are for, and that they are given where it
    /// has them.
    ///
    /// # Errors
    /// Where one is given in vain or missing.
    pub fn check_rates(&self, r: Option<f32>, alpha: Option<f32>) -> Result<()> {
        for (name, value) in [("r", r), ("alpha", alpha)] {
            let exposed = self.inputs.iter().any(|port| port.name == format!("gnp.{name}"));
            match value {
                Some(_) if !exposed => {
                    return Err(Error::input(format!("--{name} has no effect: the graph has no input `gnp.{name}`"))
                        .in_file(&self.files.training_model)
                        .help(format!("rewrite the original artifacts with gnp-rewrite --expose {name}")));
                }
                Some(value) if !value.is_finite() || value < 0.0 => {
                    return Err(Error::input(format!("--{name} must be a number from 0 on, not {value}")));
                }
                None if exposed => {
                    return Err(Error::input(format!(
                        "the graph has an input `gnp.{name}`, but no value is given for it"
                    ))
                    .in_file(&self.files.training_model)
                    .help(format!("give one with --{name}")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The input as a port; none where batches cannot have its type.
fn port(input: &ValueInfoProto) -> Option<Port> {
    let Some(type_proto::Value::TensorType(tensor)) = &input.r#type.as_ref()?.value else { return None };
    let element = match DataType::try_from(tensor.elem_type()).ok()? {
        DataType::Float => ElementType::F32,
        DataType::Int32 => ElementType::I32,
        DataType::Int64 => ElementType::I64,
        _ => return None,
    };
    let dims = tensor.shape.as_ref()?.dim.iter().map(|dim| match dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok(),
        _ => None,
    });
    Some(Port { name: input.name().to_owned(), element, dims: dims.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str) -> ArtifactFolder {
        ArtifactFolder::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)).unwrap()
    }

    #[test]
    fn reads_the_ports_of_the_batch() {
        let folder = example("cnn");
        let port = |name| folder.inputs.iter().find(|port| port.name == name).unwrap();
        assert_eq!(port("input").element, ElementType::F32);
        assert_eq!(port("input").dims, [None, Some(1), Some(28), Some(28)]);
        assert_eq!((port("labels").element, port("labels").dims.as_slice()), (ElementType::I64, &[None][..]));
    }

    #[test]
    fn names_the_files_that_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("training_model.onnx"), "").unwrap();
        let error = ArtifactFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("eval_model.onnx, optimizer_model.onnx, checkpoint missing"), "{error}");
    }

    #[test]
    fn rates_need_an_input() {
        let error = example("mlp").check_rates(Some(0.1), None).unwrap_err();
        assert!(error.to_string().contains("no input `gnp.r`"), "{error}");
        assert_eq!(error.help_text(), Some("rewrite the original artifacts with gnp-rewrite --expose r"));
    }
}
