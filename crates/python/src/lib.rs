//! gnp as a module of Python. The package `gnp`, in Python, is what users see; `gnp/_gnp.pyi` says what of this it has.

mod arrays;
mod engine;
mod error;
mod options;
mod runs;
mod schedule;
mod step_model;

use pyo3::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What Python sees of this crate.
#[pymodule]
mod _gnp {
    use super::*;
    use crate::options::{Described, described};

    #[pymodule_export]
    use super::arrays::{read_state, write_state};
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::runs::{rewrite_files, run_files, sweep_files};
    #[pymodule_export]
    use super::schedule::LearningRate;
    #[pymodule_export]
    use super::step_model::StepModel;

    /// The version of gnp.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

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

    /// Has the ONNX Runtime at `library` take precedence over others that nobody asked for.
    #[pyfunction]
    fn prefer_runtime(library: PathBuf) {
        gnp::engine::runtime::prefer(library);
    }

    /// In which order `gnp-run` takes `samples` samples in the epoch `epoch`, from 0, of a run with this seed.
    #[pyfunction]
    fn epoch_order(samples: usize, epoch: u64, seed: u64) -> Vec<usize> {
        gnp::data::epoch_order(samples, seed, epoch)
    }

    /// The options of a group of arguments.
    #[pyfunction]
    #[pyo3(name = "options")]
    fn option_list(group: &str) -> PyResult<Vec<Described>> {
        described(group)
    }
}
