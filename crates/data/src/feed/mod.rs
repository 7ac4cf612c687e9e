//! Batches of a data set in the form that a graph takes: joined to its inputs here, cut in [`batches`], made in
//! [`make`].

mod batches;
mod dense;
mod derived;
mod fits;
mod join;
mod labelled;
mod make;
mod order;
mod padded;
#[cfg(test)]
mod tests;

use crate::augment::Augmentation;
use crate::{Dataset, Input, Normalization, Preparation, Samples, Values};
use dense::Dense;
use derived::Kind;
use gnp_base::{Error, Result};
use gnp_tensor::{ElementType, Port};
use join::{Joined, join};
pub(super) use labelled::Labelled;
use padded::Padded;
use std::num::NonZero;
use std::ops::Range;
use std::thread;

/// A data set beside the inputs of a graph that it feeds: samples, what follows from them, and labels.
#[derive(Debug)]
pub struct Feed<'a> {
    data: &'a Dataset,
    ports: Vec<Port>,
    /// What each port is fed.
    sources: Vec<Source<'a>>,
    preparation: Preparation,
    /// Decides all that is drawn.
    seed: u64,
}

/// What an input of the graph is fed.
#[derive(Debug)]
enum Source<'a> {
    Dense(Dense<'a>),
    Padded(Padded<'a>),
    /// What follows from the samples at the port of this number.
    Derived(usize, Kind),
    Labels(Labelled<'a>),
}

/// What decides the draws of a batch.
#[derive(Clone, Copy, Debug)]
struct Place {
    seed: u64,
    epoch: u64,
    batch: usize,
}

/// Numbers that are fed as they are, in row-major order.
pub(super) struct Fed<'f> {
    pub(super) values: &'f Values,
    pub(super) shape: Vec<usize>,
}

impl Source<'_> {
    /// What the samples are normalised by, where the input takes floats.
    fn normalization(&self) -> Option<&Normalization> {
        match self {
            Self::Dense(dense) if dense.shape.element == ElementType::F32 => Some(&dense.normalization),
            Self::Padded(padded) if padded.element == ElementType::F32 => Some(&padded.normalization),
            _ => None,
        }
    }
}

/// The number of threads that make batches of `data`.
fn workers(data: &Dataset, preparation: &Preparation) -> usize {
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let in_memory = data.inputs().iter().all(|input| !matches!(input.samples, Samples::Images(_)));
    let is_light = in_memory && preparation.augmentation.is_none();
    preparation.workers.map_or_else(|| if is_light { 1 } else { cores() }, NonZero::get)
}

impl<'a> Feed<'a> {
    /// Joins `data` to the batch inputs of a graph (an engine's `batch_ports`).
    ///
    /// An input of the graph is fed the data of its name; where one input and one array of the data are left over, they
    /// go together. Masks, positions, segments and lengths that the data lack follow from the lengths of the samples.
    ///
    /// A sample is reshaped to its input where the element counts agree; an image whose axes are in the other order
    /// (channels first or last) is turned. Images in files are decoded to the size and the channels of the input. Lists
    /// are filled up to the length of the longest in the batch. Samples for a float input are divided and normalised as
    /// `preparation` says; the statistics are taken of `data`, which is why it should be the training set
    /// ([`Feed::for_test`] makes the other's). Labels are neither scaled nor rounded; classes become the probabilities
    /// of all classes where the input takes floats of shape `[?, classes]`. `seed` decides the augmentation, and which
    /// images are looked at for their mean.
    ///
    /// # Errors
    /// Where the graph has an input that there are no data for, or takes them in other sizes, or whole numbers where
    /// the data are not; where the preparation is none for such samples or labels.
    pub fn new(data: &'a Dataset, ports: &[Port], preparation: &Preparation, seed: u64) -> Result<Self> {
        Self::join(data, ports, preparation, seed, None)
    }

    /// Feeds `data` to the same graph: divided and normalised by the same numbers, not augmented.
    ///
    /// # Errors
    /// Where the data do not fit the graph.
    pub fn for_test<'b>(&self, data: &'b Dataset) -> Result<Feed<'b>> {
        let augmentation = Augmentation::default();
        let preparation = Preparation { augmentation, ..self.preparation.clone() };
        Feed::join(data, &self.ports, &preparation, self.seed, Some(self))
    }

    fn join(
        data: &'a Dataset,
        ports: &[Port],
        preparation: &Preparation,
        seed: u64,
        like: Option<&Feed<'_>>,
    ) -> Result<Self> {
        let joined = join(data, ports)?;
        if preparation.divisor.is_some_and(|divisor| !divisor.is_finite() || divisor == 0.0) {
            return Err(Error::input("the divisor of the samples must be a number other than 0"));
        }
        let is_input = |joined: &&Joined| matches!(joined, Joined::Input(_));
        let several = joined.iter().filter(is_input).count() > 1;
        let draws = (seed, workers(data, preparation));
        let mut sources = Vec::with_capacity(ports.len());
        for (at, (&joined_to, port)) in joined.iter().zip(ports).enumerate() {
            let like = like.map(|like| &like.sources[at]);
            sources.push(match joined_to {
                Joined::Derived(of, kind) => {
                    let of = joined.iter().position(|joined| *joined == Joined::Input(of));
                    Source::Derived(of.ok_or_else(|| Error::internal("what is derived has no source"))?, kind)
                }
                Joined::Target(number) => {
                    let like = like.and_then(|like| if let Source::Labels(like) = like { Some(like) } else { None });
                    Source::Labels(Labelled::new(&data.targets()[number], port, preparation, like, data)?)
                }
                Joined::Input(number) => {
                    let beside = several.then(|| preparation.beside(port, Kind::of(port).is_some()));
                    let preparation = beside.as_ref().unwrap_or(preparation);
                    let like = like.and_then(Source::normalization);
                    match &data.inputs()[number] {
                        Input { samples: Samples::Lists(lists), pad, .. } => {
                            Source::Padded(Padded::new(lists, port, preparation, *pad, like)?)
                        }
                        Input { samples, .. } => Source::Dense(Dense::new(samples, port, preparation, draws, like)?),
                    }
                }
            });
        }
        let feed = Self { data, ports: ports.to_vec(), sources, preparation: preparation.clone(), seed };
        feed.check_augmentation()?;
        Ok(feed)
    }

    /// What the samples of the first input that takes floats are normalised by: what must be done to samples when the
    /// trained model is used. One that changes nothing where no input takes floats.
    pub fn normalization(&self) -> Normalization {
        self.sources.iter().find_map(Source::normalization).cloned().unwrap_or_else(|| Normalization::divide(1.0))
    }

    /// The places of the inputs that take labels among all.
    pub fn label_inputs(&self) -> Range<usize> {
        let is_data = |source: &Source<'_>| !matches!(source, Source::Labels(_));
        self.sources.iter().take_while(|source| is_data(source)).count()..self.sources.len()
    }

    /// The labels beside the inputs that take them.
    pub(super) fn labelled(&self) -> impl Iterator<Item = (&Port, &Labelled<'a>)> {
        self.ports.iter().zip(&self.sources).filter_map(|(port, source)| match source {
            Source::Labels(labels) => Some((port, labels)),
            _ => None,
        })
    }

    /// The sample, and the place in it, of the element at `place` of what [`fed`](Self::fed) has for `port`.
    pub(super) fn place_of(&self, port: &Port, place: &[usize]) -> (usize, Vec<usize>) {
        let source = self.ports.iter().position(|other| other.name == port.name).map(|at| &self.sources[at]);
        match source {
            Some(Source::Padded(padded)) => padded.lists.find(place[0]),
            _ => (place[0], place[1..].to_vec()),
        }
    }

    /// What is fed as it is in memory: the values of each such input, and their shape.
    pub(super) fn fed(&self) -> impl Iterator<Item = (&Port, Fed<'_>)> {
        self.ports.iter().zip(&self.sources).filter_map(|(port, source)| match source {
            Source::Dense(dense) => {
                let shape = [&[self.data.len()][..], &dense.shape.rest].concat();
                Some((port, Fed { values: dense.samples.values()?, shape }))
            }
            Source::Padded(padded) => {
                let values = padded.lists.values();
                Some((port, Fed { values, shape: vec![values.len()] }))
            }
            _ => None,
        })
    }

    /// The lengths of the samples `rows`, and that of their batch, at the port `of`.
    fn lengths(&self, of: usize, rows: &[usize]) -> (Vec<usize>, usize) {
        match &self.sources[of] {
            Source::Padded(padded) => (rows.iter().map(|&row| padded.length(row)).collect(), padded.width(rows)),
            Source::Dense(dense) => {
                let pad = self.preparation.lengths.pads.get(&self.ports[of].name).copied();
                (rows.iter().map(|&row| dense.length(row, pad)).collect(), dense.width())
            }
            Source::Derived(..) | Source::Labels(_) => (vec![1; rows.len()], 1),
        }
    }

    /// The most elements that a sample takes at port `at`.
    fn size(&self, at: usize) -> usize {
        match &self.sources[at] {
            Source::Dense(dense) => dense.shape.size(),
            Source::Padded(padded) => padded.size(),
            Source::Labels(labels) => labels.size(),
            Source::Derived(of, _) => self.size(*of),
        }
    }

    /// What a sample is: its shape, or those of each input by name.
    pub fn describe_samples(&self) -> String {
        let described = self.ports.iter().zip(&self.sources).filter_map(|(port, source)| match source {
            Source::Dense(dense) => Some((port, format!("{:?}", dense.shape.rest))),
            Source::Padded(padded) => Some((port, padded.describe())),
            _ => None,
        });
        match &described.collect::<Vec<_>>()[..] {
            [(_, shape)] => shape.clone(),
            several => several.iter().map(|(p, shape)| format!("`{}` {shape}", p.name)).collect::<Vec<_>>().join(", "),
        }
    }

    /// What no data are given for and is made up: an input of the graph, and what it is fed.
    pub fn derived(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.ports.iter().zip(&self.sources).filter_map(|(port, source)| match source {
            Source::Derived(_, kind) => Some((&*port.name, kind.describe())),
            _ => None,
        })
    }

    /// The number of threads that make batches.
    pub fn workers(&self) -> usize {
        workers(self.data, &self.preparation)
    }

    /// The data set.
    pub fn data(&self) -> &Dataset {
        self.data
    }

    /// The name of the input that takes the samples, the first of them.
    pub fn sample_input(&self) -> &str {
        &self.ports[0].name
    }

    /// The batch size that the graph is made for, where it is fixed.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.ports.iter().find_map(|port| port.dims.first().copied().flatten())
    }
}
