//! What each step of a run is taken with.

use super::fit::Config;
use super::schedule::LearningRate;
use super::span::Span;
use gnp_base::contract::WARMUP_STEPS;
use gnp_base::{Error, Result};
use gnp_engine::Rates;
use gnp_step::penalty::Warmup;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The stream of the draws of hybrid training ("hybrid"), which is none of those of the data.
const HYBRID: u64 = 0x6879_6272_6964;

/// The warm-up of the penalty in a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrWarmup {
    /// What grows.
    pub what: Warmup,
    /// For how long.
    pub length: Span,
    /// Whether the graph does it itself, by its input [`WARMUP_STEPS`]; else r and α are fed as they are after each
    /// step.
    pub in_graph: bool,
}

/// What one step is taken with.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What is fed.
    pub rates: Rates,
    /// The radius that the step really uses, after its warm-up and 0 in a plain step of hybrid training; none where the
    /// graph has no input for it.
    pub r: Option<f32>,
    /// The weight of the perturbed gradient, after its warm-up; as for r.
    pub alpha: Option<f32>,
}

/// What the steps of a run are taken with: a function of the run's choices and the number of the step, so that a run
/// goes on as if it had never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    rate: LearningRate,
    r: Option<f32>,
    alpha: Option<f32>,
    others: BTreeMap<String, f32>,
    /// The probability of a step with the penalty, and the seed of the draws.
    hybrid: Option<(f64, u64)>,
    /// The warm-up, and its length in steps.
    warmup: Option<(GrWarmup, f32)>,
}

impl Plan {
    /// The plan of a run with these choices, whose epochs have `steps_per_epoch` steps.
    ///
    /// # Errors
    /// Where a number is out of its range, or the graph lacks the input that a choice needs: hybrid training that for
    /// r, a warm-up that the graph does not do that for what grows.
    pub fn new(config: &Config, steps_per_epoch: u64) -> Result<Self> {
        let Config { r, alpha, hybrid, gr_warmup, .. } = *config;
        let rate =
            LearningRate::new(config.learning_rate, &config.schedule, config.warmup, config.epochs, steps_per_epoch)?;
        if let Some(share) = hybrid {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::input(format!("--hybrid must be a probability from 0 to 1, not {share}")));
            }
            if r.is_none() {
                return Err(lacks_input("hybrid training", "r"));
            }
        }
        let mut others = config.others.clone();
        let warmup = gr_warmup.filter(|warmup| warmup.what != Warmup::None).map(|warmup| {
            if !warmup.in_graph {
                match warmup.what {
                    Warmup::R | Warmup::Zero if r.is_none() => return Err(lacks_input("this warm-up", "r")),
                    Warmup::Lambda if alpha.is_none() => return Err(lacks_input("this warm-up", "alpha")),
                    _ => {}
                }
            }
            let steps = match (others.get(WARMUP_STEPS), warmup.length.steps(steps_per_epoch)) {
                (Some(&given), _) => given,
                (None, 0) => {
                    return Err(Error::input(format!(
                        "the warm-up of the penalty has no length: {} of {steps_per_epoch} steps each",
                        warmup.length
                    ))
                    .help("give it with --gr-warmup-steps or --gr-warmup-epochs"));
                }
                (None, steps) => steps as f32,
            };
            if warmup.in_graph {
                others.insert(WARMUP_STEPS.to_owned(), steps);
            }
            Ok((warmup, steps))
        });
        let warmup = warmup.transpose()?;
        Ok(Self { rate, r, alpha, others, hybrid: hybrid.map(|share| (share, config.seed)), warmup })
    }

    /// What step `step`, counted from 0, is taken with.
    pub fn at(&self, step: u64) -> Planned {
        let is_plain = self.hybrid.is_some_and(|(share, seed)| !draws_penalty(share, seed, step));
        let (r, alpha) = (self.r.map(|r| if is_plain { 0.0 } else { r }), self.alpha);
        let used = self.warmup.map_or((r, alpha), |(warmup, steps)| {
            let (warm_r, warm_alpha) = warmup.what.at(step, steps, r.unwrap_or_default(), alpha.unwrap_or_default());
            (r.and(Some(warm_r)), alpha.and(Some(warm_alpha)))
        });
        let fed = if self.warmup.is_some_and(|(warmup, _)| warmup.in_graph) { (r, alpha) } else { used };
        let rates = Rates { learning_rate: self.rate.at(step), r: fed.0, alpha: fed.1, others: self.others.clone() };
        Planned { rates, r: used.0, alpha: used.1 }
    }

    /// What a step with the penalty as it is after its warm-up is fed, be there one in the run or not.
    pub fn whole_penalty(&self) -> Rates {
        let mut others = self.others.clone();
        if let Some((GrWarmup { in_graph: true, .. }, _)) = self.warmup {
            others.insert(WARMUP_STEPS.to_owned(), 0.0);
        }
        Rates { learning_rate: self.rate.at(0), r: self.r, alpha: self.alpha, others }
    }
}

/// Whether a step of hybrid training is one with the penalty: so with probability `share`, each for itself.
fn draws_penalty(share: f64, seed: u64, step: u64) -> bool {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(HYBRID);
    // A draw takes one u64, two words.
    generator.set_word_pos(2 * u128::from(step));
    generator.random_bool(share)
}

fn lacks_input(what: &str, name: &str) -> Error {
    Error::input(format!("{what} needs a graph with an input for {name}"))
        .help(format!("rewrite the original artifacts with gnp-rewrite --expose {name}; a step model has one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schedule;
    use proptest::prelude::*;

    fn config() -> Config {
        Config {
            epochs: 10,
            batch_size: 8,
            drop_last: false,
            learning_rate: 0.1,
            schedule: Schedule::Linear { final_share: 0.0 },
            warmup: Span::default(),
            seed: 5,
            r: Some(0.5),
            alpha: Some(0.75),
            hybrid: None,
            gr_warmup: None,
            others: BTreeMap::new(),
        }
    }

    fn warmup(what: Warmup, in_graph: bool) -> Option<GrWarmup> {
        Some(GrWarmup { what, length: Span::Epochs(0.5), in_graph })
    }

    #[test]
    fn without_more_every_step_has_the_same_numbers() {
        let plan = Plan::new(&config(), 8).unwrap();
        let Planned { rates, r, alpha } = plan.at(40);
        assert_eq!(rates, Rates { r: Some(0.5), alpha: Some(0.75), ..Rates::new(0.05) });
        assert_eq!((r, alpha), (rates.r, rates.alpha));
        let unexposed = Plan::new(&Config { r: None, alpha: None, ..config() }, 8).unwrap().at(0);
        assert_eq!(unexposed, Planned { rates: Rates::new(0.1), r: None, alpha: None });
    }

    #[test]
    fn a_warm_up_of_the_run_is_fed_and_one_of_the_graph_is_told_its_length() {
        for (what, r, alpha) in [(Warmup::R, 0.25, 0.75), (Warmup::Lambda, 0.5, 0.375), (Warmup::Zero, 0.0, 0.75)] {
            for in_graph in [false, true] {
                let plan = Plan::new(&Config { gr_warmup: warmup(what, in_graph), ..config() }, 8).unwrap();
                let middle = plan.at(2);
                assert_eq!((middle.r, middle.alpha), (Some(r), Some(alpha)), "{what:?}");
                let Rates { r: fed_r, alpha: fed_alpha, others, .. } = middle.rates;
                let full = (Some(0.5), Some(0.75));
                assert_eq!((fed_r, fed_alpha), if in_graph { full } else { (Some(r), Some(alpha)) }, "{what:?}");
                assert_eq!(others.get(WARMUP_STEPS).copied(), in_graph.then_some(4.0));
                let end = plan.at(4);
                assert_eq!((end.r, end.alpha), full);
                let whole = plan.whole_penalty();
                assert_eq!((whole.r, whole.alpha), full);
                assert_eq!(whole.others.get(WARMUP_STEPS).copied(), in_graph.then_some(0.0));
            }
        }
    }

    #[test]
    fn the_length_that_is_fed_by_name_goes_before_all_others() {
        let others = BTreeMap::from([(WARMUP_STEPS.to_owned(), 8.0)]);
        let plan = Plan::new(&Config { gr_warmup: warmup(Warmup::R, true), others, ..config() }, 8).unwrap();
        assert_eq!(plan.at(2).r, Some(0.125));
        assert_eq!(plan.at(2).rates.others[WARMUP_STEPS], 8.0);
    }

    #[test]
    fn what_the_graph_lacks_is_refused() {
        let message = |config| {
            let error = Plan::new(&config, 8).unwrap_err();
            (error.to_string(), error.help_text().unwrap_or_default().to_owned())
        };
        let (said, help) = message(Config { hybrid: Some(0.5), r: None, ..config() });
        assert_eq!(said, "hybrid training needs a graph with an input for r");
        assert!(help.contains("--expose r"), "{help}");
        let (_, help) = message(Config { gr_warmup: warmup(Warmup::Lambda, false), alpha: None, ..config() });
        assert!(help.contains("--expose alpha"), "{help}");
        assert!(Plan::new(&Config { gr_warmup: warmup(Warmup::R, true), r: None, ..config() }, 8).is_ok());
        let (said, _) = message(Config { hybrid: Some(1.5), ..config() });
        assert_eq!(said, "--hybrid must be a probability from 0 to 1, not 1.5");
        let none = GrWarmup { what: Warmup::R, length: Span::Epochs(0.01), in_graph: true };
        let (said, _) = message(Config { gr_warmup: Some(none), ..config() });
        assert_eq!(said, "the warm-up of the penalty has no length: 0.01ep of 8 steps each");
    }

    #[test]
    fn hybrid_steps_are_as_frequent_as_is_asked_for() {
        for share in [0.0, 0.25, 0.5, 0.9, 1.0] {
            let plan = Plan::new(&Config { hybrid: Some(share), ..config() }, 8).unwrap();
            let steps = 4_000;
            let with = (0..steps).filter(|&step| plan.at(step).r == Some(0.5)).count() as f64;
            // Five standard deviations of a binomial distribution.
            let deviation = (steps as f64 * share * (1.0 - share)).sqrt();
            assert!((with - steps as f64 * share).abs() <= 5.0 * deviation, "{share}: {with} of {steps}");
            let plain = (0..steps).map(|step| plan.at(step)).find(|planned| planned.r == Some(0.0));
            assert_eq!(plain.is_some(), share < 1.0);
            assert!(plain.is_none_or(|planned| planned.rates.r == Some(0.0) && planned.alpha == Some(0.75)));
        }
    }

    #[test]
    fn draws_are_independent_of_one_another() {
        let draws = |seed: u64| -> Vec<bool> { (0..4_000).map(|step| draws_penalty(0.5, seed, step)).collect() };
        let (own, other) = (draws(1), draws(2));
        assert_eq!(own, draws(1));
        let same = own.iter().zip(&other).filter(|(a, b)| a == b).count();
        let repeated = own.windows(2).filter(|pair| pair[0] == pair[1]).count();
        for count in [same, repeated] {
            assert!((1_840..2_160).contains(&count), "{count} of 4,000");
        }
    }

    proptest! {
        #[test]
        fn a_plain_step_is_plain_with_any_warm_up(step: u32, hybrid in 0f64..=1.0, in_graph: bool) {
            for what in [Warmup::None, Warmup::R, Warmup::Lambda, Warmup::Zero] {
                let config = Config { hybrid: Some(hybrid), gr_warmup: warmup(what, in_graph), ..config() };
                let planned = Plan::new(&config, 8).unwrap().at(step.into());
                if !draws_penalty(hybrid, config.seed, step.into()) {
                    prop_assert_eq!((planned.r, planned.rates.r), (Some(0.0), Some(0.0)));
                }
            }
        }
    }
}
