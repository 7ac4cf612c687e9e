//! What the node of a layer says.

use super::activation::Activation;
use super::cell::{Cell, Kind};
use super::input;
use crate::graph::Facts;
use crate::onnx::proto::NodeProto;
use gnp_base::{Error, Result};

/// A layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its cells, one for each direction, in the order of the weights.
    pub cells: Vec<Cell>,
    /// The size of a state.
    pub hidden: i64,
}

impl Layer {
    /// The layer that `node` is, none where it is something else.
    ///
    /// # Errors
    /// Where its size is not known, or an attribute says what there is no equation for.
    pub fn of(node: &NodeProto, facts: &Facts) -> Result<Option<Self>> {
        let Some(kind) = Kind::of(node) else { return Ok(None) };
        let size_of_r = || facts.get(node.input(input::R)?)?.dim(2)?.known();
        let given = node.attribute("hidden_size").and_then(|size| size.i);
        let hidden = given.or_else(size_of_r).ok_or_else(|| {
            Error::unsupported("the size of its hidden state is not known").help("give the node its `hidden_size`")
        })?;
        if node.int("layout", 0) != 0 {
            return Err(Error::internal("a recurrent layer whose first axis is the batch"));
        }
        let reverse: &[bool] = match node.string("direction", "forward") {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => return Err(Error::format(format!("its direction `{other}` is none of the standard's"))),
        };
        let each = kind.activations().len();
        let activations = activations(node, kind, reverse.len())?;
        let clip = node.attribute("clip").and_then(|clip| clip.f).filter(|clip| *clip > 0.0 && clip.is_finite());
        let cells = reverse.iter().zip(activations.chunks(each)).map(|(&reverse, activations)| Cell {
            kind,
            hidden,
            reverse,
            activations: activations.to_vec(),
            clip,
            input_forget: node.int("input_forget", 0) != 0,
        });
        Ok(Some(Self { cells: cells.collect(), hidden }))
    }
}

/// The activations of all directions, one direction after the other.
fn activations(node: &NodeProto, kind: Kind, directions: usize) -> Result<Vec<Activation>> {
    let floats = |name: &str| node.attribute(name).map(|list| list.floats.clone()).unwrap_or_default().into_iter();
    let given = node.attribute("activations").map(|list| list.strings.as_slice()).unwrap_or_default();
    let given: Option<Vec<&str>> = given.iter().map(|name| std::str::from_utf8(name).ok()).collect();
    let given = given.ok_or_else(|| Error::format("an activation is no text"))?;
    let count = kind.activations().len() * directions;
    if given.is_empty() {
        let names = kind.activations().iter().copied().cycle().take(count);
        return Activation::list(names, floats("activation_alpha"), floats("activation_beta"));
    }
    if given.len() < count {
        return Err(Error::format(format!("it has {} activations; expected {count}", given.len())));
    }
    Activation::list(given.into_iter().take(count), floats("activation_alpha"), floats("activation_beta"))
}
