//! Putting nodes into the body of a `Loop`.

use super::branch::last_part;
use super::mark::{PASS_KEY, tag};
use super::uses::for_each_use;
use super::{Fact, Graph, NodeSet, Value, is_added, rename};
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use foldhash::{HashMap, HashSet};
use std::ops::Range;

/// What a loop does in a turn.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Its nodes.
    pub nodes: NodeSet,
    /// Those of them that come first, and read what is around the loop.
    pub first: Range<usize>,
    /// What the others read in place of values around the loop: what the first nodes make.
    pub inside: HashMap<String, String>,
    /// The name under which they read the number of the turn, an int64 scalar, from 0 on.
    pub number: Value,
}

/// A value that a loop hands from turn to turn.
#[derive(Clone, Debug)]
pub struct Carried {
    /// What it is before the first turn.
    pub initial: Value,
    /// The name under which a turn reads it.
    pub before: Value,
    /// What it is after a turn.
    pub next: Value,
}

impl Graph {
    /// Moves the nodes of `turn` into the body of a `Loop` of `count` turns, an int64 scalar. Nothing else may read
    /// what they make, but for what is `carried`: what that is after the last turn is returned, one by one, under names
    /// in `pass`.
    ///
    /// A `Loop` keeps nothing of a turn but what it hands on.
    pub fn turns(&mut self, turn: &Turn, count: &Value, carried: &[Carried], pass: &'static str) -> Vec<Value> {
        let (mut first, mut others, mut around) = (vec![], GraphProto::default(), vec![]);
        for (index, node) in std::mem::take(&mut self.proto.node).into_iter().enumerate() {
            let place = match turn.nodes.contains(index) {
                true if turn.first.contains(&index) => &mut first,
                true => &mut others.node,
                false => &mut around,
            };
            place.push(node);
        }
        self.proto.node = around;
        rename::rename(&mut others, &turn.inside);
        let moved = [first, others.node].concat();
        let outputs: Vec<String> = carried.iter().map(|one| self.names.value(pass, last_part(&one.next))).collect();
        for (one, name) in carried.iter().zip(&outputs) {
            self.facts.equate_fact(&one.next, name);
        }
        let go_on = Value::from(self.names.value(pass, "go_on").as_str());
        let results: Vec<Value> =
            std::iter::once(go_on.clone()).chain(carried.iter().map(|one| one.next.clone())).collect();
        let mut proto = self.body("turn", moved, &results, pass);
        let scalar = |name: &str, element| Fact::with_sizes(element, &[]).info(name);
        let before = carried.iter().map(|one| self.facts.of(&one.before).info(&one.before));
        proto.input =
            [scalar(&turn.number, DataType::Int64), scalar(&go_on, DataType::Bool)].into_iter().chain(before).collect();
        let facts = std::iter::once(Fact::with_sizes(DataType::Bool, &[]).into())
            .chain(carried.iter().map(|one| self.facts.of(&one.next)));
        for (output, fact) in proto.output.iter_mut().zip(facts) {
            *output = fact.info(output.name());
        }
        let inputs = [count.to_string(), String::new()].into_iter();
        let mut node = NodeProto {
            name: Some(self.names.node(pass, "Loop")),
            op_type: Some("Loop".into()),
            input: inputs.chain(carried.iter().map(|one| one.initial.to_string())).collect(),
            output: outputs.clone(),
            attribute: vec![AttributeProto::graph("body", proto)],
            ..Default::default()
        };
        tag(&mut node, &[(PASS_KEY, pass)]);
        self.proto.node.push(node);
        outputs.iter().map(|name| name.as_str().into()).collect()
    }

    /// Lets the loops that were added carry nothing that is not read: the copy of one, say, of which less is wanted.
    /// In the bodies of control-flow operators too. Outputs are declared.
    pub fn carry_what_is_read(&mut self) {
        let outputs: HashSet<String> = self.proto.output.iter().map(|output| output.name().to_owned()).collect();
        carry_what_is_read(&mut self.proto, &outputs);
    }
}

fn carry_what_is_read(graph: &mut GraphProto, outputs: &HashSet<String>) {
    for node in graph.node.iter_mut().filter(|node| !node.is("", "Loop")) {
        for body in node.subgraphs_mut() {
            let outputs = body.output.iter().map(|output| output.name().to_owned()).collect();
            carry_what_is_read(body, &outputs);
        }
    }
    let has_loops = graph.node.iter().any(|node| node.is("", "Loop") && is_added(node));
    if !has_loops {
        return;
    }
    let mut read = outputs.clone();
    graph.node.iter().for_each(|node| for_each_use(node, &mut |name| _ = read.insert(name.to_owned())));
    graph.node.iter_mut().filter(|node| node.is("", "Loop") && is_added(node)).for_each(|node| thin_out(node, &read));
}

/// Inputs of a `Loop`, and of its body, before those that it carries.
const BEFORE_CARRIED: usize = 2;

/// Lets a loop carry what is `read` of it, and what that depends on from turn to turn.
fn thin_out(node: &mut NodeProto, read: &HashSet<String>) {
    let NodeProto { input, output, attribute, .. } = node;
    let Some(body) = attribute.iter_mut().find_map(|attribute| attribute.g.as_deref_mut()) else { return };
    // One that also collects what its turns return is left as it is.
    if input.len() != output.len() + BEFORE_CARRIED || body.input.len() != input.len() {
        return;
    }
    let mut kept: Vec<bool> = output.iter().map(|name| read.contains(name)).collect();
    let needed = loop {
        let results = body.output.iter().skip(1).zip(&kept).filter(|(_, kept)| **kept).map(|(result, _)| result.name());
        let results = results.chain(body.output.first().map(|go_on| go_on.name()));
        let (needed, used) = super::reach::ancestors(&body.node, results);
        let is_used = |i: usize| used.contains(body.input[i + BEFORE_CARRIED].name());
        match (0..kept.len()).find(|&i| !kept[i] && is_used(i)) {
            Some(more) => kept[more] = true,
            None => break needed,
        }
    };
    let mut index = 0..;
    body.node.retain(|_| index.next().is_some_and(|i| needed.contains(i)));
    retain(output, 0, &kept);
    retain(input, BEFORE_CARRIED, &kept);
    retain(&mut body.input, BEFORE_CARRIED, &kept);
    retain(&mut body.output, 1, &kept);
}

/// Keeps the first `always` of `values`, and of those behind them the `kept`.
fn retain<T>(values: &mut Vec<T>, always: usize, kept: &[bool]) {
    let mut kept = std::iter::repeat_n(&true, always).chain(kept);
    values.retain(|_| *kept.next().unwrap_or(&true));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, scalar_info};
    use crate::testing::{body, node};

    /// Two sums over turns: of their numbers, and of these times −x, of which a turn takes what it takes for y.
    fn looped() -> (Graph, Vec<Value>) {
        let nodes = [node("Neg", &["x"], &["y"]), node("Abs", &["y"], &["z"])];
        let mut graph = Graph::new(body(&["x", "turns"], &nodes, &["y"])).unwrap();
        graph.declare("number", Fact::with_sizes(DataType::Int64, &[]));
        let number = Value::from("number");
        let b = Builder::new(&mut graph, "test");
        let initial = b.scalar(0.0, "zero");
        let taken = b.mul(Value::from("y"), b.cast(&number, DataType::Float));
        let sum = |before: &str, value: &Value| {
            let next = b.add(Value::from(before), value);
            Carried { initial: initial.clone(), before: before.into(), next }
        };
        let carried = [sum("a", &taken), sum("b", &"z".into())];
        let turn = Turn {
            nodes: graph.dependents(["y", "number", "a", "b"], |_| false),
            first: 2..4,
            inside: HashMap::from_iter([("y".to_owned(), taken.to_string())]),
            number,
        };
        let outputs = graph.turns(&turn, &"turns".into(), &carried, "test");
        (graph, outputs)
    }

    fn operators(graph: &Graph) -> Vec<String> {
        let body = graph.nodes()[1].attribute[0].g.as_ref().unwrap();
        body.node.iter().map(|node| node.op_type().to_owned()).collect()
    }

    #[test]
    fn nodes_move_into_the_body() {
        let (mut graph, outputs) = looped();
        assert_eq!(operators(&graph), ["Cast", "Mul", "Abs", "Add", "Add", "Identity"]);
        let [_, repeated] = graph.nodes() else { panic!("{:?}", graph.nodes()) };
        let inner = repeated.attribute[0].g.as_ref().unwrap();
        assert_eq!((inner.input.len(), inner.output.len(), repeated.input.len()), (4, 3, 4));
        assert_eq!((&*inner.node[1].input[0], &*inner.node[2].input[0]), ("y", "gnp/test/Mul"));
        graph.insert_output(0, scalar_info(&outputs[0], DataType::Float));
        Graph::new(graph.into_proto()).expect("the graph is well-formed");
    }

    #[test]
    fn what_nobody_reads_is_not_carried() {
        let (mut graph, outputs) = looped();
        graph.declare_outputs([scalar_info(&outputs[0], DataType::Float)]);
        graph.carry_what_is_read();
        assert_eq!(operators(&graph), ["Cast", "Mul", "Add", "Identity"]);
        assert_eq!((graph.nodes()[1].input.len(), graph.nodes()[1].output.len()), (3, 1));
    }
}
