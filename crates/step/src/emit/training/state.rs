//! State inside a training graph.
//!
//! ONNX Runtime's training API knows parameters, gradients and one of two optimizers; it has no place for a momentum of
//! one's own, or a counter. But a parameter that does not train may be written to: `com.microsoft.InPlaceAccumulatorV2`
//! overwrites its first input where it lies, the checkpoint saves what it left there, and the application sees nothing
//! of it. So a value that is kept from step to step is a frozen parameter, and one node writes it.

use crate::objective::artifact::ACCUMULATOR;
use crate::pass;
use crate::transform::State;
use foldhash::{HashMap, HashSet};
use gnp_base::contract::STEP;
use gnp_model::graph::{Builder, Fact, Graph, Index, Value, for_each_use};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{AttributeProto, MICROSOFT, NodeProto, TensorProto};

/// What the counter of the steps is in a checkpoint: the runtime writes in place to float32 tensors only. It counts
/// exactly up to 2²⁴ steps.
pub const COUNTER_ELEMENT: DataType = DataType::Float;

/// How many nodes there may be between a state and its next value for the first to be found from the last.
const NEAR: usize = 4;

/// Has the graph write the next value of each of `state`, and of the counter [`STEP`] where `next_step` (int64 scalar)
/// is its next one, where the float scalars `loss` and `norm` are finite; else each stays as it is. What is returned is
/// made by the nodes that write, so that they are kept as long as it is needed.
pub fn keep(graph: &mut Graph, state: &[&State], next_step: Option<&Value>, [loss, norm]: [&Value; 2]) -> Vec<Value> {
    if state.is_empty() && next_step.is_none() {
        return vec![];
    }
    let b = Builder::new(graph, pass::STATE);
    b.set_scope("finite");
    let sum = b.add(loss, norm);
    let infinity = b.number_of(f64::INFINITY, DataType::Float);
    // No comparison with a NaN holds.
    let finite = b.compare("Less", b.unary("Abs", sum), infinity);
    let choose = |s: &&State| {
        b.set_scope(&s.name);
        b.select(&finite, &s.next, &s.name)
    };
    let mut written: Vec<(Value, Value)> = state.iter().map(|s| (s.name.clone(), choose(s))).collect();
    written.extend(next_step.map(|next| {
        b.set_scope(STEP);
        let next = b.select(&finite, next, Value::from(STEP));
        (Value::from(STEP), b.cast(next, COUNTER_ELEMENT))
    }));
    drop(b);

    // A node that reads a state after it was written would read the next one.
    for name in read_elsewhere(graph, &written) {
        // A copy that ONNX Runtime does not take for one: it would remove an `Identity`.
        let copy = NodeProto { op_type: Some("Max".into()), input: vec![name.clone(); 2], ..NodeProto::default() };
        graph.read_through(&name, copy, pass::STATE);
    }
    if next_step.is_some() {
        let attribute = vec![AttributeProto::int("to", DataType::Int64 as i64)];
        let (op_type, input) = (Some("Cast".into()), vec![STEP.to_owned()]);
        graph.read_through(STEP, NodeProto { op_type, input, attribute, ..NodeProto::default() }, pass::STATE);
        graph.declare(STEP, Fact::with_sizes(COUNTER_ELEMENT, &[]));
    }

    let b = Builder::new(graph, pass::STATE);
    let always = b.constant(TensorProto::raw("", DataType::Bool, &[1], vec![1].into()), "overwrite");
    let flag = Fact::with_sizes(DataType::Bool, &[1]);
    let write = |(name, value): (Value, Value)| {
        let inputs = [&name, &value, &always];
        b.named_in(&format!("{name}/write"), (MICROSOFT, ACCUMULATOR), &inputs, vec![], flag.clone())
    };
    written.into_iter().map(write).collect()
}

/// Those states of `written`, by name with the value that is written, that a node reads which the value does not
/// evidently depend on.
fn read_elsewhere(graph: &Graph, written: &[(Value, Value)]) -> Vec<String> {
    let mut readers: HashMap<&str, HashSet<usize>> =
        written.iter().map(|(name, _)| (&**name, HashSet::default())).collect();
    for (i, node) in graph.nodes().iter().enumerate() {
        for_each_use(node, &mut |name| {
            if let Some(readers) = readers.get_mut(name) {
                readers.insert(i);
            }
        });
    }
    let index = Index::new(graph.proto());
    let is_late = |(name, value): &&(Value, Value)| {
        let near = near(graph, &index, value);
        **name != *STEP && readers[&**name].iter().any(|reader| !near.contains(reader))
    };
    written.iter().filter(is_late).map(|(name, _)| name.to_string()).collect()
}

/// The nodes that `value` depends on by few steps.
fn near(graph: &Graph, index: &Index<'_>, value: &str) -> HashSet<usize> {
    let mut found: HashSet<usize> = index.producer(value).into_iter().collect();
    let mut newest: Vec<usize> = found.iter().copied().collect();
    for _ in 0..NEAR {
        let inputs = newest.iter().flat_map(|&node| &graph.nodes()[node].input);
        newest = inputs.filter_map(|input| index.producer(input)).filter(|&node| found.insert(node)).collect();
    }
    found
}
