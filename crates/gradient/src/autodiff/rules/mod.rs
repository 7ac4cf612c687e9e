//! The rules, one file a family of operators.
//!
//! A rule is a function from the cotangents of a node's outputs to those of its inputs. To add one, write it in the
//! file of its family and name it in that file's `RULES`. A new family is a file, and a line in each of the two lists
//! below. The rules in operators of ONNX Runtime's own are in `ort`.

mod activation;
mod arithmetic;
mod bits;
mod columns;
mod control;
mod conv;
mod deform_conv;
mod determinant;
mod einsum;
mod function;
mod grid;
mod index;
mod layout;
mod loops;
mod matmul;
mod norm;
mod ort;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod region;
mod resize;
mod select;
mod signal;
mod slice;
mod softmax;
mod zero;

// What several families need.
mod positions;
mod sampling;
mod scatter;
mod window;

use super::op::{Cotangents, Op};
use foldhash::HashMap;
use gnp_base::Result;
use gnp_model::graph::{Builder, Value};
use gnp_model::onnx::proto::standard_domain;
use std::sync::LazyLock;

/// How an operator is differentiated.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// A vector-Jacobian product of an operator whose first output alone carries a cotangent.
    Vjp(fn(&Op, &Value, &Builder<'_>) -> Result<Cotangents>),
    /// A vector-Jacobian product of an operator with several outputs; there is no cotangent for an output that the loss
    /// does not depend on.
    VjpMany(fn(&Op, &[Option<Value>], &Builder<'_>) -> Result<Cotangents>),
    /// What the operator computes, in operators that have rules: its outputs from the first on. They are differentiated
    /// in its place, and what only their values need is removed.
    Definition(fn(&Op, &Builder<'_>) -> Result<Vec<Value>>),
    /// The derivative is zero, or there is none, by definition: the gradient does not go on.
    Zero,
}

/// A rule with the operator's domain (empty for the standard operators) and name.
type Entry = (&'static str, &'static str, Rule);

static FAMILIES: &[&[Entry]] = &[
    activation::RULES,
    arithmetic::RULES,
    bits::RULES,
    columns::RULES,
    control::RULES,
    conv::RULES,
    deform_conv::RULES,
    determinant::RULES,
    einsum::RULES,
    function::RULES,
    grid::RULES,
    index::RULES,
    layout::RULES,
    loops::RULES,
    matmul::RULES,
    norm::RULES,
    pool::RULES,
    quantize::RULES,
    recurrent::RULES,
    reduce::RULES,
    region::RULES,
    resize::RULES,
    select::RULES,
    signal::RULES,
    slice::RULES,
    softmax::RULES,
    zero::RULES,
];

static TABLE: LazyLock<HashMap<(&str, &str), Rule>> =
    LazyLock::new(|| registered().map(|(domain, operator, rule)| ((domain, operator), rule)).collect());

/// All rules: domain (empty for the standard operators), operator, rule.
pub fn registered() -> impl Iterator<Item = (&'static str, &'static str, Rule)> {
    FAMILIES.iter().copied().flatten().copied()
}

/// The rule for an operator, if there is one.
///
/// ```
/// use gnp_gradient::autodiff::rule;
/// assert!(rule("", "MatMul").is_some() || rule("", "Mul").is_some());
/// assert!(rule("com.example", "Mul").is_none());
/// ```
pub fn rule(domain: &str, operator: &str) -> Option<Rule> {
    TABLE.get(&(standard_domain(domain), operator)).copied()
}
