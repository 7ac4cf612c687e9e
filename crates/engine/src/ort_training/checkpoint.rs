//! Checkpoints: parameters, optimizer state and properties, which a session trains in place.

use super::api::TrainingApi;
use crate::ort::api::{c_path, c_string};
use crate::ort::value::Value;
use gnp_base::{Error, Result};
use gnp_tensor::Tensor;
use ort::sys::{OrtCheckpointState, OrtPropertyType};
use std::path::Path;
use std::{fs, ptr};

/// A named value that a checkpoint carries besides the parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// A whole number.
    Int(i64),
    /// A 32-bit IEEE float.
    Float(f32),
    /// Text without NUL characters.
    Text(String),
}

/// A checkpoint in memory. Parameters are read and written where the session trains them.
pub(super) struct Checkpoint {
    api: TrainingApi,
    pointer: *mut OrtCheckpointState,
}

// SAFETY: ONNX Runtime lets any thread use and release it, one at a time.
unsafe impl Send for Checkpoint {}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // SAFETY: the state is ours, and the session that uses it has been released before.
        unsafe { (self.api.training.ReleaseCheckpointState)(self.pointer) }
    }
}

impl Checkpoint {
    /// Reads the checkpoint `file`.
    pub(super) fn load(api: TrainingApi, file: &Path) -> Result<Self> {
        fs::metadata(file).map_err(|e| Error::io("read the checkpoint", file, &e))?;
        let path = c_path(file)?;
        let mut pointer = ptr::null_mut();
        // SAFETY: the path is NUL-terminated and the out pointer valid.
        api.check(unsafe { (api.training.LoadCheckpoint)(path.as_ptr(), &mut pointer) })
            .map_err(|e| Error::format(format!("cannot read the checkpoint: {e}")).in_file(file))?;
        Ok(Self { api, pointer })
    }

    /// Writes parameters, optimizer state and properties to `file`.
    pub(super) fn save(&mut self, file: &Path) -> Result<()> {
        let path = c_path(file)?;
        // SAFETY: the state is valid and the path NUL-terminated.
        self.api
            .check(unsafe { (self.api.training.SaveCheckpoint)(self.pointer, path.as_ptr(), true) })
            .map_err(|e| Error::engine(format!("cannot write the checkpoint: {e}")).in_file(file))
    }

    pub(super) fn pointer(&self) -> *mut OrtCheckpointState {
        self.pointer
    }

    /// A copy of the parameter `name`.
    pub(super) fn parameter(&self, name: &str) -> Result<Tensor> {
        let c_name = c_string(name)?;
        let mut value = ptr::null_mut();
        // SAFETY: the arguments are valid; the value that is returned is new and ours.
        let value = unsafe {
            let status =
                (self.api.training.GetParameter)(self.pointer, c_name.as_ptr(), self.api.allocator, &mut value);
            self.api.check(status).map_err(|e| Error::engine(format!("cannot read the parameter `{name}`: {e}")))?;
            Value::from_raw(self.api.ort, value)
        };
        value.to_tensor()
    }

    /// Overwrites the parameter `name`, whose shape and element type `tensor` must have.
    pub(super) fn set_parameter(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let c_name = c_string(name)?;
        let value = Value::of(self.api.ort, tensor)?;
        // SAFETY: the arguments are valid, and the value is copied from.
        let status = unsafe { (self.api.training.UpdateParameter)(self.pointer, c_name.as_ptr(), value.pointer()) };
        self.api.check(status).map_err(|e| Error::engine(format!("cannot set the parameter `{name}`: {e}")))
    }

    /// The property `name`.
    pub(super) fn property(&self, name: &str) -> Result<Property> {
        let c_name = c_string(name)?;
        let mut kind = OrtPropertyType::OrtIntProperty;
        let mut value = ptr::null();
        // SAFETY: the arguments are valid. What is returned comes from the default allocator, points to what `kind`
        // says, and is freed once.
        unsafe {
            let status = (self.api.training.GetProperty)(
                self.pointer,
                c_name.as_ptr(),
                self.api.allocator,
                &mut kind,
                &mut value,
            );
            self.api.check(status).map_err(|e| Error::engine(format!("cannot read the property `{name}`: {e}")))?;
            let property = match kind {
                OrtPropertyType::OrtIntProperty => Property::Int(value.cast::<i64>().read()),
                OrtPropertyType::OrtFloatProperty => Property::Float(value.cast::<f32>().read()),
                OrtPropertyType::OrtStringProperty => return Ok(Property::Text(self.api.take_string(value.cast())?)),
            };
            self.api.check((self.api.base.AllocatorFree)(self.api.allocator, value.cast_mut().cast()))?;
            Ok(property)
        }
    }

    /// Adds the property `name`, or overwrites it.
    pub(super) fn set_property(&mut self, name: &str, property: &Property) -> Result<()> {
        let c_name = c_string(name)?;
        let text;
        let (kind, value): (_, *const ()) = match property {
            Property::Int(number) => (OrtPropertyType::OrtIntProperty, ptr::from_ref(number).cast()),
            Property::Float(number) => (OrtPropertyType::OrtFloatProperty, ptr::from_ref(number).cast()),
            Property::Text(string) => {
                text = c_string(string)?;
                (OrtPropertyType::OrtStringProperty, text.as_ptr().cast())
            }
        };
        // SAFETY: the arguments are valid, `value` points to what `kind` says, and is copied.
        let status = unsafe { (self.api.training.AddProperty)(self.pointer, c_name.as_ptr(), kind, value) };
        self.api.check(status).map_err(|e| Error::engine(format!("cannot set the property `{name}`: {e}")))
    }
}
