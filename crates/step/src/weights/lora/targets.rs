//! Which weights can have adapters: constant matrices that linear layers multiply by, and nothing else reads.

use super::super::Selection;
use super::super::edit::Constants;
use super::super::names::{self, Name};
use super::super::record::{Record, Source};
use super::Adapter;
use foldhash::{HashMap, HashSet};
use gnp_base::choice::nearest;
use gnp_base::{Error, Result};
use gnp_model::graph::for_each_capture;
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{GraphProto, MICROSOFT, NodeProto, TensorProto};
use wildmatch::WildMatch;

/// A weight that can have adapters.
pub(super) struct Target {
    /// The constant that its readers read in float32, or read the transpose of; or what dequantises it.
    pub weight: String,
    /// What else it is called: what it is dequantised from, the parameter of its layer.
    aliases: Vec<String>,
    module: String,
    pub inputs: i64,
    pub outputs: i64,
    rows_are_outputs: bool,
    is_quantised: bool,
    /// Whether it can be made a weight of floats that holds its adapters.
    pub takes_up: bool,
    readers: Vec<String>,
    /// Whether no other target comes behind it.
    pub is_last: bool,
}

impl Target {
    /// Whether the user said that it trains, whole.
    pub fn is_selected(&self, selection: &Selection) -> bool {
        selection.names(&self.weight)
    }

    /// Its name and its sizes.
    pub fn told(&self) -> String {
        format!("`{}` [{} inputs, {} outputs]", self.weight, self.inputs, self.outputs)
    }

    pub fn adapter(&self, rank: usize, scale: f32) -> Adapter {
        Adapter {
            weight: self.weight.clone(),
            module: self.module.clone(),
            rank: rank as i64,
            scale,
            inputs: self.inputs,
            outputs: self.outputs,
            rows_are_outputs: self.rows_are_outputs,
            is_quantised: self.is_quantised,
            readers: self.readers.clone(),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.weight.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// The weights of a graph, and why the others can have no adapters.
pub(super) struct Targets {
    targets: Vec<Target>,
    /// Other constants, by what reads them.
    others: Vec<(String, String)>,
    taken: HashSet<String>,
}

/// A constant matrix, as a value holds it.
#[derive(Clone, Copy)]
struct Held<'g> {
    weight: &'g str,
    tensor: &'g TensorProto,
    is_transposed: bool,
    /// What dequantises it, where it is quantised, or multiplies by it as it is packed.
    dequantizer: Option<&'g NodeProto>,
}

impl Held<'_> {
    /// Its rows and columns; none where it is no matrix.
    fn sizes(&self) -> Option<[i64; 2]> {
        match self.dequantizer {
            Some(node) if is_in_bits(node) => {
                let (rows, columns, bits) = (node.int("N", 0), node.int("K", 0), node.int("bits", 4));
                // What the node says is not checked where the file is read: the tensor has the numbers.
                let held = self.tensor.dims.iter().try_fold(8i64, |bits, &size| bits.checked_mul(size))?;
                let said = rows.checked_mul(columns)?.checked_mul(bits)?;
                (rows > 0 && columns > 0 && bits > 0 && said <= held).then_some([rows, columns])
            }
            _ => <[i64; 2]>::try_from(&self.tensor.dims[..]).ok(),
        }
    }

    /// Whether its elements can be floats: the normal form makes them so.
    fn takes_up(&self) -> bool {
        let is_whole = matches!(self.tensor.element(), Some(DataType::Int8 | DataType::Uint8));
        self.dequantizer.is_none_or(|node| is_whole && !self.tensor.is_external() && node.int("block_size", 0) == 0)
    }
}

/// What is found of one weight.
struct Found<'g> {
    held: Held<'g>,
    readers: Vec<String>,
    last_reader: usize,
    module: Option<String>,
    /// What keeps adapters from it.
    spoiled: Option<String>,
}

impl Targets {
    /// Looks through the nodes of `graph`; bodies of control flow, and functions, are not looked into.
    pub fn of(graph: &GraphProto, record: Option<&Record>) -> Self {
        let search = Search::of(graph);
        let found = search.found();
        let behind = search.before(found.iter().flat_map(|found| &found.readers));
        let (mut targets, mut others) = (Vec::new(), Vec::new());
        for Found { held, readers, module, spoiled, .. } in found {
            if let Some(spoiled) = spoiled {
                others.push((held.weight.to_owned(), spoiled));
                continue;
            }
            let Some([rows, columns]) = held.sizes() else { continue };
            let (inputs, outputs) = if held.is_transposed { (columns, rows) } else { (rows, columns) };
            let module = module_of(&held, module, record);
            let aliases = [held.tensor.name().to_owned(), format!("{module}.weight")];
            targets.push(Target {
                weight: held.weight.to_owned(),
                aliases: aliases.into_iter().filter(|alias| !alias.is_empty() && alias != held.weight).collect(),
                module,
                inputs,
                outputs,
                rows_are_outputs: held.is_transposed,
                is_quantised: held.dequantizer.is_some(),
                takes_up: held.takes_up(),
                is_last: !readers.iter().any(|reader| behind.contains(reader.as_str())),
                readers,
            });
        }
        let names = search.made.keys().copied().chain(search.constants.iter().map(|(name, _)| name));
        Self { targets, others, taken: names.map(str::to_owned).collect() }
    }

    pub fn all(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter()
    }

    /// Those whose names `globs` match. What `selection` names trains whole.
    ///
    /// # Errors
    /// Where a glob matches none.
    pub fn named(&self, globs: &[String], selection: &Selection) -> Result<Vec<&Target>> {
        let matchers: Vec<WildMatch> = globs.iter().map(|glob| WildMatch::new(glob)).collect();
        for (glob, matcher) in globs.iter().zip(&matchers) {
            let mut matched = self.targets.iter().filter(|target| target.names().any(|name| matcher.matches(name)));
            let Some(first) = matched.next() else { return Err(self.unmatched(glob, matcher)) };
            if first.is_selected(selection) && matched.all(|target| target.is_selected(selection)) {
                return Err(Error::input(format!(
                    "--lora-target {glob}: `{}` trains whole, as --train or --also-train says",
                    first.weight
                ))
                .help("name it with one of the flags alone"));
            }
        }
        let is_named = |target: &&Target| target.names().any(|name| matchers.iter().any(|m| m.matches(name)));
        Ok(self.targets.iter().filter(is_named).filter(|target| !target.is_selected(selection)).collect())
    }

    fn unmatched(&self, glob: &str, matcher: &WildMatch) -> Error {
        if let Some((name, why)) = self.others.iter().find(|(name, _)| matcher.matches(name)) {
            return Error::input(format!("--lora-target {glob}: `{name}` can have no adapters: {why}")).help(
                "adapters go beside constant matrices at the right of a MatMul or Gemm, which nothing else reads",
            );
        }
        let names = self.targets.iter().map(|target| target.weight.as_str());
        Error::input(format!("--lora-target {glob}: no weight of a MatMul or Gemm has such a name"))
            .help(nearest(glob, names))
    }

    /// Whether the names of `adapters` are free.
    ///
    /// # Errors
    /// Where one is not.
    pub fn check_free(&self, adapters: &[Adapter]) -> Result<()> {
        let mut given = HashSet::default();
        let names = adapters.iter().flat_map(|adapter| [adapter.a(), adapter.b()]);
        match names.into_iter().find(|name| self.taken.contains(name) || !given.insert(name.clone())) {
            None => Ok(()),
            Some(name) => Err(Error::input(format!("--lora: the model has a value `{name}` already"))
                .help("merge the adapters that it has into its weights first, or put new ones beside other weights")),
        }
    }
}

/// The layer of a weight: by its name, or by what it was computed from, or by the bias that is added.
fn module_of(held: &Held<'_>, by_bias: Option<String>, record: Option<&Record>) -> String {
    let source = record.map(|record| record.source(held.weight));
    let name = match &source {
        Some(Source::Made(parameters)) if parameters.len() == 1 => parameters[0],
        _ if held.tensor.name().is_empty() => held.weight,
        _ => held.tensor.name(),
    };
    // As ONNX Runtime's quantisers, and its builder of generative models, name what they pack.
    let packed = ["_quantized", "_Q2", "_Q4", "_Q8"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let name = packed.or_else(|| name.strip_suffix(".qweight")).unwrap_or(name);
    match name.strip_suffix(".weight") {
        Some(module) => module.to_owned(),
        None if matches!(names::tells(name), Name::Computed | Name::Literal) => {
            by_bias.unwrap_or_else(|| name.to_owned())
        }
        None => name.to_owned(),
    }
}

struct Search<'g> {
    graph: &'g GraphProto,
    constants: Constants<'g>,
    made: HashMap<&'g str, &'g NodeProto>,
}

impl<'g> Search<'g> {
    fn of(graph: &'g GraphProto) -> Self {
        let made = graph.node.iter().flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node)));
        Self { graph, constants: Constants::of(graph), made: made.collect() }
    }

    /// The constant that `input` of `node` is, or is the transpose of, in float32 or dequantised, if it is one.
    fn held_by(&self, node: &'g NodeProto, position: Option<usize>, input: &'g str) -> Option<Held<'g>> {
        if position == Some(1) && is_in_bits(node) {
            let tensor = self.constants.get(input)?;
            return Some(Held { weight: input, tensor, is_transposed: true, dequantizer: Some(node) });
        }
        self.held(input)
    }

    /// The constant that `value` is, or is the transpose of, in float32 or dequantised, if it is one.
    fn held(&self, value: &'g str) -> Option<Held<'g>> {
        let (mut value, mut is_transposed) = (value, false);
        // Each node on the way is passed once, since a graph has no cycles; a file might.
        for _ in 0..16 {
            if let Some(tensor) = self.constants.get(value) {
                let is_weight = tensor.element().is_some_and(DataType::is_floating) && tensor.dims.len() >= 2;
                return is_weight.then_some(Held { weight: value, tensor, is_transposed, dequantizer: None });
            }
            let node = *self.made.get(value)?;
            let input = node.input.first()?;
            if node.is("", "Transpose") && node.ints("perm").is_none_or(|perm| perm == [1, 0]) {
                is_transposed = !is_transposed;
            } else if dequantizes(node, &self.constants) {
                let tensor = self.constants.get(input)?;
                let held = Held { weight: value, tensor, is_transposed, dequantizer: Some(node) };
                return (tensor.dims.len() >= 2).then_some(held);
            } else if !node.is("", "Identity") && !widens(node) {
                return None;
            }
            value = input;
        }
        None
    }

    /// All constant matrices, in the order of the first nodes that read them.
    fn found(&self) -> Vec<Found<'g>> {
        let mut found: Vec<Found<'g>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::default();
        let biases = self.biases();
        let returned: HashSet<&str> = self.graph.output.iter().map(|output| output.name()).collect();
        for (index, node) in self.graph.node.iter().enumerate() {
            let mut note = |value: &'g str, position: Option<usize>| {
                let Some(mut held) = self.held_by(node, position, value) else { return };
                let is_product = node.is("", "MatMul") || node.is("", "Gemm") || is_in_bits(node);
                let is_layer = position == Some(1) && is_product;
                held.is_transposed ^= is_layer && node.is("", "Gemm") && node.int("transB", 0) != 0;
                let place = *places.entry(held.weight).or_insert_with(|| {
                    let (readers, module, spoiled) = (vec![], None, None);
                    found.push(Found { held, readers, last_reader: usize::MAX, module, spoiled });
                    found.len() - 1
                });
                let found = &mut found[place];
                if !is_layer || held.sizes().is_none() {
                    found.spoiled.get_or_insert_with(|| format!("{} reads it", node.op_type()));
                } else if !found.readers.is_empty() && found.held.is_transposed != held.is_transposed {
                    found.spoiled.get_or_insert_with(|| "it is read as it is, and transposed".to_owned());
                } else if found.last_reader != index {
                    found.held = held;
                    found.readers.push(node.output[0].clone());
                    found.last_reader = index;
                    found.module = found.module.take().or_else(|| biases.get(node.output[0].as_str()).cloned());
                }
            };
            for (position, input) in node.input.iter().enumerate() {
                let leads_on = self.held(input).is_some()
                    && node
                        .output
                        .first()
                        .is_some_and(|output| self.held(output).is_some() && !returned.contains(output.as_str()));
                if !leads_on {
                    note(input, Some(position));
                }
            }
            for_each_capture(node, &mut |name| note(name, None));
        }
        found
    }

    /// The layers whose biases are added to values, by these: `fc` where that is `fc.bias`.
    fn biases(&self) -> HashMap<&'g str, String> {
        let mut biases = HashMap::default();
        let module = |input: &str| self.constants.get(input).and(input.strip_suffix(".bias")).map(str::to_owned);
        for node in &self.graph.node {
            if node.is("", "Add") {
                if let [a, b] = &node.input[..] {
                    biases.extend(module(a).map(|module| (b.as_str(), module)));
                    biases.extend(module(b).map(|module| (a.as_str(), module)));
                }
            } else if let (true, Some(bias), Some(output)) = (node.is("", "Gemm"), node.input(2), node.output.first()) {
                biases.extend(module(bias).map(|module| (output.as_str(), module)));
            }
        }
        biases
    }

    /// The values before the nodes that make `values`.
    fn before<'v>(&self, values: impl Iterator<Item = &'v String>) -> HashSet<&'g str>
    where
        'g: 'v,
    {
        let mut seen: HashSet<&str> = HashSet::default();
        let makers = values.filter_map(|value| self.made.get(value.as_str()));
        let mut open: Vec<&str> = makers.flat_map(|node| &node.input).map(String::as_str).collect();
        while let Some(value) = open.pop() {
            if !seen.insert(value) {
                continue;
            }
            if let Some(node) = self.made.get(value) {
                open.extend(node.input.iter().map(String::as_str));
                for_each_capture(node, &mut |name| open.push(name));
            }
        }
        seen
    }
}

/// Whether a node multiplies by a weight in few bits, which it holds packed.
fn is_in_bits(node: &NodeProto) -> bool {
    node.is(MICROSOFT, "MatMulNBits")
}

/// Whether a node makes float32 of a quantised constant.
fn dequantizes(node: &NodeProto, constants: &Constants<'_>) -> bool {
    let is_float = |name: &str| constants.get(name).and_then(TensorProto::element) == Some(DataType::Float);
    node.is("", "DequantizeLinear") && node.input(1).is_some_and(is_float)
}

/// Whether a node makes float32 of another type.
fn widens(node: &NodeProto) -> bool {
    node.is("", "Cast") && node.int("to", 0) == DataType::Float as i64
}
