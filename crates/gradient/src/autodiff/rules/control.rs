//! Control flow: gradients through the branches of an If.

use super::{Cotangents, Entry, Op, Rule};
use crate::autodiff::{Gradients, pull_back};
use gnp_base::Result;
use gnp_model::graph::{Builder, Value};
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto};

pub(super) const RULES: &[Entry] = &[("", "If", Rule::VjpMany(branch))];

/// y = f(x) if c, g(x) if not, x captured ⇒ x̄ = ȳ·∂f/∂x if c, ȳ·∂g/∂x if not: an If on the same condition. Each of its
/// branches computes again what it needs of the forward branch, and is 0 for what that does not depend on.
fn branch(op: &Op, dys: &[Option<Value>], g: &Builder<'_>) -> Result<Cotangents> {
    let mut attributes = Vec::new();
    for name in ["then_branch", "else_branch"] {
        let body = op.body(name).ok_or_else(|| op.error(format!("it has no {name}")))?;
        if draws(body) {
            return Err(op
                .error("a branch draws random numbers, and its gradient would draw others")
                .help("draw them before the branch"));
        }
        attributes.push(AttributeProto::graph(name, pull_back_body(body, dys, op.captured(), g)?));
    }
    let facts = op.captured().iter().map(|value| g.fact(value)).collect();
    let cotangents = g.nodes("If", &[op.input(0)?], attributes, facts);
    Ok(Cotangents::of(std::iter::once(None).chain(cotangents.into_iter().map(Some))))
}

/// The body that returns the cotangents of `captured`, given those of what `body` returns.
fn pull_back_body(body: &GraphProto, dys: &[Option<Value>], captured: &[Value], g: &Builder<'_>) -> Result<GraphProto> {
    g.edit_copy_of_body(body, |copy, pass| {
        let outputs = copy.proto().output.iter().zip(dys);
        let cotangents: Vec<_> = outputs.filter_map(|(y, dy)| Some((y.name().into(), dy.clone()?))).collect();
        let cotangents = pull_back(copy, &cotangents, captured, Gradients::Standard, pass)?;
        let g = Builder::new(copy, pass);
        let or_zero = |(value, cotangent): (&Value, Option<Value>)| match cotangent {
            // A body returns what it makes itself, each value once.
            Some(cotangent) => g.unary("Identity", &cotangent),
            None => g.zeros_like(value),
        };
        Ok(captured.iter().zip(cotangents).map(or_zero).collect())
    })
}

/// Whether a graph draws random numbers.
pub(super) fn draws(graph: &GraphProto) -> bool {
    let draws_itself = |node: &NodeProto| match node.op_type() {
        "Dropout" => node.input.get(2).is_some_and(|training| !training.is_empty()),
        operator => operator.starts_with("Random") || matches!(operator, "Bernoulli" | "Multinomial"),
    };
    graph.node.iter().any(|node| draws_itself(node) || node.subgraphs().any(draws))
}
