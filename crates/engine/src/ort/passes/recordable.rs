//! Whether a step can be a CUDA graph, as far as its nodes tell.
//!
//! ONNX Runtime refuses graphs with control flow and with nodes that it computes on the processor. What it does not
//! refuse, and what a recording would repeat as it was, is what kernels read from the processor's memory: numbers of
//! their random generators, elements that they take as sizes, lists of addresses that are too long to be arguments of a
//! kernel.

use crate::StepModel;
use foldhash::HashSet;
use gnp_model::graph::{for_each_use, inline_functions_but};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{GraphProto, NodeProto};

/// Operators that draw: the runtime's generator is the processor's.
const DRAW: [&str; 7] =
    ["Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];

/// Operators whose kernels copy numbers of their own from the processor: a recording would copy from where they were.
const COPY: [&str; 1] = ["GatherND"];

/// Operators that run a body: gradients of recurrent layers among what computes with them.
const LOOPS: [&str; 2] = ["Loop", "Scan"];

/// Operators whose kernels read inputs from the processor's memory: the first such input; those behind it are read so
/// as well (the memory types of the kernels in `onnxruntime/core/providers/cuda`).
const READ_BY_PROCESSOR: [(&str, usize); 26] = [
    ("Clip", 1),
    ("ConstantOfShape", 0),
    ("CumSum", 1),
    ("Expand", 1),
    ("OneHot", 1),
    ("Pad", 1),
    ("Range", 0),
    ("ReduceL1", 1),
    ("ReduceL2", 1),
    ("ReduceLogSum", 1),
    ("ReduceLogSumExp", 1),
    ("ReduceMax", 1),
    ("ReduceMean", 1),
    ("ReduceMin", 1),
    ("ReduceProd", 1),
    ("ReduceSum", 1),
    ("ReduceSumSquare", 1),
    ("Reshape", 1),
    ("Resize", 1),
    ("Slice", 1),
    ("Split", 1),
    ("Squeeze", 1),
    ("Tile", 1),
    ("TopK", 1),
    ("Trilu", 1),
    ("Unsqueeze", 1),
];

/// How many addresses a kernel of the runtime takes as its arguments.
const MOST_ADDRESSES: usize = 32;

/// Why the step `graph` of `model` cannot be recorded; none where its nodes are no obstacle. `has_kernel` tells which
/// functions of ours are computed by kernels of ours.
pub(in crate::ort) fn obstacle(graph: &Model, model: &StepModel, has_kernel: impl Fn(&str) -> bool) -> Option<String> {
    let mut graph = graph.clone();
    inline_functions_but(&mut graph, has_kernel);
    let batch = model.batch.iter().map(|port| port.name.as_str());
    let hyperparameters = model.hyperparameters.iter().map(|h| h.name.as_str());
    let state = model.state.iter().map(|slot| slot.port.name.as_str());
    let mut varies: HashSet<&str> = batch.chain(hyperparameters).chain(state).collect();
    in_body(&graph.graph, &mut varies)
}

fn in_body<'g>(graph: &'g GraphProto, varies: &mut HashSet<&'g str>) -> Option<String> {
    for node in &graph.node {
        if let Some(what) = of_node(node, varies) {
            return Some(format!("`{}` ({}) {what}", node.label(), node.op_type()));
        }
        let mut depends = false;
        for_each_use(node, &mut |name| depends |= varies.contains(name));
        // Shapes are the same in all steps that are recorded.
        if depends && !node.is("", "Shape") && !node.is("", "Size") {
            varies.extend(node.output.iter().map(String::as_str));
        }
        if let Some(found) = node.subgraphs().find_map(|body| in_body(body, varies)) {
            return Some(found);
        }
    }
    None
}

fn of_node(node: &NodeProto, varies: &HashSet<&str>) -> Option<String> {
    let is_standard = node.is("", node.op_type());
    if is_standard && DRAW.contains(&node.op_type()) {
        return Some("draws by a generator of the runtime, which a recording would repeat".to_owned());
    }
    if is_standard && COPY.contains(&node.op_type()) {
        return Some("copies from the processor's memory, where a recording would find something else".to_owned());
    }
    if is_standard && LOOPS.contains(&node.op_type()) {
        return Some("is a loop, and ONNX Runtime records none".to_owned());
    }
    let addresses = match node.op_type() {
        "Concat" => node.input.len(),
        "Split" => node.output.len(),
        _ => 0,
    };
    if is_standard && addresses > MOST_ADDRESSES {
        return Some(format!("has {addresses} parts, and a recording can hold {MOST_ADDRESSES}"));
    }
    let (_, first) = READ_BY_PROCESSOR.iter().find(|(operator, _)| node.is("", operator))?;
    let read = node.input.iter().skip(*first).find(|name| varies.contains(name.as_str()))?;
    Some(format!("has the processor read `{read}`, which changes from step to step"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step_model::Hyperparameter;
    use gnp_model::onnx::proto::ModelProto;
    use gnp_model::testing::{TestNode, body, node};
    use gnp_tensor::{ElementType, Port, Tensor};

    fn found(nodes: &[TestNode]) -> Option<String> {
        let proto = ModelProto { graph: Some(body(&["x", "lr"], nodes, &["y"])), ..Default::default() };
        let model = Model::new(proto, "step.onnx").unwrap();
        let step = StepModel {
            batch: vec![Port::new("x", ElementType::F32, [None])],
            hyperparameters: vec![Hyperparameter { name: "lr".into(), default: Tensor::scalar(0.1) }],
            state: vec![],
            outputs: vec!["y".into()],
        };
        obstacle(&model, &step, |_| false)
    }

    #[test]
    fn what_a_recording_would_repeat_is_found() {
        assert_eq!(found(&[node("Shape", &["x"], &["s"]), node("Reshape", &["x", "s"], &["y"])]), None);
        let clip = found(&[node("Neg", &["lr"], &["l"]), node("Clip", &["x", "", "l"], &["y"])]).unwrap();
        assert!(clip.ends_with("(Clip) has the processor read `l`, which changes from step to step"), "{clip}");
        assert!(found(&[node("Dropout", &["x"], &["y"])]).unwrap().contains("draws"));
        assert!(found(&[node("Scan", &["x"], &["y"])]).unwrap().contains("loop"));
        let parts = |count| found(&[node("Concat", &vec!["x"; count], &["y"])]);
        assert_eq!(parts(32), None);
        assert!(parts(33).unwrap().contains("33 parts"));
    }
}
