//! Random changes of inputs.

mod bytes;
mod model;
mod packed;

use gnp::onnx::proto::ModelProto;
use prost::Message as _;
use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt as _};

/// How inputs are built, and so what changes of them reach deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bytes alone.
    Bytes,
    /// An ONNX model.
    Model,
    /// Numbers of 32 bits, and bytes between: lengths, and ways to other parts of the file.
    Words,
    /// Text of words and numbers.
    Text,
    /// Chunks with checksums, as PNG has them.
    Png,
    /// A ZIP archive of arrays.
    Npz,
}

/// An input on its way.
#[derive(Clone)]
pub enum Entry {
    /// As it stands in a file.
    Bytes(Vec<u8>),
    /// A decoded model, which is encoded when it is complete.
    Model(Box<ModelProto>),
}

impl Entry {
    /// The input of these bytes; a model where it is one.
    pub fn new(bytes: Vec<u8>, form: Form) -> Self {
        match form {
            Form::Model => match ModelProto::decode(&*bytes) {
                Ok(model) => Self::Model(Box::new(model)),
                Err(_) => Self::Bytes(bytes),
            },
            _ => Self::Bytes(bytes),
        }
    }

    /// The size of the file in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Model(model) => model.encoded_len(),
        }
    }

    /// What stands in the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Model(model) => model.encode_to_vec(),
        }
    }
}

/// Numbers at which something changes: of bits, of signs, of what fits.
pub const NUMBERS: [i64; 24] = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    4,
    7,
    8,
    16,
    -128,
    127,
    255,
    256,
    65_535,
    1_000_000,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 32,
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
    -(1 << 62),
];

/// A number: mostly one at which something changes.
pub fn number(rng: &mut impl Rng) -> i64 {
    match rng.random_range(0..10) {
        0..7 => *NUMBERS.choose(rng).unwrap_or(&0),
        7 | 8 => rng.random_range(-4..64),
        _ => rng.random(),
    }
}

/// Changes one thing.
pub fn mutate(entry: &mut Entry, corpus: &[Entry], form: Form, rng: &mut impl Rng) {
    if let Entry::Model(model) = entry {
        if !rng.random_ratio(1, 25) {
            return model::mutate(model, corpus, rng);
        }
        *entry = Entry::Bytes(entry.to_bytes());
    }
    let Entry::Bytes(own) = entry else { return };
    match form {
        Form::Npz if rng.random_ratio(2, 3) => packed::rebuild_npz(own, rng),
        Form::Words if rng.random_ratio(1, 2) => bytes::mutate_words(own, rng),
        Form::Text if rng.random_ratio(2, 3) => bytes::mutate_text(own, rng),
        _ => {
            let other = corpus.choose(rng).map(Entry::to_bytes).unwrap_or_default();
            bytes::mutate(own, &other, rng);
        }
    }
    if form == Form::Png && rng.random_ratio(9, 10) {
        packed::mend_checksums(own);
    }
}
