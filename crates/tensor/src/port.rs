//! What a graph takes and returns, and whether a batch fits it.

use super::{ElementType, Tensor};
use gnp_base::contract::{Outside, Range};
use gnp_base::{Error, Result};
use std::fmt;

/// One input or output of a graph, as the engine sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The value's name in the graph.
    pub name: String,
    /// The element type.
    pub element: ElementType,
    /// The dimensions, outermost first; `None` where the graph leaves one open (the batch, as a rule).
    pub dims: Vec<Option<usize>>,
    /// The numbers that it may hold, where it is known that not all have a meaning.
    pub ranges: Vec<Range>,
}

impl Port {
    /// A port that may hold any numbers.
    pub fn new(name: impl Into<String>, element: ElementType, dims: impl Into<Vec<Option<usize>>>) -> Self {
        Self { name: name.into(), element, dims: dims.into(), ranges: Vec::new() }
    }

    /// The number of classes, where it is that of class numbers and the graph tells it.
    pub fn classes(&self) -> Option<usize> {
        let whole = |range: &Range| range.last.filter(|_| range.part.is_none() && self.element != ElementType::F32);
        usize::try_from(self.ranges.iter().find_map(whole)?).ok()?.checked_add(1)
    }

    /// The class number that does not count, where there is one.
    pub fn ignored(&self) -> Option<i64> {
        self.ranges.iter().find_map(|range| range.ignored)
    }

    /// The first of `values`, in row-major order in a tensor of `shape`, that the port may not hold.
    pub fn first_outside(&self, shape: &[usize], values: impl Iterator<Item = f64> + Clone) -> Option<Outside> {
        self.ranges.iter().find_map(|range| range.first_outside(shape, values.clone()))
    }

    /// Whether `tensor` has the element type and the shape of this port.
    pub fn accepts(&self, tensor: &Tensor) -> bool {
        let shape = tensor.shape();
        self.element == tensor.element()
            && self.dims.len() == shape.len()
            && self.dims.iter().zip(shape).all(|(dim, &found)| dim.is_none_or(|dim| dim == found))
    }
}

/// Element type and shape: `float32 [?, 1, 28, 28]`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.dims.iter().map(|dim| dim.map_or("?".into(), |dim| dim.to_string())).collect();
        write!(f, "{} [{}]", self.element, dims.join(", "))
    }
}

/// Checks that `batch` has one tensor for each of `ports`, of the port's element type and shape, that none is empty,
/// and that all hold numbers that they may.
///
/// ONNX Runtime checks some of this too, but divides by zero on an empty batch.
///
/// ```
/// use gnp_tensor::{Tensor, Port, ElementType, check_batch};
/// let ports = [Port::new("x", ElementType::F32, [None, Some(2)])];
/// let error = check_batch(&ports, &[Tensor::scalar(1.0)]).unwrap_err();
/// assert_eq!(error.to_string(), "the input `x` is float32 [?, 2], but the batch has float32 []");
/// ```
///
/// # Errors
/// Where it does not fit; the message names the port.
pub fn check_batch(ports: &[Port], batch: &[Tensor]) -> Result<()> {
    if batch.len() != ports.len() {
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        return Err(Error::input(format!(
            "the graph takes {} tensors ({}), but the batch has {}",
            ports.len(),
            names.join(", "),
            batch.len()
        )));
    }
    for (port, tensor) in ports.iter().zip(batch) {
        let (name, element, shape) = (&port.name, tensor.element(), tensor.shape());
        if !port.accepts(tensor) {
            return Err(Error::input(format!("the input `{name}` is {port}, but the batch has {element} {shape:?}")));
        }
        if shape.contains(&0) {
            return Err(Error::input(format!("the batch is empty: the input `{name}` has the shape {shape:?}")));
        }
        let outside = match tensor {
            Tensor::F32(a) => port.first_outside(shape, a.iter().map(|&value| value.into())),
            Tensor::I32(a) => port.first_outside(shape, a.iter().map(|&value| value.into())),
            Tensor::I64(a) => port.first_outside(shape, a.iter().map(|&value| value as f64)),
        };
        if let Some(Outside { place, value, range }) = outside {
            return Err(Error::input(format!("the input `{name}` holds {value} at {place:?}; expected {range}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{ArrayD, IxDyn};

    #[test]
    fn only_what_fits_is_accepted() {
        let ports = [Port::new("x", ElementType::F32, [None, Some(3)])];
        let floats = |shape: &[usize]| Tensor::F32(ArrayD::zeros(IxDyn(shape)));
        let message = |batch: &[Tensor]| check_batch(&ports, batch).unwrap_err().to_string();

        check_batch(&ports, &[floats(&[5, 3])]).unwrap();
        assert_eq!(message(&[]), "the graph takes 1 tensors (x), but the batch has 0");
        assert_eq!(message(&[floats(&[5, 4])]), "the input `x` is float32 [?, 3], but the batch has float32 [5, 4]");
        assert_eq!(message(&[floats(&[3])]), "the input `x` is float32 [?, 3], but the batch has float32 [3]");
        assert_eq!(message(&[floats(&[0, 3])]), "the batch is empty: the input `x` has the shape [0, 3]");
        let wrong_type = Tensor::I64(ArrayD::zeros(IxDyn(&[5, 3])));
        assert_eq!(message(&[wrong_type]), "the input `x` is float32 [?, 3], but the batch has int64 [5, 3]");
    }

    #[test]
    fn what_is_looked_up_must_be_there() {
        let range = Range { ignored: Some(-100), ..Range::up_to(4) };
        let ports = [Port { ranges: vec![range], ..Port::new("labels", ElementType::I64, [None, None]) }];
        assert_eq!((ports[0].classes(), ports[0].ignored()), (Some(5), Some(-100)));
        let check = |labels: [[i64; 2]; 2]| check_batch(&ports, &[Tensor::I64(ndarray::arr2(&labels).into_dyn())]);
        check([[0, 4], [-100, 1]]).unwrap();
        let error = check([[0, 4], [-1, 1]]).unwrap_err().to_string();
        assert_eq!(error, "the input `labels` holds -1 at [1, 0]; expected 0 to 4, or -100, which does not count");
    }
}
