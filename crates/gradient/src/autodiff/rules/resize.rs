//! Resize.
//!
//! Along each axis a resize is linear, y = W x, whatever its mode: a row of W says of which elements of x, with which
//! weights, an element of y is made. So x̄ = Wᵀ ȳ, axis by axis. The rows of Wᵀ are what the operator makes of the unit
//! vectors, so the graph makes them with the very operator, Wᵀ = Resize(I): for every mode and every way to take
//! coordinates, as the engine has them, and for sizes that are known only when it runs. Where each element is merely
//! repeated, Wᵀ ȳ is a sum over the repetitions.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;

pub(super) const RULES: &[Entry] = &[("", "Resize", Rule::Vjp(resize))];

/// y = W x along each axis  ⇒  x̄ = Wᵀ ȳ along each axis.
fn resize(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let resize = Resize::of(op, g)?;
    let axes: Vec<usize> = (0..resize.axes.len()).filter(|&i| !resize.keeps(i, g)).collect();
    let (repeated, weighted): (Vec<_>, Vec<_>) = axes.into_iter().partition(|&i| resize.repetitions(i, g).is_some());
    let repeated: Vec<_> =
        repeated.into_iter().filter_map(|i| Some((resize.axes[i], resize.repetitions(i, g)?))).collect();
    let mut dx = resize.sum_repetitions(dy, &repeated, g);
    for i in weighted {
        dx = multiply(&resize.transposed_weights(i, g), &dx, resize.axes[i], resize.rank, g);
    }
    Ok([dx].into())
}

/// A node that resizes.
struct Resize<'o> {
    op: &'o Op,
    x: &'o Value,
    y: &'o Value,
    rank: usize,
    /// The axes that may be resized.
    axes: Vec<usize>,
    /// Their factors, where these are constants.
    scales: Option<Vec<f64>>,
    /// Where the part of x that is resized begins and ends, beyond which there is a constant; what there is of it
    /// before the graph runs.
    region: Option<Option<Vec<f64>>>,
    /// Whether the sizes are bounds, within which all axes have one factor.
    keeps_ratio: bool,
}

impl<'o> Resize<'o> {
    fn of(op: &'o Op, g: &Builder<'_>) -> Result<Self> {
        let (x, y) = (op.input(0)?, op.output(0)?);
        let Some(rank) = g.fact(x).rank().or(g.fact(y).rank()) else {
            return Err(op.unknown("the number of axes of its input"));
        };
        let axes = op.ints("axes").map_or_else(|| (0..rank as i64).collect(), <[i64]>::to_vec);
        let axes: Vec<usize> = axes.iter().map(|axis| axis.rem_euclid(rank.max(1) as i64) as usize).collect();
        let numbers = |input, count| {
            let numbers = op.optional(input).and_then(|value| g.floats(value));
            numbers.filter(|numbers| numbers.len() == count).map(|numbers| numbers.to_vec())
        };
        let scales = numbers(2, axes.len());
        let crops = op.string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize";
        let region = crops.then(|| numbers(1, 2 * axes.len()));
        let keeps_ratio = op.optional(3).is_some() && op.string("keep_aspect_ratio_policy", "stretch") != "stretch";
        if crops && keeps_ratio {
            return Err(op
                .error("there is no gradient of tf_crop_and_resize with a keep_aspect_ratio_policy")
                .help("resize with the policy `stretch`, or freeze the parameters before this node (--freeze)"));
        }
        Ok(Self { op, x, y, rank, axes, scales, region, keeps_ratio })
    }

    /// The factor of an axis, where it is known.
    fn scale(&self, i: usize, g: &Builder<'_>) -> Option<f64> {
        if self.keeps_ratio {
            return None;
        }
        if self.op.optional(2).is_some() {
            return self.scales.as_ref().map(|scales| scales[i]);
        }
        let [from, to] = [self.x, self.y].map(|value| g.fact(value).dim(self.axes[i] as i64).and_then(Dim::known));
        Some(to? as f64 / from.filter(|from| *from > 0)? as f64)
    }

    /// Whether an axis surely stays as it is.
    fn keeps(&self, i: usize, g: &Builder<'_>) -> bool {
        // Where one symbol is the size before and after, the factor is 1 for every number.
        let dim = |value: &Value| g.fact(value).dim(self.axes[i] as i64).filter(|dim| dim.known().is_none()).cloned();
        let is_same = || dim(self.x).zip(dim(self.y)).is_some_and(|(from, to)| from.is(&to));
        let is_whole = match &self.region {
            None => true,
            Some(Some(region)) => (region[i], region[self.axes.len() + i]) == (0.0, 1.0),
            Some(None) => false,
        };
        is_whole && !self.keeps_ratio && (self.scale(i, g) == Some(1.0) || is_same())
    }

    /// How many times y has each element along an axis, in a row, where it surely has them so: the element that counts
    /// as nearest to the places of its copies.
    fn repetitions(&self, i: usize, g: &Builder<'_>) -> Option<i64> {
        let times = self.scale(i, g).filter(|scale| *scale >= 2.0 && scale.fract() == 0.0)?;
        let nearest = self.op.string("nearest_mode", "round_prefer_floor");
        let is_repeated = match self.op.string("coordinate_transformation_mode", "half_pixel") {
            "asymmetric" => nearest == "floor",
            "half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric" => nearest.starts_with("round"),
            _ => false,
        };
        (self.op.string("mode", "nearest") == "nearest" && is_repeated).then_some(times as i64)
    }

    /// `dy` summed over the repetitions along axes, which are given with how many there are.
    fn sum_repetitions(&self, dy: &Value, repeated: &[(usize, i64)], g: &Builder<'_>) -> Value {
        if repeated.is_empty() {
            return dy.clone();
        }
        let (mut dims, mut sizes, mut summed) = (Vec::new(), Vec::new(), Vec::new());
        for axis in 0..self.rank {
            let times = repeated.iter().find(|(repeated, _)| *repeated == axis).map(|(_, times)| *times);
            let of = if times.is_some() { self.x } else { dy };
            dims.push(g.fact(of).dim(axis as i64).cloned().unwrap_or(Dim::Unknown));
            sizes.push(g.size_of(of, axis as i64));
            if let Some(times) = times {
                summed.push(dims.len() as i64);
                dims.push(Dim::Known(times));
                sizes.push(g.int64s(&[times]));
            }
        }
        let apart = g.reshape_dims(dy, dims.clone()).unwrap_or_else(|| {
            let shape = g.concat_ints(&sizes.iter().collect::<Vec<_>>());
            let fact = Fact { element: g.fact(dy).element, shape: Some(dims) };
            g.reshape_to(dy, &shape, fact)
        });
        g.reduce("ReduceSum", &apart, &summed, false)
    }

    /// Wᵀ of an axis, [its size in x, its size in y].
    fn transposed_weights(&self, i: usize, g: &Builder<'_>) -> Value {
        // The unit vectors are channels of images with one row. Where all axes have a part in the factor, they are all
        // there, and along the others a unit vector is repeated.
        let along: Vec<usize> = if self.keeps_ratio { (0..self.axes.len()).collect() } else { vec![i] };
        let ones = if along.len() == 1 { 3 } else { 2 };
        let axes: Vec<i64> = (0..along.len() as i64).map(|k| k + ones).collect();
        let own = along.iter().position(|&k| k == i).map_or(ones, |k| k as i64 + ones);
        let rank = ones as usize + along.len();
        let element = g.fact(self.x).element;

        let unit = identity(self.x, self.axes[i], element, g);
        let new: Vec<i64> = (0..rank as i64).filter(|k| ![1, own].contains(k)).collect();
        let mut images = g.unsqueeze(&unit, &new);
        if along.len() > 1 {
            let (one, size) = (g.int64s(&[1]), g.size_of(self.x, self.axes[i] as i64));
            let others: Vec<Value> = along.iter().map(|&k| g.size_of(self.x, self.axes[k] as i64)).collect();
            let shape = g.concat_ints(&[&one, &size].into_iter().chain(&others).collect::<Vec<_>>());
            let shape_unknown = Some(vec![Dim::Unknown; rank]);
            images = g.node("Expand", &[&images, &shape], vec![], Fact { element, shape: shape_unknown });
        }

        let left_out = Value::from("");
        let take = |input: Option<&Value>, indices: &[i64]| match input {
            Some(input) => g.gather(input, g.int64s(indices), 0),
            None => left_out.clone(),
        };
        let which: Vec<i64> = along.iter().map(|&k| k as i64).collect();
        let region = [i as i64, (self.axes.len() + i) as i64];
        let roi = take(self.op.optional(1).filter(|_| self.region.is_some()), &region);
        let (scales, sizes) = (take(self.op.optional(2), &which), take(self.op.optional(3), &which));
        let mut attributes = self.op.attribute.clone();
        attributes.retain(|a| !["axes", "extrapolation_value"].contains(&a.name()));
        attributes.push(AttributeProto::ints("axes", &axes));
        let inputs = [&images, &roi, &scales, &sizes];
        let given = inputs.iter().rposition(|input| !input.is_empty()).map_or(1, |last| last + 1);
        let dim = |value: &Value, axis: usize| g.fact(value).dim(axis as i64).cloned().unwrap_or(Dim::Unknown);
        let mut dims = vec![Dim::Known(1); ones as usize];
        dims[1] = dim(self.x, self.axes[i]);
        dims.extend(along.iter().map(|&k| dim(self.y, self.axes[k])));
        let mut rows = g.node("Resize", &inputs[..given], attributes, Fact { element, shape: Some(dims) });
        if along.len() > 1 {
            rows = g.slice(&rows, &vec![0; new.len()], &vec![1; new.len()], &new, &vec![1; new.len()]);
        }
        g.squeeze(&rows, &new)
    }
}

/// The identity matrix as large as axis `axis` of `x`.
fn identity(x: &Value, axis: usize, element: DataType, g: &Builder<'_>) -> Value {
    let dim = g.fact(x).dim(axis as i64).cloned().unwrap_or(Dim::Unknown);
    let size = g.size_of(x, axis as i64);
    let size = match dim.known() {
        Some(size) => g.int64(size),
        None => g.squeeze(&size, &[0]),
    };
    let (zero, one) = (g.int64(0), g.int64(1));
    let count = Fact { element: DataType::Int64, shape: Some(vec![dim]) };
    let row = g.node("Range", &[&zero, &size, &one], vec![], count);
    g.cast(g.compare("Equal", &row, g.unsqueeze(&row, &[1])), element)
}

/// `weights`, [n, m], times `dy` along one axis.
fn multiply(weights: &Value, dy: &Value, axis: usize, rank: usize, g: &Builder<'_>) -> Value {
    if axis + 2 == rank {
        return g.matmul(weights, dy);
    }
    let weights = g.transpose_last(weights);
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(axis, rank - 1);
    g.transpose(g.matmul(g.transpose(dy, &order), &weights), &order)
}
