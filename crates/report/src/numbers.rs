//! The numbers that stand for an epoch, in every table.

use super::history::sharpness;
use super::number::{number, percent};
use crate::EpochReport;

/// A number of an epoch, written as people read it; none where it is not known.
pub type Number = fn(&EpochReport) -> Option<String>;

/// What a table says of an epoch: names and numbers, the most important first.
pub const NUMBERS: [(&str, Number); 11] = [
    ("test error", |epoch| epoch.test_error.map(percent)),
    ("test error, top 5", |epoch| epoch.test_top5_error.map(percent)),
    ("test loss", |epoch| epoch.test_loss.map(number)),
    ("training error", |epoch| epoch.measures.error.map(|error| percent(error.into()))),
    ("training loss", |epoch| Some(number(epoch.measures.loss.into()))),
    ("‖∇L(θ)‖", |epoch| epoch.measures.grad_norm.map(|norm| number(norm.into()))),
    ("mixed gradient norm", |epoch| epoch.measures.mixed_grad_norm.map(|norm| number(norm.into()))),
    ("sharpness", |epoch| sharpness(&epoch.measures).map(|difference| number(difference.into()))),
    ("‖θ‖", |epoch| epoch.measures.param_norm.map(|norm| number(norm.into()))),
    ("learning rate", |epoch| Some(number(epoch.measures.learning_rate.into()))),
    ("samples/s", |epoch| (epoch.seconds > 0.0).then(|| number(epoch.examples_per_second.round()))),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measures;

    #[test]
    fn only_what_is_known_has_a_number() {
        let measures = Measures { loss: 0.5, loss_perturbed: Some(0.75), learning_rate: 0.1, ..Measures::default() };
        let epoch = EpochReport { measures, test_error: Some(0.0625), ..EpochReport::default() };
        let known = NUMBERS.iter().filter_map(|(name, value)| Some((*name, value(&epoch)?)));
        let wanted =
            [("test error", "6.25 %"), ("training loss", "0.5"), ("sharpness", "0.25"), ("learning rate", "0.1")];
        assert_eq!(known.collect::<Vec<_>>(), wanted.map(|(name, value)| (name, value.to_owned())));
    }
}
