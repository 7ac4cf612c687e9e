//! Where constants stand in a graph.
//!
//! One walk, in topological order, follows every float32 constant through what only moves or copies its elements, and
//! through what is computed from constants alone, to the nodes where it meets data. There it has a *role*: the weight
//! of a `Conv`, a table that is looked up, a vector that is added to something learned. Shapes may depend on data: what
//! is made of sizes is no data.

mod frequencies;
mod operators;
mod walk;
mod zones;

pub(super) use operators::has_weights_as_inputs;

use foldhash::{HashMap, HashSet};
use gnp_model::graph::Graph;
use gnp_model::onnx::DataType;
use walk::{Root, State, Walk};
use zones::Zones;

/// What a constant is to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Running mean or variance of BatchNormalization.
    Statistic,
    /// Mean or variance of a normalisation that is written out: (x − mean) / √(variance + ε).
    Moment,
    /// A number that says how an operator works: a bound, a ratio, a scale of Resize.
    Setting,
    /// It turns positions into angles.
    Frequency,
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
        let products = frequencies::products(graph, &walk.states);
        let Walk { mut uses, weighing, .. } = walk;
        uses.values_mut().flatten().filter(|place| products.contains(&place.node)).for_each(|place| {
            place.role = Role::Frequency;
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::Fact;
    use gnp_model::onnx::proto::{GraphProto, NodeProto, TensorProto};
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
