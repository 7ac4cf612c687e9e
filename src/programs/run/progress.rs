//! What is seen of a run while it goes on: a line that moves where standard error is a terminal, and a table of epochs.

use crate::report::{EpochReport, Event, Measure, Score, StepReport, duration, number, numbers, percent, shown};
use crate::{Error, Result, cli};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::Path;

const TEMPLATE: &str = "{prefix} {bar:20.cyan/dim} {percent:>3} %  {wide_msg} {eta} left";

/// Shows a run's events.
pub struct Display {
    bar: ProgressBar,
    epochs: u64,
    quiet: bool,
    has_test: bool,
    /// Means over the epoch so far.
    means: Means,
    /// The columns of the table of epochs, decided by the first.
    columns: Vec<Column>,
    last: Option<EpochReport>,
    /// The first epoch with the smallest test error, or test loss where errors are not known.
    best: Option<EpochReport>,
}

impl Display {
    /// A display for a run of `epochs` epochs and `steps` steps that goes on after `done` steps.
    pub fn new(epochs: u64, steps: u64, done: u64, has_test: bool, quiet: bool) -> Result<Self> {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template(TEMPLATE)
            .map_err(|error| Error::internal(format!("a faulty template: {error}")))?
            .progress_chars("━╸─");
        let bar = ProgressBar::with_draw_target(Some(steps), target).with_style(style).with_position(done);
        bar.reset_eta();
        let means = Means::default();
        Ok(Self { bar, epochs, quiet, has_test, means, columns: Vec::new(), last: None, best: None })
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

    /// The run's last epoch beside its best, and `what` it wrote into which file.
    pub fn summary(&self, what: &str, file: &Path) -> String {
        let table = self.last.as_ref().map(|last| result(last, self.best.as_ref()));
        table.unwrap_or_default() + &format!("\n{what}: {}\n", file.display())
    }

    fn step(&mut self, report: &StepReport) {
        if self.bar.is_hidden() {
            return;
        }
        self.means.add(report);
        self.bar.set_prefix(format!("epoch {}/{}", report.epoch, self.epochs));
        self.bar.set_message(self.means.line());
        self.bar.set_position(report.step);
    }

    fn epoch(&mut self, report: &EpochReport) {
        self.means = Means::default();
        let so_far = self.best.as_ref().and_then(EpochReport::score);
        let is_best = report.score().is_some_and(|score| so_far.is_none_or(|best| score < best));
        if is_best {
            self.best = Some(report.clone());
        }
        self.last = Some(report.clone());
        if self.quiet {
            return;
        }
        let mut text = String::new();
        if self.columns.is_empty() {
            self.columns = columns();
            self.columns.retain(|column| column.is_shown(report, self.has_test));
            text = heading(&self.columns, self.epochs);
        }
        text += &row(&self.columns, report, self.epochs, is_best);
        // A closed standard output must not end the training.
        let _ = self.bar.suspend(|| cli::print(text));
    }
}

/// Means over an epoch so far: what its row will say.
#[derive(Default)]
struct Means {
    means: crate::report::Means,
    seconds: f64,
}

impl Means {
    fn add(&mut self, report: &StepReport) {
        self.means.add(&report.measures, &report.counts);
        self.seconds += report.seconds;
    }

    /// The most important first: what does not fit into the terminal is cut off.
    fn line(&self) -> String {
        let means = self.means.measures();
        let speed = (self.means.samples() as f64 / self.seconds).round();
        let told = shown(|measure| measure.console, |console| console.place).into_iter().filter_map(|(measure, at)| {
            Some((at.place, format!("{} {}", at.name, measure.console_text(measure.of(&means)?))))
        });
        let mut parts: Vec<(u8, String)> = told.chain([(SPEED, format!("{} samples/s", number(speed)))]).collect();
        parts.sort_by_key(|(place, _)| *place);
        parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join("  ")
    }
}

/// Where the speed stands in the line, among the places of measures.
const SPEED: u8 = 3;

/// A column of the table of epochs.
struct Column {
    place: u8,
    head: &'static str,
    width: usize,
    value: Source,
    /// Whether it is of the test set, which may not be evaluated after each epoch.
    is_test: bool,
}

/// Where the values of a column come from.
enum Source {
    Measure(&'static Measure),
    Epoch(fn(&EpochReport) -> Option<String>),
    Score(Score),
}

impl Column {
    fn value(&self, epoch: &EpochReport) -> Option<String> {
        match self.value {
            Source::Measure(measure) => measure.of(&epoch.measures).map(|value| measure.console_text(value)),
            Source::Epoch(value) => value(epoch),
            Source::Score(score) => epoch.test_scores.get(&score).copied().map(number),
        }
    }

    /// Whether a table has it whose first epoch is `first`.
    fn is_shown(&self, first: &EpochReport, has_test: bool) -> bool {
        self.value(first).is_some() || (self.is_test && has_test && first.test_loss.is_none())
    }
}

/// The columns of measures, and those of evaluations, speed and time among them.
fn columns() -> Vec<Column> {
    let of_epoch =
        |place, head, width, value, is_test| Column { place, head, width, value: Source::Epoch(value), is_test };
    let others = [
        of_epoch(3, "test loss", 9, |epoch| epoch.test_loss.map(|loss| format!("{loss:.4}")), true),
        of_epoch(4, "test error", 10, |epoch| epoch.test_error.map(percent), true),
        of_epoch(u8::MAX - 1, "samples/s", 9, |epoch| Some(number(epoch.examples_per_second.round())), false),
        of_epoch(u8::MAX, "time", 12, |epoch| Some(duration(epoch.seconds)), false),
    ];
    let measures = shown(|measure| measure.console, |console| console.place).into_iter();
    let measures = measures.filter_map(|(measure, at)| {
        let (place, head, width) = (at.place, at.name, at.width?);
        Some(Column { place, head, width, value: Source::Measure(measure), is_test: false })
    });
    // What stands in the place of an error where there is no right and wrong.
    let scores = [(Score::Mae, "test MAE"), (Score::R2, "test R²"), (Score::Perplexity, "perplexity")];
    let scores =
        scores.map(|(score, head)| Column { place: 4, head, width: 10, value: Source::Score(score), is_test: false });
    let mut columns: Vec<Column> = measures.chain(others).chain(scores).collect();
    columns.sort_by_key(|column| column.place);
    columns
}

fn heading(columns: &[Column], epochs: u64) -> String {
    let line = columns.iter().fold(format!("{:>1$}", "epoch", count_width(epochs)), |line, column| {
        line + &format!("  {:>1$}", column.head, column.width)
    });
    format!("{line}\n{}\n", "─".repeat(line.chars().count()))
}

/// An epoch; a star marks the best so far.
fn row(columns: &[Column], report: &EpochReport, epochs: u64, is_best: bool) -> String {
    let epoch = format!("{}/{epochs}", report.epoch);
    let line = columns.iter().fold(format!("{epoch:>0$}", count_width(epochs)), |line, column| {
        let value = column.value(report).unwrap_or_else(|| "–".into());
        line + &format!("  {value:>0$}", column.width)
    });
    line + if is_best { " *\n" } else { "\n" }
}

/// The width of `epochs/epochs`, or of the heading.
fn count_width(epochs: u64) -> usize {
    (2 * epochs.to_string().len() + 1).max("epoch".len())
}

fn result(last: &EpochReport, best: Option<&EpochReport>) -> String {
    let columns: Vec<(String, &EpochReport)> = [("last", Some(last)), ("best", best)]
        .into_iter()
        .filter_map(|(name, epoch)| epoch.map(|epoch| (format!("{name} (epoch {})", epoch.epoch), epoch)))
        .collect();
    let mut table = cli::table([""].into_iter().chain(columns.iter().map(|(head, _)| head.as_str())));
    for number in numbers() {
        let values: Vec<_> = columns.iter().map(|(_, epoch)| number.of(epoch)).collect();
        if values.iter().any(Option::is_some) {
            let values = values.into_iter().map(|value| value.unwrap_or_else(|| "–".into()));
            table.add_row([number.name.to_owned()].into_iter().chain(values));
        }
    }
    format!("\n{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Counts, Measures};

    fn epoch(epoch: u64, test_error: Option<f64>) -> EpochReport {
        let measures = Measures { loss: 0.5, grad_norm: Some(1.25), learning_rate: 0.1, ..Measures::default() };
        EpochReport { epoch, measures, test_loss: Some(0.75), test_error, seconds: 2.0, ..EpochReport::default() }
    }

    #[test]
    fn columns_are_aligned_and_only_what_is_known_has_one() {
        let first = epoch(1, Some(0.0625));
        let columns: Vec<_> = columns().into_iter().filter(|column| column.is_shown(&first, true)).collect();
        let table =
            heading(&columns, 10) + &row(&columns, &first, 10, true) + &row(&columns, &epoch(10, None), 10, false);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "epoch      loss  test loss  test error      ‖∇L‖  samples/s          time");
        assert_eq!(lines[2], " 1/10    0.5000     0.7500      6.25 %      1.25          0        2.00 s *");
        assert_eq!(lines[3], "10/10    0.5000     0.7500           –      1.25          0        2.00 s");
    }

    #[test]
    fn test_columns_wait_for_the_first_evaluation() {
        let first = EpochReport { test_loss: None, ..epoch(1, None) };
        let heads = |has_test| {
            let shown = columns().into_iter().filter(|column| column.is_shown(&first, has_test));
            shown.map(|column| column.head).filter(|head| head.starts_with("test")).collect::<Vec<_>>()
        };
        assert_eq!(heads(true), ["test loss", "test error"]);
        assert!(heads(false).is_empty());
    }

    #[test]
    fn the_line_has_the_means_of_the_epoch_so_far() {
        let step = |loss, seconds, samples: usize| StepReport {
            measures: Measures { loss, learning_rate: 0.1, ..Measures::default() },
            seconds,
            counts: Counts { samples, weight: samples as f64, ..Counts::default() },
            ..StepReport::default()
        };
        let mut means = Means::default();
        means.add(&step(1.0, 1.0, 64));
        means.add(&step(4.0, 1.0, 32));
        assert_eq!(means.line(), "loss 2.0000  48 samples/s  lr 0.1");
    }

    #[test]
    fn the_result_has_the_last_epoch_beside_the_best() {
        let text = result(&epoch(3, Some(0.25)), Some(&epoch(2, Some(0.125))));
        let row = text.lines().find(|line| line.contains("test error")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["test", "error", "25.00", "%", "12.50", "%"]);
        assert!(text.contains("last (epoch 3)") && text.contains("best (epoch 2)"), "{text}");
        assert!(!result(&epoch(3, None), None).contains("test error"));
    }
}
