//! Reverse-mode automatic differentiation of a graph, in standard operators or those of ONNX Runtime's training build.
//!
//! [`gradient`] walks the nodes from the loss back to what the gradient is taken of. At each node a *rule*, a
//! vector-Jacobian product, turns the cotangents of its outputs (∂L/∂y) into those of its inputs (∂L/∂x); cotangents of
//! a value that is read more than once are added up. Rules are in [`rules`](self), a file a family of operators; they
//! see a graph in the form that [`gnp_model::normalise`] gives it, so each is written once.
//!
//! An operator without a rule on the way of a gradient is an error, never a silent zero. "Zero by definition" (Shape,
//! ArgMax, Floor) is a rule of its own.

mod gradients;
mod op;
mod rules;
mod sweep;

pub use gradients::Gradients;
pub use op::{Cotangents, Op};
pub use rules::{Rule, registered, rule};
pub use sweep::{ends, gradient, pull_back};
