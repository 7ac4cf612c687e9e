//! Data sets of samples with class labels: read from files, shuffled, fed in batches.

mod array;
mod feed;
mod idx;
mod npz;
mod order;

pub use array::{Array, Values};
pub use feed::Feed;
pub use order::epoch_order;

use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Samples, and the class of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    samples: Array,
    labels: Vec<i64>,
}

/// What is trained on, and what the result is measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The training set.
    pub train: Dataset,
    /// The test set, where there is one.
    pub test: Option<Dataset>,
}

/// Which half of a data set is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Train,
    Test,
}

impl Data {
    /// Reads `path`, and the test set from `test_path` where it is given.
    ///
    /// A path is one of
    /// - a folder with IDX files named like MNIST's (`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-…`),
    ///   plain or `.gz`;
    /// - an IDX file of images, whose labels lie beside it (`images` → `labels`, `idx3` → `idx1` in the name);
    /// - an `.npz` archive with `x_train`, `y_train` and perhaps `x_test`, `y_test`; or with `x`, `y` alone.
    ///
    /// # Errors
    /// Where a file is missing or damaged, an array is not there, samples and labels do not match, or a set is empty.
    pub fn load(path: &Path, test_path: Option<&Path>) -> Result<Self> {
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

const LAYOUTS: &str = "give a folder with train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz] (for the test \
                       set t10k-…), or an .npz file with x_train, y_train, x_test, y_test, or with x, y";

impl Dataset {
    /// A data set of `samples` (any shape, the outermost axis counts them) and their `labels` (one integer a sample,
    /// of shape `[n]` or `[n, 1]`).
    ///
    /// # Errors
    /// Where the counts differ, there are none, or a label is not a whole number from 0 on.
    pub fn new(samples: Array, labels: Array) -> Result<Self> {
        let samples_count = samples.shape().first().copied().unwrap_or(0);
        let shape = labels.shape().to_vec();
        let (&[labels_count] | &[labels_count, 1]) = shape.as_slice() else {
            return Err(Error::input(format!("the labels have shape {shape:?}; expected one class index a sample"))
                .help("turn one-hot labels into class indices, e.g. with .argmax(1)"));
        };
        if samples_count != labels_count {
            return Err(Error::input(format!("there are {samples_count} samples but {labels_count} labels")));
        }
        if samples_count == 0 {
            return Err(Error::input("the data set is empty"));
        }
        let labels: Vec<i64> = match labels.into_values() {
            Values::U8(labels) => labels.into_iter().map(i64::from).collect(),
            Values::I64(labels) => labels,
            Values::F32(_) => {
                return Err(Error::input("the labels are floats; expected class indices")
                    .help("save them as integers, e.g. with .astype(numpy.int64)"));
            }
        };
        if let Some((sample, label)) = labels.iter().enumerate().find(|(_, label)| **label < 0) {
            return Err(Error::input(format!("sample {sample} has the label {label}; classes count from 0")));
        }
        Ok(Self { samples, labels })
    }

    /// The number of samples; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The shape of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        &self.samples.shape()[1..]
    }

    /// The samples.
    pub fn samples(&self) -> &Array {
        &self.samples
    }

    /// The class of each sample.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// One more than the largest label.
    pub fn label_bound(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| label as usize + 1)
    }

    /// Checks that a model with this number of classes can have every label.
    ///
    /// # Errors
    /// Where it cannot: the message names the first such sample.
    pub fn check_labels(&self, classes: usize) -> Result<()> {
        match self.labels.iter().position(|&label| label as usize >= classes) {
            None => Ok(()),
            Some(sample) => Err(Error::input(format!(
                "sample {sample} has the label {}, but the model has {classes} classes (0 to {})",
                self.labels[sample],
                classes.saturating_sub(1)
            ))
            .help("train a model with as many classes as the data have, or renumber the labels from 0")),
        }
    }

    /// Redraws the labels of the fraction `noise` of the samples uniformly over all `classes`: a label may come out
    /// as it was. The same `seed` redraws the same samples to the same labels.
    ///
    /// # Errors
    /// Where `noise` is not between 0 and 1.
    pub fn redraw_labels(&mut self, noise: f64, classes: usize, seed: u64) -> Result<()> {
        if !(0.0..=1.0).contains(&noise) {
            return Err(Error::input(format!("the label noise must lie between 0 and 1, not at {noise}")));
        }
        order::redraw(&mut self.labels, noise, classes, seed);
        Ok(())
    }

    /// The SHA-256 of shape, samples and labels, in hexadecimal: which data these are.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.samples.shape()));
        match self.samples.values() {
            Values::U8(values) => hash.update(values),
            Values::I64(values) => values.iter().for_each(|value| hash.update(value.to_le_bytes())),
            Values::F32(values) => values.iter().for_each(|value| hash.update(value.to_le_bytes())),
        }
        self.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
    use super::npz::tests::NpzWriter;
    use super::*;
    use ndarray::array;

    fn bytes(shape: &[usize], values: &[u8]) -> Array {
        Array::new(shape.to_vec(), Values::U8(values.to_vec())).unwrap()
    }

    fn message(result: Result<Dataset>) -> String {
        result.unwrap_err().to_string()
    }

    /// An IDX file of bytes.
    fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
        let header = [0, 0, 8, shape.len() as u8];
        let dims = shape.iter().flat_map(|dim| dim.to_be_bytes());
        header.into_iter().chain(dims).chain(values.iter().copied()).collect()
    }

    #[test]
    fn refuses_what_is_no_data_set() {
        let samples = || bytes(&[2, 2], &[1, 2, 3, 4]);
        assert_eq!(message(Dataset::new(samples(), bytes(&[3], &[0; 3]))), "there are 2 samples but 3 labels");
        assert!(message(Dataset::new(samples(), bytes(&[2, 3], &[0; 6]))).contains("shape [2, 3]"));
        assert_eq!(message(Dataset::new(bytes(&[0, 2], &[]), bytes(&[0], &[]))), "the data set is empty");
        let floats = Array::new(vec![2], Values::F32(vec![0.0, 1.0])).unwrap();
        assert!(message(Dataset::new(samples(), floats)).contains("floats"));
        let negative = Array::new(vec![2], Values::I64(vec![0, -1])).unwrap();
        assert!(message(Dataset::new(samples(), negative)).contains("sample 1 has the label -1"));
        assert!(Dataset::new(samples(), bytes(&[2, 1], &[0, 1])).is_ok());
    }

    #[test]
    fn labels_must_be_classes_of_the_model() {
        let data = Dataset::new(bytes(&[3, 1], &[0; 3]), bytes(&[3], &[0, 2, 1])).unwrap();
        assert_eq!(data.label_bound(), 3);
        assert!(data.check_labels(3).is_ok());
        let error = data.check_labels(2).unwrap_err().to_string();
        assert_eq!(error, "sample 1 has the label 2, but the model has 2 classes (0 to 1)");
    }

    #[test]
    fn reads_a_folder_of_idx_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte", &idx(&[2, 1, 2], &[1, 2, 3, 4]));
        assert!(Data::load(folder.path(), None).unwrap_err().to_string().contains("labels are missing"));
        write("train-labels-idx1-ubyte", &idx(&[2], &[7, 8]));
        let data = Data::load(folder.path(), None).unwrap();
        assert_eq!((data.train.sample_shape(), data.train.labels()), (&[1, 2][..], &[7, 8][..]));
        assert_eq!(data.test, None);

        write("t10k-images.idx3-ubyte", &idx(&[1, 1, 2], &[5, 6]));
        write("t10k-labels.idx1-ubyte", &idx(&[1], &[9]));
        assert_eq!(Data::load(folder.path(), None).unwrap().test.unwrap().labels(), [9]);
        let images = folder.path().join("train-images-idx3-ubyte");
        assert_eq!(Data::load(&images, None).unwrap().test, None);
        assert_eq!(Data::load(&images, Some(folder.path())).unwrap().test.unwrap().labels(), [9]);
    }

    #[test]
    fn an_empty_folder_has_no_data() {
        let folder = tempfile::tempdir().unwrap();
        let error = Data::load(folder.path(), None).unwrap_err();
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
        let data = Data::load(&both, None).unwrap();
        assert_eq!(data.test.as_ref(), Some(&data.train));
        assert_eq!(Data::load(&one, None).unwrap(), Data { train: data.train.clone(), test: None });
        assert_eq!(Data::load(&one, Some(&one)).unwrap(), data);
    }

    #[test]
    fn the_digest_tells_data_apart() {
        let data = |label| Dataset::new(bytes(&[1, 1], &[1]), bytes(&[1], &[label])).unwrap();
        assert_eq!(data(0).digest(), data(0).digest());
        assert_ne!(data(0).digest(), data(1).digest());
    }
}
