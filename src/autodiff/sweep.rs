//! The reverse sweep.

use super::op::{Cotangents, Op};
use super::rules::{Rule, rule, why_no_rule};
use crate::graph::{Facts, Graph, TypedBuilder, Value, for_each_use};
use crate::onnx::DataType;
use crate::onnx::proto::NodeProto;
use crate::{Error, Result};
use foldhash::{HashMap, HashSet};

/// Appends to `graph`, in `pass`, the gradient of the scalar `loss` with respect to each of `wrt`: ∂loss/∂wrtᵢ in the shape and element
/// type of wrtᵢ; none where the loss does not depend on it. `facts` are used and added to.
///
/// # Errors
/// Where an operator on the way has no rule, naming all of them; where a rule does not cover what a node does.
///
/// ```
/// use gnp::autodiff::gradient;
/// use gnp::graph::{Facts, Graph, TypedBuilder, scalar_info};
/// use gnp::onnx::{DataType, proto::GraphProto};
/// let input = vec![scalar_info("x", DataType::Float)];
/// let mut graph = Graph::new(GraphProto { input, ..Default::default() })?;
/// let mut facts = Facts::declared(graph.proto());
/// let x = "x".into();
/// let y = TypedBuilder::new(&mut graph, &mut facts, "loss").mul(&x, &x);
/// let dx = gradient(&mut graph, &mut facts, &y, &[x], "gradient")?;
/// assert!(dx[0].is_some());
/// # Ok::<(), gnp::Error>(())
/// ```
pub fn gradient(
    graph: &mut Graph,
    facts: &mut Facts,
    loss: &Value,
    wrt: &[Value],
    pass: &'static str,
) -> Result<Vec<Option<Value>>> {
    let seed = TypedBuilder::new(graph, facts, pass).number(1.0, loss);
    pull_back(graph, facts, &[(loss.clone(), seed)], wrt, pass)
}

/// Appends to `graph`, in `pass`, the vector-Jacobian product of some values with respect to each of `wrt`: Σₖ ȳₖ·∂yₖ/∂wrtᵢ for
/// the pairs (yₖ, ȳₖ) of `cotangents`, in the shape and element type of wrtᵢ; none where no yₖ depends on it.
///
/// # Errors
/// As for [`gradient`], whose cotangents are one: that of the loss.
pub fn pull_back(
    graph: &mut Graph,
    facts: &mut Facts,
    cotangents: &[(Value, Value)],
    wrt: &[Value],
    pass: &'static str,
) -> Result<Vec<Option<Value>>> {
    let way = Way::find(graph, facts, cotangents.iter().map(|(y, _)| y), wrt);
    way.check(graph)?;
    let seeds = cotangents;
    let mut cotangents: HashMap<Value, Vec<Value>> = HashMap::default();
    for (y, dy) in seeds {
        cotangents.entry(y.clone()).or_default().push(dy.clone());
    }
    let mut b = TypedBuilder::new(graph, facts, pass);
    for &index in way.nodes.iter().rev() {
        let node = b.graph().nodes()[index].clone();
        b.set_scope(node.label());
        let outputs: Vec<_> = node.output.iter().map(|o| add_up(&mut b, cotangents.get_mut(o.as_str()))).collect();
        let op = Op::new(node, |value| way.active.contains(value));
        for (position, cotangent) in apply(&op, &outputs, &mut b)?.into_iter() {
            if let Some(input) = op.operand(position)
                && way.active.contains(input)
            {
                cotangents.entry(input.clone()).or_default().push(cotangent);
            }
        }
    }
    Ok(wrt.iter().map(|value| add_up(&mut b, cotangents.get_mut(value))).collect())
}

fn apply(op: &Op, outputs: &[Option<Value>], b: &mut TypedBuilder<'_>) -> Result<Cotangents> {
    let at_node = |e: Error| e.at_node(op.label(), &op.operator());
    match rule(op.domain(), op.op_type()) {
        Some(Rule::Vjp(vjp)) => match outputs.first() {
            Some(Some(dy)) => vjp(op, dy, b).map_err(at_node),
            _ => Ok(Cotangents::default()),
        },
        Some(Rule::VjpMany(vjp)) => vjp(op, outputs, b).map_err(at_node),
        Some(Rule::Zero) | None => Ok(Cotangents::default()),
    }
}

/// The sum of the cotangents that have come together; it then stands for them.
fn add_up(b: &mut TypedBuilder<'_>, parts: Option<&mut Vec<Value>>) -> Option<Value> {
    let parts = parts?;
    while parts.len() > 1 {
        let (y, x) = (parts.pop()?, parts.pop()?);
        let fact = b.fact(&x).clone();
        parts.push(b.node("Add", &[&x, &y], vec![], fact));
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
    fn find<'v>(graph: &'v Graph, facts: &Facts, of: impl Iterator<Item = &'v Value>, wrt: &[Value]) -> Self {
        let mut active: HashSet<Value> = wrt.iter().cloned().collect();
        let mut reached = Vec::new();
        for (index, node) in graph.nodes().iter().enumerate() {
            let mut depends = false;
            for_each_use(node, &mut |name| depends |= active.contains(name));
            if depends && !matches!(rule(node.domain(), node.op_type()), Some(Rule::Zero)) {
                let outputs = node.output.iter().filter(|o| !o.is_empty() && may_vary(facts, o));
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
    fn check(&self, graph: &Graph) -> Result<()> {
        let nodes = self.nodes.iter().map(|&i| &graph.nodes()[i]);
        let missing: Vec<&NodeProto> = nodes.filter(|n| rule(n.domain(), n.op_type()).is_none()).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let list: Vec<_> = missing.iter().map(|n| format!("`{}` ({})", n.label(), n.operator())).collect();
        let error = if missing.len() == 1 {
            let why = why_no_rule(first.op_type()).unwrap_or("there is no gradient rule for its operator");
            Error::input(why).at_node(first.label(), &first.operator())
        } else {
            Error::input(format!(
                "{} nodes on the way of the gradient have no gradient rule: {}",
                list.len(),
                list.join(", ")
            ))
        };
        if missing.iter().all(|node| why_no_rule(node.op_type()).is_some()) {
            return Err(error.help("unroll the loop when you export the model"));
        }
        Err(error.help(
            "freeze the parameters before these nodes (--freeze), or take the loss from a value before them (--logits); \
             docs/gradients.md lists the operators that have a rule",
        ))
    }
}

/// Whether a value can have a derivative: whole numbers and booleans cannot.
fn may_vary(facts: &Facts, value: &str) -> bool {
    facts.get(value).is_none_or(|fact| is_floating(fact.element))
}

fn is_floating(element: DataType) -> bool {
    matches!(element, DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
}
