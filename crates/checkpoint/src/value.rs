//! A tensor of a checkpoint, of any element type that has a fixed size.

use bytes::Bytes;
use gnp_base::{Error, Result};
use safetensors::Dtype;
use std::fmt;

/// The element types that checkpoints have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are those of the standard")]
pub enum Element {
    Float32,
    Float64,
    Float16,
    BFloat16,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Bool,
}

/// A type's number in the format (that of ONNX), the bytes of an element, its name, and what safetensors calls it.
const ELEMENTS: [(Element, i32, usize, &str, Dtype); 13] = [
    (Element::Float32, 1, 4, "float32", Dtype::F32),
    (Element::UInt8, 2, 1, "uint8", Dtype::U8),
    (Element::Int8, 3, 1, "int8", Dtype::I8),
    (Element::UInt16, 4, 2, "uint16", Dtype::U16),
    (Element::Int16, 5, 2, "int16", Dtype::I16),
    (Element::Int32, 6, 4, "int32", Dtype::I32),
    (Element::Int64, 7, 8, "int64", Dtype::I64),
    (Element::Bool, 9, 1, "bool", Dtype::BOOL),
    (Element::Float16, 10, 2, "float16", Dtype::F16),
    (Element::Float64, 11, 8, "float64", Dtype::F64),
    (Element::UInt32, 12, 4, "uint32", Dtype::U32),
    (Element::UInt64, 13, 8, "uint64", Dtype::U64),
    (Element::BFloat16, 16, 2, "bfloat16", Dtype::BF16),
];

impl Element {
    fn row(self) -> &'static (Element, i32, usize, &'static str, Dtype) {
        let row = ELEMENTS.iter().find(|row| row.0 == self);
        row.unwrap_or(&ELEMENTS[0])
    }

    /// The bytes that one element takes.
    pub fn size(self) -> usize {
        self.row().2
    }

    pub(crate) fn code(self) -> i32 {
        self.row().1
    }

    pub(crate) fn from_code(code: i32) -> Option<Self> {
        ELEMENTS.iter().find(|row| row.1 == code).map(|row| row.0)
    }

    pub(crate) fn dtype(self) -> Dtype {
        self.row().4
    }

    pub(crate) fn from_dtype(dtype: Dtype) -> Option<Self> {
        ELEMENTS.iter().find(|row| row.4 == dtype).map(|row| row.0)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().3)
    }
}

/// A dense tensor in row-major order, or only its type and shape: a nominal checkpoint holds no elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    element: Element,
    shape: Vec<usize>,
    data: Bytes,
}

impl Value {
    /// A tensor of little-endian elements.
    ///
    /// # Errors
    /// Where there are not as many bytes as the shape takes.
    pub fn new(element: Element, shape: Vec<usize>, data: impl Into<Bytes>) -> Result<Self> {
        let value = Self { element, shape, data: data.into() };
        if value.is_whole() {
            return Ok(value);
        }
        let Self { shape, data, .. } = value;
        Err(Error::format(format!("{} bytes are no {element} of shape {shape:?}", data.len())))
    }

    /// A float32 tensor of zeros.
    pub fn zeros(shape: Vec<usize>) -> Self {
        let element = Element::Float32;
        let bytes = shape.iter().product::<usize>() * element.size();
        Self { element, shape, data: vec![0; bytes].into() }
    }

    /// A tensor of a nominal checkpoint, which has no elements.
    pub fn nominal(element: Element, shape: Vec<usize>) -> Self {
        Self { element, shape, data: Bytes::new() }
    }

    /// Whether there are as many bytes as the shape takes.
    pub(crate) fn is_whole(&self) -> bool {
        let expected = self.shape.iter().try_fold(self.element.size(), |size, &dim| size.checked_mul(dim));
        expected == Some(self.data.len())
    }

    /// The element type.
    pub fn element(&self) -> Element {
        self.element
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, little-endian, in row-major order.
    pub fn data(&self) -> &Bytes {
        &self.data
    }
}
