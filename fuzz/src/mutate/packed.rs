//! Changes behind checksums: what is inside is changed, and packed again.

use super::bytes;
use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt as _};
use std::io::{Cursor, Read as _, Write as _};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const NAMES: [&str; 8] =
    ["x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy", "x.npy", "y.npy", "../x.npy", "x_train"];

/// Bytes of a member that are kept.
const LONGEST: u64 = 1 << 16;

/// Packs the members of the archive again: one of them changed, or under another name.
pub fn rebuild_npz(own: &mut Vec<u8>, rng: &mut impl Rng) {
    let mut members = Vec::new();
    if let Ok(mut archive) = ZipArchive::new(Cursor::new(&*own)) {
        for index in 0..archive.len().min(8) {
            let Ok(member) = archive.by_index(index) else { continue };
            let name = member.name().map(|name| name.into_owned()).unwrap_or_default();
            let mut content = Vec::new();
            let _ = member.take(LONGEST).read_to_end(&mut content);
            members.push((name, content));
        }
    }
    if members.is_empty() {
        return bytes::mutate(own, &[], rng);
    }
    let at = rng.random_range(0..members.len());
    if rng.random_ratio(1, 6) {
        members[at].0 = (*NAMES.choose(rng).unwrap_or(&"x.npy")).to_owned();
    } else {
        let other = members[rng.random_range(0..members.len())].1.clone();
        bytes::mutate(&mut members[at].1, &other, rng);
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let method = if rng.random() { CompressionMethod::Stored } else { CompressionMethod::Deflated };
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in members {
        // A name that is there already is left out.
        if writer.start_file(name, options).is_ok() {
            let _ = writer.write_all(&content);
        }
    }
    if let Ok(packed) = writer.finish() {
        *own = packed.into_inner();
    }
}

/// Makes the checksums of a PNG file's chunks those of their content.
pub fn mend_checksums(png: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()) {
        let end = (at + 8).saturating_add(u32::from_be_bytes(length) as usize);
        let Some(content) = png.get(at + 4..end) else { return };
        let sum = crc32fast::hash(content).to_be_bytes();
        let Some(place) = png.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&sum);
        at = end + 4;
    }
}
