//! Finding and reading the files of a data set.

use super::{Data, Dataset, idx, npz};
use crate::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const LAYOUTS: &str = "give a folder with train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz] (for the test \
                       set t10k-…), or an .npz file with x_train, y_train, x_test, y_test, or with x, y";

/// Which half of a data set is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Train,
    Test,
}

/// Where data come from, and what is done to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The training data.
    pub train: PathBuf,
    /// The test data, where the training data come without or others are wanted.
    pub test: Option<PathBuf>,
    /// What the samples are divided by; 255 for bytes, 1 for all else, where none is given.
    pub divisor: Option<f32>,
    /// The fraction of the training labels that is redrawn.
    pub label_noise: f64,
}

impl Options {
    /// The data at `train`, as they are.
    pub fn new(train: impl Into<PathBuf>) -> Self {
        Self { train: train.into(), test: None, divisor: None, label_noise: 0.0 }
    }
}

impl Data {
    /// Reads the training data, and the test set where there is one.
    ///
    /// A path is one of
    /// - a folder with IDX files named like MNIST's (`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-…`),
    ///   plain or `.gz`;
    /// - an IDX file of images, whose labels lie beside it (`images` → `labels`, `idx3` → `idx1` in the name);
    /// - an `.npz` archive with `x_train`, `y_train` and perhaps `x_test`, `y_test`; or with `x`, `y` alone.
    ///
    /// # Errors
    /// Where a file is missing or damaged, an array is not there, samples and labels do not match, or a set is empty.
    pub fn load(options: &Options) -> Result<Self> {
        let (path, test_path) = (&*options.train, options.test.as_deref());
        let train = load_part(path, Part::Train)?
            .ok_or_else(|| Error::input("there is no training data here").in_file(path).help(LAYOUTS))?;
        let test = match test_path {
            Some(path) => Some(
                load_part(path, Part::Test)?
                    .ok_or_else(|| Error::input("there is no test data here").in_file(path).help(LAYOUTS))?,
            ),
            None if is_single_set(path)? => None,
            None => load_part(path, Part::Test)?,
        };
        Ok(Self { train, test })
    }
}

/// One part of the data at `path`; none where there is no such part.
fn load_part(path: &Path, part: Part) -> Result<Option<Dataset>> {
    if path.is_dir() {
        let stem = match part {
            Part::Train => "train",
            Part::Test => "t10k",
        };
        match find_idx(path, stem, "images", 3) {
            Some(images) => load_idx_pair(&images).map(Some),
            None => Ok(None),
        }
    } else if is_npz(path)? {
        load_npz_part(path, part)
    } else {
        load_idx_pair(path).map(Some)
    }
}

/// Whether `path` holds one unnamed set, which cannot be both training and test data.
fn is_single_set(path: &Path) -> Result<bool> {
    Ok(if path.is_dir() {
        false
    } else if is_npz(path)? {
        !npz::Npz::open(path)?.contains("x_train")
    } else {
        true
    })
}

fn is_npz(path: &Path) -> Result<bool> {
    let mut magic = Vec::with_capacity(4);
    let file = File::open(path).map_err(|error| Error::io("open the data", path, &error))?;
    file.take(4).read_to_end(&mut magic).map_err(|error| Error::io("read the data", path, &error))?;
    Ok(magic.starts_with(b"PK") || path.extension().is_some_and(|extension| extension == "npz"))
}

fn load_npz_part(path: &Path, part: Part) -> Result<Option<Dataset>> {
    let mut npz = npz::Npz::open(path)?;
    let named = match part {
        Part::Train => ["x_train", "y_train"],
        Part::Test => ["x_test", "y_test"],
    };
    let [x, y] = match named {
        named if npz.contains(named[0]) => named,
        _ if npz.contains("x") => ["x", "y"],
        _ if part == Part::Test => return Ok(None),
        // Reading reports what is missing and lists what is there.
        named => named,
    };
    Dataset::new(npz.read(x)?, npz.read(y)?).map(Some).map_err(|error| error.in_file(path))
}

/// The IDX file `<stem>-<kind>-idx<rank>-ubyte` in `folder`, under one of the names in use.
fn find_idx(folder: &Path, stem: &str, kind: &str, rank: u8) -> Option<PathBuf> {
    let names = ["-", "."].into_iter().flat_map(|separator| {
        ["", ".gz"].into_iter().map(move |end| format!("{stem}-{kind}{separator}idx{rank}-ubyte{end}"))
    });
    names.map(|name| folder.join(name)).find(|path| path.is_file())
}

fn load_idx_pair(images: &Path) -> Result<Dataset> {
    let labels = labels_beside(images)?;
    Dataset::new(idx::read(images)?, idx::read(&labels)?).map_err(|error| error.in_file(images))
}

/// The labels that belong to a file of images, compressed or not.
fn labels_beside(images: &Path) -> Result<PathBuf> {
    let name = images.file_name().unwrap_or_default().to_string_lossy();
    let plain = name.strip_suffix(".gz").unwrap_or(&name).replacen("images", "labels", 1).replacen("idx3", "idx1", 1);
    if !name.contains("images") {
        return Err(Error::input(
            "neither an .npz archive nor a file of images: its labels cannot be found by its name",
        )
        .in_file(images)
        .help(LAYOUTS));
    }
    let found = [plain.clone(), format!("{plain}.gz")].map(|name| images.with_file_name(name));
    found
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| Error::input(format!("the labels are missing: expected {plain}[.gz] beside it")).in_file(images))
}

#[cfg(test)]
mod tests {
    use super::super::npz::tests::NpzWriter;
    use super::*;
    use ndarray::array;

    /// An IDX file of bytes.
    fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
        let header = [0, 0, 8, shape.len() as u8];
        let dims = shape.iter().flat_map(|dim| dim.to_be_bytes());
        header.into_iter().chain(dims).chain(values.iter().copied()).collect()
    }

    fn load(train: &Path, test: Option<&Path>) -> Result<Data> {
        Data::load(&Options { test: test.map(Path::to_owned), ..Options::new(train) })
    }

    #[test]
    fn reads_a_folder_of_idx_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte", &idx(&[2, 1, 2], &[1, 2, 3, 4]));
        assert!(load(folder.path(), None).unwrap_err().to_string().contains("labels are missing"));
        write("train-labels-idx1-ubyte", &idx(&[2], &[7, 8]));
        let data = load(folder.path(), None).unwrap();
        assert_eq!((data.train.sample_shape(), data.train.labels().classes()), (&[1, 2][..], Some(&[7, 8][..])));
        assert_eq!(data.test, None);

        write("t10k-images.idx3-ubyte", &idx(&[1, 1, 2], &[5, 6]));
        write("t10k-labels.idx1-ubyte", &idx(&[1], &[9]));
        assert_eq!(load(folder.path(), None).unwrap().test.unwrap().labels().classes().unwrap(), [9]);
        let images = folder.path().join("train-images-idx3-ubyte");
        assert_eq!(load(&images, None).unwrap().test, None);
        assert_eq!(load(&images, Some(folder.path())).unwrap().test.unwrap().labels().classes().unwrap(), [9]);
    }

    #[test]
    fn an_empty_folder_has_no_data() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path(), None).unwrap_err();
        assert!(error.to_string().ends_with("there is no training data here"));
        assert_eq!(error.help_text(), Some(LAYOUTS));
    }

    #[test]
    fn reads_archives_with_either_names() {
        let folder = tempfile::tempdir().unwrap();
        let (both, one) = (folder.path().join("both.npz"), folder.path().join("one.npz"));
        let (x, y) = (array![[1u8, 2], [3, 4]].into_dyn(), array![0i64, 1].into_dyn());
        NpzWriter::create(&both)
            .add("x_train", x.clone())
            .add("y_train", y.clone())
            .add("x_test", x.clone())
            .add("y_test", y.clone())
            .finish();
        NpzWriter::create(&one).add("x", x).add("y", y).finish();
        let data = load(&both, None).unwrap();
        assert_eq!(data.test.as_ref(), Some(&data.train));
        assert_eq!(load(&one, None).unwrap(), Data { train: data.train.clone(), test: None });
        assert_eq!(load(&one, Some(&one)).unwrap(), data);
    }
}
