//! Losses: from what a forward model returns, and labels, to the scalar that is trained.
//!
//! Each is the formula of PyTorch's module of that name with `reduction="mean"`, in primitive operators that the gradient rules
//! differentiate.

mod cross_entropy;
mod ending;
mod regression;
#[cfg(test)]
mod tests;

pub use ending::{Ending, Wanted, find_ending};

use crate::contract::LABELS;
use crate::graph::{Fact, TypedBuilder, Value};
use crate::{Error, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A named loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// Logits and int64 class numbers
    CrossEntropy,
    /// Logits and a distribution over the classes per sample
    SoftCrossEntropy,
    /// The mean squared difference
    Mse,
    /// The mean absolute difference
    L1,
    /// Squared near zero, linear beyond 1
    Huber,
    /// Logits and probabilities, each output for itself
    Bce,
}

/// A loss on the logits (or predictions) of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Its formula.
    pub kind: LossKind,
    /// ε of label smoothing (Szegedy et al., CVPR 2016): a share ε of the label is spread over all classes.
    pub label_smoothing: f32,
    /// The axis of the classes; 1 as in PyTorch where none is given.
    pub class_axis: Option<i64>,
}

impl Loss {
    /// A loss without label smoothing.
    pub fn new(kind: LossKind) -> Self {
        Self { kind, label_smoothing: 0.0, class_axis: None }
    }

    /// The same loss of the labels as they are.
    #[must_use]
    pub fn without_smoothing(self) -> Self {
        Self { label_smoothing: 0.0, ..self }
    }

    /// Whether it is over classes, and `logits` are a table of a row per sample and a column per class.
    pub fn is_of_a_table(&self, logits: &Fact) -> bool {
        self.has_classes() && logits.rank() == Some(2) && self.axis() == 1
    }

    fn has_classes(&self) -> bool {
        matches!(self.kind, LossKind::CrossEntropy | LossKind::SoftCrossEntropy)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Where label smoothing is outside of [0, 1) or the loss has no classes to smooth over.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(Error::input(format!(
                "label smoothing is {}; expected a number from 0 to below 1",
                self.label_smoothing
            ))
            .help("0.1 is common"));
        }
        if self.label_smoothing > 0.0 && !self.has_classes() {
            return Err(Error::input("label smoothing is for losses over classes")
                .help("use it with --loss cross-entropy or soft-cross-entropy"));
        }
        if self.class_axis.is_some() && !self.has_classes() {
            return Err(Error::input("an axis of classes is for losses over classes")
                .help("use --class-axis with --loss cross-entropy or soft-cross-entropy"));
        }
        Ok(())
    }

    /// Appends the loss on `logits` and the labels, which are to be the input [`LABELS`]: a float scalar. Returns it and what the labels are:
    /// class numbers are int64 in the shape of the logits without the axis of the classes, everything else is of the type and shape
    /// of the logits.
    ///
    /// # Errors
    /// Where the logits have too few axes for the loss.
    pub fn append(&self, b: &mut TypedBuilder<'_>, logits: &Value) -> Result<(Value, Fact)> {
        self.validate()?;
        let labels = self.labels(b.fact(logits))?;
        b.declare(LABELS, labels.clone());
        b.set_scope("loss");
        let target = Value::from(LABELS);
        let loss = match self.kind {
            LossKind::CrossEntropy | LossKind::SoftCrossEntropy => cross_entropy::append(self, b, logits, &target),
            LossKind::Mse => regression::mse(b, logits, &target),
            LossKind::L1 => regression::l1(b, logits, &target),
            LossKind::Huber => regression::huber(b, logits, &target),
            LossKind::Bce => regression::bce(b, logits, &target),
        };
        Ok((loss, labels))
    }

    fn labels(&self, logits: &Fact) -> Result<Fact> {
        if self.kind != LossKind::CrossEntropy {
            return Ok(logits.clone());
        }
        let Some(shape) = &logits.shape else { return Ok(Fact::of(crate::onnx::DataType::Int64)) };
        let axis = self.axis();
        let index = if axis < 0 { axis + shape.len() as i64 } else { axis };
        if shape.len() < 2 || !(0..shape.len() as i64).contains(&index) {
            return Err(Error::input(format!(
                "the logits have {} axes, and the classes are on axis {axis}; expected a batch axis and an axis of classes",
                shape.len()
            ))
            .help("name the right output with --logits, or the axis with --class-axis; --loss mse is for predictions without classes"));
        }
        let mut shape = shape.clone();
        shape.remove(index as usize);
        Ok(Fact { element: crate::onnx::DataType::Int64, shape: Some(shape) })
    }

    fn axis(&self) -> i64 {
        self.class_axis.unwrap_or(1)
    }
}

/// Appends loss + ½·c·Σ‖w‖² over `parameters`, without those of rank 1 and below where `skip_vectors` says so. In the loss, and so in both
/// passes, as the reference implementation of the penalty has it.
pub fn append_l2(b: &mut TypedBuilder<'_>, loss: &Value, parameters: &[Value], c: f32, skip_vectors: bool) -> Value {
    b.set_scope("loss/l2");
    let decayed = |w: &&Value| !skip_vectors || b.fact(w).rank().is_none_or(|rank| rank >= 2);
    let parameters: Vec<_> = parameters.iter().filter(decayed).cloned().collect();
    if parameters.is_empty() || c == 0.0 {
        return loss.clone();
    }
    let squares: Vec<_> = parameters.iter().map(|w| b.reduce_all("ReduceSumSquare", w)).collect();
    let sum = b.sum(&squares);
    let penalty = b.scale(&sum, 0.5 * f64::from(c));
    b.add(loss, &penalty)
}
