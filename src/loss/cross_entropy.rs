//! Cross-entropy with class numbers or with distributions as labels.

use super::{Loss, LossKind};
use crate::graph::{Dim, Fact, TypedBuilder, Value};
use crate::onnx::proto::AttributeProto;

/// L = −mean Σ_c t_c · log softmax(z)_c, with t the label's distribution, smoothed: (1−ε)·t + ε/C.
pub(super) fn append(loss: &Loss, b: &mut TypedBuilder<'_>, logits: &Value, labels: &Value) -> Value {
    let axis = loss.axis();
    let log_probabilities = {
        let fact = b.fact(logits).clone();
        b.node("LogSoftmax", &[logits], vec![AttributeProto::int("axis", axis)], fact)
    };
    let target = match loss.kind {
        LossKind::CrossEntropy => one_hot(b, labels, logits, axis),
        _ => labels.clone(),
    };
    let target = smooth(loss, b, &target, logits, axis);
    let products = b.mul(&target, &log_probabilities);
    let sums = b.reduce("ReduceSum", &products, &[axis], false);
    let mean = b.reduce_all("ReduceMean", &sums);
    b.neg(&mean)
}

/// 1 at the label's class, 0 elsewhere, in the shape and element type of the logits.
fn one_hot(b: &mut TypedBuilder<'_>, labels: &Value, logits: &Value, axis: i64) -> Value {
    // The standard allows a vector of one number for it, but not every engine does.
    let classes = match b.fact(logits).dim(axis).and_then(Dim::known) {
        Some(size) => b.int64(size),
        None => {
            let size = b.size_of(logits, axis);
            b.squeeze(&size, &[0])
        }
    };
    let fact = b.fact(logits).clone();
    let (off, on) = (b.number(0.0, logits), b.number(1.0, logits));
    let (off, on) = (b.unsqueeze(&off, &[0]), b.unsqueeze(&on, &[0]));
    let values = b.concat(&[&off, &on], 0);
    b.node("OneHot", &[labels, &classes, &values], vec![AttributeProto::int("axis", axis)], fact)
}

fn smooth(loss: &Loss, b: &mut TypedBuilder<'_>, target: &Value, logits: &Value, axis: i64) -> Value {
    if loss.label_smoothing == 0.0 {
        return target.clone();
    }
    let epsilon = f64::from(loss.label_smoothing);
    let kept = b.scale(target, 1.0 - epsilon);
    match b.fact(logits).dim(axis).and_then(Dim::known) {
        Some(classes) => b.plus(&kept, epsilon / classes as f64),
        None => {
            let classes = b.count(logits, Some(&[axis]));
            let share = b.number(epsilon, logits);
            let share = b.div(&share, &classes);
            let fact = Fact { element: b.fact(logits).element, shape: Some(vec![]) };
            b.declare(&share, fact);
            b.add(&kept, &share)
        }
    }
}
