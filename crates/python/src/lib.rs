//! gnp as a module of Python: the names in `gnp/_gnp.pyi`.

use pyo3::prelude::*;
use std::ffi::OsString;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What Python sees of this crate.
#[pymodule]
mod _gnp {
    use super::*;

    /// Runs `gnp-run` with the words of a command line, and returns its exit code.
    #[pyfunction]
    fn gnp_run(py: Python<'_>, words: Vec<OsString>) -> u8 {
        py.detach(|| gnp::programs::gnp_run(words))
    }

    /// Runs `gnp-rewrite` with the words of a command line, and returns its exit code.
    #[pyfunction]
    fn gnp_rewrite(py: Python<'_>, words: Vec<OsString>) -> u8 {
        py.detach(|| gnp::programs::gnp_rewrite(words))
    }
}
