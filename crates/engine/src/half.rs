//! Half precision: what a step model computes in, and which engines have kernels for it.
//!
//! Without kernels ONNX Runtime computes float16 in float32 and rounds nothing, in silence; so it is asked first.

#[cfg(feature = "ort")]
use crate::{Device, EngineOptions, HalfPrecision};
use foldhash::HashMap;
use gnp_base::{Error, Result};
use gnp_model::onnx::proto::NodeProto;
use gnp_model::onnx::{DataType, Model};

/// Refuses a step model in half precision that ONNX Runtime would not compute as such, with these options: on
/// processors it has no kernels, but for float16 on those of ARM that have it.
#[cfg(feature = "ort")]
pub(crate) fn check_ort(step: &Model, options: &EngineOptions) -> Result<()> {
    let emulates = options.half == HalfPrecision::Emulated;
    match half_of(step).filter(|_| options.device == Device::Cpu) {
        None => Ok(()),
        Some(DataType::Float16) if emulates || has_float16() => Ok(()),
        Some(DataType::Float16) => {
            Err(refused(step, "float16, for which ONNX Runtime has no kernels on this processor").help(
                "use --device cuda, or leave --precision out where it is made; --half emulated tries it, slower than \
                 float32",
            ))
        }
        Some(_) => Err(refused(step, "bfloat16, for which ONNX Runtime has no kernels on processors")
            .help("use --device cuda, or leave --precision out where it is made")),
    }
}

/// Refuses a step model in half precision: tract has kernels for some operators alone.
#[cfg(feature = "tract")]
pub(crate) fn check_tract(step: &Model) -> Result<()> {
    match half_of(step) {
        None => Ok(()),
        Some(_) => Err(refused(step, "half precision, for which tract has no kernels")
            .help("use --engine onnxruntime, or leave --precision out where it is made")),
    }
}

fn refused(step: &Model, what: &str) -> Error {
    Error::unsupported(format!("the step model computes in {what}")).in_file(step.path())
}

/// Whether ONNX Runtime computes products of float16 here as such.
#[cfg(feature = "ort")]
fn has_float16() -> bool {
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("fp16");
    #[cfg(not(target_arch = "aarch64"))]
    false
}

/// The type in half precision that a step model computes in, if any: that of a Cast whose result is more than cast back.
///
/// ```
/// let mlp = gnp_model::onnx::read("../../models/mlp/model.onnx")?;
/// assert_eq!(gnp_engine::half_of(&mlp), None);
/// # Ok::<(), gnp_base::Error>(())
/// ```
pub fn half_of(step: &Model) -> Option<DataType> {
    let mut halves = HashMap::default();
    for_each_node(&step.graph.node, &mut |node| {
        let to = |element: &DataType| node.int("to", 0) == i64::from(*element as i32);
        let half = [DataType::Float16, DataType::Bfloat16].into_iter().find(to).filter(|_| node.is("", "Cast"));
        halves.extend(half.map(|half| (node.output[0].as_str(), half)));
    });
    let mut found = None;
    for_each_node(&step.graph.node, &mut |node| {
        if found.is_none() && !node.is("", "Cast") {
            found = node.input.iter().find_map(|input| halves.get(input.as_str()).copied());
        }
    });
    found
}

fn for_each_node<'g>(nodes: &'g [NodeProto], each: &mut impl FnMut(&'g NodeProto)) {
    for node in nodes {
        each(node);
        node.subgraphs().for_each(|body| for_each_node(&body.node, each));
    }
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
        branch.node = vec![cast, node("Neg", &["y"], &["n"]).into()];
        model.graph.node = vec![node("If", &["c"], &["z"]).with(branch).into()];
        model
    }

    #[test]
    fn a_cast_in_a_body_tells() {
        assert_eq!(half_of(&cast(DataType::Bfloat16)), Some(DataType::Bfloat16));
        assert_eq!(half_of(&cast(DataType::Int64)), None);
        let mut rounds = cast(DataType::Float16);
        let body = rounds.graph.node[0].subgraphs_mut().next().unwrap();
        body.node[1].op_type = Some("Cast".into());
        assert_eq!(half_of(&rounds), None, "what is cast back is rounded by a kernel that every processor has");
    }

    #[test]
    #[cfg(feature = "ort")]
    fn processors_have_kernels_for_float32() {
        let (native, emulated) = (HalfPrecision::Native, HalfPrecision::Emulated);
        let check = |element, device, half| {
            check_ort(&cast(element), &EngineOptions { device, half, ..EngineOptions::default() }).is_ok()
        };
        assert_eq!(check(DataType::Float16, Device::Cpu, native), has_float16());
        assert!(check(DataType::Float16, Device::Cpu, emulated));
        assert!(!check(DataType::Bfloat16, Device::Cpu, emulated));
        assert!(check(DataType::Bfloat16, Device::Cuda(0), native));
        assert!(check(DataType::Float, Device::Cpu, native));
    }
}
