//! The choices of a training, all of them made, and what each of its steps is taken with.

use crate::{Fingerprint, LearningRate, Span, TrainingSettings};
use gnp_base::contract::WARMUP_STEPS;
use gnp_base::{Error, Result};
use gnp_data::Feed;
use gnp_engine::Rates;
use gnp_step::penalty::Warmup;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::BTreeMap;

/// The stream of the draws of hybrid training ("hybrid"), which is none of those of the data.
const HYBRID: u64 = 0x6879_6272_6964;

/// What a graph steps with where nothing else is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnRates {
    /// The peak of the learning rate.
    pub learning_rate: Option<f32>,
    /// The perturbation's radius, where the graph has an input for it.
    pub r: Option<f32>,
    /// The mixing weight, likewise.
    pub alpha: Option<f32>,
    /// The warm-up of the penalty that the graph does itself, by its input [`WARMUP_STEPS`]. Where there is none r and
    /// α are fed as they are after each step.
    pub warmup: Option<OwnWarmup>,
}

/// The warm-up of the penalty that a graph does itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnWarmup {
    /// What grows.
    pub what: Warmup,
    /// For how long, where nothing else is given.
    pub length: Option<Span>,
}

/// The warm-up of the penalty in a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct PenaltyWarmup {
    what: Warmup,
    length: Span,
    /// Whether the graph does it itself.
    in_graph: bool,
}

impl PenaltyWarmup {
    fn of(training: &TrainingSettings, own: &OwnRates) -> Result<Option<Self>> {
        let in_graph = own.warmup.is_some();
        if in_graph && training.penalty_warmup != Warmup::None {
            return Err(Error::input("the penalty of a step model is warmed up by the model itself")
                .help("say what grows where the step model is made"));
        }
        let OwnWarmup { what, length } =
            own.warmup.unwrap_or(OwnWarmup { what: training.penalty_warmup, length: None });
        let given = training.penalty_warmup_length;
        if what == Warmup::None {
            return match given {
                None => Ok(None),
                Some(_) => Err(Error::input("--gr-warmup-epochs is of no use: the penalty is not warmed up")
                    .help("say with --gr-warmup what grows, to gnp-rewrite where the model is a step model already")),
            };
        }
        let length = given.or(length).ok_or_else(|| {
            Error::input("the warm-up of the penalty has no length")
                .help("give it with --gr-warmup-steps or --gr-warmup-epochs")
        })?;
        Ok(Some(Self { what, length, in_graph }))
    }
}

/// A training whose choices are all made: by its settings, and where these leave something open by the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    training: TrainingSettings,
    seed: u64,
    learning_rate: f32,
    r: Option<f32>,
    alpha: Option<f32>,
    warmup: Option<PenaltyWarmup>,
}

impl Plan {
    /// The plan of `training` with a graph that has rates of its `own`; `seed` decides all that is drawn.
    ///
    /// # Errors
    /// Where the penalty is to be warmed up for no length, or a length is given and nothing grows.
    pub fn new(training: &TrainingSettings, own: &OwnRates, seed: u64) -> Result<Self> {
        Ok(Self {
            seed,
            learning_rate: training.learning_rate.or(own.learning_rate).unwrap_or(0.0),
            r: training.r.or(own.r),
            alpha: training.alpha.or(own.alpha),
            warmup: PenaltyWarmup::of(training, own)?,
            training: training.clone(),
        })
    }

    /// The settings that it was made of.
    pub fn training(&self) -> &TrainingSettings {
        &self.training
    }

    /// What decides all that is drawn.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The peak of the learning rate.
    pub fn learning_rate(&self) -> f32 {
        self.learning_rate
    }

    /// The radius r and the weight α, where both are known: artifacts may hold them as constants.
    pub fn penalty(&self) -> Option<(f32, f32)> {
        self.r.zip(self.alpha)
    }

    /// What a run with this plan depends on. The number of epochs may change where the learning rate does not depend on
    /// it, and rates where the run has diverged; what is kept, and when the run ends, may change from one resumption to
    /// the next.
    pub fn fingerprint(&self) -> Fingerprint {
        let TrainingSettings { epochs, batch_size, drop_last, schedule, warmup, hybrid, others, checkpoints, .. } =
            &self.training;
        let fingerprint = Fingerprint::default()
            .with("batch size", *batch_size)
            .with("seed", self.seed)
            .with_rate("learning rate", self.learning_rate)
            .with_rate("schedule", serde_json::json!(schedule))
            .with_rate("warm-up", warmup.to_string())
            .with_rate("r", self.r)
            .with_rate("alpha", self.alpha)
            .with_rate("hybrid", *hybrid)
            .with_rate("warm-up of the penalty", serde_json::json!(self.warmup));
        let fingerprint = if *drop_last { fingerprint.with("drop last", true) } else { fingerprint };
        let fingerprint = others.iter().fold(fingerprint, |f, (name, &value)| f.with_rate(name, value));
        let fingerprint =
            if schedule.depends_on_length() { fingerprint.with_rate("epochs", *epochs) } else { fingerprint };
        checkpoints.add_to(fingerprint)
    }

    /// How many steps an epoch of the training data has.
    ///
    /// # Errors
    /// Where the batch size does not fit the graph, or there is no whole batch and none other is taken.
    pub fn steps_per_epoch(&self, train: &Feed<'_>) -> Result<u64> {
        let TrainingSettings { batch_size, drop_last, .. } = self.training;
        let (count, samples) = (train.batch_count(batch_size)?, train.data().len());
        if drop_last && samples < batch_size {
            return Err(Error::input(format!(
                "there are {samples} training samples, fewer than a batch of {batch_size}, and one that is not whole is left out"
            ))
            .help("choose a smaller --batch-size, or leave --drop-last out"));
        }
        Ok(if drop_last { samples / batch_size } else { count } as u64)
    }

    /// How many samples an epoch's last batch has.
    ///
    /// # Errors
    /// As [`Plan::steps_per_epoch`].
    pub fn last_batch(&self, train: &Feed<'_>) -> Result<usize> {
        let size = self.training.batch_size;
        let before = (self.steps_per_epoch(train)? as usize).saturating_sub(1) * size;
        Ok((train.data().len() - before).min(size))
    }

    /// What its steps are taken with, where an epoch has `steps_per_epoch` of them.
    ///
    /// # Errors
    /// Where a number is out of its range, or the graph lacks the input that a choice needs: hybrid training that for
    /// r, a warm-up that the graph does not do that for what grows.
    pub fn steps(&self, steps_per_epoch: u64) -> Result<Steps> {
        let (training, r, alpha) = (&self.training, self.r, self.alpha);
        let rate = LearningRate::new(
            self.learning_rate,
            &training.schedule,
            training.warmup,
            training.epochs,
            steps_per_epoch,
        )?;
        if let Some(share) = training.hybrid {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::input(format!("--hybrid must be a probability from 0 to 1, not {share}")));
            }
            if r.is_none() {
                return Err(lacks_input("hybrid training", "r"));
            }
        }
        let mut others = training.others.clone();
        let warmup = match self.warmup {
            None => None,
            Some(warmup) => Some((warmup, self.warmup_steps(&warmup, steps_per_epoch)?)),
        };
        if let Some((PenaltyWarmup { in_graph: true, .. }, steps)) = warmup {
            others.insert(WARMUP_STEPS.to_owned(), steps);
        }
        Ok(Steps { rate, r, alpha, others, hybrid: training.hybrid.map(|share| (share, self.seed)), warmup })
    }

    /// The length of the penalty's warm-up in steps.
    fn warmup_steps(&self, warmup: &PenaltyWarmup, steps_per_epoch: u64) -> Result<f32> {
        if !warmup.in_graph {
            match warmup.what {
                Warmup::R | Warmup::Zero if self.r.is_none() => return Err(lacks_input("this warm-up", "r")),
                Warmup::Lambda if self.alpha.is_none() => return Err(lacks_input("this warm-up", "alpha")),
                _ => {}
            }
        }
        match (self.training.others.get(WARMUP_STEPS), warmup.length.steps(steps_per_epoch)) {
            (Some(&given), _) => Ok(given),
            (None, 0) => Err(Error::input(format!(
                "the warm-up of the penalty has no length: {} of {steps_per_epoch} steps each",
                warmup.length
            ))
            .help("give it with --gr-warmup-steps or --gr-warmup-epochs")),
            (None, steps) => Ok(steps as f32),
        }
    }
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
pub struct Steps {
    rate: LearningRate,
    r: Option<f32>,
    alpha: Option<f32>,
    others: BTreeMap<String, f32>,
    /// The probability of a step with the penalty, and the seed of the draws.
    hybrid: Option<(f64, u64)>,
    /// The warm-up, and its length in steps.
    warmup: Option<(PenaltyWarmup, f32)>,
}

impl Steps {
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
        if let Some((PenaltyWarmup { in_graph: true, .. }, _)) = self.warmup {
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

    const SEED: u64 = 5;

    fn training() -> TrainingSettings {
        TrainingSettings {
            epochs: 10,
            batch_size: 8,
            learning_rate: Some(0.1),
            schedule: Schedule::Linear { final_share: 0.0 },
            r: Some(0.5),
            alpha: Some(0.75),
            ..TrainingSettings::default()
        }
    }

    /// The training with a warm-up of half an epoch that the graph does, or the run.
    fn warmed(what: Warmup, in_graph: bool, training: TrainingSettings) -> Result<Steps> {
        let length = Some(Span::Epochs(0.5));
        let own = OwnRates { warmup: in_graph.then_some(OwnWarmup { what, length }), ..OwnRates::default() };
        let (penalty_warmup, penalty_warmup_length) = if in_graph { (Warmup::None, None) } else { (what, length) };
        Plan::new(&TrainingSettings { penalty_warmup, penalty_warmup_length, ..training }, &own, SEED)?.steps(8)
    }

    fn steps(training: TrainingSettings) -> Result<Steps> {
        Plan::new(&training, &OwnRates::default(), SEED)?.steps(8)
    }

    #[test]
    fn without_more_every_step_has_the_same_numbers() {
        let plan = steps(training()).unwrap();
        let Planned { rates, r, alpha } = plan.at(40);
        assert_eq!(rates, Rates { r: Some(0.5), alpha: Some(0.75), ..Rates::new(0.05) });
        assert_eq!((r, alpha), (rates.r, rates.alpha));
        let unexposed = steps(TrainingSettings { r: None, alpha: None, ..training() }).unwrap().at(0);
        assert_eq!(unexposed, Planned { rates: Rates::new(0.1), r: None, alpha: None });
    }

    #[test]
    fn a_warm_up_of_the_run_is_fed_and_one_of_the_graph_is_told_its_length() {
        for (what, r, alpha) in [(Warmup::R, 0.25, 0.75), (Warmup::Lambda, 0.5, 0.375), (Warmup::Zero, 0.0, 0.75)] {
            for in_graph in [false, true] {
                let plan = warmed(what, in_graph, training()).unwrap();
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
        let plan = warmed(Warmup::R, true, TrainingSettings { others, ..training() }).unwrap();
        assert_eq!(plan.at(2).r, Some(0.125));
        assert_eq!(plan.at(2).rates.others[WARMUP_STEPS], 8.0);
    }

    #[test]
    fn what_the_graph_lacks_is_refused() {
        let message = |steps: Result<Steps>| {
            let error = steps.unwrap_err();
            (error.to_string(), error.help_text().unwrap_or_default().to_owned())
        };
        let (said, help) = message(steps(TrainingSettings { hybrid: Some(0.5), r: None, ..training() }));
        assert_eq!(said, "hybrid training needs a graph with an input for r");
        assert!(help.contains("--expose r"), "{help}");
        let (_, help) = message(warmed(Warmup::Lambda, false, TrainingSettings { alpha: None, ..training() }));
        assert!(help.contains("--expose alpha"), "{help}");
        assert!(warmed(Warmup::R, true, TrainingSettings { r: None, ..training() }).is_ok());
        let (said, _) = message(steps(TrainingSettings { hybrid: Some(1.5), ..training() }));
        assert_eq!(said, "--hybrid must be a probability from 0 to 1, not 1.5");
        let short = TrainingSettings { penalty_warmup_length: Some(Span::Epochs(0.01)), ..training() };
        let own = OwnWarmup { what: Warmup::R, length: None };
        let own = OwnRates { warmup: Some(own), ..OwnRates::default() };
        let (said, _) = message(Plan::new(&short, &own, SEED).unwrap().steps(8));
        assert_eq!(said, "the warm-up of the penalty has no length: 0.01ep of 8 steps each");
    }

    #[test]
    fn a_model_that_warms_the_penalty_up_itself_is_told_nothing_else() {
        let own = OwnWarmup { what: Warmup::R, length: Some(Span::Steps(3)) };
        let own = OwnRates { warmup: Some(own), ..OwnRates::default() };
        let other = TrainingSettings { penalty_warmup: Warmup::Lambda, ..training() };
        assert!(Plan::new(&other, &own, SEED).unwrap_err().to_string().contains("by the model itself"));
        assert!(Plan::new(&training(), &own, SEED).is_ok());
    }

    #[test]
    fn what_is_given_takes_precedence_over_what_the_graph_has() {
        let own = OwnRates { learning_rate: Some(1.0), r: Some(2.0), alpha: Some(0.25), warmup: None };
        let given = TrainingSettings { alpha: None, ..training() };
        let plan = Plan::new(&given, &own, SEED).unwrap();
        assert_eq!((plan.learning_rate(), plan.penalty()), (0.1, Some((0.5, 0.25))));
        let plan = Plan::new(&TrainingSettings::default(), &own, SEED).unwrap();
        assert_eq!((plan.learning_rate(), plan.penalty()), (1.0, Some((2.0, 0.25))));
    }

    #[test]
    fn hybrid_steps_are_as_frequent_as_is_asked_for() {
        for share in [0.0, 0.25, 0.5, 0.9, 1.0] {
            let plan = steps(TrainingSettings { hybrid: Some(share), ..training() }).unwrap();
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
                let training = TrainingSettings { hybrid: Some(hybrid), ..training() };
                // What is not warmed up has no length.
                let steps = if what == Warmup::None { steps(training) } else { warmed(what, in_graph, training) };
                let planned = steps.unwrap().at(step.into());
                if !draws_penalty(hybrid, SEED, step.into()) {
                    prop_assert_eq!((planned.r, planned.rates.r), (Some(0.0), Some(0.0)));
                }
            }
        }
    }
}
