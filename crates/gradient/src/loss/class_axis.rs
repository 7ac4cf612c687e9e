//! Which axis of the logits the classes are on, where there are more than two axes: what names, shapes and operators
//! tell.
//!
//! | Evidence | Says |
//! |---|---|
//! | the name of a dimension | `classes`, `vocabulary` and their like are the classes |
//! | open sizes | an axis whose size follows an input's, or is open, is not theirs: their number is fixed by weights |
//! | the operator that made the features | Gemm and MatMul put them last, Conv on axis 1; also behind what moves axes |
//! | sizes | an axis that is as long as one of an input's (height, width, a sequence) is not theirs |
//!
//! Where the last two contradict each other, or nothing is left that tells two axes apart, the user is asked.

use super::Loss;
use foldhash::{HashMap, HashSet};
use gnp_base::choice::Choice;
use gnp_base::{Error, Result};
use gnp_model::graph::{Dim, Fact, Facts, Graph, Value};
use gnp_model::onnx::proto::NodeProto;

const FLAG: &str = "--class-axis";

/// So many nodes are looked at on the way back from the logits.
const FARTHEST: usize = 500;

/// The axis of the classes of `logits`, and why it is that; none where two axes or fewer leave no doubt, or their
/// number is not known.
///
/// # Errors
/// Where several are possible.
pub(super) fn infer(
    graph: &Graph,
    producers: &HashMap<&str, &NodeProto>,
    logits: &Value,
) -> Result<Option<(i64, Choice)>> {
    let facts = graph.facts();
    let Some(fact) = facts.get(logits).filter(|fact| fact.rank().is_some_and(|rank| rank > 2)) else { return Ok(None) };
    let shape = fact.shape.as_deref().unwrap_or_default();
    let choose = |axis: usize, why: &str| {
        let what = format!("the classes are on axis {axis} of `{logits}` {fact}{why}");
        Ok(Some((axis as i64, Choice::new(what, FLAG))))
    };
    if let Some(axis) = (0..shape.len()).find(|&axis| is_named(&shape[axis])) {
        return choose(axis, ", as the name says");
    }
    let inputs = Inputs::of(graph);
    let axes: Vec<usize> = (1..shape.len()).filter(|&axis| shape[axis] != Dim::Known(1)).collect();
    let fixed: Vec<usize> = axes.iter().copied().filter(|&axis| !inputs.leave_open(&shape[axis])).collect();
    match fixed[..] {
        [axis] => return choose(axis, ", the only one of a fixed size"),
        [] if axes.len() == 1 => return choose(axes[0], ""),
        _ => {}
    }
    let possible = if fixed.is_empty() { axes } else { fixed };
    let dependent = dependent(graph);
    let made = Walk { facts, producers, dependent: &dependent, seen: HashSet::default() }.features(logits);
    let made = made.filter(|made| possible.contains(&made.axis));
    let others: Vec<usize> = possible.iter().copied().filter(|&axis| !inputs.have(&shape[axis])).collect();
    match (made, &others[..]) {
        (Some(made), [other]) if *other != made.axis => {}
        (Some(made), _) => {
            return choose(made.axis, &format!(", which {} `{}` makes", made.node.op_type(), made.node.label()));
        }
        (None, [other]) => return choose(*other, ", the only one that is not as long as one of an input's"),
        (None, _) => {}
    }
    Err(ask(logits, fact, &possible))
}

fn ask(logits: &Value, fact: &Fact, possible: &[usize]) -> Error {
    let shape = fact.shape.as_deref().unwrap_or_default();
    let names: Vec<_> = possible.iter().map(usize::to_string).collect();
    let help = possible.iter().map(|&axis| {
        let labels: Vec<_> = (0..shape.len()).filter(|i| *i != axis).map(|i| shape[i].to_string()).collect();
        format!("{FLAG} {axis}: {} classes; class numbers are of shape [{}]", shape[axis], labels.join(", "))
    });
    Error::input(format!("the classes of `{logits}` {fact} may be on axis {}; which is it?", names.join(" or ")))
        .help(help.collect::<Vec<_>>().join("\n"))
}

/// Whether a dimension has a name that means the classes.
fn is_named(dim: &Dim) -> bool {
    let Dim::Symbol(name) = dim else { return false };
    let name = name.to_lowercase();
    !name.contains('[') && ["class", "vocab", "categor"].iter().any(|word| name.contains(word))
}

/// The axes of the inputs behind the batch.
struct Inputs<'g> {
    /// The symbols and the names of the inputs.
    names: HashSet<&'g str>,
    shapes: Vec<&'g [Dim]>,
}

impl<'g> Inputs<'g> {
    fn of(graph: &'g Graph) -> Self {
        let shape = |name: &str| graph.facts().get(name).and_then(|fact| fact.shape.as_deref());
        let names = graph.proto().input.iter().map(|input| input.name());
        let shapes: Vec<&[Dim]> = names.clone().filter_map(shape).collect();
        Self { names: names.collect(), shapes }
    }

    /// Whether a size is open: a symbol of the file, or one that follows from an input's. What is merely unknown is
    /// not.
    fn leave_open(&self, dim: &Dim) -> bool {
        let Dim::Symbol(text) = dim else { return false };
        !text.contains('[') || self.names.iter().any(|name| text.contains(&format!("{name}[")))
    }

    /// Whether an input has an axis of this size.
    fn have(&self, size: &Dim) -> bool {
        self.shapes.iter().any(|shape| shape.iter().skip(1).any(|dim| dim.is(size)))
    }
}

/// The values that depend on an input.
fn dependent(graph: &Graph) -> HashSet<&str> {
    let inputs = graph.proto().input.iter().map(|input| input.name());
    let nodes = graph.dependents(inputs.clone(), |_| false);
    let outputs = nodes.iter().flat_map(|index| &graph.nodes()[index].output);
    inputs.chain(outputs.map(String::as_str)).collect()
}

/// The axis along which weights made the elements of a value, and the node that did.
#[derive(Clone)]
struct Made<'g> {
    axis: usize,
    node: &'g NodeProto,
}

/// The way back from a value to what made its features.
struct Walk<'g, 'a> {
    facts: &'g Facts,
    producers: &'a HashMap<&'g str, &'g NodeProto>,
    dependent: &'a HashSet<&'g str>,
    seen: HashSet<&'g str>,
}

impl<'g> Walk<'g, '_> {
    fn features(&mut self, value: &str) -> Option<Made<'g>> {
        let node = *self.producers.get(value)?;
        if self.seen.len() == FARTHEST || !self.seen.insert(node.output.first()?) {
            return None;
        }
        let rank = self.rank(value)?;
        let here = |axis: Option<usize>| axis.map(|axis| Made { axis, node });
        let depends = |index: usize| node.input(index).is_some_and(|input| self.dependent.contains(input));
        match (node.domain(), node.op_type()) {
            ("", "Conv" | "ConvTranspose") => here(Some(1)),
            ("", "Gemm") => here((depends(0) && !depends(1)).then_some(1)),
            ("", "MatMul") => match (depends(0), depends(1)) {
                (true, false) if self.rank(node.input(1)?)? > 1 => here(rank.checked_sub(1)),
                (false, true) if self.rank(node.input(0)?)? > 1 => here(rank.checked_sub(2)),
                _ => None,
            },
            ("", "Einsum") => here(einsum(node, [depends(0), depends(1)])),
            ("", "Gather") if !depends(0) => here((node.int("axis", 0) == 0).then(|| rank.checked_sub(1)).flatten()),
            ("", "LSTM" | "GRU" | "RNN") => here(rank.checked_sub(1)),
            _ => self.kept(node, value, rank),
        }
    }

    /// Through a node that keeps or moves axes.
    fn kept(&mut self, node: &'g NodeProto, value: &str, rank: usize) -> Option<Made<'g>> {
        let through = |walk: &mut Self, place: &dyn Fn(usize) -> Option<usize>| {
            let made = walk.features(node.input(0)?)?;
            Some(Made { axis: place(made.axis)?, ..made })
        };
        match (node.domain(), node.op_type()) {
            ("", "Transpose") => {
                let perm = node.ints("perm").map_or_else(|| (0..rank as i64).rev().collect(), <[i64]>::to_vec);
                through(self, &|axis| perm.iter().position(|&from| from == axis as i64))
            }
            ("", "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze") => {
                let (from, to) = (self.shape(node.input(0)?)?.to_vec(), self.shape(value)?.to_vec());
                through(self, &|axis| reshaped(&from, &to, axis))
            }
            (
                "",
                "Slice" | "Pad" | "Expand" | "Tile" | "Resize" | "Upsample" | "DepthToSpace" | "SpaceToDepth" | "Split",
            ) => {
                let same = self.rank(node.input(0)?)? == rank;
                through(self, &|axis| same.then_some(axis))
            }
            ("", "MaxPool" | "AveragePool" | "LpPool") => through(self, &Some),
            _ => {
                // Whatever has the shape of its operands has their axes too.
                let mut found: Option<Made<'g>> = None;
                for part in node.input.iter().filter(|part| self.dependent.contains(part.as_str())) {
                    let offset = self.rank(part).and_then(|of_part| rank.checked_sub(of_part))?;
                    if !self.is_aligned(node, part, value) {
                        return None;
                    }
                    let Some(made) = self.features(part) else { continue };
                    let made = Made { axis: made.axis + offset, ..made };
                    if found.as_ref().is_some_and(|found| found.axis != made.axis) {
                        return None;
                    }
                    found = found.or(Some(made));
                }
                found
            }
        }
    }

    /// Whether the axes of an operand are those of the result, counted from the last: where they are as long, or one
    /// long.
    fn is_aligned(&self, node: &NodeProto, part: &str, value: &str) -> bool {
        let (Some(part), Some(whole)) = (self.shape(part), self.shape(value)) else { return false };
        let joined = node
            .is("", "Concat")
            .then(|| node.int("axis", 0))
            .map(|axis| if axis < 0 { (axis + whole.len() as i64) as usize } else { axis as usize });
        let offset = whole.len().saturating_sub(part.len());
        part.iter().enumerate().all(|(axis, dim)| {
            whole.get(axis + offset).is_some_and(|other| {
                joined == Some(axis + offset) || *dim == Dim::Known(1) || dim.known().is_none() || dim.is(other)
            })
        })
    }

    fn shape(&self, value: &str) -> Option<&'g [Dim]> {
        self.facts.get(value)?.shape.as_deref()
    }

    fn rank(&self, value: &str) -> Option<usize> {
        self.shape(value).map(<[Dim]>::len)
    }
}

/// Where axis `axis` of a shape is in another that has the same elements in the same order; none where it is not there
/// as a whole.
fn reshaped(from: &[Dim], to: &[Dim], axis: usize) -> Option<usize> {
    let size = &from[axis];
    let is_there = |place: usize| {
        let all = |a: &[Dim], b: &[Dim]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b));
        let count = |dims: &[Dim]| dims.iter().map(Dim::known).product::<Option<i64>>();
        let after = count(&from[axis + 1..]).is_some_and(|after| count(&to[place + 1..]) == Some(after));
        to[place].is(size) && (after || all(&from[..axis], &to[..place]))
    };
    let mut places = (0..to.len()).filter(|&place| is_there(place));
    let place = places.next()?;
    places.next().is_none().then_some(place)
}

/// The axis of an Einsum's result that comes from its constant operand alone.
fn einsum(node: &NodeProto, depends: [bool; 2]) -> Option<usize> {
    let equation: String = node.string("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    let (operands, result) = equation.split_once("->")?;
    let (a, b) = operands.split_once(',')?;
    let (constant, other) = match depends {
        [true, false] => (b, a),
        [false, true] => (a, b),
        _ => return None,
    };
    if result.contains('.') {
        return None;
    }
    let mut own = result.chars().enumerate().filter(|(_, axis)| constant.contains(*axis) && !other.contains(*axis));
    let (axis, _) = own.next()?;
    own.next().is_none().then_some(axis)
}

/// That the axis is the one of the softmax at the end, where two axes or fewer do not leave that without doubt.
pub(super) fn of_softmax(loss: &Loss, fact: Option<&Fact>, node: &NodeProto) -> Option<Choice> {
    let (axis, fact) = (loss.class_axis?, fact.filter(|fact| fact.rank().is_some_and(|rank| rank > 2))?);
    let what = format!("the classes are on axis {axis} of {fact}, as {} `{}` has it", node.op_type(), node.label());
    Some(Choice::new(what, FLAG))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::graph::known_shape;
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::{AttributeProto, GraphProto};
    use gnp_model::testing::{TestNode, node};

    type Shapes<'a> = &'a [(&'a str, &'a [&'a str])];

    /// What is said of `y` in a graph from the inputs `x` (and constants without an input's name) through `nodes`;
    /// sizes are numbers or symbols.
    fn said(input: &[&str], nodes: &[NodeProto], shapes: Shapes<'_>) -> Result<Option<(i64, String)>> {
        let fact = |sizes: &[&str]| {
            let dim = |size: &&str| size.parse().map_or_else(|_| Dim::Symbol((*size).into()), Dim::Known);
            Fact { element: DataType::Float, shape: Some(sizes.iter().map(dim).collect()) }
        };
        let constants = ["w", "v"]
            .map(|name| gnp_model::onnx::proto::TensorProto::raw(name, DataType::Float, &[1], vec![0; 4].into()));
        let proto = GraphProto {
            input: vec![fact(input).info("x")],
            node: nodes.to_vec(),
            initializer: constants.to_vec(),
            ..Default::default()
        };
        let mut graph = Graph::new(proto).unwrap();
        for (name, sizes) in shapes {
            graph.declare(name, fact(sizes));
        }
        graph.declare("w", Fact { element: DataType::Float, shape: known_shape(&[8, 8]) });
        let producers = graph.nodes().iter().map(|node| (node.output[0].as_str(), node)).collect();
        Ok(infer(&graph, &producers, &"y".into())?.map(|(axis, choice)| (axis, choice.what)))
    }

    fn axis(input: &[&str], nodes: &[NodeProto], shapes: Shapes<'_>) -> Option<i64> {
        said(input, nodes, shapes).unwrap().map(|(axis, _)| axis)
    }

    fn with(node: TestNode, attribute: AttributeProto) -> NodeProto {
        let mut node = NodeProto::from(node);
        node.attribute.push(attribute);
        node
    }

    fn transpose(from: &str, to: &str, perm: &[i64]) -> NodeProto {
        with(node("Transpose", &[from], &[to]), AttributeProto::ints("perm", perm))
    }

    fn linear(to: &str) -> NodeProto {
        node("MatMul", &["x", "w"], &[to]).into()
    }

    #[test]
    fn two_axes_leave_no_doubt() {
        assert_eq!(axis(&["N", "8"], &[linear("y")], &[("y", &["N", "5"])]), None);
    }

    #[test]
    fn an_open_axis_is_not_that_of_the_classes() {
        let nodes = [node("Relu", &["x"], &["y"]).into()];
        let of = |shape: &[&str]| said(&["N", "L", "8"], &nodes, &[("y", shape)]).unwrap().unwrap();
        let (axis, what) = of(&["N", "L", "5"]);
        assert_eq!(
            (axis, &*what),
            (2, "the classes are on axis 2 of `y` FLOAT [N, L, 5], the only one of a fixed size")
        );
        assert_eq!(of(&["N", "5", "L"]).0, 1);
        assert_eq!(of(&["N", "5", "2*L"]).0, 1);
        assert_eq!(of(&["N", "x[1]", "y[2]"]).0, 2);
        assert_eq!(of(&["N", "num_classes", "L"]).0, 1);
        assert_eq!(of(&["N", "5", "1"]).0, 1);
    }

    #[test]
    fn weights_put_the_features_on_an_axis() {
        let input = ["N", "6", "8"];
        let (dense, turned): (Shapes<'_>, Shapes<'_>) =
            (&[("y", &["N", "6", "5"])], &[("a", &["N", "6", "5"]), ("y", &["N", "5", "6"])]);
        let (at, what) = said(&input, &[linear("y")], dense).unwrap().unwrap();
        assert_eq!((at, &*what), (2, "the classes are on axis 2 of `y` FLOAT [N, 6, 5], which MatMul `y` makes"));
        assert_eq!(axis(&input, &[linear("a"), transpose("a", "y", &[0, 2, 1])], turned), Some(1));
        let bias = [linear("a"), node("Add", &["a", "v"], &["b"]).into(), node("Tanh", &["b"], &["y"]).into()];
        let shapes: Shapes<'_> = &[("a", &["N", "6", "5"]), ("b", &["N", "6", "5"]), ("y", &["N", "6", "5"])];
        assert_eq!(axis(&input, &bias, shapes), Some(2));
        let left = [node("MatMul", &["w", "x"], &["y"]).into()];
        assert_eq!(axis(&["N", "8", "6"], &left, &[("y", &["N", "5", "6"])]), Some(1));
        let conv = [node("Conv", &["x", "w"], &["y"]).into()];
        assert_eq!(axis(&["N", "3", "6", "6"], &conv, &[("y", &["N", "6", "6", "6"])]), Some(1));
        assert_eq!(
            axis(&["N", "5"], &[node("Gather", &["w", "x"], &["y"]).into()], &[("y", &["N", "5", "5"])]),
            Some(2)
        );
        let einsum = with(node("Einsum", &["x", "w"], &["y"]), AttributeProto::string("equation", "nlh,hc->ncl"));
        assert_eq!(axis(&input, &[einsum], &[("y", &["N", "5", "6"])]), Some(1));
    }

    #[test]
    fn features_are_followed_through_reshapes_and_sums() {
        let shapes: Shapes<'_> = &[("a", &["N", "5", "4", "4"]), ("y", &["N", "5", "16"])];
        let nodes = [node("Conv", &["x", "w"], &["a"]).into(), node("Reshape", &["a", "v"], &["y"]).into()];
        assert_eq!(axis(&["N", "3", "4", "4"], &nodes, shapes), Some(1));
        let shapes: Shapes<'_> = &[("a", &["24", "5"]), ("y", &["4", "6", "5"])];
        let nodes = [node("Gemm", &["x", "w"], &["a"]).into(), node("Reshape", &["a", "v"], &["y"]).into()];
        assert_eq!(axis(&["24", "8"], &nodes, shapes), Some(2));
        let shapes: Shapes<'_> = &[("a", &["N", "8", "7"]), ("b", &["N", "8", "7"]), ("y", &["N", "8", "7"])];
        let nodes = [linear("a"), node("Sigmoid", &["a"], &["b"]).into(), node("Add", &["a", "b"], &["y"]).into()];
        assert_eq!(axis(&["N", "8", "8"], &nodes, shapes), Some(2));
    }

    #[test]
    fn an_axis_as_long_as_one_of_an_input_is_not_that_of_the_classes() {
        let nodes = [node("Foo", &["x"], &["y"]).into()];
        let (at, what) = said(&["N", "3", "32", "32"], &nodes, &[("y", &["N", "32", "21"])]).unwrap().unwrap();
        assert_eq!(at, 2);
        assert!(what.ends_with("the only one that is not as long as one of an input's"), "{what}");
    }

    #[test]
    fn two_axes_that_both_may_be_it_are_asked_for() {
        let refusal = |input: &[&str], nodes: &[NodeProto], shapes: Shapes<'_>| {
            let error = said(input, nodes, shapes).unwrap_err();
            (error.to_string(), error.help_text().unwrap().to_owned())
        };
        let split = [node("Gemm", &["x", "w"], &["a"]).into(), node("Reshape", &["a", "v"], &["y"]).into()];
        let shapes: Shapes<'_> = &[("a", &["N", "30"]), ("y", &["N", "6", "5"])];
        let (message, help) = refusal(&["N", "8"], &split, shapes);
        assert_eq!(message, "the classes of `y` FLOAT [N, 6, 5] may be on axis 1 or 2; which is it?");
        let expected = "--class-axis 1: 6 classes; class numbers are of shape [N, 5]\n\
                        --class-axis 2: 5 classes; class numbers are of shape [N, 6]";
        assert_eq!(help, expected);
        // A matrix along time, of logits with the classes first.
        let (message, _) = refusal(&["N", "6", "16"], &[linear("y")], &[("y", &["N", "5", "16"])]);
        assert!(message.contains("axis 1 or 2"), "{message}");
    }

    #[test]
    fn a_long_chain_is_not_followed_to_its_end() {
        let names: Vec<String> = (0..5_000).map(|i| format!("a{i}")).chain(["y".to_owned()]).collect();
        let mut nodes = vec![linear("a0")];
        nodes.extend(names.windows(2).map(|pair| NodeProto::from(node("Relu", &[&pair[0]], &[&pair[1]]))));
        let shape: &[&str] = &["N", "6", "5"];
        let shapes: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), shape)).collect();
        assert!(said(&["N", "7", "8"], &nodes, &shapes).is_err());
    }
}
