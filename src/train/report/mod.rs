//! What is seen of a run: TensorBoard's event files, a report to read, and a sweep's figure.
//!
//! [`TensorBoard`] is told of events while they happen; [`write()`] and [`compare`] read what `metrics.jsonl` says of them. All curves
//! are drawn by one module, `chart`, as SVG in the page.

mod axis;
mod chart;
mod downsample;
mod figure;
mod history;
mod html;
mod machine;
mod number;
mod panels;
mod tensorboard;

pub use figure::{AlphaPoint, AlphaSeries, Reference, alpha_figure};
pub use html::{About, compare, write};
pub use machine::Machine;
pub use tensorboard::TensorBoard;
