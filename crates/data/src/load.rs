//! From the files that are named to the data sets of a run.

use super::array::Array;
use super::formats::{Chosen, Found, Part, Parts, idx, missing, npy};
use super::{Data, DataSource, Dataset};
use gnp_base::{Error, Result};
use std::path::{Path, PathBuf};

impl Data {
    /// Reads the data that `source` names. `seed` decides what is split off, and which training samples are used.
    ///
    /// A path is one of
    /// - a folder with IDX files named like MNIST's (`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-…`),
    ///   plain or `.gz`;
    /// - an IDX file of images, whose labels lie beside it (`images` → `labels`, `idx3` → `idx1` in the name);
    /// - an `.npz` archive, a `.safetensors` file or a folder of `.npy` files with `x_train`, `y_train` and perhaps
    ///   `x_test`, `y_test`; or with `x`, `y` alone; or with arrays of the names of a model's inputs in place of `x`;
    /// - an `.npy` or IDX file of samples, where the labels are given as another;
    /// - a folder with the binary version of CIFAR-10 (`data_batch_1.bin`, …, `test_batch.bin`) or CIFAR-100
    ///   (`train.bin`, `test.bin`);
    /// - a folder of images in `train/<class>/` and perhaps `val/<class>/`, else `test/<class>/`; or in `<class>/`
    ///   alone;
    /// - a `.csv` file with a header, a file of JSON lines (`.jsonl`) or a `.parquet` file, of which the targets are
    ///   named.
    ///
    /// The test set is the part of the training samples that is split off, else what is named, else what is found with
    /// the training data. Its classes have the numbers of the training set's where both have names. Of the training
    /// samples that are left, those that are not drawn are as if they were not there.
    ///
    /// # Errors
    /// Where a file is missing or damaged, an array is not there, samples and labels do not match, a set is empty, or
    /// there are fewer training samples than are to be used.
    ///
    /// ```
    /// use gnp_data::{Data, DataSource};
    /// let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/digits.npz");
    /// let data = Data::load(&DataSource::new(digits), 0)?;
    /// assert_eq!((data.train.len(), data.test.map(|test| test.len())), (1000, Some(797)));
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    pub fn load(source: &DataSource, seed: u64) -> Result<Self> {
        let mut data = Self::read(source, seed)?;
        if let Some(count) = source.train_samples {
            let train = data.train.subset(count, seed);
            data.train = train.map_err(|error| error.in_file(&source.train))?;
        }
        Ok(data)
    }

    /// All of the data.
    fn read(source: &DataSource, seed: u64) -> Result<Self> {
        let path = &*source.train;
        let mut files = open(source, path, source.labels.as_deref(), "training")?;
        let chosen = &files.choose(&source.selection).map_err(|error| error.in_file(path))?;
        let train = files.part(Part::Train, chosen)?.ok_or_else(|| missing("training", path))?;
        let test = match (source.test_split, &source.test) {
            (Some(_), Some(_)) => {
                return Err(Error::input("the test set is either named or split off the training set, not both"));
            }
            (Some(fraction), None) => {
                let (train, test) = train.split(fraction, seed).map_err(|error| error.in_file(path))?;
                return Ok(Self { train, test: Some(test) });
            }
            (None, Some(path)) => {
                let mut files = open(source, path, source.test_labels.as_deref(), "test")?;
                Some(files.part(Part::Test, chosen)?.ok_or_else(|| missing("test", path))?)
            }
            (None, None) if source.test_labels.is_some() => {
                return Err(Error::input("there are labels of test data, but no test data")
                    .help("name their file with --test-data"));
            }
            (None, None) if files.is_single_set() => None,
            (None, None) => files.part(Part::Test, chosen)?,
        };
        let named = source.test.as_deref().unwrap_or(path);
        let test = test.map(|test| test.align_classes(&train).map_err(|error| error.in_file(named)));
        Ok(Self { test: test.transpose()?, train })
    }
}

/// Opens what is at `path`, `what` (training, test) data: beside a file of `labels` a file of samples.
fn open(source: &DataSource, path: &Path, labels: Option<&Path>, what: &str) -> Result<Box<dyn Parts>> {
    match labels {
        Some(labels) => Ok(Box::new(Pair { samples: path.to_owned(), labels: labels.to_owned() })),
        None => source.formats.open(path, what),
    }
}

/// A file of samples and one of labels.
struct Pair {
    samples: PathBuf,
    labels: PathBuf,
}

impl Parts for Pair {
    fn part(&mut self, _: Part, _: &Chosen) -> Result<Option<Dataset>> {
        let Self { samples, labels } = self;
        let targets = read_array(labels)?;
        targets.check_finite("the labels").map_err(|error| error.in_file(&*labels))?;
        let data = Dataset::new(read_array(samples)?, targets);
        data.map(|data| Some(data.from_files(samples, labels))).map_err(|error| error.in_file(&*samples))
    }

    fn is_single_set(&self) -> bool {
        true
    }
}

/// The array in an `.npy` or IDX file.
fn read_array(path: &Path) -> Result<Array> {
    let is_npy = path.extension().is_some_and(|extension| extension == "npy");
    if is_npy || Found::at(path)?.start().starts_with(&npy::MAGIC) { npy::read(path) } else { idx::read(path) }
}

#[cfg(test)]
mod tests {
    use super::super::formats::LAYOUTS;
    use super::super::formats::npz::tests::NpzWriter;
    use super::*;
    use crate::Selection;
    use ndarray::array;

    fn load(path: &Path) -> Result<Data> {
        Data::load(&DataSource::new(path), 0)
    }

    fn load_both(path: &Path, test: &Path) -> Result<Data> {
        Data::load(&DataSource { test: Some(test.to_owned()), ..DataSource::new(path) }, 0)
    }

    fn npy(path: &Path, values: &[u8]) {
        let mut bytes = Vec::new();
        ndarray_npy::WriteNpyExt::write_npy(&ndarray::ArrayView1::from(values), &mut bytes).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// An IDX file of bytes.
    fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
        let header = [0, 0, 8, shape.len() as u8];
        let dims = shape.iter().flat_map(|dim| dim.to_be_bytes());
        header.into_iter().chain(dims).chain(values.iter().copied()).collect()
    }

    #[test]
    fn reads_a_folder_of_idx_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte", &idx(&[2, 1, 2], &[1, 2, 3, 4]));
        assert!(load(folder.path()).unwrap_err().to_string().contains("labels are missing"));
        write("train-labels-idx1-ubyte", &idx(&[2], &[7, 8]));
        let data = load(folder.path()).unwrap();
        assert_eq!(
            (data.train.samples().shape(), data.train.labels().classes()),
            (Some(&[1, 2][..]), Some(&[7, 8][..]))
        );
        assert_eq!(data.test, None);

        write("t10k-images.idx3-ubyte", &idx(&[1, 1, 2], &[5, 6]));
        write("t10k-labels.idx1-ubyte", &idx(&[1], &[9]));
        assert_eq!(load(folder.path()).unwrap().test.unwrap().labels().classes().unwrap(), [9]);
        let images = folder.path().join("train-images-idx3-ubyte");
        assert_eq!(load(&images).unwrap().test, None);
        assert_eq!(load_both(&images, folder.path()).unwrap().test.unwrap().labels().classes().unwrap(), [9]);
    }

    #[test]
    fn an_empty_folder_has_no_data() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path()).unwrap_err();
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
        let data = load(&both).unwrap();
        assert_eq!(data.test.as_ref(), Some(&data.train));
        assert_eq!(load(&one).unwrap(), Data { train: data.train.clone(), test: None });
        assert_eq!(load_both(&one, &one).unwrap(), data);
    }

    #[test]
    fn reads_npy_files_in_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for (name, values) in
            [("x_train.npy", [1, 2]), ("y_train.npy", [0, 1]), ("x_test.npy", [3, 4]), ("y_test.npy", [1, 1])]
        {
            npy(&file(name), &values);
        }
        let data = load(folder.path()).unwrap();
        assert_eq!(data.train.labels().classes().unwrap(), [0, 1]);
        assert_eq!(data.test.unwrap().labels().classes().unwrap(), [1, 1]);

        let error = load(&file("x_train.npy")).unwrap_err();
        assert!(error.help_text().unwrap().contains("--labels"));
        let source = DataSource { labels: Some(file("y_test.npy")), ..DataSource::new(file("x_train.npy")) };
        let pair = Data::load(&source, 3).unwrap();
        assert_eq!((pair.train.labels().classes().unwrap(), pair.test), (&[1, 1][..], None));
        let source = DataSource { test_labels: Some(file("y_test.npy")), ..source };
        assert!(Data::load(&source, 3).unwrap_err().to_string().contains("no test data"));
        let source = DataSource { test: Some(file("x_test.npy")), ..source };
        assert_eq!(Data::load(&source, 3).unwrap().test.unwrap().len(), 2);
    }

    #[test]
    fn reads_folders_of_images() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        // Classes, not parts.
        ["train/1.png", "bus/1.png"].into_iter().for_each(write);
        let data = load(folder.path()).unwrap();
        assert_eq!((data.train.class_names().join(" "), data.test), ("bus train".to_owned(), None));
        std::fs::remove_dir_all(folder.path().join("train")).unwrap();
        std::fs::remove_dir_all(folder.path().join("bus")).unwrap();

        ["train/cat/1.png", "train/dog/1.png", "train/dog/2.jpg"].into_iter().for_each(write);
        // An array beside them is none of samples.
        write("mean.npy");
        assert_eq!(load(folder.path()).unwrap().test, None);
        ["test/dog/9.png", "test/cat/8.png"].into_iter().for_each(write);
        write("val/dog/3.png");
        let data = load(folder.path()).unwrap();
        assert_eq!(data.train.labels().classes().unwrap(), [0, 1, 1]);
        assert_eq!(data.test.unwrap().labels().classes().unwrap(), [1]);
        let test = load_both(&folder.path().join("train"), &folder.path().join("test")).unwrap().test.unwrap();
        assert_eq!(test.labels().classes().unwrap(), [0, 1]);
        write("val/bird/4.png");
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("the class `bird` is none of the training data's"), "{error}");
    }

    #[test]
    fn a_split_takes_the_place_of_a_test_set() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("t.csv");
        std::fs::write(&table, "x,y\n1,a\n2,b\n3,a\n4,b\n").unwrap();
        let source =
            DataSource { selection: Selection::predicting(["y"]), test_split: Some(0.25), ..DataSource::new(&table) };
        let data = Data::load(&source, 3).unwrap();
        assert_eq!((data.train.len(), data.test.map(|test| test.len())), (3, Some(1)));
        assert!(Data::load(&DataSource { test: Some(table.clone()), ..source.clone() }, 3).is_err());
        let test = Data::load(&DataSource { test: Some(table.clone()), test_split: None, ..source }, 3).unwrap().test;
        assert_eq!(test.unwrap().class_names(), ["a", "b"]);
        assert!(load(&table).unwrap_err().help_text().unwrap().contains("--target"));
    }

    #[test]
    fn some_of_the_training_samples_are_drawn_from_those_that_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("t.csv");
        let rows: String = (0..40).map(|row| format!("{row},{}\n", ["a", "b"][row % 2])).collect();
        std::fs::write(&table, format!("x,y\n{rows}")).unwrap();
        let source =
            DataSource { selection: Selection::predicting(["y"]), test_split: Some(0.25), ..DataSource::new(&table) };
        let whole = Data::load(&source, 3).unwrap();
        let some = |count, seed| Data::load(&DataSource { train_samples: Some(count), ..source.clone() }, seed);
        let data = some(12, 3).unwrap();
        assert_eq!((data.train.len(), &data.test), (12, &whole.test));
        assert_eq!(data.train, whole.train.subset(12, 3).unwrap());
        assert_ne!(some(12, 4).unwrap().train, data.train);
        assert_eq!(some(30, 3).unwrap(), whole);
        let error = some(31, 3).unwrap_err().to_string();
        assert!(error.ends_with("t.csv: 31 samples are asked for, but there are 30"), "{error}");
    }
}
