//! What is seen of a run: TensorBoard's event files, a report to read, and a sweep's figure.

mod downsample;
mod machine;
mod tensorboard;

pub use machine::Machine;
pub use tensorboard::TensorBoard;
