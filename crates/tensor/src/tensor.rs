//! Dense tensors on the way between the loop and an engine.

use gnp_base::{Error, Result};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use std::borrow::Cow;
use std::fmt;

/// The element types that training data come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// 32-bit IEEE float.
    F32,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
}

impl ElementType {
    /// The bytes that one element takes.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "float32",
            Self::I32 => "int32",
            Self::I64 => "int64",
        })
    }
}

/// A dense tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// 32-bit IEEE float.
    F32(ArrayD<f32>),
    /// 32-bit signed integer.
    I32(ArrayD<i32>),
    /// 64-bit signed integer.
    I64(ArrayD<i64>),
}

impl Tensor {
    /// The element type.
    pub fn element(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::I32(_) => ElementType::I32,
            Self::I64(_) => ElementType::I64,
        }
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(a) => a.shape(),
            Self::I32(a) => a.shape(),
            Self::I64(a) => a.shape(),
        }
    }

    /// The elements, where they are floats.
    pub fn as_f32(&self) -> Option<ArrayViewD<'_, f32>> {
        match self {
            Self::F32(a) => Some(a.view()),
            _ => None,
        }
    }

    /// The one element of a tensor of one float, whatever its rank.
    ///
    /// ```
    /// use gnp_tensor::Tensor;
    /// assert_eq!(Tensor::scalar(0.5).to_scalar(), Some(0.5));
    /// ```
    pub fn to_scalar(&self) -> Option<f32> {
        match self {
            Self::F32(a) if a.len() == 1 => a.first().copied(),
            _ => None,
        }
    }

    /// The number among `outputs`, which have these names, that was returned as `name`, if it is one float.
    ///
    /// ```
    /// use gnp_tensor::Tensor;
    /// let names = ["loss", "norm"].map(str::to_owned);
    /// assert_eq!(Tensor::scalar_named(&names, &[1.0, 2.0].map(Tensor::scalar), "norm"), Some(2.0));
    /// ```
    pub fn scalar_named(names: &[String], outputs: &[Self], name: &str) -> Option<f32> {
        outputs.get(names.iter().position(|output| output == name)?)?.to_scalar()
    }

    /// A float tensor of rank 0.
    pub fn scalar(value: f32) -> Self {
        Self::F32(ArrayD::from_elem(IxDyn(&[]), value))
    }

    /// A tensor of zeros.
    pub fn zeros(element: ElementType, shape: &[usize]) -> Self {
        match element {
            ElementType::F32 => Self::F32(ArrayD::zeros(IxDyn(shape))),
            ElementType::I32 => Self::I32(ArrayD::zeros(IxDyn(shape))),
            ElementType::I64 => Self::I64(ArrayD::zeros(IxDyn(shape))),
        }
    }

    /// The samples `rows` of the outermost axis, in that order, as a new tensor.
    pub fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::F32(a) => Self::F32(a.select(Axis(0), rows)),
            Self::I32(a) => Self::I32(a.select(Axis(0), rows)),
            Self::I64(a) => Self::I64(a.select(Axis(0), rows)),
        }
    }

    /// The elements in row-major order, little-endian: a view of them where that is how they lie in memory.
    pub fn to_le_bytes(&self) -> Cow<'_, [u8]> {
        macro_rules! bytes {
            ($array:expr) => {
                match $array.as_slice() {
                    Some(elements) if cfg!(target_endian = "little") => Cow::Borrowed(bytemuck::cast_slice(elements)),
                    _ => Cow::Owned($array.iter().flat_map(|element| element.to_le_bytes()).collect()),
                }
            };
        }
        match self {
            Self::F32(a) => bytes!(a),
            Self::I32(a) => bytes!(a),
            Self::I64(a) => bytes!(a),
        }
    }

    /// A tensor of elements in row-major order, little-endian.
    ///
    /// ```
    /// use gnp_tensor::{Tensor, ElementType};
    /// let tensor = Tensor::from_le_bytes(ElementType::F32, &[], &0.5f32.to_le_bytes())?;
    /// assert_eq!(tensor, Tensor::scalar(0.5));
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are not as many bytes as the shape takes.
    pub fn from_le_bytes(element: ElementType, shape: &[usize], bytes: &[u8]) -> Result<Self> {
        let expected = shape.iter().try_fold(element.size(), |size, &dim| size.checked_mul(dim));
        if expected != Some(bytes.len()) {
            return Err(Error::input(format!("{} bytes are no {element} of shape {shape:?}", bytes.len())));
        }
        macro_rules! array {
            ($element:ty) => {{
                let elements = bytes.as_chunks().0.iter().map(|&chunk| <$element>::from_le_bytes(chunk)).collect();
                ArrayD::from_shape_vec(IxDyn(shape), elements)
                    .map_err(|error| Error::internal(format!("a checked shape does not fit: {error}")))?
            }};
        }
        Ok(match element {
            ElementType::F32 => Self::F32(array!(f32)),
            ElementType::I32 => Self::I32(array!(i32)),
            ElementType::I64 => Self::I64(array!(i64)),
        })
    }
}
