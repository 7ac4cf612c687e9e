//! The walk: what is known of each value, from what its node reads.

use super::operators::{features, is_bias, is_draw, is_slice, moves, role, says_how};
use super::{InLoss, Role, Use};
use foldhash::{HashMap, HashSet};
use gnp_model::graph::Facts;
use gnp_model::onnx::proto::{GraphProto, NodeProto};
use std::rc::Rc;

/// The operator that tells a variance.
const SQRT: &str = "Sqrt";

/// So many constants are followed through what is computed of them; of more it is told that they are operands.
const MOST_ROOTS: usize = 256;

/// A constant on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Root<'g> {
    pub(super) name: &'g str,
    /// The first operator that computed something of it.
    pub(super) through: Option<&'g str>,
}

/// What is known of a value on the way through the graph.
#[derive(Clone, Debug)]
pub(super) enum State<'g> {
    /// It depends on no data, but perhaps on sizes.
    Constant(Rc<[Root<'g>]>),
    /// It depends on data.
    Data {
        /// Whether a weight has touched it.
        learned: bool,
        /// How many features the linear map has that it comes from, where only moves lie between.
        features: Option<i64>,
    },
}

/// The walk through a graph.
pub(super) struct Walk<'g, 'f> {
    pub(super) facts: &'f Facts,
    pub(super) states: HashMap<&'g str, State<'g>>,
    pub(super) uses: HashMap<&'g str, Vec<Use<'g>>>,
    /// Nodes that have a constant as weight or table, and which of these.
    pub(super) weighing: Vec<(usize, Role)>,
    /// Nodes that subtract constants from data, and these, by what the nodes return.
    pub(super) subtracted: HashMap<&'g str, (usize, Rc<[Root<'g>]>)>,
    pub(super) node: usize,
}

impl<'g> Walk<'g, '_> {
    pub(super) fn node(&mut self, node: &'g NodeProto) {
        let mut inner = None;
        for body in node.subgraphs() {
            for tensor in &body.initializer {
                self.states.insert(tensor.name(), State::Constant([].into()));
            }
            self.begin(node, body);
            body.node.iter().for_each(|inner| self.node(inner));
            let results = body.output.iter().map(|o| self.states.get(o.name()).cloned());
            inner = results.flatten().fold(inner.take(), merge);
        }
        if matches!(node.op_type(), "Shape" | "Size") {
            return self.set(node, &State::Constant([].into()));
        }
        let given = (0..node.input.len()).filter_map(|i| Some((i, self.states.get(node.input(i)?).cloned())));
        let states: Vec<(usize, Option<State>)> = given.collect();
        let is_constant = |(_, state): &(usize, Option<State>)| matches!(state, Some(State::Constant(_)));
        if inner.is_none() && states.iter().all(is_constant) && !is_draw(node) {
            self.constant(node, &states);
        } else {
            self.data(node, &states, inner.as_ref());
        }
    }

    /// What the body of a loop is given: slices are what the whole is; a state is data, whatever it begins with, and so
    /// is the number of an iteration.
    fn begin(&mut self, node: &'g NodeProto, body: &'g GraphProto) {
        let is_learned = |state: Option<&State>| matches!(state, Some(State::Data { learned: true, .. }));
        let learned = node.input.iter().any(|input| is_learned(self.states.get(input.as_str())));
        for (i, input) in body.input.iter().enumerate() {
            let whole = node.input(i).filter(|_| is_slice(node, i)).and_then(|whole| self.states.get(whole)).cloned();
            let whole = whole.unwrap_or(State::Data { learned, features: None });
            self.states.insert(input.name(), whole);
        }
    }

    /// A node that computes a constant from constants.
    fn constant(&mut self, node: &'g NodeProto, states: &[(usize, Option<State<'g>>)]) {
        let carries_elements = |i: usize| node.op_type() != "ConstantOfShape" && !says_how(node, i);
        let mut roots: Vec<Root> = Vec::new();
        for (i, state) in states {
            let Some(State::Constant(own)) = state else { continue };
            // A weight is one beside a constant too: that is how a learned state begins.
            match role(node, *i) {
                Some(Role::Weight) if *i == 0 => self.note(node, own, Role::Input),
                Some(Role::Table) => {}
                Some(role) if role.is_strong() => self.note(node, own, role),
                _ => {}
            }
            if carries_elements(*i) {
                roots.extend(own.iter());
            }
        }
        if !moves(node) {
            for root in &mut roots {
                let is_variance = node.op_type() == SQRT && root.through.is_none_or(|through| through == "Add");
                match &mut root.through {
                    through if is_variance => *through = Some(SQRT),
                    through => _ = through.get_or_insert(node.op_type()),
                }
            }
        }
        if roots.len() > 1 {
            let mut seen = HashSet::default();
            roots.retain(|root| seen.insert(*root));
        }
        if roots.len() > MOST_ROOTS {
            let beyond = roots.split_off(MOST_ROOTS);
            self.note(node, &beyond, Role::Operand);
        }
        self.set(node, &State::Constant(roots.into()));
    }

    /// A node that computes data; `inner` is what comes of its bodies.
    fn data(&mut self, node: &'g NodeProto, states: &[(usize, Option<State<'g>>)], inner: Option<&State<'g>>) {
        let is_learned = |state: &State| matches!(state, State::Data { learned: true, .. });
        let mut learned = states.iter().filter_map(|(_, state)| state.as_ref()).chain(inner).any(is_learned);
        let strong = |i: usize| role(node, i).filter(|role| role.is_strong());
        let behind = states.iter().find_map(|(_, state)| match state {
            Some(State::Data { features, .. }) => *features,
            _ => None,
        });
        for (i, state) in states {
            let Some(State::Constant(roots)) = state else { continue };
            if let Some(role) = strong(*i) {
                learned |= !roots.is_empty();
                self.note(node, roots, role);
            }
        }
        self.moments(node, states);
        for (i, state) in states {
            let Some(State::Constant(roots)) = state else { continue };
            if strong(*i).is_some() || is_slice(node, *i) {
                continue;
            }
            let role = match role(node, *i) {
                Some(Role::Operand) if node.op_type() == "Sub" && *i == 1 => {
                    self.subtracted.insert(&node.output[0], (self.node, roots.clone()));
                    if learned { Role::Operand } else { Role::BeforeWeights }
                }
                Some(Role::Operand) if !learned => Role::BeforeWeights,
                Some(Role::Operand) if is_bias(node, roots, behind, self.facts) => Role::Bias,
                Some(role) => role,
                None => Role::Setting,
            };
            self.note(node, roots, role);
        }
        let features = if moves(node) { behind } else { features(node, self.facts).filter(|_| learned) };
        self.set(node, &State::Data { learned, features });
    }

    fn set(&mut self, node: &'g NodeProto, state: &State<'g>) {
        let outputs = node.output.iter().filter(|output| !output.is_empty());
        outputs.for_each(|output| _ = self.states.insert(output, state.clone()));
    }

    /// Where data are multiplied or divided by what comes of √(v + ε), v is a variance, and what was subtracted from
    /// the data is a mean.
    fn moments(&mut self, node: &'g NodeProto, states: &[(usize, Option<State<'g>>)]) {
        let is_vector = |root: &Root| {
            let sizes = self.facts.get(root.name).and_then(|fact| fact.sizes());
            sizes.is_some_and(|sizes| sizes.iter().product::<i64>() > 1)
        };
        let is_variance = |root: &Root| root.through == Some(SQRT) && is_vector(root);
        if !matches!(node.op_type(), "Mul" | "Div")
            || !states.iter().any(|(_, state)| matches!(state, Some(State::Constant(r)) if r.iter().any(is_variance)))
        {
            return;
        }
        let Some((at, means)) = node.input.iter().find_map(|input| self.subtracted.get(input.as_str())) else { return };
        for root in means.iter() {
            let places = self.uses.get_mut(root.name).into_iter().flatten();
            places.filter(|place| place.node == *at && place.role == Role::Operand).for_each(|p| p.role = Role::Moment);
        }
    }

    fn note(&mut self, node: &'g NodeProto, roots: &[Root<'g>], role: Role) {
        // A vector that is looked up may be the weights of classes.
        let is_table = |root: &Root| self.facts.get(root.name).and_then(|f| f.rank()).is_none_or(|rank| rank > 1);
        if role == Role::Weight && !roots.is_empty() || role == Role::Table && roots.iter().any(is_table) {
            self.weighing.push((self.node, role));
        }
        for root in roots {
            let is_variance = role == Role::Operand && root.through == Some(SQRT);
            self.uses.entry(root.name).or_default().push(Use {
                role: if is_variance { Role::Moment } else { role },
                operator: node.op_type(),
                is_transposed: node.is("", "Gemm") && node.int("transB", 0) != 0,
                through: root.through,
                in_loss: InLoss::No,
                node: self.node,
            });
        }
    }
}

/// What holds of the results of several branches.
fn merge<'g>(a: Option<State<'g>>, b: State<'g>) -> Option<State<'g>> {
    let is_learned = |state: &State| matches!(state, State::Data { learned: true, .. });
    let learned = a.as_ref().is_some_and(is_learned) || is_learned(&b);
    Some(State::Data { learned, features: None })
}
