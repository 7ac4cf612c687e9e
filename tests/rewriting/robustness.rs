//! Whatever the bytes of a file are, a rewrite ends with an error or with a model that reads again; it never panics.
//! And whatever well-formed graph surrounds the gradients, bodies included, the rewritten one is well-formed too.
use crate::support::EXAMPLES;
use crate::support::command::mlp_proto;
use crate::support::forward::network;
use gnp::Result;
use gnp::emit::artifact::Settings;
use gnp::engine::StepModel;
use gnp::graph::{Graph, for_each_use};
use gnp::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto};
use gnp::onnx::{self, WriteOptions};
use gnp::penalty::Penalty;
use gnp::rewrite::{Options, StepOptions, rewrite, rewrite_forward};
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message as _;
use std::collections::HashSet;
use std::fs;

/// Rewrites a file of these bytes, and returns the graph that came out.
fn rewritten(bytes: &[u8], settings: Settings) -> Result<GraphProto> {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("a.onnx"), folder.path().join("b.onnx"));
    fs::write(&input, bytes).unwrap();
    let done = rewrite(&input, &output, &Options { settings, ..Options::default() });
    assert_eq!(output.exists(), done.is_ok());
    done.map(|_| onnx::read(output).unwrap().graph)
}

/// A change of a file.
#[derive(Clone, Debug)]
enum Damage {
    /// The byte at a place becomes another.
    Set(Index, u8),
    /// The file ends at a place.
    Cut(Index),
    /// The bytes between two places are left out.
    Remove(Index, Index),
    /// The bytes between two places come once more, at a third.
    Repeat(Index, Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        8 => (at(), any::<u8>()).prop_map(|(i, b)| Damage::Set(i, b)),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), at()).prop_map(|(i, j)| Damage::Remove(i, j)),
        1 => (at(), at(), at()).prop_map(|(i, j, k)| Damage::Repeat(i, j, k)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let range = |i: &Index, j: &Index| {
            let (i, j) = (i.index(bytes.len()), j.index(bytes.len()));
            i.min(j)..i.max(j)
        };
        match self {
            Self::Set(i, byte) => {
                let i = i.index(bytes.len());
                bytes[i] = *byte;
            }
            Self::Cut(i) => bytes.truncate(i.index(bytes.len())),
            Self::Remove(i, j) => drop(bytes.drain(range(i, j))),
            Self::Repeat(i, j, k) => {
                let again = bytes[range(i, j)].to_vec();
                let k = k.index(bytes.len());
                bytes.splice(k..k, again);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_are_refused_or_rewritten(
        example in 0..EXAMPLES.len(),
        damages in proptest::collection::vec(damage(), 1..4),
    ) {
        let mut bytes = fs::read(EXAMPLES[example].training_model()).unwrap();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        match rewritten(&bytes, Settings { metrics: true, ..Settings::default() }) {
            Ok(graph) => _ = Graph::new(graph).unwrap(),
            Err(error) => prop_assert_eq!(error.exit_code(), 2, "{}", error),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_forward_models_are_refused_or_rewritten(damages in proptest::collection::vec(damage(), 1..4)) {
        let mut bytes = network().encode_to_vec();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("a.onnx"), folder.path().join("b.onnx"));
        fs::write(&input, bytes).unwrap();
        let write = WriteOptions::default();
        let done = onnx::read(&input)
            .and_then(|model| rewrite_forward(model, &output, &StepOptions::default(), &write, false, &mut |_| {}));
        prop_assert_eq!(output.exists(), done.is_ok());
        match done {
            Ok(_) => {
                let step = onnx::read(&output).unwrap();
                assert!(StepModel::is_one(&step));
                Graph::new(step.graph).unwrap();
            }
            Err(error) => prop_assert_eq!(error.exit_code(), 2, "{}", error),
        }
    }
}

/// What a random graph is grown from: the operator's kind, which of the values so far it reads, and a body's nodes.
#[derive(Clone, Debug)]
enum Growth {
    Node(Index, Index),
    If(Vec<(Index, Index)>, Vec<(Index, Index)>),
    /// The nodes of its body; those of an If nested in it.
    Loop(Vec<(Index, Index)>, Vec<(Index, Index)>),
}

fn growth() -> impl Strategy<Value = Growth> {
    let pairs = || proptest::collection::vec(any::<(Index, Index)>(), 1..4);
    prop_oneof![
        any::<(Index, Index)>().prop_map(|(i, j)| Growth::Node(i, j)),
        (pairs(), pairs()).prop_map(|(a, b)| Growth::If(a, b)),
        (pairs(), pairs()).prop_map(|(a, b)| Growth::Loop(a, b)),
    ]
}

fn named(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..Default::default() }
}

fn node(operator: &str, inputs: &[&str], output: &str, bodies: Vec<(&str, GraphProto)>) -> NodeProto {
    let attribute = |(name, body): (&str, GraphProto)| AttributeProto {
        name: Some(name.into()),
        g: Some(body.into()),
        ..Default::default()
    };
    NodeProto {
        op_type: Some(operator.into()),
        name: Some(format!("make {output}")),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.into()],
        attribute: bodies.into_iter().map(attribute).collect(),
        ..Default::default()
    }
}

/// A chain of additions of values `outside` and of its own, whose names begin with `prefix`.
fn chain(prefix: &str, inputs: &[&str], pairs: &[(Index, Index)], outside: &[String]) -> GraphProto {
    let mut values: Vec<String> = outside.iter().cloned().chain(inputs.iter().map(|i| (*i).to_owned())).collect();
    let mut graph = GraphProto { input: inputs.iter().map(|i| named(i)).collect(), ..Default::default() };
    for (n, (i, j)) in pairs.iter().enumerate() {
        let output = format!("{prefix}.{n}");
        let pick = |at: &Index| at.get(&values).as_str();
        graph.node.push(node("Add", &[pick(i), pick(j)], &output, vec![]));
        values.push(output);
    }
    graph.output = vec![named(values.last().unwrap())];
    graph
}

/// The MLP's training model with a random graph over its data and first weight, whose last value joins a gradient.
fn grown(growths: &[Growth]) -> ModelProto {
    let mut model = mlp_proto();
    let graph = model.graph.as_mut().unwrap();
    let mut values = vec!["input".to_owned(), "fc1.bias".to_owned()];
    let mut nodes = Vec::new();
    for (n, growth) in growths.iter().enumerate() {
        let name = format!("r{n}");
        let pick = |at: &Index| at.get(&values).as_str();
        nodes.push(match growth {
            Growth::Node(i, j) => node("Add", &[pick(i), pick(j)], &name, vec![]),
            Growth::If(a, b) => {
                // Both branches use the same names, as they may.
                let branches =
                    vec![("then_branch", chain("b", &[], a, &values)), ("else_branch", chain("b", &[], b, &values))];
                node("If", &["lazy_reset_grad"], &name, branches)
            }
            Growth::Loop(a, b) => {
                let mut body = chain("b", &["iteration", "condition", "carried"], a, &values);
                let visible: Vec<String> =
                    values.iter().cloned().chain(body.node.iter().map(|n| n.output[0].clone())).collect();
                let branch = || chain("inner", &[], b, &visible);
                body.node.push(node(
                    "If",
                    &["condition"],
                    "nested",
                    vec![("then_branch", branch()), ("else_branch", branch())],
                ));
                body.output = vec![named("condition"), named("nested")];
                node("Loop", &["", "", values.last().unwrap()], &name, vec![("body", body)])
            }
        });
        values.push(name);
    }
    let joined = node("Add", &["fc1.bias_grad", values.last().unwrap()], "joined", vec![]);
    for accumulator in graph.node.iter_mut().filter(|n| n.input.iter().any(|i| i == "fc1.bias_grad")) {
        accumulator.input[1] = "joined".into();
    }
    graph.node.extend(nodes);
    graph.node.push(joined);
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn rewriting_keeps_graphs_well_formed(growths in proptest::collection::vec(growth(), 1..8), r in prop_oneof![Just(0.0f32), Just(0.1)]) {
        let model = grown(&growths);
        let settings = Settings { penalty: Penalty { r, ..Penalty::default() }, ..Settings::default() };
        let graph = rewritten(&model.encode_to_vec(), settings).unwrap();
        // The graph's nodes are in order already, and what came with the model is there, but for the accumulators.
        let read_back = Graph::new(graph.clone()).unwrap();
        prop_assert_eq!(read_back.nodes(), &graph.node[..]);
        for node in &model.graph.as_ref().unwrap().node {
            prop_assert!(node.op_type() == "InPlaceAccumulatorV2" || graph.node.contains(node));
        }
        // The second pass reads nothing that depends on a parameter but through its own copies, in bodies too.
        let first_pass = Graph::new(model.graph.unwrap()).unwrap();
        let parameters: Vec<_> = EXAMPLES[0].parameters();
        let dependents = first_pass.dependents(parameters.iter().map(String::as_str), |_| false);
        let outputs = dependents.iter().flat_map(|i| &first_pass.nodes()[i].output);
        let own: HashSet<&String> = outputs.chain(&parameters).collect();
        let copies: Vec<_> = graph.node.iter().filter(|n| n.name().starts_with("gnp/perturbed/")).collect();
        prop_assert_eq!(copies.is_empty(), r == 0.0);
        for copy in copies {
            for_each_use(copy, &mut |name| assert!(!own.contains(&name.to_owned()), "{} reads {name}", copy.name()));
        }
    }
}
