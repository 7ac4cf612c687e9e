//! Sums and means by our kernel.
//!
//! A sum over the channels of a batch is two nodes in a step model, each over neighbours alone, since that is what
//! ONNX Runtime's own kernels on cards are fast at. Our kernel takes any axes in one pass. So here sums, means and sums
//! of squares of float32 over axes that are known become its calls, two that follow each other one. On processors they
//! are those that keep the last axis, as gradients of biases do: ONNX Runtime's take two to three times as long on two
//! threads as on one. Where the last axis alone is summed over, or all are, it is as fast.
//!
//! The condition: our kernels are there. The numbers are the same but for the order of additions.

use super::read_twice;
use foldhash::HashMap;
use gnp_base::contract::functions;
use gnp_model::graph::Facts;
use gnp_model::onnx::DataType;
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use gnp_model::shapes;
use std::collections::BTreeMap;

/// Which sums our kernel computes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sums {
    /// All.
    All,
    /// Those that keep the last axis.
    OfColumns,
}

/// Rewrites `model`. Where its shapes contradict each other it stays as it is: the runtime says so better.
pub(super) fn apply(model: &mut Model, which: Sums) {
    let Ok(facts) = shapes::analyse(model, &BTreeMap::new()) else { return };
    if replace(&mut model.graph, &facts, which) {
        model.import(functions::DOMAIN, 1);
    }
}

/// A sum or a mean.
struct Reduction {
    is_mean: bool,
    is_of_squares: bool,
    /// None are all.
    axes: Vec<i64>,
    keep: bool,
    /// The axes of what it is of.
    rank: i64,
}

impl Reduction {
    /// The one that `node` computes.
    fn of(node: &NodeProto, facts: &Facts) -> Option<Self> {
        let (is_mean, is_of_squares) = match node.op_type() {
            "ReduceSum" => (false, false),
            "ReduceSumSquare" => (false, true),
            "ReduceMean" => (true, false),
            _ => return None,
        };
        let fact = facts.get(node.input(0)?)?;
        let rank = fact.shape.as_ref()?.len() as i64;
        let axes = match node.input(1) {
            Some(name) if !name.is_empty() => facts.ints(name)?.to_vec(),
            _ => node.ints("axes").unwrap_or_default().to_vec(),
        };
        let does_nothing = axes.is_empty() && node.int("noop_with_empty_axes", 0) != 0;
        if !node.domain().is_empty() || fact.element != DataType::Float || rank == 0 || does_nothing {
            return None;
        }
        let axes: Vec<_> = axes.into_iter().map(|axis| if axis < 0 { axis + rank } else { axis }).collect();
        Some(Self { is_mean, is_of_squares, axes, keep: node.int("keepdims", 1) != 0, rank })
    }

    /// Whether our kernel computes it.
    fn is_ours(&self, which: Sums) -> bool {
        which == Sums::All || !self.axes.is_empty() && !self.axes.contains(&(self.rank - 1))
    }

    /// This one of what `inner` returns, as one.
    fn after(&self, inner: &Self) -> Option<Self> {
        let is_one = inner.keep == self.keep && inner.is_mean == self.is_mean && !self.is_of_squares;
        if !is_one || inner.axes.is_empty() || self.axes.is_empty() {
            return None;
        }
        let left: Vec<i64> = (0..inner.rank).filter(|axis| inner.keep || !inner.axes.contains(axis)).collect();
        let own: Option<Vec<i64>> = self.axes.iter().map(|&axis| left.get(axis as usize).copied()).collect();
        let further = own?.into_iter().filter(|axis| !inner.axes.contains(axis));
        let mut axes: Vec<i64> = inner.axes.iter().copied().chain(further).collect();
        axes.sort_unstable();
        Some(Self { axes, ..*inner })
    }

    fn write(&self, node: &mut NodeProto) {
        let formula = if self.is_of_squares { "x0 * x0" } else { "x0" };
        node.domain = Some(functions::DOMAIN.into());
        node.op_type = Some(functions::REDUCE.into());
        node.input.truncate(1);
        node.attribute = vec![
            AttributeProto::string("formula", formula),
            AttributeProto::int("keepdims", self.keep.into()),
            AttributeProto::int("mean", self.is_mean.into()),
        ];
        if !self.axes.is_empty() {
            node.attribute.push(AttributeProto::ints("axes", &self.axes));
        }
    }
}

/// Whether anything was replaced in `graph` and its bodies.
fn replace(graph: &mut GraphProto, facts: &Facts, which: Sums) -> bool {
    let read_twice = read_twice(graph);
    let mut inner: HashMap<String, (usize, Reduction)> = HashMap::default();
    let mut is_merged = vec![false; graph.node.len()];
    let mut has = false;
    for place in 0..graph.node.len() {
        let node = &mut graph.node[place];
        for body in node.subgraphs_mut() {
            has |= replace(body, facts, which);
        }
        let Some(mut reduction) = Reduction::of(node, facts) else { continue };
        if reduction.is_ours(which) {
            has = true;
            let before = node.input.first().and_then(|from| inner.get(from));
            if let Some((first, both)) = before.and_then(|(first, one)| Some((*first, reduction.after(one)?))) {
                is_merged[first] = true;
                let from = graph.node[first].input[0].clone();
                graph.node[place].input[0] = from;
                reduction = both;
            }
            reduction.write(&mut graph.node[place]);
        }
        let node = &graph.node[place];
        if let Some(output) = node.output.first().filter(|output| !read_twice.contains(*output)) {
            inner.insert(output.clone(), (place, reduction));
        }
    }
    let mut is_merged = is_merged.into_iter();
    graph.node.retain(|_| !is_merged.next().unwrap_or(false));
    has
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::Fact;
    use gnp_model::onnx::proto::TensorProto;
    use gnp_model::testing::{body, node};

    #[test]
    fn sums_become_calls_and_two_of_one_kind_one() {
        let nodes = [
            node("ReduceMean", &["x", "places"], &["rows"]),
            node("ReduceMean", &["rows", "batch"], &["mean"]),
            node("ReduceSumSquare", &["x"], &["squares"]),
            node("ReduceSum", &["x", "places"], &["sums"]),
            node("ReduceMean", &["sums", "batch"], &["other"]),
            node("ReduceSum", &["whole", "batch"], &["stays"]),
        ];
        let mut graph = body(&["x", "whole"], &nodes, &["mean", "squares", "other", "stays"]);
        graph.initializer = vec![TensorProto::int64s("places", &[2, -1]), TensorProto::int64s("batch", &[0])];
        let mut facts = Facts::default();
        graph.initializer.iter().for_each(|tensor| facts.insert_tensor(tensor));
        for name in ["x", "rows", "sums"] {
            facts.insert(name.into(), Fact::with_sizes(DataType::Float, &[4, 3, 5, 5]));
        }
        facts.insert("whole".into(), Fact::with_sizes(DataType::Int64, &[4, 3, 5, 5]));
        assert!(replace(&mut graph, &facts, Sums::All));
        let told: Vec<_> = graph
            .node
            .iter()
            .map(|node| {
                let (formula, axes) = (node.string("formula", ""), node.ints("axes").unwrap_or_default());
                (node.op_type(), node.input[0].as_str(), formula, axes.to_vec(), node.int("mean", 0))
            })
            .collect();
        assert_eq!(
            told,
            [
                ("Reduce", "x", "x0", vec![0, 2, 3], 1),
                ("Reduce", "x", "x0 * x0", vec![], 0),
                ("Reduce", "x", "x0", vec![2, 3], 0),
                ("Reduce", "sums", "x0", vec![0], 1),
                ("ReduceSum", "whole", "", vec![], 0),
            ]
        );
    }

    #[test]
    fn sums_that_keep_axes_and_others_are_two() {
        let mut outer: NodeProto = node("ReduceSum", &["rows", "batch"], &["y"]).into();
        outer.attribute = vec![AttributeProto::int("keepdims", 0)];
        let mut graph = body(&["x"], &[node("ReduceSum", &["x", "places"], &["rows"]), outer.into()], &["y"]);
        graph.initializer = vec![TensorProto::int64s("places", &[2, 3]), TensorProto::int64s("batch", &[0])];
        let mut facts = Facts::default();
        graph.initializer.iter().for_each(|tensor| facts.insert_tensor(tensor));
        facts.insert("x".into(), Fact::with_sizes(DataType::Float, &[4, 3, 5, 5]));
        facts.insert("rows".into(), Fact::with_sizes(DataType::Float, &[4, 3, 1, 1]));
        assert!(replace(&mut graph, &facts, Sums::All));
        let axes: Vec<_> = graph.node.iter().map(|node| node.ints("axes").unwrap().to_vec()).collect();
        assert_eq!(axes, [vec![2, 3], vec![0]]);
    }

    #[test]
    fn on_processors_a_sum_that_keeps_the_last_axis_takes_the_one_before_it() {
        let sum = |inputs: [&str; 2], output: &str| {
            let mut node: NodeProto = node("ReduceSum", &inputs, &[output]).into();
            node.attribute = vec![AttributeProto::int("keepdims", 0)];
            node.into()
        };
        let nodes = [sum(["x", "places"], "rows"), sum(["rows", "batch"], "bias"), sum(["x", "all"], "number")];
        let mut graph = body(&["x"], &nodes, &["bias", "number"]);
        let axes = |name: &str, axes: &[i64]| TensorProto::int64s(name, axes);
        graph.initializer = vec![axes("places", &[2, 3]), axes("batch", &[0]), axes("all", &[0, 1, 2, 3])];
        let mut facts = Facts::default();
        graph.initializer.iter().for_each(|tensor| facts.insert_tensor(tensor));
        facts.insert("x".into(), Fact::with_sizes(DataType::Float, &[4, 3, 5, 5]));
        facts.insert("rows".into(), Fact::with_sizes(DataType::Float, &[4, 3]));
        assert!(replace(&mut graph, &facts, Sums::OfColumns));
        let told: Vec<_> =
            graph.node.iter().map(|node| (node.op_type(), node.ints("axes").map(<[i64]>::to_vec))).collect();
        assert_eq!(told, [("Reduce", Some(vec![0, 2, 3])), ("ReduceSum", None)]);
        assert_eq!((graph.node[0].input[0].as_str(), graph.node[0].int("keepdims", 1)), ("x", 0));
    }
}
