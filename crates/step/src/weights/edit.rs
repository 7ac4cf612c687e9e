//! Changes to a model that give its weights back what an exporter took from them.
//!
//! They are made to the graph as it was read, before it is normalised, and are part of the choices in a step model's
//! metadata: the evaluation model and the trained file follow from the same changes.

use super::lora::{self, Adapter};
use bytes::Bytes;
use foldhash::{HashMap, HashSet};
use gnp_base::{Error, Result};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use serde::{Deserialize, Serialize};
use std::slice::from_ref;

/// A place where a constant is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// The first output of the node that reads it.
    pub node: String,
    /// Which of its inputs.
    pub input: usize,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// A new initializer `name` with the elements of `like` is what `readers` read from now on; or, where there are
    /// none, what an `Identity` of `like` made under this name.
    Separate {
        /// The new initializer.
        name: String,
        /// The constant that it was merged with.
        like: String,
        /// Who reads it.
        readers: Vec<Reader>,
    },
    /// A new initializer `name` of `size` zeros is the bias of a node that had none.
    Bias {
        /// The new initializer.
        name: String,
        /// Its number of elements.
        size: i64,
        /// Who reads it.
        reader: Reader,
    },
    /// The constant `name` is another one, or its transpose.
    Tie {
        /// The constant that is computed from now on.
        name: String,
        /// The one that it is computed from.
        to: String,
        /// Whether it is its transpose.
        transposed: bool,
    },
    /// Low-rank adapters stand beside a weight.
    Adapt(Adapter),
}

impl Edit {
    /// The constant that has elements of its own from now on.
    pub fn made(&self) -> Option<&str> {
        match self {
            Self::Separate { name, .. } | Self::Bias { name, .. } => Some(name),
            Self::Tie { .. } | Self::Adapt(_) => None,
        }
    }

    /// The adapters that it puts in.
    pub fn adapter(&self) -> Option<&Adapter> {
        if let Self::Adapt(adapter) = self { Some(adapter) } else { None }
    }
}

/// Makes the changes to a graph whose weights are to be trained.
///
/// # Errors
/// Where the graph lacks what they are made to.
pub fn apply(graph: &mut GraphProto, edits: &[Edit]) -> Result<()> {
    separate(graph, edits)?;
    let mut made = Vec::new();
    for edit in edits {
        let Edit::Tie { name, to, transposed } = edit else { continue };
        take_constant(graph, name)?;
        let node = NodeProto {
            name: Some(format!("gnp/tie/{name}")),
            op_type: Some(if *transposed { "Transpose" } else { "Identity" }.into()),
            input: vec![to.clone()],
            output: vec![name.clone()],
            attribute: if *transposed { vec![AttributeProto::ints("perm", &[1, 0])] } else { vec![] },
            ..Default::default()
        };
        made.push((to, node));
    }
    // Each comes after what makes the constant that it reads.
    let makers: HashMap<&str, usize> =
        graph.node.iter().enumerate().flat_map(|(i, node)| node.output.iter().map(move |o| (o.as_str(), i))).collect();
    let mut placed: Vec<(usize, NodeProto)> =
        made.into_iter().map(|(to, node)| (makers.get(to.as_str()).map_or(0, |i| i + 1), node)).collect();
    placed.sort_by_key(|(place, _)| *place);
    for (place, node) in placed.into_iter().rev() {
        graph.node.insert(place, node);
    }
    lora::put(graph, edits.iter().filter_map(Edit::adapter))
}

/// Makes the changes that give a weight a tensor of its own: those that the trained file has too.
///
/// # Errors
/// Where the graph lacks what they are made to.
pub fn separate(graph: &mut GraphProto, edits: &[Edit]) -> Result<()> {
    let mut reads: HashMap<&str, Vec<(usize, &str)>> = HashMap::default();
    let mut initializers = Vec::new();
    let constants = Constants::of(graph);
    let beside = weights_beside(graph, edits);
    for edit in edits {
        let (name, tensor, readers) = match edit {
            Edit::Separate { name, like, readers } => {
                let tensor = constants.get(like).ok_or_else(|| missing(like))?;
                (name, TensorProto { name: Some(name.clone()), ..tensor.clone() }, readers.as_slice())
            }
            Edit::Bias { name, size, reader } => {
                let element = beside.get(reader.node.as_str()).copied().unwrap_or(DataType::Float);
                let zeros = vec![0; 4 * usize::try_from(*size).unwrap_or(0)];
                (name, floating(name, element, &[*size], zeros.into())?, from_ref(reader))
            }
            Edit::Tie { .. } | Edit::Adapt(_) => continue,
        };
        initializers.push(tensor);
        for reader in readers {
            reads.entry(&reader.node).or_default().push((reader.input, name));
        }
    }
    let names: HashSet<&str> = initializers.iter().map(|tensor| tensor.name()).collect();
    let is_copy = |node: &NodeProto| node.is("", "Identity") && node.output.iter().any(|o| names.contains(o.as_str()));
    graph.node.retain(|node| !is_copy(node));
    for node in &mut graph.node {
        let changed = node.output.first().and_then(|output| reads.remove(output.as_str()));
        for (input, name) in changed.into_iter().flatten() {
            if node.input.len() <= input {
                node.input.resize(input + 1, String::new());
            }
            name.clone_into(&mut node.input[input]);
        }
    }
    if let Some(node) = reads.into_keys().next() {
        return Err(missing(node));
    }
    graph.initializer.extend(initializers);
    Ok(())
}

/// The types of the weights of the nodes that get a bias, by the outputs of these.
fn weights_beside(graph: &GraphProto, edits: &[Edit]) -> HashMap<String, DataType> {
    let reader = |edit: &Edit| if let Edit::Bias { reader, .. } = edit { Some(reader.node.clone()) } else { None };
    let readers: HashSet<String> = edits.iter().filter_map(reader).collect();
    if readers.is_empty() {
        return HashMap::default();
    }
    let types = Types::of(graph);
    let read =
        graph.node.iter().filter_map(|node| Some((node.output.first()?.clone(), types.of_weight(node.input(1)?))));
    read.filter(|(output, _)| readers.contains(output)).collect()
}

/// A tensor of `elements`, float32, rounded to a floating-point type.
///
/// # Errors
/// Where an element is beyond that type.
pub(super) fn floating(name: &str, element: DataType, dims: &[i64], elements: Bytes) -> Result<TensorProto> {
    let mut tensor = TensorProto::raw(name, element, dims, Bytes::new());
    tensor.set_float32(elements)?;
    Ok(tensor)
}

pub(super) fn missing(name: &str) -> Error {
    Error::input(format!("the model has no value `{name}`, which the step model's weights were taken from"))
        .help("name the model that the step model was made of")
}

/// The constants of a graph: initializers, and `Constant` nodes that hold a tensor.
pub(super) struct Constants<'g>(HashMap<&'g str, &'g TensorProto>);

impl<'g> Constants<'g> {
    pub fn of(graph: &'g GraphProto) -> Self {
        let nodes = graph.node.iter().filter(|node| node.is("", "Constant"));
        let held =
            nodes.filter_map(|node| Some((node.output.first()?.as_str(), node.attribute("value")?.t.as_deref()?)));
        Self(graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).chain(held).collect())
    }

    pub fn get(&self, name: &str) -> Option<&'g TensorProto> {
        self.0.get(name).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'g str, &'g TensorProto)> + '_ {
        self.0.iter().map(|(name, tensor)| (*name, *tensor))
    }
}

/// The types that the weights of a graph are computed with in.
pub(crate) struct Types<'g> {
    constants: Constants<'g>,
    made: HashMap<&'g str, &'g NodeProto>,
}

impl<'g> Types<'g> {
    pub fn of(graph: &'g GraphProto) -> Self {
        let made = graph.node.iter().flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node)));
        Self { constants: Constants::of(graph), made: made.collect() }
    }

    /// The type of a constant, or of what is made of one by another type or order of its elements; else float32.
    pub fn of_weight(&self, value: &str) -> DataType {
        self.floating(value).filter(|element| element.is_floating()).unwrap_or(DataType::Float)
    }

    fn floating<'v>(&'v self, mut value: &'v str) -> Option<DataType> {
        // Each node on the way is passed once, since a graph has no cycles; a file might.
        for _ in 0..16 {
            if let Some(tensor) = self.constants.get(value) {
                return tensor.element();
            }
            let node = *self.made.get(value)?;
            value = match node.op_type() {
                "Cast" => return DataType::try_from(i32::try_from(node.int("to", 0)).ok()?).ok(),
                "ConstantOfShape" => return node.attribute("value")?.t.as_deref()?.element(),
                "DequantizeLinear" => node.input(1)?,
                "Transpose" | "Identity" => node.input(0)?,
                _ => return None,
            };
        }
        None
    }
}

/// Takes a constant out of a graph, so that a node can make its name.
fn take_constant(graph: &mut GraphProto, name: &str) -> Result<()> {
    let before = graph.initializer.len() + graph.node.len();
    graph.initializer.retain(|tensor| tensor.name() != name);
    graph.node.retain(|node| !(node.is("", "Constant") && node.output.first().is_some_and(|output| output == name)));
    if graph.initializer.len() + graph.node.len() == before {
        return Err(missing(name));
    }
    // From format version 4 on an input of its name would be a default that a caller may set.
    graph.input.retain(|input| input.name() != name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::testing::{body, node};

    fn weight(name: &str, value: f32) -> TensorProto {
        TensorProto::raw(name, DataType::Float, &[1], value.to_le_bytes().to_vec().into())
    }

    fn reader(node: &str, input: usize) -> Reader {
        Reader { node: node.to_owned(), input }
    }

    /// Two layers that read one weight; a third that reads a copy which an `Identity` makes.
    fn merged() -> GraphProto {
        let nodes = [
            node("Identity", &["w"], &["w.copy"]),
            node("Mul", &["x", "w"], &["a"]),
            node("Mul", &["a", "w"], &["b"]),
            node("Mul", &["b", "w.copy"], &["y"]),
        ];
        GraphProto { initializer: vec![weight("w", 2.0)], ..body(&["x"], &nodes, &["y"]) }
    }

    fn lines(graph: &GraphProto) -> Vec<String> {
        let line = |node: &NodeProto| format!("{} = {}({})", node.output[0], node.op_type(), node.input.join(", "));
        graph.node.iter().map(line).collect()
    }

    fn separate_of(name: &str, readers: Vec<Reader>) -> Edit {
        Edit::Separate { name: name.into(), like: "w".into(), readers }
    }

    #[test]
    fn a_weight_gets_elements_of_its_own() {
        let mut graph = merged();
        let edits = [
            separate_of("w2", vec![reader("b", 1)]),
            separate_of("w.copy", vec![]),
            Edit::Bias { name: "bias".into(), size: 3, reader: reader("y", 2) },
        ];
        separate(&mut graph, &edits).unwrap();
        assert_eq!(lines(&graph), ["a = Mul(x, w)", "b = Mul(a, w2)", "y = Mul(b, w.copy, bias)"]);
        let names: Vec<&str> = graph.initializer.iter().map(TensorProto::name).collect();
        assert_eq!(names, ["w", "w2", "w.copy", "bias"]);
        assert_eq!(graph.initializer[2].floats().unwrap(), [2.0]);
        assert_eq!(graph.initializer[3].floats().unwrap(), [0.0; 3]);
    }

    #[test]
    fn a_tie_is_computed_after_what_it_is_a_copy_of() {
        let mut graph = merged();
        graph.initializer.push(weight("v", 3.0));
        graph.node.push(node("Mul", &["y", "v"], &["z"]).into());
        let tie = Edit::Tie { name: "v".into(), to: "w.copy".into(), transposed: false };
        apply(&mut graph, &[tie]).unwrap();
        assert_eq!(lines(&graph)[..2], ["w.copy = Identity(w)", "v = Identity(w.copy)"]);
        assert_eq!(graph.initializer.len(), 1);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for (edit, name) in [
            (Edit::Separate { name: "a".into(), like: "v".into(), readers: vec![] }, "v"),
            (separate_of("a", vec![reader("gone", 1)]), "gone"),
            (Edit::Tie { name: "v".into(), to: "w".into(), transposed: true }, "v"),
        ] {
            let error = apply(&mut merged(), &[edit]).unwrap_err();
            assert!(error.to_string().contains(&format!("no value `{name}`")), "{error}");
        }
    }
}
