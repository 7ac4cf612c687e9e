//! Casts around the operators that compute in half precision.

use super::policy::{Half, Policy};
use crate::pass;
use crate::weights::Values;
use foldhash::{HashMap, HashSet};
use gnp_base::Result;
use gnp_model::graph::{Builder, Graph, Value, for_each_use};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::NodeProto;
use std::path::Path;

/// The largest number of float16.
const LARGEST: f32 = 65504.0;

/// What is done, as numbers of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Halved {
    /// Those that compute in half precision.
    pub half: usize,
    /// Those that compute with floating-point numbers of the data at all.
    pub floating: usize,
    /// The operator set in which more would be in half precision.
    pub later: Option<i64>,
}

/// What is known of a value's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// No data change it: a parameter, a constant, or what is computed of such alone. It is cast where it is read.
    Constant,
    /// It was computed in half precision; the float32 value of its name is a cast of that.
    Half,
    /// It was computed in single precision.
    Single,
}

/// Lets the operators of `graph`, which has float32 alone, compute in `half` where they gain by it. All values keep
/// their names and types: what is in half precision has another name, and a cast back for whoever reads it. Constants
/// are in `folder`, where they are not in the graph, which is of the operator set `opset`.
///
/// # Errors
/// Where the elements of a constant cannot be read.
pub(crate) fn halve(graph: &mut Graph, element: DataType, opset: i64, folder: &Path) -> Result<Halved> {
    let half = Half { element, opset };
    let inputs = graph.proto().input.iter().map(|input| Value::from(input.name()));
    let wide = if element == DataType::Float16 { wide_constants(graph, half, folder)? } else { HashSet::default() };
    let held = inputs.chain(wide.iter().cloned()).map(|value| (value, Held::Single)).collect();
    let b = Builder::new(graph, pass::PRECISION);
    let mut casting =
        Casting { b: &b, half, held, wide, halves: HashMap::default(), due: vec![], halved: Halved::default() };
    b.replace_nodes(|node| Ok(Some(casting.node(node))))?;
    casting.cast_back();
    Ok(casting.halved)
}

/// The constants with numbers that are out of range in half precision: masks, or thresholds, which would become infinite.
/// The factors of products are not looked at: they are weights, large and in range.
fn wide_constants(graph: &Graph, half: Half, folder: &Path) -> Result<HashSet<Value>> {
    let mut values = Values::in_folder(folder);
    let nodes = graph.nodes();
    let read = nodes.iter().filter(|node| half.policy(node, true) != Policy::Half).flat_map(|node| &node.input);
    let read: HashSet<&str> = read.map(String::as_str).collect();
    let initializers = graph.proto().initializer.iter().filter(|tensor| read.contains(tensor.name()));
    let fills = nodes.iter().filter(|node| node.is("", "ConstantOfShape"));
    let fills = fills.filter_map(|node| Some((node.output.first()?.as_str(), node.attribute("value")?.t.as_deref()?)));
    let mut wide = HashSet::default();
    for (name, tensor) in initializers.map(|tensor| (tensor.name(), tensor)).chain(fills) {
        if values.of(tensor)?.is_some_and(|elements| elements.largest() > LARGEST) {
            wide.insert(name.into());
        }
    }
    Ok(wide)
}

/// The walk over the nodes.
struct Casting<'a, 'g> {
    b: &'a Builder<'g>,
    half: Half,
    held: HashMap<Value, Held>,
    /// The constants with numbers that are out of range.
    wide: HashSet<Value>,
    /// The values in half precision, by the names of those in single.
    halves: HashMap<Value, Value>,
    /// The outputs of the last node that a cast is due to, with what that is of.
    due: Vec<(Value, Value)>,
    halved: Halved,
}

impl Casting<'_, '_> {
    fn node(&mut self, mut node: NodeProto) -> NodeProto {
        self.cast_back();
        self.b.set_scope(node.label());
        let held = self.held_by(&node);
        let floats: Vec<usize> = (0..node.input.len()).filter(|&i| self.is_float(&node.input[i])).collect();
        let divides_by_constant = node.input(1).is_some_and(|divisor| self.of(divisor) == Held::Constant);
        let policy = self.half.policy(&node, divides_by_constant);
        let data = node.input(0).map_or(Held::Constant, |data| self.of(data));
        if held != Held::Constant && node.output.iter().any(|output| self.is_float(output)) {
            self.halved.floating += 1;
            self.halved.later = self.halved.later.max(self.half.in_later_set(&node));
        }
        let computes_in_half = match policy {
            Policy::Half => floats.iter().any(|&i| self.of(&node.input[i]) != Held::Constant),
            Policy::Follows => held == Held::Half,
            Policy::Through | Policy::Single => false,
        };
        if computes_in_half {
            self.halved.half += 1;
            for i in floats {
                node.input[i] = self.in_half(&node.input[i]).to_string();
            }
            for output in &mut node.output {
                if !output.is_empty() && self.is_float(output) {
                    let single = Value::from(output.as_str());
                    *output = self.b.fresh_name(output);
                    let half = Value::from(output.as_str());
                    self.b.declare(&half, self.b.fact(&single).with_element(self.half.element));
                    self.held.insert(single.clone(), Held::Half);
                    self.halves.insert(single.clone(), half.clone());
                    self.due.push((single, half));
                }
            }
            return node;
        }
        let gives = match policy {
            // Who reads its result in half precision casts it.
            Policy::Through if data == Held::Half => Held::Half,
            _ if held == Held::Half => Held::Single,
            _ => held,
        };
        for output in &node.output {
            let gives = if gives == Held::Constant && self.is_wide(output) { Held::Single } else { gives };
            self.held.insert(output.as_str().into(), gives);
        }
        node
    }

    /// What the operands of a node make of its result: single precision where any of them is in it or, where none is
    /// in half precision, depends on the data otherwise.
    fn held_by(&self, node: &NodeProto) -> Held {
        if ["Shape", "Size"].iter().any(|operator| node.is("", operator)) {
            return Held::Constant;
        }
        let (mut single, mut half, mut whole) = (false, false, false);
        for_each_use(node, &mut |name| match (self.of(name), self.is_float(name)) {
            (Held::Constant, _) => {}
            (Held::Half, _) => half = true,
            (Held::Single, true) => single = true,
            (Held::Single, false) => whole = true,
        });
        match (single, half, whole) {
            (false, true, _) => Held::Half,
            (true, _, _) | (_, _, true) => Held::Single,
            _ => Held::Constant,
        }
    }

    fn of(&self, value: &str) -> Held {
        self.held.get(value).copied().unwrap_or(Held::Constant)
    }

    /// Whether a constant has numbers that are out of range.
    fn is_wide(&self, value: &str) -> bool {
        let known = self.b.floats(&value.into());
        let is_large = |number: &f64| number.is_finite() && number.abs() > LARGEST.into();
        self.wide.contains(value)
            || self.half.element == DataType::Float16 && known.is_some_and(|all| all.iter().any(is_large))
    }

    fn is_float(&self, value: &str) -> bool {
        self.b.graph().facts().get(value).is_some_and(|fact| fact.element == DataType::Float)
    }

    /// A value in half precision, cast once.
    fn in_half(&mut self, value: &str) -> Value {
        if let Some(half) = self.halves.get(value) {
            return half.clone();
        }
        let half = self.b.cast(Value::from(value), self.half.element);
        self.halves.insert(value.into(), half.clone());
        half
    }

    /// Gives what the last node has computed in half precision its name in single.
    fn cast_back(&mut self) {
        for (single, half) in self.due.drain(..) {
            self.b.define(&single, self.b.cast(&half, DataType::Float));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::Fact;
    use gnp_model::onnx::proto::TensorProto;
    use gnp_model::testing::{TestNode, body, node};

    /// The operators that compute in half precision, of nodes that read the data x, the weights v and w, and the number
    /// c. All are in float32 at first.
    fn halved(nodes: &[TestNode], c: f32) -> (Graph, Vec<String>) {
        let mut proto = body(&["x"], nodes, &["y"]);
        let tensor = |name: &str, dims: &[i64], value: f32| {
            let count = dims.iter().product::<i64>() as usize;
            TensorProto::raw(name, DataType::Float, dims, value.to_le_bytes().repeat(count).into())
        };
        proto.initializer = vec![tensor("v", &[2], 1.0), tensor("w", &[2, 2], 1.0), tensor("c", &[], c)];
        let mut graph = Graph::new(proto).unwrap();
        let made: Vec<String> = graph.nodes().iter().flat_map(|node| node.output.clone()).collect();
        for name in ["x", "w"].into_iter().chain(made.iter().map(String::as_str)) {
            graph.declare(name, Fact::with_sizes(DataType::Float, &[2, 2]));
        }
        graph.declare("v", Fact::with_sizes(DataType::Float, &[2]));
        graph.declare("c", Fact::with_sizes(DataType::Float, &[]));
        halve(&mut graph, DataType::Float16, 18, Path::new(".")).unwrap();
        graph.retain_needed();
        let element = |node: &NodeProto| graph.facts().get(&node.output[0]).map(|fact| fact.element);
        let half = graph.nodes().iter().filter(|node| element(node) == Some(DataType::Float16));
        let half = half.map(|node| node.op_type().to_owned()).filter(|operator| operator != "Cast").collect();
        (graph, half)
    }

    fn casts(graph: &Graph) -> usize {
        graph.nodes().iter().filter(|node| node.op_type() == "Cast").count()
    }

    #[test]
    fn a_layer_is_in_half_precision_with_its_bias_and_its_activation() {
        let nodes =
            [node("MatMul", &["x", "w"], &["a"]), node("Add", &["a", "v"], &["b"]), node("Relu", &["b"], &["y"])];
        let (graph, half) = halved(&nodes, 1.0);
        assert_eq!(half, ["MatMul", "Add", "Relu"]);
        // Of x, w and v to half precision, of y back.
        assert_eq!(casts(&graph), 4);
        assert_eq!(graph.facts().get("y").unwrap().element, DataType::Float);
        Graph::new(graph.into_proto()).expect("the graph is well-formed");
    }

    #[test]
    fn what_is_in_single_precision_makes_what_it_is_added_to_so() {
        let nodes = [
            node("MatMul", &["x", "w"], &["a"]),
            node("Exp", &["a"], &["b"]),
            node("Add", &["a", "b"], &["c1"]),
            node("Neg", &["c1"], &["y"]),
        ];
        assert_eq!(halved(&nodes, 1.0).1, ["MatMul"]);
    }

    #[test]
    fn a_norm_gives_back_what_it_took() {
        let nodes = [
            node("MatMul", &["x", "w"], &["a"]),
            node("LayerNormalization", &["a", "v"], &["b"]),
            node("Add", &["a", "b"], &["d"]),
            node("Relu", &["d"], &["y"]),
        ];
        assert_eq!(halved(&nodes, 1.0).1, ["MatMul", "Add", "Relu"]);
    }

    #[test]
    fn what_no_data_change_is_left_as_it_is() {
        let nodes = [
            node("Transpose", &["w"], &["t"]),
            node("MatMul", &["t", "w"], &["p"]),
            node("MatMul", &["x", "p"], &["y"]),
        ];
        let (graph, half) = halved(&nodes, 1.0);
        assert_eq!((half, casts(&graph)), (vec!["MatMul".to_owned()], 3));
    }

    #[test]
    fn numbers_out_of_range_keep_their_bits() {
        let nodes = |operator| [node("MatMul", &["x", "w"], &["a"]), node(operator, &["a", "c"], &["y"])];
        for (c, inside) in [(65504.0, true), (f32::NEG_INFINITY, true), (65505.0, false), (f32::MIN, false)] {
            let half = halved(&nodes("Add"), c).1;
            assert_eq!(half.contains(&"Add".to_owned()), inside, "{c}");
        }
        // So does what is computed of them.
        let nodes = [
            node("Mul", &["c", "v"], &["mask"]),
            node("MatMul", &["x", "w"], &["a"]),
            node("Max", &["a", "mask"], &["y"]),
        ];
        assert_eq!(halved(&nodes, 1e6).1, ["MatMul"]);
    }

    #[test]
    fn a_divisor_of_the_data_is_in_single_precision() {
        let by = |divisor| [node("MatMul", &["x", "w"], &["a"]), node("Div", &["a", divisor], &["y"])];
        assert_eq!(halved(&by("c"), 8.0).1, ["MatMul", "Div"]);
        assert_eq!(halved(&by("x"), 8.0).1, ["MatMul"]);
        assert_eq!(halved(&by("a"), 8.0).1, ["MatMul"]);
    }
}
