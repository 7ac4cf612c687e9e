//! Operators that compute each element from those at its place, broadcast where there are several operands.
//!
//! Small constants are computed: whole numbers exactly, as ONNX Runtime does (overflow wraps), floating-point numbers
//! rounded to their type.

use super::super::known::{Elements, Known};
use super::super::size::Size;
use super::moved::{broadcast_sizes, whole, zipped};
use super::{Operation, Rule, named};
use crate::onnx::DataType;

/// One operand, whose type the result has.
const UNARY: &str = "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu \
    HardSigmoid HardSwish Identity LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh \
    Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu";

/// Operands that broadcast, of a type that the result has.
const ARITHMETIC: &str = "Add BitShift BitwiseAnd BitwiseOr BitwiseXor Div Max Mean Min Mod Mul Pow Sub Sum SwiGLU";

/// Operands that broadcast; the result is true or false.
const COMPARISONS: &str = "And Equal Greater GreaterOrEqual Less LessOrEqual Or StringConcat Xor";

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Cast" | "BitCast" => cast,
        "CastLike" => |op| Some(vec![to(op.input(0), op.element(1))]),
        "IsNaN" | "IsInf" | "RegexFullMatch" => {
            |op| Some(vec![Known::of(DataType::Bool).with(op.input(0).sizes.clone())])
        }
        "Where" => select,
        "Clip" => clip,
        "PRelu" => |op| Some(vec![op.like(0)]),
        operator if named(UNARY, operator) => unary,
        operator if named(ARITHMETIC, operator) => arithmetic,
        operator if named(COMPARISONS, operator) => comparison,
        _ => return None,
    })
}

fn unary(op: &Operation<'_>) -> Option<Vec<Known>> {
    let x = op.input(0);
    let computed = || {
        let sizes = x.numbers()?;
        let elements = match (op.node.op_type(), x.elements()?) {
            ("Identity", elements) => elements.clone(),
            ("Not", Elements::Whole(_)) => whole(x.ints()?.into_iter().map(|truth| i64::from(truth == 0))),
            ("Neg", Elements::Whole(all)) => {
                Elements::Whole(all.iter().map(|n| difference(&Size::ZERO, n, x.element)).collect::<Option<_>>()?)
            }
            ("Abs", Elements::Whole(_)) => {
                whole(x.ints()?.into_iter().map(|n| wrapped(n.wrapping_abs(), x.element)).collect::<Option<Vec<_>>>()?)
            }
            ("Sign", Elements::Whole(_)) => whole(x.ints()?.into_iter().map(i64::signum)),
            (operator, Elements::Real(all)) => {
                let f = real(operator)?;
                Elements::Real(all.iter().map(|&n| rounded(f(n), x.element)).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        Some(Known::of(x.element).with_elements(&sizes, Some(elements)))
    };
    Some(vec![computed().unwrap_or_else(|| x.without_elements())])
}

/// The numbers from the smallest on to the largest, which are attributes in old operators.
fn clip(op: &Operation<'_>) -> Option<Vec<Known>> {
    let x = op.input(0);
    let bound = |name: &str, index: usize, default: f64| match op.node.attribute(name) {
        Some(bound) => Some(f64::from(bound.f())),
        None if op.has(index) => match op.input(index).floats()? {
            &[bound] => Some(bound),
            _ => None,
        },
        None => Some(default),
    };
    let computed = || {
        let (least, most) = (bound("min", 1, f64::NEG_INFINITY)?, bound("max", 2, f64::INFINITY)?);
        let all = x.floats()?.iter().map(|n| n.max(least).min(most)).collect();
        Some(Known::of(x.element).with_elements(&x.numbers()?, Some(Elements::Real(all))))
    };
    Some(vec![computed().unwrap_or_else(|| x.without_elements())])
}

/// A function of a floating-point number.
fn real(operator: &str) -> Option<fn(f64) -> f64> {
    Some(match operator {
        "Abs" => f64::abs,
        "Neg" => |x| -x,
        "Ceil" => f64::ceil,
        "Floor" => f64::floor,
        "Round" => f64::round_ties_even,
        "Sqrt" => f64::sqrt,
        "Reciprocal" => f64::recip,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Sin" => f64::sin,
        "Cos" => f64::cos,
        "Tanh" => f64::tanh,
        "Relu" => |x| x.max(0.0),
        "Sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        _ => return None,
    })
}

/// A floating-point number of a type; none of the types of 16 bits and less.
pub(super) fn rounded(number: f64, element: Option<DataType>) -> Option<f64> {
    match element? {
        DataType::Float => Some(f64::from(number as f32)),
        DataType::Double => Some(number),
        _ => None,
    }
}

/// A whole number in the bits of its type.
fn wrapped(number: i64, element: Option<DataType>) -> Option<i64> {
    Some(match element? {
        DataType::Int64 => number,
        DataType::Int32 => i64::from(number as i32),
        DataType::Int16 => i64::from(number as i16),
        DataType::Int8 => i64::from(number as i8),
        DataType::Uint32 => i64::from(number as u32),
        DataType::Uint16 => i64::from(number as u16),
        DataType::Uint8 => i64::from(number as u8),
        _ => return None,
    })
}

/// What broadcasting makes of the operands.
fn sizes(op: &Operation<'_>) -> Option<super::Sizes> {
    // Before operator set 7, only the second operand broadcasts, and `axis` says where.
    if op.node.int("broadcast", 0) == 1 {
        return op.sizes(0).cloned();
    }
    broadcast_sizes((0..op.node.input.len()).map(|i| op.sizes(i)).collect::<Option<Vec<_>>>()?)
}

pub(super) fn arithmetic(op: &Operation<'_>) -> Option<Vec<Known>> {
    let element = op.element(0).or(op.element(1));
    let sizes = sizes(op);
    let computed = || {
        let sizes = sizes.as_ref()?;
        let whole = op.inputs.iter().map(|input| input.whole()).collect::<Option<Vec<_>>>();
        if let Some(operands) = whole {
            let each = |places: &[usize]| {
                let mut values = operands.iter().zip(places).map(|(all, &at)| all.get(at));
                let first = values.next()??.clone();
                values.try_fold(first, |a, b| of_whole(op, &a, b?, element))
            };
            let (to, made) = zipped(sizes, &op.inputs, each)?;
            return Some((to, Elements::Whole(made)));
        }
        let operands = op.inputs.iter().map(|input| input.floats()).collect::<Option<Vec<_>>>()?;
        let each = |places: &[usize]| {
            let mut values = operands.iter().zip(places).map(|(all, &at)| all.get(at).copied());
            let first = values.next()??;
            let made = values.try_fold(first, |a, b| rounded(of_real(op.node.op_type(), a, b?)?, element))?;
            match op.node.op_type() {
                "Mean" => rounded(made / operands.len() as f64, element),
                _ => Some(made),
            }
        };
        let (to, made) = zipped(sizes, &op.inputs, each)?;
        Some((to, Elements::Real(made)))
    };
    let made = Known::of(element);
    Some(vec![match computed() {
        Some((to, elements)) => made.with_elements(&to, Some(elements)),
        None => made.with(sizes),
    }])
}

fn of_whole(op: &Operation<'_>, a: &Size, b: &Size, element: Option<DataType>) -> Option<Size> {
    let operator = op.node.op_type();
    let Some((x, y)) = a.known().zip(b.known()) else {
        // Of what is 0 or more, whole parts and quotients rounded to 0 are the same.
        return match operator {
            "Add" | "Sum" => a.plus(b),
            "Sub" => a.minus(b),
            "Mul" => a.times(b),
            "Div" if a.is_not_negative() => a.over(b.known()?),
            "Max" => larger(a, b),
            "Min" => larger(a, b).map(|larger| if larger == *a { b.clone() } else { a.clone() }),
            _ => None,
        };
    };
    let number = match operator {
        "Add" | "Sum" => x.wrapping_add(y),
        "Sub" => x.wrapping_sub(y),
        "Mul" => x.wrapping_mul(y),
        "Div" if y != 0 => x.wrapping_div(y),
        "Mod" if y != 0 && op.node.int("fmod", 0) == 1 => x.wrapping_rem(y),
        // The sign is the divisor's.
        "Mod" if y != 0 => {
            let rest = x.wrapping_rem(y);
            if rest != 0 && (rest < 0) != (y < 0) { rest.wrapping_add(y) } else { rest }
        }
        "Min" => x.min(y),
        "Max" => x.max(y),
        "Pow" => x.checked_pow(u32::try_from(y).ok()?)?,
        _ => return None,
    };
    wrapped(number, element).map(Size::number)
}

/// The larger of two, where one surely is.
fn larger(a: &Size, b: &Size) -> Option<Size> {
    if a.minus(b)?.is_not_negative() { Some(a.clone()) } else { b.minus(a)?.is_not_negative().then(|| b.clone()) }
}

fn difference(a: &Size, b: &Size, element: Option<DataType>) -> Option<Size> {
    match a.known().zip(b.known()) {
        Some((a, b)) => wrapped(a.wrapping_sub(b), element).map(Size::number),
        None => a.minus(b),
    }
}

fn of_real(operator: &str, a: f64, b: f64) -> Option<f64> {
    Some(match operator {
        "Add" | "Sum" | "Mean" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        "Pow" => a.powf(b),
        "Min" => a.min(b),
        "Max" => a.max(b),
        _ => return None,
    })
}

fn comparison(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(if op.node.op_type() == "StringConcat" { DataType::String } else { DataType::Bool });
    let sizes = sizes(op);
    let operator = op.node.op_type();
    let computed = || {
        let operands = op.inputs.iter().map(|input| input.elements()).collect::<Option<Vec<_>>>()?;
        let each = |places: &[usize]| match (&operands[..], places) {
            ([Elements::Whole(a), Elements::Whole(b)], &[x, y]) => compared(operator, a.get(x)?, b.get(y)?),
            ([Elements::Real(a), Elements::Real(b)], &[x, y]) => {
                let (a, b) = (a.get(x)?, b.get(y)?);
                Some(match operator {
                    "Equal" => a == b,
                    "Greater" => a > b,
                    "GreaterOrEqual" => a >= b,
                    "Less" => a < b,
                    "LessOrEqual" => a <= b,
                    _ => return None,
                })
            }
            _ => None,
        };
        zipped(sizes.as_ref()?, &op.inputs, each)
    };
    Some(vec![match computed() {
        Some((to, truths)) => made.with_elements(&to, Some(whole(truths.into_iter().map(i64::from)))),
        None => made.with(sizes),
    }])
}

/// What a comparison of whole numbers or truths says, where it is sure.
fn compared(operator: &str, a: &Size, b: &Size) -> Option<bool> {
    let truths = || Some((a.known()? != 0, b.known()? != 0));
    let below = |a: &Size, b: &Size| {
        let (ahead, behind) = (b.minus(a)?, a.minus(b)?);
        if ahead.is_positive() { Some(true) } else { behind.is_not_negative().then_some(false) }
    };
    match operator {
        "And" => truths().map(|(a, b)| a && b),
        "Or" => truths().map(|(a, b)| a || b),
        "Xor" => truths().map(|(a, b)| a != b),
        "Equal" if a == b => Some(true),
        "Equal" => {
            (a.minus(b)?.is_positive() || b.minus(a)?.is_positive() || a.known().is_some() && b.known().is_some())
                .then_some(false)
        }
        "Less" => below(a, b),
        "Greater" => below(b, a),
        "LessOrEqual" => below(b, a).map(|more| !more),
        "GreaterOrEqual" => below(a, b).map(|less| !less),
        _ => None,
    }
}

fn cast(op: &Operation<'_>) -> Option<Vec<Known>> {
    if op.node.op_type() == "BitCast" {
        return Some(vec![Known::of(op.named_type("to")).with(op.sizes(0).cloned())]);
    }
    Some(vec![to(op.input(0), op.named_type("to"))])
}

/// The elements as of another type. From a floating-point number out of range, or none, engines make this or that.
fn to(x: &Known, element: Option<DataType>) -> Known {
    let is_real = matches!(element, Some(DataType::Float | DataType::Double));
    let computed = || {
        let sizes = x.numbers()?;
        let elements = match (x.elements()?, element?) {
            (Elements::Whole(all), DataType::Int64) => Elements::Whole(all.clone()),
            (Elements::Whole(_), DataType::Bool) => whole(x.ints()?.into_iter().map(|n| i64::from(n != 0))),
            (Elements::Whole(_), _) if is_real => {
                Elements::Real(x.ints()?.into_iter().map(|n| rounded(n as f64, element)).collect::<Option<_>>()?)
            }
            (Elements::Whole(_), _) => {
                whole(x.ints()?.into_iter().map(|n| wrapped(n, element)).collect::<Option<Vec<_>>>()?)
            }
            (Elements::Real(all), _) if is_real => {
                Elements::Real(all.iter().map(|&n| rounded(n, element)).collect::<Option<_>>()?)
            }
            (Elements::Real(all), DataType::Float16) if x.element == element => Elements::Real(all.clone()),
            (Elements::Real(all), DataType::Bool) => whole(all.iter().map(|&n| i64::from(n != 0.0))),
            (Elements::Real(all), _) => {
                let each = |&n: &f64| {
                    let number = n.trunc() as i64;
                    (number as f64 == n.trunc() && wrapped(number, element)? == number).then_some(number)
                };
                whole(all.iter().map(each).collect::<Option<Vec<_>>>()?)
            }
        };
        Some(Known::of(element).with_elements(&sizes, Some(elements)))
    };
    computed().unwrap_or_else(|| Known::of(element).with(x.sizes.clone()))
}

/// Where: of two, one by one, that which a condition selects.
fn select(op: &Operation<'_>) -> Option<Vec<Known>> {
    let element = op.element(1).or(op.element(2));
    let sizes = sizes(op);
    let computed = || {
        let conditions = op.input(0).ints()?;
        let sizes = sizes.as_ref()?;
        match (op.input(1).elements()?, op.input(2).elements()?) {
            (Elements::Whole(yes), Elements::Whole(no)) => {
                let each = |places: &[usize]| match *places {
                    [condition, a, b] => {
                        if *conditions.get(condition)? != 0 {
                            yes.get(a).cloned()
                        } else {
                            no.get(b).cloned()
                        }
                    }
                    _ => None,
                };
                zipped(sizes, &op.inputs, each).map(|(to, made)| (to, Elements::Whole(made)))
            }
            (Elements::Real(yes), Elements::Real(no)) => {
                let each = |places: &[usize]| match *places {
                    [condition, a, b] => {
                        if *conditions.get(condition)? != 0 {
                            yes.get(a).copied()
                        } else {
                            no.get(b).copied()
                        }
                    }
                    _ => None,
                };
                zipped(sizes, &op.inputs, each).map(|(to, made)| (to, Elements::Real(made)))
            }
            _ => None,
        }
    };
    let made = Known::of(element);
    Some(vec![match computed() {
        Some((to, elements)) => made.with_elements(&to, Some(elements)),
        None => made.with(sizes),
    }])
}
