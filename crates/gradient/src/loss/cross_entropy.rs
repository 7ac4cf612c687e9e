//! Cross-entropy with class numbers or with distributions as labels.
//!
//! The formulas are those of `torch.nn.functional.cross_entropy` with `reduction="mean"`, but for one: where nothing
//! counts, the mean is 0 and not 0/0. With z the logits, w the weight of a class (1 where none are given), ε the label
//! smoothing and C the number of classes:
//!
//! | Labels | L |
//! |---|---|
//! | class numbers y | −Σᵢ mᵢ·((1−ε)·w_yᵢ·ln p_yᵢ + ε/C·Σ_c w_c·ln p_c) / Σᵢ mᵢ·w_yᵢ |
//! | distributions t | −mean Σ_c w_c·((1−ε)·t_c + ε/C)·ln p_c |
//!
//! mᵢ is 0 where yᵢ is to be ignored, and 1 elsewhere.

use super::{Loss, LossKind, Tally};
use crate::autodiff::Gradients;
use crate::whole::CROSS_ENTROPY_INTERNAL;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{AttributeProto, MICROSOFT, TensorProto};

/// Appends L, a scalar, and what is counted of the batch.
pub(super) fn append(
    loss: &Loss,
    b: &Builder<'_>,
    logits: &Value,
    labels: &Value,
    gradients: Gradients,
) -> (Value, Tally) {
    let axis = loss.axis();
    let log_probabilities = b.node("LogSoftmax", &[logits], vec![AttributeProto::int("axis", axis)], b.fact(logits));
    let classes = Classes { logits, log_probabilities: &log_probabilities, axis, weights: weights(loss, b, logits) };
    match loss.kind {
        LossKind::CrossEntropy => {
            let (value, tally) = classes.of_numbers(loss, b, labels);
            let by_runtime = classes.are_for_runtime(loss, b, gradients).then(|| classes.by_runtime(loss, b, labels));
            (by_runtime.unwrap_or(value), tally)
        }
        _ => classes.of_distributions(loss, b, labels),
    }
}

/// Σᵢ mᵢ·w_yᵢ of class numbers `labels`, a float32 scalar: what L is the mean by. It needs no logits. A label that is
/// no class has the weight of the nearest one. None where all labels count alike.
pub(super) fn weight(loss: &Loss, b: &Builder<'_>, labels: &Value) -> Option<Value> {
    if loss.class_weights.is_empty() && loss.ignore_index.is_none() {
        return None;
    }
    let one = b.number_of(1.0, DataType::Float);
    let each = weights(loss, b, &one).map(|weights| {
        let last = b.int64(loss.class_weights.len() as i64 - 1);
        let place = b.binary("Min", b.binary("Max", labels, b.int64(0)), &last);
        b.gather(&weights, &place, 0)
    });
    let counts = loss.ignore_index.map(|ignored| {
        let is_ignored = b.compare("Equal", labels, b.int64(ignored));
        b.minus_from(1.0, b.mask(&is_ignored, &one))
    });
    let weight = each.into_iter().chain(counts).reduce(|each, counts| b.mul(each, counts));
    weight.map(|weight| b.reduce_all("ReduceSum", &weight))
}

/// Up to how many classes ONNX Runtime's gradient takes less time than the standard operators, which have vectors.
const FEW_CLASSES: i64 = 16;

/// The weights of the classes, a vector; none where all weigh alike.
fn weights(loss: &Loss, b: &Builder<'_>, logits: &Value) -> Option<Value> {
    if loss.class_weights.is_empty() {
        return None;
    }
    let payload: Vec<u8> = loss.class_weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    let tensor = TensorProto::raw("", DataType::Float, &[loss.class_weights.len() as i64], payload.into());
    Some(b.cast_like(b.constant(tensor, "class_weights"), logits))
}

/// The axis of the classes of some logits. A *column* has the shape of the logits, with a single element along that
/// axis.
struct Classes<'a> {
    logits: &'a Value,
    log_probabilities: &'a Value,
    axis: i64,
    weights: Option<Value>,
}

impl Classes<'_> {
    /// A label that is neither a class nor to be ignored makes L and its gradient NaN, since a graph has no other way
    /// of saying so.
    fn of_numbers(&self, loss: &Loss, b: &Builder<'_>, labels: &Value) -> (Value, Tally) {
        let logits = self.logits;
        let labels = self.column(b, labels);
        let (first, last) = (b.int64(0), self.last(b));
        let place = b.binary("Min", b.binary("Max", &labels, &first), &last);
        let is_class = b.compare("Equal", &labels, &place);
        let mut counts = b.select(&is_class, b.number(1.0, logits), b.number(f64::NAN, logits));
        if let Some(ignored) = loss.ignore_index {
            let (ignored, zero) = (b.int64(ignored), b.number(0.0, logits));
            counts = b.select(b.compare("Equal", &labels, &ignored), &zero, &counts);
        }
        let weight = match &self.weights {
            None => counts.clone(),
            Some(weights) => b.mul(&counts, b.gather(weights, &place, 0)),
        };
        let total = b.reduce_all("ReduceSum", &weight);
        let picked = self.pick(b, self.log_probabilities, &place);
        let mut sums = b.mul(&picked, &weight);
        if loss.label_smoothing != 0.0 {
            let epsilon = f64::from(loss.label_smoothing);
            let everywhere = self.weighted(b, self.log_probabilities);
            let everywhere = b.mul(b.reduce("ReduceSum", &everywhere, &[self.axis], true), &counts);
            let share = self.share_of_each(b, epsilon);
            sums = b.add(b.scale(&sums, 1.0 - epsilon), b.mul(&everywhere, &share));
        }
        let value = b.neg(b.div_or_zero(b.reduce_all("ReduceSum", &sums), &total));

        let wrong = self.is_wrong(b, &place);
        let wrong = b.reduce_all("ReduceSum", b.mul(&wrong, &counts));
        let counted = b.reduce_all("ReduceSum", &counts);
        (value, Tally { counted, wrong, weight: self.weights.is_some().then_some(total) })
    }

    /// Whether ONNX Runtime's operator is to be used, and takes these logits. On the processor, where it has one thread
    /// and no vectors of e^x, it is faster with few classes, and where each column would be gathered across others.
    fn are_for_runtime(&self, loss: &Loss, b: &Builder<'_>, gradients: Gradients) -> bool {
        let fact = b.fact(self.logits);
        let Some(rank) = fact.rank() else { return false };
        let takes = fact.element == DataType::Float && loss.index_of_axis(rank as i64) == 1;
        let is_faster = rank > 2 || self.known_count(b).is_some_and(|count| count <= FEW_CLASSES);
        gradients.fuse(MICROSOFT, CROSS_ENTROPY_INTERNAL)
            && takes
            && loss.label_smoothing == 0.0
            && (is_faster || gradients == Gradients::OrtCuda)
    }

    /// L by ONNX Runtime's operator. It would read beyond the logits for a label that is no class, so it is given the
    /// next class, and L is multiplied by NaN.
    fn by_runtime(&self, loss: &Loss, b: &Builder<'_>, labels: &Value) -> Value {
        b.set_scope("loss");
        let place = b.node("Clip", &[labels, &b.int64(0), &self.last(b)], vec![], b.fact(labels));
        let ignored = b.int64(loss.ignore_index.unwrap_or(-1));
        let classes = match loss.ignore_index {
            Some(_) => b.select(b.compare("Equal", labels, &ignored), &ignored, &place),
            None => place,
        };
        let (one, nan) = (b.number(1.0, self.logits), b.number(f64::NAN, self.logits));
        // Of ones, the product is exact for any number of labels.
        let valid = b.reduce_all("ReduceProd", b.select(b.compare("Equal", labels, &classes), &one, &nan));

        let left_out = Value::from("");
        let inputs = [self.logits, &classes, self.weights.as_ref().unwrap_or(&left_out), &ignored];
        let facts = [Fact::with_sizes(DataType::Float, &[]).into(), b.fact(self.logits)].map(Some);
        let attributes = vec![AttributeProto::string("reduction", "mean")];
        let mut outputs = b.nodes_in(MICROSOFT, CROSS_ENTROPY_INTERNAL, &inputs, attributes, facts.into());
        match outputs.swap_remove(0) {
            Some(mean) => b.mul(&mean, &valid),
            None => valid,
        }
    }

    fn of_distributions(&self, loss: &Loss, b: &Builder<'_>, labels: &Value) -> (Value, Tally) {
        let mut target = labels.clone();
        if loss.label_smoothing != 0.0 {
            let epsilon = f64::from(loss.label_smoothing);
            let (kept, share) = (b.scale(&target, 1.0 - epsilon), self.share_of_each(b, epsilon));
            target = b.add(&kept, &share);
        }
        let target = self.weighted(b, &target);
        let products = b.mul(&target, self.log_probabilities);
        let sums = b.reduce("ReduceSum", &products, &[self.axis], true);
        let value = b.neg(b.reduce_all("ReduceMean", &sums));

        let fact = Fact { element: DataType::Int64, shape: self.column_shape(b) };
        let likeliest = b.node("ArgMax", &[labels], vec![AttributeProto::int("axis", self.axis)], fact);
        let wrong = self.is_wrong(b, &likeliest);
        let wrong = b.reduce_all("ReduceSum", &wrong);
        (value, Tally { counted: b.count(&sums, None), wrong, weight: None })
    }

    /// The labels as a column. That there is one for each place of the logits is for the engine to see:
    /// `GatherElements` would leave out what is missing.
    fn column(&self, b: &Builder<'_>, labels: &Value) -> Value {
        let fact = Fact { element: b.fact(labels).element, shape: self.column_shape(b) };
        if let Some(sizes) = fact.sizes() {
            return b.reshape(labels, &sizes);
        }
        let shape = Fact::of(DataType::Int64);
        let before = b.node("Shape", &[self.logits], vec![AttributeProto::int("end", self.axis)], shape.clone());
        let mut parts = vec![before, b.int64s(&[1])];
        let is_last = self.axis == -1 || b.fact(self.logits).rank().is_some_and(|rank| self.axis == rank as i64 - 1);
        if !is_last {
            parts.push(b.node("Shape", &[self.logits], vec![AttributeProto::int("start", self.axis + 1)], shape));
        }
        b.reshape_to(labels, b.concat(&parts.iter().collect::<Vec<_>>(), 0), fact)
    }

    fn column_shape(&self, b: &Builder<'_>) -> gnp_model::graph::Shape {
        let mut shape = b.fact(self.logits).shape.clone()?;
        let index = if self.axis < 0 { self.axis + shape.len() as i64 } else { self.axis };
        *shape.get_mut(usize::try_from(index).ok()?)? = Dim::Known(1);
        Some(shape)
    }

    /// The last class, a scalar of int64.
    fn last(&self, b: &Builder<'_>) -> Value {
        if let Some(count) = self.known_count(b) {
            return b.int64(count - 1);
        }
        b.sub(b.squeeze(b.size_of(self.logits, self.axis), &[0]), b.int64(1))
    }

    fn known_count(&self, b: &Builder<'_>) -> Option<i64> {
        b.fact(self.logits).dim(self.axis).and_then(Dim::known)
    }

    /// ε/C
    fn share_of_each(&self, b: &Builder<'_>, epsilon: f64) -> Value {
        if let Some(count) = self.known_count(b) {
            return b.number(epsilon / count as f64, self.logits);
        }
        b.div(b.number(epsilon, self.logits), b.count(self.logits, Some(&[self.axis])))
    }

    /// `x`, each class times its weight.
    fn weighted(&self, b: &Builder<'_>, x: &Value) -> Value {
        let Some(weights) = &self.weights else { return x.clone() };
        let rank = b.fact(self.logits).rank().unwrap_or(2) as i64;
        let after = rank - 1 - if self.axis < 0 { self.axis + rank } else { self.axis };
        b.mul_by(x, b.unsqueeze(weights, &(1..=after).collect::<Vec<_>>()))
    }

    /// The element of `x` at the class `place`, a column.
    fn pick(&self, b: &Builder<'_>, x: &Value, place: &Value) -> Value {
        let fact = Fact { element: b.fact(x).element, shape: b.fact(place).shape.clone() };
        b.node("GatherElements", &[x, place], vec![AttributeProto::int("axis", self.axis)], fact)
    }

    /// 1 where another class than `place` has a logit at least as large, 0 elsewhere: a model that tells nothing apart
    /// is wrong.
    fn is_wrong(&self, b: &Builder<'_>, place: &Value) -> Value {
        b.set_scope("loss/wrong");
        let own = self.pick(b, self.logits, place);
        let at_least = b.compare("GreaterOrEqual", self.logits, &own);
        let at_least = b.reduce("ReduceSum", b.mask(&at_least, self.logits), &[self.axis], true);
        let one = b.number(1.0, self.logits);
        b.minus_from(1.0, b.mask(b.compare("Equal", &at_least, &one), self.logits))
    }
}
