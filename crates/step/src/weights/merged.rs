//! Weights that an exporter merged because their elements happened to be equal, and biases that it dropped because they
//! were zero.
//!
//! In a fresh network all norms of a width have the same ones and zeros, and copies of a layer the same random numbers.
//! PyTorch's exporters keep one tensor of each: TorchScript's writes `Identity` nodes for the others, under their
//! names; the default one lets all readers read the one tensor. A weight that the network itself uses in several places
//! looks the same. What tells them apart is, in this order: the operations that the exporter recorded; a statistic of
//! BatchNormalization, which moves and must not move a weight; an `Identity` of TorchScript's exporter under the name
//! of a parameter, since it writes none for a weight that the module itself has twice; elements that are all one
//! number; names, of weights or of the modules that read them, that differ in numbers alone, as those of copied layers
//! do.

use super::Sharing;
use super::edit::{Constants, Edit, Reader};
use super::names::{self, Name};
use super::record::{Kind, Record, Source, modules, operation};
use super::values::{Elements, Values};
use foldhash::{HashMap, HashSet};
use gnp_base::Result;
use gnp_base::choice::Choice;
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{GraphProto, NodeProto};

/// Who reads each float32 constant of a graph, by its name, in the order of the nodes.
pub(super) type Readers<'g> = HashMap<&'g str, Vec<(&'g NodeProto, usize)>>;

/// The readers of the float32 constants in `constants`.
pub(super) fn readers<'g>(graph: &'g GraphProto, constants: &Constants<'g>) -> Readers<'g> {
    let mut readers: Readers<'g> = HashMap::default();
    for node in &graph.node {
        for (position, input) in node.input.iter().enumerate() {
            if constants.get(input).is_some_and(|tensor| tensor.element() == Some(DataType::Float)) {
                readers.entry(input).or_default().push((node, position));
            }
        }
    }
    readers
}

/// What was merged or dropped, to be put apart and back.
pub(super) struct Search<'g, 'a> {
    pub graph: &'g GraphProto,
    /// The program that wrote it.
    pub producer: &'a str,
    pub constants: &'a Constants<'g>,
    pub readers: &'a Readers<'g>,
    pub record: Option<&'a Record>,
    pub sharing: &'a Sharing,
    pub values: &'a mut Values,
}

/// What a search found.
#[derive(Default)]
pub(super) struct Found {
    pub edits: Vec<Edit>,
    pub choices: Vec<Choice>,
    /// What `--untie` names and has one reader: a copy of another weight, if it is right.
    pub unsettled: Vec<String>,
}

impl Search<'_, '_> {
    /// # Errors
    /// Where external data cannot be read.
    pub fn run(mut self) -> Result<Found> {
        let mut found = Found::default();
        let untied = self.as_the_user_says(&mut found);
        let recorded = self.as_recorded(&mut found, &untied);
        self.biases(&mut found);
        self.statistics(&mut found);
        self.identities(&mut found)?;
        if recorded > 0 {
            found.choices.push(Choice::new(
                format!("{recorded} weights that the exporter merged, since they were equal, train apart"),
                "--tie A=B",
            ));
        }
        Ok(found)
    }

    /// Separates the readers of each constant that `--untie` names; returns these.
    fn as_the_user_says(&self, found: &mut Found) -> HashSet<String> {
        for name in &self.sharing.untie {
            if let Some(like) = self.copied_by_identity(name) {
                found.edits.push(Edit::Separate { name: name.clone(), like: like.to_owned(), readers: vec![] });
                continue;
            }
            let readers = self.readers.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            if readers.len() < 2 {
                found.unsettled.push(name.clone());
                continue;
            }
            for (node, input) in &readers[1..] {
                let own = format!("{name}@{}", node.label());
                found.edits.push(Edit::Separate { name: own, like: name.clone(), readers: reader(node, *input) });
            }
        }
        self.sharing.untie.iter().cloned().collect()
    }

    /// The constant that an `Identity` copies to `name`.
    fn copied_by_identity(&self, name: &str) -> Option<&str> {
        let copies = self.graph.node.iter().find(|node| node.is("", "Identity") && node.output[..] == [name])?;
        copies.input(0).filter(|source| self.constants.get(source).is_some())
    }

    /// Separates readers that, as the exporter recorded, read other tensors of the module; returns how many those are.
    fn as_recorded(&self, found: &mut Found, untied: &HashSet<String>) -> usize {
        let Some(record) = self.record else { return 0 };
        let mut apart = Apart::default();
        for operation in self.operations(record) {
            let reads = || operation.reads.iter().filter(|read| !untied.contains(read.constant));
            let is_of = |read: &Read, name: &str| origins(record, read.constant).iter().any(|origin| origin == name);
            // Where one node reads as many constants as the operation has tensors, they come in the same order.
            let in_order = operation.reads.len() == operation.tensors.len()
                && operation.reads.iter().all(|read| std::ptr::eq(read.node, operation.reads[0].node));
            if in_order {
                // Each once: none was merged into another, whatever their order.
                let once = |name: &&str| reads().filter(|read| is_of(read, name)).count() == 1;
                if operation.tensors.iter().all(once) {
                    continue;
                }
                for (read, &name) in operation.reads.iter().zip(&operation.tensors) {
                    if !is_of(read, name) && !untied.contains(read.constant) {
                        apart.add(record, read, name);
                    }
                }
                continue;
            }
            let is_there = |name: &str| self.constants.get(name).is_some() || reads().any(|read| is_of(read, name));
            let mut missing: Vec<&str> = operation.tensors.iter().copied().filter(|name| !is_there(name)).collect();
            let mut foreign: Vec<&Read> =
                reads().filter(|read| !operation.tensors.iter().any(|name| is_of(read, name))).collect();
            // First those of equal last parts, weight to weight, then the rest in their order.
            for by_name in [true, false] {
                foreign.retain(|read| {
                    let origins = origins(record, read.constant);
                    let fits =
                        |name: &&str| !by_name || origins.iter().any(|origin| last_part(origin) == last_part(name));
                    let Some(at) = missing.iter().position(fits) else { return true };
                    apart.add(record, read, missing.remove(at));
                    false
                });
            }
        }
        self.by_module(&mut apart, record, untied);
        let count = apart.edits.len();
        found.edits.extend(apart.edits);
        count
    }

    /// What the operations that the exporter recorded read: tensors of the module, and constants of the file that are,
    /// or were, such.
    fn operations<'s>(&'s self, record: &'s Record) -> Vec<Operation<'s>> {
        let mut operations: Vec<Operation> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::default();
        for node in &self.graph.node {
            let (Some(text), Some(tensors)) = (operation(node), record.read_by(node)) else { continue };
            let place = *places.entry(text).or_insert_with(|| {
                operations.push(Operation { tensors, reads: vec![] });
                operations.len() - 1
            });
            for (position, constant) in node.input.iter().enumerate() {
                if self.readers.contains_key(constant.as_str())
                    && matches!(record.source(constant), Source::Tensor(_) | Source::Made(_))
                {
                    operations[place].reads.push(Read { constant, node, position });
                }
            }
        }
        operations
    }

    /// Separates readers of what the exporter computed from a parameter of another module, where their own module has a
    /// parameter of that name which is nowhere in the file.
    fn by_module(&self, apart: &mut Apart, record: &Record, untied: &HashSet<String>) {
        let absent = record.absent(self.graph);
        for node in self.graph.node.iter().filter(|_| !absent.is_empty()) {
            for (position, constant) in node.input.iter().enumerate().filter(|(_, input)| !untied.contains(*input)) {
                let Source::Made(parameters) = record.source(constant) else { continue };
                let modules = modules(node);
                let is_near = |name: &str| {
                    let module = name.rsplit_once('.').map_or("", |(module, _)| module);
                    modules.iter().any(|scope| scope == module)
                };
                let is_twin = |name: &&&str| is_near(name) && last_part(name) == last_part(parameters[0]);
                if !parameters.iter().any(|parameter| is_near(parameter))
                    && let Some(name) = absent.iter().find(is_twin)
                {
                    apart.add(record, &Read { constant, node, position }, name);
                }
            }
        }
    }

    /// Puts back the biases of linear maps that the exporter dropped because they were zero.
    fn biases(&self, found: &mut Found) {
        let Some(record) = self.record else { return };
        let mut names = Vec::new();
        for node in &self.graph.node {
            let Some(output) = node.output.first().filter(|_| node.input(2).is_none()) else { continue };
            let Some(size) = node.input(1).and_then(|weight| self.outputs_of(node, weight)) else { continue };
            let Some(read) = record.read_by(node) else { continue };
            let is_bias = |name: &&&str| {
                record.kind(name) == Some(Kind::Parameter)
                    && self.constants.get(name).is_none()
                    && name.ends_with("bias")
            };
            let Some(&name) = read.iter().find(is_bias) else { continue };
            names.push(format!("`{name}`"));
            let reader = Reader { node: output.clone(), input: 2 };
            found.edits.push(Edit::Bias { name: name.to_owned(), size, reader });
        }
        if let Some(first) = names.first() {
            let what = match names.len() {
                1 => format!("a bias that the exporter dropped, since it was zero, trains ({first})"),
                count => format!("{count} biases that the exporter dropped, since they were zero, train ({first}, …)"),
            };
            found.choices.push(Choice::new(what, "--freeze"));
        }
    }

    /// How many outputs a linear map with a bias as its third input has.
    fn outputs_of(&self, node: &NodeProto, weight: &str) -> Option<i64> {
        let dims = &self.constants.get(weight)?.dims;
        match node.op_type() {
            "Conv" => dims.first().copied(),
            "ConvTranspose" => Some(dims.get(1)? * node.int("group", 1)),
            "Gemm" if dims.len() == 2 => Some(dims[if node.int("transB", 0) == 0 { 1 } else { 0 }]),
            _ => None,
        }
    }

    /// Gives the statistics of BatchNormalization a tensor of their own where something else reads it.
    fn statistics(&self, found: &mut Found) {
        let taken: HashSet<(String, usize)> = found
            .edits
            .iter()
            .flat_map(|edit| if let Edit::Separate { readers, .. } = edit { readers.as_slice() } else { &[] })
            .map(|reader| (reader.node.clone(), reader.input))
            .collect();
        let is_statistic = |node: &NodeProto, position: usize| node.is("", "BatchNormalization") && position >= 3;
        let mut names: Vec<&&str> = self.readers.keys().collect();
        names.sort_unstable();
        for &name in names {
            let left = self.readers[name].iter().filter(|(node, position)| {
                node.output.first().is_some_and(|output| !taken.contains(&(output.clone(), *position)))
            });
            let (statistics, others): (Vec<_>, Vec<_>) =
                left.partition(|(node, position)| is_statistic(node, *position));
            let kinds: HashSet<usize> = statistics.iter().map(|(_, position)| *position).collect();
            if others.is_empty() && kinds.len() < 2 {
                continue;
            }
            for (node, position) in statistics {
                let kind = if position == 3 { "running_mean" } else { "running_var" };
                let own = format!("{name}@{}.{kind}", node.label());
                found.edits.push(Edit::Separate { name: own, like: name.to_owned(), readers: reader(node, position) });
            }
        }
    }

    /// Whether the modules that read two constants have names that differ in numbers alone. A module that is called
    /// twice does not: its nodes are `/fc/…` and `/fc_1/…`.
    fn readers_differ_in_numbers(&self, a: &str, b: &str) -> bool {
        let reader = |name: &str| {
            let reads = |node: &&NodeProto| !node.is("", "Identity") && node.input.iter().any(|input| input == name);
            let label = self.graph.node.iter().find(reads)?.label();
            label.rsplit_once('/').map(|(module, _)| module.to_owned())
        };
        reader(a).zip(reader(b)).is_some_and(|(a, b)| differ_in_numbers(&a, &b))
    }

    /// Separates what `Identity` nodes made of one tensor, where its elements or the names tell that they were several.
    fn identities(&mut self, found: &mut Found) -> Result<()> {
        let norms = self.graph.node.iter().filter(|node| node.is("", "BatchNormalization"));
        let statistics: HashSet<&str> = norms.flat_map(|node| [3, 4].map(|i| node.input(i))).flatten().collect();
        let outputs: HashSet<&str> = self.graph.output.iter().map(|output| output.name()).collect();
        let given: HashSet<String> = found.edits.iter().filter_map(|edit| edit.made().map(str::to_owned)).collect();
        let (mut apart, mut shared) = (0, Vec::new());
        for node in self.graph.node.iter().filter(|node| node.is("", "Identity")) {
            let (Some(like), Some(name)) = (node.input(0), node.output.first()) else { continue };
            let Some(tensor) = self.constants.get(like).filter(|tensor| tensor.element() == Some(DataType::Float))
            else {
                continue;
            };
            let is_named = !name.starts_with('/') && !outputs.contains(name.as_str()) && !given.contains(name);
            if !is_named || self.readers.get(like).is_none_or(|readers| readers.len() < 2) {
                continue;
            }
            let moves = statistics.contains(like) || statistics.contains(name.as_str());
            let is_fill = self.values.of(tensor)?.as_ref().and_then(Elements::fill).is_some();
            let is_parameter = self.producer == "pytorch" && names::tells(name) != Name::Computed;
            let are_copies =
                || differ_in_numbers(like, name) && !is_computed(name) || self.readers_differ_in_numbers(like, name);
            if moves || is_fill || is_parameter || are_copies() {
                apart += usize::from(!moves);
                found.edits.push(Edit::Separate { name: name.clone(), like: like.to_owned(), readers: vec![] });
            } else {
                shared.push((name, like));
            }
        }
        if apart > 0 {
            let what = format!("{apart} weights that were equal when they were exported train apart");
            found.choices.push(Choice::new(what, "--tie A=B"));
        }
        for (name, like) in shared {
            let what = format!("`{name}` and `{like}` are one weight in the file");
            found.choices.push(Choice::with(what, format!("--untie {name}")));
        }
        Ok(())
    }
}

/// Whether an exporter computed a constant, and so made up its name.
fn is_computed(name: &str) -> bool {
    names::tells(name) == Name::Computed
}

/// An operation of the traced program.
struct Operation<'g> {
    /// The tensors of the module that it reads, in the order of [`Record::read_by`].
    tensors: Vec<&'g str>,
    /// Where its nodes read constants.
    reads: Vec<Read<'g>>,
}

/// A place where a node reads a constant.
struct Read<'g> {
    constant: &'g str,
    node: &'g NodeProto,
    position: usize,
}

/// Weights that are separated, in the order in which they are met.
#[derive(Default)]
struct Apart {
    edits: Vec<Edit>,
    places: HashMap<String, usize>,
}

impl Apart {
    /// Lets `read` be of the module's tensor `name`.
    fn add(&mut self, record: &Record, read: &Read<'_>, name: &str) {
        // What the exporter computed has another shape than the tensor, perhaps.
        let own = match record.source(read.constant) {
            Source::Made(_) => format!("{}/{name}", read.constant),
            _ => name.to_owned(),
        };
        let place = *self.places.entry(own).or_insert_with_key(|own| {
            self.edits.push(Edit::Separate { name: own.clone(), like: read.constant.to_owned(), readers: vec![] });
            self.edits.len() - 1
        });
        if let Edit::Separate { readers, .. } = &mut self.edits[place] {
            readers.extend(reader(read.node, read.position));
        }
    }
}

/// The tensors of the module whose elements a constant holds.
fn origins(record: &Record, constant: &str) -> Vec<String> {
    match record.source(constant) {
        Source::Made(parameters) => parameters.into_iter().map(str::to_owned).collect(),
        _ => vec![constant.to_owned()],
    }
}

/// `weight` of `blocks.0.norm1.weight`.
fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn reader(node: &NodeProto, input: usize) -> Vec<Reader> {
    node.output.first().map(|output| Reader { node: output.clone(), input }).into_iter().collect()
}

/// Whether two names differ in the numbers in them alone: `layers.0.norm.weight` and `layers.11.norm.weight`.
fn differ_in_numbers(a: &str, b: &str) -> bool {
    let without = |name: &str| {
        name.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("0")
    };
    a != b && without(a) == without(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_layer_differ_in_numbers() {
        for (a, b, expected) in [
            ("layers.0.norm.weight", "layers.11.norm.weight", true),
            ("norm1.weight", "norm2.weight", true),
            ("layers.0.weight", "layers.0.weight", false),
            ("a.weight", "b.weight", false),
            ("norm.weight", "norm1.weight", false),
        ] {
            assert_eq!(differ_in_numbers(a, b), expected, "{a} {b}");
        }
    }
}
