//! Normalisations. The normalised tensor is recomputed from the input, which costs less memory than keeping it, and so
//! are statistics that the operator does not return.
//!
//! With x̂ = (x − μ) · s and s = (σ² + ε)^−½ over some axes, the cotangent x̂̄ of x̂ gives
//! x̄ = s · (x̂̄ − mean x̂̄ − x̂ · mean (x̂̄ · x̂)).

use super::{Cotangents, Entry, Op, Rule};
use crate::whole::{BATCH_NORM, DOMAIN};
use gnp_base::contract::functions::LAYER_NORM_GRAD;
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Dim, Fact, Signature, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;
use std::sync::Arc;

pub(super) const RULES: &[Entry] = &[
    (DOMAIN, BATCH_NORM, Rule::Vjp(batch_by_itself)),
    ("", "BatchNormalization", Rule::VjpMany(batch)),
    ("", "GroupNormalization", Rule::Vjp(group)),
    ("", "InstanceNormalization", Rule::Vjp(instance)),
    ("", "LayerNormalization", Rule::VjpMany(layer)),
    ("", "LRN", Rule::Vjp(local_response)),
    ("", "LpNormalization", Rule::Vjp(lp)),
    ("", "MeanVarianceNormalization", Rule::Vjp(mean_variance)),
    ("", "RMSNormalization", Rule::Vjp(root_mean_square)),
];

/// y = (x − μ) · s · γ + β per channel, with given statistics, s = (σ² + ε)^−½ ⇒ x̄ = ȳ · s · γ, γ̄ = s · Σ ȳ · (x −
/// μ), β̄ = Σ ȳ, μ̄ = −s · γ · β̄, σ̄² = −½ · s² · γ · γ̄
fn batch(op: &Op, dy: &[Option<Value>], g: &Builder<'_>) -> Result<Cotangents> {
    if op.int("training_mode", 0) != 0 {
        return Err(op.error("it normalises with the statistics of the batch, and has not been lowered"));
    }
    let Some(Some(dy)) = dy.first() else { return Ok(Cotangents::default()) };
    let (x, scale, bias, mean, variance) = (op.input(0)?, op.input(1)?, op.input(2)?, op.input(3)?, op.input(4)?);
    let variance = g.plus(variance, epsilon(op));
    let deviation = g.unary("Sqrt", &variance);
    let (dy3, x3) = (g.by_channel(dy), g.by_channel(x));
    let dx = g.mul(&dy3, g.unsqueeze(g.div(scale, &deviation), &[1]));
    let centred = g.sub(&x3, g.unsqueeze(mean, &[1]));
    let dscale = g.div(g.reduce("ReduceSum", g.mul(&dy3, &centred), &[0, 2], false), &deviation);
    let dbias = g.reduce("ReduceSum", &dy3, &[0, 2], false);
    let dx = g.reshape_like(&dx, x);
    let (dscale, dbias) = (g.reshape_like(&dscale, scale), g.reshape_like(&dbias, bias));
    let dmean = g.neg(g.mul(g.div(scale, &deviation), &dbias));
    let dvariance = g.mul(g.scale(g.div(scale, &variance), -0.5), &dscale);
    Ok([dx, dscale, dbias, g.reshape_like(&dmean, op.input(3)?), g.reshape_like(&dvariance, op.input(4)?)].into())
}

/// y = (x − μ) · s · γ + β per channel, μ and s those of x itself ⇒ γ̄ = s · Σ ȳ · (x − μ), β̄ = Σ ȳ, x̄ = γ · s · (ȳ −
/// Σ ȳ / n − (x − μ) · s² · Σ ȳ · (x − μ) / n), which is a · ȳ + b · (x − μ) + c with numbers a, b, c for each channel.
/// This is the whole gradient: none goes by the inputs x − μ and s.
fn batch_by_itself(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, scale, bias, centred, s) = (op.input(0)?, op.input(1)?, op.input(2)?, op.input(3)?, op.input(4)?);
    let rank = g
        .fact(centred)
        .rank()
        .ok_or_else(|| Error::internal("its input has no rank").at_node(op.label(), BATCH_NORM))?;
    let axes: Vec<i64> = (0..rank as i64).filter(|axis| *axis != 1).collect();
    let sum = g.reduce("ReduceSum", dy, &axes, true);
    let dscale = g.mul(g.reduce("ReduceSum", g.mul(dy, centred), &axes, true), s);
    let further: Vec<i64> = (1..rank as i64 - 1).collect();
    let a = g.mul(g.unsqueeze(scale, &further), s);
    // x is kept for other gradients; nothing else may need x − μ as a tensor.
    let counted = if g.fact(x).rank() == Some(rank) { x } else { centred };
    let scaled = g.neg(g.div(&a, g.count(counted, Some(&axes))));
    let c = g.mul(&scaled, &sum);
    let b = g.mul(g.mul(&scaled, &dscale), s);
    let dx = g.add(g.add(g.mul(dy, &a), g.mul(centred, &b)), &c);
    Ok([g.reshape_like(&dx, x), g.reshape_like(&dscale, scale), g.reshape_like(&sum, bias)].into())
}

/// y = x̂ · γ + β, normalised over all axes from `axis` on  ⇒  x̂̄ = ȳ · γ,  γ̄ = Σ ȳ · x̂,  β̄ = Σ ȳ
fn layer(op: &Op, dy: &[Option<Value>], g: &Builder<'_>) -> Result<Cotangents> {
    if dy.iter().skip(1).any(Option::is_some) {
        return Err(op
            .error("the loss depends on its output Mean or InvStdDev, which has no gradient rule")
            .help("let the model compute these statistics by nodes of their own"));
    }
    let Some(Some(dy)) = dy.first() else { return Ok(Cotangents::default()) };
    let (x, scale) = (op.input(0)?, op.input(1)?);
    let axes = trailing_axes(op, x, g)?;
    let axis = op.int("axis", -1);
    let bias = op.optional(2);
    let has_each = |value: &Value| {
        let x = g.fact(x);
        x.split_at(axis).is_some_and(|(_, normal)| g.fact(value).shape.as_deref() == Some(normal))
    };
    let like = bias.unwrap_or(scale);
    let [dx, dscale, dbias] = match layer_statistics(op, g)? {
        Some([mean, s]) if has_each(scale) && has_each(like) => {
            let signature = Signature {
                kind: LAYER_NORM_GRAD,
                inputs: &["x", "dy", "scale", "mean", "inverse_deviation"],
                outputs: &["dx", "dscale", "dbias"],
                attributes: vec![AttributeProto::int("axis", axis)],
            };
            let facts = [x, scale, scale].map(|value| g.fact(value));
            g.calls(signature, &[x, dy, scale, &mean, &s], facts, |g, values| {
                let [x, dy, scale, mean, s] = values else { unreachable!("the signature has five inputs") };
                Normal::given(x, mean, s.clone(), &axes, g).gradients(dy, scale, scale, g)
            })
        }
        Some([mean, s]) => Normal::given(x, &mean, s, &axes, g).gradients(dy, scale, like, g),
        None => Normal::of(x, &axes, epsilon(op), g).gradients(dy, scale, like, g),
    };
    Ok(Cotangents::of([Some(dx), Some(dscale), bias.map(|_| dbias)]))
}

/// μ and s = (σ² + ε)^−½ as a LayerNormalization returns them, which it does from now on; none where x is of unknown
/// shape, or they would be of another type than x.
pub(super) fn layer_statistics(op: &Op, g: &Builder<'_>) -> Result<Option<[Value; 2]>> {
    let (x, axis) = (g.fact(op.input(0)?), op.int("axis", -1));
    let stashed = op.int("stash_type", 1) == i64::from(DataType::Float as i32);
    let Some((batch, normal)) = x.split_at(axis).filter(|_| stashed && x.element == DataType::Float) else {
        return Ok(None);
    };
    let shape = batch.iter().cloned().chain(normal.iter().map(|_| Dim::Known(1))).collect();
    let fact = Arc::new(Fact { element: DataType::Float, shape: Some(shape) });
    let outputs = [(1, "mean"), (2, "inverse_deviation")];
    Ok(Some(outputs.map(|(position, name)| g.ensure_output(op.index(), position, name, fact.clone()))))
}

/// y = x̂ · γ + β, normalised for each example and channel  ⇒  x̂̄ = ȳ · γ,  γ̄ = Σ ȳ · x̂,  β̄ = Σ ȳ
fn instance(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, scale, bias) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let (dy3, x3) = (g.by_channel(dy), g.by_channel(x));
    let normal = Normal::of(&x3, &[2], epsilon(op), g);
    let dx = g.reshape_like(normal.cotangent(&g.mul(&dy3, g.unsqueeze(scale, &[1])), g), x);
    let dscale = g.reduce("ReduceSum", g.mul(&dy3, &normal.value), &[0, 2], false);
    let dbias = g.reduce("ReduceSum", &dy3, &[0, 2], false);
    Ok([dx, g.reshape_like(&dscale, scale), g.reshape_like(&dbias, bias)].into())
}

/// y = x̂ · γ + β, normalised for each example and group of channels ⇒ x̂̄ = ȳ · γ, γ̄ = Σ ȳ · x̂, β̄ = Σ ȳ. γ and β
/// have an element for each channel; one for each group, where that is their size (operator set 18).
fn group(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, scale, bias) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let groups = op.int("num_groups", 0);
    if groups < 1 {
        return Err(op.error("expected the attribute `num_groups`"));
    }
    let normal = Normal::of(&g.by_group(x, groups), &[2], epsilon(op), g);
    let scaled_by_group = g.fact(scale).dim(0).and_then(Dim::known) == Some(groups);
    let as_scaled = |value: &Value| {
        if scaled_by_group { g.by_group(value, groups) } else { g.by_channel(value) }
    };
    let dy = as_scaled(dy);
    let factor = g.unsqueeze(scale, &[1]);
    let dx = g.reshape_like(normal.cotangent(&g.by_group(g.mul(&dy, &factor), groups), g), x);
    let normal = g.reshape_like(&normal.value, x);
    let dscale = g.reduce("ReduceSum", g.mul(&dy, as_scaled(&normal)), &[0, 2], false);
    let dbias = g.reduce("ReduceSum", &dy, &[0, 2], false);
    Ok([dx, g.reshape_like(&dscale, scale), g.reshape_like(&dbias, bias)].into())
}

/// y = x · s · γ, s = (mean x² + ε)^−½ over all axes from `axis` on ⇒ x̂̄ = ȳ · γ, x̄ = s · (x̂̄ − x̂ · mean (x̂̄ ·
/// x̂)), γ̄ = Σ ȳ · x̂
fn root_mean_square(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, scale) = (op.input(0)?, op.input(1)?);
    let normal = Normal::of_centred(x, &trailing_axes(op, x, g)?, epsilon(op), g);
    let dnormal = g.mul(dy, scale);
    Ok([normal.cotangent_of_centred(&dnormal, g), g.sum_to(g.mul(dy, &normal.value), scale)].into())
}

/// y = (x − μ) / (σ + ε) ⇒ x̄ = (ȳ − mean ȳ − y · mean (ȳ · (x − μ)) / σ) / (σ + ε), with ε = 10⁻⁹ as in the standard;
/// where σ = 0 the term with it is 0
fn mean_variance(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, y) = (op.input(0)?, op.output(0)?);
    let axes = op.ints("axes").unwrap_or(&[0, 2, 3]);
    let mean = g.reduce("ReduceMean", x, axes, true);
    let centred = g.sub(x, &mean);
    let deviation = g.unary("Sqrt", g.reduce("ReduceMean", g.mul(&centred, &centred), axes, true));
    let along = g.div_or_zero(g.reduce("ReduceMean", g.mul(dy, &centred), axes, true), &deviation);
    let (mean, along) = (g.reduce("ReduceMean", dy, axes, true), g.mul(y, &along));
    Ok([g.div(g.sub(g.sub(dy, &mean), &along), g.plus(&deviation, 1e-9))].into())
}

/// y = x / n, n = ‖x‖ₚ along an axis ⇒ x̄ = (ȳ − u · Σ ȳ · y) / n, with u = y for p = 2 and sign x for p = 1; 0 where n
/// = 0
fn lp(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, y, axis) = (op.input(0)?, op.output(0)?, op.int("axis", -1));
    let (norm, direction) = match op.int("p", 2) {
        1 => (g.reduce("ReduceL1", x, &[axis], true), g.unary("Sign", x)),
        2 => (g.reduce("ReduceL2", x, &[axis], true), y.clone()),
        p => return Err(op.error(format!("it is a norm with p = {p}; expected 1 or 2"))),
    };
    let along = g.reduce("ReduceSum", g.mul(dy, y), &[axis], true);
    Ok([g.mul(g.sub(dy, g.mul(&direction, &along)), g.div_or_zero(g.number(1.0, x), &norm))].into())
}

/// y = x · s^−β, s = k + α · mean of x² over a window of channels (with zeros around them)  ⇒
/// x̄ = ȳ · s^−β − 2αβ · x · mean of (ȳ · y / s) over the mirrored window
fn local_response(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, y) = (op.input(0)?, op.output(0)?);
    let (alpha, beta) = (f64::from(op.float("alpha", 1e-4)), f64::from(op.float("beta", 0.75)));
    let size = op.int("size", 0);
    if size < 1 {
        return Err(op.error("expected the attribute `size`"));
    }
    let (before, after) = ((size - 1) / 2, size / 2);
    let [x3, y3, dy3] = [x, y, dy].map(|value| g.by_channel(value));
    let mean = channel_mean(&g.mul(&x3, &x3), size, [before, after], g);
    let s = g.plus(g.scale(&mean, alpha), f64::from(op.float("bias", 1.0)));
    let direct = g.mul(&dy3, g.binary("Pow", &s, g.number(-beta, x)));
    let around = g.mul(&x3, channel_mean(&g.div(g.mul(&dy3, &y3), &s), size, [after, before], g));
    Ok([g.reshape_like(g.sub(&direct, g.scale(&around, 2.0 * alpha * beta)), x)].into())
}

/// The mean over windows of `size` channels of a tensor of rank 3, with `pads` zeros before and behind them.
fn channel_mean(x: &Value, size: i64, pads: [i64; 2], g: &Builder<'_>) -> Value {
    let image = g.unsqueeze(x, &[1]);
    let fact = g.fact(&image);
    let attributes = vec![
        AttributeProto::ints("kernel_shape", &[size, 1]),
        AttributeProto::ints("pads", &[pads[0], 0, pads[1], 0]),
        AttributeProto::int("count_include_pad", 1),
    ];
    g.squeeze(g.node("AveragePool", &[&image], attributes, fact), &[1])
}

/// A normalised tensor, x̂.
struct Normal {
    value: Value,
    /// (σ² + ε)^−½
    scale: Value,
    axes: Vec<i64>,
}

impl Normal {
    fn of(x: &Value, axes: &[i64], epsilon: f64, g: &Builder<'_>) -> Self {
        Self::of_centred(&g.sub(x, g.reduce("ReduceMean", x, axes, true)), axes, epsilon, g)
    }

    /// Of a tensor whose statistics are there: μ, and `scale` = (σ² + ε)^−½.
    fn given(x: &Value, mean: &Value, scale: Value, axes: &[i64], g: &Builder<'_>) -> Self {
        Self { value: g.mul(g.sub(x, mean), &scale), scale, axes: axes.to_vec() }
    }

    /// Of a tensor whose mean is 0, or which is taken for one.
    fn of_centred(x: &Value, axes: &[i64], epsilon: f64, g: &Builder<'_>) -> Self {
        let variance = g.reduce("ReduceMean", g.mul(x, x), axes, true);
        let scale = g.unary("Reciprocal", g.unary("Sqrt", g.plus(&variance, epsilon)));
        Self { value: g.mul(x, &scale), scale, axes: axes.to_vec() }
    }

    /// The cotangents of the input, of γ and of β, which is as `bias`, by that of x̂ · γ + β.
    fn gradients(&self, dy: &Value, scale: &Value, bias: &Value, g: &Builder<'_>) -> [Value; 3] {
        let dx = self.cotangent(&g.mul(dy, scale), g);
        [dx, g.sum_to(g.mul(dy, &self.value), scale), g.sum_to(dy, bias)]
    }

    /// s · (x̂̄ − mean x̂̄ − x̂ · mean (x̂̄ · x̂))
    fn cotangent(&self, dnormal: &Value, g: &Builder<'_>) -> Value {
        let mean = g.reduce("ReduceMean", dnormal, &self.axes, true);
        self.cotangent_of_centred(&g.sub(dnormal, &mean), g)
    }

    /// s · (x̂̄ − x̂ · mean (x̂̄ · x̂))
    fn cotangent_of_centred(&self, dnormal: &Value, g: &Builder<'_>) -> Value {
        let along = g.reduce("ReduceMean", g.mul(dnormal, &self.value), &self.axes, true);
        g.mul(g.sub(dnormal, g.mul(&self.value, &along)), &self.scale)
    }
}

fn epsilon(op: &Op) -> f64 {
    op.float("epsilon", 1e-5).into()
}

/// The axes from the attribute `axis` to the last, counted from the end.
fn trailing_axes(op: &Op, x: &Value, g: &Builder<'_>) -> Result<Vec<i64>> {
    let first = match op.int("axis", -1) {
        axis if axis < 0 => axis,
        axis => {
            let rank = g.fact(x).rank().ok_or_else(|| {
                op.error("the rank of its input is not known, and its axis is counted from the front")
                    .help("declare the shapes of the model's inputs")
            })?;
            axis - rank as i64
        }
    };
    Ok((first..0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::{Gradients, gradient};
    use gnp_model::graph::Graph;
    use gnp_model::onnx::proto::NodeProto;
    use gnp_model::testing::{body, node};

    /// The operators of a LayerNormalization's gradient, and how many outputs the node has then.
    fn layer_norm(x: Fact) -> (Vec<String>, usize) {
        let nodes = [node("LayerNormalization", &["x", "w"], &["y"]), node("ReduceSum", &["y"], &["loss"])];
        let mut graph = Graph::new(body(&["x", "w"], &nodes, &["loss"])).unwrap();
        graph.declare("w", Fact::with_sizes(x.element, &[5]));
        graph.declare("y", x.clone());
        graph.declare("x", x.clone());
        graph.declare("loss", Fact::with_sizes(x.element, &[]));
        gradient(&mut graph, &"loss".into(), &["x".into()], Gradients::Standard, "gradient").unwrap();
        let operators = graph.added_nodes().map(NodeProto::operator).collect();
        (operators, graph.nodes()[0].output.len())
    }

    #[test]
    fn a_layer_norm_returns_its_statistics_to_its_gradient() {
        let count = |operators: &[String]| operators.iter().filter(|op| *op == "Sqrt").count();
        let (operators, outputs) = layer_norm(Fact::with_sizes(DataType::Float, &[2, 5]));
        assert_eq!((count(&operators), outputs), (0, 3));
        // Those of float64 would be float32, and those of unknown shape are of none that is known.
        for x in [Fact::with_sizes(DataType::Double, &[2, 5]), Fact::of(DataType::Float)] {
            let (operators, outputs) = layer_norm(x);
            assert_eq!((count(&operators), outputs), (1, 1));
        }
    }
}
