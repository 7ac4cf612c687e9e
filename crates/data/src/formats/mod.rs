//! The formats of data files: one file each, one list of all. A format of one's own is a [`Format`] that a
//! [`DataSource`](crate::DataSource) is given.

mod cifar;
pub(crate) mod idx;
mod image_folders;
mod named;
pub(crate) mod npy;
pub(crate) mod npz;
mod safetensors;
mod table;

use crate::text::Tokenizer;
use crate::{Dataset, Selection};
use gnp_base::{Error, Result, files};
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// What data can be.
pub(crate) const LAYOUTS: &str = "give a folder with train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz] (for the test set \
                       t10k-…), a folder of CIFAR's .bin files, a folder of images (train/<class>/*.jpg, val/<class>/*.jpg), an .npz or \
                       .safetensors file or a folder of .npy files with x_train, y_train, x_test, y_test or with x, y, \
                       (or arrays of the names of the model's inputs, and labels), or a .csv, .jsonl or .parquet file and --target";

/// The built-in formats, in the order in which they are asked: the last takes every file.
fn built_in() -> Vec<Arc<dyn Format>> {
    vec![
        Arc::new(idx::IdxFolders),
        Arc::new(cifar::CifarFolders),
        Arc::new(npy::NpyFolders),
        Arc::new(image_folders::ImageFolders),
        Arc::new(npz::NpzArchives),
        Arc::new(safetensors::SafetensorsFiles),
        Arc::new(table::CsvFiles),
        Arc::new(table::JsonLines),
        Arc::new(table::ParquetFiles),
        Arc::new(npy::NpyAlone),
        Arc::new(idx::IdxFiles),
    ]
}

/// Which half of a data set is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The training set.
    Train,
    /// The test set.
    Test,
}

/// A format of data files.
///
/// ```
/// use gnp_base::{Error, Result};
/// use gnp_data::{Array, Chosen, Data, DataSource, Dataset, Format, Found, Part, Parts, Values};
/// use std::path::{Path, PathBuf};
///
/// /// A line a sample: two numbers, and a class.
/// struct Lines;
///
/// impl Format for Lines {
///     fn name(&self) -> &str {
///         "lines of text"
///     }
///
///     fn recognises(&self, found: &Found<'_>) -> bool {
///         found.has_extension("txt")
///     }
///
///     fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
///         Ok(Box::new(Text(path.to_owned())))
///     }
/// }
///
/// struct Text(PathBuf);
///
/// impl Parts for Text {
///     fn part(&mut self, _: Part, _: &Chosen) -> Result<Option<Dataset>> {
///         let text = gnp_base::files::read_to_string(&self.0).map_err(|e| Error::io("read the lines", &self.0, &e))?;
///         let words: Vec<f32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
///         let (mut samples, mut labels) = (Vec::new(), Vec::new());
///         for line in words.chunks_exact(3) {
///             samples.extend(&line[..2]);
///             labels.push(line[2] as i64);
///         }
///         let shape = vec![labels.len(), 2];
///         let labels = Array::new(vec![labels.len()], Values::I64(labels))?;
///         Dataset::new(Array::new(shape, Values::F32(samples))?, labels).map(Some)
///     }
///
///     fn is_single_set(&self) -> bool {
///         true
///     }
/// }
///
/// let folder = tempfile::tempdir().unwrap();
/// let file = folder.path().join("data.txt");
/// std::fs::write(&file, "0.5 1 0\n1.5 2 1\n").unwrap();
/// let mut source = DataSource::new(&file);
/// source.formats = source.formats.with(Lines);
/// assert_eq!(Data::load(&source, 0)?.train.labels().classes(), Some(&[0, 1][..]));
/// # Ok::<(), Error>(())
/// ```
pub trait Format: Send + Sync {
    /// What it is called.
    fn name(&self) -> &str;

    /// Whether what was found is of this format.
    fn recognises(&self, found: &Found<'_>) -> bool;

    /// Opens what is at `path`, which is of this format.
    ///
    /// # Errors
    /// Where it cannot be read, or is damaged.
    fn open(&self, path: &Path) -> Result<Box<dyn Parts>>;
}

/// The parts of a data set whose files are open.
pub trait Parts {
    /// What of these data is fed, as `selection` says: the same is then taken of the test data.
    ///
    /// # Errors
    /// Where something is not there, or the format has nothing to choose from.
    fn choose(&self, selection: &Selection) -> Result<Chosen> {
        match selection.is_empty() {
            true => Ok(Chosen::default()),
            false => Err(Error::input("only a table (.csv, .jsonl, .parquet) has columns to choose from")),
        }
    }

    /// A part of the data, of which is taken what was `chosen` of the training data; none where there is no such part.
    ///
    /// # Errors
    /// Where something is missing or damaged, or samples and labels do not match.
    fn part(&mut self, part: Part, chosen: &Chosen) -> Result<Option<Dataset>>;

    /// Whether this is one unnamed set, which cannot be both training and test data.
    fn is_single_set(&self) -> bool;
}

/// What of the data is fed to a model: chosen of the training data, and the same of the test data.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// What was asked for, and where nothing was, what is there.
    pub(super) selection: Selection,
    /// The classes of each target that is text, sorted.
    pub(super) classes: Vec<Option<Vec<String>>>,
    /// What makes numbers of text.
    pub(super) tokenizer: Option<Arc<Tokenizer>>,
}

/// What is at a path, as a format looks at it.
#[derive(Clone, Debug)]
pub struct Found<'p> {
    path: &'p Path,
    is_folder: bool,
    start: Vec<u8>,
}

impl<'p> Found<'p> {
    /// What is at `path`.
    ///
    /// # Errors
    /// Where it is a file that cannot be read.
    pub(crate) fn at(path: &'p Path) -> Result<Self> {
        let (is_folder, mut start) = (path.is_dir(), Vec::new());
        if !is_folder {
            let file = files::open(path).map_err(|error| Error::io("open the data", path, &error))?;
            file.take(8).read_to_end(&mut start).map_err(|error| Error::io("read the data", path, &error))?;
        }
        Ok(Self { path, is_folder, start })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        self.path
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// The first eight bytes of a file, or as many as there are.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// Whether the name ends in a point and `extension`, in letters of either case.
    pub fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
    }
}

/// The formats that data are looked for in.
#[derive(Clone)]
pub struct Formats(Vec<Arc<dyn Format>>);

impl Default for Formats {
    /// The built-in ones.
    fn default() -> Self {
        Self(built_in())
    }
}

impl fmt::Debug for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|format| format.name())).finish()
    }
}

impl Formats {
    /// These, and `format`, which is asked before them.
    #[must_use]
    pub fn with(mut self, format: impl Format + 'static) -> Self {
        self.0.insert(0, Arc::new(format));
        self
    }

    /// Opens what is at `path`: `what` (training, test) data.
    pub(crate) fn open(&self, path: &Path, what: &str) -> Result<Box<dyn Parts>> {
        let found = Found::at(path)?;
        let format = self.0.iter().find(|format| format.recognises(&found));
        format.ok_or_else(|| missing(what, path))?.open(path)
    }
}

/// That there are no `what` (training, test) data at `path`.
pub(crate) fn missing(what: &str, path: &Path) -> Error {
    Error::input(format!("there is no {what} data here")).in_file(path).help(LAYOUTS)
}
