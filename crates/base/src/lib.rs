//! What all of gnp shares: errors, which files may be read and replaced, how large things may become, and the names of
//! what is written ([`contract`]).
//!
//! An [`Error`] says where, what and what to do, and its [`ErrorKind`] what a program may do about it.
//!
//! ```
//! use gnp_base::{Error, ErrorKind, files};
//! let path = std::path::Path::new("nowhere.onnx");
//! let error = files::open(path).map_err(|e| Error::io("open the file", path, &e)).unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Io);
//! assert!(error.to_string().starts_with("nowhere.onnx: cannot open the file: "));
//! ```

pub mod caught;
pub mod choice;
pub mod contract;
pub mod digest;
pub mod error;
pub mod escaped;
pub mod files;
pub mod formula;
pub mod limits;
pub mod named;
pub mod naming;

pub use error::{Error, ErrorKind, Result};
