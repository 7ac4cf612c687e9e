//! Slices that cut a tensor into pieces, as exporters write `q, k, v = qkv`, or take its elements in turns, as rotary
//! embeddings do with `x[..., 0::2]` and `x[..., 1::2]`: one Split.
//!
//! Of a Split the gradient is one Concat. Of each Slice it is a Pad of the size of the whole tensor, and these are added.

use crate::graph::{Dim, Facts};
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use foldhash::HashMap;
use gnp_base::naming::PREFIX;

/// What a Slice cuts: the axis, from 0 on, of a tensor of a rank.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Whole {
    tensor: String,
    rank: i64,
    axis: i64,
    size: i64,
    step: i64,
}

/// The elements of a Slice, from `begin` on up to `end`.
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
    let mut order: Vec<Whole> = Vec::new();
    let mut found: HashMap<Whole, Vec<Piece>> = HashMap::default();
    for (place, node) in graph.node.iter().enumerate() {
        let Some((whole, begin, end)) = cut(node, facts) else { continue };
        let pieces = found.entry(whole.clone()).or_insert_with(|| {
            order.push(whole);
            Vec::new()
        });
        pieces.push(Piece { node: place, begin, end });
    }
    let mut is_gone = vec![false; graph.node.len()];
    let mut splits: HashMap<usize, Vec<NodeProto>> = HashMap::default();
    for whole in order {
        let Some(mut pieces) = found.remove(&whole) else { continue };
        pieces.sort_by_key(|piece| piece.begin);
        let first = pieces.iter().map(|piece| piece.node).min();
        let (Some(first), true, true) = (first, whole.is_cut_by(&pieces), pieces.len() > 1) else { continue };
        let slices: Vec<&NodeProto> = pieces.iter().map(|piece| &graph.node[piece.node]).collect();
        let nodes = if whole.step == 1 {
            let lengths: Vec<i64> = pieces.iter().map(|piece| piece.end - piece.begin).collect();
            whole.split(&slices, &lengths, &mut graph.initializer)
        } else {
            whole.take_turns(&slices, &mut graph.initializer)
        };
        splits.insert(first, nodes);
        pieces.iter().for_each(|piece| is_gone[piece.node] = true);
    }
    if splits.is_empty() {
        return;
    }
    let nodes = std::mem::take(&mut graph.node).into_iter().zip(is_gone).enumerate();
    graph.node = nodes
        .flat_map(|(place, (node, is_gone))| {
            splits.remove(&place).into_iter().flatten().chain((!is_gone).then_some(node))
        })
        .collect();
}

impl Whole {
    /// Whether `pieces`, in the order of their beginnings, are all of it, each element once.
    fn is_cut_by(&self, pieces: &[Piece]) -> bool {
        if self.step == 1 {
            return pieces.iter().try_fold(0, |at, piece| (piece.begin == at).then_some(piece.end)) == Some(self.size);
        }
        // Shapes are told by zeros for the sizes before the axis, so it has to be the last.
        let goes_through =
            |(piece, turn): (&Piece, i64)| piece.begin == turn && piece.end + self.step > self.size + turn;
        self.axis == self.rank - 1
            && self.size % self.step == 0
            && pieces.len() as i64 == self.step
            && pieces.iter().zip(0..).all(goes_through)
    }

    /// One Split that makes what `slices` do.
    fn split(&self, slices: &[&NodeProto], lengths: &[i64], constants: &mut Vec<TensorProto>) -> Vec<NodeProto> {
        let output: Vec<String> = slices.iter().map(|slice| slice.output[0].clone()).collect();
        let sizes = format!("{PREFIX}split/{}", output[0]);
        constants.push(TensorProto::int64s(&sizes, lengths));
        vec![NodeProto {
            op_type: Some("Split".into()),
            input: vec![self.tensor.clone(), sizes],
            output,
            attribute: vec![AttributeProto::int("axis", self.axis)],
            ..slices[0].clone()
        }]
    }

    /// The tensor with an axis of its own for the turns, a Split of this, and each piece without the axis.
    fn take_turns(&self, slices: &[&NodeProto], constants: &mut Vec<TensorProto>) -> Vec<NodeProto> {
        let name = |what: &str| format!("{PREFIX}split/{}/{what}", slices[0].output[0]);
        let [shape, turns, axis] = ["shape", "turns", "axis"].map(name);
        let mut sizes = vec![0; self.axis as usize];
        sizes.extend([self.size / self.step, self.step]);
        constants.extend([TensorProto::int64s(&shape, &sizes), TensorProto::int64s(&axis, &[self.rank])]);
        let reshape = NodeProto {
            name: Some(name("Reshape")),
            op_type: Some("Reshape".into()),
            input: vec![self.tensor.clone(), shape],
            output: vec![turns.clone()],
            ..Default::default()
        };
        let in_turns = Self { tensor: turns, rank: self.rank + 1, axis: self.rank, size: self.step, step: 1 };
        let mut nodes = in_turns.split(slices, &vec![1; slices.len()], constants);
        let squeezed = slices.iter().zip(&mut nodes[0].output).map(|(slice, piece)| {
            let output = std::mem::replace(piece, format!("{PREFIX}split/{}/turn", slice.output[0]));
            NodeProto {
                name: Some(format!("{PREFIX}split/{output}/Squeeze")),
                op_type: Some("Squeeze".into()),
                input: vec![piece.clone(), axis.clone()],
                output: vec![output],
                ..Default::default()
            }
        });
        let squeezed: Vec<_> = squeezed.collect();
        nodes.insert(0, reshape);
        nodes.extend(squeezed);
        nodes
    }
}

/// What a Slice along one axis cuts, and where the piece begins and ends.
fn cut(node: &NodeProto, facts: &Facts) -> Option<(Whole, i64, i64)> {
    if !node.is("", "Slice") {
        return None;
    }
    let number = |input: usize| match facts.ints(node.input(input)?)? {
        [number] => Some(*number),
        _ => None,
    };
    let step = if node.input(4).is_some_and(|steps| !steps.is_empty()) { number(4)? } else { 1 };
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
    let whole = Whole { tensor: node.input[0].clone(), rank, axis, size, step };
    (begin < end && step > 0).then_some((whole, begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Fact;
    use crate::onnx::DataType;
    use crate::testing::{body, node};

    fn simplified(cuts: &[(i64, i64)], size: i64) -> GraphProto {
        in_steps(cuts, size, 1, -1)
    }

    /// Slices of x, [2, `size`], or the exchange of it, along `axis`.
    fn in_steps(cuts: &[(i64, i64)], size: i64, step: i64, axis: i64) -> GraphProto {
        let names: Vec<[String; 3]> =
            (0..cuts.len()).map(|n| [format!("begin{n}"), format!("end{n}"), format!("y{n}")]).collect();
        let nodes: Vec<_> =
            names.iter().map(|[begin, end, y]| node("Slice", &["x", begin, end, "axis", "step"], &[y])).collect();
        let outputs: Vec<&str> = names.iter().map(|[.., y]| y.as_str()).collect();
        let mut graph = body(&["x"], &nodes, &outputs);
        graph.initializer.extend([TensorProto::int64s("axis", &[axis]), TensorProto::int64s("step", &[step])]);
        for ([begin, end, _], (from, to)) in names.iter().zip(cuts) {
            graph.initializer.extend([TensorProto::int64s(begin, &[*from]), TensorProto::int64s(end, &[*to])]);
        }
        let mut facts = Facts::default();
        graph.initializer.iter().for_each(|tensor| facts.insert_tensor(tensor));
        let sizes = if axis == 0 { [size, 2] } else { [2, size] };
        facts.insert("x".into(), Fact::with_sizes(DataType::Float, &sizes));
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

    #[test]
    fn turns_become_one_split() {
        let graph = in_steps(&[(1, i64::MAX), (0, 5)], 6, 2, -1);
        let operators: Vec<_> = graph.node.iter().map(|node| node.op_type()).collect();
        assert_eq!(operators, ["Reshape", "Split", "Squeeze", "Squeeze"]);
        let ints = |name: &str| graph.initializer.iter().find(|t| t.name() == name).unwrap().ints().unwrap();
        assert_eq!((ints(&graph.node[0].input[1]), ints(&graph.node[1].input[1])), (vec![0, 3, 2], vec![1, 1]));
        assert_eq!((graph.node[1].int("axis", 9), ints(&graph.node[2].input[1])), (2, vec![2]));
        // The piece that begins at 0 is y1.
        let made = |node: usize| (graph.node[node].input[0].as_str(), graph.node[node].output[0].as_str());
        let pieces: Vec<_> = graph.node[1].output.iter().map(String::as_str).collect();
        assert_eq!([made(2), made(3)], [(pieces[0], "y1"), (pieces[1], "y0")]);
    }

    #[test]
    fn turns_that_miss_an_element_stay() {
        let last = i64::MAX;
        for (cuts, size, axis) in [
            (&[(0, last), (1, 3)][..], 6, -1),
            (&[(0, last), (0, last)], 6, -1),
            (&[(0, last), (1, last)], 7, -1),
            (&[(0, last)], 6, -1),
            (&[(0, last), (1, last)], 6, 0),
        ] {
            assert!(in_steps(cuts, size, 2, axis).node.iter().all(|node| node.op_type() == "Slice"));
        }
    }
}
