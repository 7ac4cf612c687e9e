//! Where the elements of initializers came from that were no initializers of the main graph before.

use crate::onnx::proto::{GraphProto, NodeProto};

/// An initializer that was a node before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The name of the initializer.
    pub initializer: String,
    /// Where its elements came from.
    pub origin: Origin,
}

impl Moved {
    /// The initializer's name and the body that it came from, where it came from one.
    pub fn place(&self) -> Option<(&str, &Place)> {
        if let Origin::Body(place) = &self.origin { Some((&self.initializer, place)) } else { None }
    }
}

/// Where the elements of an initializer came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A `Constant` node of the main graph, whose output has the initializer's name.
    Constant,
    /// A `ConstantOfShape` node of the main graph, whose output has the initializer's name.
    ConstantOfShape,
    /// An initializer or a `Constant` node in a branch of an `If`, or the body of a Loop or Scan.
    Body(Place),
    /// A node that dequantised a constant, whose output has the initializer's name.
    Converted,
    /// Something inside a function that was inlined: the file has no place for new elements.
    Inlined,
}

/// A body, and a name inside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the main graph inwards: the first output of each node, and its attribute that holds the body.
    pub(super) bodies: Vec<(String, String)>,
    /// The name that the constant has there.
    pub name: String,
}

impl Place {
    /// The body, in a graph as it was before it was normalised.
    pub fn body<'g>(&self, graph: &'g mut GraphProto) -> Option<&'g mut GraphProto> {
        self.bodies.iter().try_fold(graph, |graph, (output, body)| {
            let node = graph.node.iter_mut().find(|node| first_output(node) == Some(output))?;
            node.attribute.iter_mut().find(|attribute| attribute.name() == body)?.g.as_deref_mut()
        })
    }
}

/// The first output of a node that is not left out.
pub(super) fn first_output(node: &NodeProto) -> Option<&str> {
    node.output.iter().map(String::as_str).find(|output| !output.is_empty())
}
