//! Weights that the file holds quantised. What a `DequantizeLinear` makes of them is the weight that the network computes
//! with; it becomes a float32 initializer, so that it can train.

use super::context::Context;
use super::origin::Origin;
use crate::float32::FEWEST;
use crate::onnx::DataType;
use crate::onnx::proto::{NodeProto, TensorProto};

/// Makes a float32 initializer of a node that dequantises a constant of the file; returns any other node.
pub(super) fn move_out(context: &mut Context, node: NodeProto) -> Option<NodeProto> {
    if node.output(0).is_some_and(|name| !(context.converts)(name)) {
        return Some(node);
    }
    let tensor = if node.is("", "DequantizeLinear") { dequantised(context, &node) } else { None };
    let Some(mut tensor) = tensor.filter(|tensor| tensor.element_count() >= FEWEST) else { return Some(node) };
    let Some(name) = node.output(0).filter(|name| !context.scope.outputs.contains(*name)) else { return Some(node) };
    tensor.name = Some(name.to_owned());
    context.converted += 1;
    context.move_in(tensor, Origin::Converted);
    None
}

/// y = (x − zero point) · scale; both of rank 0, or with an element for each place along an axis
/// ([DequantizeLinear](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html)). None where x is no constant, or in
/// blocks.
fn dequantised(context: &Context, node: &NodeProto) -> Option<TensorProto> {
    let quantised = context.initializer(node.input(0)?)?;
    let (numbers, scales) = (quantised.ints()?, context.floats(node.input(1)?)?);
    let zeros = match node.input(2) {
        Some(zeros) => context.initializer(zeros)?.ints()?,
        None => vec![0; scales.len()],
    };
    if zeros.len() != scales.len() || node.int("block_size", 0) != 0 {
        return None;
    }
    let sizes: Vec<usize> = quantised.dims.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>()?;
    let (stride, count) = if scales.len() == 1 {
        (1, 1)
    } else {
        let axis = node.int("axis", 1);
        let axis = usize::try_from(if axis < 0 { axis + sizes.len() as i64 } else { axis }).ok()?;
        (sizes.get(axis + 1..)?.iter().product::<usize>(), *sizes.get(axis)?)
    };
    if count != scales.len() {
        return None;
    }
    let element = |(index, &number): (usize, &i64)| {
        let place = index / stride.max(1) % count;
        ((number as f64 - zeros[place] as f64) * scales[place]) as f32
    };
    Some(float_tensor(&quantised.dims, numbers.iter().enumerate().map(element)))
}

fn float_tensor(dims: &[i64], elements: impl Iterator<Item = f32>) -> TensorProto {
    let bytes: Vec<u8> = elements.flat_map(f32::to_le_bytes).collect();
    TensorProto::raw("", DataType::Float, dims, bytes.into())
}

#[cfg(test)]
mod tests {
    use crate::normalise::{Origin, normalise};
    use crate::onnx::proto::{AttributeProto, NodeProto, TensorProto};
    use crate::onnx::{DataType, Model};
    use crate::testing::{body, node};

    fn model(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Model {
        let mut model = crate::onnx::read("../../models/mlp/model.onnx").unwrap();
        model.graph = crate::onnx::proto::GraphProto { node: nodes, initializer, ..body(&["x"], &[], &["y"]) };
        model
    }

    fn floats(model: &Model, name: &str) -> Vec<f64> {
        model.graph.initializer.iter().find(|t| t.name() == name).and_then(TensorProto::floats).unwrap()
    }

    #[test]
    fn quantised_weights_become_floats() {
        let int8 = |name: &str, dims: &[i64], values: &[i8]| {
            TensorProto::raw(name, DataType::Int8, dims, values.iter().map(|&v| v as u8).collect::<Vec<_>>().into())
        };
        let scales: Vec<u8> = [0.5f32, 0.25].iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut dequantize = NodeProto::from(node("DequantizeLinear", &["q", "s", "z"], &["w"]));
        dequantize.attribute = vec![AttributeProto::int("axis", 0)];
        let initializers = vec![
            int8("q", &[2, 2], &[1, -2, 3, 4]),
            TensorProto::raw("s", DataType::Float, &[2], scales.into()),
            int8("z", &[2], &[1, 0]),
        ];
        let mut model = model(vec![dequantize, node("MatMul", &["x", "w"], &["y"]).into()], initializers);
        let normalised = normalise(&mut model).unwrap();
        assert_eq!(floats(&model, "w"), [0.0, -1.5, 0.75, 1.0]);
        assert_eq!(normalised.moved[0].origin, Origin::Converted);
        assert!(normalised.warnings[0].contains("1 weight"), "{:?}", normalised.warnings);
    }
}
