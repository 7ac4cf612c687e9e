//! The numbers that stand for an epoch, in every table.

use crate::measures::{Measure, shown};
use crate::number::{number, percent};
use crate::{EpochReport, Score};
use strum::VariantArray;

/// A number of an epoch, written as people read it.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// What it is called.
    pub name: &'static str,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Measure(&'static Measure),
    Epoch(fn(&EpochReport) -> Option<String>),
    Score(Score),
}

impl Number {
    /// The number of `epoch`; none where it is not known.
    pub fn of(&self, epoch: &EpochReport) -> Option<String> {
        match self.source {
            Source::Measure(measure) => measure.of(&epoch.measures).map(|value| measure.text(value)),
            Source::Epoch(value) => value(epoch),
            Source::Score(score) => epoch.test_scores.get(&score).copied().map(number),
        }
    }
}

/// What a table says of an epoch: evaluations, the measures of its steps, and its speed.
pub fn numbers() -> Vec<Number> {
    let of_epoch = |name, value| Number { name, source: Source::Epoch(value) };
    let tests = [
        of_epoch("test error", |epoch| epoch.test_error.map(percent)),
        of_epoch("test error, top 5", |epoch| epoch.test_top5_error.map(percent)),
        of_epoch("test loss", |epoch| epoch.test_loss.map(number)),
    ];
    let scores = Score::VARIANTS.iter().map(|&score| Number { name: score.title(), source: Source::Score(score) });
    let measures = shown(|measure| measure.row, |row| row.place);
    let measures =
        measures.into_iter().map(|(measure, row)| Number { name: row.name, source: Source::Measure(measure) });
    let speed = of_epoch("samples/s", |epoch| (epoch.seconds > 0.0).then(|| number(epoch.examples_per_second.round())));
    tests.into_iter().chain(scores).chain(measures).chain([speed]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measures;

    #[test]
    fn only_what_is_known_has_a_number() {
        let measures = Measures { loss: 0.5, loss_perturbed: Some(0.75), learning_rate: 0.1, ..Measures::default() };
        let epoch = EpochReport { measures, test_error: Some(0.0625), ..EpochReport::default() };
        let known = numbers().into_iter().filter_map(|number| Some((number.name, number.of(&epoch)?)));
        let wanted =
            [("test error", "6.25 %"), ("training loss", "0.5"), ("sharpness", "0.25"), ("learning rate", "0.1")];
        assert_eq!(known.collect::<Vec<_>>(), wanted.map(|(name, value)| (name, value.to_owned())));
    }
}
