//! Where values hold the axis that is opened.

use super::product::Product;
use crate::graph::{Dim, Value};
use foldhash::HashMap;

/// What stands for the opened size while shapes are worked out: a prime that no size of a model is.
pub(super) const PROBE: i64 = 10_007;

/// One axis of a value that holds the opened one: its size is outer · the opened size · inner, in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub axis: usize,
    /// outer · inner.
    pub times: Product,
    /// None where it is not known how the axis is divided.
    pub outer: Option<Product>,
}

impl Place {
    /// Whether the axis is the opened one and nothing else.
    pub fn is_alone(&self) -> bool {
        self.times.is_one()
    }
}

/// How the shape of a value depends on the opened axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Not at all.
    Nothing,
    /// These of its axes do; there is at least one.
    At(Vec<Place>),
    /// In a way that is not known, or another than a multiple of it.
    Somehow,
}

/// The places of all values so far.
#[derive(Default)]
pub(super) struct Places {
    outer: HashMap<(Value, usize), Product>,
}

impl Places {
    /// Where `value` holds the axis, whose size was `size`: by its shape with that, and with [`PROBE`] in its place.
    pub fn of(&self, value: &str, before: &[Dim], after: &[Dim], size: i64) -> Holds {
        if before.len() != after.len() {
            return Holds::Somehow;
        }
        let (mut places, mut is_known) = (Vec::new(), true);
        for (axis, (before, after)) in before.iter().zip(after).enumerate() {
            if before == after {
                // `value[axis]` is a size that nothing is known of.
                is_known &= !matches!(before, Dim::Symbol(symbol) if symbol.contains('[')) && *before != Dim::Unknown;
                continue;
            }
            let multiple = || {
                let times = Product::of(before)?.over(&Product::number(size))?;
                (Product::of(after)?.over(&Product::number(PROBE))? == times).then_some(times)
            };
            let Some(times) = multiple() else { return Holds::Somehow };
            let known = self.outer.get(&(Value::from(value), axis)).cloned();
            let outer = known.or_else(|| times.is_one().then(|| Product::number(1)));
            places.push(Place { axis, times, outer });
        }
        match places.is_empty() {
            false => Holds::At(places),
            true if is_known => Holds::Nothing,
            true => Holds::Somehow,
        }
    }

    /// Learns how an axis of a value is divided.
    pub fn learn(&mut self, value: &str, axis: usize, outer: Product) {
        self.outer.insert((value.into(), axis), outer);
    }
}
