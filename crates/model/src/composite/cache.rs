//! What attention keeps from step to step: keys and values.

use super::{input, output};
use crate::graph::{Builder, Dim, Fact, Value, for_each_use};
use crate::onnx::proto::{GraphProto, MICROSOFT, NodeProto, ValueInfoProto};
use foldhash::{HashMap, HashSet};

/// The inputs of a node that are past, the axis of each that counts its steps, and the outputs that are handed on.
fn places(node: &NodeProto) -> (&'static [usize], i64, &'static [usize]) {
    match (node.domain(), node.op_type()) {
        ("", "Attention") => (&[4, 5], 2, &[1, 2]),
        (MICROSOFT, "Attention") => (&[4], 3, &[1]),
        (MICROSOFT, "GroupQueryAttention") => (&[3, 4], 2, &[1, 2]),
        (MICROSOFT, "MultiHeadAttention") => (&[6, 7], 2, &[1, 2]),
        _ => (&[], 0, &[]),
    }
}

/// Whether a node has no past, or one that is known to be empty.
pub(super) fn is_empty(node: &NodeProto, b: &Builder<'_>) -> bool {
    let (past, axis, _) = places(node);
    let has_none = |past: Value| b.fact(&past).dim(axis).and_then(Dim::known) == Some(0);
    past.iter().all(|&i| input(node, i).is_none_or(has_none))
}

/// The keys and values that attention hands on from step to step.
///
/// Attention in operators of the standard has them where an input of a size that is not fixed is put before what is
/// computed, and no node reads it otherwise, but for its shape; what it becomes is an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caches<'g> {
    /// The values that are past, and the axis of each that counts its steps.
    pub past: HashMap<&'g str, i64>,
    /// The values that the next step would have as past ones.
    pub present: HashSet<&'g str>,
}

impl<'g> Caches<'g> {
    /// Those of the nodes of `graph`.
    pub fn of(graph: &'g GraphProto) -> Self {
        let mut caches = Self::default();
        for node in &graph.node {
            let (past, axis, present) = places(node);
            caches.past.extend(past.iter().filter_map(|&i| Some((node.input(i)?, axis))));
            caches.present.extend(present.iter().filter_map(|&i| output(node, i)));
        }
        let put_before = put_before(graph);
        // Without another output they are what the model is for.
        if graph.output.iter().any(|output| !put_before.iter().any(|(_, _, present)| *present == output.name())) {
            caches.past.extend(put_before.iter().map(|(past, axis, _)| (*past, *axis)));
            caches.present.extend(put_before.iter().map(|(_, _, present)| present));
        }
        caches
    }
}

/// The inputs that a Concat puts before what `graph` computes, the axis of each, and what is returned.
fn put_before(graph: &GraphProto) -> Vec<(&str, i64, &str)> {
    let inputs: HashMap<&str, &ValueInfoProto> = graph.input.iter().map(|input| (input.name(), input)).collect();
    // What becomes an output, and under which name.
    let mut outputs: HashMap<&str, &str> = graph.output.iter().map(|output| (output.name(), output.name())).collect();
    for node in graph.node.iter().rev().filter(|node| matches!(node.op_type(), "Cast" | "Identity")) {
        let output = output(node, 0).and_then(|made| outputs.get(made)).copied();
        outputs.extend(node.input(0).zip(output));
    }
    let concats = graph.node.iter().filter(|node| node.is("", "Concat") && node.input.len() == 2);
    let open = concats.filter_map(|node| {
        let (past, present) = (node.input(0)?, *outputs.get(output(node, 0)?)?);
        let fact = Fact::declared(inputs.get(past)?)?;
        let axis = node.int("axis", 0);
        let axis = if axis < 0 { axis + fact.rank()? as i64 } else { axis };
        fact.dim(axis)?.known().is_none().then_some((past, axis, present))
    });
    let mut caches: Vec<_> = open.collect();
    let mut reads: HashMap<&str, usize> = caches.iter().map(|(past, ..)| (*past, 0)).collect();
    if !caches.is_empty() {
        for node in graph.node.iter().filter(|node| !node.is("", "Shape")) {
            for_each_use(node, &mut |name| reads.get_mut(name).into_iter().for_each(|count| *count += 1));
        }
    }
    caches.retain(|(past, ..)| reads[past] == 1);
    caches
}

/// Lets attention hand nothing on to a next step: what it would hand on is no output of the graph, and is not made where
/// no node reads it.
pub fn hand_nothing_on(graph: &mut GraphProto) {
    let mut unread: HashSet<String> = Caches::of(graph).present.into_iter().map(str::to_owned).collect();
    if unread.is_empty() {
        return;
    }
    graph.output.retain(|output| !unread.contains(output.name()));
    graph.node.iter().for_each(|node| for_each_use(node, &mut |name| _ = unread.remove(name)));
    let made = graph.node.iter_mut().flat_map(|node| &mut node.output);
    made.filter(|name| unread.contains(*name)).for_each(String::clear);
    graph.node.retain(|node| node.output.iter().any(|output| !output.is_empty()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::DataType;
    use crate::onnx::proto::AttributeProto;
    use crate::testing::{TestNode, body, node};

    /// Puts `past`, which has so many steps, before x, and computes with both; with `more` nodes.
    fn decoder(steps: Dim, more: &[TestNode], outputs: &[&str]) -> GraphProto {
        let attribute = vec![AttributeProto::int("axis", -2)];
        let concat = NodeProto { attribute, ..node("Concat", &["past", "x"], &["keys"]).into() };
        let nodes = [node("Shape", &["past"], &["shape"]), concat.into(), node("Neg", &["keys"], &["y"])];
        let shape = Some([Dim::Symbol("batch".into()), steps, Dim::Known(4)].into());
        let past = Fact { element: DataType::Float, shape }.info("past");
        let graph = body(&["x"], &[&nodes, more].concat(), outputs);
        GraphProto { input: [graph.input, vec![past]].concat(), ..graph }
    }

    #[test]
    fn what_is_put_before_and_handed_on_is_a_cache() {
        let graph = decoder(Dim::Symbol("past steps".into()), &[], &["y", "keys"]);
        let caches = Caches::of(&graph);
        assert_eq!(caches.past.into_iter().collect::<Vec<_>>(), [("past", 1)]);
        assert_eq!(caches.present.into_iter().collect::<Vec<_>>(), ["keys"]);
    }

    #[test]
    fn what_is_cast_on_its_way_out_is_a_cache_too() {
        let mut graph = decoder(Dim::Unknown, &[node("Cast", &["keys"], &["present"])], &["y", "present"]);
        assert_eq!(Caches::of(&graph).present.into_iter().collect::<Vec<_>>(), ["present"]);
        hand_nothing_on(&mut graph);
        assert_eq!(graph.output.len(), 1);
        assert!(!graph.node.iter().any(|node| node.is("", "Cast")));
    }

    #[test]
    fn other_inputs_are_no_past() {
        let other = node("Exp", &["past"], &["z"]);
        for graph in [
            decoder(Dim::Known(3), &[], &["y", "keys"]),
            decoder(Dim::Unknown, &[other], &["y", "keys"]),
            decoder(Dim::Unknown, &[], &["y"]),
            decoder(Dim::Unknown, &[], &["keys"]),
        ] {
            assert_eq!(Caches::of(&graph), Caches::default());
        }
    }
}
