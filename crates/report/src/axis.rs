//! Where numbers stand along an axis, and which are written beside it.

use super::number::{grouped, scientific};

/// Spans of more than two decades are logarithmic.
const DECADES: f64 = 2.0;

/// Within so many decades 2 and 5 times a power of ten have ticks, too.
const CLOSE: f64 = 2.7;

/// Beyond so many decades not each has a tick.
const MOST_TICKS: i32 = 7;

/// An axis: its ends, its kind, and its ticks.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// Values and what is written beside them, in ascending order.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis that holds all finite `values`: logarithmic where they are positive and span more than two decades,
    /// otherwise linear and from 0 on where 0 is near. Its ends are round. Without any value it goes from 0 to 1.
    pub fn fitting(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = extent(values);
        if low > 0.0 && high.log10() - low.log10() > DECADES {
            return Self::logarithmic(low, high);
        }
        Self::linear(low, high)
    }

    /// As [`Axis::fitting`], but linear: for what rises from 0 by itself.
    pub fn linear_fitting(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = extent(values);
        Self::linear(low, high)
    }

    fn linear(low: f64, high: f64) -> Self {
        let (low, high) = match (low, high) {
            (0.0, 0.0) => (0.0, 1.0),
            // What does not change: from 0 to a little beyond it.
            _ if low == high => (low.min(0.0) * 1.2, high.max(0.0) * 1.2),
            _ if low > 0.0 && low < 0.4 * high => (0.0, high),
            _ => (low, high),
        };
        let step = step(high - low, 5.0);
        // A little off, so that an end that is a tick does not gain another for its rounding.
        let low = (low / step + 1e-9).floor() * step;
        let high = (high / step - 1e-9).ceil() * step;
        Self { low, high, log: false, ticks: ticks(low, high, step) }
    }

    /// A linear axis from `low` to `high` exactly, with ticks at whole numbers only if `whole`.
    pub fn exact(low: f64, high: f64, whole: bool) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = step(high - low, 6.0);
        let step = if whole { step.ceil().max(1.0) } else { step };
        Self { low, high, log: false, ticks: ticks((low / step - 1e-9).ceil() * step, high, step) }
    }

    fn logarithmic(low: f64, high: f64) -> Self {
        let (first, last) = ((low.log10() + 1e-9).floor() as i32, (high.log10() - 1e-9).ceil() as i32);
        let round = (first..=last).flat_map(|exponent| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(exponent)));
        let round: Vec<f64> = round.collect();
        let low = round.iter().copied().rfind(|&end| end <= low).unwrap_or(low);
        let high = round.iter().copied().find(|&end| end >= high).unwrap_or(high);
        let stride = (last - first + MOST_TICKS - 1) / MOST_TICKS;
        // Each third of the round numbers is a power of ten.
        let stride = if high.log10() - low.log10() <= CLOSE { 1 } else { 3 * stride as usize };
        let values = round.into_iter().step_by(stride).filter(|value| (low..=high).contains(value));
        let is_plain = (-3..=3).contains(&first) && (-3..=3).contains(&last);
        let label = |value: f64| if is_plain { grouped(&value.to_string()) } else { scientific(value, 1) };
        Self { low, high, log: true, ticks: values.map(|value| (value, label(value))).collect() }
    }

    /// Where `value` stands, from 0 at the low end to 1 at the high end.
    pub fn position(&self, value: f64) -> f64 {
        if self.log {
            (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

fn extent(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let values = values.into_iter().filter(|value| value.is_finite());
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// The step among 1, 2 and 5 times powers of ten that divides `range` into about `count` parts.
fn step(range: f64, count: f64) -> f64 {
    let raw = (range / count).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(raw.log10().floor());
    let factor = match raw / power {
        ..1.5 => 1.0,
        1.5..3.5 => 2.0,
        3.5..7.5 => 5.0,
        _ => 10.0,
    };
    factor * power
}

fn ticks(low: f64, high: f64, step: f64) -> Vec<(f64, String)> {
    let count = ((high - low) / step + 1e-6).floor() as usize;
    let values: Vec<f64> = (0..=count).map(|index| low + index as f64 * step).collect();
    let decimals = (-step.log10() - 1e-9).ceil().max(0.0) as usize;
    let is_plain = decimals <= 4 && values.iter().all(|value| value.abs() < 1e7);
    let label = |value: f64| {
        if value.abs() < step / 2.0 {
            "0".into()
        } else if is_plain {
            grouped(&format!("{value:.decimals$}"))
        } else {
            let decade = |value: f64| (value.log10() + 1e-9).floor() as i32;
            scientific(value, (decade(value.abs()) - decade(step) + 1).max(1) as usize)
        }
    };
    values.into_iter().map(|value| (value, label(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(&Axis::fitting([0.03, 2.6])), ["0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0"][..].to_vec());
        assert_eq!(labels(&Axis::fitting([9.0, 9.9])), ["9.0", "9.2", "9.4", "9.6", "9.8", "10.0"]);
        assert_eq!(
            labels(&Axis::fitting([-0.02, 0.05])),
            ["−0.02", "−0.01", "0", "0.01", "0.02", "0.03", "0.04", "0.05"]
        );
        assert_eq!(labels(&Axis::fitting([0.0, 2.5e-5])), ["0", "5·10⁻⁶", "10⁻⁵", "1.5·10⁻⁵", "2·10⁻⁵", "2.5·10⁻⁵"]);
        assert_eq!(labels(&Axis::exact(0.0, 3.0, true)), ["0", "1", "2", "3"]);
        assert_eq!(labels(&Axis::exact(0.0, 1.0, false)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    }

    #[test]
    fn more_than_two_decades_are_logarithmic() {
        let axis = Axis::fitting([0.02, 2.5]);
        assert!(axis.log);
        assert_eq!(labels(&axis), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]);
        // From 0.02 to 5.
        assert!((axis.position(0.1) - 5_f64.ln() / 250_f64.ln()).abs() < 1e-12);
        assert_eq!(labels(&Axis::fitting([0.003, 30.0])), ["0.01", "0.1", "1", "10"]);
        assert_eq!(labels(&Axis::fitting([1e-6, 1.0]))[..2], ["10⁻⁶", "10⁻⁵"]);
        assert_eq!(labels(&Axis::fitting([2e-5, 1e-2]))[..2], ["2·10⁻⁵", "5·10⁻⁵"]);
        assert!(!Axis::fitting([0.02, 1.9]).log);
        assert!(!Axis::fitting([-0.02, 100.0]).log);
    }

    #[test]
    fn what_does_not_change_has_an_axis_too() {
        for value in [0.0, 0.1, -3.0] {
            let axis = Axis::fitting([value]);
            assert!((0.0..=1.0).contains(&axis.position(value)), "{axis:?}");
        }
        assert_eq!(labels(&Axis::fitting([f64::NAN])).first(), Some(&"0"));
    }

    proptest! {
        #[test]
        fn every_value_is_on_the_axis(values in prop::collection::vec(prop_oneof![-1e9..1e9, 1e-12..1.0, 1e-30..1e30], 1..20)) {
            let axis = Axis::fitting(values.iter().copied());
            for value in values {
                let position = axis.position(value);
                prop_assert!((-1e-6..=1.0 + 1e-6).contains(&position), "{value} at {position} of {axis:?}");
            }
            prop_assert!((2..=11).contains(&axis.ticks.len()), "{axis:?}");
            prop_assert!(axis.ticks.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1), "{axis:?}");
        }
    }
}
