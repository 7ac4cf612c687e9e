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
    let slope = above(op.output(0)?, 0.0, g);
    Ok([g.mul(dy, &slope)].into())
}

/// y = x where x > 0, α·x elsewhere  ⇒  x̄ = ȳ · (1 or α; α at 0)
fn leaky_relu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let alpha = f64::from(op.float("alpha", 0.01));
    let positive = above(op.input(0)?, 0.0, g);
    let slope = g.scale(&positive, 1.0 - alpha);
    let slope = g.plus(&slope, alpha);
    Ok([g.mul(dy, &slope)].into())
}

/// y = x where x > 0, s·x elsewhere  ⇒  x̄ = ȳ · (1 or s; s at 0),  s̄ = Σ ȳ · min(x, 0)
fn prelu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, s) = (op.input(0)?, op.input(1)?);
    let positive = above(x, 0.0, g);
    let rest = g.minus_from(1.0, &positive);
    let slope = g.mul_by(&rest, s);
    let slope = g.add(&slope, &positive);
    let negative_part = negative_part(x, g);
    let ds = g.mul(dy, &negative_part);
    Ok([g.mul(dy, &slope), g.sum_to(&ds, s)].into())
}

/// y = x where x > α, 0 elsewhere  ⇒  x̄ = ȳ · \[x > α\]
fn thresholded_relu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let slope = above(op.input(0)?, op.float("alpha", 1.0).into(), g);
    Ok([g.mul(dy, &slope)].into())
}

/// y = x + bias where x < −λ, x − bias where x > λ, 0 elsewhere  ⇒  x̄ = ȳ · \[|x| > λ\]
fn shrink(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let size = g.unary("Abs", op.input(0)?);
    let slope = above(&size, op.float("lambd", 0.5).into(), g);
    Ok([g.mul(dy, &slope)].into())
}

/// y = x where x > 0, α·(eˣ − 1) elsewhere  ⇒  x̄ = ȳ · (1 or α·eˣ; α at 0)
fn elu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let slope = elu_slope(op.input(0)?, op.float("alpha", 1.0).into(), g);
    Ok([g.mul(dy, &slope)].into())
}

/// y = γ · elu(x)  ⇒  x̄ = ȳ · γ · elu′(x)
fn selu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (alpha, gamma) = (op.float("alpha", 1.673_263_2), op.float("gamma", 1.050_701));
    let slope = elu_slope(op.input(0)?, alpha.into(), g);
    let slope = g.scale(&slope, gamma.into());
    Ok([g.mul(dy, &slope)].into())
}

/// y = x where x > 0, α·(e^(x/α) − 1) elsewhere  ⇒  x̄ = ȳ · e^(min(x, 0)/α)
fn celu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let negative = negative_part(op.input(0)?, g);
    let exponent = g.scale(&negative, 1.0 / f64::from(op.float("alpha", 1.0)));
    let slope = g.unary("Exp", &exponent);
    Ok([g.mul(dy, &slope)].into())
}

/// y = σ(x)  ⇒  x̄ = ȳ · (1 − y) · y
fn sigmoid(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let y = op.output(0)?;
    let rest = g.minus_from(1.0, y);
    let slope = g.mul(&rest, y);
    Ok([g.mul(dy, &slope)].into())
}

/// y = α·x + β kept between 0 and 1  ⇒  x̄ = ȳ · α · \[0 < y < 1\]
fn hard_sigmoid(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let y = op.output(0)?;
    let (zero, one) = (g.number(0.0, y), g.number(1.0, y));
    let (above, below) = (g.compare("Greater", y, &zero), g.compare("Less", y, &one));
    let inside = g.compare("And", &above, &below);
    let inside = g.mask(&inside, y);
    let slope = g.scale(&inside, op.float("alpha", 0.2).into());
    Ok([g.mul(dy, &slope)].into())
}

/// y = tanh x  ⇒  x̄ = ȳ · (1 − y²)
fn tanh(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let slope = tanh_slope(op.output(0)?, g);
    Ok([g.mul(dy, &slope)].into())
}

/// y = ln(1 + eˣ)  ⇒  x̄ = ȳ · σ(x)
fn softplus(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let slope = g.unary("Sigmoid", op.input(0)?);
    Ok([g.mul(dy, &slope)].into())
}

/// y = x / (1 + |x|)  ⇒  x̄ = ȳ / (1 + |x|)²
fn softsign(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let size = g.unary("Abs", op.input(0)?);
    let root = g.plus(&size, 1.0);
    let square = g.mul(&root, &root);
    Ok([g.div(dy, &square)].into())
}

/// y = x · σ(α·x)  ⇒  x̄ = ȳ · (s + α · y · (1 − s)), s = σ(α·x)
fn swish(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let (x, y, alpha) = (op.input(0)?, op.output(0)?, op.float("alpha", 1.0).into());
    let scaled = g.scale(x, alpha);
    let gate = g.unary("Sigmoid", &scaled);
    let rest = g.minus_from(1.0, &gate);
    let turn = g.mul(y, &rest);
    let turn = g.scale(&turn, alpha);
    let slope = g.add(&gate, &turn);
    Ok([g.mul(dy, &slope)].into())
}

/// y = x · h, h = x/6 + ½ kept between 0 and 1  ⇒  x̄ = ȳ · (h + x/6 · \[|x| < 3\]) (0 at −3, 1 at 3)
fn hard_swish(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let sixth = g.scale(x, 1.0 / 6.0);
    let (zero, one, three) = (g.number(0.0, x), g.number(1.0, x), g.number(3.0, x));
    let gate = g.plus(&sixth, 0.5);
    let gate = g.node("Clip", &[&gate, &zero, &one], vec![], g.fact(x).clone());
    let size = g.unary("Abs", x);
    let between = g.compare("Less", &size, &three);
    let between = g.mask(&between, x);
    let turn = g.mul(&sixth, &between);
    let slope = g.add(&gate, &turn);
    Ok([g.mul(dy, &slope)].into())
}

/// y = x · t, t = tanh(softplus x)  ⇒  x̄ = ȳ · (t + x · σ(x) · (1 − t²))
fn mish(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let softplus = g.unary("Softplus", x);
    let gate = g.unary("Tanh", &softplus);
    let sigmoid = g.unary("Sigmoid", x);
    let turn = g.mul(x, &sigmoid);
    let gate_slope = tanh_slope(&gate, g);
    let turn = g.mul(&turn, &gate_slope);
    let slope = g.add(&gate, &turn);
    Ok([g.mul(dy, &slope)].into())
}

/// y = x · Φ(x), Φ the normal distribution or its approximation by tanh  ⇒  x̄ = ȳ · (Φ(x) + x · Φ′(x))
fn gelu(op: &Op, dy: &Value, g: &Builder<'_>) -> Result<Cotangents> {
    let x = op.input(0)?;
    let square = g.mul(x, x);
    let (odd, density) = match op.string("approximate", "none") {
        "none" => {
            let scaled = g.scale(x, FRAC_1_SQRT_2);
            let exponent = g.scale(&square, -0.5);
            let bell = g.unary("Exp", &exponent);
            (g.unary("Erf", &scaled), g.scale(&bell, FRAC_1_SQRT_2 * (FRAC_2_PI / 2.0).sqrt()))
        }
        "tanh" => {
            // Φ(x) = ½ (1 + tanh u), u = √(2/π) · (x + c·x³)
            let (root, cubic) = (FRAC_2_PI.sqrt(), 0.044715);
            let factor = g.scale(&square, cubic * root);
            let factor = g.plus(&factor, root);
            let u = g.mul(x, &factor);
            let odd = g.unary("Tanh", &u);
            let du = g.scale(&square, 1.5 * cubic * root);
            let half_du = g.plus(&du, 0.5 * root);
            let slope = tanh_slope(&odd, g);
            (odd, g.mul(&half_du, &slope))
        }
        other => {
            return Err(op
                .error(format!("there is no approximation `{other}` of Gelu"))
                .help("the standard has `none` and `tanh`"));
        }
    };
    let half = g.scale(&odd, 0.5);
    let distribution = g.plus(&half, 0.5);
    let turn = g.mul(x, &density);
    let slope = g.add(&distribution, &turn);
    Ok([g.mul(dy, &slope)].into())
}

/// 1 where x > bound, 0 elsewhere.
fn above(x: &Value, bound: f64, g: &Builder<'_>) -> Value {
    let bound = g.number(bound, x);
    let above = g.compare("Greater", x, &bound);
    g.mask(&above, x)
}

/// min(x, 0)
fn negative_part(x: &Value, g: &Builder<'_>) -> Value {
    let zero = g.number(0.0, x);
    g.binary("Min", x, &zero)
}

/// The slope of Elu: α·e^min(x, 0) + (1 − α)·\[x > 0\].
fn elu_slope(x: &Value, alpha: f64, g: &Builder<'_>) -> Value {
    let negative = negative_part(x, g);
    let exp = g.unary("Exp", &negative);
    let slope = g.scale(&exp, alpha);
    if alpha == 1.0 {
        return slope;
    }
    let positive = above(x, 0.0, g);
    let rest = g.scale(&positive, 1.0 - alpha);
    g.add(&slope, &rest)
}

/// 1 − t², the slope of tanh where it is t.
fn tanh_slope(t: &Value, g: &Builder<'_>) -> Value {
    let square = g.mul(t, t);
    g.minus_from(1.0, &square)
}
