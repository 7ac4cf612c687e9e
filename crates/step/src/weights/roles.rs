//! Where constants stand in a graph.
//!
//! One walk, in topological order, follows every float32 constant through what only moves or copies its elements, and
//! through what is computed from constants alone, to the nodes where it meets data. There it has a *role*: the weight
//! of a `Conv`, a table that is looked up, a vector that is added to something learned. Shapes may depend on data: what
//! is made of sizes is no data.

use foldhash::{HashMap, HashSet};
use gnp_model::graph::{Facts, Graph};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::NodeProto;
use std::rc::Rc;

/// What a constant is to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Running mean or variance of BatchNormalization.
    Statistic,
    /// Mean or variance of a normalisation that is written out: (x − mean) / √(variance + ε).
    Moment,
    /// A number that says how an operator works: a bound, a ratio, a scale of Resize.
    Setting,
    /// It meets data that no weight has touched: what normalises the input.
    BeforeWeights,
    /// It is combined, element by element, with other constants that become a weight, or with something learned.
    Operand,
    /// It stands in a weight's place beside data: a learned token or query, a first state.
    Input,
    /// A row of it is looked up.
    Table,
    /// The scale of a normalisation.
    NormScale,
    /// The shift of a normalisation.
    NormShift,
    /// What a linear map adds.
    Bias,
    /// The matrix or the filters of a linear map, the weights of a recurrent layer, a slope.
    Weight,
}

impl Role {
    /// Whether operators have parameters in this place, and little else.
    pub fn is_strong(self) -> bool {
        self >= Self::Table
    }
}

/// One place where a constant stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use<'g> {
    pub role: Role,
    /// The operator.
    pub operator: &'g str,
    /// Whether the operator itself transposes it.
    pub is_transposed: bool,
    /// An operator, if any, that computed something of the constant before.
    pub through: Option<&'g str>,
    /// Whether the node is part of the loss.
    pub in_loss: InLoss,
    node: usize,
}

impl Use<'_> {
    /// Whether operators have their weights in this place, and the constant stands there as it is.
    pub fn is_a_weights(&self) -> bool {
        self.role.is_strong() && self.through.is_none()
    }

    /// The place of what reaches no data.
    pub const fn nowhere() -> Self {
        Self { role: Role::Setting, operator: "", is_transposed: false, through: None, in_loss: InLoss::No, node: 0 }
    }
}

/// Whether a node belongs to the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InLoss {
    /// It does not.
    No,
    /// It reads what is computed from an input that is looked up in a table and nothing else.
    Perhaps,
    /// It reads what the labels are made into, or what the model returns.
    Yes,
}

/// Where the float32 constants of a graph stand, by their names.
#[derive(Debug)]
pub(super) struct Roles<'g> {
    uses: HashMap<&'g str, Vec<Use<'g>>>,
    /// The inputs that are labels of the graph's own loss.
    pub labels: Vec<&'g str>,
}

impl<'g> Roles<'g> {
    /// Where the constants of `graph` stand. `loss` is the scalar that the graph computes itself, where it does.
    pub fn of(graph: &'g Graph, loss: Option<&str>) -> Self {
        let mut walk = Walk {
            facts: graph.facts(),
            states: HashMap::default(),
            uses: HashMap::default(),
            weighing: vec![],
            subtracted: HashMap::default(),
            node: 0,
        };
        let inputs: HashSet<&str> = graph.proto().input.iter().map(|input| input.name()).collect();
        for tensor in graph.proto().initializer.iter().filter(|t| !inputs.contains(t.name())) {
            let roots = match tensor.element() {
                Some(DataType::Float) => vec![Root { name: tensor.name(), through: None }],
                _ => vec![],
            };
            walk.states.insert(tensor.name(), State::Constant(roots.into()));
        }
        for (index, node) in graph.nodes().iter().enumerate() {
            walk.node = index;
            walk.node(node);
        }
        let Walk { mut uses, weighing, .. } = walk;
        let mut labels = vec![];
        if let Some(loss) = loss {
            let zones = Zones::of(graph, &weighing, loss);
            let (sure, unsure) = (&zones.sure, &zones.unsure);
            for place in uses.values_mut().flatten() {
                place.in_loss = match () {
                    () if sure.contains(place.node) => InLoss::Yes,
                    () if unsure.contains(place.node) => InLoss::Perhaps,
                    () => InLoss::No,
                };
            }
            labels = zones.labels;
        }
        Self { uses, labels }
    }

    /// The places where the constant `name` stands, none where it reaches no data.
    pub fn of_constant(&self, name: &str) -> &[Use<'g>] {
        self.uses.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The operator that tells a variance.
const SQRT: &str = "Sqrt";

/// So many constants are followed through what is computed of them; of more it is told that they are operands.
const MOST_ROOTS: usize = 256;

/// A constant on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Root<'g> {
    name: &'g str,
    /// The first operator that computed something of it.
    through: Option<&'g str>,
}

/// What is known of a value on the way through the graph.
#[derive(Clone, Debug)]
enum State<'g> {
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

struct Walk<'g, 'f> {
    facts: &'f Facts,
    states: HashMap<&'g str, State<'g>>,
    uses: HashMap<&'g str, Vec<Use<'g>>>,
    /// Nodes that have a constant as weight or table, and which of these.
    weighing: Vec<(usize, Role)>,
    /// Nodes that subtract constants from data, and these, by what the nodes return.
    subtracted: HashMap<&'g str, (usize, Rc<[Root<'g>]>)>,
    node: usize,
}

impl<'g> Walk<'g, '_> {
    fn node(&mut self, node: &'g NodeProto) {
        let mut inner = None;
        for body in node.subgraphs() {
            for tensor in &body.initializer {
                self.states.insert(tensor.name(), State::Constant([].into()));
            }
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
            if strong(*i).is_some() {
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

fn is_draw(node: &NodeProto) -> bool {
    node.op_type().starts_with("Random") || matches!(node.op_type(), "Bernoulli" | "Multinomial")
}

/// Whether a node gives elements other places and changes none.
fn moves(node: &NodeProto) -> bool {
    matches!(
        node.op_type(),
        "Identity"
            | "Cast"
            | "CastLike"
            | "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Transpose"
            | "Expand"
            | "Tile"
            | "Slice"
            | "Split"
            | "Concat"
            | "Gather"
            | "GatherElements"
            | "GatherND"
            | "Pad"
            | "DepthToSpace"
            | "SpaceToDepth"
            | "ReverseSequence"
            | "CenterCropPad"
            | "Trilu"
            | "Compress"
    )
}

/// Whether an input tells a node that moves elements where to.
fn says_how(node: &NodeProto, input: usize) -> bool {
    moves(node) && input > 0 && !matches!(node.op_type(), "Concat")
}

/// What a constant at an input is to a node that meets data; none where it says how the operator works.
fn role(node: &NodeProto, input: usize) -> Option<Role> {
    let role = match (node.op_type(), input) {
        ("Conv" | "ConvTranspose" | "DeformConv", 1) => Role::Weight,
        ("Conv" | "ConvTranspose", 2) | ("DeformConv", 3) | ("Gemm", 2) => Role::Bias,
        ("Gemm", 0 | 1) | ("MatMul" | "Einsum", _) => Role::Weight,
        ("PRelu", 1) | ("LSTM" | "GRU" | "RNN", 1..=3) | ("LSTM", 7) => Role::Weight,
        ("LSTM" | "GRU" | "RNN", 5) | ("LSTM", 6) => Role::Input,
        ("BatchNormalization", 3 | 4) => Role::Statistic,
        (
            "BatchNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "LayerNormalization"
            | "RMSNormalization",
            1,
        ) => Role::NormScale,
        ("BatchNormalization" | "InstanceNormalization" | "GroupNormalization" | "LayerNormalization", 2) => {
            Role::NormShift
        }
        ("Gather", 0) => Role::Table,
        ("Conv" | "ConvTranspose", 0) => Role::Input,
        ("Where", 1 | 2) | ("Concat", _) | ("ScatterElements" | "ScatterND", 0 | 2) => Role::Operand,
        ("Add" | "Sub" | "Mul" | "Div" | "Pow" | "Sum" | "Mean" | "Max" | "Min", _) | ("Clip", 1 | 2) => Role::Operand,
        _ => return None,
    };
    Some(role)
}

/// Whether an input of the graph is the weight of an operator.
pub(super) fn has_weights_as_inputs(graph: &Graph) -> bool {
    let inputs: HashSet<&str> = graph.proto().input.iter().map(|input| input.name()).collect();
    let is_weight = |node: &NodeProto, i: usize| {
        role(node, i) == Some(Role::Weight) && node.input(i).is_some_and(|name| inputs.contains(name))
    };
    graph.nodes().iter().any(|node| (1..node.input.len()).any(|i| is_weight(node, i)))
}

/// Whether a constant that is added is the bias of the linear map right before it: it has a number for each feature.
fn is_bias(node: &NodeProto, roots: &[Root], features: Option<i64>, facts: &Facts) -> bool {
    let [root] = roots else { return false };
    let sizes = facts.get(root.name).and_then(|fact| fact.sizes());
    node.op_type() == "Add" && features.is_some() && sizes.map(|sizes| sizes.iter().product::<i64>()) == features
}

/// How many features a linear map with constant weights returns.
fn features(node: &NodeProto, facts: &Facts) -> Option<i64> {
    let size = |input: usize, axis: i64| facts.get(node.input(input)?)?.dim(axis)?.known();
    match node.op_type() {
        "MatMul" => size(1, -1),
        "Gemm" => size(1, 1 - node.int("transB", 0)),
        "Conv" => size(1, 0),
        "ConvTranspose" => Some(size(1, 1)? * node.int("group", 1)),
        _ => None,
    }
}

/// Which nodes of a graph with a loss of its own are that loss.
struct Zones<'g> {
    labels: Vec<&'g str>,
    sure: gnp_model::graph::NodeSet,
    unsure: gnp_model::graph::NodeSet,
}

impl<'g> Zones<'g> {
    /// Labels are inputs that reach no weight. The loss is what reads them, or what is made of them; and what comes
    /// after a value that the graph returns, where no weight comes after it.
    fn of(graph: &'g Graph, weighing: &[(usize, Role)], loss: &str) -> Self {
        let weighs = |table: bool| {
            let set: HashSet<usize> =
                weighing.iter().filter(|(_, role)| table || *role == Role::Weight).map(|(node, _)| *node).collect();
            set
        };
        let (weights, all) = (weighs(false), weighs(true));
        let fed = |nodes: &HashSet<usize>| {
            let read = nodes.iter().flat_map(|&i| &graph.nodes()[i].input).filter(|input| !input.is_empty());
            let read: Vec<&str> = read.map(String::as_str).collect();
            let above = graph.ancestors(read.iter().copied());
            let mut names: HashSet<&str> = read.into_iter().collect();
            names.extend(above.iter().flat_map(|i| &graph.nodes()[i].input).map(String::as_str));
            names
        };
        let (by_weights, by_all) = (fed(&weights), fed(&all));
        let initializers: HashSet<&str> = graph.proto().initializer.iter().map(|t| t.name()).collect();
        let inputs: Vec<&str> =
            graph.proto().input.iter().map(|i| i.name()).filter(|name| !initializers.contains(name)).collect();
        let (fed_inputs, labels): (Vec<&str>, Vec<&str>) = inputs.iter().partition(|input| by_all.contains(*input));
        let looked_up: Vec<&str> = fed_inputs.iter().copied().filter(|input| !by_weights.contains(input)).collect();
        let labels = if fed_inputs.is_empty() { vec![] } else { labels };
        let looked_up = if looked_up.len() == fed_inputs.len() { vec![] } else { looked_up };

        let above_loss = graph.ancestors([loss]);
        let made = |name: &str| {
            graph.nodes().iter().enumerate().any(|(i, n)| above_loss.contains(i) && n.output.iter().any(|o| o == name))
        };
        let is_end = |name: &str| {
            let after = graph.dependents([name], |_| false);
            name != loss && made(name) && after.iter().all(|i| !all.contains(&i))
        };
        let ends: Vec<&str> = graph.proto().output.iter().map(|o| o.name()).filter(|name| is_end(name)).collect();
        let sure = graph.dependents(labels.iter().chain(&ends).copied(), |_| false);
        let unsure = graph.dependents(looked_up, |_| false);
        Self { labels, sure, unsure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::Fact;
    use gnp_model::onnx::proto::{GraphProto, TensorProto};
    use gnp_model::testing::{TestNode, body, node};

    fn constant(name: &str, dims: &[i64]) -> TensorProto {
        let count: i64 = dims.iter().product();
        TensorProto::raw(name, DataType::Float, dims, vec![0; 4 * count as usize].into())
    }

    /// Whole numbers.
    fn index(name: &str) -> TensorProto {
        TensorProto::int64s(name, &[0])
    }

    fn graph(inputs: &[&str], nodes: &[TestNode], constants: Vec<TensorProto>, outputs: &[&str]) -> Graph {
        let proto = GraphProto { initializer: constants, ..body(inputs, nodes, outputs) };
        let mut graph = Graph::new(proto).unwrap();
        graph.declare("x", Fact::of(DataType::Float));
        graph
    }

    /// The role of each constant, and whether it is in the loss.
    fn roles(graph: &Graph, loss: Option<&str>) -> Vec<(String, Role, InLoss)> {
        let roles = Roles::of(graph, loss);
        let floats = graph.proto().initializer.iter().filter(|t| t.element() == Some(DataType::Float));
        let found = floats.flat_map(|t| roles.of_constant(t.name()).iter().map(|place| (t.name(), place)));
        found.map(|(name, place)| (name.to_owned(), place.role, place.in_loss)).collect()
    }

    #[track_caller]
    fn assert_roles(nodes: &[TestNode], constants: Vec<TensorProto>, expected: &[(&str, Role)]) {
        let last = NodeProto::from(nodes[nodes.len() - 1].clone()).output[0].clone();
        let found = roles(&graph(&["x"], nodes, constants, &[&last]), None);
        let found: Vec<(&str, Role)> = found.iter().map(|(name, role, _)| (name.as_str(), *role)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn constants_are_followed_through_moves_by_sizes_of_the_data() {
        let nodes = [
            node("MatMul", &["x", "w"], &["h"]),
            node("Shape", &["x"], &["shape"]),
            node("Gather", &["shape", "i"], &["n"]),
            node("Expand", &["token", "n"], &["tokens"]),
            node("Concat", &["tokens", "h"], &["all"]),
            node("Slice", &["positions", "i", "n"], &["cut"]),
            node("Add", &["all", "cut"], &["y"]),
        ];
        let constants =
            vec![constant("w", &[2, 3]), index("i"), constant("token", &[1, 3]), constant("positions", &[8, 3])];
        assert_roles(&nodes, constants, &[("w", Role::Weight), ("token", Role::Operand), ("positions", Role::Operand)]);
    }

    #[test]
    fn a_bias_is_told_from_what_is_added_elsewhere() {
        let nodes = [
            node("Sub", &["x", "mean"], &["a"]),
            node("MatMul", &["a", "w"], &["b"]),
            node("Add", &["b", "bias"], &["c"]),
            node("Relu", &["c"], &["d"]),
            node("Add", &["d", "shift"], &["e"]),
            node("Clip", &["e", "", "most"], &["f"]),
            node("Resize", &["f", "", "scales"], &["y"]),
        ];
        let constants = ["mean", "bias", "shift"].map(|name| constant(name, &[3]));
        let others = vec![constant("w", &[2, 3]), constant("most", &[]), constant("scales", &[2])];
        let expected = [
            ("mean", Role::BeforeWeights),
            ("bias", Role::Bias),
            ("shift", Role::Operand),
            ("w", Role::Weight),
            ("most", Role::Operand),
            ("scales", Role::Setting),
        ];
        assert_roles(&nodes, [constants.to_vec(), others].concat(), &expected);
    }

    #[test]
    fn a_normalisation_that_is_written_out_has_moments() {
        let nodes = [
            node("MatMul", &["x", "w"], &["h"]),
            node("Sub", &["h", "mean"], &["centred"]),
            node("Add", &["variance", "epsilon"], &["sum"]),
            node("Sqrt", &["sum"], &["deviation"]),
            node("Div", &["centred", "deviation"], &["normal"]),
            node("Sub", &["normal", "shift"], &["shifted"]),
            node("Mul", &["shifted", "gain"], &["y"]),
        ];
        let names = ["mean", "variance", "epsilon", "shift", "gain"];
        let mut constants: Vec<TensorProto> = names.map(|name| constant(name, &[3])).to_vec();
        constants.push(constant("w", &[2, 3]));
        let graph = graph(&["x"], &nodes, constants, &["y"]);
        let found: Vec<Role> = roles(&graph, None).into_iter().map(|(_, role, _)| role).collect();
        let moment = Role::Moment;
        // An ε is told by its one element, later.
        assert_eq!(found, [moment, moment, moment, Role::Operand, Role::Operand, Role::Weight]);
    }

    #[test]
    fn what_a_weight_is_computed_from_is_a_part_of_it() {
        let nodes = [
            node("Add", &["v", "epsilon"], &["sum"]),
            node("Conv", &["x", "sum"], &["y"]),
            node("Gemm", &["state", "w"], &["h"]),
            node("Add", &["y", "h"], &["z"]),
        ];
        let constants = vec![
            constant("v", &[2, 2, 1, 1]),
            constant("epsilon", &[]),
            constant("state", &[1, 2]),
            constant("w", &[2, 2]),
        ];
        let graph = graph(&["x"], &nodes, constants, &["z"]);
        let roles = Roles::of(&graph, None);
        for name in ["v", "epsilon"] {
            let [place] = roles.of_constant(name) else { panic!("{name}") };
            assert_eq!((place.role, place.through, place.is_a_weights()), (Role::Weight, Some("Add"), false));
        }
        assert_eq!(roles.of_constant("state")[0].role, Role::Input);
        assert!(roles.of_constant("w")[0].is_a_weights());
    }

    #[test]
    fn the_loss_begins_where_the_labels_come_in() {
        let nodes = [
            node("MatMul", &["x", "w"], &["h"]),
            node("Mul", &["h", "gain"], &["z"]),
            node("Sub", &["z", "y"], &["d"]),
            node("Mul", &["d", "tasks"], &["weighted"]),
            node("Gather", &["classes", "y"], &["weight"]),
            node("Mul", &["weighted", "weight"], &["product"]),
            node("ReduceMean", &["product"], &["loss"]),
        ];
        let constants =
            vec![constant("w", &[2, 3]), constant("gain", &[3]), constant("tasks", &[3]), constant("classes", &[3])];
        let graph = graph(&["x", "y"], &nodes, constants, &["loss"]);
        let in_loss: Vec<InLoss> = roles(&graph, Some("loss")).into_iter().map(|(.., in_loss)| in_loss).collect();
        assert_eq!(in_loss, [InLoss::No, InLoss::No, InLoss::Yes, InLoss::Yes]);
        assert_eq!(Roles::of(&graph, Some("loss")).labels, ["y"]);
        // Of a model without a loss of its own every input is data.
        assert!(roles(&graph, None).iter().all(|(.., in_loss)| *in_loss == InLoss::No));
    }

    #[test]
    fn the_loss_begins_behind_what_the_model_returns() {
        let nodes = [
            node("MatMul", &["x", "w"], &["features"]),
            node("MatMul", &["features", "head"], &["logits"]),
            node("Mul", &["logits", "scale"], &["scaled"]),
            node("ReduceSum", &["scaled"], &["loss"]),
        ];
        let constants = vec![constant("w", &[2, 3]), constant("head", &[3, 2]), constant("scale", &[2])];
        let graph = graph(&["x"], &nodes, constants, &["features", "logits", "loss"]);
        let in_loss: Vec<InLoss> = roles(&graph, Some("loss")).into_iter().map(|(.., in_loss)| in_loss).collect();
        assert_eq!(in_loss, [InLoss::No, InLoss::No, InLoss::Yes]);
    }
}
