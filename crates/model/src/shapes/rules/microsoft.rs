//! Operators of ONNX Runtime's own domain, `com.microsoft`, by its
//! [documentation](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule, matmul, named, standard};
use crate::onnx::DataType;

/// The output has the type and the sizes of the first input.
const KEEP: &str = "BiasGelu BiasSoftmax FastGelu Gelu GroupNorm QuickGelu RotaryEmbedding \
    SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization";

/// What they compute is what the standard's operators of the same name do.
const STANDARD: &str = "DequantizeLinear GridSample QuantizeLinear Range Trilu";

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Attention" => attention,
        "EmbedLayerNormalization" => embedding,
        "FusedMatMul" => fused_matmul,
        "GroupQueryAttention" => grouped_query_attention,
        "MatMulNBits" => matmul_in_bits,
        "MultiHeadAttention" => multi_head_attention,
        operator if named(KEEP, operator) => |op| Some(vec![op.like(0)]),
        operator if named(STANDARD, operator) => return standard(operator),
        _ => return None,
    })
}

/// MatMul of operands whose last two axes may be exchanged.
fn fused_matmul(op: &Operation<'_>) -> Option<Vec<Known>> {
    let operand = |index: usize, flag: &str| {
        let mut sizes = op.sizes(index)?.clone();
        let rank = sizes.len();
        if op.node.int(flag, 0) != 0 && rank > 1 {
            sizes.swap(rank - 2, rank - 1);
        }
        let is_batch = flag.replace("trans", "transBatch");
        (op.node.int(&is_batch, 0) == 0).then_some(sizes)
    };
    let (a, b) = (operand(0, "transA"), operand(1, "transB"));
    Some(vec![Known::of(op.element(0).or(op.element(1))).with(matmul::product(a.as_ref(), b.as_ref()))])
}

/// The rows of the first input times a weight of `N` columns.
fn matmul_in_bits(op: &Operation<'_>) -> Option<Vec<Known>> {
    let mut sizes = op.sizes(0)?.clone();
    *sizes.last_mut()? = Some(Size::number(op.node.int("N", 0)));
    Some(vec![Known::of(op.element(0)).with(sizes)])
}

/// The values, packed as the queries are.
fn multi_head_attention(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let ([_, _, _], [_, _, _]) = (op.sizes(0)?.as_slice(), op.sizes(2)?.as_slice()) else { return Some(vec![made]) };
    let sizes: Sizes = vec![op.size(0, 0), op.size(0, 1), op.size(2, 2)];
    Some(vec![made.with(sizes)])
}

/// The values, packed as the queries are; keys and values behind those of the past.
fn grouped_query_attention(op: &Operation<'_>) -> Option<Vec<Known>> {
    let [queries, keys] = ["num_heads", "kv_num_heads"].map(|name| op.node.int(name, 0));
    let heads = if op.has(1) { queries } else { queries.checked_add(keys.checked_mul(2)?)? };
    let width = op.size(0, 2).and_then(|packed| packed.exactly_over(&Size::number(heads)));
    let packed = width.as_ref().and_then(|width| width.times_number(queries));
    let all = match op.has(3) {
        true => op.size(3, 2).zip(op.size(0, 1)).and_then(|(past, new)| past.plus(&new)),
        false => op.size(0, 1),
    };
    let values: Sizes = vec![op.size(0, 0), op.size(0, 1), packed];
    let present: Sizes = vec![op.size(0, 0), Some(Size::number(keys)), all, width];
    let [made, present] = [values, present].map(|sizes| Known::of(op.element(0)).with(sizes));
    Some(vec![made, present.clone(), present])
}

/// As many values as there are queries, of the size that the weights say.
fn attention(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let width = match op.node.ints("qkv_hidden_sizes") {
        Some(&[.., width]) => Some(Size::number(width)),
        Some(_) => None,
        None => op.size(1, 1).and_then(|all| all.exactly_over(&Size::number(3))),
    };
    let sizes: Sizes = vec![op.size(0, 0), op.size(0, 1), width];
    Some(vec![made.with(sizes)])
}

/// A row of the tables for each place; how long each sample is; the same before it is normalised.
fn embedding(op: &Operation<'_>) -> Option<Vec<Known>> {
    let sizes: Sizes = vec![op.size(0, 0), op.size(0, 1), op.size(2, 1)];
    let rows = Known::of(op.element(2)).with(sizes);
    Some(vec![rows.clone(), Known::of(DataType::Int32).with(vec![op.size(0, 0)]), rows])
}
