//! From a model to one training step with the Gradient Norm Penalty, as a graph.

pub mod emit;
pub mod objective;
pub mod pass;
pub mod penalty;
pub mod rewrite;
pub mod transform;
pub mod weights;
