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

mod body_constants;
mod branch;
mod casts;
mod constant;
mod context;
mod converted;
mod empty;
mod functions;
mod imports;
mod indices;
mod inline;
mod inputs;
mod microsoft;
pub mod opset;
mod origin;
mod sequence;
mod slices;
mod split;
mod steps_first;
#[cfg(test)]
mod tests;
mod types;
mod walk;
mod zero_bias;

pub use imports::OPSET;
pub use origin::{Moved, Origin, Place};

use crate::graph::Facts;
use crate::onnx::Model;
use crate::onnx::proto::GraphProto;
use context::Context;
use foldhash::HashSet;
use functions::Expansion;
use gnp_base::Result;

/// What the caller should know of a model that has been normalised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Normalised {
    /// What the user should know.
    pub warnings: Vec<String>,
    /// The initializers of the main graph that were nodes before.
    pub moved: Vec<Moved>,
    /// The initializers that hold no tensor of the file: numbers that were attributes, and what else operators take.
    pub made: HashSet<String>,
}

/// Normalises a model.
///
/// # Errors
/// Where the model is older than operator set 7 or imports no standard operators, uses an operator that changed its
/// meaning in a way that has no adapter, or has functions that call themselves. The model is then no longer whole.
pub fn normalise(model: &mut Model) -> Result<Normalised> {
    normalise_converting(model, &|_| true)
}

/// The same, where of the weights that the file holds quantised only those become float32 initializers for whose names
/// `converts` holds: the others stay what dequantises them in the graph.
///
/// # Errors
/// As [`normalise`].
pub fn normalise_converting(model: &mut Model, converts: &dyn Fn(&str) -> bool) -> Result<Normalised> {
    let versions = imports::versions(model)?;
    inputs::drop_initializers(model);
    let mut moved = body_constants::hoist(&mut model.graph);
    let functions = std::mem::take(&mut model.header.functions);
    let mut context = Context::new(&model.graph, &functions, versions, model.limits, converts);
    Expansion::new(&context.functions, model.limits).check(&model.graph.node)?;
    context.graph(&mut model.graph, versions.model)?;
    moved.append(&mut context.moved);
    let Context { mut warnings, converted, made, .. } = context;
    if converted > 0 {
        warnings.push(format!(
            "{converted} weight{} that the file holds quantised {} as floats, and the trained file holds {} so",
            if converted == 1 { "" } else { "s" },
            if converted == 1 { "trains" } else { "train" },
            if converted == 1 { "it" } else { "them" },
        ));
    }
    imports::update(model, &functions, versions);
    Ok(Normalised { warnings, moved, made })
}

/// Writes anew in a shorter form what depends on shapes and types, once these are known: `facts` are those of `graph`,
/// which is normalised.
pub fn simplify(graph: &mut GraphProto, facts: &Facts) {
    opset::simplify(graph, facts);
    casts::simplify(graph, facts);
    zero_bias::simplify(graph);
    slices::simplify(graph, facts);
    empty::simplify(graph, facts);
}
