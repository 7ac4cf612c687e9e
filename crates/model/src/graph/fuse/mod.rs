//! Chains of elementwise operators as calls of one function each.
//!
//! Engines compute a chain operator by operator, and move a whole tensor through memory for each. As one call with the
//! formula of the chain ([`gnp_base::formula`]) it is one pass for a kernel that reads the formula; for others the body
//! of the function is the chain as it was.
//!
//! A group of nodes has one result, that of its last node: the sink. A node joins where its value has the shape of the
//! group and nothing outside of the group reads it. So no group depends on itself by way of another node. A sum or mean
//! over axes may be the sink of the chain that it reads, and so may several, one after the other over further axes.
//!
//! What is cheap to compute, x − μ of a normalisation say, is computed anew in each group that reads it, if all that
//! read it are such: then it need not be in memory at all.

mod body;
mod sum;
mod term;

use super::uses::for_each_use;
use super::{Dim, Fact, Facts, Graph};
use crate::onnx::DataType;
use crate::onnx::proto::NodeProto;
use foldhash::{HashMap, HashSet};
use gnp_base::formula::MAX_TERMS;
use std::collections::BinaryHeap;
use std::mem;

/// A group has at most so many nodes. Each makes a few terms of the formula.
const MOST_NODES: usize = MAX_TERMS / 8;
/// A group reads at most so many tensors.
const MOST_OPERANDS: usize = 16;

impl Graph {
    /// Makes calls of the chains of elementwise operators, where functions are made; in the bodies of control-flow
    /// operators too. Inputs and outputs are declared.
    pub fn fuse_elementwise(&mut self) {
        if self.functions.is_none() {
            return;
        }
        let outputs = self.proto.output.iter().map(|output| output.name().to_owned()).collect();
        let inputs = self.proto.input.iter().map(|input| input.name().to_owned()).collect();
        let nodes = mem::take(&mut self.proto.node);
        self.proto.node = self.fuse(nodes, &outputs, &inputs);
    }

    /// Fuses `nodes`, of which `kept` is returned. `fed` are values that change, whatever is known of them.
    fn fuse(&mut self, mut nodes: Vec<NodeProto>, kept: &HashSet<String>, fed: &HashSet<String>) -> Vec<NodeProto> {
        for body in nodes.iter_mut().flat_map(NodeProto::subgraphs_mut) {
            let outputs = body.output.iter().map(|output| output.name().to_owned()).collect();
            body.node = self.fuse(mem::take(&mut body.node), &outputs, fed);
        }
        let groups = Candidates::of(&nodes, &self.facts, kept).groups();
        let mut becomes = vec![Becomes::Itself; nodes.len()];
        let mut copied = vec![false; nodes.len()];
        for Group { members, copies } in groups {
            let mut all = [&members[..], &copies].concat();
            all.sort_unstable();
            let all: Vec<&NodeProto> = all.iter().map(|&index| &nodes[index]).collect();
            let (Some(call), Some(&sink)) = (self.call_of(&all, fed), members.last()) else { continue };
            members.iter().for_each(|&index| becomes[index] = Becomes::Part);
            copies.iter().for_each(|&index| copied[index] = true);
            becomes[sink] = Becomes::Call(Box::new(call));
        }
        let mut left = Vec::with_capacity(nodes.len());
        let mut read: HashSet<String> = kept.clone();
        // From the last to the first, each comes after those that read it.
        for ((node, becomes), copied) in nodes.into_iter().zip(becomes).zip(copied).rev() {
            let node = match becomes {
                Becomes::Itself => node,
                Becomes::Part => continue,
                Becomes::Call(call) => *call,
            };
            if copied && !node.output.iter().any(|output| read.contains(output)) {
                continue;
            }
            for_each_use(&node, &mut |name| _ = read.insert(name.to_owned()));
            left.push(node);
        }
        left.reverse();
        left
    }
}

/// What becomes of a node.
#[derive(Clone)]
enum Becomes {
    Itself,
    /// A part of the call that its sink becomes.
    Part,
    Call(Box<NodeProto>),
}

/// Nodes that are one call, by their numbers, in their order.
struct Group {
    /// The last is the sink.
    members: Vec<usize>,
    /// Nodes that are not of the group, and are computed in it nevertheless.
    copies: Vec<usize>,
}

/// The nodes of a graph, and which of them may be in a group.
struct Candidates<'g> {
    nodes: &'g [NodeProto],
    facts: &'g Facts,
    /// The node that makes a value.
    makers: HashMap<&'g str, usize>,
    /// The nodes that read a value, in their order; of what is returned, one more that is none.
    readers: HashMap<&'g str, Vec<usize>>,
}

impl<'g> Candidates<'g> {
    fn of(nodes: &'g [NodeProto], facts: &'g Facts, kept: &'g HashSet<String>) -> Self {
        let mut makers = HashMap::default();
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::default();
        for (index, node) in nodes.iter().enumerate() {
            makers.extend(node.output.iter().map(|output| (output.as_str(), index)));
            for_each_use(node, &mut |name| readers.entry(name).or_default().push(index));
        }
        kept.iter().for_each(|name| readers.entry(name).or_default().push(usize::MAX));
        Self { nodes, facts, makers, readers }
    }

    /// The groups, in the order of their sinks.
    fn groups(&self) -> Vec<Group> {
        let mut taken = vec![false; self.nodes.len()];
        // What copies read has to be there.
        let mut held: HashSet<&str> = HashSet::default();
        let mut groups = Vec::new();
        for sink in (0..self.nodes.len()).rev() {
            let Some(shape) = self.shape_at(sink).filter(|_| !taken[sink]) else { continue };
            let group = self.group(sink, shape, &taken, &held);
            // A single operator is what engines compute in one pass, and sums of a tensor as it is are what they are
            // best at.
            let count = group.members.len() + group.copies.len();
            if count > self.sums(sink).len().max(1) || self.spreads(sink) {
                group.members.iter().for_each(|&index| taken[index] = true);
                held.extend(group.copies.iter().flat_map(|&index| &self.nodes[index].input).map(String::as_str));
                groups.push(group);
            }
        }
        groups.reverse();
        groups
    }

    /// What is known of the values of the group whose sink the node would be, where that is enough.
    fn shape_at(&self, index: usize) -> Option<&'g Fact> {
        let sums = self.sums(index);
        let value = match sums.first() {
            Some(&first) => self.nodes[first].input(0)?,
            None if term::is_broadcast(&self.nodes[index]) => return None,
            None => self.nodes[index].output.first().filter(|_| self.can_join(index))?,
        };
        let fact = self.facts.get(value).filter(|fact| fact.element == DataType::Float)?;
        // Numbers are computed in no time, and told best as they are.
        (fact.same_shape(fact) && !fact.is_single()).then_some(fact)
    }

    /// The sums, or means, that are one with that at `index`, the sink, from the first on; none where it is no sum.
    fn sums(&self, index: usize) -> Vec<usize> {
        let mut sums: Vec<usize> = sum::of(&self.nodes[index], self.facts).map(|_| index).into_iter().collect();
        while let Some(&next) = sums.last() {
            let before = self.nodes[next].input(0).and_then(|value| {
                let maker = *self.makers.get(value)?;
                let alone = self.readers.get(value).is_some_and(|readers| readers[..] == [next]);
                (alone && sum::can_go_on(&self.nodes[maker], &self.nodes[next], self.facts)).then_some(maker)
            });
            let Some(before) = before else { break };
            sums.push(before);
        }
        sums.reverse();
        sums
    }

    /// All nodes that can join `sink`. Those that read a value come after it, so they are known when it is looked at.
    fn group(&self, sink: usize, shape: &Fact, taken: &[bool], held: &HashSet<&str>) -> Group {
        let sums = self.sums(sink);
        let mut group = Group { members: if sums.is_empty() { vec![sink] } else { sums }, copies: Vec::new() };
        let mut members: HashSet<usize> = group.members.iter().copied().collect();
        let inputs = |index: usize| term::operands(&self.nodes[index]).iter().map(String::as_str);
        let makers = |index: usize| inputs(index).filter_map(|name| self.makers.get(name).copied());
        let first = group.members[0];
        let mut operands: HashSet<&str> = inputs(first).collect();
        let mut heap: BinaryHeap<usize> = makers(first).collect();
        let mut last = None;
        while let Some(index) = heap.pop() {
            let node = &self.nodes[index];
            if last.replace(index) == Some(index) || taken[index] || !self.can_join(index) {
                continue;
            }
            let value = node.output[0].as_str();
            let readers = self.readers.get(value).map(Vec::as_slice).unwrap_or_default();
            let has_shape = self.facts.get(value).is_some_and(|fact| fact.same_shape(shape));
            let is_member = !held.contains(value) && readers.iter().all(|reader| members.contains(reader));
            if !has_shape || !is_member && !self.is_worth_copying(index, readers) {
                continue;
            }
            let more = node.input.iter().filter(|name| !operands.contains(name.as_str())).count();
            let count = group.members.len() + group.copies.len();
            if operands.len() + more > MOST_OPERANDS + 1 || count == MOST_NODES {
                continue;
            }
            operands.remove(value);
            operands.extend(inputs(index));
            if is_member {
                members.insert(index);
                group.members.push(index);
                heap.extend(makers(index));
            } else {
                group.copies.push(index);
            }
        }
        group.members.sort_unstable();
        group
    }

    /// Whether a node is cheap, and all of its `readers` can compute it anew.
    fn is_worth_copying(&self, index: usize, readers: &[usize]) -> bool {
        let node = &self.nodes[index];
        let made = self.facts.get(&node.output[0]);
        let is_large = |name: &String| made.zip(self.facts.get(name)).is_some_and(|(made, fact)| made.same_shape(fact));
        let is_cheap = ["Add", "Sub", "Mul", "Div"].iter().any(|operator| node.is("", operator));
        is_cheap
            && node.input.iter().filter(|name| is_large(name)).count() == 1
            && readers.iter().all(|&reader| {
                let Some(reader_node) = self.nodes.get(reader) else { return false };
                let sums = sum::of(reader_node, self.facts).is_some();
                sums || self.can_join(reader) && reader_node.output.first().is_some_and(is_large)
            })
    }

    /// Whether a node spreads an operand along the last axis, element by element: engines take a step for each.
    fn spreads(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        let dim = |name: &str| self.facts.get(name).and_then(|fact| fact.dim(-1)).and_then(Dim::known);
        let is_number = |name: &str| self.facts.get(name).is_some_and(Fact::is_single);
        let along = node.output.first().and_then(|output| dim(output));
        along.is_some_and(|along| along > 1)
            && sum::of(node, self.facts).is_none()
            && node.input.iter().any(|name| dim(name) == Some(1) && !is_number(name))
    }

    /// Whether the node computes element by element, of float32 tensors and of what is true or false of them. What is
    /// true or false never leaves a group, so it must be made for this node alone.
    fn can_join(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        let [output] = &node.output[..] else { return false };
        let fact = |name: &str| self.facts.get(name);
        let Some(made) = fact(output) else { return false };
        term::is_elementwise(node, self.facts)
            && term::operands(node).iter().filter(|name| !name.is_empty()).all(|name| {
                fact(name).is_some_and(|known| match known.element {
                    DataType::Float => known.shape.is_some(),
                    DataType::Bool => {
                        let alone = self.readers.get(name.as_str()).is_some_and(|readers| readers[..] == [index]);
                        let maker = self.makers.get(name.as_str());
                        alone && known.same_shape(made) && maker.is_some_and(|&maker| self.can_join(maker))
                    }
                    _ => false,
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Branch, Builder, Fact, Value};
    use crate::onnx::proto::GraphProto;
    use crate::testing::body;

    /// A graph with the inputs x and dy, [2, 3], and b, [3]; `make` appends nodes and says what is returned.
    fn fused(make: impl Fn(&Builder<'_>, [&Value; 3]) -> Vec<Value>) -> Graph {
        let mut graph = Graph::new(body(&["x", "dy", "b"], &[], &[])).unwrap();
        graph.make_functions(18);
        for (name, sizes) in [("x", &[2, 3][..]), ("dy", &[2, 3]), ("b", &[3])] {
            graph.declare(name, Fact::with_sizes(DataType::Float, sizes));
        }
        let outputs = make(&Builder::new(&mut graph, "update"), [&"x".into(), &"dy".into(), &"b".into()]);
        let infos: Vec<_> = outputs.iter().map(|value| graph.facts().of(value).info(value)).collect();
        graph.declare_outputs(infos);
        graph.retain_needed();
        graph.fuse_elementwise();
        graph
    }

    /// The nodes, each as its operator, formula and inputs.
    fn told(graph: &GraphProto) -> Vec<String> {
        let short = |name: &String| name.rsplit('/').next().unwrap_or_default().to_owned();
        let one = |node: &NodeProto| {
            let inputs: Vec<_> = node.input.iter().map(short).collect();
            format!("{} [{}] {}", node.op_type(), inputs.join(", "), node.string("formula", ""))
        };
        graph.node.iter().map(one).collect()
    }

    #[test]
    fn a_chain_is_one_call() {
        let graph = fused(|g, [x, dy, b]| {
            let y = g.add(g.scale(x, 2.0), b);
            vec![g.mul(dy, g.mask(g.compare("Greater", &y, g.number(0.0, x)), x))]
        });
        assert_eq!(told(graph.proto()), ["Elementwise [x, b, dy] x2 * (x0 * 2 + x1 > 0)"]);
    }

    #[test]
    fn a_value_that_is_read_outside_ends_a_chain() {
        let graph = fused(|g, [x, dy, _]| {
            let y = g.unary("Exp", g.neg(x));
            vec![g.mul(dy, g.unary("Sqrt", &y)), y]
        });
        assert_eq!(told(graph.proto()), ["Elementwise [x] exp(-x0)", "Elementwise_2 [Exp, dy] x1 * sqrt(x0)"]);
    }

    #[test]
    fn no_chain_goes_by_another_node() {
        // The product reads x both as it is and by the sum of its exponentials, which needs all of them.
        let graph = fused(|g, [x, _, _]| {
            let e = g.unary("Exp", x);
            vec![g.mul(&e, g.unary("Sqrt", g.reduce("ReduceSum", g.neg(&e), &[1], true)))]
        });
        let expected = ["Exp [x] ", "Reduce [Exp] -x0", "Sqrt [y] ", "Mul [Exp, Sqrt] "];
        let found = told(graph.proto());
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found[1].starts_with("Reduce [") && found[1].ends_with(" -x0"), "{found:?}");
    }

    #[test]
    fn a_sum_takes_the_chain_that_it_reads() {
        let graph = fused(|g, [x, dy, _]| {
            let sum = g.reduce("ReduceMean", g.mul(x, dy), &[-1], false);
            vec![sum, g.reduce("ReduceSumSquare", g.sub(x, dy), &[0, 1], true)]
        });
        assert_eq!(told(graph.proto()), ["Reduce [x, dy] x0 * x1", "Reduce_2 [x, dy] t0 = x0 - x1; t0 * t0"]);
        let [mean, squares] = graph.nodes() else { panic!() };
        assert_eq!((mean.ints("axes"), mean.int("mean", 0), mean.int("keepdims", 1)), (Some(&[1][..]), 1, 0));
        assert_eq!((squares.ints("axes"), squares.int("mean", 1)), (Some(&[0, 1][..]), 0));
    }

    #[test]
    fn sums_over_further_axes_are_one() {
        for keeps in [false, true] {
            let graph = fused(|g, [x, dy, _]| {
                let squares =
                    g.node("ReduceSumSquare", &[&g.sub(x, dy), &g.int64s(&[1])], keepdims(keeps), rows(keeps));
                vec![g.node("ReduceSum", &[&squares, &g.int64s(&[0])], keepdims(keeps), Fact::of(DataType::Float))]
            });
            assert_eq!(told(graph.proto()), ["Reduce [x, dy] t0 = x0 - x1; t0 * t0"]);
            let sum = &graph.nodes()[0];
            assert_eq!((sum.ints("axes"), sum.int("keepdims", 2)), (Some(&[0, 1][..]), keeps.into()));
        }
        // The mean of sums is no sum.
        let graph = fused(|g, [x, _, _]| {
            let sums = g.node("ReduceSum", &[x, &g.int64s(&[1])], keepdims(true), rows(true));
            vec![g.node("ReduceMean", &[&sums, &g.int64s(&[0])], keepdims(true), Fact::of(DataType::Float))]
        });
        assert_eq!(graph.nodes().len(), 2);
    }

    fn keepdims(keeps: bool) -> Vec<crate::onnx::proto::AttributeProto> {
        vec![crate::onnx::proto::AttributeProto::int("keepdims", keeps.into())]
    }

    fn rows(keeps: bool) -> Fact {
        Fact::with_sizes(DataType::Float, if keeps { &[2, 1] } else { &[2] })
    }

    #[test]
    fn operands_broadcast_by_themselves() {
        let wide = |g: &Builder<'_>, b: &Value| {
            let shape = g.int64s(&[2, 3]);
            g.node("Expand", &[b, &shape], vec![], Fact::with_sizes(DataType::Float, &[2, 3]))
        };
        let graph = fused(|g, [x, _, b]| vec![g.mul(x, g.neg(wide(g, b)))]);
        assert_eq!(told(graph.proto()), ["Elementwise [b, x] x1 * -x0"]);
        let graph = fused(|g, [x, _, b]| vec![g.mul(x, wide(g, b))]);
        assert_eq!(told(graph.proto()), ["Elementwise [b, x] x1 * x0"]);
        // Nothing else has the shape.
        let graph = fused(|g, [_, _, b]| vec![g.unary("Exp", g.neg(wide(g, b)))]);
        assert_eq!(graph.nodes().len(), 3);
    }

    #[test]
    fn what_is_cheap_is_computed_anew_by_all_that_read_it() {
        let graph = fused(|g, [x, dy, b]| {
            let centred = g.sub(x, b);
            let squares = g.reduce("ReduceSum", g.mul(&centred, &centred), &[0], false);
            vec![squares, g.mul(dy, &centred)]
        });
        let expected = ["Reduce [x, b] t0 = x0 - x1; t0 * t0", "Elementwise [x, b, dy] x2 * (x0 - x1)"];
        assert_eq!(told(graph.proto()), expected);
        // What a copy reads stays.
        let graph = fused(|g, [x, dy, b]| {
            let centred = g.sub(g.unary("Exp", g.neg(x)), b);
            vec![g.mul(dy, &centred), g.mul(x, &centred)]
        });
        assert_eq!(told(graph.proto())[0], "Elementwise [x] exp(-x0)");
        assert_eq!(graph.nodes().len(), 3);
        // A product of matrices reads it too, so it has to be there.
        let graph = fused(|g, [x, dy, b]| {
            let centred = g.sub(x, b);
            vec![g.mul(dy, &centred), g.matmul(g.transpose_last(x), &centred)]
        });
        assert!(graph.nodes().iter().any(|node| node.is("", "Sub")));
    }

    #[test]
    fn numbers_and_single_operators_stay() {
        let graph = fused(|g, [x, dy, _]| {
            let norm = g.unary("Sqrt", g.reduce("ReduceSumSquare", x, &[0, 1], false));
            vec![g.mul(dy, g.plus(g.scale(&norm, 0.5), 1.0))]
        });
        let operators: Vec<_> = graph.nodes().iter().map(|node| node.op_type()).collect();
        assert_eq!(operators, ["ReduceSumSquare", "Sqrt", "Mul", "Add", "Mul"]);
    }

    #[test]
    fn chains_in_branches_are_calls_of_the_same_functions() {
        let mut graph = Graph::new(body(&["x", "c"], &[], &[])).unwrap();
        graph.make_functions(18);
        graph.declare("x", Fact::with_sizes(DataType::Float, &[4]));
        let chain = |graph: &mut Graph| {
            let begin = graph.nodes().len();
            let g = Builder::new(graph, "mix");
            let output = g.neg(g.unary("Exp", Value::from("x")));
            Branch { begin, outputs: vec![output] }
        };
        let (then, otherwise) = (chain(&mut graph), chain(&mut graph));
        let outputs = graph.branch(&"c".into(), then, otherwise, "mix");
        graph.declare_outputs([Fact::with_sizes(DataType::Float, &[4]).info(&outputs[0])]);
        graph.fuse_elementwise();
        let bodies: Vec<_> = graph.nodes()[0].subgraphs().map(told).collect();
        assert_eq!(bodies, [["Elementwise [x] -exp(x0)"]; 2]);
        assert_eq!(graph.take_functions().len(), 1);
    }

    #[test]
    fn what_is_fed_is_no_constant() {
        let mut graph = Graph::new(body(&["x", "rate"], &[], &[])).unwrap();
        graph.make_functions(18);
        graph.declare("x", Fact::with_sizes(DataType::Float, &[4]));
        graph.facts.insert_floats("rate".into(), vec![0.5]);
        graph.declare("rate", Fact::with_sizes(DataType::Float, &[]));
        let g = Builder::new(&mut graph, "update");
        let output = g.neg(g.mul(Value::from("x"), Value::from("rate")));
        graph.declare_outputs([Fact::with_sizes(DataType::Float, &[4]).info(&output)]);
        graph.fuse_elementwise();
        assert_eq!(told(graph.proto()), ["Elementwise [x, rate] -(x0 * x1)"]);
    }
}
