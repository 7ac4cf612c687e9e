//! What an elementwise operator is in a formula.

use crate::graph::Facts;
use crate::onnx::DataType;
use crate::onnx::proto::NodeProto;
use gnp_base::formula::{Builder, Operation, TermId};

/// The inputs whose elements a node computes with: the shape that operands broadcast to is none of them.
pub(super) fn operands(node: &NodeProto) -> &[String] {
    if is_broadcast(node) { &node.input[..1] } else { &node.input }
}

/// Whether a node only broadcasts its input, as whoever reads it does by itself.
pub(super) fn is_broadcast(node: &NodeProto) -> bool {
    node.is("", "Expand")
}

/// Whether a node can be told by a formula, as far as its operator and its attributes go.
pub(super) fn is_elementwise(node: &NodeProto, facts: &Facts) -> bool {
    let mut formula = Builder::default();
    let arguments = (0..node.input.len()).map(|i| (!node.input[i].is_empty()).then(|| formula.operand(i)));
    let arguments: Vec<_> = arguments.collect();
    of_node(node, facts, &arguments, &mut formula).is_some()
}

/// The value of a node, given those of its inputs; none where no formula tells it.
pub(super) fn of_node(
    node: &NodeProto,
    facts: &Facts,
    arguments: &[Option<TermId>],
    f: &mut Builder,
) -> Option<TermId> {
    use Operation::{Abs, Add, Div, Erf, Exp, Less, Log, Max, Min, Mul, Neg, Where};
    if !node.domain().is_empty() {
        return None;
    }
    let x = arguments.first().copied().flatten()?;
    let given: Vec<TermId> = arguments.iter().copied().flatten().collect();
    let fold = |f: &mut Builder, operation| given[1..].iter().fold(x, |sum, &next| f.apply(operation, &[sum, next]));
    Some(match node.op_type() {
        "Sum" => fold(f, Add),
        "Max" => fold(f, Max),
        "Min" => fold(f, Min),
        "Cast" => {
            let is = |name: &str, element| facts.get(name).is_some_and(|fact| fact.element == element);
            let gives_numbers = is(&node.input[0], DataType::Bool) && is(node.output.first()?, DataType::Float);
            gives_numbers.then_some(x)?
        }
        "Expand" => x,
        "Relu" => clamp(f, x, Some(0.0), None),
        "Clip" => {
            // Where they are numbers; those of inputs may be fed, and are read.
            let bound = |position: usize| arguments.get(position).copied().flatten();
            let is_number = |position: usize| node.input(position).is_none_or(|name| facts.number(name).is_some());
            (is_number(1) && is_number(2)).then(|| bounded(f, x, bound(1), bound(2)))?
        }
        "LeakyRelu" => {
            let (zero, slope) = (f.constant(0.0), f.constant(node.float("alpha", 0.01)));
            let (below, sloped) = (f.apply(Less, &[x, zero]), f.apply(Mul, &[slope, x]));
            f.apply(Where, &[below, sloped, x])
        }
        "HardSigmoid" => {
            let (alpha, beta) = (f.constant(node.float("alpha", 0.2)), f.constant(node.float("beta", 0.5)));
            let scaled = f.apply(Mul, &[alpha, x]);
            let line = f.apply(Add, &[scaled, beta]);
            clamp(f, line, Some(0.0), Some(1.0))
        }
        "HardSwish" => {
            let (alpha, beta) = (f.constant(1.0 / 6.0), f.constant(0.5));
            let scaled = f.apply(Mul, &[alpha, x]);
            let line = f.apply(Add, &[scaled, beta]);
            let gate = clamp(f, line, Some(0.0), Some(1.0));
            f.apply(Mul, &[x, gate])
        }
        // ln (1 + eˣ), which does not overflow.
        "Softplus" => {
            let magnitude = f.apply(Abs, &[x]);
            let negative = f.apply(Neg, &[magnitude]);
            let (small, one) = (f.apply(Exp, &[negative]), f.constant(1.0));
            let sum = f.apply(Add, &[one, small]);
            let (rest, positive) = (f.apply(Log, &[sum]), clamp(f, x, Some(0.0), None));
            f.apply(Add, &[positive, rest])
        }
        "Gelu" if node.string("approximate", "none") == "none" => {
            let (root, one, half) = (f.constant(std::f32::consts::SQRT_2), f.constant(1.0), f.constant(0.5));
            let scaled = f.apply(Div, &[x, root]);
            let erf = f.apply(Erf, &[scaled]);
            let (sum, halved) = (f.apply(Add, &[one, erf]), f.apply(Mul, &[half, x]));
            f.apply(Mul, &[halved, sum])
        }
        other => {
            let operation = Operation::of_onnx(other)?;
            (operation.arity() == arguments.len() && given.len() == arguments.len())
                .then(|| f.apply(operation, &given))?
        }
    })
}

fn clamp(f: &mut Builder, x: TermId, low: Option<f32>, high: Option<f32>) -> TermId {
    let [low, high] = [low, high].map(|bound| bound.map(|bound| f.constant(bound)));
    bounded(f, x, low, high)
}

fn bounded(f: &mut Builder, x: TermId, low: Option<TermId>, high: Option<TermId>) -> TermId {
    let bounds = [(Operation::Max, low), (Operation::Min, high)];
    let bounds = bounds.into_iter().filter_map(|(operation, bound)| Some((operation, bound?)));
    bounds.fold(x, |x, (operation, bound)| f.apply(operation, &[x, bound]))
}
