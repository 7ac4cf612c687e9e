//! Artifacts as files of a folder.

use super::Artifacts;
use gnp_base::contract::artifacts::FileNames;
use gnp_base::{Result, files};
use gnp_model::onnx::{self, WriteOptions};
use std::path::{Path, PathBuf};

/// A file that was written, and its bytes.
pub type Written = (PathBuf, u64);

impl Artifacts {
    /// Checks that the files of `names` may be written into `folder`.
    ///
    /// # Errors
    /// Where one is there, and `force` is not given, or is no file.
    pub fn ensure_free(folder: &Path, names: &FileNames, force: bool) -> Result<()> {
        names.all().iter().try_for_each(|name| files::ensure_free(&folder.join(name), force))
    }

    /// Writes the four files into `folder`, which is there.
    ///
    /// # Errors
    /// As [`Artifacts::ensure_free`], and where the folder cannot be written to.
    pub fn write(self, folder: &Path, names: &FileNames, force: bool) -> Result<Vec<Written>> {
        Self::ensure_free(folder, names, force)?;
        let options = WriteOptions { force, ..WriteOptions::default() };
        let Self { training, eval, optimizer, checkpoint } = self;
        let models =
            [(training, names.training_model()), (eval, names.eval_model()), (optimizer, names.optimizer_model())];
        let mut written = Vec::new();
        for (model, name) in models {
            let file = onnx::write(model, folder.join(&name), &options)?;
            written.push((name.into(), file.bytes as u64));
            written.extend(file.external.into_iter().map(|data| (data.clone(), size(&folder.join(data)))));
        }
        checkpoint.write(&folder.join(names.checkpoint()), force)?;
        for name in [names.checkpoint(), format!("{}.data", names.checkpoint())] {
            if folder.join(&name).is_file() {
                written.push((name.clone().into(), size(&folder.join(name))));
            }
        }
        Ok(written)
    }
}

fn size(file: &Path) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}
