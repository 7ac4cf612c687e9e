//! What is known of values before the graph runs: element types, shapes, and the numbers of small constants.

use super::uses::for_each_definition;
use super::{Value, for_each_use, tensor_type};
use crate::onnx::DataType;
use crate::onnx::proto::tensor_shape_proto::Dimension;
use crate::onnx::proto::tensor_shape_proto::dimension::Value as DimValue;
use crate::onnx::proto::{GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
use foldhash::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The size of one axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A number.
    Known(i64),
    /// The same, unknown number wherever this symbol (or expression in symbols) stands.
    Symbol(Arc<str>),
    /// Nothing is known.
    Unknown,
}

impl Dim {
    /// The number, where it is one.
    pub fn known(&self) -> Option<i64> {
        if let Self::Known(size) = self { Some(*size) } else { None }
    }

    /// Whether both are surely the same number.
    pub fn is(&self, other: &Self) -> bool {
        *self != Self::Unknown && self == other
    }
}

/// More characters of a symbol are of no use to a reader.
const READABLE: usize = 24;

/// The number or the symbol, of which no more than a reader can take in: a long name is cut, a long expression left
/// out. `?` where nothing is known.
///
/// ```
/// use gnp_model::graph::Dim;
/// assert_eq!(Dim::Symbol("batch".into()).to_string(), "batch");
/// assert_eq!(Dim::Symbol("(((height + 2) / 2) * ((width + 2) / 2))".into()).to_string(), "…");
/// ```
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Symbol(symbol) => match symbol.char_indices().nth(READABLE) {
                None => f.write_str(symbol),
                Some(_) if symbol.contains('(') => f.write_str("…"),
                Some(_) => {
                    let end = symbol.char_indices().nth(READABLE - 1).map_or(0, |(end, _)| end);
                    write!(f, "{}…", &symbol[..end])
                }
            },
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// The sizes of all axes; none where not even their number is known.
pub type Shape = Option<Vec<Dim>>;

/// A shape whose sizes are all known.
pub fn known_shape(sizes: &[i64]) -> Shape {
    Some(sizes.iter().map(|&size| Dim::Known(size)).collect())
}

/// The largest size of an axis: engines count along axes in 32 bits, or near to it.
const LARGEST: i64 = 1 << 31;
/// The most elements of a tensor, 4 TiB of the smallest.
const MOST_ELEMENTS: i64 = 1 << 42;

/// What is known of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The type of its elements.
    pub element: DataType,
    /// Its shape, as far as it is known.
    pub shape: Shape,
}

/// The element type, then the sizes.
///
/// ```
/// use gnp_model::graph::Fact;
/// use gnp_model::onnx::DataType;
/// assert_eq!(Fact::with_sizes(DataType::Int64, &[2, 3]).to_string(), "INT64 [2, 3]");
/// assert_eq!(Fact::of(DataType::Float).to_string(), "FLOAT of unknown shape");
/// ```
impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.element.as_str_name())?;
        let Some(shape) = &self.shape else { return f.write_str("of unknown shape") };
        let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
        write!(f, "[{}]", sizes.join(", "))
    }
}

impl Fact {
    /// A tensor of which only the type of the elements is known.
    pub fn of(element: DataType) -> Self {
        Self { element, shape: None }
    }

    /// How many bytes it takes, where its shape is known and its elements have a size.
    pub fn bytes(&self) -> Option<u64> {
        let count = self.sizes()?.into_iter().try_fold(1u64, |n, size| n.checked_mul(u64::try_from(size).ok()?))?;
        Some(count.checked_mul(self.element.bits()?)?.div_ceil(8))
    }

    /// A tensor of a wholly known shape.
    pub fn with_sizes(element: DataType, sizes: &[i64]) -> Self {
        Self { element, shape: known_shape(sizes) }
    }

    /// A tensor of the same shape and other elements.
    #[must_use]
    pub fn with_element(&self, element: DataType) -> Self {
        Self { element, shape: self.shape.clone() }
    }

    /// How many axes there are.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The sizes, where all are known.
    pub fn sizes(&self) -> Option<Vec<i64>> {
        self.shape.as_ref()?.iter().map(Dim::known).collect()
    }

    /// Whether it is known to have one element.
    pub fn is_single(&self) -> bool {
        self.shape.as_ref().is_some_and(|shape| shape.iter().all(|dim| dim.known() == Some(1)))
    }

    /// Whether it is known to have no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.iter().flatten().any(|dim| dim.known() == Some(0))
    }

    /// The size of one axis, which may be counted from the end with negative numbers.
    pub fn dim(&self, axis: i64) -> Option<&Dim> {
        let shape = self.shape.as_ref()?;
        let index = if axis < 0 { axis + shape.len() as i64 } else { axis };
        shape.get(usize::try_from(index).ok()?)
    }

    /// The sizes of the axes before `axis`, and of those from it on; it may be counted from the end.
    ///
    /// ```
    /// use gnp_model::graph::{Dim, Fact};
    /// use gnp_model::onnx::DataType;
    /// let fact = Fact::with_sizes(DataType::Float, &[4, 65, 192]);
    /// assert_eq!(fact.split_at(-1), Some((&[4, 65].map(Dim::Known)[..], &[Dim::Known(192)][..])));
    /// ```
    pub fn split_at(&self, axis: i64) -> Option<(&[Dim], &[Dim])> {
        let shape = self.shape.as_deref()?;
        let first = if axis < 0 { axis + shape.len() as i64 } else { axis };
        shape.split_at_checked(usize::try_from(first).ok()?)
    }

    /// Whether both shapes are surely the same.
    pub fn same_shape(&self, other: &Self) -> bool {
        match (&self.shape, &other.shape) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b)),
            _ => false,
        }
    }

    /// What of the sizes no tensor has, in words. Of sizes for which this is none, sums and products do not overflow.
    pub(crate) fn impossible(&self) -> Option<String> {
        let mut elements = 1i64;
        for size in self.shape.iter().flatten().filter_map(Dim::known) {
            if !(0..=LARGEST).contains(&size) {
                return Some(format!("an axis of size {size}"));
            }
            match elements.checked_mul(size.max(1)).filter(|elements| *elements <= MOST_ELEMENTS) {
                Some(product) => elements = product,
                None => return Some(format!("more than 2^{} elements", MOST_ELEMENTS.ilog2())),
            }
        }
        None
    }

    /// What a declaration says, if it is one of a dense tensor with a known type.
    ///
    /// ```
    /// use gnp_model::graph::{scalar_info, Fact};
    /// use gnp_model::onnx::DataType;
    /// let fact = Fact::declared(&scalar_info("lr", DataType::Float)).unwrap();
    /// assert_eq!(fact, Fact::with_sizes(DataType::Float, &[]));
    /// ```
    pub fn declared(info: &ValueInfoProto) -> Option<Self> {
        let tensor = tensor_type(info)?;
        let element = DataType::try_from(tensor.elem_type()).ok().filter(|e| *e != DataType::Undefined)?;
        let shape = tensor.shape.as_ref().map(|shape| {
            let dim = |dim: &Dimension| match &dim.value {
                Some(DimValue::DimValue(size)) if *size >= 0 => Dim::Known(*size),
                Some(DimValue::DimParam(symbol)) if !symbol.is_empty() => Dim::Symbol(symbol.as_str().into()),
                _ => Dim::Unknown,
            };
            shape.dim.iter().map(dim).collect()
        });
        Some(Self { element, shape })
    }

    /// The declaration of a value of which this is known.
    pub fn info(&self, name: &str) -> ValueInfoProto {
        let dim = |dim: &Dim| {
            let value = match dim {
                Dim::Known(size) => Some(DimValue::DimValue(*size)),
                Dim::Symbol(symbol) => Some(DimValue::DimParam(symbol.to_string())),
                Dim::Unknown => None,
            };
            Dimension { value, ..Default::default() }
        };
        let shape = self.shape.as_ref().map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
        let tensor = type_proto::Tensor { elem_type: Some(self.element as i32), shape };
        let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
    }
}

/// What is known of the values of a graph.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    facts: HashMap<Value, Arc<Fact>>,
    ints: HashMap<Value, Arc<[i64]>>,
    floats: HashMap<Value, Arc<[f64]>>,
}

/// Of a value that nobody declared: a float tensor.
static UNKNOWN: LazyLock<Arc<Fact>> = LazyLock::new(|| Fact::of(DataType::Float).into());

/// Constants of up to so many elements (shapes, axes, pads, scales) are known by their numbers.
pub(crate) const SMALL: usize = 64;

impl Facts {
    /// What the graph itself declares: inputs, outputs, typed values, initializers.
    pub fn declared(graph: &GraphProto) -> Self {
        let mut facts = Self::default();
        facts.learn(graph);
        facts
    }

    /// Makes room for so many more values.
    pub(super) fn reserve(&mut self, more: usize) {
        self.facts.reserve(more);
    }

    /// Learns what a graph itself declares.
    fn learn(&mut self, graph: &GraphProto) {
        for info in graph.value_info.iter().chain(&graph.output).chain(&graph.input) {
            if let Some(fact) = Fact::declared(info) {
                self.insert(info.name().into(), fact);
            }
        }
        graph.initializer.iter().for_each(|tensor| self.insert_tensor(tensor));
    }

    /// Learns that `to` is the same as `from`, its numbers too.
    pub fn equate(&mut self, from: &str, to: &str) {
        self.equate_fact(from, to);
        if let Some(ints) = self.ints.get(from).cloned() {
            self.ints.insert(to.into(), ints);
        }
        if let Some(floats) = self.floats.get(from).cloned() {
            self.floats.insert(to.into(), floats);
        }
    }

    /// Learns that `to` has the type and the shape of `from`; of its numbers nothing.
    pub(super) fn equate_fact(&mut self, from: &str, to: &str) {
        if let Some(fact) = self.facts.get(from).cloned() {
            self.facts.insert(to.into(), fact);
        }
    }

    /// Follows a renaming of the graph, given as the new names by the old ones.
    pub(super) fn follow(&mut self, names: &HashMap<String, String>) {
        fn moved<T>(known: &mut HashMap<Value, T>, names: &HashMap<String, String>) {
            let renamed =
                names.iter().filter_map(|(from, to)| Some((to.as_str().into(), known.remove(from.as_str())?)));
            let renamed: Vec<_> = renamed.collect();
            known.extend(renamed);
        }
        moved(&mut self.facts, names);
        moved(&mut self.ints, names);
        moved(&mut self.floats, names);
    }

    /// Lets what is known of the values in a body, and in those inside it, be known of those in its copy.
    pub(super) fn learn_copy(&mut self, body: &GraphProto, copy: &GraphProto) {
        self.learn(copy);
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for_each_definition(body, &mut |name| from.push(name));
        for_each_definition(copy, &mut |name| to.push(name));
        from.into_iter().zip(to).for_each(|(from, to)| self.equate(from, to));
        for (node, copy) in body.node.iter().zip(&copy.node) {
            node.subgraphs().zip(copy.subgraphs()).for_each(|(body, copy)| self.learn_copy(body, copy));
        }
    }

    /// What is known of a value.
    pub fn get(&self, value: &str) -> Option<&Fact> {
        self.facts.get(value).map(|fact| &**fact)
    }

    /// What is known of a value; of an unknown one, that it is a float tensor.
    pub(super) fn of(&self, value: &str) -> Arc<Fact> {
        self.facts.get(value).unwrap_or(&UNKNOWN).clone()
    }

    /// What is known of every value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Value, &Fact)> {
        self.facts.iter().map(|(value, fact)| (value, &**fact))
    }

    /// Learns a fact, in place of what was known. Sizes that no tensor has count as unknown.
    pub fn insert(&mut self, value: Value, fact: impl Into<Arc<Fact>>) {
        let mut fact = fact.into();
        if fact.impossible().is_some() {
            Arc::make_mut(&mut fact)
                .shape
                .iter_mut()
                .flatten()
                .filter(|dim| dim.known().is_some())
                .for_each(|dim| *dim = Dim::Unknown);
        }
        self.facts.insert(value, fact);
    }

    /// Takes a fact and numbers back.
    pub fn forget(&mut self, value: &str) {
        self.facts.remove(value);
        self.forget_numbers(value);
    }

    fn forget_numbers(&mut self, value: &str) {
        self.ints.remove(value);
        self.floats.remove(value);
    }

    /// Takes back the numbers of `values` and of all that `nodes`, in order, make of their elements: what trains is no
    /// constant.
    pub(super) fn vary(&mut self, nodes: &[NodeProto], values: &[Value]) {
        values.iter().for_each(|value| self.forget_numbers(value));
        self.vary_in(nodes, &mut values.iter().map(|value| &**value).collect());
    }

    fn vary_in<'n>(&mut self, nodes: &'n [NodeProto], varying: &mut HashSet<&'n str>) {
        for node in nodes {
            node.subgraphs().for_each(|body| self.vary_in(&body.node, varying));
            let mut varies = false;
            for_each_use(node, &mut |name| varies |= varying.contains(name));
            if varies && !matches!(node.op_type(), "Shape" | "Size") {
                varying.extend(node.output.iter().map(String::as_str));
                node.output.iter().for_each(|output| self.forget_numbers(output));
            }
        }
    }

    /// Learns all that `other` knows, in place of what was known.
    pub fn extend(&mut self, other: Self) {
        self.facts.extend(other.facts);
        self.ints.extend(other.ints);
        self.floats.extend(other.floats);
    }

    /// Learns the type and the shape of a constant, and its elements if it is a small one.
    pub fn insert_tensor(&mut self, tensor: &TensorProto) {
        let (name, Some(element)) = (Value::from(tensor.name()), tensor.element()) else { return };
        if tensor.element_count() <= SMALL {
            if let Some(ints) = tensor.ints() {
                self.ints.insert(name.clone(), ints.into());
            } else if let Some(floats) = tensor.floats() {
                self.floats.insert(name.clone(), floats.into());
            }
        }
        self.insert(name, Fact::with_sizes(element, &tensor.dims));
    }

    /// The elements of a small constant of whole numbers, flattened.
    pub fn ints(&self, value: &str) -> Option<&[i64]> {
        self.ints.get(value).map(|ints| &**ints)
    }

    /// The elements of a small constant of floating-point numbers, flattened.
    pub fn floats(&self, value: &str) -> Option<&[f64]> {
        self.floats.get(value).map(|floats| &**floats)
    }

    pub(super) fn shared_ints(&self, value: &str) -> Option<Arc<[i64]>> {
        self.ints.get(value).cloned()
    }

    pub(super) fn shared_floats(&self, value: &str) -> Option<Arc<[f64]>> {
        self.floats.get(value).cloned()
    }

    /// The number that a constant with one element is.
    pub fn number(&self, value: &str) -> Option<f64> {
        match (self.ints(value), self.floats(value)) {
            (Some([number]), _) => Some(*number as f64),
            (_, Some([number])) => Some(*number),
            _ => None,
        }
    }

    /// Learns the elements of a constant of whole numbers.
    pub fn insert_ints(&mut self, value: Value, ints: Vec<i64>) {
        if ints.len() <= SMALL {
            self.ints.insert(value, ints.into());
        }
    }

    /// Learns the elements of a constant of floating-point numbers.
    pub fn insert_floats(&mut self, value: Value, floats: Vec<f64>) {
        if floats.len() <= SMALL {
            self.floats.insert(value, floats.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn what_follows_from_a_parameter_is_no_constant() {
        let nodes = [node("Mul", &["w", "two"], &["scale"]), node("Shape", &["w"], &["shape"])].map(NodeProto::from);
        let mut facts = Facts::default();
        for name in ["w", "two", "scale"] {
            facts.insert_floats(name.into(), vec![2.0]);
        }
        facts.insert_ints("shape".into(), vec![1]);
        facts.vary(&nodes, &["w".into()]);
        let known = ["w", "two", "scale", "shape"].map(|name| facts.number(name).is_some());
        assert_eq!(known, [false, true, false, true]);
    }
}
