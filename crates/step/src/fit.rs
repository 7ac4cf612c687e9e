//! In how many parts a batch is to be taken so that a step fits into memory: an estimate, made before anything runs.
//!
//! Of a step that takes its batch at once it is told how much its values take at a time, for any size of batch
//! ([`gnp_model::memory`]). A step in parts needs that of its largest part; beside it there are the whole batch, the
//! rows of all logits, and the sums that the parts add to, which are no larger than the state.

use gnp_base::contract::are_labels;
use gnp_base::{Error, Result};
use gnp_model::graph::{Dim, Fact};
use gnp_model::memory::most_alive;
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::ValueInfoProto;
use gnp_model::shapes;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

/// What a step is estimated to take above what its values do: room for operators to work in, and what the engine's
/// allocator holds beyond what was asked for. A quarter.
const ROOM: f64 = 1.25;

/// How a batch is taken so that a step fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// In how many parts; 1 where the batch fits at once.
    pub parts: NonZero<u32>,
    /// The samples of the largest part.
    pub samples: u32,
    /// The bytes that a step in parts is estimated to take.
    pub needed: u64,
    /// The same of a step that takes the batch at once.
    pub at_once: u64,
}

impl Fit {
    /// The fewest parts of a batch of so many samples with which a step fits into `memory`, in bytes. `step` is the
    /// step model that takes the batch at once.
    ///
    /// # Errors
    /// Where the batch has a fixed size, another axis of the inputs has an open one, or a step of one sample does not
    /// fit.
    pub fn of(step: &Model, batch: u32, memory: u64) -> Result<Self> {
        let sizes = Sizes::of(step)?;
        let least = sizes.in_parts(1, batch)?;
        if least > memory {
            return Err(Error::input(format!(
                "a step of one sample takes {} by estimate, and {} are to be had",
                megabytes(least),
                megabytes(memory)
            ))
            .help(
                "--recompute needs less; --memory gives another limit, and --micro-batch a number in place of auto, \
                 which is tried whatever the estimate says",
            ));
        }
        let largest = largest(batch, |samples| Ok(sizes.in_parts(samples, batch)? <= memory))?;
        let parts = NonZero::new(batch.div_ceil(largest)).unwrap_or(NonZero::<u32>::MIN);
        let samples = batch.div_ceil(parts.get());
        Ok(Self { parts, samples, needed: sizes.in_parts(samples, batch)?, at_once: sizes.needed(batch)? })
    }

    /// What was chosen of a batch of so many samples, in words.
    pub fn describe(&self, batch: u32, memory: u64) -> String {
        let Self { parts, samples, needed, at_once } = self;
        let [needed, at_once, memory] = [*needed, *at_once, memory].map(megabytes);
        match parts.get() {
            1 => format!("the batch of {batch} is taken at once: a step takes {at_once} by estimate, of {memory}"),
            parts => format!(
                "the batch of {batch} is taken in {parts} parts of {samples} samples at most: a step takes {needed} by \
                 estimate, of {memory}; at once it would take {at_once}"
            ),
        }
    }
}

/// The largest number up to `most` that fits, where 1 does, and what is larger than one that does not fit does neither.
fn largest(most: u32, fits: impl Fn(u32) -> Result<bool>) -> Result<u32> {
    let (mut low, mut high) = (1, most.max(1));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle)? { low = middle } else { high = middle - 1 }
    }
    Ok(low)
}

/// What a step takes, by the size of its batch.
struct Sizes<'a> {
    step: &'a Model,
    /// The size of the batch, by name.
    batch: String,
}

impl<'a> Sizes<'a> {
    fn of(step: &'a Model) -> Result<Self> {
        let inputs = &step.graph.input;
        let shapes = || inputs.iter().filter_map(|input| Some((input.name(), Fact::declared(input)?.shape?)));
        let symbol = |(_, shape): (_, Vec<Dim>)| match shape.into_iter().next() {
            Some(Dim::Symbol(symbol)) => Some(symbol.to_string()),
            _ => None,
        };
        let labels_first = shapes().filter(|(name, _)| are_labels(name)).chain(shapes());
        let Some(batch) = labels_first.into_iter().find_map(symbol) else {
            let name = shapes().next().map_or("x", |(name, _)| name).to_owned();
            return Err(Error::input("--micro-batch: the batch has a fixed size, and its parts are smaller")
                .help(format!("open it: --dim '{name}[0]=batch'")));
        };
        let open: BTreeSet<String> = shapes()
            .flat_map(|(_, shape)| shape)
            .filter_map(|dim| if let Dim::Symbol(symbol) = dim { Some(symbol.to_string()) } else { None })
            .filter(|symbol| *symbol != batch)
            .collect();
        match open.first() {
            Some(open) => Err(Error::input(format!(
                "--micro-batch auto: the size `{open}` is open, and how much memory a step takes depends on it"
            ))
            .help(format!(
                "give the largest that it has: --dim {open}=128; or --micro-batch a number in place of auto"
            ))),
            None => Ok(Self { step, batch }),
        }
    }

    /// The bytes that a step takes of so many samples at once.
    fn needed(&self, samples: u32) -> Result<u64> {
        let most = most_alive(self.step, &self.bindings(samples))?;
        Ok((most as f64 * ROOM) as u64)
    }

    /// The bytes that a step takes of a batch in parts of so many samples at most.
    fn in_parts(&self, samples: u32, batch: u32) -> Result<u64> {
        let part = self.needed(samples.min(batch))?;
        if samples < batch { Ok(part.saturating_add(self.beside(batch)?)) } else { Ok(part) }
    }

    /// The bytes that are there beside the values of a part: the batch and its logits, and for the sums as much as for
    /// the state.
    fn beside(&self, batch: u32) -> Result<u64> {
        let facts = shapes::analyse(self.step, &self.bindings(batch))?;
        let is_open = |port: &&ValueInfoProto| Fact::declared(port).is_some_and(|fact| fact.bytes().is_none());
        let graph = &self.step.graph;
        let ports = graph.input.iter().chain(graph.output.iter().filter(is_open));
        Ok(ports.filter_map(|port| facts.get(port.name())?.bytes()).sum())
    }

    fn bindings(&self, samples: u32) -> BTreeMap<String, i64> {
        BTreeMap::from([(self.batch.clone(), i64::from(samples))])
    }
}

fn megabytes(bytes: u64) -> String {
    let number = bytes as f64 / 1e6;
    if number < 10.0 { format!("{number:.1} MB") } else { format!("{number:.0} MB") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::{StepOptions, make_step};
    use gnp_gradient::loss::LossKind;
    use gnp_model::onnx;

    fn step() -> Model {
        let options = StepOptions { loss: LossKind::CrossEntropy.into(), ..StepOptions::default() };
        make_step(onnx::read("../../models/cnn/model.onnx").unwrap(), &options).unwrap().0
    }

    #[test]
    fn the_largest_number_that_fits_is_found() {
        for limit in 1..=20 {
            assert_eq!(largest(20, |number| Ok(number <= limit)).unwrap(), limit);
        }
        assert_eq!(largest(20, |_| Ok(true)).unwrap(), 20);
    }

    /// The fewest parts that fit: with one less, the step would not.
    #[test]
    fn parts_are_as_few_as_fit() {
        let step = step();
        let whole = Fit::of(&step, 256, u64::MAX).unwrap();
        assert_eq!((whole.parts.get(), whole.samples, whole.needed), (1, 256, whole.at_once));
        let mut before = 1;
        for share in [2, 4, 16] {
            let memory = whole.at_once / share;
            let fit = Fit::of(&step, 256, memory).unwrap();
            assert!(fit.needed <= memory && fit.parts.get() > before, "{fit:?}");
            assert_eq!(fit.samples, 256u32.div_ceil(fit.parts.get()));
            let fewer = 256u32.div_ceil(fit.parts.get() - 1);
            assert!(Sizes::of(&step).unwrap().in_parts(fewer, 256).unwrap() > memory, "{fit:?}");
            before = fit.parts.get();
        }
        let error = Fit::of(&step, 256, 1000).unwrap_err();
        assert!(error.to_string().contains("a step of one sample takes"), "{error}");
    }
}
