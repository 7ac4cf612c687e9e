//! What is seen of a run: TensorBoard's event files, a report to read, and a sweep's figure.
//!
//! [`TensorBoard`] is told of events while they happen; a [`History`] is what `metrics.jsonl` says of them, which
//! [`write()`] and [`compare`] show. All curves are drawn by one module, `chart`, as SVG in the page. [`NUMBERS`] is
//! what every table says of an epoch, [`number()`], [`percent`] and [`duration`] how it is written.

mod axis;
mod chart;
mod downsample;
mod figure;
mod history;
mod html;
mod machine;
mod number;
mod numbers;
mod panels;
mod tensorboard;

pub use figure::{AlphaPoint, AlphaSeries, Reference, alpha_figure};
pub use history::{History, sharpness};
pub use html::{About, compare, write};
pub use machine::Machine;
pub use number::{duration, number, percent};
pub use numbers::{NUMBERS, Number};
pub use tensorboard::TensorBoard;
