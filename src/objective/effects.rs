//! Operators that are more than functions of their inputs: those that draw, and those that write to an input.
//!
//! A second evaluation must repeat neither effect: both passes see the same draws, and state moves once a step.

use crate::graph::{Builder, Graph, Renaming, Value, for_each_subgraph};
use crate::onnx::proto::{GraphProto, NodeProto};
use crate::{Error, Result};

const MICROSOFT: &str = "com.microsoft";

/// What evaluating a node does besides giving its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// It draws, and what it draws does not go through it as a function: both passes use the one draw.
    Draws,
    /// It draws a mask (output 1) and multiplies by it (inputs: data, ratio, training mode).
    Masks,
    /// It overwrites its inputs 3 and 4, the running mean and variance; its other outputs do not depend on them.
    MovesStatistics,
    /// It draws in a way that this program cannot repeat.
    Unrepeatable,
}

impl Effect {
    pub(super) fn of(node: &NodeProto) -> Self {
        let training_mode = || node.attribute("training_mode").is_some_and(|a| a.i() != 0);
        match (node.domain(), node.op_type()) {
            (
                "" | "ai.onnx",
                "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Bernoulli"
                | "Multinomial",
            ) => Self::Draws,
            // Without the input `training_mode` Dropout passes its data through.
            ("" | "ai.onnx", "Dropout") if node.input(2).is_some() => Self::Masks,
            ("" | "ai.onnx", "BatchNormalization") | (MICROSOFT, "BatchNormInternal") if training_mode() => {
                Self::MovesStatistics
            }
            (MICROSOFT, "BiasDropout" | "BitmaskDropout" | "BitmaskBiasDropout") => Self::Unrepeatable,
            _ => Self::None,
        }
    }
}

/// Appends a copy of the node at `index` for a further pass, without its effect.
///
/// # Errors
/// Where the effect cannot be taken out.
pub(super) fn repeat(graph: &mut Graph, index: usize, renaming: &mut Renaming, pass: &'static str) -> Result<()> {
    let node = &graph.nodes()[index];
    refuse_effects_in_bodies(node)?;
    match Effect::of(node) {
        Effect::None => _ = graph.duplicate(index, renaming, pass),
        // `Artifact::at` never copies these: the draw of the first pass stands for itself.
        Effect::Draws => {}
        Effect::Masks => repeat_mask(graph, index, renaming, pass),
        Effect::MovesStatistics => repeat_without_state(graph, index, renaming, pass),
        Effect::Unrepeatable => {
            return Err(Error::input("the operator draws a mask that the second pass cannot be given")
                .at_node(node.label(), &node.operator())
                .help("save the training model before ONNX Runtime fuses it, so that it has plain Dropout nodes"));
        }
    }
    Ok(())
}

/// The mask is the first pass's, so the copy is no Dropout but the multiplication by a given mask,
/// y = x ∘ mask / (1 − ratio), which is what ONNX Runtime's DropoutGrad computes.
fn repeat_mask(graph: &mut Graph, index: usize, renaming: &mut Renaming, pass: &'static str) {
    let mask = graph.ensure_output(index, 1, "mask");
    let node = &graph.nodes()[index];
    let read = |i: usize| node.input(i).map_or_else(|| Value::from(""), |name| renaming.apply(name));
    let (data, ratio, training_mode) = (read(0), read(1), read(2));
    let output = node.output.first().cloned().unwrap_or_default();
    let inputs = [&data, &mask, &ratio, &training_mode];
    let masked = Builder::new(graph, pass).op_in(MICROSOFT, "DropoutGrad", &inputs, &[], &output);
    graph.mark_newest_as_copy_of(index);
    renaming.insert(&output, masked);
}

/// The copy moves statistics of its own that nobody reads: copies of the true ones, which must be new buffers. ONNX
/// Runtime removes an Identity, and would then hand the kernel the true buffers again; the maximum of a tensor and itself it
/// computes.
fn repeat_without_state(graph: &mut Graph, index: usize, renaming: &mut Renaming, pass: &'static str) {
    let scratch = [3, 4].map(|i| {
        let statistic = Value::from(graph.nodes()[index].input(i)?);
        Some((i, Builder::new(graph, pass).op("Max", &[&statistic, &statistic], &statistic)))
    });
    let copy = graph.duplicate(index, renaming, pass);
    for (i, scratch) in scratch.into_iter().flatten() {
        graph.node_mut(copy).input[i] = scratch.to_string();
    }
}

fn refuse_effects_in_bodies(node: &NodeProto) -> Result<()> {
    fn find(body: &GraphProto) -> Option<&NodeProto> {
        body.node.iter().find_map(|inner| {
            let mut found = (Effect::of(inner) != Effect::None).then_some(inner);
            for_each_subgraph(inner, &mut |body| found = found.or_else(|| find(body)));
            found
        })
    }
    let mut found = None;
    for_each_subgraph(node, &mut |body| found = found.or_else(|| find(body)));
    match found {
        None => Ok(()),
        Some(inner) => Err(Error::input(format!(
            "its body has a {} node, whose random draw or state cannot be kept from happening twice",
            inner.operator()
        ))
        .at_node(node.label(), &node.operator())
        .help("move the random or normalising node out of the body")),
    }
}
