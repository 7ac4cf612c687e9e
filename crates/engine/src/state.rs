//! The state of a step model, by name, and its file.
//!
//! The file is in the format *safetensors*: a table of names, element types and shapes in JSON, then the elements.
//! Every engine, and Python, reads it.

use gnp_base::{Error, Result, files};
use gnp_tensor::{ElementType, Port, Tensor, finite};
use safetensors::tensor::{TensorView, View};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Parameters, statistics, optimizer slots and the count of steps, each under the name of its input in the step model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State(BTreeMap<String, Tensor>);

impl FromIterator<(String, Tensor)> for State {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(tensors: I) -> Self {
        Self(tensors.into_iter().collect())
    }
}

impl IntoIterator for State {
    type Item = (String, Tensor);
    type IntoIter = std::collections::btree_map::IntoIter<String, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl State {
    /// The tensor `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// The names and tensors, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that all floats are finite: nothing can be gone on with from others, and no run keeps them.
    ///
    /// # Errors
    /// Where one is NaN or infinite; the message names its tensor.
    pub fn check_finite(&self) -> Result<()> {
        finite::find(self.iter()).map_or(Ok(()), |found| Err(found.in_state()))
    }

    /// The tensors for `ports`, in their order.
    ///
    /// # Errors
    /// Where one is missing, one too many, or of another element type or shape. Where an element is NaN or infinite.
    pub(crate) fn in_order_of<'p>(&self, ports: impl Iterator<Item = &'p Port>) -> Result<Vec<&Tensor>> {
        const HELP: &str = "it belongs to another model, or to this one rewritten with another optimizer";
        let mut known = HashSet::new();
        let tensors = ports.map(|port| {
            let name = port.name.as_str();
            known.insert(name);
            let tensor = self.get(name).ok_or_else(|| Error::input(format!("the state lacks `{name}`")).help(HELP))?;
            if port.accepts(tensor) {
                return Ok(tensor);
            }
            let (element, shape) = (tensor.element(), tensor.shape());
            Err(Error::input(format!("`{name}` is {port}, but in the state {element} {shape:?}")).help(HELP))
        });
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        match self.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, _)) => Err(Error::input(format!("the model has no state `{name}`")).help(HELP)),
            None => self.check_finite().map(|()| tensors),
        }
    }

    /// Writes all tensors to `file`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let tensors = self.iter().map(|(name, tensor)| (name, Elements(tensor)));
        safetensors::serialize_to_file(tensors, None, file).map_err(|e| {
            let what = format!("cannot write the state: {e}");
            match &e {
                SafeTensorError::IoError(error) => Error::os(what, error),
                _ => Error::internal(what),
            }
            .in_file(file)
        })
    }

    /// Writes all tensors to `file`, which holds either them or what it held before, whatever happens.
    ///
    /// # Errors
    /// Where a number is NaN or infinite; where the file cannot be written.
    pub fn save(&self, file: &Path) -> Result<()> {
        self.check_finite()?;
        let staging = files::Staging::beside(file)?;
        self.write(&staging.path()).map_err(|e| e.in_place_of(&staging.path(), file))?;
        files::persist(&staging, file, true)
    }

    /// Reads a file that [`State::write`] wrote.
    ///
    /// # Errors
    /// Where the file cannot be read, is no safetensors file, or holds elements that no state has.
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = files::map(file)?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|e| Error::format(format!("not a state in the format safetensors: {e}")).in_file(file))?;
        let read = tensors.iter().map(|(name, view)| Ok((name.to_owned(), tensor(name, &view)?)));
        read.collect::<Result<_>>().map_err(|e| e.in_file(file))
    }
}

/// A tensor as the format looks at it.
struct Elements<'t>(&'t Tensor);

impl View for Elements<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.element() {
            ElementType::F32 => Dtype::F32,
            ElementType::I32 => Dtype::I32,
            ElementType::I64 => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.to_le_bytes()
    }

    fn data_len(&self) -> usize {
        self.0.shape().iter().product::<usize>() * self.0.element().size()
    }
}

fn tensor(name: &str, view: &TensorView<'_>) -> Result<Tensor> {
    let element = match view.dtype() {
        Dtype::F32 => ElementType::F32,
        Dtype::I32 => ElementType::I32,
        Dtype::I64 => ElementType::I64,
        other => return Err(Error::format(format!("the tensor `{name}` holds elements of type {other:?}"))),
    };
    Tensor::from_le_bytes(element, view.shape(), view.data())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.safetensors");
        let of = |value: f32| State::from_iter([("w".to_owned(), Tensor::scalar(value))]);
        of(1.0).save(&file).unwrap();
        of(2.0).save(&file).unwrap();
        assert!(of(f32::NAN).save(&file).is_err());
        assert_eq!(State::read(&file).unwrap(), of(2.0));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = of(1.0).save(&folder.path().join("none/state.safetensors")).unwrap_err();
        assert!(error.to_string().contains("none: cannot write to the folder"), "{error}");
    }
}
