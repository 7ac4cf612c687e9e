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

    /// The type's number in ONNX, which is that of the format.
    pub fn to_onnx(self) -> i32 {
        self.row().1
    }

    /// The type of a number of ONNX (`TensorProto.DataType`); none where it has no fixed size, or no checkpoint has it.
    pub fn from_onnx(code: i32) -> Option<Self> {
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
    /// A tensor of little-endian elements, as the raw data of an ONNX initializer has them. Bytes of a mapped file stay
    /// there.
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

    /// A tensor of zeros.
    ///
    /// # Errors
    /// Where a shape takes more bytes than can be addressed.
    pub fn zeros(element: Element, shape: Vec<usize>) -> Result<Self> {
        match size(element, &shape) {
            Some(size) => Self::new(element, shape, vec![0; size]),
            None => Err(Error::unsupported(format!("a tensor of {element} {shape:?} is too large"))),
        }
    }

    /// A tensor of 32-bit floats.
    ///
    /// # Errors
    /// Where there are not as many as the shape takes.
    pub fn from_f32s(shape: Vec<usize>, elements: &[f32]) -> Result<Self> {
        let data: Vec<u8> = elements.iter().flat_map(|element| element.to_le_bytes()).collect();
        Self::new(Element::Float32, shape, data)
    }

    /// The elements of a tensor of 32-bit floats; none where it is of another type.
    pub fn f32s(&self) -> Option<impl Iterator<Item = f32>> {
        let (elements, _) = self.data.as_chunks();
        (self.element == Element::Float32).then(|| elements.iter().copied().map(f32::from_le_bytes))
    }

    /// A tensor of a nominal checkpoint, which has no elements.
    pub fn nominal(element: Element, shape: Vec<usize>) -> Self {
        Self { element, shape, data: Bytes::new() }
    }

    /// Whether there are as many bytes as the shape takes.
    pub(crate) fn is_whole(&self) -> bool {
        size(self.element, &self.shape) == Some(self.data.len())
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

/// The bytes that a tensor takes; none where they cannot be addressed.
pub(crate) fn size(element: Element, shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(element.size(), |size, &dim| size.checked_mul(dim))
        .filter(|&size| size <= isize::MAX as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initializer_becomes_a_value_without_a_copy() {
        let file = Bytes::from([0.5f32, -2.0].map(f32::to_le_bytes).concat());
        let value = Value::new(Element::from_onnx(1).unwrap(), vec![2, 1], file.slice(..)).unwrap();
        assert_eq!(value.data().as_ptr(), file.as_ptr());
        assert_eq!(value, Value::from_f32s(vec![2, 1], &[0.5, -2.0]).unwrap());
        assert_eq!(value.f32s().unwrap().collect::<Vec<_>>(), [0.5, -2.0]);
        // A text, a complex number, and what is of half a byte.
        assert!([0, 8, 14, 21, 22, 99].into_iter().all(|code| Element::from_onnx(code).is_none()));
    }

    #[test]
    fn zeros_are_as_many_as_the_shape_takes() {
        let zeros = Value::zeros(Element::Int64, vec![3, 2]).unwrap();
        assert_eq!((zeros.data().len(), zeros.f32s().is_none()), (48, true));
        assert_eq!(Value::zeros(Element::Float32, vec![]).unwrap().f32s().unwrap().collect::<Vec<_>>(), [0.0]);
        for shape in [vec![1 << 62, 4], vec![1 << 60, 2]] {
            let error = Value::zeros(Element::Float32, shape).unwrap_err().to_string();
            assert!(error.contains("is too large"), "{error}");
        }
    }
}
