//! How samples are made ready for the graph.

use super::{Normalization, Normalize};
use crate::augment::Augmentation;
use gnp_base::{Error, Result};
use gnp_tensor::{ElementType, Port};
use serde_json::Value;
use std::collections::BTreeMap;
use std::num::NonZero;

/// What is done to samples on their way from the data to the graph. By default bytes are divided by 255, and nothing
/// else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preparation {
    /// What samples for a float input are divided by; where none is given, by 255 if they are bytes.
    pub divisor: Option<f32>,
    /// What is done after the division.
    pub normalize: Normalize,
    /// The sides of images in files, in pixels, where the graph leaves them open.
    pub image_size: Option<usize>,
    /// How samples of different lengths become one tensor.
    pub lengths: Lengths,
    /// What is done to training samples at random.
    pub augmentation: Augmentation,
    /// The threads that make batches; where none is given, one for arrays that are fed as they are, else one a core.
    pub workers: Option<NonZero<usize>>,
}

/// How samples of different lengths become one tensor: each batch is as long as its longest sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Lengths {
    /// What the samples of an input are filled up with, by its name; 0 where none is given, and the number that does
    /// not count for labels.
    pub pads: BTreeMap<String, f64>,
    /// Longer samples are cut to so many items.
    pub cut: Option<usize>,
    /// The length of a batch is a multiple of this.
    pub multiple: NonZero<usize>,
    /// Whether batches are made of samples of about the same length.
    pub group: bool,
}

impl Default for Lengths {
    fn default() -> Self {
        // Few different lengths, and ones that matrix products like.
        const MULTIPLE: NonZero<usize> = NonZero::new(8).expect("eight is not zero");
        Self { pads: BTreeMap::new(), cut: None, multiple: MULTIPLE, group: false }
    }
}

impl Lengths {
    fn choices(&self) -> Vec<(&'static str, Value)> {
        let Self { pads, cut, multiple, group } = self;
        let others = Self::default();
        let mut choices = Vec::new();
        choices.extend((!pads.is_empty()).then(|| ("padding", serde_json::json!(pads))));
        choices.extend(cut.map(|cut| ("greatest length", cut.into())));
        choices.extend((*multiple != others.multiple).then(|| ("multiple of lengths", multiple.get().into())));
        choices.extend(group.then(|| ("grouped by length", true.into())));
        choices
    }
}

impl Preparation {
    /// Samples that are divided by `divisor`, and nothing else.
    pub fn divide(divisor: f32) -> Self {
        Self { divisor: Some(divisor), ..Self::default() }
    }

    /// This preparation without what takes a look at the data or is random: enough to see whether data and graph fit.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self { normalize: Normalize::None, augmentation: Augmentation::default(), ..self.clone() }
    }

    /// What samples of so many `channels` are normalised by: as those of the training set (`like`) where they are of
    /// another, else as it says; `of_data` takes the statistics of what a divisor makes of them.
    ///
    /// # Errors
    /// Where the numbers do not fit the channels; as `of_data`.
    pub(super) fn normalization(
        &self,
        are_bytes: bool,
        channels: usize,
        like: Option<&Normalization>,
        of_data: impl FnOnce(f32) -> Result<Normalization>,
    ) -> Result<Normalization> {
        let divisor = self.divisor.unwrap_or(if are_bytes { 255.0 } else { 1.0 });
        match (&self.normalize, like) {
            // By the divisor of bytes for bytes, whatever the training samples are.
            (Normalize::None, _) => Ok(Normalization::divide(divisor)),
            (_, Some(like)) => Ok(like.clone()),
            (Normalize::By { mean, std }, None) => Normalization::by(divisor, mean, std, channels),
            (Normalize::Data, None) => of_data(divisor),
        }
    }

    /// What of it is for `port`, one of several inputs: what divides and normalises is meant for samples, and neither
    /// for whole numbers nor for what only describes them, such as a mask.
    pub(super) fn beside(&self, port: &Port, describes: bool) -> Self {
        let is_float = port.element == ElementType::F32;
        match is_float && !describes {
            true => self.clone(),
            false => Self { divisor: is_float.then_some(1.0), ..self.plain() },
        }
    }

    /// What the course of a run depends on, by name; on the number of workers it does not.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn choices(&self) -> Result<Vec<(&'static str, Value)>> {
        let mut choices = vec![("divisor", self.divisor.into())];
        match &self.normalize {
            Normalize::None => {}
            Normalize::Data => choices.push(("normalization", "data".into())),
            Normalize::By { mean, std } => {
                choices.extend([("mean", mean.clone().into()), ("standard deviation", std.clone().into())]);
            }
        }
        choices.extend(self.image_size.map(|size| ("image size", size.into())));
        choices.extend(self.lengths.choices());
        if !self.augmentation.is_none() {
            let augmentation = serde_json::to_value(&self.augmentation)
                .map_err(|error| Error::internal(format!("an augmentation is no JSON: {error}")))?;
            choices.push(("augmentation", augmentation));
        }
        Ok(choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_with_the_same_preparation_and_any_workers() {
        let choices = |preparation: &Preparation| preparation.choices().unwrap();
        let plain = Preparation::default();
        assert_eq!(choices(&plain), [("divisor", Value::Null)]);
        let threaded = Preparation { workers: NonZero::new(7), ..plain.clone() };
        assert_eq!(choices(&threaded), choices(&plain));
        let cutout = Augmentation { cutout: Some(8), ..Augmentation::default() };
        for other in [
            Preparation { normalize: Normalize::Data, ..plain.clone() },
            Preparation { normalize: Normalize::By { mean: vec![0.5], std: vec![] }, ..plain.clone() },
            Preparation { image_size: Some(32), ..plain.clone() },
            Preparation { augmentation: cutout, ..plain.clone() },
            Preparation { lengths: Lengths { group: true, ..Lengths::default() }, ..plain.clone() },
            Preparation { lengths: Lengths { cut: Some(9), ..Lengths::default() }, ..plain.clone() },
        ] {
            assert_ne!(choices(&other), choices(&plain), "{other:?}");
        }
    }
}
