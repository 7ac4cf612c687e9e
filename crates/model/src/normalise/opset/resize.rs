//! Upsample and Resize. Until 10 there was one way from a place in the output to one in the input: x/scale.

use super::super::context::Context;
use super::unsupported;
use crate::onnx::DataType;
use crate::onnx::proto::{AttributeProto, NodeProto, TensorProto};
use gnp_base::Result;

/// Upsample before 9: `scales` becomes input 1.
pub(super) fn scales_to_input(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    let scales = node.take_attribute("scales").map(|scales| scales.floats).unwrap_or_default();
    let bytes: Vec<u8> = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
    let scales = TensorProto::raw("", DataType::Float, &[scales.len() as i64], bytes.into());
    let scales = context.constant(scales, "scales");
    node.set_input(1, scales);
    Ok(node)
}

/// Upsample became Resize in 10, with the same inputs and attributes.
pub(super) fn upsample(_: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    node.op_type = Some("Resize".into());
    Ok(node)
}

/// Resize before 11: the coordinates are x/scale, and the nearest element is the one before it when an axis grows, the
/// one after it when it shrinks (as the cases of the standard have it, and ONNX Runtime).
pub(super) fn asymmetric(context: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    if node.string("mode", "nearest") == "nearest" {
        let scales = node.input(1).and_then(|scales| context.floats(scales));
        let (grows, shrinks) = match &scales {
            Some(scales) => (scales.iter().any(|&s| s > 1.0), scales.iter().any(|&s| s < 1.0)),
            None => {
                context.warnings.push(format!(
                    "`{}` resizes by scales that are no constant; they are taken to be at least 1",
                    context.label
                ));
                (true, false)
            }
        };
        if grows && shrinks {
            return Err(unsupported(
                "it enlarges one axis and shrinks another to the nearest element, which one node of a newer operator set \
                 cannot do",
            ));
        }
        let nearest = if shrinks { "ceil" } else { "floor" };
        node.attribute.push(AttributeProto::string("nearest_mode", nearest));
    }
    node.attribute.push(AttributeProto::string("coordinate_transformation_mode", "asymmetric"));
    // The second input is a region of interest now, and optional.
    node.input.insert(1.min(node.input.len()), String::new());
    Ok(node)
}

/// Resize before 13: inputs that are not there were empty tensors.
pub(super) fn optional_inputs(_: &mut Context<'_>, mut node: NodeProto) -> Result<NodeProto> {
    let mode = node.string("coordinate_transformation_mode", "half_pixel").to_owned();
    if mode == "tf_half_pixel_for_nn" {
        return Err(unsupported(
            "its coordinate_transformation_mode, tf_half_pixel_for_nn, is none since operator set 13",
        ));
    }
    if mode != "tf_crop_and_resize" && node.input.len() > 1 {
        node.set_input(1, String::new());
    }
    if node.input(3).is_some() {
        node.set_input(2, String::new());
    }
    Ok(node)
}
