//! Batches of a data set in the form that a graph takes.

use super::Dataset;
use super::array::{Values, element_count};
use super::labels::Labels;
use crate::engine::{ElementType, Port, Tensor};
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};

/// A data set beside the two inputs of a graph that it feeds: the samples and the labels.
#[derive(Debug)]
pub struct Feed<'a> {
    data: &'a Dataset,
    sample_port: Shape,
    label_port: Shape,
    divisor: f32,
}

/// One input's element type, and its dimensions after the batch.
#[derive(Debug)]
struct Shape {
    element: ElementType,
    rest: Vec<usize>,
    fixed_batch: Option<usize>,
}

impl<'a> Feed<'a> {
    /// Joins `data` to the batch inputs of a graph ([`crate::engine::Engine::batch_ports`]).
    ///
    /// A sample is reshaped to its input where the element counts agree. Samples for a float input are divided by
    /// `divisor`; where none is given, by 255 if they are bytes. Labels are neither scaled nor rounded.
    ///
    /// # Errors
    /// Where the graph does not take one array of samples and one of labels, or of other sizes, or whole numbers where the
    /// data are not.
    pub fn new(data: &'a Dataset, ports: &[Port], divisor: Option<f32>) -> Result<Self> {
        let [samples, labels] = ports else {
            let names: Vec<_> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
            return Err(Error::input(format!(
                "the graph takes {} batch inputs ({}); expected two, the samples and their labels",
                ports.len(),
                names.join(", ")
            )));
        };
        let sample_port = Shape::fit(samples, data.sample_shape(), "samples")
            .map_err(|e| e.help("use data of the size that the model was exported for"))?;
        if sample_port.element != ElementType::F32 && divisor.is_some() {
            return Err(Error::input(format!("input `{}` is {}: it cannot be scaled", samples.name, samples.element)));
        }
        if matches!(
            (sample_port.element, data.samples().values()),
            (ElementType::I32 | ElementType::I64, Values::F32(_))
        ) {
            return Err(Error::input(format!(
                "input `{}` is {}, but the data are floats",
                samples.name, samples.element
            )));
        }
        let label_port =
            Shape::fit(labels, data.labels().shape(), "labels").map_err(|e| match (&*labels.dims, data.labels()) {
                ([_], Labels::Targets(_)) => e.help("turn one-hot labels into class indices, e.g. with .argmax(1)"),
                _ => e.help("use the labels that the model's loss is made for"),
            })?;
        if let Labels::Targets(targets) = data.labels()
            && matches!(targets.values(), Values::F32(_))
            && label_port.element != ElementType::F32
        {
            let message =
                format!("input `{}` takes labels of {}, but those of the data are floats", labels.name, labels.element);
            return Err(Error::input(message).help("save class indices as integers, e.g. with .astype(numpy.int64)"));
        }
        if divisor.is_some_and(|divisor| !divisor.is_finite() || divisor == 0.0) {
            return Err(Error::input("the divisor of the samples must be a number other than 0"));
        }
        let bytes = matches!(data.samples().values(), Values::U8(_));
        let divisor = divisor.unwrap_or(if bytes { 255.0 } else { 1.0 });
        Ok(Self { data, sample_port, label_port, divisor })
    }

    /// The data set.
    pub fn data(&self) -> &Dataset {
        self.data
    }

    /// The batch size that the graph is made for, where it is fixed.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.sample_port.fixed_batch.or(self.label_port.fixed_batch)
    }

    /// The number of batches that [`Feed::batches`] makes of the whole data set.
    ///
    /// # Errors
    /// As [`Feed::batches`].
    pub fn batch_count(&self, size: usize) -> Result<usize> {
        self.check_batch_size(size)?;
        let samples = self.data.len();
        Ok(if self.fixed_batch().is_some() { samples / size } else { samples.div_ceil(size) })
    }

    /// Cuts `order` into batches of `size` samples. The last has what is left, unless the graph's batch is fixed: then
    /// what is left is left out.
    ///
    /// # Errors
    /// Where the graph's batch is fixed at another size, or there are not enough samples for it.
    pub fn batches<'r>(&self, order: &'r [usize], size: usize) -> Result<impl Iterator<Item = &'r [usize]>> {
        self.check_batch_size(size)?;
        let whole = if self.fixed_batch().is_some() { order.len() - order.len() % size } else { order.len() };
        Ok(order[..whole].chunks(size))
    }

    fn check_batch_size(&self, size: usize) -> Result<()> {
        match self.fixed_batch() {
            _ if size == 0 => Err(Error::input("the batch size must be at least 1")),
            Some(fixed) if fixed != size => {
                Err(Error::input(format!("the graph is made for batches of {fixed}, not of {size}"))
                    .help(format!("train with --batch-size {fixed}, or export the model with an open batch dimension")))
            }
            Some(fixed) if fixed > self.data.len() => Err(Error::input(format!(
                "the graph takes batches of {fixed}, but there are {} samples",
                self.data.len()
            ))),
            _ => Ok(()),
        }
    }

    /// The samples `rows`, in that order, and their labels: one tensor a port.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn batch(&self, rows: &[usize]) -> Result<Vec<Tensor>> {
        Ok(vec![self.samples(rows)?, self.labels(rows)?])
    }

    /// The samples `rows` with labels of 0, which every classifier has: for a look at what a model returns.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn batch_without_labels(&self, rows: &[usize]) -> Result<Vec<Tensor>> {
        let zeros = Values::U8(vec![0; self.label_port.rest.iter().product()]);
        Ok(vec![self.samples(rows)?, self.label_port.select(&zeros, &vec![0; rows.len()], 1.0)?])
    }

    fn labels(&self, rows: &[usize]) -> Result<Tensor> {
        match self.data.labels() {
            Labels::Classes(classes) => self.classes(rows.iter().map(|&row| classes[row])),
            Labels::Targets(targets) => self.label_port.select(targets.values(), rows, 1.0),
        }
    }

    /// One class a sample, in the element type and shape that the graph wants.
    fn classes(&self, classes: impl ExactSizeIterator<Item = i64>) -> Result<Tensor> {
        let (port, rows) = (&self.label_port, classes.len());
        Ok(match port.element {
            ElementType::F32 => Tensor::F32(port.array(rows, classes.map(|class| class as f32).collect())?),
            ElementType::I32 => Tensor::I32(port.array(rows, classes.map(|class| class as i32).collect())?),
            ElementType::I64 => Tensor::I64(port.array(rows, classes.collect())?),
        })
    }

    fn samples(&self, rows: &[usize]) -> Result<Tensor> {
        self.sample_port.select(self.data.samples().values(), rows, 1.0 / self.divisor)
    }
}

impl Shape {
    /// The shape of a batch at `port` of `what` (samples, labels), of shape `sample` each. One dimension besides the batch may be open.
    fn fit(port: &Port, sample: &[usize], what: &str) -> Result<Self> {
        let dims = port.dims.get(1..).unwrap_or_default();
        let count = element_count(sample).unwrap_or(usize::MAX);
        let known: usize = dims.iter().flatten().product();
        let open = dims.iter().filter(|dim| dim.is_none()).count();
        let rest: Option<Vec<usize>> = match open {
            // As many open dimensions as there are: the sample as it is.
            _ if dims.len() == sample.len()
                && dims.iter().zip(sample).all(|(dim, &size)| dim.is_none_or(|dim| dim == size)) =>
            {
                Some(sample.to_vec())
            }
            0 if known == count => Some(dims.iter().flatten().copied().collect()),
            1 if known != 0 && count.is_multiple_of(known) => {
                Some(dims.iter().map(|dim| dim.unwrap_or(count / known)).collect())
            }
            _ => None,
        };
        let rest = rest.filter(|_| !port.dims.is_empty()).ok_or_else(|| {
            let dims: Vec<_> = port.dims.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
            Error::input(format!(
                "input `{}` takes batches of shape [{}], which {what} of shape {sample:?} do not fit",
                port.name,
                dims.join(", ")
            ))
        })?;
        Ok(Self { element: port.element, rest, fixed_batch: port.dims.first().copied().flatten() })
    }

    /// The rows of `values`, as many elements each as the port takes; times `scale` where the port takes floats.
    fn select(&self, values: &Values, rows: &[usize], scale: f32) -> Result<Tensor> {
        Ok(match self.element {
            ElementType::F32 => Tensor::F32(self.array(
                rows.len(),
                match values {
                    Values::U8(v) => self.gather(v, rows, |v| f32::from(v) * scale),
                    Values::I64(v) => self.gather(v, rows, |v| v as f32 * scale),
                    Values::F32(v) if scale == 1.0 => self.gather(v, rows, |v| v),
                    Values::F32(v) => self.gather(v, rows, |v| v * scale),
                },
            )?),
            ElementType::I32 => Tensor::I32(self.array(
                rows.len(),
                match values {
                    Values::U8(v) => self.gather(v, rows, i32::from),
                    Values::I64(v) => self.gather(v, rows, |v| v as i32),
                    Values::F32(v) => self.gather(v, rows, |v| v as i32),
                },
            )?),
            ElementType::I64 => Tensor::I64(self.array(
                rows.len(),
                match values {
                    Values::U8(v) => self.gather(v, rows, i64::from),
                    Values::I64(v) => self.gather(v, rows, |v| v),
                    Values::F32(v) => self.gather(v, rows, |v| v as i64),
                },
            )?),
        })
    }

    fn array<T>(&self, rows: usize, values: Vec<T>) -> Result<ArrayD<T>> {
        let shape: Vec<usize> = std::iter::once(rows).chain(self.rest.iter().copied()).collect();
        ArrayD::from_shape_vec(IxDyn(&shape), values)
            .map_err(|error| Error::internal(format!("a checked shape does not fit: {error}")))
    }

    fn gather<T: Copy, U>(&self, values: &[T], rows: &[usize], convert: impl Fn(T) -> U + Copy) -> Vec<U> {
        let size = self.rest.iter().product::<usize>();
        let mut out = Vec::with_capacity(rows.len() * size);
        for &row in rows {
            out.extend(values[row * size..][..size].iter().map(|&value| convert(value)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::Array;
    use super::*;
    use ndarray::array;

    fn data(values: Values) -> Dataset {
        let samples = Array::new(vec![2, 2, 2], values).unwrap();
        Dataset::new(samples, Array::new(vec![2], Values::U8(vec![3, 4])).unwrap()).unwrap()
    }

    fn ports(dims: &[Option<usize>]) -> [Port; 2] {
        [
            Port { name: "x".into(), element: ElementType::F32, dims: dims.to_vec() },
            Port { name: "labels".into(), element: ElementType::I64, dims: vec![None] },
        ]
    }

    fn u8s() -> Dataset {
        data(Values::U8(vec![0, 51, 102, 153, 204, 255, 0, 0]))
    }

    #[test]
    fn reshapes_scales_and_reorders() {
        let data = u8s();
        let feed = Feed::new(&data, &ports(&[None, Some(1), Some(2), Some(2)]), None).unwrap();
        let batch = feed.batch(&[1, 0]).unwrap();
        assert_eq!(batch[0].shape(), [2, 1, 2, 2]);
        let values: Vec<f32> = batch[0].as_f32().unwrap().iter().copied().collect();
        let expected = [0.8, 1.0, 0.0, 0.0, 0.0, 0.2, 0.4, 0.6];
        assert!(values.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{values:?}");
        assert_eq!(batch[1], Tensor::I64(array![4, 3].into_dyn()));
    }

    #[test]
    fn a_divisor_of_ones_own() {
        let data = u8s();
        let feed = Feed::new(&data, &ports(&[None, Some(4)]), Some(51.0)).unwrap();
        assert_eq!(feed.batch(&[0]).unwrap()[0], Tensor::F32(array![[0.0, 1.0, 2.0, 3.0]].into_dyn()));
        assert!(Feed::new(&data, &ports(&[None, Some(4)]), Some(0.0)).is_err());
    }

    #[test]
    fn floats_are_taken_as_they_are() {
        let data = data(Values::F32(vec![0.5, 300.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0]));
        let feed = Feed::new(&data, &ports(&[None, Some(2), Some(2)]), None).unwrap();
        assert_eq!(feed.batch(&[0]).unwrap()[0], Tensor::F32(array![[[0.5, 300.0], [0.0, -1.0]]].into_dyn()));
    }

    #[test]
    fn an_open_dimension_takes_what_is_left() {
        let data = u8s();
        let shape = |dims: &[Option<usize>]| Feed::new(&data, &ports(dims), None).map(|feed| feed.sample_port.rest);
        assert_eq!(shape(&[None, None, None]).unwrap(), [2, 2]);
        assert_eq!(shape(&[None, None]).unwrap(), [4]);
        assert_eq!(shape(&[None, Some(1), None]).unwrap(), [1, 4]);
        assert!(shape(&[None, None, None, None]).is_err());
    }

    #[test]
    fn a_misfit_names_both_shapes() {
        let data = u8s();
        let error = Feed::new(&data, &ports(&[None, Some(3), Some(28)]), None).unwrap_err().to_string();
        assert_eq!(error, "input `x` takes batches of shape [?, 3, 28], which samples of shape [2, 2] do not fit");
        let error = Feed::new(&data, &ports(&[None, Some(4)])[..1], None).unwrap_err().to_string();
        assert!(error.starts_with("the graph takes 1 batch inputs (`x`)"), "{error}");
    }

    #[test]
    fn the_last_batch_has_what_is_left() {
        let data = u8s();
        let feed = Feed::new(&data, &ports(&[None, Some(4)]), None).unwrap();
        let batches: Vec<_> = feed.batches(&[4, 3, 2, 1, 0], 2).unwrap().collect();
        assert_eq!(batches, [&[4, 3][..], &[2, 1], &[0]]);
        assert_eq!(feed.batch_count(64).unwrap(), 1);
        assert!(feed.batch_count(0).is_err());
    }

    #[test]
    fn a_fixed_batch_is_always_full() {
        let data = u8s();
        let feed = |batch| Feed::new(&data, &ports(&[Some(batch), Some(4)]), None).unwrap();
        assert_eq!(feed(2).fixed_batch(), Some(2));
        assert_eq!(feed(2).batches(&[2, 1, 0], 2).unwrap().collect::<Vec<_>>(), [&[2, 1]]);
        let message = |batch, size| feed(batch).batch_count(size).unwrap_err().to_string();
        assert_eq!(message(2, 64), "the graph is made for batches of 2, not of 64");
        assert_eq!(message(3, 3), "the graph takes batches of 3, but there are 2 samples");
    }

    #[test]
    fn labels_take_the_shape_and_the_type_that_the_graph_wants() {
        let samples = || Array::new(vec![2, 4], Values::F32(vec![0.0; 8])).unwrap();
        let data =
            |shape: &[usize], values| Dataset::new(samples(), Array::new(shape.to_vec(), values).unwrap()).unwrap();
        let label = |element, dims: &[Option<usize>], data: &Dataset| {
            let port = Port { name: "labels".into(), element, dims: dims.to_vec() };
            let feed = Feed::new(data, &[ports(&[None, Some(4)])[0].clone(), port], None)?;
            assert_eq!(feed.batch_without_labels(&[1, 0])?[1].shape(), feed.batch(&[1, 0])?[1].shape());
            Ok::<_, Error>(feed.batch(&[1, 0])?[1].clone())
        };
        let (column, table) = ([None, Some(1)], [None, Some(2)]);

        let classes = data(&[2], Values::U8(vec![1, 255]));
        assert_eq!(label(ElementType::F32, &column, &classes).unwrap(), Tensor::F32(array![[255.0], [1.0]].into_dyn()));
        assert_eq!(label(ElementType::I32, &[None], &classes).unwrap(), Tensor::I32(array![255, 1].into_dyn()));
        let soft = data(&[2, 2], Values::F32(vec![0.25, 0.75, 1.0, 0.0]));
        let expected = Tensor::F32(array![[1.0, 0.0], [0.25, 0.75]].into_dyn());
        assert_eq!(label(ElementType::F32, &table, &soft).unwrap(), expected);
        let positions = data(&[2, 2], Values::U8(vec![1, 2, 3, 4]));
        assert_eq!(
            label(ElementType::I64, &table, &positions).unwrap(),
            Tensor::I64(array![[3, 4], [1, 2]].into_dyn())
        );

        let error = label(ElementType::I64, &[None], &positions).unwrap_err();
        assert!(error.to_string().ends_with("which labels of shape [2] do not fit"), "{error}");
        assert!(error.help_text().unwrap().contains("argmax"));
        let error = label(ElementType::I64, &table, &soft).unwrap_err();
        assert!(error.to_string().ends_with("takes labels of int64, but those of the data are floats"), "{error}");
    }
}
