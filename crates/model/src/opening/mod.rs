//! Sizes of the axes of a model's inputs: given, named, and opened.
//!
//! An axis without a fixed size is given one, or a name. An axis of a fixed size is *opened*: in a model that was
//! exported for batches of 1, nodes between input and output hold this 1 in shapes that they reshape to, and lack it
//! where an expansion to a batch of 1 was nothing to be done. These follow. Which they are is found by evidence: the
//! shapes of all values are worked out twice, with the axis as it was and with another number in its place
//! (`attempt.rs`). Where both differ, a value *holds* the axis (`places.rs`); a node that does not fit the second way
//! has a constant that must follow (`follow.rs`), or an operand that must be expanded (`demand.rs`). Where a shape can
//! follow in two ways, as with a batch of 1 that may be any of several axes of size 1, the likelier is taken, and the
//! other where the first turns out not to fit.
//!
//! What cannot be seen is a number that an exporter has computed from the size: the divisor of a mean over the batch,
//! say.

mod attempt;
mod demand;
mod dims;
mod edit;
mod follow;
mod places;
mod product;
#[cfg(test)]
mod tests;

pub use dims::{Dims, Size};

use crate::graph::{Dim, Fact, for_each_use};
use crate::onnx::Model;
use crate::onnx::proto::tensor_shape_proto::dimension::Value as DimValue;
use crate::onnx::proto::{GraphProto, ValueInfoProto, type_proto};
use crate::shapes;
use attempt::{Attempt, Misfit, Opening};
use dims::{Axis, Target};
use foldhash::HashSet;
use gnp_base::{Error, Result};
use places::PROBE;
use std::collections::BTreeMap;
use std::fmt;

/// So many ways to let a model follow are tried.
const ATTEMPTS: usize = 300;

/// An axis of inputs that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The inputs' axes: `input[0]`.
    pub axes: Vec<String>,
    /// The size that they had.
    pub size: i64,
    /// The size that they have now; none where it may be any.
    pub now: Option<i64>,
    /// The operators of the nodes that follow, and how many there are of each.
    pub followed: BTreeMap<String, usize>,
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<_> = self.axes.iter().map(|axis| format!("`{axis}`")).collect();
        let (were, are) = if axes.len() == 1 { ("was", "is") } else { ("were", "are") };
        write!(f, "{} {were} {} and ", axes.join(", "), self.size)?;
        match self.now {
            Some(size) => write!(f, "{are} {size}")?,
            None => f.write_str("may be any size")?,
        }
        let followed: Vec<_> = self.followed.iter().map(|(operator, count)| format!("{count} {operator}")).collect();
        let follow = if self.followed.values().sum::<usize>() == 1 { "follows" } else { "follow" };
        if followed.is_empty() { Ok(()) } else { write!(f, "; {} {follow}", followed.join(", ")) }
    }
}

/// Lets the axes of `model`, which is normalised, be what `dims` say. `end` is the value that matters, where not all
/// outputs do: what comes after it need not follow an axis that is opened. Returns what was opened.
///
/// # Errors
/// Where the model does not have what a key names; where two sizes are said of one axis; where an axis cannot be
/// opened: then the error names the node that does not follow.
///
/// ```
/// use gnp_model::opening::{self, Size, Dims};
/// let mut model = gnp_model::onnx::read("../../models/cnn/model.onnx")?;
/// let dims = Dims::from([("input[0]".to_owned(), Size::Number(32))]);
/// assert!(opening::apply(&mut model, &dims, None)?.is_empty(), "it is open already");
/// let images = gnp_model::graph::Fact::declared(&model.graph.input[0]).unwrap();
/// assert_eq!(images.sizes().unwrap()[0], 32);
/// # Ok::<(), gnp_base::Error>(())
/// ```
pub fn apply(model: &mut Model, dims: &Dims, end: Option<&str>) -> Result<Vec<Opened>> {
    let mut wanted = Wanted::default();
    for (key, size) in dims {
        wanted.add(key, size, model)?;
    }
    for (axis, size) in &wanted.declared {
        declare(&mut model.graph.input[axis.input], axis.axis, size);
    }
    for (from, to) in &wanted.renamed {
        shapes::rename_symbol(model, from, to);
    }
    for (sum, rest) in sums(&model.graph, &wanted.bound) {
        shapes::rename_symbol(model, &sum, &rest);
    }
    let mut opened = Vec::new();
    for (symbol, axes) in &wanted.opened {
        let opened_now = open(model, symbol, axes, end)?;
        opened.push(Opened { now: wanted.bound.get(symbol).copied(), ..opened_now });
    }
    shapes::bind(model, &wanted.bound)?;
    Ok(opened)
}

/// What is to be done.
#[derive(Default)]
struct Wanted {
    /// Axes of which nothing is declared.
    declared: Vec<(Axis, Size)>,
    /// New names for symbols.
    renamed: BTreeMap<String, String>,
    /// Axes of fixed sizes, by the symbol that they become.
    opened: BTreeMap<String, Vec<Axis>>,
    /// Numbers for symbols.
    bound: BTreeMap<String, i64>,
}

impl Wanted {
    fn add(&mut self, key: &str, size: &Size, model: &Model) -> Result<()> {
        let axes = match (Target::of(key, model)?, size) {
            (Target::Symbol, Size::Number(number)) => return self.bind(key, *number),
            (Target::Symbol, Size::Symbol(_)) => {
                return Err(Error::input(format!("--dim {key}={size}: `{key}` is open already, and has a name"))
                    .help(format!("give it a size, as in --dim {key}=32, or leave this out")));
            }
            (Target::Axes(axes), _) => axes,
        };
        for axis in axes {
            match (axis.dim(model), size) {
                (Dim::Known(known), Size::Number(number)) if known == *number => {}
                (Dim::Known(_), Size::Number(number)) => {
                    self.opened.entry(key.to_owned()).or_default().push(axis);
                    self.bind(key, *number)?;
                }
                (Dim::Known(_), Size::Symbol(name)) => self.opened.entry(name.clone()).or_default().push(axis),
                (Dim::Symbol(symbol), Size::Number(number)) => self.bind(&symbol, *number)?,
                (Dim::Symbol(symbol), Size::Symbol(name)) => _ = self.renamed.insert(symbol.to_string(), name.clone()),
                (Dim::Unknown, _) => self.declared.push((axis, size.clone())),
            }
        }
        Ok(())
    }

    fn bind(&mut self, symbol: &str, number: i64) -> Result<()> {
        match self.bound.insert(symbol.to_owned(), number) {
            Some(other) if other != number => {
                Err(Error::input(format!("the dimension `{symbol}` is to be {other} and {number}"))
                    .help("leave one --dim out"))
            }
            _ => Ok(()),
        }
    }
}

/// The sizes of inputs that exporters name as sums, `past + sequence`, of which a part is 0, and what is left of each.
fn sums(graph: &GraphProto, bound: &BTreeMap<String, i64>) -> BTreeMap<String, String> {
    let is_zero = |part: &&str| bound.get(*part) == Some(&0);
    let shapes = graph.input.iter().filter_map(Fact::declared).filter_map(|fact| fact.shape);
    let shorter = shapes.flatten().filter_map(|dim| {
        let Dim::Symbol(sum) = dim else { return None };
        let parts: Vec<&str> = sum.split(" + ").collect();
        let rest: Vec<&str> = parts.iter().copied().filter(|part| !is_zero(part)).collect();
        let is_symbol = rest.first().is_some_and(|part| part.parse::<i64>().is_err());
        (is_symbol && rest.len() < parts.len()).then(|| (sum.to_string(), rest.join(" + ")))
    });
    shorter.collect()
}

/// Declares the size of one axis of an input, whose shape has it.
fn declare(input: &mut ValueInfoProto, axis: usize, size: &Size) {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
        return;
    };
    if let Some(dim) = tensor.shape.as_mut().and_then(|shape| shape.dim.get_mut(axis)) {
        dim.value = Some(match size {
            Size::Number(number) => DimValue::DimValue(*number),
            Size::Symbol(name) => DimValue::DimParam(name.clone()),
        });
    }
}

/// Opens axes of one fixed size under one name.
fn open(model: &mut Model, symbol: &str, axes: &[Axis], end: Option<&str>) -> Result<Opened> {
    let name = |axis: &Axis| format!("{}[{}]", model.graph.input[axis.input].name(), axis.axis);
    let names: Vec<String> = axes.iter().map(name).collect();
    let sizes: Vec<i64> = axes.iter().filter_map(|axis| axis.dim(model).known()).collect();
    let size = sizes.first().copied().unwrap_or(1);
    if let Some(i) = sizes.iter().position(|other| *other != size) {
        return Err(Error::input(format!(
            "`{}` is {size} and `{}` is {}: they are not one size",
            names[0], names[i], sizes[i]
        ))
        .help(format!(
            "open them under different names: --dim '{}={symbol}' --dim '{}={symbol}2'",
            names[0], names[i]
        )));
    }
    forget_shapes(model, axes);
    let mut fixed = model.clone();
    let constants: HashSet<&str> = model.graph.initializer.iter().map(|tensor| tensor.name()).collect();
    fixed.graph.value_info.retain(|info| constants.contains(info.name()));
    let mut probed = fixed.clone();
    axes.iter().for_each(|axis| declare(&mut probed.graph.input[axis.input], axis.axis, &Size::Number(PROBE)));
    let opening = Opening::new(&fixed, &probed, axes, size, end)?;

    let (mut choices, mut demands, mut likeliest) = (Vec::new(), Vec::new(), None);
    for _ in 0..ATTEMPTS {
        let mut attempt = Attempt::begin(&opening, &choices, &demands)?;
        let misfit = match attempt.run() {
            Ok(()) => {
                let followed = attempt.apply(model, symbol);
                axes.iter()
                    .for_each(|a| declare(&mut model.graph.input[a.input], a.axis, &Size::Symbol(symbol.to_owned())));
                return Ok(Opened { axes: names, size, now: None, followed });
            }
            Err(misfit) => misfit,
        };
        let demand = misfit.demand.clone().filter(|demand| !demands.contains(demand));
        // What is likeliest says best what is missing.
        if choices.is_empty() {
            likeliest = Some(misfit);
        }
        let again = match demand {
            Some(demand) => {
                demands.push(demand);
                choices.clear();
                true
            }
            None => attempt.next_choices(&mut choices),
        };
        if !again {
            break;
        }
    }
    Err(likeliest.map_or_else(|| Error::internal("an axis was not opened"), |misfit| refusal(misfit, &names, size)))
}

/// Why the axes cannot be opened, and what to do instead.
fn refusal(misfit: Misfit, names: &[String], size: i64) -> Error {
    let what = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let smaller = if size == 1 { "" } else { ", or for batches of 1" };
    Error::input(format!("{what}, of size {size} in the file, cannot be opened: this node {}", misfit.why))
        .at_node(&misfit.label, &misfit.operator)
        .help(format!(
            "export the model with this axis open (dynamic_axes or dynamic_shapes of torch.onnx.export, None in a Keras \
             input){smaller}; where the node comes after what the loss is of, name that with --logits; or leave --dim out, \
             and train with batches of {size}"
        ))
}

/// Lets go of what the graph declares of values that depend on the axes: it was for the fixed size.
fn forget_shapes(model: &mut Model, axes: &[Axis]) {
    let graph = &mut model.graph;
    let mut reached: HashSet<&str> = axes.iter().map(|axis| graph.input[axis.input].name()).collect();
    for node in &graph.node {
        let mut depends = false;
        for_each_use(node, &mut |name| depends |= reached.contains(name));
        if depends {
            reached.extend(node.output.iter().filter(|output| !output.is_empty()).map(String::as_str));
        }
    }
    graph.value_info.retain(|info| !reached.contains(info.name()));
    for output in graph.output.iter_mut().filter(|output| reached.contains(output.name())) {
        if let Some(fact) = Fact::declared(output) {
            *output = Fact::of(fact.element).info(output.name());
        }
    }
}
