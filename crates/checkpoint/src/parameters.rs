//! The parameters alone, as a safetensors file.

use crate::{Checkpoint, Element, Value};
use gnp_base::{Error, Result, files};
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, TensorInfo};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// The bytes of the description that readers take.
const LONGEST_HEAD: usize = 100_000_000;

impl Checkpoint {
    /// Writes all parameters to the safetensors file `path`, those that do not train among them.
    ///
    /// # Errors
    /// Where the checkpoint is nominal, so that there is nothing to write; where `path` is there already and `force` is
    /// not given; where it cannot be written.
    pub fn write_parameters(&self, path: &Path, force: bool) -> Result<()> {
        files::ensure_free(path, force)?;
        if self.nominal {
            let error = Error::input("the checkpoint is nominal: it holds names, and no parameters");
            return Err(error.help("give one that holds its parameters"));
        }
        let mut parameters: Vec<_> = self.trainable.iter().chain(&self.frozen).collect();
        // The order of the format, in which all elements are aligned.
        parameters.sort_by_key(|(name, value)| (Reverse(value.element().dtype()), *name));
        let head = head(&parameters).map_err(|error| error.in_file(path))?;
        files::replace_file(path, force, |file| {
            let mut file = BufWriter::new(file);
            let written = file.write_all(&head).and_then(|()| {
                parameters.iter().try_for_each(|(_, value)| file.write_all(value.data())).and_then(|()| file.flush())
            });
            written.map_err(|error| Error::io("write the parameters", path, &error))
        })
    }

    /// This checkpoint with the parameters of the safetensors file `path` in place of its own. What trains, the
    /// optimizer's state and the properties stay.
    ///
    /// # Errors
    /// Where the file cannot be read or is damaged; where it lacks a parameter, has another than this checkpoint, or
    /// one of another shape or type.
    pub fn with_parameters_of(mut self, path: &Path) -> Result<Self> {
        let mut given = read(path)?;
        let nominal = self.nominal;
        for (name, value) in self.trainable.iter_mut().chain(&mut self.frozen) {
            let wrong = |what: String| {
                let help = "give with --like a checkpoint of the same model";
                Error::input(format!("the parameter `{name}` {what}")).help(help).in_file(path)
            };
            let new = given.remove(name).ok_or_else(|| wrong("is missing".to_owned()))?;
            let kind = |value: &Value| match nominal {
                true => value.element().to_string(),
                false => format!("{} {:?}", value.element(), value.shape()),
            };
            if kind(&new) != kind(value) {
                return Err(wrong(format!("is {}; the checkpoint has {}", kind(&new), kind(value))));
            }
            *value = new;
        }
        if let Some(name) = given.keys().next() {
            let count = given.len();
            let error = Error::input(format!("`{name}` is no parameter of the checkpoint, nor are {} more", count - 1));
            return Err(error.help("give with --like a checkpoint of the same model").in_file(path));
        }
        self.nominal = false;
        Ok(self)
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Value>> {
    let bytes = files::map(path)?;
    let refused = |what: String| Error::format(what).in_file(path);
    let tensors =
        SafeTensors::deserialize(&bytes).map_err(|e| refused(format!("it is no whole safetensors file: {e}")))?;
    let read = tensors.iter().map(|(name, view)| {
        let element = Element::from_dtype(view.dtype())
            .ok_or_else(|| refused(format!("the tensor `{name}` is {:?}, which no checkpoint has", view.dtype())))?;
        let value = Value::new(element, view.shape().to_vec(), bytes.slice_ref(view.data()));
        Ok((name.to_owned(), value.map_err(|error| error.in_file(path))?))
    });
    read.collect()
}

/// What stands in front of the elements: the length of a description of all tensors, and that.
fn head(parameters: &[(&String, &Value)]) -> Result<Vec<u8>> {
    let mut end = 0;
    let tensors = parameters.iter().map(|&(name, value)| {
        let start = end;
        end += value.data().len();
        let info =
            TensorInfo { dtype: value.element().dtype(), shape: value.shape().to_vec(), data_offsets: (start, end) };
        (name.clone(), info)
    });
    let cannot = |error: &dyn Display| Error::internal(format!("cannot write the parameters: {error}"));
    let described = Metadata::new(None, tensors.collect()).map_err(|error| cannot(&error))?;
    let mut described = serde_json::to_vec(&described).map_err(|error| cannot(&error))?;
    described.resize(described.len().next_multiple_of(8), b' ');
    if described.len() > LONGEST_HEAD {
        return Err(Error::unsupported("the parameters' names are too long for a safetensors file"));
    }
    Ok([&(described.len() as u64).to_le_bytes()[..], &described].concat())
}
