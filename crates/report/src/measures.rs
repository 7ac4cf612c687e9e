//! The measures of a training step. Each is declared here and nowhere else: its name, how it is averaged over an epoch,
//! how it is written, and where it is shown. What holds them, reads and writes them, averages and draws them follows
//! from this table; where a value comes from is `gnp-train`'s.

use crate::number::{number, percent};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A measure of a step.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Its name in `metrics.jsonl` and, behind `train/` or `epoch/`, in TensorBoard.
    pub name: &'static str,
    /// How it is averaged over an epoch.
    pub average: Average,
    /// How it is written.
    pub unit: Unit,
    /// Its row in the tables of a run, if it has one.
    pub row: Option<Row>,
    /// Its curve in the charts of a report, if it has one.
    pub curve: Option<Curve>,
    /// Its place on the console, if it has one.
    pub console: Option<Console>,
    /// Its column in the table of a sweep, if it has one.
    pub sweep: Option<SweepColumn>,
    /// What it follows from where it was not logged.
    derived: fn(&Measures) -> Option<f32>,
    /// Whether every step tells it.
    is_always: bool,
    get: fn(&Measures) -> Option<f32>,
    set: fn(&mut Measures, Option<f32>),
}

/// How a measure is averaged over the steps of an epoch that tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// By what the loss of each step weighs.
    OverLosses,
    /// Over the labels that count.
    OverLabels,
    /// Over the samples.
    OverSamples,
    /// Not at all, as it is chosen and not measured: the last step's.
    Last,
}

/// How a measure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As a number.
    Number,
    /// As a percentage of 1.
    Percent,
}

/// A row of the tables that stand for an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Rows stand in the order of their places.
    pub place: u8,
    /// What it is called.
    pub name: &'static str,
}

/// A curve in a chart.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    /// Charts, and the curves in one, stand in the order of their places.
    pub place: u8,
    /// The title of the chart of a run that it is in, beside others.
    pub chart: &'static str,
    /// What it is called there.
    pub name: &'static str,
    /// The title of the chart that it has for itself in a comparison of runs.
    pub alone: &'static str,
    /// Whether the epochs' means are drawn alone, since single batches say little.
    pub means_alone: bool,
}

/// A measure on the console: in the line that moves, and in the table of epochs.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// Measures stand in the order of their places.
    pub place: u8,
    /// What it is called.
    pub name: &'static str,
    /// The width of its column in the table of epochs; where it has none it is in the line alone.
    pub width: Option<usize>,
    /// The decimals that it is written with, where they are always as many.
    pub decimals: Option<usize>,
}

/// A column of the table of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct SweepColumn {
    /// Columns stand in the order of their places.
    pub place: u8,
    /// What it is called.
    pub name: &'static str,
    /// Whether its standard error is shown.
    pub with_error: bool,
}

/// What a measure is where nothing else is said.
const PLAIN: Measure = Measure {
    name: "",
    average: Average::OverSamples,
    unit: Unit::Number,
    row: None,
    curve: None,
    console: None,
    sweep: None,
    derived: |_| None,
    is_always: false,
    get: |_| None,
    set: |_, _| {},
};

const fn row(place: u8, name: &'static str) -> Option<Row> {
    Some(Row { place, name })
}

const fn curve(place: u8, chart: &'static str, name: &'static str, alone: &'static str) -> Option<Curve> {
    Some(Curve { place, chart, name, alone, means_alone: false })
}

const fn console(place: u8, name: &'static str, width: usize) -> Option<Console> {
    Some(Console { place, name, width: Some(width), decimals: None })
}

const fn sweep(place: u8, name: &'static str) -> Option<SweepColumn> {
    Some(SweepColumn { place, name, with_error: false })
}

/// Makes [`Measures`] and [`MEASURES`] of the table.
macro_rules! measures {
    ($($(#[$doc:meta])* $name:ident: $type:ty { $($field:ident: $value:expr),* $(,)? })*) => {
        /// The numbers of one training step, or their means over an epoch. What is not known is left out: the engine
        /// does not return it, or it has no meaning for the loss.
        ///
        /// All are taken at θ, the parameters before the step, except where they say otherwise.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct Measures {
            $($(#[$doc])* pub $name: $type,)*
        }

        /// All measures, in the order in which `metrics.jsonl` has them.
        pub const MEASURES: [Measure; [$(stringify!($name)),*].len()] = [
            $(Measure {
                name: stringify!($name),
                is_always: <$type as Value>::IS_ALWAYS,
                get: |measures| measures.$name.known(),
                set: |measures, value| measures.$name = Value::of(value),
                $($field: $value,)*
                ..PLAIN
            },)*
        ];
    };
}

measures! {
    /// L(θ), as the training graph returns it.
    loss: f32 {
        average: Average::OverLosses,
        row: row(2, "training loss"),
        curve: curve(1, "Loss", "train", "Training loss"),
        console: Some(Console { place: 1, name: "loss", width: Some(8), decimals: Some(4) }),
        sweep: sweep(4, "training loss"),
    }
    /// L(θ + ε), the loss at the perturbed parameters; L(θ) in a plain step.
    loss_perturbed: Option<f32> {
        average: Average::OverLosses,
    }
    /// L(θ + ε) − L(θ).
    sharpness: Option<f32> {
        average: Average::OverLosses,
        derived: |measures| Some(measures.loss_perturbed? - measures.loss),
        row: row(5, "sharpness"),
        curve: curve(5, "Sharpness L(θ + ε) − L(θ)", "sharpness", "Sharpness L(θ + ε) − L(θ)"),
        console: console(6, "sharpness", 9),
        sweep: sweep(2, "sharpness"),
    }
    /// ‖∇L(θ)‖, the true gradient's norm over all trainable parameters.
    grad_norm: Option<f32> {
        row: row(3, "‖∇L(θ)‖"),
        curve: curve(3, "Gradient norm", "‖∇L(θ)‖", "Gradient norm ‖∇L(θ)‖"),
        console: console(5, "‖∇L‖", 8),
        sweep: Some(SweepColumn { place: 1, name: "‖∇L‖", with_error: true }),
    }
    /// The norm of the mix (1 − α)·∇L(θ) + α·∇L(θ + ε), before clipping.
    mixed_grad_norm: Option<f32> {
        row: row(4, "mixed gradient norm"),
        curve: curve(4, "Gradient norm", "mixed", "Norm of the mixed gradient"),
    }
    /// ‖θ‖ over all trainable parameters.
    param_norm: Option<f32> {
        row: row(6, "‖θ‖"),
        curve: curve(6, "Parameter norm ‖θ‖", "‖θ‖", "Parameter norm ‖θ‖"),
    }
    /// The fraction of the labels that count which are wrong, from 0 to 1.
    error: Option<f32> {
        average: Average::OverLabels,
        unit: Unit::Percent,
        row: row(1, "training error"),
        curve: Some(Curve {
            place: 2,
            chart: "Error (%)",
            name: "train",
            alone: "Training error (%)",
            means_alone: true,
        }),
        console: console(2, "error", 8),
        sweep: sweep(3, "training error"),
    }
    /// The fraction of them whose class is not among the five largest logits, from 0 to 1; of a class a sample, with
    /// six classes or more.
    top5_error: Option<f32> {
        average: Average::OverLabels,
        unit: Unit::Percent,
    }
    /// The learning rate that the step was taken with.
    learning_rate: f32 {
        average: Average::Last,
        row: row(7, "learning rate"),
        curve: curve(7, "Learning rate", "learning rate", "Learning rate"),
        console: Some(Console { place: 7, name: "lr", width: None, decimals: None }),
    }
    /// The radius of the perturbation, after its warm-up; 0 in a plain step.
    r: Option<f32> {
        average: Average::Last,
        curve: curve(8, "Radius r", "r", "Radius r"),
    }
    /// The weight of the perturbed gradient, after its warm-up.
    alpha: Option<f32> {
        average: Average::Last,
        curve: curve(9, "Weight α", "α", "Weight α"),
    }
    /// What the loss was multiplied with for its gradient, in float16.
    loss_scale: Option<f32> {
        average: Average::Last,
        row: row(8, "loss scale"),
        curve: curve(10, "Loss scale", "loss scale", "Loss scale"),
    }
    /// The fraction of the steps that were not taken, as a gradient was not finite at that scale; 0 or 1 of one step.
    skipped: Option<f32> {
        unit: Unit::Percent,
        row: row(9, "skipped steps"),
    }
}

/// What a measure is held in.
trait Value {
    /// Whether every step tells it.
    const IS_ALWAYS: bool;

    fn known(self) -> Option<f32>;

    /// NaN where it must be known and is not.
    fn of(value: Option<f32>) -> Self;
}

impl Value for f32 {
    const IS_ALWAYS: bool = true;

    fn known(self) -> Option<f32> {
        Some(self)
    }

    fn of(value: Option<f32>) -> Self {
        value.unwrap_or(Self::NAN)
    }
}

impl Value for Option<f32> {
    const IS_ALWAYS: bool = false;

    fn known(self) -> Option<f32> {
        self
    }

    fn of(value: Option<f32>) -> Self {
        value
    }
}

impl Measures {
    /// Each number, as it was logged, under the name that it has in `metrics.jsonl`.
    pub fn named(&self) -> [(&'static str, Option<f32>); MEASURES.len()] {
        MEASURES.map(|measure| (measure.name, measure.logged(self)))
    }
}

impl Measure {
    /// The measure of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        MEASURES.iter().find(|measure| measure.name == name)
    }

    /// Its value among `measures`, as it was logged.
    pub fn logged(&self, measures: &Measures) -> Option<f32> {
        (self.get)(measures)
    }

    /// Its value among `measures`: logged, or what follows from others.
    pub fn of(&self, measures: &Measures) -> Option<f32> {
        self.logged(measures).or_else(|| (self.derived)(measures))
    }

    /// Sets its value among `measures`.
    pub fn set(&self, measures: &mut Measures, value: Option<f32>) {
        (self.set)(measures, value);
    }

    /// A value of it, as people read it.
    pub fn text(&self, value: f32) -> String {
        match self.unit {
            Unit::Number => number(value.into()),
            Unit::Percent => percent(value.into()),
        }
    }

    /// A value of it on the console.
    pub fn console_text(&self, value: f32) -> String {
        match self.console.and_then(|console| console.decimals) {
            Some(decimals) => format!("{value:.decimals$}"),
            None => self.text(value),
        }
    }
}

/// The measures that have what `part` takes of them, in the order of its places.
pub fn shown<T>(part: fn(&Measure) -> Option<T>, place: fn(&T) -> u8) -> Vec<(&'static Measure, T)> {
    let mut shown: Vec<_> = MEASURES.iter().filter_map(|measure| Some((measure, part(measure)?))).collect();
    shown.sort_by_key(|(_, part)| place(part));
    shown
}

/// A flat object; what is not known is left out.
impl Serialize for Measures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.named() {
            if let Some(value) = value {
                map.serialize_entry(name, &value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Measures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfNames;

        impl<'de> Visitor<'de> for OfNames {
            type Value = Measures;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the measures of a step")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Measures, A::Error> {
                let (mut measures, mut missing) = (Measures::default(), MEASURES.map(|measure| measure.is_always));
                while let Some(name) = map.next_key::<String>()? {
                    let Some(index) = MEASURES.iter().position(|measure| measure.name == name) else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    // JSON has no number for what is none, and `null` is written in its place.
                    MEASURES[index].set(&mut measures, map.next_value()?);
                    missing[index] = false;
                }
                match missing.iter().position(|is_missing| *is_missing) {
                    Some(index) => Err(A::Error::missing_field(MEASURES[index].name)),
                    None => Ok(measures),
                }
            }
        }

        deserializer.deserialize_map(OfNames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharpness_is_the_difference_of_the_losses() {
        let sharpness = |measures: &Measures| Measure::named("sharpness").unwrap().of(measures);
        let measures = Measures { loss: 1.0, loss_perturbed: Some(1.5), ..Measures::default() };
        assert_eq!(sharpness(&measures), Some(0.5));
        assert_eq!(sharpness(&Measures { sharpness: Some(2.0), ..measures }), Some(2.0));
        assert_eq!(sharpness(&Measures { loss: 1.0, ..Measures::default() }), None);
    }

    #[test]
    fn places_are_of_one_measure_each() {
        fn check(mut places: Vec<u8>) {
            let all = places.len();
            places.dedup();
            assert_eq!(places.len(), all);
        }
        check(shown(|measure| measure.row, |row| row.place).iter().map(|(_, row)| row.place).collect());
        check(shown(|measure| measure.curve, |curve| curve.place).iter().map(|(_, curve)| curve.place).collect());
        check(shown(|measure| measure.console, |console| console.place).iter().map(|(_, c)| c.place).collect());
        check(shown(|measure| measure.sweep, |column| column.place).iter().map(|(_, c)| c.place).collect());
    }
}
