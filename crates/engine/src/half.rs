//! Half precision: what a step model computes in, and which engines have kernels for it.
//!
//! Without kernels ONNX Runtime computes float16 in float32 and rounds nothing, in silence; so it is asked first.

use crate::{Device, EngineOptions, HalfPrecision};
use gnp_base::{Error, Result};
use gnp_model::onnx::proto::NodeProto;
use gnp_model::onnx::{DataType, Model};

/// Refuses a step model in half precision where there are no kernels for it: an engine on the processor has none, but
/// ONNX Runtime on processors of ARM that compute with float16.
pub(crate) fn check(step: &Model, engine: &str, options: &EngineOptions) -> Result<()> {
    let Some(half) = half_of(step).filter(|_| options.device == Device::Cpu) else { return Ok(()) };
    let refused = |what: &str, help: &str| {
        let precision = if half == DataType::Float16 { "float16" } else { "bfloat16" };
        Err(Error::unsupported(format!("the step model computes in {precision}, {what}")).in_file(step.path()).help(help))
    };
    match (half, options.half) {
        (DataType::Float16, HalfPrecision::Emulated) => Ok(()),
        (DataType::Float16, HalfPrecision::Native) if has_float16(engine) => Ok(()),
        (DataType::Float16, HalfPrecision::Native) => refused(
            &format!("and {engine} has no kernels for that on this processor"),
            "use --device cuda, or make the step model without --precision; --half emulated tries it, slower than float32",
        ),
        _ => refused(
            &format!("and {engine} has no kernels for that on processors"),
            "use --device cuda, or make the step model without --precision",
        ),
    }
}

/// Whether ONNX Runtime computes products of float16 here as such.
fn has_float16(engine: &str) -> bool {
    #[cfg(target_arch = "aarch64")]
    return engine == "ONNX Runtime" && std::arch::is_aarch64_feature_detected!("fp16");
    #[cfg(not(target_arch = "aarch64"))]
    {
        let _ = engine;
        false
    }
}

/// The type that a step model has values in half precision of.
pub(crate) fn half_of(step: &Model) -> Option<DataType> {
    let functions = step.header.functions.iter().flat_map(|function| &function.node);
    step.graph.node.iter().chain(functions).find_map(of_node)
}

fn of_node(node: &NodeProto) -> Option<DataType> {
    let to = |element: DataType| node.is("", "Cast") && node.int("to", 0) == i64::from(element as i32);
    let own = [DataType::Float16, DataType::Bfloat16].into_iter().find(|element| to(*element));
    own.or_else(|| node.subgraphs().flat_map(|body| &body.node).find_map(of_node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::onnx::proto::AttributeProto;
    use gnp_model::testing::{body, node};

    fn cast(to: DataType) -> Model {
        let mut model = gnp_model::onnx::read("../../models/mlp/model.onnx").unwrap();
        let mut cast = NodeProto::from(node("Cast", &["x"], &["y"]));
        cast.attribute = vec![AttributeProto::int("to", i64::from(to as i32))];
        model.graph = body(&["c"], &[], &["z"]);
        let mut branch = body(&[], &[], &["y"]);
        branch.node = vec![cast];
        model.graph.node = vec![node("If", &["c"], &["z"]).with(branch).into()];
        model
    }

    #[test]
    fn a_cast_in_a_body_tells() {
        assert_eq!(half_of(&cast(DataType::Bfloat16)), Some(DataType::Bfloat16));
        assert_eq!(half_of(&cast(DataType::Int64)), None);
    }

    #[test]
    fn processors_have_kernels_for_float32() {
        let (native, emulated) = (HalfPrecision::Native, HalfPrecision::Emulated);
        let on = |device, half| EngineOptions { device, half, ..EngineOptions::default() };
        let check = |element, device, half| check(&cast(element), "tract", &on(device, half)).is_ok();
        assert!(!check(DataType::Float16, Device::Cpu, native));
        assert!(check(DataType::Float16, Device::Cpu, emulated));
        assert!(!check(DataType::Bfloat16, Device::Cpu, emulated));
        assert!(check(DataType::Bfloat16, Device::Cuda(0), native));
        assert!(check(DataType::Float, Device::Cpu, native));
    }
}
