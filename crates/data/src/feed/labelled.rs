//! Labels beside the input that takes them.

use super::fits;
use super::padded::Padded;
use crate::port_shape::PortShape;
use crate::{Dataset, Labels, Preparation, Target, Values};
use gnp_base::{Error, Result};
use gnp_tensor::{ElementType, Port, Tensor};

/// Labels, and how an input takes them.
#[derive(Debug)]
pub(crate) struct Labelled<'a> {
    pub(crate) labels: &'a Labels,
    way: Way<'a>,
}

#[derive(Debug)]
enum Way<'a> {
    /// As they are.
    Whole(PortShape),
    /// Each class as the probabilities of so many classes.
    Probabilities(PortShape, usize),
    Padded(Padded<'a>),
}

impl<'a> Labelled<'a> {
    /// Joins the labels of `target` to `port`. Classes become the probabilities of as many as `like` has, where it is
    /// of another part of the data.
    ///
    /// # Errors
    /// Where the port takes other labels.
    pub(super) fn new(
        target: &'a Target,
        port: &Port,
        preparation: &Preparation,
        like: Option<&Labelled<'_>>,
        data: &Dataset,
    ) -> Result<Self> {
        let labels = &target.labels;
        if let Labels::Lists(lists) = labels {
            // What is no label must not count.
            let pad = port.ignored().map_or(0.0, |ignored| ignored as f64);
            return Ok(Self { labels, way: Way::Padded(Padded::new(lists, port, &preparation.plain(), pad, None)?) });
        }
        let known = like.and_then(Labelled::one_hot);
        let classes = known.unwrap_or_else(|| target.label_bound().max(target.class_names.len()));
        let one_hot = fits::probabilities(port, labels, classes).map_err(|error| data.in_labels_file(error))?;
        let shape = fits::label_port(labels, port, one_hot)?;
        let way = match one_hot {
            Some(count) => Way::Probabilities(shape, count),
            None => Way::Whole(shape),
        };
        Ok(Self { labels, way })
    }

    /// The number of classes, where each label becomes the probabilities of all.
    pub(crate) fn one_hot(&self) -> Option<usize> {
        match self.way {
            Way::Probabilities(_, count) => Some(count),
            _ => None,
        }
    }

    /// The shape in which the graph takes a label; `[]` of lists.
    pub(crate) fn shape(&self) -> &[usize] {
        match &self.way {
            Way::Whole(shape) | Way::Probabilities(shape, _) => &shape.rest,
            Way::Padded(_) => &[],
        }
    }

    /// The most elements that a label takes.
    pub(super) fn size(&self) -> usize {
        match &self.way {
            Way::Whole(shape) | Way::Probabilities(shape, _) => shape.size(),
            Way::Padded(padded) => padded.size(),
        }
    }

    /// Labels of 0, which every classifier has, for `rows` samples.
    ///
    /// # Errors
    /// None that a user can cause.
    pub(super) fn zeros(&self, rows: &[usize]) -> Result<Tensor> {
        match &self.way {
            Way::Whole(shape) | Way::Probabilities(shape, _) => {
                shape.select(&Values::U8(vec![0; shape.size()]), &vec![0; rows.len()])
            }
            Way::Padded(padded) => padded.tensor(rows).map(|tensor| Tensor::zeros(tensor.element(), tensor.shape())),
        }
    }

    /// The labels of the samples `rows` of `data`, which these labels are of.
    ///
    /// # Errors
    /// Where a class has no place in a row of probabilities.
    pub(super) fn tensor(&self, rows: &[usize], data: &Dataset) -> Result<Tensor> {
        match (self.labels, &self.way) {
            (Labels::Classes(classes), Way::Probabilities(shape, count)) => {
                let count = *count;
                let mut probabilities = vec![0.0; rows.len() * count];
                for (at, &row) in rows.iter().enumerate() {
                    let class = usize::try_from(classes[row]).ok().filter(|class| *class < count).ok_or_else(|| {
                        let (sample, label) = (data.number_of(row), classes[row]);
                        Error::input(format!("sample {sample} has the label {label}; expected 0 to {}", count - 1))
                    })?;
                    probabilities[at * count + class] = 1.0;
                }
                Ok(Tensor::F32(shape.array(rows.len(), probabilities)?))
            }
            (Labels::Classes(classes), Way::Whole(shape)) => numbers(shape, rows.iter().map(|&row| classes[row])),
            (Labels::Targets(targets), Way::Whole(shape)) => shape.select(targets.values(), rows),
            (Labels::Lists(_), Way::Padded(padded)) => padded.tensor(rows),
            _ => Err(Error::internal("labels are joined to their input in another way")),
        }
    }
}

/// One class a sample, in the element type and shape that the graph wants.
fn numbers(port: &PortShape, classes: impl ExactSizeIterator<Item = i64>) -> Result<Tensor> {
    let rows = classes.len();
    Ok(match port.element {
        ElementType::F32 => Tensor::F32(port.array(rows, classes.map(|class| class as f32).collect())?),
        ElementType::I32 => Tensor::I32(port.array(rows, classes.map(|class| class as i32).collect())?),
        ElementType::I64 => Tensor::I64(port.array(rows, classes.collect())?),
    })
}
