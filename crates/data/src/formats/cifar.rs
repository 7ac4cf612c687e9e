//! CIFAR-10 and CIFAR-100 in their binary version.
//!
//! Records without a header: one label byte (CIFAR-10), or a coarse and a fine one (CIFAR-100); then 3,072 bytes of an
//! image of 32 × 32 pixels, the red, the green and the blue plane, each row by row.
//! Source: <https://www.cs.toronto.edu/~kriz/cifar.html>.

use super::{Chosen, Format, Found, Part, Parts};
use crate::array::{Array, Values};
use crate::{Dataset, memory};
use gnp_base::{Error, Result, files};
use std::fs;
use std::path::{Path, PathBuf};

const IMAGE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = IMAGE[0] * IMAGE[1] * IMAGE[2];
const BATCHES: usize = 5;

/// Folders of CIFAR's binary version.
pub(super) struct CifarFolders;

impl Format for CifarFolders {
    fn name(&self) -> &str {
        "a folder of CIFAR's .bin files"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        found.is_folder() && Cifar::in_folder(found.path()).is_some()
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        let cifar = Cifar::in_folder(path).ok_or_else(|| Error::internal("the folder has no files of CIFAR"))?;
        Ok(Box::new(CifarFolder(cifar, path.to_owned())))
    }
}

/// A folder with one of the two data sets.
struct CifarFolder(Cifar, PathBuf);

impl Parts for CifarFolder {
    fn part(&mut self, part: Part, _: &Chosen) -> Result<Option<Dataset>> {
        self.0.load(&self.1, part)
    }

    fn is_single_set(&self) -> bool {
        false
    }
}

/// One of the two data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cifar {
    Ten,
    Hundred,
}

impl Cifar {
    /// Which of the two `folder` holds; none where it is neither.
    pub(super) fn in_folder(folder: &Path) -> Option<Self> {
        let has = |name: &str| folder.join(name).is_file();
        let batch = (1..=BATCHES).any(|number| has(&batch_name(number)));
        if batch || has("test_batch.bin") {
            Some(Self::Ten)
        } else if has("train.bin") || has("test.bin") {
            Some(Self::Hundred)
        } else {
            None
        }
    }

    /// Reads a part of the data set in `folder`; none where there is no file of it. CIFAR-100's labels are the fine
    /// ones.
    ///
    /// # Errors
    /// Where one of the five training files of CIFAR-10 is missing, or a file is truncated or has a label that no class
    /// has.
    pub(super) fn load(self, folder: &Path, part: Part) -> Result<Option<Dataset>> {
        let names = match (self, part) {
            (Self::Ten, Part::Train) => (1..=BATCHES).map(batch_name).collect(),
            (Self::Ten, Part::Test) => vec!["test_batch.bin".to_owned()],
            (Self::Hundred, Part::Train) => vec!["train.bin".to_owned()],
            (Self::Hundred, Part::Test) => vec!["test.bin".to_owned()],
        };
        let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        if !files.iter().any(|file| file.is_file()) {
            return Ok(None);
        }
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for file in &files {
            self.read(file, &mut pixels, &mut labels)?;
        }
        let shape = [labels.len()].into_iter().chain(IMAGE).collect();
        let samples = Array::new(shape, Values::U8(pixels))?;
        let labels = Array::new(vec![labels.len()], Values::U8(labels))?;
        let data = Dataset::new(samples, labels).map_err(|error| error.in_file(folder))?;
        Ok(Some(data.with_class_names(self.class_names(folder)?)?.from_files(folder, folder)))
    }

    /// Appends the records of `file`.
    fn read(self, file: &Path, pixels: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<()> {
        let (label_bytes, classes) = match self {
            Self::Ten => (1, 10),
            Self::Hundred => (2, 100),
        };
        let unreadable = |error: std::io::Error| Error::io("read the images", file, &error);
        let length = fs::metadata(file).map_err(unreadable)?.len();
        // Once as it stands in the file, once beside those of the other files.
        memory::ensure("the file", length.checked_mul(2)).map_err(|error| error.in_file(file))?;
        let bytes = files::read(file).map_err(unreadable)?;
        let size = label_bytes + PIXELS;
        let damaged =
            |what: String| Error::input(what).in_file(file).help("download CIFAR's binary version again and unpack it");
        if bytes.is_empty() || !bytes.len().is_multiple_of(size) {
            return Err(damaged(format!(
                "the file has {} bytes; expected records of {size}, so it is truncated or no file of CIFAR",
                bytes.len()
            )));
        }
        for (number, record) in bytes.chunks_exact(size).enumerate() {
            let label = record[label_bytes - 1];
            if label >= classes {
                return Err(damaged(format!("image {number} has the label {label}; expected 0 to {}", classes - 1)));
            }
            labels.push(label);
            pixels.extend_from_slice(&record[label_bytes..]);
        }
        Ok(())
    }

    /// The names in the file that comes with the images; none where it does not.
    fn class_names(self, folder: &Path) -> Result<Vec<String>> {
        let file = folder.join(match self {
            Self::Ten => "batches.meta.txt",
            Self::Hundred => "fine_label_names.txt",
        });
        if !file.is_file() {
            return Ok(Vec::new());
        }
        let text =
            files::read_to_string(&file).map_err(|error| Error::io("read the names of the classes", &file, &error))?;
        Ok(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }
}

fn batch_name(number: usize) -> String {
    format!("data_batch_{number}.bin")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Samples;

    fn record(labels: &[u8], pixel: u8) -> Vec<u8> {
        [labels, &[pixel; PIXELS]].concat()
    }

    #[test]
    fn reads_cifar_10() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        for number in 1..=5u8 {
            write(&format!("data_batch_{number}.bin"), &[record(&[number], 10 * number), record(&[9], 1)].concat());
        }
        assert_eq!(Cifar::in_folder(folder.path()), Some(Cifar::Ten));
        assert_eq!(Cifar::Ten.load(folder.path(), Part::Test).unwrap(), None);
        let data = Cifar::Ten.load(folder.path(), Part::Train).unwrap().unwrap();
        assert_eq!(data.labels().classes().unwrap(), [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
        assert_eq!(data.samples().shape().unwrap(), IMAGE);
        assert!(data.class_names().is_empty());
        let Samples::Array(array) = data.samples() else { panic!("no array") };
        let Values::U8(pixels) = array.values() else { panic!("no bytes") };
        assert_eq!((pixels[0], pixels[4 * PIXELS], pixels[5 * PIXELS - 1]), (10, 30, 30));

        write("test_batch.bin", &record(&[0], 7));
        write("batches.meta.txt", b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
        let test = Cifar::Ten.load(folder.path(), Part::Test).unwrap().unwrap();
        assert_eq!((test.len(), test.class_names().len(), &*test.class_names()[9]), (1, 10, "truck"));

        fs::remove_file(folder.path().join("data_batch_3.bin")).unwrap();
        let error = Cifar::Ten.load(folder.path(), Part::Train).unwrap_err();
        assert!(error.to_string().contains("data_batch_3.bin: cannot read"), "{error}");
    }

    #[test]
    fn reads_the_fine_labels_of_cifar_100() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("train.bin"), [record(&[1, 99], 3), record(&[19, 0], 4)].concat()).unwrap();
        assert_eq!(Cifar::in_folder(folder.path()), Some(Cifar::Hundred));
        let data = Cifar::Hundred.load(folder.path(), Part::Train).unwrap().unwrap();
        assert_eq!(data.labels().classes().unwrap(), [99, 0]);
    }

    #[test]
    fn damage_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test_batch.bin");
        let message = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            Cifar::Ten.load(folder.path(), Part::Test).unwrap_err().to_string()
        };
        assert!(message(&[0; 3072]).contains("test_batch.bin: the file has 3072 bytes; expected records of 3073"));
        assert!(message(&[]).contains("the file has 0 bytes"));
        assert!(
            message(&[record(&[1], 0), record(&[10], 0)].concat())
                .ends_with("image 1 has the label 10; expected 0 to 9")
        );
    }
}
