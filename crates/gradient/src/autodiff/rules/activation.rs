//! Activation functions: x̄ = ȳ · f′(x). At a kink the slope is PyTorch's.

use super::{Cotangents, Entry, Op, Rule};
use gnp_base::Result;
use gnp_model::graph::{Builder, Value};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

pub(super) const RULES: &[Entry] = &[
    ("", "Relu", Rule::Vjp(relu)),
    ("", "LeakyRelu", Rule::Vjp(leaky_relu)),
    ("", "PRelu", Rule::Vjp(prelu)),
    ("", "ThresholdedRelu", Rule::Vjp(thresholded_relu)),
    ("", "Shrink", Rule::Vjp(shrink)),
    ("", "Elu", Rule::Vjp(elu)),
    ("", "Selu", Rule::Vjp(selu)),
    ("", "Celu", Rule::Vjp(celu)),
    ("", "Sigmoid", Rule::Vjp(sigmoid)),
    ("", "HardSigmoid", Rule::Vjp(hard_sigmoid)),
    ("", "Tanh", Rule::Vjp(tanh)),
    ("", "Softplus", Rule::Vjp(softplus)),
    ("", "Softsign", Rule::Vjp(softsign)),
    ("", "Swish", Rule::Vjp(swish)),
    ("", "HardSwish", Rule::Vjp(hard_swish)),
    ("", "Mish", Rule::Vjp(mish)),
    ("", "Gelu", Rule::Vjp(gelu)),
];

/// y = max(x, 0)  ⇒  x̄ = ȳ · \[y > 0\] (0 at 0)
fn relu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, above(op.output(0)?, 0.0, g))].into())
}

/// y = x where x > 0, α·x elsewhere  ⇒  x̄ = ȳ · (1 or α; α at 0)
fn leaky_relu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let alpha = f64::from(op.float("alpha", 0.01));
    Ok([g.mul(dy, g.plus(g.scale(above(op.input(0)?, 0.0, g), 1.0 - alpha), alpha))].into())
}

/// y = x where x > 0, s·x elsewhere  ⇒  x̄ = ȳ · (1 or s; s at 0),  s̄ = Σ ȳ · min(x, 0)
fn prelu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, s) = (op.input(0)?, op.input(1)?);
    let positive = above(x, 0.0, g);
    let slope = g.add(g.mul_by(g.minus_from(1.0, &positive), s), &positive);
    let ds = g.mul(dy, negative_part(x, g));
    Ok([g.mul(dy, &slope), g.sum_to(&ds, s)].into())
}

/// y = x where x > α, 0 elsewhere  ⇒  x̄ = ȳ · \[x > α\]
fn thresholded_relu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, above(op.input(0)?, op.float("alpha", 1.0).into(), g))].into())
}

/// y = x + bias where x < −λ, x − bias where x > λ, 0 elsewhere  ⇒  x̄ = ȳ · \[|x| > λ\]
fn shrink(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, above(&g.unary("Abs", op.input(0)?), op.float("lambd", 0.5).into(), g))].into())
}

/// y = x where x > 0, α·(eˣ − 1) elsewhere  ⇒  x̄ = ȳ · (1 or α·eˣ; α at 0)
fn elu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, elu_slope(op.input(0)?, op.float("alpha", 1.0).into(), g))].into())
}

/// y = γ · elu(x)  ⇒  x̄ = ȳ · γ · elu′(x)
fn selu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (alpha, gamma) = (op.float("alpha", 1.673_263_2), op.float("gamma", 1.050_701));
    Ok([g.mul(dy, g.scale(elu_slope(op.input(0)?, alpha.into(), g), gamma.into()))].into())
}

/// y = x where x > 0, α·(e^(x/α) − 1) elsewhere  ⇒  x̄ = ȳ · e^(min(x, 0)/α)
fn celu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let exponent = g.scale(negative_part(op.input(0)?, g), 1.0 / f64::from(op.float("alpha", 1.0)));
    Ok([g.mul(dy, g.unary("Exp", &exponent))].into())
}

/// y = σ(x)  ⇒  x̄ = ȳ · (1 − y) · y
fn sigmoid(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let y = op.output(0)?;
    Ok([g.mul(dy, g.mul(g.minus_from(1.0, y), y))].into())
}

/// y = α·x + β kept between 0 and 1  ⇒  x̄ = ȳ · α · \[0 < y < 1\]
fn hard_sigmoid(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let y = op.output(0)?;
    let (zero, one) = (g.number(0.0, y), g.number(1.0, y));
    let inside = g.compare("And", g.compare("Greater", y, &zero), g.compare("Less", y, &one));
    Ok([g.mul(dy, g.scale(g.mask(&inside, y), op.float("alpha", 0.2).into()))].into())
}

/// y = tanh x  ⇒  x̄ = ȳ · (1 − y²)
fn tanh(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, tanh_slope(op.output(0)?, g))].into())
}

/// y = ln(1 + eˣ)  ⇒  x̄ = ȳ · σ(x)
fn softplus(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    Ok([g.mul(dy, g.unary("Sigmoid", op.input(0)?))].into())
}

/// y = x / (1 + |x|)  ⇒  x̄ = ȳ / (1 + |x|)²
fn softsign(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let root = g.plus(g.unary("Abs", op.input(0)?), 1.0);
    Ok([g.div(dy, g.mul(&root, &root))].into())
}

/// y = x · σ(α·x)  ⇒  x̄ = ȳ · (s + α · y · (1 − s)), s = σ(α·x)
fn swish(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, y, alpha) = (op.input(0)?, op.output(0)?, op.float("alpha", 1.0).into());
    let gate = g.unary("Sigmoid", g.scale(x, alpha));
    let turn = g.mul(y, g.minus_from(1.0, &gate));
    Ok([g.mul(dy, g.add(&gate, g.scale(&turn, alpha)))].into())
}

/// y = x · h, h = x/6 + ½ kept between 0 and 1  ⇒  x̄ = ȳ · (h + x/6 · \[|x| < 3\]) (0 at −3, 1 at 3)
fn hard_swish(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let sixth = g.scale(x, 1.0 / 6.0);
    let (zero, one, three) = (g.number(0.0, x), g.number(1.0, x), g.number(3.0, x));
    let gate = g.node("Clip", &[&g.plus(&sixth, 0.5), &zero, &one], vec![], g.fact(x));
    let between = g.mask(g.compare("Less", g.unary("Abs", x), &three), x);
    Ok([g.mul(dy, g.add(&gate, g.mul(&sixth, &between)))].into())
}

/// y = x · t, t = tanh(softplus x)  ⇒  x̄ = ȳ · (t + x · σ(x) · (1 − t²))
fn mish(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let gate = g.unary("Tanh", g.unary("Softplus", x));
    let turn = g.mul(x, g.unary("Sigmoid", x));
    Ok([g.mul(dy, g.add(&gate, g.mul(&turn, tanh_slope(&gate, g))))].into())
}

/// y = x · Φ(x), Φ the normal distribution or its approximation by tanh  ⇒  x̄ = ȳ · (Φ(x) + x · Φ′(x))
fn gelu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let square = g.mul(x, x);
    let (odd, density) = match op.string("approximate", "none") {
        "none" => {
            let scaled = g.scale(x, FRAC_1_SQRT_2);
            let bell = g.unary("Exp", g.scale(&square, -0.5));
            (g.unary("Erf", &scaled), g.scale(&bell, FRAC_1_SQRT_2 * (FRAC_2_PI / 2.0).sqrt()))
        }
        "tanh" => {
            // Φ(x) = ½ (1 + tanh u), u = √(2/π) · (x + c·x³)
            let (root, cubic) = (FRAC_2_PI.sqrt(), 0.044715);
            let factor = g.scale(&square, cubic * root);
            let odd = g.unary("Tanh", g.mul(x, g.plus(&factor, root)));
            let du = g.scale(&square, 1.5 * cubic * root);
            let slope = g.mul(g.plus(&du, 0.5 * root), tanh_slope(&odd, g));
            (odd, slope)
        }
        other => {
            return Err(op
                .error(format!("there is no approximation `{other}` of Gelu"))
                .help("the standard has `none` and `tanh`"));
        }
    };
    let half = g.scale(&odd, 0.5);
    Ok([g.mul(dy, g.add(g.plus(&half, 0.5), g.mul(x, &density)))].into())
}

/// 1 where x > bound, 0 elsewhere.
fn above(x: &Value, bound: f64, g: &Builder<'_>) -> Value {
    g.mask(g.compare("Greater", x, g.number(bound, x)), x)
}

/// min(x, 0)
fn negative_part(x: &Value, g: &Builder<'_>) -> Value {
    g.binary("Min", x, g.number(0.0, x))
}

/// The slope of Elu: α·e^min(x, 0) + (1 − α)·\[x > 0\].
fn elu_slope(x: &Value, alpha: f64, g: &Builder<'_>) -> Value {
    let slope = g.scale(g.unary("Exp", negative_part(x, g)), alpha);
    if alpha == 1.0 {
        return slope;
    }
    g.add(&slope, g.scale(above(x, 0.0, g), 1.0 - alpha))
}

/// 1 − t², the slope of tanh where it is t.
fn tanh_slope(t: &Value, g: &Builder<'_>) -> Value {
    g.minus_from(1.0, g.mul(t, t))
}
