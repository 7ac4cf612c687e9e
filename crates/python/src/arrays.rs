//! NumPy's arrays as tensors, and back.

use crate::error::{caught, exception};
use gnp::Error;
use gnp::engine::State;
use gnp::tensor::Tensor;
use numpy::{IntoPyArray, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;

/// A copy of `array`, a NumPy array of float32, int32 or int64, which is called `name` in messages.
pub fn tensor(name: &str, array: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    if let Ok(array) = array.extract::<PyReadonlyArrayDyn<'_, f32>>() {
        return Ok(Tensor::F32(array.as_array().to_owned()));
    }
    if let Ok(array) = array.extract::<PyReadonlyArrayDyn<'_, i64>>() {
        return Ok(Tensor::I64(array.as_array().to_owned()));
    }
    if let Ok(array) = array.extract::<PyReadonlyArrayDyn<'_, i32>>() {
        return Ok(Tensor::I32(array.as_array().to_owned()));
    }
    let found = match array.cast::<PyUntypedArray>() {
        Ok(array) => format!("an array of {}", array.dtype()),
        Err(_) => array.get_type().name()?.to_string(),
    };
    Err(exception(
        Error::input(format!("`{name}` is {found}; expected a NumPy array of float32, int32 or int64"))
            .help("numpy.asarray(…, dtype=…) converts"),
    ))
}

/// The tensor as a NumPy array, which takes its memory over.
pub fn array(py: Python<'_>, tensor: Tensor) -> Bound<'_, PyAny> {
    match tensor {
        Tensor::F32(array) => array.into_pyarray(py).into_any(),
        Tensor::I32(array) => array.into_pyarray(py).into_any(),
        Tensor::I64(array) => array.into_pyarray(py).into_any(),
    }
}

/// The arrays of a mapping from names as a state.
pub fn state(arrays: &Bound<'_, PyDict>) -> PyResult<State> {
    let tensors = arrays.iter().map(|(name, array)| {
        let name: String = name.extract()?;
        let tensor = tensor(&name, &array)?;
        Ok((name, tensor))
    });
    tensors.collect()
}

/// The tensors of a state as arrays, under their names.
pub fn dict(py: Python<'_>, state: State) -> PyResult<Bound<'_, PyDict>> {
    let arrays = PyDict::new(py);
    for (name, tensor) in state {
        arrays.set_item(name, array(py, tensor))?;
    }
    Ok(arrays)
}

/// Reads a state from a file in the format safetensors.
#[pyfunction]
pub fn read_state(py: Python<'_>, file: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let state = py.detach(|| caught(|| State::read(&file)))?;
    dict(py, state)
}

/// Writes a state to a file in the format safetensors: whole or not at all.
#[pyfunction]
pub fn write_state(py: Python<'_>, file: PathBuf, state: &Bound<'_, PyDict>) -> PyResult<()> {
    let state = self::state(state)?;
    py.detach(|| caught(|| state.save(&file)))
}
