//! Arrays as data files hold them: narrow integers stay narrow until a batch is made of them.

use gnp_base::digest::Digest;
use gnp_base::{Error, Result};
use gnp_tensor::finite::first_not_finite;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};

/// The element types of the files read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Dtype {
    /// The bytes that elements of this type take in a file, and once they are read; none where they cannot be counted.
    pub(super) fn bytes(self, shape: &[usize]) -> Option<[usize; 2]> {
        let count = element_count(shape)?;
        let read = match self {
            Self::U8 => 1,
            Self::F32 | Self::F64 => 4,
            _ => 8,
        };
        Some([count.checked_mul(self.size())?, count.checked_mul(read)?])
    }

    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// The byte order of the elements in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Big,
    Little,
}

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Values {
    /// Bytes, as images have them.
    U8(Vec<u8>),
    /// All other integers.
    I64(Vec<i64>),
    /// 32-bit floats, and 64-bit ones rounded to them.
    F32(Vec<f32>),
}

impl Values {
    /// Decodes whole elements. `bytes` becomes the result where it already is one.
    pub(super) fn decode(bytes: Vec<u8>, dtype: Dtype, order: ByteOrder) -> Result<Self> {
        macro_rules! elements {
            ($from:ty => $to:ty) => {{
                let decode = match order {
                    ByteOrder::Big => <$from>::from_be_bytes,
                    ByteOrder::Little => <$from>::from_le_bytes,
                };
                bytes.as_chunks().0.iter().map(|&chunk| decode(chunk) as $to).collect()
            }};
        }
        Ok(match dtype {
            Dtype::U8 => Self::U8(bytes),
            Dtype::I8 => Self::I64(elements!(i8 => i64)),
            Dtype::U16 => Self::I64(elements!(u16 => i64)),
            Dtype::I16 => Self::I64(elements!(i16 => i64)),
            Dtype::U32 => Self::I64(elements!(u32 => i64)),
            Dtype::I32 => Self::I64(elements!(i32 => i64)),
            Dtype::I64 => Self::I64(elements!(i64 => i64)),
            Dtype::F32 => Self::F32(elements!(f32 => f32)),
            Dtype::F64 => Self::F32(elements!(f64 => f32)),
            Dtype::U64 => {
                let wide: Vec<u64> = elements!(u64 => u64);
                let narrow: Result<_, _> = wide.into_iter().map(i64::try_from).collect();
                Self::I64(narrow.map_err(|_| Error::format("an unsigned 64-bit integer is above 2⁶³ − 1"))?)
            }
        })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// Adds the elements to `digest`.
    pub(super) fn hash(&self, digest: &mut Digest) {
        match self {
            Self::U8(values) => digest.add(values),
            Self::I64(values) => values.iter().for_each(|value| digest.add(value.to_le_bytes())),
            Self::F32(values) => values.iter().for_each(|value| digest.add(value.to_le_bytes())),
        }
    }

    /// The elements of a column-major array of this `shape`, in row-major order.
    pub(super) fn into_row_major(self, shape: &[usize]) -> Result<Self> {
        fn reorder<T: Copy>(values: Vec<T>, shape: &[usize]) -> Result<Vec<T>> {
            let array = ArrayD::from_shape_vec(IxDyn(shape).f(), values)
                .map_err(|error| Error::internal(format!("a checked shape does not fit: {error}")))?;
            Ok(array.iter().copied().collect())
        }
        Ok(match self {
            Self::U8(v) => Self::U8(reorder(v, shape)?),
            Self::I64(v) => Self::I64(reorder(v, shape)?),
            Self::F32(v) => Self::F32(reorder(v, shape)?),
        })
    }
}

/// A dense array in row-major order; as many elements as the shape says.
///
/// It holds what files hold: a byte stays a byte, any other whole number is an `i64`, and a batch of it becomes a
/// [`gnp_tensor::Tensor`] of the element type that the graph takes. So the two differ in more than their types of
/// elements: a tensor has no bytes, since no graph is fed any, and an array has no `i32`, since none needs to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    values: Values,
}

impl Array {
    /// An array of `values`.
    ///
    /// # Errors
    /// Where `shape` asks for another number of elements.
    ///
    /// ```
    /// use gnp_data::{Array, Values};
    /// let images = Array::new(vec![2, 2, 2], Values::U8(vec![0, 1, 2, 3, 4, 5, 6, 7]))?;
    /// assert_eq!(images.shape(), [2, 2, 2]);
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    pub fn new(shape: Vec<usize>, values: Values) -> Result<Self> {
        if element_count(&shape) != Some(values.len()) {
            return Err(Error::input(format!("an array of shape {shape:?} cannot have {} elements", values.len())));
        }
        Ok(Self { shape, values })
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements in row-major order.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Checks that all elements are finite. The outermost axis counts the samples; `name` is what the array is called.
    ///
    /// # Errors
    /// Where one is NaN or infinite, as it is too where it does not fit 32 bits: the message names the sample and the
    /// place in it.
    pub(super) fn check_finite(&self, name: &str) -> Result<()> {
        let Values::F32(values) = &self.values else { return Ok(()) };
        let Some(at) = first_not_finite(values) else { return Ok(()) };
        let (mut rest, mut place) = (at, Vec::new());
        for &size in self.shape.iter().rev() {
            place.push(rest % size);
            rest /= size;
        }
        place.reverse();
        let (sample, inner) = place.split_first().map_or((0, &[][..]), |(sample, inner)| (*sample, inner));
        let inner = if inner.is_empty() { String::new() } else { format!(" at {inner:?}") };
        let size = values.len() / self.shape.first().copied().unwrap_or(1).max(1);
        let faulty = values.chunks(size.max(1)).filter(|sample| first_not_finite(sample).is_some()).count();
        let all = if faulty > 1 { format!("; {faulty} samples hold such") } else { String::new() };
        Err(Error::input(format!("{name}: sample {sample} holds {}{inner}{all}", values[at]))
            .help("mend such samples or leave them out; numpy.isfinite of them as float32 tells which"))
    }

    /// The rows of these numbers along the outermost axis.
    pub(super) fn select(&self, rows: &[usize]) -> Result<Self> {
        fn gather<T: Copy>(values: &[T], rows: &[usize], size: usize) -> Vec<T> {
            rows.iter().flat_map(|&row| &values[row * size..][..size]).copied().collect()
        }
        let size = self.shape.iter().skip(1).product();
        let values = match &self.values {
            Values::U8(values) => Values::U8(gather(values, rows, size)),
            Values::I64(values) => Values::I64(gather(values, rows, size)),
            Values::F32(values) => Values::F32(gather(values, rows, size)),
        };
        let shape = [rows.len()].into_iter().chain(self.shape.iter().skip(1).copied()).collect();
        Self::new(shape, values)
    }

    /// Adds the shape and the elements to `digest`.
    pub(super) fn hash(&self, digest: &mut Digest) {
        digest.add(format!("{:?}", self.shape));
        self.values.hash(digest);
    }

    pub(super) fn into_values(self) -> Values {
        self.values
    }
}

/// The product of the dimensions, where it can be counted.
pub(super) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_both_byte_orders() {
        let big = Values::decode(vec![0xff, 0xfe, 0x00, 0x07], Dtype::I16, ByteOrder::Big).unwrap();
        assert_eq!(big, Values::I64(vec![-2, 7]));
        let little = Values::decode(1.5f64.to_le_bytes().to_vec(), Dtype::F64, ByteOrder::Little).unwrap();
        assert_eq!(little, Values::F32(vec![1.5]));
    }

    #[test]
    fn refuses_integers_that_do_not_fit() {
        let error = Values::decode(u64::MAX.to_le_bytes().to_vec(), Dtype::U64, ByteOrder::Little).unwrap_err();
        assert!(error.to_string().contains("above 2⁶³"), "{error}");
    }

    #[test]
    fn reorders_column_major_elements() {
        // [[1, 2, 3], [4, 5, 6]] column by column
        let values = Values::U8(vec![1, 4, 2, 5, 3, 6]);
        assert_eq!(values.into_row_major(&[2, 3]).unwrap(), Values::U8(vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn what_is_no_number_is_named_with_its_sample_and_place() {
        let message = |shape: &[usize], values: &[f32]| {
            let array = Array::new(shape.to_vec(), Values::F32(values.to_vec())).unwrap();
            array.check_finite("`x`").map_err(|e| e.to_string())
        };
        assert_eq!(message(&[2, 2], &[0.0, f32::MAX, f32::MIN_POSITIVE, -1.0]), Ok(()));
        let nan = message(&[2, 1, 3], &[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0]);
        assert_eq!(nan.unwrap_err(), "`x`: sample 1 holds NaN at [0, 1]");
        assert_eq!(message(&[2], &[0.0, -f32::INFINITY]).unwrap_err(), "`x`: sample 1 holds -inf");
        let wide = Values::decode(1e300f64.to_le_bytes().repeat(2), Dtype::F64, ByteOrder::Little).unwrap();
        let wide = Array::new(vec![2, 1], wide).unwrap().check_finite("`x`").unwrap_err();
        assert_eq!(wide.to_string(), "`x`: sample 0 holds inf at [0]; 2 samples hold such");
    }

    #[test]
    fn a_shape_must_fit_its_elements() {
        assert!(Array::new(vec![2, 3], Values::U8(vec![0; 5])).is_err());
        assert!(Array::new(vec![usize::MAX, 2], Values::U8(vec![])).is_err());
    }
}
