//! Pad along some axes.

use super::required;
use gnp_base::Result;
use gnp_model::graph::{Builder, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::NodeProto;

/// The same margins, said for every axis. Where ONNX Runtime (1.19 to 1.32) moves a Transpose through a Pad, it
/// permutes `pads` as if there were a pair for every axis, whatever `axes` says.
pub(super) fn expand(mut node: NodeProto, b: &Builder<'_>) -> Result<Option<NodeProto>> {
    let (x, pads, axes) = (required(&node, 0)?, required(&node, 1)?, required(&node, 3)?);
    let rank = b.fact(&x).rank().or_else(|| b.fact(&node.output[0].as_str().into()).rank());
    let places = rank.zip(b.ints(&axes)).map(|(rank, axes)| places(&axes, rank));
    let pads = match places {
        Some(places) => of_places(&pads, &places, b),
        None => of_axes(&x, &pads, &axes, b),
    };
    node.input.truncate(3);
    pads.to_string().clone_into(&mut node.input[1]);
    Ok(Some(node))
}

/// For each axis its place among `axes`, if it has one.
fn places(axes: &[i64], rank: usize) -> Vec<Option<usize>> {
    let is_at = |axis: i64, at: i64| axis == at || axis == at - rank as i64;
    (0..rank as i64).map(|at| axes.iter().position(|&axis| is_at(axis, at))).collect()
}

/// The margins in the order of all axes; 0 where there is none.
fn of_places(pads: &Value, places: &[Option<usize>], b: &Builder<'_>) -> Value {
    let count = places.iter().flatten().count();
    let of_side = |side: usize| places.iter().map(move |place| place.map(|place| place + side * count));
    let all = of_side(0).chain(of_side(1));
    if let Some(known) = b.ints(pads) {
        let full: Vec<i64> = all.map(|at| at.and_then(|at| known.get(at)).copied().unwrap_or(0)).collect();
        return b.int64s(&full);
    }
    let at: Vec<i64> = all.map(|at| at.unwrap_or(2 * count) as i64).collect();
    let (zero, at) = (b.int64s(&[0]), b.int64s(&at));
    b.gather(b.concat(&[pads, &zero], 0), at, 0)
}

/// The same for axes, or a number of axes, that are known as the graph runs.
fn of_axes(x: &Value, pads: &Value, axes: &Value, b: &Builder<'_>) -> Value {
    let vector = || Fact { element: DataType::Int64, shape: Some(vec![gnp_model::graph::Dim::Unknown]) };
    let rank = b.shape_of(b.shape_of(x));
    let zero = b.int64(0);
    let begin = b.select(b.compare("Less", axes, &zero), b.add(axes, &rank), axes);
    let places = b.concat(&[&begin, &b.add(&begin, &rank)], 0);
    let zeros = b.node("Expand", &[&zero, &b.add(&rank, &rank)], vec![], vector());
    b.node("ScatterElements", &[&zeros, &places, pads], vec![], vector())
}

#[cfg(test)]
mod tests {
    use super::super::expand as expand_all;
    use super::super::tests::tensor_info;
    use gnp_model::graph::{Fact, Facts, Graph};
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::{GraphProto, NodeProto, TensorProto};
    use gnp_model::testing::node;

    /// y = Pad(x, pads, , axes) expanded, and what is known of it.
    fn expanded(constants: &[(&str, &[i64])], sizes: Option<&[i64]>) -> (GraphProto, Facts) {
        let x = sizes.map_or(Fact::of(DataType::Float), |sizes| Fact::with_sizes(DataType::Float, sizes));
        let mut input = vec![x.info("x")];
        let given = |name: &str| constants.iter().any(|(constant, _)| *constant == name);
        input.extend(["pads", "axes"].iter().filter(|name| !given(name)).map(|name| tensor_info(name, &[4])));
        let graph = GraphProto {
            input,
            output: vec![Fact::of(DataType::Float).info("y")],
            node: vec![NodeProto::from(node("Pad", &["x", "pads", "", "axes"], &["y"]))],
            initializer: constants.iter().map(|(name, numbers)| TensorProto::int64s(*name, numbers)).collect(),
            ..Default::default()
        };
        let mut graph = Graph::new(graph).unwrap();
        expand_all(&mut graph, crate::lowering::Computes::Any).unwrap();
        let facts = graph.facts().clone();
        (graph.into_proto(), facts)
    }

    #[test]
    fn margins_of_some_axes_are_said_for_all() {
        let (graph, facts) = expanded(&[("pads", &[1, 2, 3, 4]), ("axes", &[-1, 0])], Some(&[2, 3, 5]));
        let [pad] = &graph.node[..] else { panic!("{:?}", graph.node) };
        assert_eq!((pad.input.len(), pad.output[0].as_str()), (3, "y"));
        assert_eq!(facts.ints(&pad.input[1]).unwrap(), [2, 0, 1, 4, 0, 3]);
    }

    #[test]
    fn margins_that_are_computed_are_put_in_their_places() {
        let (graph, facts) = expanded(&[("axes", &[2, 1])], Some(&[2, 3, 5]));
        let [concat, gather, pad] = &graph.node[..] else { panic!("{:?}", graph.node) };
        assert_eq!((concat.op_type(), gather.op_type(), pad.input.len()), ("Concat", "Gather", 3));
        assert_eq!(facts.ints(&gather.input[1]).unwrap(), [4, 1, 0, 4, 3, 2]);
    }

    #[test]
    fn of_an_unknown_number_of_axes_all_are_filled_in_as_the_graph_runs() {
        let (graph, _) = expanded(&[("pads", &[1, 2]), ("axes", &[-1])], None);
        let pad = graph.node.last().unwrap();
        let scatter = &graph.node[graph.node.len() - 2];
        assert_eq!((scatter.op_type(), &pad.input[1], pad.input.len()), ("ScatterElements", &scatter.output[0], 3));
    }
}
