//! A batch in parts, one after the other, inside the graph: gradient accumulation.
//!
//! A caller feeds the whole batch. A `Loop` takes a part of it in each turn and hands on the sums, so that what is kept
//! for the gradient of one part is free by the next. Part i of n has the samples from ⌊i·B/n⌋ to ⌊(i+1)·B/n⌋, so any
//! batch of at least n samples has n parts, whose sizes differ by one at most.
//!
//! A mean over the batch is Σ sᵢ·vᵢ over the parts, where the share sᵢ of a part is its weight over that of the batch:
//! class weights, labels that count, or samples. Labels alone tell these, so they are known before the first part. Each
//! mean that the loss is made of is multiplied by its own share, which makes plain sums of all that follows from them:
//! of L, its gradient, and what a part's own perturbation makes of that, as it depends on the direction of the gradient
//! only.

use crate::objective::effects::draws;
use crate::pass;
use foldhash::HashMap;
use gnp_base::contract::STEP;
use gnp_base::{Error, Result};
use gnp_gradient::loss::Loss;
use gnp_model::graph::{Builder, Carried, Dim, Fact, Graph, Turn, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::TensorProto;
use serde::{Deserialize, Serialize};
use std::num::NonZero;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What has a perturbation of its own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum PerturbPer {
    /// The batch: the step is that of the batch at once
    #[default]
    Batch,
    /// Each part: m-sharpness
    Micro,
}

/// How a batch is taken in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accumulate {
    /// How many parts.
    pub parts: NonZero<u32>,
    /// What has a perturbation of its own.
    #[serde(default)]
    pub perturb_per: PerturbPer,
}

/// What becomes of a value that each part has.
#[derive(Clone, Debug)]
pub(crate) enum Over {
    /// The sum.
    Sum,
    /// All rows.
    Rows,
    /// What the last part leaves, where each begins with what the one before it left: of the state of this name.
    State(Value),
}

/// What draws of a graph read in place of the number of the step, so that parts draw something else each.
const DRAWS: &str = "gnp/parts/step";

/// Lets all that was drawn in `graph` so far follow from the number of a part too, which [`over_parts`] gives it.
pub(crate) fn draw_by_part(graph: &mut Graph) {
    graph.rename(&HashMap::from_iter([(STEP.to_owned(), DRAWS.to_owned())]));
}

/// The shares of a part in the means that the loss is made of. A value of the graph stands for each until
/// [`over_parts`] computes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(Vec<Share>);

#[derive(Clone, Debug)]
struct Share {
    value: Value,
    /// The loss that says what its labels, the input of this name, weigh; samples, where it says nothing.
    by: Option<(Loss, Value)>,
}

impl Shares {
    /// That in a mean over the labels of `loss`, the input `labels`.
    pub fn of_labels(&mut self, b: &Builder<'_>, loss: &Loss, labels: &str) -> Value {
        self.add(b, Some((loss.clone(), labels.into())))
    }

    /// That in a mean over samples.
    pub fn of_samples(&mut self, b: &Builder<'_>) -> Value {
        self.add(b, None)
    }

    fn add(&mut self, b: &Builder<'_>, by: Option<(Loss, Value)>) -> Value {
        let value = Value::from(format!("gnp/{}/share/{}", pass::PARTS, self.0.len()).as_str());
        b.declare(&value, Fact::with_sizes(DataType::Float, &[]));
        self.0.push(Share { value: value.clone(), by });
        value
    }
}

impl Share {
    /// What so many `samples` weigh, whose labels are `labels` of their input.
    fn weight(&self, b: &Builder<'_>, samples: &Value, labels: impl Fn(&Value) -> Value) -> Value {
        let by_labels = self.by.as_ref().and_then(|(loss, input)| loss.weight(b, &labels(input)));
        by_labels.unwrap_or_else(|| b.cast(samples, DataType::Float))
    }
}

/// Where the samples lie in what a step is fed.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    /// The axis of the samples in each input that has one.
    inputs: Vec<(Value, usize)>,
}

impl Samples {
    /// Of the inputs of `graph` and of `labels`, all of which have the size of the batch along an axis, or, of the
    /// former, no open axis.
    ///
    /// # Errors
    /// Where it is not told which axis that is.
    pub fn of(graph: &Graph, labels: &[(String, Fact)]) -> Result<Self> {
        // What nothing is known of has an axis that nothing is known of.
        let shape =
            |fact: Option<&Fact>| fact.and_then(|fact| fact.shape.clone()).unwrap_or_else(|| vec![Dim::Unknown]);
        let inputs = graph.proto().input.iter().map(|input| input.name());
        let facts = inputs.map(|name| (Value::from(name), shape(graph.facts().get(name))));
        let mut shapes: Vec<(Value, Vec<Dim>)> = facts.collect();
        let fed = shapes.len();
        shapes.extend(labels.iter().map(|(name, fact)| (name.as_str().into(), shape(Some(fact)))));
        let symbol = |(_, shape): &(_, Vec<Dim>)| shape.first().filter(|dim| matches!(dim, Dim::Symbol(_))).cloned();
        let (inputs, labels) = shapes.split_at(fed);
        let Some(batch) = labels.iter().chain(inputs).find_map(symbol) else {
            let name = shapes.first().map_or("x", |(name, _)| name);
            return Err(Error::input("--accumulate: the batch has a fixed size, and its parts are smaller")
                .help(format!("open it: --dim '{name}[0]=batch'")));
        };
        let mut inputs = Vec::new();
        for (index, (name, shape)) in shapes.into_iter().enumerate() {
            let axes: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] == batch).collect();
            match axes[..] {
                [axis] => inputs.push((name, axis)),
                [] if index < fed && shape.iter().all(|dim| dim.known().is_some()) => {}
                _ => {
                    return Err(Error::input(format!(
                        "--accumulate: it is not told which axis of `{name}` is that of the samples: none, or several, \
                         have the size `{batch}` of the batch"
                    ))
                    .help(format!("name the size of its axis: --dim '{name}[0]={batch}'")));
                }
            }
        }
        Ok(Self { inputs })
    }
}

/// What is to come of a loop over parts.
pub(crate) struct Parts<'a> {
    pub samples: &'a Samples,
    /// How many there are, where the batch has as many samples.
    pub count: NonZero<u32>,
    /// What stands in the graph for the shares of a part.
    pub shares: &'a Shares,
    /// Values that each part has.
    pub results: &'a [(Value, Over)],
    /// What else of the graph is needed, and does not depend on the batch.
    pub kept: &'a [Value],
}

/// Moves all nodes of `graph` that depend on the batch into a loop over its parts. Returns what stands for the results.
/// All that neither they nor what is kept depend on is removed.
///
/// # Errors
/// Where a node that depends on the batch draws by itself.
pub(crate) fn over_parts(graph: &mut Graph, parts: &Parts<'_>) -> Result<Vec<Value>> {
    let Parts { samples, count, shares: Shares(shares), results, kept } = *parts;
    graph.declare_outputs([]);
    let needed = results.iter().map(|(value, _)| value).chain(kept).cloned();
    graph.retain_needed_and(&needed.collect::<Vec<_>>());
    let states =
        results.iter().filter_map(|(_, over)| if let Over::State(state) = over { Some(&**state) } else { None });
    let shared = shares.iter().map(|share| &*share.value);
    let sources = samples.inputs.iter().map(|(name, _)| &**name).chain(states).chain(shared).chain([DRAWS]);
    let of_batch = graph.dependents(sources, |_| false);
    if let Some(node) = of_batch.iter().map(|index| &graph.nodes()[index]).find(|node| draws(node)) {
        return Err(Error::unsupported("--accumulate: it draws by itself, and both passes need the same draws")
            .at_node(node.label(), &node.operator())
            .help("leave --random out: draws then follow from the seed, the step and the part"));
    }

    let draws_by_part = graph.dependents([DRAWS], |_| false).iter().next().is_some();

    let b = Builder::new(graph, pass::PARTS);
    let first = &samples.inputs[0];
    let size = b.squeeze(b.size_of(&first.0, first.1 as i64), &[0]);
    let turns = b.binary("Min", b.int64(count.get().into()), &size);
    // Made of the size of the batch, so that it is no constant: sums that begin as one would hold their memory for
    // good.
    let zero = b.cast(b.compare("Less", &size, &size), DataType::Float);

    let wholes: Vec<Value> = shares.iter().map(|share| share.weight(&b, &size, Value::clone)).collect();
    let initial = results.iter().map(|(value, over)| match over {
        Over::Sum => zeros(&b, &zero, &b.fact(value)),
        Over::Rows => no_rows(&b, &b.fact(value)),
        Over::State(state) => state.clone(),
    });
    let initial: Vec<Value> = initial.collect();

    let begin = b.graph().nodes().len();
    let number = Value::from("gnp/parts/number");
    b.declare(&number, Fact::with_sizes(DataType::Int64, &[]));
    let bound = |number: &Value| b.reshape(b.div(b.mul(number, &size), &turns), &[1]);
    let (start, end) = (bound(&number), bound(&b.add(&number, b.int64(1))));
    let cut = |(name, axis): &(Value, usize)| {
        let axes = b.int64s(&[*axis as i64]);
        (name.to_string(), b.node("Slice", &[name, &start, &end, &axes], vec![], b.fact(name)).to_string())
    };
    let mut inside: HashMap<String, String> = samples.inputs.iter().map(cut).collect();
    if draws_by_part {
        b.declare(STEP, Fact::with_sizes(DataType::Int64, &[]));
        let step = b.add(b.mul(Value::from(STEP), b.int64(count.get().into())), &number);
        inside.insert(DRAWS.to_owned(), step.to_string());
    }
    let samples_in_part = b.squeeze(b.sub(&end, &start), &[0]);
    for (share, whole) in shares.iter().zip(wholes) {
        let sliced = |input: &Value| inside.get(&**input).map_or_else(|| input.clone(), |part| part.as_str().into());
        let part = share.weight(&b, &samples_in_part, sliced);
        let share_of_part = b.div_or_zero(&part, &whole);
        inside.insert(share.value.to_string(), share_of_part.to_string());
    }
    let first = begin..b.graph().nodes().len();

    let mut carried = Vec::with_capacity(results.len());
    for (index, ((value, over), initial)) in results.iter().zip(initial).enumerate() {
        let before = Value::from(format!("gnp/parts/before/{index}").as_str());
        b.declare(&before, b.fact(&initial));
        let next = match over {
            Over::Sum => b.add(&before, value),
            Over::Rows => b.concat(&[&before, value], 0),
            Over::State(state) => {
                inside.insert(state.to_string(), before.to_string());
                value.clone()
            }
        };
        carried.push(Carried { initial, before, next });
    }
    let nodes = of_batch.and_from(begin, b.graph().nodes().len());
    let turn = Turn { nodes, first, inside, number };
    drop(b);
    Ok(graph.turns(&turn, &turns, &carried, pass::PARTS))
}

/// Zeros of the type and shape of `fact`, made of the scalar `zero`.
fn zeros(b: &Builder<'_>, zero: &Value, fact: &Fact) -> Value {
    match fact.sizes() {
        Some(sizes) if !sizes.is_empty() => b.node("Expand", &[zero, &b.int64s(&sizes)], vec![], fact.clone()),
        _ => zero.clone(),
    }
}

/// A table of no rows with the columns of `fact`.
fn no_rows(b: &Builder<'_>, fact: &Fact) -> Value {
    let columns = fact.dim(1).and_then(Dim::known).unwrap_or(0);
    let table = b.constant(TensorProto::raw("", fact.element, &[0, columns], Vec::new().into()), "no_rows");
    b.declare(&table, Fact { element: fact.element, shape: Some(vec![Dim::Unknown, Dim::Known(columns)]) });
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_model::testing::{body, node};

    fn rows(symbols: &[&str]) -> Fact {
        let dim = |symbol: &&str| match symbol.parse() {
            Ok(size) => Dim::Known(size),
            Err(_) => Dim::Symbol((*symbol).into()),
        };
        Fact { element: DataType::Float, shape: Some(symbols.iter().map(dim).collect()) }
    }

    fn samples(inputs: &[&[&str]], labels: &[&str]) -> Result<Vec<usize>> {
        let names: Vec<String> = (0..inputs.len()).map(|i| format!("x{i}")).collect();
        let mut graph = Graph::new(body(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[], &[])).unwrap();
        names.iter().zip(inputs).for_each(|(name, shape)| graph.declare(name, rows(shape)));
        let samples = Samples::of(&graph, &[("labels".to_owned(), rows(labels))])?;
        Ok(samples.inputs.into_iter().map(|(_, axis)| axis).collect())
    }

    #[test]
    fn samples_are_where_the_size_of_the_labels_is() {
        assert_eq!(samples(&[&["n", "4"], &["time", "n", "3"], &["1", "7"]], &["n"]).unwrap(), [0, 1, 0]);
        for (inputs, labels, says) in [
            (&[&["n", "4"][..]][..], &["m"][..], "which axis of `x0`"),
            (&[&["n", "n"][..]][..], &["n"][..], "which axis of `x0`"),
            (&[&["n", "4"][..]][..], &["32"][..], "which axis of `labels`"),
            (&[&["32", "4"][..]][..], &["32"][..], "has a fixed size"),
        ] {
            let error = samples(inputs, labels).unwrap_err();
            assert!(error.to_string().contains(says) && error.help_text().is_some(), "{error}");
        }
    }

    #[test]
    fn what_depends_on_the_batch_goes_into_the_loop() {
        let nodes = [
            node("Neg", &["w"], &["v"]),
            node("MatMul", &["x", "v"], &["y"]),
            node("ReduceMean", &["y"], &["mean"]),
            node("Abs", &["y"], &["unread"]),
        ];
        let mut graph = Graph::new(body(&["x", "w"], &nodes, &["unread"])).unwrap();
        graph.declare("x", rows(&["n", "4"]));
        ["mean", "w"].into_iter().for_each(|name| graph.declare(name, rows(&[])));
        let samples = Samples { inputs: vec![("x".into(), 0)] };
        let count = NonZero::<u32>::MIN.saturating_add(3);
        let results = [(Value::from("mean"), Over::Sum)];
        let parts = Parts { samples: &samples, count, shares: &Shares::default(), results: &results, kept: &[] };
        let whole = over_parts(&mut graph, &parts).unwrap();
        let info = Fact::with_sizes(DataType::Float, &[]).info(&whole[0]);
        graph.declare_outputs([info]);
        let graph = Graph::new(graph.into_proto()).expect("the graph is well-formed");
        let repeated = graph.nodes().iter().find(|node| node.is("", "Loop")).unwrap();
        let inner: Vec<&str> = repeated.subgraphs().flat_map(|body| &body.node).map(|node| node.op_type()).collect();
        assert!(inner.contains(&"MatMul") && inner.contains(&"Slice") && !inner.contains(&"Neg"), "{inner:?}");
        assert!(graph.nodes().iter().all(|node| !node.is("", "MatMul") && !node.is("", "Abs")));
    }
}
