//! What is seen of a run: TensorBoard's event files, a report to read, and a sweep's figure.

mod axis;
mod chart;
mod downsample;
mod figure;
mod machine;
mod number;
mod tensorboard;

pub use figure::{AlphaPoint, AlphaSeries, Reference, alpha_figure};
pub use machine::Machine;
pub use tensorboard::TensorBoard;
