//! The first layer of BERT.

use super::mask::places;
use super::{define, input, output};
use crate::graph::{Builder, Fact};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto};

/// EmbedLayerNormalization of com.microsoft: LayerNormalization of the sum of a row each of a table of words, one of
/// positions and one of segments; and how many places of a sample the mask has.
pub(super) fn embedding(node: &NodeProto, b: &Builder<'_>) -> Option<()> {
    let (ids, words, positions) = (input(node, 0)?, input(node, 2)?, input(node, 3)?);
    let (gamma, beta) = (input(node, 5)?, input(node, 6)?);
    let segments = match (input(node, 1), input(node, 4)) {
        (Some(ids), Some(table)) => Some((ids, table)),
        (None, None) => None,
        _ => return None,
    };
    if output(node, 1).is_some() {
        let lengths = match input(node, 7) {
            Some(mask) => b.reduce("ReduceSum", mask, &[1], false),
            None => {
                let batch = b.size_of(&ids, 0);
                b.node("Expand", &[&b.number_of(0.0, DataType::Int32), &batch], vec![], Fact::of(DataType::Int32))
            }
        };
        define(node, 1, lengths, b);
    }
    let place = input(node, 8).unwrap_or_else(|| places(&ids, 1, b));
    let mut sum = b.add(b.gather(words, &ids, 0), b.gather(positions, place, 0));
    if let Some((ids, table)) = segments {
        sum = b.add(sum, b.gather(table, ids, 0));
    }
    let sum = define(node, 2, sum, b);
    let attributes =
        vec![AttributeProto::int("axis", -1), AttributeProto::float("epsilon", node.float("epsilon", 1e-12))];
    let normal = b.node("LayerNormalization", &[&sum, &gamma, &beta], attributes, b.fact(&sum));
    define(node, 0, normal, b);
    Some(())
}
