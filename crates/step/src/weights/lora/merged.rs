//! From adapters back to weights.

use super::{Adapter, LoraWrite};
use crate::emit::trained::Trained;
use crate::weights::Edit;
use foldhash::HashMap;
use gnp_base::{Error, Result};
use gnp_model::onnx::Payloads;
use gnp_model::onnx::proto::TensorProto;
use std::path::Path;

/// The adapters of `edits` that stay beside their weights, and those that become part of them. Where `write` does not
/// say, those of quantised weights stay.
pub(crate) fn parted(edits: &[Edit], write: Option<LoraWrite>) -> (Vec<&Adapter>, Vec<&Adapter>) {
    edits.iter().filter_map(Edit::adapter).partition(|adapter| match write {
        Some(write) => write == LoraWrite::Adapters,
        None => adapter.is_quantised,
    })
}

/// The weights with their `adapters` in them. `state` has these, `constants` the weights as they were, whose external
/// data is relative to `folder`.
///
/// # Errors
/// Where the elements of a weight are not there as floats.
pub(crate) fn taken_up(
    adapters: &[&Adapter],
    state: &HashMap<String, Trained>,
    constants: &HashMap<&str, &TensorProto>,
    folder: &Path,
) -> Result<Vec<Trained>> {
    let mut payloads = Payloads::new(folder);
    let mut taken_up = Vec::with_capacity(adapters.len());
    for adapter in adapters {
        // A state that lacks them has them as they were at first, without effect.
        let (Some(a), Some(b)) = (state.get(&adapter.a()), state.get(&adapter.b())) else { continue };
        let weight = constants.get(adapter.weight.as_str());
        let base = weight.map(|weight| payloads.float32(weight)).transpose()?.flatten();
        let base = base.filter(|base| base.len() as i64 == 4 * adapter.inputs * adapter.outputs).ok_or_else(|| {
            Error::input(format!(
                "the model has no weight `{}` of floats, which adapters were trained for",
                adapter.weight
            ))
            .help("name the model that the step model was made of")
        })?;
        taken_up.push(adapter.merged(&base, a, b));
    }
    Ok(taken_up)
}
