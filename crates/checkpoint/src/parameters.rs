//! The parameters alone, as a safetensors file.

use crate::{Checkpoint, Element, Value};
use gnp_base::{Error, Result, files};
use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensors};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

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
        let parameters = self.trainable.iter().chain(&self.frozen).map(|(name, value)| (name, Elements(value)));
        let bytes = safetensors::serialize(parameters, None)
            .map_err(|error| Error::internal(format!("cannot write the parameters: {error}")).in_file(path))?;
        files::replace(path, force, bytes, "write the parameters")
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
            let kind = |value: &Value| format!("{} {:?}", value.element(), value.shape());
            if !nominal && kind(&new) != kind(value) {
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

/// A tensor as the format looks at it.
struct Elements<'v>(&'v Value);

impl View for Elements<'_> {
    fn dtype(&self) -> Dtype {
        self.0.element().dtype()
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.0.data())
    }

    fn data_len(&self) -> usize {
        self.0.data().len()
    }
}
