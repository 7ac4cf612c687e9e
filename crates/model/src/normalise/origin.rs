//! Where the elements of initializers came from that were no initializers of the main graph before.

use crate::onnx::proto::GraphProto;

/// An initializer that was a node before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The name of the initializer.
    pub initializer: String,
    /// Where its elements came from.
    pub origin: Origin,
}

impl Moved {
    /// The initializer's name and the branch that it came from, where it came from one.
    pub fn place(&self) -> Option<(&str, &Place)> {
        if let Origin::Branch(place) = &self.origin { Some((&self.initializer, place)) } else { None }
    }
}

/// Where the elements of an initializer came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A `Constant` node of the main graph, whose output has the initializer's name.
    Constant,
    /// A `ConstantOfShape` node of the main graph, whose output has the initializer's name.
    ConstantOfShape,
    /// An initializer or a `Constant` node in a branch of an `If`.
    Branch(Place),
    /// A node that converted a constant of another type, whose output has the initializer's name.
    Converted,
    /// Something inside a function that was inlined: the file has no place for new elements.
    Inlined,
}

/// A branch of an `If`, and a name inside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the main graph inwards: the first output of each `If`, and the attribute that holds the branch.
    pub(super) branches: Vec<(String, String)>,
    /// The name that the constant has there.
    pub name: String,
}

impl Place {
    /// The branch, in a graph as it was before it was normalised.
    pub fn branch<'g>(&self, graph: &'g mut GraphProto) -> Option<&'g mut GraphProto> {
        self.branches.iter().try_fold(graph, |graph, (output, branch)| {
            let node = graph.node.iter_mut().find(|node| node.is("", "If") && node.output.first() == Some(output))?;
            node.attribute.iter_mut().find(|attribute| attribute.name() == branch)?.g.as_deref_mut()
        })
    }
}
