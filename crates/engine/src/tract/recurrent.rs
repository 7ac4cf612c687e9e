//! Recurrent layers as loops over their steps.
//!
//! tract's own leave out, in silence, `activations`, `clip`, `input_forget` and the direction `reverse`, and take no
//! lengths.

use super::find;
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Graph};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::NodeProto;
use gnp_model::recurrent::write_out as written_out;
use gnp_model::shapes;
use std::collections::BTreeMap;
use std::mem::take;

/// The pass, as the names of what is added say it.
const PASS: &str = "tract";

/// Writes out every recurrent layer of `model`, in bodies too.
///
/// # Errors
/// Where a layer asks for what there is no equation for.
pub(super) fn write_out(model: &mut Model) -> Result<()> {
    let is_one = |node: &NodeProto| ["LSTM", "GRU", "RNN"].iter().any(|operator| node.is("", operator));
    if find(&model.graph, &is_one).is_none() {
        return Ok(());
    }
    let facts = shapes::analyse(model, &BTreeMap::new())?;
    let mut graph = Graph::knowing(take(&mut model.graph), facts)?;
    let b = Builder::new(&mut graph, PASS);
    b.replace_nodes_and_inner(&mut |node: NodeProto| {
        b.set_scope(node.label());
        let at_node = |error: Error| error.at_node(node.label(), &node.operator());
        let Some(outputs) = written_out(&node, &b).map_err(at_node)? else { return Ok(Some(node)) };
        for (name, value) in node.output.iter().zip(outputs).filter(|(name, _)| !name.is_empty()) {
            b.define(name, value);
        }
        Ok(None)
    })?;
    model.graph = graph.into_proto();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plans::Plans;
    use super::*;
    use gnp_model::graph::Fact;
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::{AttributeProto, TensorProto};
    use gnp_model::testing::{body, model, node};
    use tract_onnx::prelude::multithread::Executor;
    use tract_onnx::prelude::{IntoTValue, Tensor, tvec};

    /// Plans of hₜ = clip(xₜ + hₜ₋₁) in both directions.
    fn sums(clip: f32, lengths: &[i32]) -> Plans {
        let mut layer: NodeProto = node("RNN", &["x", "w", "r", "", "lengths"], &["y", "last"]).into();
        let names = vec!["Affine".into(); 2];
        layer.attribute = vec![
            AttributeProto::int("hidden_size", 1),
            AttributeProto::string("direction", "bidirectional"),
            AttributeProto::float("clip", clip),
            AttributeProto { name: Some("activations".into()), strings: names, ..Default::default() },
            AttributeProto { name: Some("activation_alpha".into()), floats: vec![1.0; 2], ..Default::default() },
            AttributeProto { name: Some("activation_beta".into()), floats: vec![0.0; 2], ..Default::default() },
        ];
        let ones = |name: &str| {
            let payload = [1f32, 1.0].iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<u8>>();
            TensorProto::raw(name, DataType::Float, &[2, 1, 1], payload.into())
        };
        let numbers: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
        let lengths = TensorProto::raw("lengths", DataType::Int32, &[lengths.len() as i64], numbers.into());
        let mut graph = body(&["x"], &[], &["y", "last"]);
        graph.input = vec![Fact::of(DataType::Float).info("x")];
        (graph.node, graph.initializer) = (vec![layer], vec![ones("w"), ones("r"), lengths]);
        Plans::new(&model(graph), &["x"], &["y", "last"], Executor::SingleThread).unwrap()
    }

    /// What they make of (1, 2, 4) and (8, 16, 32), the two sequences of a batch.
    fn run(plans: &mut Plans) -> [Vec<f32>; 2] {
        let x = Tensor::from_shape(&[3, 2, 1], &[1f32, 8.0, 2.0, 16.0, 4.0, 32.0]).unwrap().into_tvalue();
        let outputs = plans.run(tvec![x]).unwrap();
        [0, 1].map(|i| outputs[i].to_plain_array_view::<f32>().unwrap().iter().copied().collect())
    }

    #[test]
    fn lengths_and_directions_are_those_of_the_standard() {
        let mut plans = sums(f32::MAX, &[3, 2]);
        let all = vec![1.0, 8.0, 7.0, 24.0, 3.0, 24.0, 6.0, 16.0, 7.0, 0.0, 4.0, 0.0];
        assert_eq!(run(&mut plans), [all.clone(), vec![7.0, 24.0, 7.0, 24.0]]);
        assert_eq!(run(&mut plans)[0], all, "a second run begins anew");
    }

    #[test]
    fn sums_are_clipped() {
        let [_, last] = run(&mut sums(5.0, &[3, 0]));
        assert_eq!(last, [5.0, 0.0, 5.0, 0.0]);
    }
}
