//! Slices that cut a tensor into pieces, as exporters write `q, k, v = qkv`: one Split.
//!
//! Of a Split the gradient is one Concat. Of each Slice it is a Pad of the size of the whole tensor, and these are added.

use crate::graph::{Dim, Facts};
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use foldhash::HashMap;
use gnp_base::naming::PREFIX;

/// A Slice along one axis, in steps of 1.
struct Piece {
    node: usize,
    begin: i64,
    end: i64,
}

/// Puts a Split in place of Slices that share nothing and leave nothing out.
pub(super) fn simplify(graph: &mut GraphProto, facts: &Facts) {
    for body in graph.node.iter_mut().flat_map(NodeProto::subgraphs_mut) {
        simplify(body, facts);
    }
    // In the order of the nodes, so that equal models become equal ones.
    let mut order: Vec<(String, i64)> = Vec::new();
    let mut found: HashMap<(String, i64), (i64, Vec<Piece>)> = HashMap::default();
    for (place, node) in graph.node.iter().enumerate() {
        let Some((axis, size, begin, end)) = cut(node, facts) else { continue };
        let key = (node.input[0].clone(), axis);
        let pieces = found.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            (size, Vec::new())
        });
        pieces.1.push(Piece { node: place, begin, end });
    }
    let mut is_gone = vec![false; graph.node.len()];
    for key in order {
        let Some((size, mut pieces)) = found.remove(&key) else { continue };
        pieces.sort_by_key(|piece| piece.begin);
        let is_whole = pieces.iter().try_fold(0, |at, piece| (piece.begin == at).then_some(piece.end)) == Some(size);
        let first = pieces.iter().map(|piece| piece.node).min();
        let (Some(first), true, true) = (first, is_whole, pieces.len() > 1) else { continue };
        let output: Vec<String> = pieces.iter().map(|piece| graph.node[piece.node].output[0].clone()).collect();
        let sizes = format!("{PREFIX}split/{}", output[0]);
        let lengths: Vec<i64> = pieces.iter().map(|piece| piece.end - piece.begin).collect();
        graph.initializer.push(TensorProto::int64s(&sizes, &lengths));
        let (tensor, axis) = key;
        let split = &mut graph.node[first];
        split.op_type = Some("Split".into());
        split.input = vec![tensor, sizes];
        split.output = output;
        split.attribute = vec![AttributeProto::int("axis", axis)];
        pieces.iter().filter(|piece| piece.node != first).for_each(|piece| is_gone[piece.node] = true);
    }
    let mut is_gone = is_gone.into_iter();
    graph.node.retain(|_| !is_gone.next().unwrap_or(false));
}

/// The axis that a Slice cuts, the size of the axis, and where the piece begins and ends on it.
fn cut(node: &NodeProto, facts: &Facts) -> Option<(i64, i64, i64, i64)> {
    if !node.is("", "Slice") {
        return None;
    }
    let number = |input: usize| match facts.ints(node.input(input)?)? {
        [number] => Some(*number),
        _ => None,
    };
    if node.input(4).is_some_and(|steps| !steps.is_empty()) && number(4)? != 1 {
        return None;
    }
    let fact = facts.get(node.input(0)?)?;
    let rank = fact.shape.as_ref()?.len() as i64;
    let axis = match node.input(3) {
        Some(axes) if !axes.is_empty() => number(3)?,
        _ => 0,
    };
    let axis = if axis < 0 { axis + rank } else { axis };
    let size = fact.dim(axis).and_then(Dim::known)?;
    let place = |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
    let (begin, end) = (place(number(1)?), place(number(2)?));
    (begin < end).then_some((axis, size, begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Fact;
    use crate::onnx::DataType;
    use crate::testing::{body, node};

    fn simplified(cuts: &[(i64, i64)], size: i64) -> GraphProto {
        let names: Vec<[String; 3]> =
            (0..cuts.len()).map(|n| [format!("begin{n}"), format!("end{n}"), format!("y{n}")]).collect();
        let nodes: Vec<_> =
            names.iter().map(|[begin, end, y]| node("Slice", &["x", begin, end, "axis"], &[y])).collect();
        let outputs: Vec<&str> = names.iter().map(|[.., y]| y.as_str()).collect();
        let mut graph = body(&["x"], &nodes, &outputs);
        graph.initializer.push(TensorProto::int64s("axis", &[-1]));
        for ([begin, end, _], (from, to)) in names.iter().zip(cuts) {
            graph.initializer.extend([TensorProto::int64s(begin, &[*from]), TensorProto::int64s(end, &[*to])]);
        }
        let mut facts = Facts::default();
        graph.initializer.iter().for_each(|tensor| facts.insert_tensor(tensor));
        facts.insert("x".into(), Fact::with_sizes(DataType::Float, &[2, size]));
        simplify(&mut graph, &facts);
        graph
    }

    #[test]
    fn pieces_become_one_split() {
        let graph = simplified(&[(-2, i64::MAX), (0, 3), (3, -2)], 7);
        let [split] = &graph.node[..] else { panic!("{:?}", graph.node) };
        assert_eq!((split.op_type(), split.int("axis", 9)), ("Split", 1));
        assert_eq!(split.output, ["y1", "y2", "y0"]);
        let sizes = graph.initializer.iter().find(|tensor| tensor.name() == split.input[1]).unwrap();
        assert_eq!(sizes.ints().unwrap(), [3, 2, 2]);
    }

    #[test]
    fn slices_that_overlap_or_leave_something_out_stay() {
        for cuts in [&[(0, 3), (2, 7)][..], &[(0, 3), (4, 7)], &[(0, 7)], &[(0, 3), (0, 3), (3, 7)]] {
            assert!(simplified(cuts, 7).node.iter().all(|node| node.op_type() == "Slice"));
        }
    }
}
