//! IDX files, the format of MNIST and its kin, plain or compressed with gzip.
//!
//! Two zero bytes, a type code, the number of dimensions; each dimension as a big-endian u32; the elements, big-endian,
//! row-major. Source: <http://yann.lecun.com/exdb/mnist/>.

use super::array::{Array, ByteOrder, Dtype, Values};
use super::memory;
use flate2::bufread::MultiGzDecoder;
use gnp_base::{Error, Result, files};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

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
        return Err(Error::input(format!("not an IDX file: it begins with {magic:02x?}, not with two zero bytes")));
    };
    let dtype = match code {
        0x08 => Dtype::U8,
        0x09 => Dtype::I8,
        0x0b => Dtype::I16,
        0x0c => Dtype::I32,
        0x0d => Dtype::F32,
        0x0e => Dtype::F64,
        _ => return Err(Error::input(format!("not an IDX file: there is no element type {code:#04x}"))),
    };
    let mut shape = Vec::with_capacity(rank.into());
    for _ in 0..rank {
        let mut dim = [0; 4];
        fill(&mut from, &mut dim)?;
        shape.push(u32::from_be_bytes(dim) as usize);
    }
    let [expected, held] =
        dtype.bytes(&shape).ok_or_else(|| Error::input(format!("the IDX header's shape {shape:?} is too large")))?;
    let truncated = |most: &str, there: u64| {
        Error::input(format!(
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
        return Err(Error::input(format!("the IDX file goes on after the {expected} bytes of its shape {shape:?}")));
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
