//! LogSoftmax for logits that are far apart.
//!
//! tract's own is ln softmax x. Where a probability underflows, with logits more than about 100 apart, it is −∞, and
//! the product with a label of 0 is not a number. In its place comes z − ln Σ eᶻ with z = x − max x, which is finite
//! wherever x is.

use gnp_model::graph::Names;
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use std::mem::take;

/// The pass, as the names of what is added say it.
const PASS: &str = "tract";
/// The first operator set where LogSoftmax is along one axis, and ReduceSum takes its axes as an input.
const ALONG_ONE_AXIS: i64 = 13;
/// The first operator set where ReduceMax takes its axes as an input.
const AXES_ARE_INPUTS: i64 = 18;

/// Writes out every LogSoftmax of `model`, in bodies too; the results keep their names. A model in an operator set
/// before 13 stays as it is: LogSoftmax has another meaning there, and what `gnp-rewrite` makes is in operator set 18
/// or newer.
pub(super) fn write_out(model: &mut Model) {
    if let Some(opset) = model.opset("").filter(|&opset| opset >= ALONG_ONE_AXIS) {
        let mut names = Names::of(&model.graph);
        write_out_in(&mut model.graph, opset, &mut names);
    }
}

fn write_out_in(graph: &mut GraphProto, opset: i64, names: &mut Names) {
    for mut node in take(&mut graph.node) {
        node.subgraphs_mut().for_each(|body| write_out_in(body, opset, names));
        if node.is("", "LogSoftmax") {
            shifted(node, graph, opset, names);
        } else {
            graph.node.push(node);
        }
    }
}

/// Appends what stands for `node`. The axes are a constant of `graph` itself: tract does not see that what a body
/// captures is one.
fn shifted(node: NodeProto, graph: &mut GraphProto, opset: i64, names: &mut Names) {
    let axis = node.attribute("axis").map_or(-1, AttributeProto::i);
    let label = node.label().to_owned();
    let axes = names.value(PASS, &format!("{label}/axes"));
    graph.initializer.push(TensorProto::int64s(axes.clone(), &[axis]));
    let mut append = |operator: &str, inputs: &[&str], attribute: Vec<AttributeProto>| {
        let part = format!("{label}/{operator}");
        let output = names.value(PASS, &part);
        graph.node.push(NodeProto {
            name: Some(names.node(PASS, &part)),
            op_type: Some(operator.into()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.clone()],
            attribute,
            ..Default::default()
        });
        output
    };
    let x = node.input(0).unwrap_or_default();
    let max = if opset >= AXES_ARE_INPUTS {
        append("ReduceMax", &[x, &axes], vec![])
    } else {
        append("ReduceMax", &[x], vec![AttributeProto::ints("axes", &[axis])])
    };
    let z = append("Sub", &[x, &max], vec![]);
    let exp = append("Exp", &[&z], vec![]);
    let sum = append("ReduceSum", &[&exp, &axes], vec![]);
    let log = append("Log", &[&sum], vec![]);
    graph.node.push(NodeProto { op_type: Some("Sub".into()), input: vec![z, log], attribute: vec![], ..node });
}

#[cfg(test)]
mod tests {
    use super::super::plans::Plans;
    use super::*;
    use gnp_model::graph::Fact;
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::{ModelProto, OperatorSetIdProto};
    use gnp_model::testing::{body, node};
    use std::f32::consts::LN_2;
    use tract_onnx::prelude::multithread::Executor;
    use tract_onnx::prelude::{IntoTValue, Tensor, tvec};

    fn model(mut graph: GraphProto, opset: i64) -> Model {
        graph.input = vec![Fact::of(DataType::Float).info("x")];
        graph.output = vec![Fact::of(DataType::Float).info("y")];
        let opset_import = vec![OperatorSetIdProto { version: Some(opset), ..Default::default() }];
        let proto = ModelProto { graph: Some(graph), opset_import, ir_version: Some(8), ..Default::default() };
        Model::new(proto, "step.onnx").unwrap()
    }

    fn log_softmax(input: &str, output: &str, axis: i64) -> NodeProto {
        let node = node("LogSoftmax", &[input], &[output]).into();
        NodeProto { attribute: vec![AttributeProto::int("axis", axis)], ..node }
    }

    /// What tract returns for x = (0, 500; 0, 0).
    fn computed(model: &Model) -> Vec<f32> {
        let x = Tensor::from_shape(&[2, 2], &[0_f32, 500.0, 0.0, 0.0]).unwrap().into_tvalue();
        let outputs = Plans::new(model, &["x"], &["y"], Executor::SingleThread).unwrap().run(tvec![x]).unwrap();
        outputs[0].to_plain_array_view::<f32>().unwrap().iter().copied().collect()
    }

    fn operators(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(NodeProto::op_type).collect()
    }

    #[test]
    fn logits_far_apart_have_finite_logarithms() {
        for opset in [13, 17, 18, 20] {
            let along = |axis| computed(&model(body(&[], &[log_softmax("x", "y", axis).into()], &[]), opset));
            for axis in [1, -1] {
                assert_eq!(along(axis), [-500.0, 0.0, -LN_2, -LN_2], "operator set {opset}");
            }
            for axis in [0, -2] {
                assert_eq!(along(axis), [-LN_2, 0.0, -LN_2, -500.0], "operator set {opset}");
            }
        }
    }

    #[test]
    fn the_axis_is_the_last_where_none_is_given() {
        let graph = body(&[], &[node("LogSoftmax", &["x"], &["y"])], &[]);
        assert_eq!(computed(&model(graph, 18)), [-500.0, 0.0, -LN_2, -LN_2]);
    }

    #[test]
    fn bodies_are_written_out_too() {
        let branch = |name: &str, output: &str, axis| {
            let mut graph = body(&[], &[log_softmax("x", output, axis).into()], &[]);
            graph.output = vec![Fact::of(DataType::Float).info(output)];
            AttributeProto::graph(name, graph)
        };
        let mut choice: NodeProto = node("If", &["positive"], &["y"]).into();
        choice.attribute = vec![branch("then_branch", "yes", 1), branch("else_branch", "no", 0)];
        let reduce = NodeProto {
            attribute: vec![AttributeProto::int("keepdims", 0)],
            ..node("ReduceMax", &["x"], &["largest"]).into()
        };
        let zero = TensorProto::raw("zero", DataType::Float, &[], vec![0; 4].into());
        for (operator, expected) in [("Greater", [-500.0, 0.0, -LN_2, -LN_2]), ("Less", [-LN_2, 0.0, -LN_2, -500.0])] {
            let compare = node(operator, &["largest", "zero"], &["positive"]);
            let mut graph = body(&[], &[reduce.clone().into(), compare, choice.clone().into()], &[]);
            graph.initializer = vec![zero.clone()];
            let mut model = model(graph, 18);
            assert_eq!(computed(&model), expected);
            write_out(&mut model);
            for body in model.graph.node[2].subgraphs() {
                assert_eq!(operators(body), ["ReduceMax", "Sub", "Exp", "ReduceSum", "Log", "Sub"]);
            }
        }
    }

    #[test]
    fn names_are_fresh_and_results_keep_theirs() {
        let taken = node("Neg", &["x"], &["gnp/tract/y/Sub"]).into();
        let mut model = model(body(&[], &[taken, log_softmax("gnp/tract/y/Sub", "y", 1)].map(Into::into), &[]), 18);
        write_out(&mut model);
        let mut outputs: Vec<_> = model.graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        assert_eq!(outputs.pop(), Some("y"));
        assert!(outputs.iter().all(|name| name.starts_with("gnp/tract/y/")), "{outputs:?}");
        outputs.sort_unstable();
        outputs.dedup();
        assert_eq!(outputs.len(), 6);
    }

    #[test]
    fn another_meaning_is_left_alone() {
        let mut model = model(body(&[], &[log_softmax("x", "y", 1).into()], &[]), 12);
        write_out(&mut model);
        assert_eq!(operators(&model.graph), ["LogSoftmax"]);
    }
}
