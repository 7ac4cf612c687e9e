//! Reductions over axes, and the running sum.
//!
//! A cotangent of the result is brought back to the rank of the input (`Over::restore`), and then broadcasts with it.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::AttributeProto;

pub(super) const RULES: &[Entry] = &[
    ("", "ReduceSum", Rule::Vjp(sum)),
    ("", "ReduceMean", Rule::Vjp(mean)),
    ("", "ReduceMax", Rule::Vjp(extremum)),
    ("", "ReduceMin", Rule::Vjp(extremum)),
    ("", "ReduceProd", Rule::Vjp(product)),
    ("", "ReduceL1", Rule::Vjp(l1)),
    ("", "ReduceL2", Rule::Vjp(l2)),
    ("", "ReduceLogSum", Rule::Vjp(log_sum)),
    ("", "ReduceLogSumExp", Rule::Vjp(log_sum_exp)),
    ("", "ReduceSumSquare", Rule::Vjp(sum_square)),
    ("", "CumProd", Rule::Vjp(cumulative_product)),
    ("", "CumSum", Rule::Vjp(cumulative_sum)),
];

/// y = Σ x  ⇒  x̄ = ȳ
fn sum(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let dy = Over::of(op, g)?.restore(dy, g);
    Ok([g.expand_like(&dy, op.input(0)?)].into())
}

/// y = Σ x / n  ⇒  x̄ = ȳ / n
fn mean(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (over, x) = (Over::of(op, g)?, op.input(0)?);
    Ok([g.expand_like(over.restore(&g.div(dy, over.count(x, op.output(0)?, g)), g), x)].into())
}

/// y = max x, or min x ⇒ x̄ = ȳ · \[x = y\] / n, with n the elements that are the extremum: ties share evenly, as in
/// PyTorch's `amax`.
fn extremum(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (over, x) = (Over::of(op, g)?, op.input(0)?);
    let dy = over.restore(dy, g);
    let mask = g.mask(g.compare("Equal", x, over.restore(op.output(0)?, g)), x);
    Ok([g.mul(&mask, g.div(&dy, over.reduce("ReduceSum", &mask, g)))].into())
}

/// y = Π x ⇒ x̄ᵢ = ȳ · Π over the others. With p the product of the elements that are not 0: p / xᵢ where none is 0; p
/// for the one that is; 0 where there are more.
fn product(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (over, x) = (Over::of(op, g)?, op.input(0)?);
    let dy = over.restore(dy, g);
    let (none, one) = (g.number(0.0, x), g.number(1.0, x));
    let zero = g.mask(g.compare("Equal", x, &none), x);
    let others = g.add(x, &zero);
    let dy = g.mul(&dy, over.reduce("ReduceProd", &others, g));
    let zeros = over.reduce("ReduceSum", &zero, g);
    let where_zeros = |n: &Value| g.mul(&dy, g.mask(g.compare("Equal", &zeros, n), x));
    let (dy_none, dy_one) = (where_zeros(&none), where_zeros(&one));
    Ok([g.add(g.div(&dy_none, &others), g.mul(&dy_one, &zero))].into())
}

/// y = Σ |x|  ⇒  x̄ = ȳ · sign x; 0 at x = 0
fn l1(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let dy = Over::of(op, g)?.restore(dy, g);
    Ok([g.mul(g.unary("Sign", op.input(0)?), &dy)].into())
}

/// y = √Σ x²  ⇒  x̄ = ȳ · x / y; 0 at y = 0
fn l2(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let y = op.output(0)?;
    let is_zero = g.compare("Equal", y, g.number(0.0, y));
    let dy = Over::of(op, g)?.restore(&g.div(dy, g.add(y, g.mask(&is_zero, y))), g);
    Ok([g.mul(op.input(0)?, &dy)].into())
}

/// y = log Σ x  ⇒  x̄ = ȳ · e⁻ʸ
fn log_sum(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let dy = Over::of(op, g)?.restore(&g.mul(dy, g.unary("Exp", g.neg(op.output(0)?))), g);
    Ok([g.expand_like(&dy, op.input(0)?)].into())
}

/// y = log Σ eˣ  ⇒  x̄ = ȳ · eˣ⁻ʸ
fn log_sum_exp(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let over = Over::of(op, g)?;
    let (dy, y) = (over.restore(dy, g), over.restore(op.output(0)?, g));
    Ok([g.mul(g.unary("Exp", g.sub(op.input(0)?, &y)), &dy)].into())
}

/// y = Σ x²  ⇒  x̄ = 2 ȳ · x
fn sum_square(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let dy = Over::of(op, g)?.restore(&g.scale(dy, 2.0), g);
    Ok([g.mul(op.input(0)?, &dy)].into())
}

/// yᵢ = Σ over j ≤ i of xⱼ  ⇒  x̄ⱼ = Σ over i ≥ j of ȳᵢ: the running sum in the other direction
fn cumulative_sum(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let attributes = vec![
        AttributeProto::int("exclusive", op.int("exclusive", 0)),
        AttributeProto::int("reverse", 1 - op.int("reverse", 0)),
    ];
    let fact = g.fact(op.input(0)?);
    Ok([g.node("CumSum", &[dy, op.input(1)?], attributes, fact)].into())
}

/// yᵢ = Π xⱼ over the j up to i along an axis ⇒ x̄ₖ = Σ ȳᵢ · Π xⱼ, j ≠ k, over the i from k on. With pᵢ the product of
/// the xⱼ that are not 0: pᵢ / xₖ, where none is 0; pᵢ for a k that alone is; 0 where there are more.
fn cumulative_product(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, axis) = (op.input(0)?, op.input(1)?);
    let (exclusive, reverse) = (op.int("exclusive", 0), op.int("reverse", 0));
    let running = |operator: &str, x: &Value, reverse: i64| {
        let attributes = vec![AttributeProto::int("exclusive", exclusive), AttributeProto::int("reverse", reverse)];
        g.node(operator, &[x, axis], attributes, g.fact(x))
    };
    let zero = g.mask(g.compare("Equal", x, g.number(0.0, x)), x);
    let others = g.add(x, &zero);
    let dy = g.mul(dy, running("CumProd", &others, reverse));
    let zeros = running("CumSum", &zero, reverse);
    let with_zeros = |count: f64| {
        let there = g.mask(g.compare("Equal", &zeros, g.number(count, x)), x);
        running("CumSum", &g.mul(&dy, there), 1 - reverse)
    };
    let (none, one) = (g.mul(with_zeros(0.0), g.minus_from(1.0, &zero)), with_zeros(1.0));
    Ok(Cotangents::of([Some(g.add(g.div(none, &others), g.mul(one, &zero)))]))
}

/// What a node reduces over.
struct Over {
    axes: Axes,
    /// Whether the result lacks the axes.
    drops: bool,
}

enum Axes {
    All,
    /// These, which may be counted from the end; over none where there are none.
    Known(Vec<i64>),
    /// Those that a value says when the graph runs; where it is empty, all or (`noop`) none.
    Given {
        axes: Value,
        noop: bool,
    },
}

impl Over {
    fn of(op: &Op, g: &Builder<'_>) -> Result<Self> {
        let noop = op.int("noop_with_empty_axes", 0) != 0;
        let axes = match op.optional(1).map(|axes| (axes, g.ints(axes), g.fact(axes).sizes())) {
            None if noop => Axes::Known(vec![]),
            None => Axes::All,
            Some((_, Some(axes), _)) if !axes.is_empty() || noop => Axes::Known(axes.to_vec()),
            Some((_, Some(_), _)) => Axes::All,
            Some((axes, None, _)) => Axes::Given { axes: axes.clone(), noop },
        };
        if op.attribute("axes").is_some() {
            return Err(op.error("its axes are an attribute; expected an input, as from operator set 18 on"));
        }
        Ok(Self { axes, drops: op.int("keepdims", 1) == 0 })
    }

    /// `y`, in the shape of the result, in one that broadcasts with the input.
    fn restore(&self, y: &Value, g: &Builder<'_>) -> Value {
        match &self.axes {
            _ if !self.drops => y.clone(),
            // A scalar broadcasts as it is.
            Axes::All => y.clone(),
            Axes::Known(axes) => g.unsqueeze(y, axes),
            // Where the axes are empty, `y` is a scalar or has the input's shape.
            Axes::Given { axes, .. } => {
                let fact = Fact::of(g.fact(y).element);
                g.node("Unsqueeze", &[y, axes], vec![], fact)
            }
        }
    }

    /// Another reduction of `x` over the same axes, in a shape that broadcasts with `x`.
    fn reduce(&self, operator: &str, x: &Value, g: &Builder<'_>) -> Value {
        match &self.axes {
            Axes::All => g.reduce_all(operator, x),
            Axes::Known(axes) => g.reduce(operator, x, axes, true),
            Axes::Given { axes, noop } => {
                let attributes = vec![
                    AttributeProto::int("keepdims", 1),
                    AttributeProto::int("noop_with_empty_axes", i64::from(*noop)),
                ];
                let fact = Fact::of(g.fact(x).element);
                g.node(operator, &[x, axes], attributes, fact)
            }
        }
    }

    /// How many elements of `x` make one of `y`, a scalar.
    fn count(&self, x: &Value, y: &Value, g: &Builder<'_>) -> Value {
        match &self.axes {
            Axes::All => g.count(x, None),
            Axes::Known(axes) if axes.is_empty() => g.number(1.0, x),
            Axes::Known(axes) => g.count(x, Some(axes)),
            Axes::Given { .. } => {
                let scalar = Fact::with_sizes(DataType::Int64, &[]);
                let (all, left) = (g.node("Size", &[x], vec![], scalar.clone()), g.node("Size", &[y], vec![], scalar));
                g.cast(g.div(&all, &left), g.fact(x).element)
            }
        }
    }
}
