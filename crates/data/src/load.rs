//! Finding and reading the files of a data set.

use super::array::Array;
use super::cifar::Cifar;
use super::image_files::{ClassFolders, has_folders};
use super::named::NamedArrays;
use super::npy::NpyFolder;
use super::npz::Npz;
use super::safetensors::SafetensorsFile;
use super::table::{Columns, Table};
use super::{Data, Dataset, Options, Part, idx, npy};
use gnp_base::{Error, Result, files};
use std::io::Read;
use std::path::{Path, PathBuf};

const LAYOUTS: &str = "give a folder with train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz] (for the test set \
                       t10k-…), a folder of CIFAR's .bin files, a folder of images (train/<class>/*.jpg, val/<class>/*.jpg), an .npz or \
                       .safetensors file or a folder of .npy files with x_train, y_train, x_test, y_test or with x, y, \
                       or a .csv file and --target";

impl Data {
    /// Reads the data that `options` name.
    ///
    /// A path is one of
    /// - a folder with IDX files named like MNIST's (`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-…`),
    ///   plain or `.gz`;
    /// - an IDX file of images, whose labels lie beside it (`images` → `labels`, `idx3` → `idx1` in the name);
    /// - an `.npz` archive, a `.safetensors` file or a folder of `.npy` files with `x_train`, `y_train` and perhaps
    ///   `x_test`, `y_test`; or with `x`, `y` alone;
    /// - an `.npy` or IDX file of samples, where the labels are given as another;
    /// - a folder with the binary version of CIFAR-10 (`data_batch_1.bin`, …, `test_batch.bin`) or CIFAR-100
    ///   (`train.bin`, `test.bin`);
    /// - a folder of images in `train/<class>/` and perhaps `val/<class>/`, else `test/<class>/`; or in `<class>/`
    ///   alone;
    /// - a `.csv` file with a header, of which the targets are named.
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
    /// use gnp_data::{Options, Data};
    /// let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/digits.npz");
    /// let data = Data::load(&Options::new(digits))?;
    /// assert_eq!((data.train.len(), data.test.map(|test| test.len())), (1000, Some(797)));
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    pub fn load(options: &Options) -> Result<Self> {
        let mut data = Self::read(options)?;
        if let Some(count) = options.train_samples {
            let train = data.train.subset(count, options.seed);
            data.train = train.map_err(|error| error.in_file(&options.train))?;
        }
        Ok(data)
    }

    /// All of the data.
    fn read(options: &Options) -> Result<Self> {
        let path = &*options.train;
        let mut source = Source::open(path, options.labels.as_deref(), "training")?;
        let columns = match &source {
            Source::Table(table) => Some(table.columns(options)?),
            _ if options.features.is_empty() && options.targets.is_empty() => None,
            _ => return Err(Error::input("only a table (.csv) has columns to choose from").in_file(path)),
        };
        let train = source.part(Part::Train, columns.as_ref())?.ok_or_else(|| missing("training", path))?;
        let test = match (options.test_split, &options.test) {
            (Some(_), Some(_)) => {
                return Err(Error::input("the test set is either named or split off the training set, not both"));
            }
            (Some(fraction), None) => {
                let (train, test) = train.split(fraction, options.seed).map_err(|error| error.in_file(path))?;
                return Ok(Self { train, test: Some(test) });
            }
            (None, Some(path)) => {
                let mut source = Source::open(path, options.test_labels.as_deref(), "test")?;
                Some(source.part(Part::Test, columns.as_ref())?.ok_or_else(|| missing("test", path))?)
            }
            (None, None) if options.test_labels.is_some() => {
                return Err(Error::input("there are labels of test data, but no test data")
                    .help("name their file with --test-data"));
            }
            (None, None) if source.is_single_set() => None,
            (None, None) => source.part(Part::Test, columns.as_ref())?,
        };
        let named = options.test.as_deref().unwrap_or(path);
        let test = test.map(|test| test.align_classes(train.class_names()).map_err(|error| error.in_file(named)));
        Ok(Self { test: test.transpose()?, train })
    }
}

fn missing(what: &str, path: &Path) -> Error {
    Error::input(format!("there is no {what} data here")).in_file(path).help(LAYOUTS)
}

/// Files of a known format.
enum Source {
    /// A folder of IDX files named like MNIST's.
    IdxFolder(PathBuf),
    /// An IDX file of images, with the labels beside it.
    Idx(PathBuf),
    /// A file of samples and one of labels.
    Pair { samples: PathBuf, labels: PathBuf },
    /// Arrays by name.
    Named(Box<dyn NamedArrays>),
    /// One of the CIFARs.
    Cifar(Cifar, PathBuf),
    /// Images in folders.
    Images(PathBuf),
    /// A CSV file.
    Table(Table),
}

impl Source {
    /// Tells the format of what is at `path`: `what` (training, test) data.
    fn open(path: &Path, labels: Option<&Path>, what: &str) -> Result<Self> {
        if let Some(labels) = labels {
            return Ok(Self::Pair { samples: path.to_owned(), labels: labels.to_owned() });
        }
        if path.is_dir() {
            let npy = |name: &str| path.join(name).is_file();
            return if ["train", "t10k"].into_iter().any(|stem| find_idx(path, stem, "images", 3).is_some()) {
                Ok(Self::IdxFolder(path.to_owned()))
            } else if let Some(cifar) = Cifar::in_folder(path) {
                Ok(Self::Cifar(cifar, path.to_owned()))
            } else if npy("x_train.npy") || npy("x_test.npy") || npy("x.npy") {
                Ok(Self::Named(Box::new(NpyFolder::open(path))))
            } else if has_folders(path) {
                Ok(Self::Images(path.to_owned()))
            } else {
                Err(missing(what, path))
            };
        }
        let start = start_of(path)?;
        let is = |extension: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
        if start.starts_with(b"PK") || is("npz") {
            Ok(Self::Named(Box::new(Npz::open(path)?)))
        } else if is("safetensors") {
            Ok(Self::Named(Box::new(SafetensorsFile::open(path)?)))
        } else if is("csv") {
            Table::read(path).map(Self::Table)
        } else if start.starts_with(&npy::MAGIC) || is("npy") {
            Err(Error::input("an .npy file holds one array: where are the labels?")
                .in_file(path)
                .help("name their file with --labels (of test data: --test-labels)"))
        } else {
            Ok(Self::Idx(path.to_owned()))
        }
    }

    /// A part of the data; none where there is no such part.
    fn part(&mut self, part: Part, columns: Option<&Columns>) -> Result<Option<Dataset>> {
        match (self, columns) {
            (Self::IdxFolder(folder), _) => {
                let stem = match part {
                    Part::Train => "train",
                    Part::Test => "t10k",
                };
                find_idx(folder, stem, "images", 3).map(|images| load_idx_pair(&images)).transpose()
            }
            (Self::Idx(images), _) => load_idx_pair(images).map(Some),
            (Self::Pair { samples, labels }, _) => {
                let targets = read_array(labels)?;
                targets.check_finite("the labels").map_err(|error| error.in_file(&*labels))?;
                let data = Dataset::new(read_array(samples)?, targets);
                data.map(|data| Some(data.from_files(samples, labels))).map_err(|error| error.in_file(samples))
            }
            (Self::Named(arrays), _) => arrays.part(part),
            (Self::Cifar(cifar, folder), _) => cifar.load(folder, part),
            (Self::Images(folder), _) => class_root(folder, part).map(|root| load_images(&root)).transpose(),
            (Self::Table(table), Some(columns)) => table.dataset(columns).map(Some),
            (Self::Table(_), None) => {
                Err(Error::input("the test data are a table, and the training data are none: what are its columns?"))
            }
        }
    }

    /// Whether this is one unnamed set, which cannot be both training and test data.
    fn is_single_set(&self) -> bool {
        match self {
            Self::Idx(_) | Self::Pair { .. } | Self::Table(_) => true,
            Self::Named(arrays) => arrays.is_single_set(),
            Self::Images(folder) => !has_folders(&folder.join("train")),
            Self::IdxFolder(_) | Self::Cifar(..) => false,
        }
    }
}

/// The first bytes of a file.
fn start_of(path: &Path) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    let file = files::open(path).map_err(|error| Error::io("open the data", path, &error))?;
    file.take(8).read_to_end(&mut start).map_err(|error| Error::io("read the data", path, &error))?;
    Ok(start)
}

/// The array in an `.npy` or IDX file.
fn read_array(path: &Path) -> Result<Array> {
    let is_npy = path.extension().is_some_and(|extension| extension == "npy");
    if is_npy || start_of(path)?.starts_with(&npy::MAGIC) { npy::read(path) } else { idx::read(path) }
}

/// The folder of class folders that is a part of the images in `folder`. A class may be called `train`: only a folder
/// of folders is a part.
fn class_root(folder: &Path, part: Part) -> Option<PathBuf> {
    let found = |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|root| has_folders(root));
    let train = found(&["train"]);
    match part {
        Part::Train => train.or_else(|| Some(folder.to_owned())),
        Part::Test => found(&["val", "test"]).or_else(|| train.is_none().then(|| folder.to_owned())),
    }
}

fn load_images(root: &Path) -> Result<Dataset> {
    let ClassFolders { images, classes, names } = ClassFolders::scan(root)?;
    let data = Dataset::new(images, Array::new(vec![classes.len()], super::Values::I64(classes))?)?;
    Ok(data.with_class_names(names)?.from_files(root, root))
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
    let data = Dataset::new(idx::read(images)?, idx::read(&labels)?).map_err(|error| error.in_file(images))?;
    Ok(data.from_files(images, &labels))
}

/// The labels that belong to a file of images, compressed or not.
fn labels_beside(images: &Path) -> Result<PathBuf> {
    let name = images.file_name().unwrap_or_default().to_string_lossy();
    let plain = name.strip_suffix(".gz").unwrap_or(&name).replacen("images", "labels", 1).replacen("idx3", "idx1", 1);
    if !name.contains("images") {
        return Err(Error::input(
            "no file of a known format, or a file of images whose labels cannot be found by its name",
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

    fn load(path: &Path) -> Result<Data> {
        Data::load(&Options::new(path))
    }

    fn load_both(path: &Path, test: &Path) -> Result<Data> {
        Data::load(&Options { test: Some(test.to_owned()), ..Options::new(path) })
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
        assert_eq!((data.train.sample_shape(), data.train.labels().classes()), (Some(&[1, 2][..]), Some(&[7, 8][..])));
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
        let options = Options { labels: Some(file("y_test.npy")), ..Options::new(file("x_train.npy")) };
        let pair = Data::load(&options).unwrap();
        assert_eq!((pair.train.labels().classes().unwrap(), pair.test), (&[1, 1][..], None));
        let options = Options { test_labels: Some(file("y_test.npy")), ..options };
        assert!(Data::load(&options).unwrap_err().to_string().contains("no test data"));
        let options = Options { test: Some(file("x_test.npy")), ..options };
        assert_eq!(Data::load(&options).unwrap().test.unwrap().len(), 2);
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
        let options = Options { targets: vec!["y".to_owned()], test_split: Some(0.25), ..Options::new(&table) };
        let data = Data::load(&options).unwrap();
        assert_eq!((data.train.len(), data.test.map(|test| test.len())), (3, Some(1)));
        assert!(Data::load(&Options { test: Some(table.clone()), ..options.clone() }).is_err());
        let test = Data::load(&Options { test: Some(table.clone()), test_split: None, ..options }).unwrap().test;
        assert_eq!(test.unwrap().class_names(), ["a", "b"]);
        assert!(load(&table).unwrap_err().help_text().unwrap().contains("--target"));
    }

    #[test]
    fn some_of_the_training_samples_are_drawn_from_those_that_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("t.csv");
        let rows: String = (0..40).map(|row| format!("{row},{}\n", ["a", "b"][row % 2])).collect();
        std::fs::write(&table, format!("x,y\n{rows}")).unwrap();
        let options =
            Options { targets: vec!["y".to_owned()], test_split: Some(0.25), seed: 3, ..Options::new(&table) };
        let whole = Data::load(&options).unwrap();
        let some = |count, seed| Data::load(&Options { train_samples: Some(count), seed, ..options.clone() });
        let data = some(12, 3).unwrap();
        assert_eq!((data.train.len(), &data.test), (12, &whole.test));
        assert_eq!(data.train, whole.train.subset(12, 3).unwrap());
        assert_ne!(some(12, 4).unwrap().train, data.train);
        assert_eq!(some(30, 3).unwrap(), whole);
        let error = some(31, 3).unwrap_err().to_string();
        assert!(error.ends_with("t.csv: 31 samples are asked for, but there are 30"), "{error}");
    }
}
