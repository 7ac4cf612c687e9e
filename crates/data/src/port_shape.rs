//! What one input of a graph takes of each sample.

use super::array::{Values, element_count};
use super::layout::Layout;
use gnp_base::{Error, Result};
use gnp_tensor::{ElementType, Port, Tensor};
use ndarray::{ArrayD, IxDyn};

/// One input's element type, and its dimensions after the batch.
#[derive(Debug)]
pub(super) struct PortShape {
    pub(super) element: ElementType,
    pub(super) rest: Vec<usize>,
}

impl PortShape {
    /// The shape of a batch at `port` of `what` (samples, labels), of shape `sample` each. One dimension besides the
    /// batch may be open.
    pub(super) fn fit(port: &Port, sample: &[usize], what: &str) -> Result<Self> {
        let dims = port.dims.get(1..).unwrap_or_default();
        let count = element_count(sample).unwrap_or(usize::MAX);
        let known = element_count(&dims.iter().flatten().copied().collect::<Vec<_>>());
        let open = dims.iter().filter(|dim| dim.is_none()).count();
        let rest: Option<Vec<usize>> = match open {
            // As many open dimensions as there are: the sample as it is.
            _ if fits(dims, sample) => Some(sample.to_vec()),
            // An image whose axes are in the other order, which is turned.
            _ if turned(sample, dims).is_some() => turned(sample, dims),
            // Axes of one that the port does not have.
            _ if sample.len() > dims.len() && fits(dims, &squeezed(sample)) => Some(squeezed(sample)),
            0 if known == Some(count) => Some(dims.iter().flatten().copied().collect()),
            1 => known
                .and_then(|known| count.checked_div(known).filter(|_| count.is_multiple_of(known)))
                .map(|rest| dims.iter().map(|dim| dim.unwrap_or(rest)).collect()),
            _ => None,
        };
        let rest = rest.filter(|rest| !port.dims.is_empty() && element_count(rest).is_some()).ok_or_else(|| {
            let dims: Vec<_> = port.dims.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
            Error::input(format!(
                "input `{}` takes batches of shape [{}], which {what} of shape {sample:?} do not fit",
                port.name,
                dims.join(", ")
            ))
        })?;
        Ok(Self { element: port.element, rest })
    }

    /// The number of elements after the batch.
    pub(super) fn size(&self) -> usize {
        self.rest.iter().product()
    }

    /// The rows of `values`, as many elements each as the port takes.
    pub(super) fn select(&self, values: &Values, rows: &[usize]) -> Result<Tensor> {
        macro_rules! select {
            ($to:ty) => {
                self.array(
                    rows.len(),
                    match values {
                        Values::U8(v) => self.gather(v, rows, |v| v as $to),
                        Values::I64(v) => self.gather(v, rows, |v| v as $to),
                        Values::F32(v) => self.gather(v, rows, |v| v as $to),
                    },
                )?
            };
        }
        Ok(match self.element {
            ElementType::F32 => Tensor::F32(select!(f32)),
            ElementType::I32 => Tensor::I32(select!(i32)),
            ElementType::I64 => Tensor::I64(select!(i64)),
        })
    }

    pub(super) fn array<T>(&self, rows: usize, values: Vec<T>) -> Result<ArrayD<T>> {
        let shape: Vec<usize> = std::iter::once(rows).chain(self.rest.iter().copied()).collect();
        ArrayD::from_shape_vec(IxDyn(&shape), values)
            .map_err(|error| Error::internal(format!("a checked shape does not fit: {error}")))
    }

    fn gather<T: Copy, U>(&self, values: &[T], rows: &[usize], convert: impl Fn(T) -> U + Copy) -> Vec<U> {
        let size = self.size();
        let mut out = Vec::with_capacity(rows.len() * size);
        for &row in rows {
            out.extend(values[row * size..][..size].iter().map(|&value| convert(value)));
        }
        out
    }
}

/// Whether `shape` is one that `dims` take as it is.
fn fits(dims: &[Option<usize>], shape: &[usize]) -> bool {
    dims.len() == shape.len() && dims.iter().zip(shape).all(|(dim, &size)| dim.is_none_or(|dim| dim == size))
}

/// A shape without its axes of one.
fn squeezed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|size| *size != 1).collect()
}

/// The shape of an image of shape `sample` with its axes in the other order, where that and not its own fits `dims`.
fn turned(sample: &[usize], dims: &[Option<usize>]) -> Option<Vec<usize>> {
    let &[first, second, third] = sample else { return None };
    let others = [[second, third, first], [third, first, second]];
    let is_turned = |shape: &[usize; 3]| {
        let layout = Layout::of_array(sample, shape);
        fits(dims, shape)
            && layout.is_some_and(|layout| layout.port != layout.source && layout.port.order(layout.shape) == *shape)
    };
    others.into_iter().find(is_turned).map(Vec::from)
}
