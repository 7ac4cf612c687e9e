//! Losses: from what a forward model returns, and labels, to the scalar that is trained.
//!
//! Each is the formula of PyTorch's module of that name with `reduction="mean"`, in primitive operators that the
//! gradient rules differentiate.

mod binary;
mod class_axis;
mod cross_entropy;
mod ending;
mod regression;
#[cfg(test)]
mod tests;
mod total;

pub use ending::{Ending, Wanted, WantedTerm, find_ending};
pub use total::{ShareOf, Term, Total};

use crate::autodiff::Gradients;
use gnp_base::contract::Range;
use gnp_base::contract::{COUNTED, LABELS, WEIGHT, WRONG};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The class number that labels have which do not count, where none is given: PyTorch's.
pub const IGNORE_INDEX: i64 = -100;

/// A named loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
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
    /// Of class numbers: labels of this number do not count; where none is given, all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_index: Option<i64>,
    /// What each class counts, a number from 0 on for each; 1 where none are given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_weights: Vec<f32>,
    /// Of binary cross-entropy: what labels of 1 count, one number, or one for each output; 1 where none are given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pos_weight: Vec<f32>,
}

/// A loss in a graph.
#[derive(Clone, Debug)]
pub struct Appended {
    /// L, a float scalar.
    pub loss: Value,
    /// What the labels are.
    pub labels: Fact,
    /// The numbers that they may be, where not all have a meaning.
    pub range: Option<Range>,
    /// What is counted of a batch, where there is right and wrong.
    pub tally: Option<Tally>,
}

/// What is counted of a batch, float scalars.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The labels that count.
    pub counted: Value,
    /// How many of them the model gets wrong.
    pub wrong: Value,
    /// The sum of the weights that L is the mean by, where it is not the first.
    pub weight: Option<Value>,
}

impl Tally {
    /// Each under the name that it is returned under, in the order of the outputs.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        let always = [(COUNTED, &self.counted), (WRONG, &self.wrong)];
        always.into_iter().chain(self.weight.iter().map(|weight| (WEIGHT, weight)))
    }
}

impl Loss {
    /// A loss with PyTorch's defaults.
    pub fn new(kind: LossKind) -> Self {
        let ignore_index = (kind == LossKind::CrossEntropy).then_some(IGNORE_INDEX);
        Self {
            kind,
            label_smoothing: 0.0,
            class_axis: None,
            ignore_index,
            class_weights: Vec::new(),
            pos_weight: Vec::new(),
        }
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

    /// The loss of `logits` in words: `cross-entropy of `y`; label smoothing 0.1; labels of -100 do not count`.
    pub fn describe(&self, logits: &str) -> String {
        let mut parts = vec![format!("{} of `{logits}`", self.kind.name())];
        if self.label_smoothing != 0.0 {
            parts.push(format!("label smoothing {}", self.label_smoothing));
        }
        for (what, weights) in [("class weights", &self.class_weights), ("weight of labels of 1:", &self.pos_weight)] {
            match &weights[..] {
                [] => {}
                [first, _, _, _, _, .., last] => parts.push(format!("{what} {first}, …, {last} ({})", weights.len())),
                few => parts.push(format!("{what} {}", few.iter().map(f32::to_string).collect::<Vec<_>>().join(", "))),
            }
        }
        parts.extend(self.ignore_index.map(|ignored| format!("labels of {ignored} do not count")));
        parts.join("; ")
    }

    /// What of a batch is called its error, a noun phrase; none where there is no right and wrong.
    pub fn error(&self) -> Option<String> {
        match self.kind {
            LossKind::CrossEntropy => Some(match self.ignore_index {
                None => "the fraction of the labels that are not the likeliest class".to_owned(),
                Some(ignored) => format!(
                    "the fraction of the labels that are not the likeliest class; those of {ignored} do not count"
                ),
            }),
            LossKind::SoftCrossEntropy => {
                Some("the fraction of the labels whose likeliest class is not the model's".to_owned())
            }
            LossKind::Bce => Some(
                "the fraction of the labels whose outputs, each for itself, are on the other side of 0.5".to_owned(),
            ),
            LossKind::Mse | LossKind::L1 | LossKind::Huber => None,
        }
    }

    fn has_classes(&self) -> bool {
        matches!(self.kind, LossKind::CrossEntropy | LossKind::SoftCrossEntropy)
    }

    /// Whether anything depends on which axis the classes are on.
    fn needs_axis(&self) -> bool {
        self.has_classes() || self.pos_weight.len() > 1
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Where a number is out of its range, or the loss has no use for it.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(Error::input(format!(
                "label smoothing is {}; expected a number from 0 to below 1",
                self.label_smoothing
            ))
            .help("0.1 is common"));
        }
        self.check_kind()?;
        for (flag, weights) in [("--class-weights", &self.class_weights), ("--pos-weight", &self.pos_weight)] {
            if let Some(weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
                return Err(Error::input(format!("{flag} has {weight}; expected finite numbers, zero or above"))
                    .help("a weight of 2 lets a label count twice, one of 0 not at all"));
            }
        }
        if !self.class_weights.is_empty() && self.class_weights.iter().all(|weight| *weight == 0.0) {
            return Err(Error::input("all weights of classes are 0: there is nothing to train for"));
        }
        Ok(())
    }

    /// Whether all that is given is of use for this kind of loss.
    fn check_kind(&self) -> Result<()> {
        let over_classes = "use it with --loss cross-entropy or soft-cross-entropy, or leave it out";
        let for_weights = match self.kind {
            LossKind::Bce => "name the weight of the labels of 1 with --pos-weight",
            _ => over_classes,
        };
        for (is_given, fits, what, help) in [
            (
                self.label_smoothing > 0.0,
                self.has_classes(),
                "label smoothing is for losses over classes",
                over_classes,
            ),
            (
                self.class_axis.is_some(),
                self.needs_axis(),
                "an axis of classes is for losses over classes",
                over_classes,
            ),
            (
                !self.class_weights.is_empty(),
                self.has_classes(),
                "class weights are for losses over classes",
                for_weights,
            ),
            (
                self.ignore_index.is_some(),
                self.kind == LossKind::CrossEntropy,
                "an index to ignore is for labels that are class numbers",
                "use it with --loss cross-entropy, or leave it out",
            ),
            (
                !self.pos_weight.is_empty(),
                self.kind == LossKind::Bce,
                "a weight of the labels of 1 is for binary cross-entropy",
                "use it with --loss bce, or leave it out",
            ),
        ] {
            if is_given && !fits {
                return Err(Error::input(format!("{what}, and the loss is {}", self.kind.name())).help(help));
            }
        }
        Ok(())
    }

    /// Appends the loss on `logits` and the labels, which are to be the input [`LABELS`]. Class numbers are int64 in
    /// the shape of the logits without the axis of the classes, all other labels are of the type and shape of the
    /// logits. Where the gradients are to be of ONNX Runtime's operators, so is the loss that these belong to.
    ///
    /// # Errors
    /// Where the logits have too few axes for the loss, or weights are not as many as they have classes.
    pub fn append(&self, b: &Builder<'_>, logits: &Value, gradients: Gradients) -> Result<Appended> {
        self.append_with(b, logits, LABELS, gradients)
    }

    /// The same with labels that are to be the input `labels_name`.
    ///
    /// # Errors
    /// As [`Loss::append`].
    pub fn append_with(
        &self,
        b: &Builder<'_>,
        logits: &Value,
        labels_name: &str,
        gradients: Gradients,
    ) -> Result<Appended> {
        self.validate()?;
        let labels = self.labels(&b.fact(logits))?;
        self.check_weights(&b.fact(logits))?;
        let range = self.range(&b.fact(logits));
        b.declare(labels_name, labels.clone());
        b.set_scope("loss");
        let target = Value::from(labels_name);
        let counted = |(loss, tally)| (loss, Some(tally));
        let (loss, tally) = match self.kind {
            LossKind::CrossEntropy | LossKind::SoftCrossEntropy => {
                counted(cross_entropy::append(self, b, logits, &target, gradients))
            }
            LossKind::Bce => counted(binary::append(self, b, logits, &target)),
            LossKind::Mse => (regression::mse(b, logits, &target), None),
            LossKind::L1 => (regression::l1(b, logits, &target), None),
            LossKind::Huber => (regression::huber(b, logits, &target), None),
        };
        Ok(Appended { loss, labels, range, tally })
    }

    /// What L is the mean by, of the `labels` alone: the labels that count, or their classes' weights, a float32 scalar.
    /// None where it is a mean over samples.
    pub fn weight(&self, b: &Builder<'_>, labels: &Value) -> Option<Value> {
        match self.kind {
            LossKind::CrossEntropy => cross_entropy::weight(self, b, labels),
            _ => None,
        }
    }

    fn labels(&self, logits: &Fact) -> Result<Fact> {
        if self.kind != LossKind::CrossEntropy {
            return Ok(logits.clone());
        }
        let Some(shape) = &logits.shape else { return Ok(Fact::of(DataType::Int64)) };
        let mut shape = shape.clone();
        shape.remove(self.class_index(shape.len())?);
        Ok(Fact { element: DataType::Int64, shape: Some(shape) })
    }

    /// The axis of the classes in logits of so many axes, counted from the first.
    fn class_index(&self, rank: usize) -> Result<usize> {
        let index = self.index_of_axis(rank as i64);
        if rank < 2 || !(0..rank as i64).contains(&index) {
            return Err(Error::input(format!(
                "the logits have {rank} axes, and the classes are on axis {}; expected an axis of samples and one of classes",
                self.axis()
            ))
            .help("name the right output with --logits, or the axis with --class-axis; --loss mse is for predictions without classes"));
        }
        Ok(index as usize)
    }

    /// What the labels may be.
    fn range(&self, logits: &Fact) -> Option<Range> {
        match self.kind {
            LossKind::CrossEntropy => Some(Range {
                last: logits.dim(self.axis()).and_then(Dim::known).map(|count| count - 1),
                ignored: self.ignore_index,
                part: None,
            }),
            LossKind::Bce => Some(Range::up_to(1)),
            _ => None,
        }
    }

    fn check_weights(&self, logits: &Fact) -> Result<()> {
        let (flag, weights) = match self.kind {
            LossKind::Bce => ("--pos-weight", &self.pos_weight),
            _ => ("--class-weights", &self.class_weights),
        };
        if weights.is_empty() || (self.kind == LossKind::Bce && weights.len() == 1) {
            return Ok(());
        }
        let Some(rank) = logits.rank() else {
            return Err(Error::input(format!("the number of axes of the logits is not known, and {flag} needs it"))
                .help("export the model with the shapes of its outputs"));
        };
        let axis = self.class_index(rank)? as i64;
        match logits.dim(axis).and_then(Dim::known) {
            Some(count) if count != weights.len() as i64 => Err(Error::input(format!(
                "{flag} has {} numbers, and the logits are {logits}: {count} classes on axis {axis}",
                weights.len()
            ))
            .help(format!("give {count} numbers with {flag}, or name the axis of the classes with --class-axis"))),
            _ => Ok(()),
        }
    }

    fn axis(&self) -> i64 {
        self.class_axis.unwrap_or(1)
    }

    fn index_of_axis(&self, rank: i64) -> i64 {
        let axis = self.axis();
        if axis < 0 { axis + rank } else { axis }
    }
}

impl LossKind {
    /// Its name, as its flag takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross-entropy",
            Self::SoftCrossEntropy => "soft-cross-entropy",
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::Huber => "huber",
            Self::Bce => "bce",
        }
    }
}

/// Appends ½·c·Σ‖w‖² over `parameters`, without those of rank 1 and below where `skip_vectors` says so; nothing where
/// that is 0. It belongs to the loss, and so to both passes, as the reference implementation of the penalty has it.
pub fn append_l2(b: &Builder<'_>, parameters: &[Value], c: f32, skip_vectors: bool) -> Option<Value> {
    b.set_scope("loss/l2");
    let decayed = |w: &&Value| !skip_vectors || b.fact(w).rank().is_none_or(|rank| rank >= 2);
    let parameters: Vec<_> = parameters.iter().filter(decayed).cloned().collect();
    if parameters.is_empty() || c == 0.0 {
        return None;
    }
    let squares: Vec<_> = parameters.iter().map(|w| b.reduce_all("ReduceSumSquare", w)).collect();
    let sum = b.sum(&squares);
    Some(b.scale(&sum, 0.5 * f64::from(c)))
}
