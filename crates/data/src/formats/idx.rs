//! IDX files, the format of MNIST and its kin, plain or compressed with gzip.
//!
//! Two zero bytes, a type code, the number of dimensions; each dimension as a big-endian u32; the elements, big-endian,
//! row-major. Source: <http://yann.lecun.com/exdb/mnist/>.

use super::{Chosen, Format, Found, LAYOUTS, Part, Parts};
use crate::array::{Array, ByteOrder, Dtype, Values};
use crate::{Dataset, memory};
use flate2::bufread::MultiGzDecoder;
use gnp_base::{Error, Result, files};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Folders of IDX files that are named like MNIST's.
pub(super) struct IdxFolders;

impl Format for IdxFolders {
    fn name(&self) -> &str {
        "a folder of IDX files"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        let has = |stem| find_idx(found.path(), stem, "images", 3).is_some();
        found.is_folder() && (has("train") || has("t10k"))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Ok(Box::new(IdxFolder(path.to_owned())))
    }
}

/// IDX files of images, with the labels beside them. What is no file of another format is taken for one.
pub(super) struct IdxFiles;

impl Format for IdxFiles {
    fn name(&self) -> &str {
        "an IDX file"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        !found.is_folder()
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Ok(Box::new(IdxFile(path.to_owned())))
    }
}

struct IdxFolder(PathBuf);

impl Parts for IdxFolder {
    fn part(&mut self, part: Part, _: &Chosen) -> Result<Option<Dataset>> {
        let stem = match part {
            Part::Train => "train",
            Part::Test => "t10k",
        };
        find_idx(&self.0, stem, "images", 3).map(|images| load_idx_pair(&images)).transpose()
    }

    fn is_single_set(&self) -> bool {
        false
    }
}

struct IdxFile(PathBuf);

impl Parts for IdxFile {
    fn part(&mut self, _: Part, _: &Chosen) -> Result<Option<Dataset>> {
        load_idx_pair(&self.0).map(Some)
    }

    fn is_single_set(&self) -> bool {
        true
    }
}

/// Reads an IDX file.
///
/// # Errors
/// Where the file cannot be read, is not IDX, or has fewer or more elements than its header says.
pub fn read(path: &Path) -> Result<Array> {
    let file = files::open(path).map_err(|error| Error::io("open the file", path, &error))?;
    let length = file.metadata().map_err(|error| Error::io("look at the file", path, &error))?.len();
    let mut file = BufReader::new(file);
    let start = file.fill_buf().map_err(|error| Error::io("read the file", path, &error))?;
    let array = if start.starts_with(&GZIP_MAGIC) {
        decode(MultiGzDecoder::new(file), memory::inflated(length), "at most ")
    } else {
        decode(file, length, "")
    };
    array.map_err(|error| error.in_file(path).help("download the file again, or check that it is an IDX file"))
}

/// Decodes an array in a file of `length` bytes, or at most so many, which `most` says.
fn decode(mut from: impl Read, length: u64, most: &str) -> Result<Array> {
    let mut magic = [0; 4];
    fill(&mut from, &mut magic)?;
    let [0, 0, code, rank] = magic else {
        return Err(Error::format(format!("not an IDX file: it begins with {magic:02x?}, not with two zero bytes")));
    };
    let dtype = match code {
        0x08 => Dtype::U8,
        0x09 => Dtype::I8,
        0x0b => Dtype::I16,
        0x0c => Dtype::I32,
        0x0d => Dtype::F32,
        0x0e => Dtype::F64,
        _ => return Err(Error::format(format!("not an IDX file: there is no element type {code:#04x}"))),
    };
    let mut shape = Vec::with_capacity(rank.into());
    for _ in 0..rank {
        let mut dim = [0; 4];
        fill(&mut from, &mut dim)?;
        shape.push(u32::from_be_bytes(dim) as usize);
    }
    let [expected, held] =
        dtype.bytes(&shape).ok_or_else(|| Error::format(format!("the IDX header's shape {shape:?} is too large")))?;
    let truncated = |most: &str, there: u64| {
        Error::format(format!(
            "the IDX file is truncated: shape {shape:?} takes {expected} bytes, {most}{there} are there"
        ))
    };
    let rest = length.saturating_sub(4 + 4 * u64::from(rank));
    if expected as u64 > rest {
        return Err(truncated(most, rest));
    }
    memory::ensure("the array", (expected as u64).checked_add(held as u64))?;
    let bytes = memory::read(from, expected).map_err(|error| unreadable(&error))?;
    if bytes.len() < expected {
        return Err(truncated("", bytes.len() as u64));
    }
    if bytes.len() > expected {
        return Err(Error::format(format!("the IDX file goes on after the {expected} bytes of its shape {shape:?}")));
    }
    Array::new(shape, Values::decode(bytes, dtype, ByteOrder::Big)?)
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    from.read_exact(buffer).map_err(|error| unreadable(&error))
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::input(match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the IDX file is truncated".to_owned(),
        _ => format!("cannot read the IDX file: {error}"),
    })
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
    let data = Dataset::new(read(images)?, read(&labels)?).map_err(|error| error.in_file(images))?;
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
    use super::*;
    use flate2::write::GzEncoder;
    use std::io::Write;

    const IMAGES: [u8; 20] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 10, 20, 30, 40];

    fn read_bytes(bytes: &[u8]) -> Result<Array> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        read(file.path())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn reads_plain_and_compressed() {
        let expected = Array::new(vec![2, 1, 2], Values::U8(vec![10, 20, 30, 40])).unwrap();
        assert_eq!(read_bytes(&IMAGES).unwrap(), expected);
        assert_eq!(read_bytes(&gzip(&IMAGES)).unwrap(), expected);
    }

    #[test]
    fn every_truncation_is_an_error() {
        for length in 0..IMAGES.len() {
            let error = read_bytes(&IMAGES[..length]).unwrap_err().to_string();
            assert!(error.contains("truncated"), "{length} bytes: {error}");
        }
        let compressed = gzip(&IMAGES);
        assert!(read_bytes(&compressed[..compressed.len() - 9]).is_err());
    }

    #[test]
    fn names_what_is_wrong() {
        let message = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
        assert!(message(b"PK\x03\x04").contains("not an IDX file: it begins with [50, 4b, 03, 04]"));
        assert!(message(&[0, 0, 7, 0]).contains("no element type 0x07"));
        assert!(message(&[IMAGES.as_slice(), &[0]].concat()).contains("goes on after the 4 bytes"));
        let huge = [[0, 0, 0x0e, 4].as_slice(), &[0xff; 16]].concat();
        assert!(message(&huge).contains("too large"));
    }

    #[test]
    fn what_a_header_declares_is_believed_no_further_than_the_file_goes() {
        let many = [&[0, 0, 8, 1], &[0x7f, 0xff, 0xff, 0xff][..], &[1, 2, 3]].concat();
        let message = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
        assert!(message(&many).ends_with("takes 2147483647 bytes, 3 are there"));
        let packed = message(&gzip(&many));
        assert!(packed.contains("takes 2147483647 bytes, at most ") && packed.ends_with(" are there"), "{packed}");
    }
}
