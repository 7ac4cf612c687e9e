//! ONNX Runtime's shared library: finding it, and installing one.
//!
//! A library is code. So nothing that lies in the current folder by chance is loaded or run: libraries and programs
//! have absolute paths, Python is isolated, and the cache folder is the user's alone.

mod cache;
mod cuda;
mod discover;
mod elf;
#[cfg(feature = "install")]
mod install;
mod packages;
mod probe;
mod program;
mod python;
pub(crate) mod system;

pub use cuda::{Card, Cuda, Lack};
pub use discover::{Candidate, Origin, discover, for_steps, for_training, prefer, tell_found};
#[cfg(feature = "install")]
pub use install::{InstallStep, Item, Plan, Source, install, install_onnxruntime, install_training, plan};
pub use packages::Package;

use std::fmt;
use std::path::PathBuf;

/// What a build of ONNX Runtime can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It runs models, and has the training API besides.
    Training,
    /// It runs models only.
    Stock,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Training => "training",
            Self::Stock => "stock",
        })
    }
}

/// A shared library of ONNX Runtime that loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// The shared library, by its absolute path without links.
    pub library: PathBuf,
    /// The version it says it is, such as `1.19.2`.
    pub version: String,
    /// Whether it can train.
    pub kind: Kind,
    /// Its execution providers in ONNX Runtime's own names, such as `CPUExecutionProvider`.
    pub providers: Vec<String>,
}

impl Runtime {
    /// Whether it has the training API.
    pub fn can_train(&self) -> bool {
        self.kind == Kind::Training
    }
}

/// Whether a file name is that of ONNX Runtime's shared library, whose version may stand in it:
/// `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`, `onnxruntime.dll`.
fn is_runtime_library(name: &str) -> bool {
    name.starts_with("libonnxruntime.") || name == "onnxruntime.dll"
}
