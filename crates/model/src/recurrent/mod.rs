//! Recurrent layers (LSTM, GRU, RNN): what their nodes say, and the standard's equations of a step.
//!
//! Engines compute a layer as a whole. It is taken apart for its gradient, and where an engine leaves out what a node
//! asks for. A step of a [`Cell`] is a few sums of products ([`Cell::sums`]) and what is computed of them element by
//! element ([`Cell::step`]): all that can be done for all steps at once is a matrix product over them.
//!
//! The equations are those of the standard's [`LSTM`], [`GRU`] and [`RNN`], in layout 0, which
//! [`normalise`](mod@crate::normalise) brings layers to. Where the standard leaves something open, they are what ONNX
//! Runtime computes: `clip` bounds the sums and not the cell state, and a sequence without steps has results of 0.
//!
//! [`LSTM`]: https://onnx.ai/onnx/operators/onnx__LSTM.html
//! [`GRU`]: https://onnx.ai/onnx/operators/onnx__GRU.html
//! [`RNN`]: https://onnx.ai/onnx/operators/onnx__RNN.html

mod activation;
mod cell;
mod direction;
mod layer;
mod written_out;

pub use cell::{Cell, Operand, Sum};
pub use direction::Direction;
pub use layer::Layer;
pub use written_out::write_out;

/// The inputs of a layer, by their positions.
pub mod input {
    /// The sequences, \[steps, batch, features\].
    pub const X: usize = 0;
    /// What the input is multiplied by, \[directions, gates · hidden, features\].
    pub const W: usize = 1;
    /// What the hidden state is multiplied by, \[directions, gates · hidden, hidden\].
    pub const R: usize = 2;
    /// The biases of both products, \[directions, 2 · gates · hidden\].
    pub const B: usize = 3;
    /// How long the sequences are, \[batch\].
    pub const LENGTHS: usize = 4;
    /// The first hidden states, \[directions, batch, hidden\].
    pub const H: usize = 5;
    /// The first cell states, \[directions, batch, hidden\]; of LSTM.
    pub const C: usize = 6;
    /// The peepholes, \[directions, 3 · hidden\]; of LSTM.
    pub const P: usize = 7;
    /// How many there are at most.
    pub const COUNT: usize = 8;
}
