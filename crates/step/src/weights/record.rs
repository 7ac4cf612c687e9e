//! What an exporter recorded of a model's constants.
//!
//! PyTorch's exporter (`torch.onnx.export(…, dynamo=True)`, the default) writes into the metadata of the file
//!
//! - `pkg.torch.export.ExportedProgram.graph_signature`: every parameter and buffer of the module, and the placeholder
//!   that stands for it in the traced program (`p_fc_weight: PARAMETER target='fc.weight'`);
//! - for each initializer that it left as it was, `pkg.torch.export.graph_signature.InputSpec.kind`;
//! - for each initializer that it computed, `pkg.onnxscript.optimizer.folded_from`: the names of what it was computed
//!   from;
//! - for each node, `pkg.torch.onnx.fx_node`: the operation of the traced program that the node is a part of, with its
//!   arguments; and `pkg.torch.onnx.name_scopes`: the modules that it is in.
//!
//! The last two are what tells readers apart: initializers with equal elements are merged, the placeholders in the text
//! are not.

use super::Edit;
use foldhash::{HashMap, HashSet};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::{GraphProto, NodeProto, StringStringEntryProto};

const SIGNATURE: &str = "pkg.torch.export.ExportedProgram.graph_signature";
const KIND: &str = "pkg.torch.export.graph_signature.InputSpec.kind";
const FOLDED_FROM: &str = "pkg.onnxscript.optimizer.folded_from";
const OPERATION: &str = "pkg.torch.onnx.fx_node";
const SCOPES: &str = "pkg.torch.onnx.name_scopes";

/// Operations of PyTorch that give every element another place and drop none.
const VIEWS: &[&str] = &[
    "view",
    "reshape",
    "unsqueeze",
    "squeeze",
    "permute",
    "transpose",
    "t",
    "flatten",
    "contiguous",
    "clone",
    "alias",
];

/// What a tensor of the module was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It trains.
    Parameter,
    /// It belongs to the module and does not train.
    Buffer,
    /// A literal of the program.
    Constant,
}

impl Kind {
    fn of(text: &str) -> Option<Self> {
        match text {
            "PARAMETER" => Some(Self::Parameter),
            "BUFFER" => Some(Self::Buffer),
            "CONSTANT_TENSOR" | "CUSTOM_OBJ" => Some(Self::Constant),
            _ => None,
        }
    }
}

/// Where the elements of a constant come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<'r> {
    /// It is this tensor of the module, as it was.
    Tensor(Kind),
    /// The exporter computed it, from these parameters among others; they are in the order of the record.
    Made(Vec<&'r str>),
    /// The exporter computed it, from no parameter.
    Literal,
    /// It has the name of a parameter but not its elements, or came to be with such a one: another operator was folded
    /// into it.
    Changed,
    /// The record does not have it.
    Unknown,
}

/// The record of one file.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The tensors of the module, by name.
    tensors: HashMap<String, Kind>,
    /// Their names, by placeholder.
    placeholders: HashMap<String, String>,
    /// The parameters, in the order of the module.
    parameters: Vec<String>,
    /// What is written beside each initializer.
    notes: HashMap<String, Note>,
    /// Initializers that were computed from a parameter within the operation that reads it: in another order, no more.
    rearranged: HashSet<String>,
}

#[derive(Clone, Debug)]
enum Note {
    Kind(Kind),
    FoldedFrom(Vec<String>),
}

impl Record {
    /// The record in `model`; none where its exporter wrote none.
    ///
    /// ```
    /// use gnp_step::weights::Record;
    /// let model = gnp_model::onnx::read("../../models/mlp/model.onnx")?;
    /// assert!(Record::of(&model).is_none());
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    pub fn of(model: &Model) -> Option<Self> {
        let mut record = Self::default();
        let graph = &model.graph;
        if let Some(signature) = entry(&graph.metadata_props, SIGNATURE).or_else(|| model.metadata(SIGNATURE)) {
            record.read_signature(signature);
        }
        for value in &graph.value_info {
            let note = match entry(&value.metadata_props, KIND).and_then(Kind::of) {
                Some(kind) => Some(Note::Kind(kind)),
                None => entry(&value.metadata_props, FOLDED_FROM).map(|names| Note::FoldedFrom(quoted(names))),
            };
            if let Some(note) = note {
                if let Note::Kind(kind) = note {
                    record.tensors.entry(value.name().to_owned()).or_insert(kind);
                }
                record.notes.insert(value.name().to_owned(), note);
            }
        }
        (!record.tensors.is_empty() && !record.hides_parameters()).then_some(record)
    }

    /// Whether the weights are among the literals, and no parameter is in the file: the framework hid them from the
    /// exporter, as Keras does on PyTorch. Then the record tells nothing.
    fn hides_parameters(&self) -> bool {
        let is_parameter = |name: &String| self.kind(name) == Some(Kind::Parameter);
        let holds_parameter = |note: &Note| match note {
            Note::Kind(kind) => *kind == Kind::Parameter,
            Note::FoldedFrom(names) => names.iter().any(is_parameter),
        };
        let is_literal = |note: &Note| matches!(note, Note::Kind(Kind::Constant));
        self.notes.values().any(is_literal) && !self.notes.values().any(holds_parameter)
    }

    /// Lines such as `p_fc_weight: PARAMETER target='fc.weight'`; inputs first, then, after `# outputs`, what is
    /// returned.
    fn read_signature(&mut self, signature: &str) {
        for line in signature.lines().take_while(|line| !line.starts_with("# outputs")) {
            let Some((placeholder, rest)) = line.split_once(": ") else { continue };
            let Some((kind, rest)) = rest.split_once(' ') else { continue };
            let (Some(kind), Some(target)) = (Kind::of(kind), quoted(rest).into_iter().next()) else { continue };
            if kind == Kind::Parameter {
                self.parameters.push(target.clone());
            }
            self.placeholders.insert(placeholder.to_owned(), target.clone());
            self.tensors.insert(target, kind);
        }
    }

    /// The parameters of the module, in its order; none where the file has no list of them.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// What the tensor `name` of the module was.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.tensors.get(name).copied()
    }

    /// Where the elements of the initializer `name` come from.
    pub fn source(&self, name: &str) -> Source<'_> {
        match self.notes.get(name) {
            Some(Note::Kind(kind)) => Source::Tensor(*kind),
            Some(Note::FoldedFrom(names)) => {
                let is_parameter = |name: &&String| self.kind(name) == Some(Kind::Parameter);
                let parameters: Vec<&str> = names.iter().filter(is_parameter).map(String::as_str).collect();
                if parameters.is_empty() { Source::Literal } else { Source::Made(parameters) }
            }
            None => match self.kind(name) {
                Some(Kind::Parameter) => Source::Changed,
                Some(kind) => Source::Tensor(kind),
                // A convolution without a bias gets one when a BatchNormalization is folded into it.
                None if name.strip_suffix("_bias").is_some_and(|weight| self.is_changed(weight)) => Source::Changed,
                None => Source::Unknown,
            },
        }
    }

    fn is_changed(&self, name: &str) -> bool {
        !self.notes.contains_key(name) && self.kind(name) == Some(Kind::Parameter)
    }

    /// Learns of weights that `edits` give elements of their own.
    pub fn follow(&mut self, edits: &[Edit]) {
        for edit in edits {
            let (name, note) = match edit {
                Edit::Separate { name, like, .. } => match (self.notes.get(like), name.strip_prefix(like.as_str())) {
                    (Some(Note::FoldedFrom(_)), Some(target)) if target.starts_with('/') => {
                        (name, Some(Note::FoldedFrom(vec![target[1..].to_owned()])))
                    }
                    (note, _) => (name, note.cloned()),
                },
                Edit::Bias { name, .. } => (name, Some(Note::Kind(Kind::Parameter))),
                Edit::Tie { .. } | Edit::Adapt(_) => continue,
            };
            // What the module calls so, the record knows.
            let note = self.kind(name).map(Note::Kind).or(note);
            self.notes.extend(note.map(|note| (name.clone(), note)));
        }
    }

    /// The parameters that are nowhere in `graph`: no constant is one or was computed from it, and no operation that is
    /// left reads it. In the order of the module.
    pub fn absent(&self, graph: &GraphProto) -> Vec<&str> {
        let mut there: HashSet<&str> = HashSet::default();
        for name in graph.initializer.iter().map(|tensor| tensor.name()) {
            there.insert(name);
            if let Source::Made(parameters) = self.source(name) {
                there.extend(parameters);
            }
        }
        graph.node.iter().for_each(|node| there.extend(self.read_by(node).into_iter().flatten()));
        self.parameters.iter().map(String::as_str).filter(|name| !there.contains(name)).collect()
    }

    /// Notes which initializers hold the elements of a parameter in another order. The exporter writes an operation in
    /// several nodes, of which it computes those that read constants alone: what is left then reads, in place of the
    /// parameter of the operation, the result. Where the operation names something else, the program itself computed
    /// it.
    pub fn note_rearranged(&mut self, graph: &GraphProto) {
        let mut rearranged = HashSet::default();
        for node in &graph.node {
            let Some(read) = self.read_by(node) else { continue };
            for input in &node.input {
                let Source::Made(parameters) = self.source(input) else { continue };
                let is_read = |parameter: &&str| read.contains(parameter);
                let is_moved = if is_recurrent(node) {
                    // The gates have another order, and both biases are one input.
                    parameters.iter().all(is_read)
                } else {
                    self.has_one_tensor(input) && (parameters.iter().any(is_read) || self.is_view(input))
                };
                if is_moved {
                    rearranged.insert(input.clone());
                }
            }
        }
        self.rearranged = rearranged;
    }

    /// Whether the exporter computed the initializer `name` of a single tensor of the module: a product with a buffer
    /// is no rearrangement.
    fn has_one_tensor(&self, name: &str) -> bool {
        let Some(Note::FoldedFrom(sources)) = self.notes.get(name) else { return false };
        sources.iter().filter(|source| self.tensors.contains_key(*source)).count() == 1
    }

    /// Whether the program made the initializer `name` of one parameter by operations that change its shape alone, as
    /// their names tell.
    fn is_view(&self, name: &str) -> bool {
        let Some(Note::FoldedFrom(sources)) = self.notes.get(name) else { return false };
        let is_parameter = |name: &&String| self.kind(name) == Some(Kind::Parameter);
        let stem = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').to_owned();
        let made = sources.iter().filter(|source| !is_parameter(source) && stem(source) != "val");
        let mut all = made.map(String::as_str).chain([name.split('/').next().unwrap_or(name)]);
        sources.iter().filter(is_parameter).count() == 1 && all.all(|name| VIEWS.contains(&stem(name).as_str()))
    }

    /// Whether the initializer `name` holds the elements of a parameter in another order.
    pub fn is_rearranged(&self, name: &str) -> bool {
        self.rearranged.contains(name)
    }

    /// The tensors of the module that the operation reads which `node` is a part of, in the order in which an operator
    /// of the standard reads them. None where the file does not say what operation that is.
    pub fn read_by(&self, node: &NodeProto) -> Option<Vec<&str>> {
        let operation = operation(node)?;
        let (_, arguments) = operation.split_once("(args = ")?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = arguments.split('%').skip(1).map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default());
        let mut names: Vec<&str> = names.collect();
        // What is added comes first there, and last in a Gemm.
        if ADD_FIRST.iter().any(|target| operation.contains(target)) && !names.is_empty() {
            names.rotate_left(1);
        }
        let mut seen = HashSet::default();
        let tensors = names.into_iter().filter_map(|name| self.placeholders.get(name)).map(String::as_str);
        Some(tensors.filter(|name| seen.insert(*name)).collect())
    }
}

/// Operations whose first argument is added to a product of the others.
const ADD_FIRST: [&str; 4] = ["aten.addmm.", "aten.addmv.", "aten.addbmm.", "aten.baddbmm."];

fn is_recurrent(node: &NodeProto) -> bool {
    ["LSTM", "GRU", "RNN"].iter().any(|operator| node.is("", operator))
}

/// The modules that a node is in, the outermost (the model, without a name) first.
pub(super) fn modules(node: &NodeProto) -> Vec<String> {
    let mut scopes = entry(&node.metadata_props, SCOPES).map(quoted).unwrap_or_default();
    scopes.pop();
    scopes
}

/// The operation of the traced program that a node is a part of. Nodes of one operation have the same text.
pub(super) fn operation(node: &NodeProto) -> Option<&str> {
    entry(&node.metadata_props, OPERATION)
}

fn entry<'m>(entries: &'m [StringStringEntryProto], key: &str) -> Option<&'m str> {
    entries.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
}

/// The texts between single quotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use gnp_model::onnx::proto::ValueInfoProto;
    use gnp_model::testing::{body, node};

    pub(in crate::weights) fn note(key: &str, value: &str) -> StringStringEntryProto {
        StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) }
    }

    const SIGNATURE_TEXT: &str = "\n# inputs\np_a_weight: PARAMETER target='a.weight'\np_b_weight: PARAMETER target='b.weight'\n\
        b_mask: BUFFER target='mask' persistent=True\nx: USER_INPUT\n\n# outputs\ny: USER_OUTPUT\n";

    pub(in crate::weights) fn recorded(notes: &[(&str, &str, &str)]) -> Model {
        let mut model = gnp_model::onnx::read("../../models/mlp/model.onnx").unwrap();
        model.graph = body(&["x"], &[], &["y"]);
        model.graph.metadata_props = vec![note(SIGNATURE, SIGNATURE_TEXT)];
        model.graph.value_info = notes
            .iter()
            .map(|(name, key, value)| ValueInfoProto {
                name: Some((*name).into()),
                metadata_props: vec![note(key, value)],
                ..Default::default()
            })
            .collect();
        model
    }

    #[test]
    fn constants_are_told_by_what_is_written_beside_them() {
        let model = recorded(&[
            ("a.weight", KIND, "PARAMETER"),
            ("mask", KIND, "BUFFER"),
            ("val_1", FOLDED_FROM, "['mask', 'b.weight', 'val_0']"),
            ("val_2", FOLDED_FROM, "['mask', 'val_0']"),
        ]);
        let record = Record::of(&model).unwrap();
        assert_eq!(record.parameters(), ["a.weight", "b.weight"]);
        assert_eq!(record.source("a.weight"), Source::Tensor(Kind::Parameter));
        assert_eq!(record.source("mask"), Source::Tensor(Kind::Buffer));
        assert_eq!(record.source("val_1"), Source::Made(vec!["b.weight"]));
        assert_eq!(record.source("val_2"), Source::Literal);
        assert_eq!(record.source("b.weight"), Source::Changed);
        assert_eq!(record.source("b.weight_bias"), Source::Changed);
        assert_eq!(record.source("a.weight_bias"), Source::Unknown);
        assert_eq!(record.source("val_3"), Source::Unknown);
    }

    #[test]
    fn weights_that_are_literals_are_told_otherwise() {
        let lifted = ("lifted_tensor_0", KIND, "CONSTANT_TENSOR");
        assert!(Record::of(&recorded(&[lifted])).is_none());
        assert!(Record::of(&recorded(&[lifted, ("a.weight", KIND, "PARAMETER")])).is_some());
    }

    #[test]
    fn an_operation_names_the_tensors_that_it_reads() {
        let record = Record::of(&recorded(&[])).unwrap();
        let mut reader = NodeProto::from(node("Gemm", &["x", "a.weight"], &["y"]));
        assert_eq!(record.read_by(&reader), None);
        let text = "%linear : [num_users=1] = call_function[target=torch.ops.aten.linear.default](args = \
            (%x, %p_b_weight, %b_mask, %p_b_weight), kwargs = {})";
        reader.metadata_props = vec![note(OPERATION, text)];
        assert_eq!(record.read_by(&reader), Some(vec!["b.weight", "mask"]));
        // What is added may be no tensor of the module.
        for (arguments, tensors) in
            [("%b_mask, %x, %p_b_weight", ["b.weight", "mask"]), ("%x, %b_mask, %p_b_weight", ["mask", "b.weight"])]
        {
            let target = "[num_users=1] = call_function[target=torch.ops.aten.addmm.default]";
            let text = format!("%addmm : {target}(args = ({arguments}), kwargs = {{}})");
            reader.metadata_props = vec![note(OPERATION, &text)];
            assert_eq!(record.read_by(&reader), Some(tensors.to_vec()));
        }
    }

    #[test]
    fn a_product_with_a_buffer_is_no_rearrangement() {
        let mut record = Record::of(&recorded(&[
            ("val_1", FOLDED_FROM, "['b.weight', 'val_0']"),
            ("val_2", FOLDED_FROM, "['b.weight', 'mask', 'val_0']"),
        ]))
        .unwrap();
        let mut readers = ["val_1", "val_2"].map(|made| NodeProto::from(node("Add", &[made, "x"], &[made])));
        let text = "%linear : [num_users=1] = call_function[target=torch.ops.aten.linear.default](args = \
            (%b_mask, %p_b_weight, %x), kwargs = {})";
        readers.iter_mut().for_each(|reader| reader.metadata_props = vec![note(OPERATION, text)]);
        let mut graph = body(&["x"], &[], &["y"]);
        graph.node = readers.to_vec();
        record.note_rearranged(&graph);
        assert!(record.is_rearranged("val_1") && !record.is_rearranged("val_2"));
    }
}
