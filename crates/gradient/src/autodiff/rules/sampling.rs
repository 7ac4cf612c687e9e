//! Reading images between their pixels: what GridSample, DeformConv and RoiAlign have in common.
//!
//! Each point reads some pixels along each axis, its taps, with a weight each. So a sample is a sum over a product of
//! taps, of rows of a table that has the channels of a pixel in a row.

use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;

/// Which pixels a point reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interpolation {
    /// The nearest; of two the even one.
    Nearest,
    /// The two around it, along each axis.
    Linear,
    /// Four along each axis, with Keys's weights for −¾.
    Cubic,
}

/// What there is beyond the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// Zeros.
    Zeros,
    /// The pixels at the edge.
    Border,
    /// The image in a mirror, which stands at the edge of the pixels, or at their centres.
    Mirror {
        /// Whether it stands at the centres of the last pixels.
        at_centres: bool,
    },
}

/// How an image is read between its pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampling {
    pub interpolation: Interpolation,
    pub beyond: Beyond,
}

/// What points read along one axis.
struct Taps {
    /// Which pixels, [groups, points, taps].
    places: Value,
    /// With which weights; 1 each, where there are none.
    weights: Option<Value>,
}

impl Sampling {
    /// What points read of `images`, [images, channels, …], each weighted: [groups, points, taps, channels].
    ///
    /// `points` has a tensor [groups, points] for each axis, which counts pixels from the centre of the first. `image`,
    /// int64 [groups, 1], says which image a group reads.
    pub(super) fn terms(self, images: &Value, image: &Value, points: &[Value], g: &Builder<'_>) -> Value {
        let rank = points.len();
        let (mut place, mut weight) = (g.unsqueeze(image, &(2..2 + rank as i64).collect::<Vec<_>>()), None);
        for (axis, points) in points.iter().enumerate() {
            let size = g.size_of(images, axis as i64 + 2);
            let Taps { places, weights } = self.taps(points, &size, g);
            // Every axis has an axis of its own for its taps.
            let others: Vec<i64> = (0..rank).filter(|other| *other != axis).map(|other| other as i64 + 2).collect();
            place = g.add(g.mul(&place, &size), g.unsqueeze(places, &others));
            if let Some(weights) = weights {
                let weights = g.unsqueeze(weights, &others);
                weight = Some(match weight {
                    Some(weight) => g.mul(&weight, &weights),
                    None => weights,
                });
            }
        }
        let read = g.gather(rows(images, rank, g), joined(&place, g), 0);
        match weight {
            Some(weight) => g.mul(&read, g.unsqueeze(joined(&weight, g), &[3])),
            None => read,
        }
    }

    /// The samples themselves, [groups, points, channels].
    pub(super) fn samples(self, images: &Value, image: &Value, points: &[Value], g: &Builder<'_>) -> Value {
        let terms = self.terms(images, image, points, g);
        if self.interpolation == Interpolation::Nearest {
            return g.squeeze(terms, &[2]);
        }
        g.reduce("ReduceSum", terms, &[2], false)
    }

    fn taps(self, points: &Value, size: &Value, g: &Builder<'_>) -> Taps {
        let (first, weights) = match self.interpolation {
            Interpolation::Nearest => (g.unary("Round", points), None),
            Interpolation::Linear => {
                let first = g.unary("Floor", points);
                let far = g.sub(points, &first);
                let weights = [g.minus_from(1.0, &far), far];
                (first, Some(weights.to_vec()))
            }
            Interpolation::Cubic => {
                let first = g.unary("Floor", points);
                let weights = cubic_weights(&g.sub(points, &first), g);
                (first, Some(weights))
            }
        };
        let places = g.unsqueeze(g.cast(&first, DataType::Int64), &[2]);
        let places = match self.interpolation {
            Interpolation::Nearest => places,
            Interpolation::Linear => g.add(&places, g.int64s(&[0, 1])),
            Interpolation::Cubic => g.add(&places, g.int64s(&[-1, 0, 1, 2])),
        };
        let weights = weights.map(|weights| {
            let weights: Vec<Value> = weights.iter().map(|weight| g.unsqueeze(weight, &[2])).collect();
            g.concat(&weights.iter().collect::<Vec<_>>(), 2)
        });
        self.beyond.applied(Taps { places, weights }, size, points, g)
    }
}

impl Beyond {
    /// Taps within the image.
    fn applied(self, Taps { places, weights }: Taps, size: &Value, like: &Value, g: &Builder<'_>) -> Taps {
        let (zero, one) = (g.int64(0), g.int64s(&[1]));
        let last = g.sub(size, &one);
        let within = |places: &Value| g.binary("Min", g.binary("Max", places, &zero), &last);
        match self {
            Self::Border => Taps { places: within(&places), weights },
            Self::Zeros => {
                let inside = within(&places);
                let is_inside = g.mask(g.compare("Equal", &places, &inside), like);
                let weights = match weights {
                    Some(weights) => g.mul(&weights, &is_inside),
                    None => is_inside,
                };
                Taps { places: inside, weights: Some(weights) }
            }
            Self::Mirror { at_centres } => {
                // As far as from a place to itself in the mirror's mirror.
                let period = g.mul(size, g.int64s(&[2]));
                let period = if at_centres { g.binary("Max", g.sub(period, g.int64s(&[2])), &one) } else { period };
                let ahead = g.binary("Mod", &places, &period);
                let behind = g.sub(&period, &ahead);
                let behind = if at_centres { behind } else { g.sub(&behind, &one) };
                Taps { places: within(&g.binary("Min", &ahead, &behind)), weights }
            }
        }
    }
}

/// The weights of the four pixels around a point that is `far` behind the second (Keys, 1981).
fn cubic_weights(far: &Value, g: &Builder<'_>) -> Vec<Value> {
    const A: f64 = -0.75;
    let near = g.minus_from(1.0, far);
    // Of a pixel that is less than one away, and of one that is more: by how much it is more than one.
    let inner = |x: &Value| {
        let square = g.mul(x, x);
        g.plus(g.mul(g.plus(g.scale(x, A + 2.0), -A - 3.0), square), 1.0)
    };
    let outer = |x: &Value| {
        let rest = g.minus_from(1.0, x);
        g.scale(g.mul(x, g.mul(&rest, &rest)), A)
    };
    vec![outer(far), inner(far), inner(&near), outer(&near)]
}

/// `images`, [images, channels, …], as a table with a row for each pixel.
fn rows(images: &Value, rank: usize, g: &Builder<'_>) -> Value {
    let last: Vec<i64> = [0].into_iter().chain(2..2 + rank as i64).chain([1]).collect();
    let fact = g.fact(images);
    let channels = fact.dim(1).cloned().unwrap_or(Dim::Unknown);
    let count = fact.sizes().and_then(|sizes| Some(sizes.iter().product::<i64>() / sizes.get(1)?.max(&1)));
    let shape = g.concat_ints(&[&g.int64s(&[-1]), &g.size_of(images, 1)]);
    let fact = Fact { element: fact.element, shape: Some(vec![count.map_or(Dim::Unknown, Dim::Known), channels]) };
    g.reshape_to(g.transpose(images, &last), shape, fact)
}

/// [groups, points, taps, …, taps] as [groups, points, taps]
fn joined(taps: &Value, g: &Builder<'_>) -> Value {
    let fact = g.fact(taps);
    if fact.rank() == Some(3) {
        return taps.clone();
    }
    let dim = |axis: i64| fact.dim(axis).cloned().unwrap_or(Dim::Unknown);
    let count = fact.shape.as_ref().and_then(|shape| shape.get(2..)?.iter().map(Dim::known).product::<Option<i64>>());
    let shape = Some(vec![dim(0), dim(1), count.map_or(Dim::Unknown, Dim::Known)]);
    g.reshape_to(taps, g.int64s(&[0, 0, -1]), Fact { element: fact.element, shape })
}

/// The numbers 0, 1, … below `size`, a vector of int64 with one element, as a vector of int64.
pub(super) fn count_to(size: &Value, g: &Builder<'_>) -> Value {
    let known = g.ints(size).and_then(|sizes| sizes.first().copied());
    let end = match known {
        Some(size) => g.int64(size),
        None => g.squeeze(size, &[0]),
    };
    let fact = Fact { element: DataType::Int64, shape: Some(vec![known.map_or(Dim::Unknown, Dim::Known)]) };
    g.node("Range", &[&g.int64(0), &end, &g.int64(1)], vec![], fact)
}

/// `x` broadcast to a shape, a vector of the graph.
pub(super) fn broadcast_to(x: &Value, shape: &Value, g: &Builder<'_>) -> Value {
    let element = g.fact(x).element;
    let fact = match g.ints(shape) {
        Some(sizes) => Fact::with_sizes(element, &sizes),
        None => Fact { element, shape: g.fact(x).rank().map(|rank| vec![Dim::Unknown; rank]) },
    };
    g.node("Expand", &[x, shape], vec![], fact)
}

/// The size of an axis as a number of the type of `like`, a vector of one element.
pub(super) fn size_as(x: &Value, axis: i64, like: &Value, g: &Builder<'_>) -> Value {
    match g.fact(x).dim(axis).and_then(Dim::known) {
        Some(size) => g.number(size as f64, like),
        None => g.cast_like(g.size_of(x, axis), like),
    }
}

/// Samples, [groups, points, channels], as images in the shape of `like`.
pub(super) fn as_images(samples: &Value, like: &Value, g: &Builder<'_>) -> Value {
    g.reshape_like(g.transpose(samples, &[0, 2, 1]), like)
}
