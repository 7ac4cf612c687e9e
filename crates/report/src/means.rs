//! The means of an epoch.

use crate::measures::{Average, MEASURES};
use crate::{Counts, Mean, Measures};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The means of all [`Measures`] over the steps so far, each over the steps that tell it: of losses by what they weigh,
/// of errors over the labels that count, of norms over the samples. Of what is chosen (learning rate, r and α) there
/// are no means: they are those of the last step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Means {
    means: [Mean; MEASURES.len()],
    last: Measures,
    samples: u64,
}

impl Means {
    /// Adds the measures of a step of which `counts` were taken.
    pub fn add(&mut self, step: &Measures, counts: &Counts) {
        for (mean, measure) in self.means.iter_mut().zip(&MEASURES) {
            let weight = match measure.average {
                Average::OverLosses => counts.weight,
                Average::OverLabels => counts.labels,
                Average::OverSamples => counts.samples as f64,
                Average::Last => {
                    measure.set(&mut self.last, measure.logged(step));
                    continue;
                }
            };
            if let Some(value) = measure.logged(step) {
                mean.add(value, weight);
            }
        }
        self.samples += counts.samples as u64;
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The means; the loss of nothing is not a number.
    pub fn measures(&self) -> Measures {
        let mut measures = self.last;
        for (mean, measure) in self.means.iter().zip(&MEASURES) {
            if measure.average != Average::Last {
                measure.set(&mut measures, mean.value().map(|value| value as f32));
            }
        }
        measures
    }
}

/// The sums by their names, to the bit.
impl Serialize for Means {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (mean, measure) in self.means.iter().zip(&MEASURES) {
            match measure.average {
                Average::Last => map.serialize_entry(measure.name, &measure.logged(&self.last))?,
                _ => map.serialize_entry(measure.name, mean)?,
            }
        }
        map.serialize_entry("samples", &self.samples)?;
        map.end()
    }
}

/// A measure that is not there has no mean yet: an earlier release did not know it.
impl<'de> Deserialize<'de> for Means {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfNames;

        impl<'de> Visitor<'de> for OfNames {
            type Value = Means;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the means of an epoch")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Means, A::Error> {
                let mut means = Means::default();
                while let Some(name) = map.next_key::<String>()? {
                    match MEASURES.iter().position(|measure| measure.name == name) {
                        Some(index) if MEASURES[index].average == Average::Last => {
                            MEASURES[index].set(&mut means.last, map.next_value()?);
                        }
                        Some(index) => means.means[index] = map.next_value()?,
                        None if name == "samples" => means.samples = map.next_value()?,
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(means)
            }
        }

        deserializer.deserialize_map(OfNames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measures(loss: f32, error: Option<f32>, r: Option<f32>) -> Measures {
        Measures { loss, error, r, learning_rate: loss, ..Measures::default() }
    }

    fn samples(count: usize) -> Counts {
        Counts { samples: count, weight: count as f64, labels: count as f64, ..Counts::default() }
    }

    #[test]
    fn samples_weigh_alike_and_what_a_step_does_not_tell_is_left_out() {
        let mut means = Means::default();
        means.add(&measures(1.0, Some(0.5), Some(0.1)), &samples(64));
        means.add(&measures(4.0, None, None), &samples(32));
        assert_eq!(means.measures(), Measures { learning_rate: 4.0, ..measures(2.0, Some(0.5), None) });
        assert_eq!(means.samples(), 96);
        assert!(Means::default().measures().loss.is_nan());
    }

    #[test]
    fn labels_that_do_not_count_weigh_nothing() {
        let mut means = Means::default();
        let step = |loss, error, grad_norm| Measures { loss, error, grad_norm: Some(grad_norm), ..Measures::default() };
        means.add(&step(1.0, Some(0.25), 3.0), &Counts { weight: 8.0, labels: 4.0, ..samples(1) });
        means.add(&step(4.0, Some(1.0), 5.0), &Counts { weight: 4.0, labels: 12.0, ..samples(1) });
        means.add(&step(0.0, None, 1.0), &Counts { weight: 0.0, labels: 0.0, ..samples(1) });
        let found = means.measures();
        assert_eq!((found.loss, found.error, found.grad_norm), (2.0, Some(0.8125), Some(3.0)));
        assert_eq!(means.samples(), 3);
    }

    #[test]
    fn what_is_no_number_survives_a_checkpoint() {
        let mut means = Means::default();
        means.add(&Measures { grad_norm: Some(f32::INFINITY), ..Measures::default() }, &samples(1));
        let back: Means = serde_json::from_str(&serde_json::to_string(&means).unwrap()).unwrap();
        assert!(back.measures().grad_norm.is_some_and(f32::is_nan));
    }

    #[test]
    fn a_checkpoint_of_a_release_with_other_measures_is_read() {
        let old = r#"{"loss":{"sum":6.0,"weight":3.0},"forgotten":{"sum":1.0,"weight":1.0},"learning_rate":0.5,"r":null,"samples":3}"#;
        let means: Means = serde_json::from_str(old).unwrap();
        assert_eq!(means.measures(), Measures { loss: 2.0, learning_rate: 0.5, ..Measures::default() });
        assert_eq!(means.samples(), 3);
    }

    proptest! {
        #[test]
        fn a_checkpoint_holds_them_to_the_bit(
            steps in prop::collection::vec((0f32..10.0, prop::option::of(0f32..1.0), 1usize..1000), 0..50),
        ) {
            let mut means = Means::default();
            for (loss, error, count) in steps {
                means.add(&measures(loss, error, error), &samples(count));
            }
            let back: Means = serde_json::from_slice(&serde_json::to_vec_pretty(&means).unwrap()).unwrap();
            prop_assert_eq!(back, means);
        }
    }
}
