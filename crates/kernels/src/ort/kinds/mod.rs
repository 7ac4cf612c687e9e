//! The kinds of kernels: a file each, and a row of [`KINDS`].

mod conv_grad_input;
mod conv_grad_weight;
mod conv_weights;
mod elementwise;
mod layer_norm;
mod layer_norm_grad;
mod matmul;
mod max_pool_grad;
mod reduce;

use super::Target;
use super::attributes::Attributes;
use super::context::Context;
use super::shapes::{Shapes, Size};
use gnp_base::Result;

/// A kind of kernel, of float32 tensors.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Whether files call functions of this kind; others are called by what is done to a graph when it is loaded.
    pub(crate) is_function: bool,
    pub(crate) inputs: Inputs,
    /// How many outputs it has.
    pub(crate) outputs: usize,
    /// Makes the kernel for a node.
    pub(crate) create: fn(&Attributes<'_>, Target) -> Result<Box<dyn Kernel>>,
    /// Whether it computes on NVIDIA's cards too.
    pub(crate) is_on_cuda: bool,
    /// The shape of the first output by those of the inputs, where that can be told.
    pub(crate) shape: Option<InferShape>,
    /// Whether an input of the first output's shape may be its memory.
    pub(crate) in_place: bool,
}

type InferShape = fn(&Shapes<'_>) -> Option<Vec<Size>>;

/// How many inputs a kernel has.
pub(crate) enum Inputs {
    Exactly(usize),
    /// One or more.
    Any,
}

/// The kernel of one node.
pub(crate) trait Kernel: Send + Sync {
    /// Computes the outputs.
    fn run(&self, context: &Context<'_>) -> Result<()>;
}

/// All kinds.
pub(crate) static KINDS: [Kind; 9] = [
    elementwise::KIND,
    reduce::KIND,
    conv_grad_weight::KIND,
    conv_grad_input::KIND,
    conv_weights::KIND,
    layer_norm::KIND,
    layer_norm_grad::KIND,
    matmul::KIND,
    max_pool_grad::KIND,
];
