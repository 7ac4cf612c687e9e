//! Brings a forward model into one form: operator set 18 (or the model's own, if newer), functions inlined, constants
//! as initializers, exporters' own operators in standard ones; so that every gradient rule is written once.
//!
//! The model computes what it computed before. Initializers, inputs and outputs keep their names; names that are added
//! begin with `gnp/normalise/`. Weights are not copied.
//!
//! ```no_run
//! let mut model = gnp_model::onnx::read("model.onnx")?;
//! for warning in gnp_model::normalise::normalise(&mut model)?.warnings {
//!     eprintln!("{warning}");
//! }
//! # Ok::<(), gnp_base::Error>(())
//! ```

mod branch;
mod branch_constants;
mod constant;
mod context;
mod converted;
mod function;
mod imports;
mod indices;
mod inputs;
mod microsoft;
pub mod opset;
mod sequence;
#[cfg(test)]
mod tests;
mod types;
mod walk;

pub use branch_constants::Place;

use crate::graph::Facts;
use crate::onnx::Model;
use crate::onnx::proto::GraphProto;
use context::Context;
use function::Expansion;
use gnp_base::Result;

/// The version of the standard operators that models are brought to, at least.
pub const OPSET: i64 = 18;

/// What the caller should know of a model that has been normalised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Normalised {
    /// What the user should know.
    pub warnings: Vec<String>,
    /// The initializers of the main graph that were nodes before.
    pub moved: Vec<Moved>,
}

/// An initializer that was a node before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The name of the initializer.
    pub initializer: String,
    /// Where its elements came from.
    pub origin: Origin,
}

impl Moved {
    /// The initializer's name and the branch that it came from, where it came from one.
    pub fn place(&self) -> Option<(&str, &Place)> {
        if let Origin::Branch(place) = &self.origin { Some((&self.initializer, place)) } else { None }
    }
}

/// Where the elements of an initializer came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A `Constant` node of the main graph, whose output has the initializer's name.
    Constant,
    /// A `ConstantOfShape` node of the main graph, whose output has the initializer's name.
    ConstantOfShape,
    /// An initializer or a `Constant` node in a branch of an `If`.
    Branch(Place),
    /// A node that converted a constant of another type, whose output has the initializer's name.
    Converted,
    /// Something inside a function that was inlined: the file has no place for new elements.
    Inlined,
}

/// Normalises a model.
///
/// # Errors
/// Where the model is older than operator set 7 or imports no standard operators, uses an operator that changed its
/// meaning in a way that has no adapter, or has functions that call themselves. The model is then no longer whole.
pub fn normalise(model: &mut Model) -> Result<Normalised> {
    let versions = imports::versions(model)?;
    inputs::drop_initializers(model);
    let mut moved = branch_constants::hoist(&mut model.graph);
    let functions = std::mem::take(&mut model.header.functions);
    let mut context = Context::new(&model.graph, &functions, versions, model.limits);
    Expansion::new(&context.functions, model.limits).check(&model.graph.node)?;
    context.graph(&mut model.graph, versions.model)?;
    moved.append(&mut context.moved);
    let Context { mut warnings, converted, .. } = context;
    if converted > 0 {
        warnings.push(format!(
            "{converted} weight{} that the file holds in another type {} as float32, and the trained file holds {} so",
            if converted == 1 { "" } else { "s" },
            if converted == 1 { "trains" } else { "train" },
            if converted == 1 { "it" } else { "them" },
        ));
    }
    imports::update(model, &functions, versions);
    Ok(Normalised { warnings, moved })
}

/// Writes anew in a shorter form what depends on shapes, once these are known: `facts` are those of `graph`, which is
/// normalised.
pub fn simplify(graph: &mut GraphProto, facts: &Facts) {
    opset::simplify(graph, facts);
}
