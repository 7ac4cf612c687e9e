//! The artifacts beside the training model: taken over as they are, or changed where the training model needs it.

use super::Options;
use crate::emit::artifact::Needs;
use crate::emit::training::{self, COUNTER_ELEMENT, optimizer_model};
use gnp_base::{Error, Result};
use gnp_checkpoint::{Checkpoint, Element, Value};
use gnp_model::graph::Fact;
use gnp_model::onnx::{self, ExternalData, Model, Placement, Watch, WriteOptions};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The files that belong to a training model, relative to its folder.
pub(super) struct Others {
    pub files: BTreeMap<PathBuf, File>,
    /// What was lowered, in words.
    pub lowered: Vec<String>,
}

/// What a file of the new folder is.
pub(super) enum File {
    /// That of its name in the folder that is read.
    Placed(Placement),
    /// A model that was changed; its data are there already.
    Model(Box<Model>),
    /// A checkpoint that was changed.
    Checkpoint(Box<Checkpoint>),
}

impl File {
    pub(super) fn write(self, from: &Path, to: &Path, force: bool, watch: Watch<'_>) -> Result<()> {
        let options = WriteOptions { force, external_data: ExternalData::Keep, ..WriteOptions::default() };
        match self {
            Self::Placed(placement) => onnx::place_file(from, to, placement, force, watch),
            Self::Model(model) => onnx::write(*model, to, &options).map(drop),
            Self::Checkpoint(checkpoint) => checkpoint.write(to, force),
        }
    }
}

/// The files that belong to the training model in `folder`, and how each comes to the folder `output`. Data files may
/// be shared: by models of the folder, and with the copy. The names of those are the models' choice, and so may be no
/// other file's.
pub(super) fn belonging(
    folder: &Path,
    output: &Path,
    training_model: &Model,
    options: &Options,
    needs: &Needs,
) -> Result<Others> {
    let names = &options.names;
    let mut others = Others { files: BTreeMap::new(), lowered: Vec::new() };
    let mut data = onnx::external_locations(training_model)?;
    let has = |name: &str| folder.join(name).is_file();
    if has(&names.eval_model()) {
        data.extend(others.model(folder, &names.eval_model(), |model| declare(model, needs))?);
    }
    if let Some(fused) = needs.fused {
        let name = names.optimizer_model();
        let model = optimizer_model(fused, &folder.join(&name))?;
        others.files.insert(name.into(), File::Model(Box::new(model)));
    } else if has(&names.optimizer_model()) {
        data.extend(others.model(folder, &names.optimizer_model(), |_| false)?);
    }
    others.add_data(folder, output, data, options.external_data)?;
    if *needs == Needs::default() {
        others.take_checkpoint(folder, &names.checkpoint())?;
    } else {
        let checkpoint = extended(&folder.join(names.checkpoint()), needs)?;
        others.files.insert(names.checkpoint().into(), File::Checkpoint(Box::new(checkpoint)));
    }
    Ok(others)
}

impl Others {
    /// Takes a model over, changed by `change`, which tells whether it did anything, and with versions that the
    /// training runtime reads. Returns its data files.
    fn model(&mut self, folder: &Path, name: &str, change: impl FnOnce(&mut Model) -> bool) -> Result<Vec<PathBuf>> {
        let mut model = onnx::read(folder.join(name))?;
        let data = onnx::external_locations(&model)?;
        let is_changed = change(&mut model);
        let lowered = training::lower(&mut model)?;
        let file = if is_changed || !lowered.is_empty() {
            File::Model(Box::new(model))
        } else {
            File::Placed(Placement::OwnCopy)
        };
        self.lowered.extend(lowered.into_iter().map(|what| format!("{name}: {what}")));
        self.files.insert(name.into(), file);
        Ok(data)
    }

    fn add_data(&mut self, folder: &Path, output: &Path, data: Vec<PathBuf>, external: ExternalData) -> Result<()> {
        let Some(placement) = external.placement() else { return Ok(()) };
        for file in &data {
            let refused = |what: &str, help: &str| {
                Err(Error::input(format!("external data `{}` {what}", file.display())).in_file(folder).help(help))
            };
            if !onnx::may_be_chosen(file) {
                let what = "has the name of a hidden file or a program";
                return refused(what, "leave it where it is: --external-data keep");
            }
            if onnx::is_taken(&folder.join(file), &output.join(file)) {
                let what = format!("would replace another file of this name in {}", output.display());
                return refused(&what, "choose a folder with -o that is new, or remove that file");
            }
        }
        self.files.extend(data.into_iter().map(|file| (file, File::Placed(placement))));
        Ok(())
    }

    /// Takes the checkpoint over, whatever its version: a file, with another beside it where it is large, or a folder.
    fn take_checkpoint(&mut self, folder: &Path, checkpoint: &str) -> Result<()> {
        for name in entries(folder)?.into_iter().filter(|name| name.to_string_lossy().starts_with(checkpoint)) {
            let path = folder.join(&name);
            let parts = if path.is_dir() {
                let parts = entries(&path)?.into_iter().filter(|part| path.join(part).is_file());
                parts.map(|part| name.join(part)).collect()
            } else {
                vec![name]
            };
            self.files.extend(parts.into_iter().map(|file| (file, File::Placed(Placement::OwnCopy))));
        }
        Ok(())
    }
}

/// Declares what is kept as inputs of the evaluation model: the runtime feeds it all parameters of the training model.
fn declare(eval: &mut Model, needs: &Needs) -> bool {
    let inputs = needs.kept.iter().map(|(name, sizes)| Fact::with_sizes(COUNTER_ELEMENT, sizes).info(name));
    eval.graph.input.extend(inputs);
    !needs.kept.is_empty()
}

/// The checkpoint with what is kept, zeros at first. The state of an optimizer that is replaced goes with it.
fn extended(file: &Path, needs: &Needs) -> Result<Checkpoint> {
    if file.is_dir() {
        return Err(Error::unsupported("the checkpoint is a folder, as ONNX Runtime before 1.16 wrote it")
            .in_file(file)
            .help("load and save it with a newer ONNX Runtime first"));
    }
    let mut checkpoint = Checkpoint::read(file)?;
    for (name, sizes) in &needs.kept {
        let sizes: Vec<usize> = sizes.iter().map(|&size| size as usize).collect();
        if checkpoint.trainable.contains_key(name) || checkpoint.frozen.contains_key(name) {
            return Err(Error::input(format!(
                "the checkpoint has a parameter `{name}`, and the optimizer needs the name"
            ))
            .in_file(file)
            .help("make the artifacts again from a model in which it has another name"));
        }
        let value = match checkpoint.nominal {
            true => Value::nominal(Element::Float32, sizes),
            false => Value::zeros(Element::Float32, sizes)?,
        };
        checkpoint.frozen.insert(name.clone(), value);
    }
    if needs.fused.is_some() {
        checkpoint.groups.clear();
    }
    Ok(checkpoint)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = fs::read_dir(folder).and_then(|entries| entries.map(|e| Ok(e?.file_name().into())).collect());
    names.map_err(|e| Error::io("read the folder", folder, &e))
}
