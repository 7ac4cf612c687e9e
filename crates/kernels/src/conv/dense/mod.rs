//! Gradients of a convolution of which each channel of y reads all channels of x of its group.

mod grad_input;
mod grad_weight;

pub(super) use grad_input::GradInput;
pub(super) use grad_weight::GradWeight;
