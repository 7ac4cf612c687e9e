//! Training data from files: formats, shuffling, normalisation, augmentation, batches in background threads.
//!
//! [`Data`] is what [`DataSource`] names, read by the [`Format`] that knows it; a [`Feed`] joins it to the inputs of a
//! graph, and a [`Loader`] makes its batches.
//!
//! ```
//! use gnp_data::{Data, DataSource, Feed, Preparation};
//! use gnp_tensor::{ElementType, Port};
//! let data = Data::load(&DataSource::new("../../models/digits.npz"), 0)?;
//! let ports = [Port::new("x", ElementType::F32, [None, Some(64)]), Port::new("labels", ElementType::I64, [None])];
//! let feed = Feed::new(&data.train, &ports, &Preparation::divide(16.0), 0)?;
//! assert_eq!(feed.batch(&[0, 1, 2])?[0].shape(), [3, 64]);
//! # Ok::<(), gnp_base::Error>(())
//! ```
#![forbid(unsafe_code)]

mod array;
pub mod augment;
mod check;
mod dataset;
mod decode;
mod feed;
mod formats;
mod image_files;
mod labels;
mod layout;
mod lists;
mod load;
mod loader;
mod memory;
mod normalization;
mod order;
mod port_shape;
mod preparation;
mod resize;
mod samples;
mod source;
mod text;

pub use array::{Array, Values};
pub use dataset::{Data, Dataset, Input, Target};
pub use feed::Feed;
pub use formats::{Chosen, Format, Formats, Found, Part, Parts};
pub use image_files::ImageFiles;
pub use labels::Labels;
pub use lists::Lists;
pub use loader::{Batch, Loader};
pub use memory::free as free_memory;
pub use normalization::{Normalization, Normalize};
pub use order::epoch_order;
pub use preparation::{Lengths, Preparation};
pub use samples::Samples;
pub use source::{DataSource, Selection};
