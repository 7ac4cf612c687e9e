//! The reverse sweep.

use super::Gradients;
use super::op::{Cotangents, Op};
use super::rules::{Rule, rule};
use crate::whole::{DOMAIN, STRAIGHT_THROUGH, is_step};
use foldhash::{HashMap, HashSet};
use gnp_base::{Error, Result};
use gnp_model::composite::is_composite;
use gnp_model::graph::{Builder, Facts, Graph, Value, for_each_use};
use gnp_model::onnx::proto::NodeProto;

/// Appends to `graph`, in `pass`, the gradient of the scalar `loss` with respect to each of `wrt`: ∂loss/∂wrtᵢ in the
/// shape and element type of wrtᵢ; none where the loss does not depend on it. It is made of the operators that
/// `gradients` says. What the graph knows of its values is used and added to.
///
/// # Errors
/// Where an operator on the way has no rule, naming all of them; where a rule does not cover what a node does.
///
/// ```
/// use gnp_gradient::autodiff::{Gradients, gradient};
/// use gnp_model::graph::{Builder, Graph, Value, scalar_info};
/// use gnp_model::onnx::DataType;
/// use gnp_model::onnx::proto::GraphProto;
/// let input = vec![scalar_info("x", DataType::Float)];
/// let mut graph = Graph::new(GraphProto { input, ..Default::default() })?;
/// let x = Value::from("x");
/// let y = Builder::new(&mut graph, "loss").mul(&x, &x);
/// let dx = gradient(&mut graph, &y, &[x], Gradients::Standard, "gradient")?;
/// assert!(dx[0].is_some());
/// # Ok::<(), gnp_base::Error>(())
/// ```
pub fn gradient(
    graph: &mut Graph,
    loss: &Value,
    wrt: &[Value],
    gradients: Gradients,
    pass: &'static str,
) -> Result<Vec<Option<Value>>> {
    let seed = Builder::new(graph, pass).number(1.0, loss);
    pull_back(graph, &[(loss.clone(), seed)], wrt, gradients, pass)
}

/// Appends to `graph`, in `pass`, the vector-Jacobian product of some values with respect to each of `wrt`: Σₖ
/// ȳₖ·∂yₖ/∂wrtᵢ for the pairs (yₖ, ȳₖ) of `cotangents`, in the shape and element type of wrtᵢ; none where no yₖ depends
/// on it.
///
/// # Errors
/// As for [`gradient`], whose cotangents are one: that of the loss.
pub fn pull_back(
    graph: &mut Graph,
    cotangents: &[(Value, Value)],
    wrt: &[Value],
    gradients: Gradients,
    pass: &'static str,
) -> Result<Vec<Option<Value>>> {
    sweep(&Builder::new(graph, pass), 0, cotangents, wrt, gradients)
}

/// The same among the nodes from `first` on.
fn sweep(
    b: &Builder<'_>,
    first: usize,
    seeds: &[(Value, Value)],
    wrt: &[Value],
    gradients: Gradients,
) -> Result<Vec<Option<Value>>> {
    let way = Way::find(&b.graph(), first, seeds.iter().map(|(y, _)| y), wrt);
    way.check(&b.graph(), gradients)?;
    let mut cotangents: HashMap<Value, Vec<Value>> = HashMap::default();
    for (y, dy) in seeds {
        cotangents.entry(y.clone()).or_default().push(dy.clone());
    }
    for &index in way.nodes.iter().rev() {
        let node = b.graph().nodes()[index].clone();
        // What a definition is made of has the name of what it defines.
        if first == 0 {
            b.set_scope(node.label());
        }
        let outputs: Vec<_> = node.output.iter().map(|o| add_up(b, cotangents.get_mut(o.as_str()))).collect();
        let op = Op::new(index, node, |value| way.active.contains(value));
        let cotangents_of_inputs = apply(&op, &outputs, gradients, b)?;
        nothing_is_dropped(&op, &outputs, &cotangents_of_inputs)?;
        b.graph().afford(0).map_err(|error| error.at_node(op.label(), &op.operator()))?;
        for (position, cotangent) in cotangents_of_inputs.into_iter() {
            if let Some(input) = op.operand(position)
                && way.active.contains(input)
            {
                cotangents.entry(input.clone()).or_default().push(cotangent);
            }
        }
    }
    Ok(wrt.iter().map(|value| add_up(b, cotangents.get_mut(value))).collect())
}

fn apply(op: &Op, outputs: &[Option<Value>], gradients: Gradients, b: &Builder<'_>) -> Result<Cotangents> {
    let at_node = |e: Error| e.at_node(op.label(), &op.operator());
    if let Some(cotangents) = gradients.fused(op, outputs, b).map_err(at_node)? {
        return Ok(cotangents);
    }
    match rule(op.domain(), op.op_type()) {
        Some(Rule::Vjp(vjp)) => match outputs.first() {
            Some(Some(dy)) => vjp(op, dy, b).map_err(at_node),
            _ => Ok(Cotangents::default()),
        },
        Some(Rule::VjpMany(vjp)) => vjp(op, outputs, b).map_err(at_node),
        Some(Rule::Definition(define)) => by_definition(op, outputs, define, gradients, b).map_err(at_node),
        Some(Rule::Zero) | None => Ok(Cotangents::default()),
    }
}

/// The cotangents of the inputs of what `define` appends. One that the node reads twice has all of its cotangent at the
/// first place.
fn by_definition(
    op: &Op,
    outputs: &[Option<Value>],
    define: fn(&Op, &Builder<'_>) -> Result<Vec<Value>>,
    gradients: Gradients,
    b: &Builder<'_>,
) -> Result<Cotangents> {
    let first = b.graph().nodes().len();
    let defined = define(op, b)?;
    if outputs.iter().skip(defined.len()).any(Option::is_some) {
        return Err(no_rule_for_output(op));
    }
    let seeds: Vec<_> = defined.into_iter().zip(outputs).filter_map(|(y, dy)| Some((y, dy.clone()?))).collect();
    let inputs = op.inputs();
    let is_wanted = |i: &usize| op.wants(*i) && !inputs[..*i].contains(&inputs[*i]);
    let wanted: Vec<usize> = (0..inputs.len()).filter(is_wanted).collect();
    let wrt: Vec<Value> = wanted.iter().filter_map(|&i| inputs[i].clone()).collect();
    let mut cotangents = vec![None; inputs.len()];
    for (i, cotangent) in wanted.into_iter().zip(sweep(b, first, &seeds, &wrt, gradients)?) {
        cotangents[i] = cotangent;
    }
    Ok(Cotangents::of(cotangents))
}

fn no_rule_for_output(op: &Op) -> Error {
    op.error("the loss depends on an output of it other than the first, which has no gradient rule")
        .help("freeze the parameters before this node (--freeze), or take the loss of another value (--logits)")
}

/// An operand that the result depends on differentiably must have a cotangent: a rule that knows none of it would make
/// the gradient wrong in silence.
fn nothing_is_dropped(op: &Op, outputs: &[Option<Value>], found: &Cotangents) -> Result<()> {
    let is_vjp = match rule(op.domain(), op.op_type()) {
        Some(Rule::Vjp(_)) if outputs.iter().skip(1).any(Option::is_some) => {
            return Err(no_rule_for_output(op));
        }
        Some(Rule::Vjp(_)) => outputs.first().is_some_and(Option::is_some),
        Some(Rule::VjpMany(_)) | None => outputs.iter().any(Option::is_some),
        // The rules of what defines an operator answer for themselves.
        Some(Rule::Definition(_) | Rule::Zero) => false,
    };
    let dropped = (0..op.inputs().len()).find(|&i| op.wants(i) && !found.has(i) && !has_none(op, i));
    match dropped.filter(|_| is_vjp) {
        None => Ok(()),
        Some(input) => Err(op
            .error(format!(
                "its input {input} depends on a trained parameter, and there is no gradient with respect to it"
            ))
            .help("freeze the parameters before it (--freeze)")),
    }
}

/// Whether an input has no cotangent by definition: it gives its element type and nothing of its elements; or it is one
/// that has an operator of [`crate::whole`], whose other inputs have the whole gradient.
fn has_none(op: &Op, input: usize) -> bool {
    op.is("", "CastLike") && input == 1 || op.domain() == DOMAIN
}

/// The nodes at which a gradient ends that would go on to one of `wrt`: the loss depends on their results, and these
/// change in steps, so that their derivative is zero.
pub fn ends<'g>(graph: &'g Graph, loss: &Value, wrt: &[Value]) -> Vec<&'g NodeProto> {
    let way = Way::find(graph, 0, [loss].into_iter(), wrt);
    let mut needed: HashSet<&str> = [&**loss].into_iter().collect();
    let mut ends = Vec::new();
    for node in graph.nodes().iter().rev() {
        if !node.output.iter().any(|output| needed.contains(output.as_str())) {
            continue;
        }
        if is_step(node) && node.input.iter().any(|input| way.active.contains(input.as_str())) {
            ends.push(node);
        } else if node.is(DOMAIN, STRAIGHT_THROUGH) {
            needed.extend(node.input(0));
        } else {
            for_each_use(node, &mut |name| _ = needed.insert(name));
        }
    }
    ends.reverse();
    ends
}

/// The sum of the cotangents that have come together; it then stands for them.
fn add_up(b: &Builder<'_>, parts: Option<&mut Vec<Value>>) -> Option<Value> {
    let parts = parts?;
    while parts.len() > 1 {
        let (y, x) = (parts.pop()?, parts.pop()?);
        parts.push(b.node("Add", &[&x, &y], vec![], b.fact(&x)));
    }
    parts.first().cloned()
}

/// The way of the gradient.
struct Way {
    /// The nodes on it, in the graph's order.
    nodes: Vec<usize>,
    /// The values that depend, differentiably, on what the gradient is taken of.
    active: HashSet<Value>,
}

impl Way {
    fn find<'v>(graph: &'v Graph, first: usize, of: impl Iterator<Item = &'v Value>, wrt: &[Value]) -> Self {
        let mut active: HashSet<Value> = wrt.iter().cloned().collect();
        let mut reached = Vec::new();
        for (index, node) in graph.nodes().iter().enumerate().skip(first) {
            let mut depends = false;
            for_each_use(node, &mut |name| depends |= active.contains(name));
            if depends && !matches!(rule(node.domain(), node.op_type()), Some(Rule::Zero)) {
                let outputs = node.output.iter().filter(|o| !o.is_empty() && may_vary(graph.facts(), o));
                let before = active.len();
                active.extend(outputs.map(|o| Value::from(o.as_str())));
                if active.len() > before {
                    reached.push(index);
                }
            }
        }
        let mut needed: HashSet<&str> = of.map(|value| &**value).collect();
        let mut nodes = Vec::new();
        for &index in reached.iter().rev() {
            let node = &graph.nodes()[index];
            if node.output.iter().any(|o| needed.contains(o.as_str())) {
                nodes.push(index);
                for_each_use(node, &mut |name| _ = needed.insert(name));
            }
        }
        nodes.reverse();
        Self { nodes, active }
    }

    /// Whether every node on the way has a rule.
    fn check(&self, graph: &Graph, gradients: Gradients) -> Result<()> {
        let nodes = self.nodes.iter().map(|&i| &graph.nodes()[i]);
        let has_rule =
            |n: &NodeProto| rule(n.domain(), n.op_type()).is_some() || gradients.fuse(n.domain(), n.op_type());
        let missing: Vec<&NodeProto> = nodes.filter(|n| !has_rule(n)).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let list: Vec<_> = missing.iter().map(|n| format!("`{}` ({})", n.label(), n.operator())).collect();
        let error = if missing.len() == 1 {
            // Those that can be written out are operators that have rules by now.
            let why = match is_composite(first.domain(), first.op_type()) {
                true => "there is no gradient rule for its operator in this form, or while shapes are not known",
                false => "there is no gradient rule for its operator",
            };
            Error::unsupported(why).at_node(first.label(), &first.operator())
        } else {
            Error::unsupported(format!(
                "{} nodes on the way of the gradient have no gradient rule: {}",
                list.len(),
                list.join(", ")
            ))
        };
        Err(error.help(
            "freeze the parameters before these nodes (--freeze), or take the loss from a value before them (--logits); \
             docs/gradients.md lists the operators that have a rule",
        ))
    }
}

/// Whether a value can have a derivative: whole numbers and booleans cannot.
fn may_vary(facts: &Facts, value: &str) -> bool {
    facts.get(value).is_none_or(|fact| fact.element.is_floating())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::Fact;
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::GraphProto;
    use gnp_model::testing::{TestNode, body, node};

    /// The gradient of `loss` with respect to `wrt`; every value is a float but `i`, which is a whole number.
    fn differentiate(nodes: &[TestNode], wrt: &[&str]) -> (Graph, Result<Vec<Option<Value>>>) {
        let mut graph = Graph::new(body(&["x", "w", "i", "c"], nodes, &["loss"])).unwrap();
        graph.declare("i", Fact::with_sizes(DataType::Int64, &[]));
        let made: Vec<String> = graph.nodes().iter().flat_map(|n| n.output.clone()).collect();
        for name in ["x", "w"].into_iter().chain(made.iter().map(String::as_str)) {
            let element = if name.starts_with("int") { DataType::Int64 } else { DataType::Float };
            graph.declare(name, Fact::with_sizes(element, &[]));
        }
        let wrt: Vec<Value> = wrt.iter().map(|&name| name.into()).collect();
        let gradients = gradient(&mut graph, &"loss".into(), &wrt, Gradients::Standard, "gradient");
        (graph, gradients)
    }

    fn operators(graph: &Graph) -> Vec<&str> {
        graph.added_nodes().map(NodeProto::op_type).collect()
    }

    #[test]
    fn cotangents_of_a_value_read_twice_are_added() {
        let (graph, gradients) = differentiate(&[node("Mul", &["x", "x"], &["loss"])], &["x"]);
        assert_eq!(operators(&graph), ["Mul", "Mul", "Add"]);
        assert_eq!(gradients.unwrap(), [Some(Value::from(graph.nodes()[3].output[0].as_str()))]);
    }

    #[test]
    fn there_is_no_gradient_of_what_the_loss_does_not_depend_on() {
        let nodes = [node("Mul", &["w", "w"], &["aside"]), node("Neg", &["x"], &["loss"])];
        let (graph, gradients) = differentiate(&nodes, &["x", "w"]);
        assert!(matches!(&gradients.unwrap()[..], [Some(_), None]));
        assert_eq!(operators(&graph), ["Neg"]);
    }

    #[test]
    fn a_gradient_goes_through_no_whole_number_and_no_step() {
        let nodes = [
            // An operator without a rule is no error where no gradient comes by.
            node("Unheard", &["w"], &["int"]),
            node("Unheard", &["int"], &["scale"]),
            node("Floor", &["w"], &["step"]),
            node("Mul", &["scale", "step"], &["factor"]),
            node("Mul", &["x", "factor"], &["loss"]),
        ];
        let (_, gradients) = differentiate(&nodes, &["x", "w"]);
        assert!(matches!(&gradients.unwrap()[..], [Some(_), None]));
    }

    #[test]
    fn all_operators_without_a_rule_are_named() {
        let nodes = [
            node("First", &["x"], &["a"]),
            node("Second", &["a"], &["loss"]),
            node("Aside", &["x"], &["unused"]),
            node("Before", &["i"], &["constant"]),
        ];
        let error = differentiate(&nodes, &["x"]).1.unwrap_err().to_string();
        assert!(error.contains("`a` (First)") && error.contains("`loss` (Second)"), "{error}");
        assert!(!error.contains("Aside") && !error.contains("Before"), "{error}");
    }

    #[test]
    fn no_cotangent_is_dropped_in_silence() {
        let nodes = [node("Mul", &["w", "w"], &["scales"]), node("Resize", &["x", "", "scales"], &["loss"])];
        let error = differentiate(&nodes, &["w"]).1.unwrap_err().to_string();
        assert!(error.contains("node `loss` (Resize)"), "{error}");
    }

    #[test]
    fn a_gradient_ends_at_a_step_that_the_loss_depends_on() {
        let nodes = [
            node("Round", &["w"], &["rounded"]),
            node("Round", &["x"], &["of the data"]),
            node("Round", &["w"], &["unused"]),
            node("Mul", &["rounded", "of the data"], &["loss"]),
        ];
        let graph = Graph::new(body(&["x", "w"], &nodes, &["loss"])).unwrap();
        let found = ends(&graph, &"loss".into(), &["w".into()]);
        assert_eq!(found.iter().map(|node| node.label()).collect::<Vec<_>>(), ["rounded"]);
    }

    #[test]
    fn each_branch_returns_a_cotangent_for_what_either_captures() {
        let mut choice: NodeProto = node("If", &["c"], &["loss"])
            .with(body(&[], &[node("Mul", &["x", "w"], &["a"])], &["a"]))
            .with(body(&[], &[node("Exp", &["x"], &["b"])], &["b"]))
            .into();
        for (attribute, name) in choice.attribute.iter_mut().zip(["then_branch", "else_branch"]) {
            attribute.name = Some(name.into());
        }
        let mut graph =
            Graph::new(GraphProto { node: vec![choice], ..body(&["x", "w", "c"], &[], &["loss"]) }).unwrap();
        for name in ["x", "w", "a", "b", "loss"] {
            graph.declare(name, Fact::with_sizes(DataType::Float, &[]));
        }
        let wrt = ["x".into(), "w".into()];
        let gradients = gradient(&mut graph, &"loss".into(), &wrt, Gradients::Standard, "gradient").unwrap();
        let backward = graph.added_nodes().next().unwrap();
        assert_eq!(backward.op_type(), "If");
        let outputs: Vec<_> = backward.output.iter().map(|o| Some(Value::from(o.as_str()))).collect();
        assert_eq!(outputs, gradients);
        let bodies: Vec<_> = backward.subgraphs().collect();
        let operators = |body: &GraphProto| body.node.iter().map(|n| n.op_type().to_owned()).collect::<Vec<_>>();
        // The forward product is not needed for its own gradient, the exponential is.
        assert_eq!(operators(bodies[0]), ["Mul", "Mul", "Identity", "Identity"]);
        assert_eq!(operators(bodies[1]), ["Exp", "Mul", "Identity", "Expand"]);
        assert!(bodies.iter().all(|body| body.output.len() == 2));
    }
}
