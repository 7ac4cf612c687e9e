//! The axes of pieces, in place of those of the tensor that they are cut from, or put together to.
//!
//! Attention makes its queries, keys and values by one product, exchanges the axes of the whole, and cuts it. Products
//! of matrices by our kernel read factors in any order of their axes, and write so ([`super::products`]), but they see
//! the pieces. So what exchanges axes goes behind the cut, and, in the gradient, before the pieces are put together.
//!
//! The condition: our kernel multiplies matrices. Elements are moved, and stay what they are.

use super::{read_twice, remove_unread};
use foldhash::{HashMap, HashSet};
use gnp_base::Result;
use gnp_model::graph::{Builder, Dim, Fact, Graph, Replacing, Value};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto};
use gnp_model::shapes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rewrites `model`. Where its shapes contradict each other it stays as it is: the runtime says so better.
///
/// # Errors
/// Where the graph is not well-formed.
pub(super) fn apply(model: &mut Model) -> Result<()> {
    if !has_pieces(&model.graph) {
        return Ok(());
    }
    let Ok(facts) = shapes::analyse(model, &BTreeMap::new()) else { return Ok(()) };
    let mut shared = HashSet::default();
    all_read_twice(&model.graph, &mut shared);
    let mut graph = Graph::knowing(std::mem::take(&mut model.graph), facts)?;
    let b = Builder::new(&mut graph, "pieces");
    let mut pass = Pieces { b: &b, shared, scopes: vec![Scope::default()], unread: HashSet::default() };
    b.replace_nodes_and_inner(&mut pass)?;
    let unread = pass.unread;
    graph.clear_types();
    model.graph = graph.into_proto();
    let may_go =
        |node: &NodeProto| node.is("", "Transpose") || node.output.iter().all(|output| unread.contains(output));
    remove_unread(&mut model.graph, &may_go);
    Ok(())
}

fn has_pieces(graph: &GraphProto) -> bool {
    let is_one = |node: &NodeProto| node.is("", "Split") || node.is("", "Concat") || node.subgraphs().any(has_pieces);
    graph.node.iter().any(is_one)
}

fn all_read_twice(graph: &GraphProto, shared: &mut HashSet<String>) {
    shared.extend(read_twice(graph));
    graph.node.iter().flat_map(NodeProto::subgraphs).for_each(|body| all_read_twice(body, shared));
}

/// The walk through a graph.
struct Pieces<'g> {
    b: &'g Builder<'g>,
    /// What is read more than once.
    shared: HashSet<String>,
    scopes: Vec<Scope>,
    /// What may have become unread.
    unread: HashSet<String>,
}

/// What the nodes of a graph, or of a body, have made.
#[derive(Default)]
struct Scope {
    /// Values with their axes in another order.
    transposed: HashMap<String, Transposed>,
    /// Pieces of them.
    pieces: HashMap<String, Piece>,
    /// Values with one axis more, of size 1: what they are of, and the axis.
    inserted: HashMap<String, (Value, i64)>,
    /// Values put together: of what, along which axis.
    joined: HashMap<String, (Vec<String>, i64)>,
}

/// A value with its axes in another order.
#[derive(Clone)]
struct Transposed {
    of: Value,
    perm: Vec<i64>,
}

/// A part of a [`Transposed`], cut along an axis of it.
struct Piece {
    of: Transposed,
    axis: i64,
}

impl Transposed {
    /// Where an axis of it was before.
    fn before(&self, axis: i64) -> Option<i64> {
        self.perm.get(usize::try_from(axis).ok()?).copied()
    }
}

/// The order of the other axes, where one is taken out.
fn without(perm: &[i64], axis: i64) -> Vec<i64> {
    let Some(before) = usize::try_from(axis).ok().and_then(|axis| perm.get(axis).copied()) else {
        return perm.to_vec();
    };
    let others = perm.iter().zip(0..).filter(|(_, place)| *place != axis);
    others.map(|(&at, _)| if at > before { at - 1 } else { at }).collect()
}

fn counted(axis: i64, rank: usize) -> i64 {
    if axis < 0 { axis + rank as i64 } else { axis }
}

impl Pieces<'_> {
    fn scope(&mut self) -> &mut Scope {
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// Cuts what a value was before its axes were exchanged, and exchanges those of the pieces.
    fn split(&mut self, node: &NodeProto) -> Option<()> {
        let whole = node.input(0).filter(|whole| !self.shared.contains(*whole))?;
        let of = self.scope().transposed.get(whole)?.clone();
        let axis = counted(node.int("axis", 0), of.perm.len());
        let before = of.before(axis)?;
        let in_order_before = |fact: Arc<Fact>| {
            let mut dims = vec![Dim::Unknown; of.perm.len()];
            for (dim, &at) in fact.shape.as_deref()?.iter().zip(&of.perm) {
                *dims.get_mut(at as usize)? = dim.clone();
            }
            Some(Some(Arc::new(Fact { element: fact.element, shape: Some(dims) })))
        };
        let facts = node.output.iter().map(|output| in_order_before(self.b.fact(&output.as_str().into())));
        let facts: Vec<_> = facts.collect::<Option<_>>()?;
        let further: Vec<Value> = node.input.iter().skip(1).map(|input| input.as_str().into()).collect();
        let inputs: Vec<&Value> = [&of.of].into_iter().chain(&further).collect();
        let mut attributes: Vec<_> = node.attribute.iter().filter(|a| a.name() != "axis").cloned().collect();
        attributes.push(AttributeProto::int("axis", before));
        let pieces = self.b.nodes_in("", "Split", &inputs, attributes, facts);
        for (name, piece) in node.output.iter().zip(pieces.into_iter().flatten()) {
            self.b.define(name, self.b.transpose(&piece, &of.perm));
            let of = Transposed { of: piece, perm: of.perm.clone() };
            self.scope().pieces.insert(name.clone(), Piece { of, axis });
        }
        Some(())
    }

    /// Takes the axis out that a piece was cut along, before its axes are exchanged.
    fn squeeze(&mut self, node: &NodeProto) -> Option<()> {
        let [only] = self.b.ints(&node.input(1)?.into())?[..] else { return None };
        let piece = self.scope().pieces.get(node.input(0)?)?;
        let (of, axis) = (piece.of.clone(), piece.axis);
        if counted(only, of.perm.len()) != axis {
            return None;
        }
        let squeezed = self.b.squeeze(&of.of, &[of.before(axis)?]);
        self.b.define(&node.output[0], self.b.transpose(&squeezed, &without(&of.perm, axis)));
        Some(())
    }

    /// Exchanges the axes of pieces, and puts those together.
    fn transpose(&mut self, node: &NodeProto) -> Option<()> {
        let whole = node.input(0).filter(|whole| !self.shared.contains(*whole))?;
        let perm = node.ints("perm")?;
        let (parts, axis) = self.scope().joined.get(whole)?.clone();
        let place = perm.iter().position(|&at| at == axis)? as i64;
        let inserted = parts.iter().map(|part| self.scope().inserted.get(part).cloned());
        let inserted: Vec<(Value, i64)> = inserted.collect::<Option<_>>()?;
        if inserted.iter().any(|(_, at)| *at != axis) {
            return None;
        }
        let order = without(perm, place);
        let piece = |(value, _): &(Value, i64)| self.b.unsqueeze(self.b.transpose(value, &order), &[place]);
        let pieces: Vec<Value> = inserted.iter().map(piece).collect();
        let joined = self.b.concat(&pieces.iter().collect::<Vec<_>>(), place);
        self.b.define(&node.output[0], joined);
        self.unread.extend(parts.into_iter().chain([whole.to_owned()]));
        Some(())
    }

    /// The axis of size 1 that a node inserts, if it does that alone.
    fn inserts(&self, node: &NodeProto) -> Option<i64> {
        let (x, y) = (node.input(0)?, node.output.first()?);
        if !node.is("", "Reshape") && !node.is("", "Unsqueeze") {
            return None;
        }
        let (x, y) = (self.b.fact(&x.into()), self.b.fact(&y.as_str().into()));
        let (from, to) = (x.shape.as_deref()?, y.shape.as_deref()?);
        if to.len() != from.len() + 1 {
            return None;
        }
        let is_here = |axis: &usize| {
            let others = to[..*axis].iter().chain(&to[axis + 1..]);
            to[*axis].known() == Some(1) && others.zip(from).all(|(to, from)| to.is(from))
        };
        (0..to.len()).find(is_here).map(|axis| axis as i64)
    }

    /// Keeps what a node makes of its input, for those behind it.
    fn learn(&mut self, node: &NodeProto) {
        let (Some(x), Some(output)) = (node.input(0), node.output.first()) else { return };
        if node.is("", "Transpose") {
            if let Some(perm) = node.ints("perm") {
                let transposed = Transposed { of: x.into(), perm: perm.to_vec() };
                self.scope().transposed.insert(output.clone(), transposed);
            }
        } else if node.is("", "Concat") {
            if let Some(rank) = self.b.fact(&output.as_str().into()).rank() {
                let joined = (node.input.clone(), counted(node.int("axis", 0), rank));
                self.scope().joined.insert(output.clone(), joined);
            }
        } else if let Some(axis) = self.inserts(node) {
            let inserted = (x.into(), axis);
            self.scope().inserted.insert(output.clone(), inserted);
        }
    }
}

impl Replacing for Pieces<'_> {
    fn enter(&mut self) {
        self.scopes.push(Scope::default());
    }

    fn leave(&mut self, _: &[Value]) -> Result<()> {
        self.scopes.pop();
        Ok(())
    }

    fn node(&mut self, node: NodeProto) -> Result<Option<NodeProto>> {
        self.b.set_scope(node.label());
        let is_replaced = match (node.domain(), node.op_type()) {
            ("", "Split") => self.split(&node),
            ("", "Squeeze") => self.squeeze(&node),
            ("", "Transpose") => self.transpose(&node),
            _ => None,
        };
        if is_replaced.is_some() {
            return Ok(None);
        }
        self.learn(&node);
        Ok(Some(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::TensorProto;
    use gnp_model::testing::{TestNode, body, model, node};

    /// The nodes behind the pass, as text: x is [2, 5, 3, 4, 6], and q, k and v are [2, 4, 5, 6].
    fn nodes(nodes: &[TestNode], outputs: &[&str]) -> Vec<String> {
        let float = |name: &str, sizes: &[i64]| Fact::with_sizes(DataType::Float, sizes).info(name);
        let mut graph = body(&[], nodes, outputs);
        graph.input = ["q", "k", "v"].map(|name| float(name, &[2, 4, 5, 6])).into();
        graph.input.push(float("x", &[2, 5, 3, 4, 6]));
        graph.initializer = vec![TensorProto::int64s("first", &[0])];
        let mut model = model(graph);
        apply(&mut model).unwrap();
        let facts = shapes::analyse(&model, &BTreeMap::new()).unwrap();
        Graph::new(model.graph.clone()).expect("the graph is well-formed");
        let told = |node: &NodeProto| {
            let sizes = facts.get(&node.output[0]).and_then(Fact::sizes).unwrap_or_default();
            format!("{} {:?} to {sizes:?}", node.op_type(), node.ints("perm").unwrap_or_default())
        };
        model.graph.node.iter().map(told).collect()
    }

    fn with(node: TestNode, attributes: Vec<AttributeProto>) -> TestNode {
        let mut node: NodeProto = node.into();
        node.attribute = attributes;
        node.into()
    }

    #[test]
    fn what_is_cut_is_turned_behind_the_cut() {
        let turned = with(node("Transpose", &["x"], &["turned"]), vec![AttributeProto::ints("perm", &[2, 0, 3, 1, 4])]);
        let cut = vec![AttributeProto::int("axis", 0), AttributeProto::int("num_outputs", 3)];
        let split = with(node("Split", &["turned"], &["a", "b", "c"]), cut);
        let squeezed = node("Squeeze", &["a", "first"], &["y"]);
        let found = nodes(&[turned.clone(), split.clone(), squeezed, node("Neg", &["b"], &["z"])], &["y", "z"]);
        let expected = [
            "Split [] to [2, 5, 1, 4, 6]",
            "Transpose [2, 0, 3, 1, 4] to [1, 2, 4, 5, 6]",
            "Squeeze [] to [2, 5, 4, 6]",
            "Transpose [0, 2, 1, 3] to [2, 4, 5, 6]",
            "Neg [] to [1, 2, 4, 5, 6]",
        ];
        assert_eq!(found, expected);
        // Something else reads the whole.
        let found = nodes(&[turned, split, node("Neg", &["turned"], &["y"])], &["a", "y"]);
        assert_eq!(found[0], "Transpose [2, 0, 3, 1, 4] to [3, 2, 4, 5, 6]");
    }

    #[test]
    fn what_is_put_together_is_turned_before_it() {
        let parts =
            ["q", "k", "v"].map(|name| node("Unsqueeze", &[name, "first"], &[["one of ", name].concat().leak()]));
        let joined = with(
            node("Concat", &["one of q", "one of k", "one of v"], &["whole"]),
            vec![AttributeProto::int("axis", 0)],
        );
        let turned = with(node("Transpose", &["whole"], &["y"]), vec![AttributeProto::ints("perm", &[1, 3, 0, 2, 4])]);
        let found = nodes(&[&parts[..], &[joined.clone(), turned.clone()]].concat(), &["y"]);
        let piece = ["Transpose [0, 2, 1, 3] to [2, 5, 4, 6]", "Unsqueeze [] to [2, 5, 1, 4, 6]"];
        assert_eq!(found[..6], [piece, piece, piece].concat());
        assert_eq!(found[6..], ["Concat [] to [2, 5, 3, 4, 6]"]);
        let found = nodes(&[&parts[..], &[joined, turned]].concat(), &["y", "whole"]);
        assert_eq!(found.last().unwrap(), "Transpose [1, 3, 0, 2, 4] to [2, 5, 3, 4, 6]");
    }
}
