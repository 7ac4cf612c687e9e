//! The attributes of nodes: reading with the standard's defaults, and making.

use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

impl NodeProto {
    /// The graphs among the attributes: the bodies of a control-flow operator. Not those nested inside them.
    pub fn subgraphs(&self) -> impl Iterator<Item = &GraphProto> {
        self.attribute.iter().flat_map(AttributeProto::subgraphs)
    }

    /// The same, to be changed.
    pub fn subgraphs_mut(&mut self) -> impl Iterator<Item = &mut GraphProto> {
        self.attribute.iter_mut().flat_map(AttributeProto::subgraphs_mut)
    }

    /// An integer attribute, or its default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|a| a.i).unwrap_or(default)
    }

    /// A float attribute, or its default.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|a| a.f).unwrap_or(default)
    }

    /// A list of integers, if it is given.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// A string attribute, or its default; also where it is no UTF-8.
    pub fn string<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.attribute(name).and_then(|a| std::str::from_utf8(a.s.as_ref()?).ok()).unwrap_or(default)
    }
}

impl AttributeProto {
    /// The graphs that the attribute holds: one, a list, or none.
    pub fn subgraphs(&self) -> impl Iterator<Item = &GraphProto> {
        self.g.as_deref().into_iter().chain(&self.graphs)
    }

    /// The same, to be changed.
    pub fn subgraphs_mut(&mut self) -> impl Iterator<Item = &mut GraphProto> {
        self.g.as_deref_mut().into_iter().chain(&mut self.graphs)
    }

    fn new(name: &str, kind: AttributeType) -> Self {
        Self { name: Some(name.into()), r#type: Some(kind as i32), ..Default::default() }
    }

    /// An integer.
    ///
    /// ```
    /// use gnp_model::onnx::proto::{AttributeProto, NodeProto};
    /// let node = NodeProto { attribute: vec![AttributeProto::int("axis", -1)], ..Default::default() };
    /// assert_eq!((node.int("axis", 0), node.int("other", 7)), (-1, 7));
    /// ```
    pub fn int(name: &str, i: i64) -> Self {
        Self { i: Some(i), ..Self::new(name, AttributeType::Int) }
    }

    /// A list of integers.
    pub fn ints(name: &str, ints: &[i64]) -> Self {
        Self { ints: ints.to_vec(), ..Self::new(name, AttributeType::Ints) }
    }

    /// A float.
    pub fn float(name: &str, f: f32) -> Self {
        Self { f: Some(f), ..Self::new(name, AttributeType::Float) }
    }

    /// A string.
    pub fn string(name: &str, s: &str) -> Self {
        Self { s: Some(s.to_owned().into()), ..Self::new(name, AttributeType::String) }
    }

    /// A tensor.
    pub fn tensor(name: &str, t: TensorProto) -> Self {
        Self { t: Some(Box::new(t)), ..Self::new(name, AttributeType::Tensor) }
    }

    /// A body: the branch of an If, say.
    pub fn graph(name: &str, g: GraphProto) -> Self {
        Self { g: Some(Box::new(g)), ..Self::new(name, AttributeType::Graph) }
    }
}
