//! What a build of ONNX Runtime makes of blocks on this processor.

use super::NCHWC;
use crate::ort::api::Api;
use crate::ort::session::{Memory, Session, c_names};
use crate::ort::session_options::SessionOptions;
use crate::ort::value::Value;
use gnp_model::graph::Fact;
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use gnp_tensor::Tensor;
use ndarray::ArrayD;
use prost::Message as _;

/// So many channels has the image that is laid out: blocks are no larger.
const CHANNELS: usize = 64;
const PLACES: usize = 2;

/// How many channels ONNX Runtime puts into a block on this processor; none where it does not lay out images so.
pub(in crate::ort::passes) fn block(api: &'static Api, options: &SessionOptions) -> Option<i64> {
    let image = Tensor::F32(ArrayD::from_shape_fn(vec![1, CHANNELS, 1, PLACES], |at| (at[1] * PLACES + at[3]) as f32));
    let session = Session::of_bytes(api, &model().encode_to_vec(), options).ok()?;
    let names = c_names(["x", "y"]).ok()?;
    let value = Value::of(api, &image).ok()?;
    let mut run = session.bind().ok()?;
    run.input(&names[0], &value).ok()?;
    run.output(&names[1], &Memory::host(api)).ok()?;
    run.run(None).ok()?;
    let laid_out = run.returned().ok()?.first()?.to_tensor().ok()?;
    let Tensor::F32(laid_out) = laid_out else { return None };
    let laid_out: Vec<f32> = laid_out.into_iter().collect();
    [8, 16, 32].into_iter().find(|&block| laid_out == expected(block)).map(|block| block as i64)
}

/// The image in blocks: the channels of a block side by side, place by place.
fn expected(block: usize) -> Vec<f32> {
    let element = |i: usize| {
        let (first, within) = (i / (block * PLACES) * block, i % (block * PLACES));
        ((first + within % block) * PLACES + within / block) as f32
    };
    (0..CHANNELS * PLACES).map(element).collect()
}

fn model() -> ModelProto {
    let image = Fact::with_sizes(DataType::Float, &[1, CHANNELS as i64, 1, PLACES as i64]);
    let node = NodeProto {
        op_type: Some("ReorderInput".into()),
        domain: Some(NCHWC.into()),
        input: vec!["x".into()],
        output: vec!["y".into()],
        ..Default::default()
    };
    let graph = GraphProto {
        name: Some("blocks".into()),
        node: vec![node],
        input: vec![image.info("x")],
        output: vec![image.info("y")],
        ..Default::default()
    };
    let import = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![import("", 13), import(NCHWC, 1)],
        graph: Some(graph),
        ..Default::default()
    }
}
