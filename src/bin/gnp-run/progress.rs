//! What is seen of a run while it goes on: a bar where standard error is a terminal, and a line an epoch.

use comfy_table::{Table, presets};
use gnp::train::{EpochReport, Event, StepReport};
use gnp::{Error, Result, cli};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::Path;

/// Shows a run's events.
pub struct Display {
    bar: ProgressBar,
    epochs: u64,
    quiet: bool,
    has_test: bool,
    last: Option<EpochReport>,
    /// The epoch with the smallest test error.
    best: Option<EpochReport>,
}

impl Display {
    /// A display for a run of `epochs` epochs and `steps` steps that goes on after `done` steps.
    pub fn new(epochs: u64, steps: u64, done: u64, has_test: bool, quiet: bool) -> Result<Self> {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  {msg}  {eta} left")
            .map_err(|error| Error::internal(format!("a faulty template: {error}")))?;
        let bar = ProgressBar::with_draw_target(Some(steps), target).with_style(style).with_position(done);
        bar.reset_eta();
        Ok(Self { bar, epochs, quiet, has_test, last: None, best: None })
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Step(report) => self.step(report),
            Event::Epoch(report) => self.epoch(report),
            _ => {}
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The run's result as a table, `what` it wrote and into which file.
    pub fn summary(&self, what: &str, file: &Path) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if let Some(last) = &self.last {
            table.add_row(["training loss".to_owned(), format!("{:.4}", last.measures.loss)]);
            if let Some(loss) = last.test_loss {
                table.add_row(["test loss".to_owned(), format!("{loss:.4}")]);
            }
            if let Some(error) = last.test_error {
                table.add_row(["test error".to_owned(), format!("{:.2} %", 100.0 * error)]);
            }
        }
        if let Some((epoch, error)) =
            self.best.as_ref().and_then(|best| best.test_error.map(|error| (best.epoch, error)))
        {
            table.add_row(["best test error".to_owned(), format!("{:.2} % (epoch {epoch})", 100.0 * error)]);
        }
        table.add_row([what.to_owned(), file.display().to_string()]);
        format!("{table}\n")
    }

    fn step(&self, report: &StepReport) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_prefix(format!("epoch {}/{}", report.epoch, self.epochs));
        self.bar.set_message(format!("loss {:.4}  {:.0} samples/s", report.measures.loss, report.examples_per_second));
        self.bar.set_position(report.step);
    }

    fn epoch(&mut self, report: &EpochReport) {
        let best = self.best.as_ref().and_then(|best| best.test_error);
        if best.is_none_or(|best| report.test_error.is_some_and(|error| error < best)) {
            self.best = Some(report.clone());
        }
        self.last = Some(report.clone());
        if !self.quiet {
            let line = format!("epoch {}/{}  {}\n", report.epoch, self.epochs, describe(report, self.has_test));
            // A closed standard output must not end the training.
            let _ = self.bar.suspend(|| cli::print(line));
        }
    }
}

fn describe(report: &EpochReport, has_test: bool) -> String {
    let test = match (report.test_loss, report.test_error) {
        (Some(loss), Some(error)) => format!("  test loss {loss:.4}  test error {:.2} %", 100.0 * error),
        (Some(loss), None) => {
            format!("  test loss {loss:.4}  test error unknown: the eval model returns only the loss")
        }
        (None, _) if has_test => "  test loss unknown".to_owned(),
        (None, _) => String::new(),
    };
    format!(
        "loss {:.4}{test}  {:.1} s  {:.0} samples/s",
        report.measures.loss, report.seconds, report.examples_per_second
    )
}
