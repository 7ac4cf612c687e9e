//! What is seen of a run: TensorBoard's event files, a report to read, and a sweep's figure.
//!
//! What is measured of a step is one table, [`MEASURES`]: a measure is added there, and where its value comes from.
//! [`TensorBoard`] is told of events while they happen; a [`History`] is what `metrics.jsonl` says of them, which
//! [`write()`] and [`compare`] show. All curves are drawn by one module, `chart`, as SVG in the page. [`numbers`] is
//! what every table says of an epoch, [`number()`], [`percent`] and [`duration`] how it is written.
//!
//! ```
//! use gnp_report::{number, percent};
//! assert_eq!((number(0.00123), percent(0.0778)), ("0.00123".to_owned(), "7.78 %".to_owned()));
//! ```
#![forbid(unsafe_code)]

mod axis;
mod chart;
mod counts;
mod downsample;
mod figure;
mod history;
mod html;
mod machine;
mod means;
mod measures;
mod metrics;
mod number;
mod numbers;
mod panels;
mod scores;
mod tensorboard;

pub use counts::Counts;
pub use figure::{AlphaPoint, AlphaSeries, Reference, alpha_figure};
pub use history::History;
pub use html::{About, compare, write};
pub use machine::Machine;
pub use means::Means;
pub use measures::{Average, Console, Curve, MEASURES, Measure, Measures, Row, SweepColumn, Unit, shown};
pub use metrics::{EpochReport, Event, Mean, StepReport};
pub use number::{duration, number, percent};
pub use numbers::{Number, numbers};
pub use scores::{Score, Scores};
pub use tensorboard::TensorBoard;

/// The file of a run's folder with an [`Event`] a line.
pub const METRICS: &str = "metrics.jsonl";
/// The file of a run's folder with its choices.
pub const CONFIG: &str = "config.toml";
/// The file of a run's folder that shows its course to a reader.
pub const REPORT: &str = "report.html";
/// What the names of TensorBoard's files begin with.
pub const EVENTS: &str = "events.out.tfevents.";
