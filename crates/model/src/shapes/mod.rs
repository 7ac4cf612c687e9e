//! Types and shapes of every value of a model, before it runs.
//!
//! The file declares some of them: its inputs, its outputs, its weights, and what the exporter noted of the values
//! between. From the inputs and the weights the rest follows operator by operator: [`analyse`] goes once through the
//! nodes, in order, and asks the rule of each operator what its outputs are (`rules`). A rule sees element types,
//! sizes, which may be expressions in symbols (`size.rs`), and the elements of small constants, never a weight
//! (`known.rs`). An operator without a rule leaves its outputs to what the file declares of them, and where that is
//! nothing, unknown.
//!
//! What the operators make of the inputs is what will happen when the model runs, and takes precedence over a
//! declaration, which may be left over from before an edit: a declaration fills in what the operators leave open. Where
//! an operator says one number and the declaration of its output another, the axis counts as unknown; where they differ
//! in the number of axes, all do.

mod bindings;
mod declared;
mod iterations;
mod known;
mod rules;
mod size;
mod sweep;

pub use bindings::{bind, rename_symbol, symbols};
pub(crate) use sweep::Analysis;

use crate::graph::Facts;
use crate::onnx::Model;
use gnp_base::Result;
use std::collections::BTreeMap;

/// What is known of the values of `model`, with every dimension symbol in `bindings` at the number that it is bound to.
/// The nodes are in topological order.
///
/// An axis of unknown size is a [`Dim::Symbol`](crate::graph::Dim::Symbol): the file's own symbol, an expression in
/// such symbols, or `value[axis]`, which is the size of that axis of that value. Texts that are equal stand for equal
/// numbers. Values in the bodies of an If, Loop or Scan are among them, unless two have one name; of one in a loop is
/// known what holds in every iteration.
///
/// # Errors
/// Where a binding is of a symbol that the model does not have, or the file contradicts itself about a value.
///
/// ```
/// use gnp_model::graph::Dim;
/// use std::collections::BTreeMap;
/// let model = gnp_model::onnx::read("../../models/cnn/eval_model.onnx")?;
/// let facts = gnp_model::shapes::analyse(&model, &BTreeMap::from([("batch".to_owned(), 32)]))?;
/// assert_eq!(facts.get("logits").unwrap().sizes(), Some(vec![32, 10]));
/// let facts = gnp_model::shapes::analyse(&model, &BTreeMap::new())?;
/// assert_eq!(facts.get("logits").unwrap().shape, Some(vec![Dim::Symbol("batch".into()), Dim::Known(10)]));
/// # Ok::<(), gnp_base::Error>(())
/// ```
pub fn analyse(model: &Model, bindings: &BTreeMap<String, i64>) -> Result<Facts> {
    bindings::check(model, bindings)?;
    sweep::facts(model, bindings)
}

#[cfg(test)]
pub(crate) mod tests;
