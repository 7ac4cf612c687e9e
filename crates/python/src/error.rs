//! gnp's errors as exceptions.

use crate::options::in_python;
use gnp::{Error, ErrorKind, cli};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyType};

/// What `program` returns, its failures as `GnpError`; a panic, which is a defect of ours, is one too.
pub fn caught<T>(program: impl FnOnce() -> gnp::Result<T>) -> PyResult<T> {
    cli::caught_here(program).map_err(exception)
}

/// The `GnpError` that says what `error` says, in which settings are named as keyword arguments.
pub fn exception(error: Error) -> PyErr {
    let error = error.in_terms_of(|flag| in_python(flag) + "=");
    Python::attach(|py| made(py, &error).unwrap_or_else(|failure| failure))
}

fn made(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(py, "gnp.errors", "GnpError")?;
    let (node, operator) = error.node().unzip();
    let rest = [
        ("kind", Some(kind(error.kind()).to_owned())),
        ("file", error.file().map(|file| file.display().to_string())),
        ("node", node.map(str::to_owned)),
        ("operator", operator.map(str::to_owned)),
        // The one flag that messages have by its letter: functions take outputs by their places.
        ("help", error.help_text().map(|help| help.replace(" with -o", ""))),
    ];
    let value = class.call((error.to_string(),), Some(&rest.into_py_dict(py)?))?;
    Ok(PyErr::from_value(value))
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Input => "input",
        ErrorKind::Format => "format",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Io => "io",
        ErrorKind::Engine => "engine",
        ErrorKind::Diverged => "diverged",
        _ => "internal",
    }
}
