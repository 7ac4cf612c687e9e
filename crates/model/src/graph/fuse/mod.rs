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
mod candidates;
mod outline;
mod sum;
mod term;

use super::Graph;
use super::uses::for_each_use;
use crate::onnx::proto::{GraphProto, NodeProto};
use body::Functions;
use candidates::{Candidates, Group};
use foldhash::HashSet;
use gnp_base::formula::MAX_TERMS;
use gnp_base::naming::is_ours;
use std::mem;

/// A group has at most so many nodes. Each makes a few terms of the formula.
const MOST_NODES: usize = MAX_TERMS / 8;
/// A group reads at most so many tensors.
const MOST_OPERANDS: usize = 16;

/// Drops the constants that formulas have taken up: ONNX Runtime warns of those that nothing reads.
fn drop_unused_constants(body: &mut GraphProto) {
    let mut used: HashSet<&str> = body.output.iter().map(|output| output.name()).collect();
    body.node.iter().for_each(|node| for_each_use(node, &mut |name| _ = used.insert(name)));
    body.initializer.retain(|tensor| !is_ours(tensor.name()) || used.contains(tensor.name()));
}

impl Graph {
    /// Makes calls of the chains of elementwise operators, where functions are made; in the bodies of control-flow
    /// operators too. Inputs and outputs are declared.
    pub fn fuse_elementwise(&mut self) {
        if self.functions.is_none() {
            return;
        }
        let (input, output) = (mem::take(&mut self.proto.input), mem::take(&mut self.proto.output));
        let outputs = output.iter().map(|output| output.name()).collect();
        let inputs = input.iter().map(|input| input.name()).collect();
        let nodes = mem::take(&mut self.proto.node);
        self.proto.node = self.fuse(nodes, &outputs, &inputs, &mut Functions::default());
        (self.proto.input, self.proto.output) = (input, output);
    }

    /// Fuses `nodes`, of which `kept` is returned. `fed` are values that change, whatever is known of them.
    fn fuse(
        &mut self,
        mut nodes: Vec<NodeProto>,
        kept: &HashSet<&str>,
        fed: &HashSet<&str>,
        functions: &mut Functions,
    ) -> Vec<NodeProto> {
        for body in nodes.iter_mut().flat_map(NodeProto::subgraphs_mut) {
            let outputs = body.output.iter().map(|output| output.name()).collect();
            body.node = self.fuse(mem::take(&mut body.node), &outputs, fed, functions);
            drop_unused_constants(body);
        }
        let groups = Candidates::of(&nodes, &self.facts, kept).groups();
        let mut calls = Vec::with_capacity(groups.len());
        let mut stays = vec![true; nodes.len()];
        let mut copied = vec![false; nodes.len()];
        for Group { members, copies } in groups {
            let mut all = [&members[..], &copies].concat();
            all.sort_unstable();
            let all: Vec<&NodeProto> = all.iter().map(|&index| &nodes[index]).collect();
            let (Some(call), Some((&sink, parts))) = (self.call_of(&all, fed, functions), members.split_last()) else {
                continue;
            };
            calls.push((sink, call));
            parts.iter().for_each(|&index| stays[index] = false);
            copies.iter().for_each(|&index| copied[index] = true);
        }
        calls.into_iter().for_each(|(sink, call)| call.stand_for(&mut nodes[sink]));
        leave_unread(&nodes, &copied, kept, &mut stays);
        let mut stays = stays.into_iter();
        nodes.retain(|_| stays.next().unwrap_or(true));
        nodes
    }
}

/// Lets those of the `copied` nodes not stay that nothing reads any more.
fn leave_unread(nodes: &[NodeProto], copied: &[bool], kept: &HashSet<&str>, stays: &mut [bool]) {
    let copies = nodes.iter().zip(copied).filter(|(_, copied)| **copied).flat_map(|(node, _)| &node.output);
    let mut unread: HashSet<&str> = copies.map(String::as_str).filter(|output| !kept.contains(output)).collect();
    // From the last to the first, each comes after those that read it.
    for ((node, copied), stays) in nodes.iter().zip(copied).zip(stays).rev().filter(|(_, stays)| **stays) {
        if unread.is_empty() {
            return;
        }
        *stays = !copied || node.output.iter().any(|output| !unread.contains(output.as_str()));
        if *stays {
            for_each_use(node, &mut |name| _ = unread.remove(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Branch, Builder, Fact, Value};
    use crate::onnx::DataType;
    use crate::onnx::proto::TensorProto;
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
    fn an_activation_and_its_gradient_are_a_call_each() {
        let graph = fused(|g, [x, dy, b]| {
            let y = g.add(x, b);
            let gate = g.plus(g.unary("Erf", g.div_by(&y, g.number(2.0, x))), 1.0);
            let forward = g.mul(&y, g.scale(&gate, 0.5));
            vec![g.unary("Sqrt", forward), g.add(g.mul(dy, g.scale(&gate, 0.5)), g.mul(&y, dy))]
        });
        let expected = [
            "Elementwise [x, b] t0 = x0 + x1; sqrt(t0 * ((erf(t0 / 2) + 1) * 0.5))",
            "Elementwise_2 [x, b, dy] t0 = x0 + x1; x2 * ((erf(t0 / 2) + 1) * 0.5) + t0 * x2",
        ];
        assert_eq!(told(graph.proto()), expected);
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
        let number = |name: &str| TensorProto::raw(name, DataType::Float, &[], vec![0; 4].into());
        for body in graph.proto.node.iter_mut().flat_map(NodeProto::subgraphs_mut) {
            body.initializer = vec![number("gnp/mix/taken_up"), number("of the model")];
        }
        graph.fuse_elementwise();
        for body in graph.nodes()[0].subgraphs() {
            assert_eq!(body.initializer.iter().map(|t| t.name()).collect::<Vec<_>>(), ["of the model"]);
        }
        let bodies: Vec<_> = graph.nodes()[0].subgraphs().map(told).collect();
        assert_eq!(bodies, [["Elementwise [x] -exp(x0)"]; 2]);
        assert_eq!(graph.take_functions().len(), 1);
    }

    #[test]
    fn a_bound_that_is_fed_is_read() {
        let mut graph = Graph::new(body(&["x", "low"], &[], &[])).unwrap();
        graph.make_functions(18);
        graph.declare("x", Fact::with_sizes(DataType::Float, &[4]));
        graph.facts.insert_floats("low".into(), vec![0.5]);
        graph.declare("low", Fact::with_sizes(DataType::Float, &[]));
        let g = Builder::new(&mut graph, "update");
        let clipped = g.node("Clip", &[&"x".into(), &"low".into()], vec![], Fact::with_sizes(DataType::Float, &[4]));
        let output = g.neg(clipped);
        graph.declare_outputs([Fact::with_sizes(DataType::Float, &[4]).info(&output)]);
        graph.fuse_elementwise();
        assert_eq!(told(graph.proto()), ["Elementwise [x, low] -max(x0, x1)"]);
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
