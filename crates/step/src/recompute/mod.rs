//! Activations that are computed again for the gradient, in place of being kept for it (Chen, Xu, Zhang and Guestrin,
//! "Training Deep Nets with Sublinear Memory Cost", 2016).
//!
//! The forward pass is cut into segments where few numbers go from one to the next. What goes across a cut is kept;
//! before the gradient of a segment, copies of its nodes compute anew what the gradient reads.
//!
//! An engine would compute copies early, or not at all, since it has the originals: common subexpressions are computed
//! once. So the copies read x − 0 for each x that comes across the cut, where 0 is computed of what the gradient of the
//! segment behind it has made: the comparison of a number with itself, which is false for every number and for NaN. So
//! they wait for that gradient, all of it, and what it has read is free by then. x − 0 is x to the bit.

mod plan;

use crate::objective::is_shared;
use crate::pass;
use foldhash::HashSet;
use gnp_model::graph::{Builder, CONCAT_INPUTS, Graph, Renaming, Value, for_each_use};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::NodeProto;
use plan::Plan;
use std::ops::Range;

/// What was done to a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recomputed {
    /// In how many segments the forward pass was cut.
    pub segments: usize,
    /// How many nodes are computed a second time.
    pub nodes: usize,
}

/// Lets the gradient nodes of `graph`, those from `begin` on, read what is computed again from `parameters`; none where
/// nothing is gained. `gradients` are what they are for.
pub(crate) fn recompute(
    graph: &mut Graph,
    begin: usize,
    parameters: &[Value],
    gradients: &[Value],
) -> Option<Recomputed> {
    let depends = graph.dependents(parameters.iter().map(|value| &**value), is_shared);
    let repeated: Vec<usize> = depends.iter().take_while(|index| *index < begin).collect();
    let plan = Plan::of(graph, begin, &repeated)?;
    let mut nodes = 0;
    let mut segments = 1;
    // From the first segment to the last: its gradient comes last, so what is put before it moves no other.
    for (segment, behind) in plan.segments.iter().zip(&plan.segments[1..]) {
        let wanted: Vec<usize> = repeated.iter().copied().filter(|index| segment.forward.contains(index)).collect();
        let Some(copies) = Copies::of(graph, begin, &wanted, &plan.kept) else { continue };
        let backward = behind.backward.start.min(copies.reader)..copies.reader;
        let made = leaving(graph, backward, gradients);
        if made.is_empty() {
            continue;
        }
        nodes += copies.nodes.len();
        segments += 1;
        copies.put(graph, &made, &plan.kept);
    }
    (nodes > 0).then_some(Recomputed { segments, nodes })
}

/// What is computed again of one segment.
struct Copies {
    /// The nodes, in the graph's order.
    nodes: Vec<usize>,
    /// What they read that is kept, and wait for.
    across: Vec<Value>,
    /// The first node of the gradient that reads what they make.
    reader: usize,
}

impl Copies {
    /// Of the `segment`, the nodes that the gradient, from `begin` on, needs again. What is `kept` is not made again.
    fn of(graph: &Graph, begin: usize, segment: &[usize], kept: &HashSet<String>) -> Option<Self> {
        let nodes = graph.nodes();
        let mut wanted: HashSet<&str> = HashSet::default();
        nodes[begin..].iter().for_each(|node| for_each_use(node, &mut |name| _ = wanted.insert(name)));
        let mut again = Vec::new();
        for &index in segment.iter().rev() {
            let is_wanted = |output: &String| wanted.contains(output.as_str()) && !kept.contains(output);
            if nodes[index].output.iter().any(is_wanted) {
                again.push(index);
                for_each_use(&nodes[index], &mut |name| _ = wanted.insert(name));
            }
        }
        again.reverse();

        let constants: HashSet<&str> = graph.proto().initializer.iter().map(|tensor| tensor.name()).collect();
        let is_data = |name: &str| is_float(graph, name) && !constants.contains(name);
        let (mut anew, mut across, mut seen) = (HashSet::default(), Vec::new(), HashSet::default());
        // A copy that waits for nothing is its original.
        again.retain(|&index| {
            let (mut waits, mut data) = (false, None);
            for_each_use(&nodes[index], &mut |name| {
                if kept.contains(name) && is_float(graph, name) && seen.insert(name) {
                    across.push(Value::from(name));
                }
                waits |= anew.contains(name) || seen.contains(name);
                data = data.or(Some(name).filter(|name| is_data(name)));
            });
            match data.filter(|_| !waits) {
                Some(name) => {
                    seen.insert(name);
                    across.push(name.into());
                }
                None if !waits => return false,
                None => {}
            }
            anew.extend(nodes[index].output.iter().map(String::as_str).filter(|output| !kept.contains(*output)));
            true
        });
        let reads = |node: &NodeProto| {
            let mut reads = false;
            for_each_use(node, &mut |name| reads |= anew.contains(name));
            reads
        };
        let reader = begin + nodes[begin..].iter().position(reads)?;
        Some(Self { nodes: again, across, reader })
    }

    /// Appends the copies, which come after all of `made`, and puts them before their first reader. What is `kept` the
    /// gradient reads as it is.
    fn put(&self, graph: &mut Graph, made: &[Value], kept: &HashSet<String>) {
        let end = graph.nodes().len();
        let mut renaming = Renaming::default();
        let b = Builder::new(graph, pass::RECOMPUTED);
        b.set_scope("wait");
        let zero = zero_after(&b, made);
        for value in &self.across {
            let waiting = b.named(&format!("wait/{value}"), "Sub", &[value, &zero], b.fact(value));
            renaming.insert(value, waiting);
        }
        for &index in &self.nodes {
            graph.duplicate(index, &mut renaming, pass::RECOMPUTED);
        }
        let outputs = self.nodes.iter().flat_map(|&index| &graph.nodes()[index].output);
        let outputs = outputs.filter(|output| !output.is_empty() && !kept.contains(*output));
        let instead = outputs.map(|output| (output.clone(), renaming.apply(output).to_string())).collect();
        let count = graph.nodes().len() - end;
        graph.move_newest(end, self.reader);
        graph.read_instead(self.reader + count, &instead);
    }
}

/// The values that the gradient nodes in `range` make and others read, or that are of `gradients`.
fn leaving(graph: &Graph, range: Range<usize>, gradients: &[Value]) -> Vec<Value> {
    let mut read: HashSet<&str> = gradients.iter().map(|value| &**value).collect();
    graph.nodes()[range.end..].iter().for_each(|node| for_each_use(node, &mut |name| _ = read.insert(name)));
    let made =
        graph.nodes()[range].iter().flat_map(|node| &node.output).filter(|output| read.contains(output.as_str()));
    made.filter(|name| is_float(graph, name)).map(|name| Value::from(name.as_str())).collect()
}

fn is_float(graph: &Graph, value: &str) -> bool {
    graph.facts().get(value).is_some_and(|fact| fact.element == DataType::Float)
}

/// 0, a scalar, once all of `values` are there.
fn zero_after(b: &Builder<'_>, values: &[Value]) -> Value {
    let mut parts: Vec<Value> = values.iter().map(|value| one_element(b, value)).collect();
    while parts.len() > 1 {
        let several = parts.drain(..parts.len().min(CONCAT_INPUTS)).collect::<Vec<_>>();
        let fact = b.fact(&several[0]);
        parts.push(b.node("Max", &several.iter().collect::<Vec<_>>(), vec![], (*fact).clone()));
    }
    b.cast(b.compare("Less", &parts[0], &parts[0]), DataType::Float)
}

/// The first element of `value`, as a scalar.
fn one_element(b: &Builder<'_>, value: &Value) -> Value {
    if b.fact(value).rank() == Some(0) {
        return value.clone();
    }
    let flat = b.reshape(value, &[-1]);
    b.gather(flat, b.int64(0), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_gradient::autodiff::{Gradients, gradient};
    use gnp_model::graph::{Dim, Fact, SOURCE_KEY};
    use gnp_model::onnx::proto::TensorProto;
    use gnp_model::testing::body;

    /// A chain of so many layers of a product and a sigmoid, with its gradient; where that begins, and the parameters.
    fn chain(layers: usize) -> (Graph, usize, Vec<Value>, Vec<Value>) {
        let mut graph = Graph::new(body(&["x"], &[], &["x"])).unwrap();
        let rows = Fact { element: DataType::Float, shape: Some(vec![Dim::Symbol("batch".into()), Dim::Known(8)]) };
        graph.declare("x", rows);
        let mut x = Value::from("x");
        let mut parameters = Vec::new();
        for layer in 0..layers {
            let name = format!("w{layer}");
            graph.add_initializer(TensorProto::raw(&name, DataType::Float, &[8, 8], vec![0; 256].into()));
            graph.declare(&name, Fact::with_sizes(DataType::Float, &[8, 8]));
            let w = Value::from(name.as_str());
            let b = Builder::new(&mut graph, "loss");
            x = b.unary("Sigmoid", b.matmul(&x, &w));
            parameters.push(w);
        }
        let loss = Builder::new(&mut graph, "loss").reduce_all("ReduceSum", &x);
        let begin = graph.nodes().len();
        let gradients = gradient(&mut graph, &loss, &parameters, Gradients::Standard, pass::GRADIENT).unwrap();
        let gradients: Vec<Value> = gradients.into_iter().flatten().collect();
        let kept = [gradients.clone(), vec![loss]].concat();
        graph.declare_outputs(kept.iter().map(|value| Fact::of(DataType::Float).info(value)));
        graph.retain_needed();
        (graph, begin, parameters, gradients)
    }

    fn is_copy(node: &NodeProto) -> bool {
        node.metadata_props.iter().any(|entry| entry.key() == SOURCE_KEY)
    }

    /// The values of the first `begin` nodes that others read which come behind them.
    fn kept(graph: &Graph, begin: usize) -> usize {
        let made: HashSet<&str> = graph.nodes()[..begin].iter().map(|node| node.output[0].as_str()).collect();
        let mut read = HashSet::default();
        graph.nodes()[begin..].iter().for_each(|node| read.extend(node.input.iter().map(String::as_str)));
        read.intersection(&made).count()
    }

    #[test]
    fn the_gradient_reads_copies_that_wait_for_the_gradient_behind_them() {
        let (mut graph, begin, parameters, gradients) = chain(16);
        let before = kept(&graph, begin);
        let recomputed = recompute(&mut graph, begin, &parameters, &gradients).unwrap();
        assert!(recomputed.segments >= 3, "{recomputed:?}");
        assert!(2 * kept(&graph, begin) <= before, "{} of {before}", kept(&graph, begin));
        let graph = Graph::new(graph.into_proto()).expect("the graph is well-formed");
        let comparisons = graph.nodes().iter().filter(|node| node.is("", "Less")).map(|node| node.output[0].as_str());
        let waiting = graph.dependents(comparisons, |_| false);
        for (index, node) in graph.nodes().iter().enumerate().filter(|(_, node)| is_copy(node)) {
            assert!(waiting.contains(index), "{}", node.name());
        }
        assert_eq!(graph.nodes().iter().filter(|node| is_copy(node)).count(), recomputed.nodes);
    }

    #[test]
    fn a_short_chain_stays_as_it_is() {
        let (mut graph, begin, parameters, gradients) = chain(1);
        let before = graph.nodes().to_vec();
        assert_eq!(recompute(&mut graph, begin, &parameters, &gradients), None);
        assert_eq!(graph.nodes(), before);
    }
}
