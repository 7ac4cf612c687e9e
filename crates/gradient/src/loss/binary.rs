//! Binary cross-entropy: each output for itself.

use super::{Loss, Tally};
use gnp_model::graph::{Builder, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::TensorProto;

/// mean of (1 − t)·x + (1 + (p − 1)·t)·log(1 + e⁻ˣ), the binary cross-entropy of sigmoid(x) and t, whose positive part
/// counts p times (`torch.nn.functional.binary_cross_entropy_with_logits` with `pos_weight`). An output is right where
/// it and the label are on the same side of one half.
pub(super) fn append(loss: &Loss, b: &Builder<'_>, x: &Value, t: &Value) -> (Value, Tally) {
    let elements = match positive_weight(loss, b, x) {
        // log(1 + eˣ) − t·x, the same with p = 1.
        None => b.sub(b.unary("Softplus", x), b.mul(t, x)),
        Some(weight) => {
            let more = b.plus(&weight, -1.0);
            let positive = b.mul(b.plus(b.mul_by(t, &more), 1.0), b.unary("Softplus", b.neg(x)));
            b.add(b.mul(b.minus_from(1.0, t), x), &positive)
        }
    };
    let value = b.reduce_all("ReduceMean", &elements);

    b.set_scope("loss/wrong");
    let (zero, half) = (b.number(0.0, x), b.number(0.5, t));
    let (said, is_so) = (b.compare("Greater", x, &zero), b.compare("Greater", t, &half));
    let wrong = b.reduce_all("ReduceSum", b.mask(b.compare("Xor", &said, &is_so), x));
    (value, Tally { counted: b.count(x, None), wrong, weight: None })
}

/// p, so that it broadcasts with `x`; none where it is 1.
fn positive_weight(loss: &Loss, b: &Builder<'_>, x: &Value) -> Option<Value> {
    let weight = match &loss.pos_weight[..] {
        [] => return None,
        [one] => return Some(b.number((*one).into(), x)),
        several => {
            let payload: Vec<u8> = several.iter().flat_map(|weight| weight.to_le_bytes()).collect();
            let tensor = TensorProto::raw("", DataType::Float, &[several.len() as i64], payload.into());
            b.constant(tensor, "pos_weight")
        }
    };
    let weight = b.cast_like(&weight, x);
    let rank = b.fact(x).rank().unwrap_or(2) as i64;
    Some(b.unsqueeze(&weight, &(1..rank - loss.index_of_axis(rank)).collect::<Vec<_>>()))
}
