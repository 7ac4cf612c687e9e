//! Dense tensors on the way between the loop and an engine.

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use std::fmt;

/// The element types that training data come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElementType {
    /// 32-bit IEEE float.
    F32,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
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
#[non_exhaustive]
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
    /// use gnp::engine::Tensor;
    /// assert_eq!(Tensor::scalar(0.5).to_scalar(), Some(0.5));
    /// ```
    pub fn to_scalar(&self) -> Option<f32> {
        match self {
            Self::F32(a) if a.len() == 1 => a.first().copied(),
            _ => None,
        }
    }

    /// A float tensor of rank 0.
    pub fn scalar(value: f32) -> Self {
        Self::F32(ArrayD::from_elem(IxDyn(&[]), value))
    }

    /// The samples `rows` of the outermost axis, in that order, as a new tensor.
    pub fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::F32(a) => Self::F32(a.select(Axis(0), rows)),
            Self::I32(a) => Self::I32(a.select(Axis(0), rows)),
            Self::I64(a) => Self::I64(a.select(Axis(0), rows)),
        }
    }
}
