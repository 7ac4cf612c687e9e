//! Composite operators, which others define: attention, and what stands around it in a transformer. They are written
//! out in what defines them.
//!
//! So a gradient is that of the parts, weights are weights of a MatMul and tables those of a Gather, and every engine
//! has kernels. It comes after the analysis of shapes, which the forms of these operators depend on.

mod attention;
mod cache;
mod causal_conv;
mod embedding;
mod gated;
mod grouped_query;
mod heads;
mod linear_attention;
mod mask;
mod multi_head;
mod rotary;

pub use cache::{Caches, hand_nothing_on};

use crate::graph::{Builder, Graph, Value};
use crate::onnx::proto::{MICROSOFT, NodeProto, standard_domain};
use foldhash::HashSet;
use gnp_base::Result;
use gnp_base::naming::PREFIX;

/// The pass, as the names of added values say it.
const PASS: &str = "composite";

/// Appends what defines a node, and gives the names of its outputs to it; or returns None, where the node is in a form
/// that is not covered.
type Definition = fn(&NodeProto, &Builder<'_>) -> Option<()>;

const DEFINITIONS: &[(&str, &str, Definition)] = &[
    ("", "Attention", attention::standard),
    ("", "CausalConvWithState", causal_conv::causal_conv),
    ("", "LinearAttention", linear_attention::linear_attention),
    ("", "RotaryEmbedding", rotary::standard),
    ("", "SwiGLU", gated::swiglu),
    (MICROSOFT, "Attention", multi_head::attention),
    (MICROSOFT, "EmbedLayerNormalization", embedding::embedding),
    (MICROSOFT, "GroupQueryAttention", grouped_query::grouped_query_attention),
    (MICROSOFT, "MultiHeadAttention", multi_head::multi_head_attention),
    (MICROSOFT, "RotaryEmbedding", rotary::microsoft),
];

/// Writes out the composite operators of `graph`, and of the bodies in it. One in a form that is not covered stays as
/// it is.
///
/// # Errors
/// None: what a node lacks lets it stay.
pub fn write_out(graph: &mut Graph) -> Result<()> {
    let is_there = |node: &NodeProto| definition(node).is_some();
    if !graph.nodes().iter().any(|node| is_there(node) || node.subgraphs().next().is_some()) {
        return Ok(());
    }
    let b = Builder::new(graph, PASS);
    b.replace_nodes_and_inner(&mut |node: NodeProto| {
        let Some(write) = definition(&node) else { return Ok(Some(node)) };
        b.set_scope(node.label());
        Ok(write(&node, &b).is_none().then_some(node))
    })
}

/// The tables of cosines and sines that rotary embeddings of a graph read, which has not been written out: no
/// parameters, though afterwards they are tables like others.
pub fn angles(graph: &Graph) -> HashSet<String> {
    let tables = graph.nodes().iter().flat_map(|node| match (standard_domain(node.domain()), node.op_type()) {
        ("", "RotaryEmbedding") => [node.input(1), node.input(2)],
        (MICROSOFT, "RotaryEmbedding") => [node.input(2), node.input(3)],
        (MICROSOFT, "GroupQueryAttention") => [node.input(7), node.input(8)],
        _ => [None; 2],
    });
    tables.flatten().map(str::to_owned).collect()
}

/// Whether a value has been made here, by its name: a constant of this kind is a part of an operator's definition.
pub fn made(name: &str) -> bool {
    name.strip_prefix(PREFIX).and_then(|name| name.strip_prefix(PASS)).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether there is a definition of an operator, which may cover some forms of it alone.
pub fn is_composite(domain: &str, operator: &str) -> bool {
    let domain = standard_domain(domain);
    DEFINITIONS.iter().any(|(its, name, _)| (*its, *name) == (domain, operator))
}

fn definition(node: &NodeProto) -> Option<Definition> {
    let domain = standard_domain(node.domain());
    let found = DEFINITIONS.iter().find(|(its, name, _)| (*its, *name) == (domain, node.op_type()));
    found.map(|(.., definition)| *definition)
}

/// Input `index` of a node, unless it is left out.
fn input(node: &NodeProto, index: usize) -> Option<Value> {
    node.input(index).map(Value::from)
}

/// Lets a value be output `index` of a node, where the node has that output. Returns it under the name that it has now.
fn define(node: &NodeProto, index: usize, value: Value, b: &Builder<'_>) -> Value {
    match output(node, index) {
        Some(name) => b.define(name, value),
        None => value,
    }
}

/// The name of output `index`, unless it is left out.
fn output(node: &NodeProto, index: usize) -> Option<&str> {
    node.output.get(index).map(String::as_str).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Fact;
    use crate::onnx::DataType;
    use crate::onnx::proto::{AttributeProto, GraphProto};
    use crate::testing::{body, node};

    /// The operators of a graph in which these values are known.
    fn written_out(proto: GraphProto, known: &[(&str, &[i64])]) -> Vec<String> {
        let mut graph = Graph::new(proto).unwrap();
        for (name, sizes) in known {
            graph.declare(name, Fact::with_sizes(DataType::Float, sizes));
        }
        write_out(&mut graph).unwrap();
        let graph = Graph::new(graph.into_proto()).expect("the graph is well-formed");
        graph.nodes().iter().map(NodeProto::operator).collect()
    }

    #[test]
    fn attention_has_no_more_parts_than_it_needs() {
        let proto = body(&["q", "k", "v"], &[node("Attention", &["q", "k", "v"], &["y"])], &["y"]);
        let heads: &[i64] = &[2, 3, 5, 4];
        let known = [("q", heads), ("k", heads), ("v", heads)];
        assert_eq!(written_out(proto.clone(), &known), ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]);
        let past = node("Attention", &["q", "k", "v", "", "keys", "values"], &["y"]);
        let inputs = ["q", "k", "v", "keys", "values"];
        let empty: &[i64] = &[2, 3, 0, 4];
        let behind_nothing = [&known[..], &[("keys", empty), ("values", empty)]].concat();
        let written = written_out(body(&inputs, &[past], &["y"]), &behind_nothing);
        assert_eq!(written, ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]);
        let fewer = [("q", heads), ("k", &[2, 1, 5, 4]), ("v", &[2, 1, 5, 4])];
        assert!(written_out(proto, &fewer).contains(&"Expand".to_owned()));
    }

    /// GroupQueryAttention with two heads of queries and one of keys, packed, behind a past.
    fn decoder(outputs: &[&str]) -> GraphProto {
        let mut node = NodeProto::from(node("GroupQueryAttention", &["x", "", "", "k", "v", "n", "t"], outputs));
        node.domain = Some(MICROSOFT.into());
        node.attribute = vec![AttributeProto::int("num_heads", 2), AttributeProto::int("kv_num_heads", 1)];
        GraphProto { node: vec![node], ..body(&["x", "k", "v", "n", "t"], &[], outputs) }
    }

    #[test]
    fn a_past_is_no_input_where_it_is_empty() {
        let known = |past: i64| [("x", vec![2, 3, 16]), ("k", vec![2, 1, past, 4]), ("v", vec![2, 1, past, 4])];
        let written = |past: i64| {
            let mut graph = Graph::new(decoder(&["y"])).unwrap();
            for (name, sizes) in known(past) {
                graph.declare(name, Fact::with_sizes(DataType::Float, &sizes));
            }
            write_out(&mut graph).unwrap();
            graph.drop_empty_inputs();
            graph
        };
        let inputs = |graph: &Graph| graph.proto().input.iter().map(|i| i.name().to_owned()).collect::<Vec<_>>();
        let empty = written(0);
        assert_eq!(inputs(&empty), ["x", "n", "t"]);
        assert!(empty.nodes().iter().any(|node| node.is("", "Softmax")));
        let filled = written(5);
        assert_eq!(inputs(&filled), ["x", "k", "v", "n", "t"]);
        assert_eq!(filled.nodes()[0].operator(), "com.microsoft.GroupQueryAttention");
    }

    #[test]
    fn what_is_handed_on_is_no_output() {
        let mut graph = decoder(&["y", "keys", "values"]);
        assert_eq!(Caches::of(&graph).past.len(), 2);
        graph.node.push(node("Neg", &["keys"], &["z"]).into());
        hand_nothing_on(&mut graph);
        assert_eq!(graph.output.iter().map(|output| output.name()).collect::<Vec<_>>(), ["y"]);
        assert_eq!(graph.node[0].output, ["y", "keys", ""]);
    }

    #[test]
    fn what_is_not_covered_stays() {
        let mut past = NodeProto::from(node("Attention", &["x", "w", "b", "", "past"], &["y"]));
        past.domain = Some(MICROSOFT.into());
        past.attribute = vec![AttributeProto::int("num_heads", 2)];
        let inputs = ["x", "w", "b", "past"];
        let graph = |node: &NodeProto| GraphProto { node: vec![node.clone()], ..body(&inputs, &[], &["y"]) };
        let known: [(&str, &[i64]); 3] = [("x", &[2, 3, 4]), ("w", &[4, 12]), ("b", &[12])];
        assert_eq!(written_out(graph(&past), &known), ["com.microsoft.Attention"]);
        past.input.truncate(3);
        assert!(!written_out(graph(&past), &known).contains(&"com.microsoft.Attention".to_owned()));
    }

    #[test]
    fn branches_are_written_out_too() {
        let branch = |operator: &str| body(&[], &[node(operator, &["x", "x"], &["z"])], &["z"]);
        let choice = node("If", &["c"], &["y"]).with(branch("SwiGLU"));
        let mut graph = Graph::new(body(&["x", "c"], &[choice], &["y"])).unwrap();
        write_out(&mut graph).unwrap();
        let inner: Vec<_> = graph.nodes()[0].subgraphs().flat_map(|body| &body.node).map(NodeProto::op_type).collect();
        assert_eq!(inner, ["Sigmoid", "Mul", "Mul"]);
        assert!(made("gnp/composite/constant/number") && !made("gnp/normalise/x"));
    }
}
