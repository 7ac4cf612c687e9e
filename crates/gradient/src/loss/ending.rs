//! How a forward graph ends, and so what its loss is.

use super::{Loss, LossKind, Term, class_axis};
use foldhash::HashMap;
use gnp_base::choice::{Choice, nearest};
use gnp_base::{Error, Result};
use gnp_model::graph::{Fact, Graph, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::NodeProto;

/// What Hugging Face's networks, and others after them, call their scores, among whatever else they return.
const LOGITS: &str = "logits";

/// What the user said of the loss; what is left out is inferred.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The formula.
    pub loss: Option<LossKind>,
    /// The value that the loss is taken of.
    pub logits: Option<String>,
    /// The scalar of the graph that is the loss already.
    pub loss_output: Option<String>,
    /// ε of label smoothing.
    pub label_smoothing: f32,
    /// The axis of the classes.
    pub class_axis: Option<i64>,
    /// The class number of labels that do not count.
    pub ignore_index: Option<i64>,
    /// What each class counts.
    pub class_weights: Vec<f32>,
    /// What labels of 1 count in binary cross-entropy.
    pub pos_weight: Vec<f32>,
    /// The losses of several values, whose weighted sum is trained; then `loss`, `logits` and `loss_output` are empty.
    pub several: Vec<WantedTerm>,
}

/// One of the losses whose weighted sum is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedTerm {
    /// The value that the loss is taken of, an output as a rule.
    pub value: String,
    /// The formula; what the value's end tells where none is given.
    pub loss: Option<LossKind>,
    /// Its weight in the sum.
    pub weight: f32,
}

impl Wanted {
    /// The value that is named: what comes after it is of no matter.
    pub fn value(&self) -> Option<&str> {
        self.logits.as_deref().or(self.loss_output.as_deref())
    }
}

/// This loss, and all else inferred.
///
/// ```
/// use gnp_gradient::loss::{LossKind, Wanted};
/// assert_eq!(Wanted::from(LossKind::Mse), Wanted { loss: Some(LossKind::Mse), ..Wanted::default() });
/// ```
impl From<LossKind> for Wanted {
    fn from(kind: LossKind) -> Self {
        Self { loss: Some(kind), ..Self::default() }
    }
}

/// Where the loss comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// A loss is to be put on this value.
    Logits {
        /// The value.
        value: Value,
        /// The loss.
        loss: Loss,
    },
    /// Losses are to be put on several values, and added up.
    Sum(Vec<Term>),
    /// The graph computes its loss itself.
    Scalar(Value),
}

/// Finds out what the loss of a forward graph is: what `wanted` says, else what the graph's end tells. A Softmax or
/// Sigmoid at the end is left out, since its loss is computed from what comes before it.
///
/// # Errors
/// Where a named value is not there, the loss is not a scalar, several outputs could be meant, or nothing tells which
/// loss is wanted.
pub fn find_ending(graph: &Graph, wanted: &Wanted) -> Result<(Ending, Vec<Choice>)> {
    let producers: HashMap<&str, &NodeProto> =
        graph.nodes().iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
    if let Some(name) = &wanted.loss_output {
        let value = existing(graph, &producers, name, "--loss-output")?;
        check_scalar(graph, &value)?;
        return Ok((Ending::Scalar(value), vec![]));
    }
    let mut choices = Vec::new();
    if wanted.several.is_empty() {
        let end = match &wanted.logits {
            Some(name) => existing(graph, &producers, name, "--logits")?,
            None => the_output(graph, &mut choices)?,
        };
        let ending = loss_of(graph, &producers, wanted, wanted.loss, end.clone(), &mut choices)?;
        return Ok((ending.map_or(Ending::Scalar(end), |(value, loss)| Ending::Logits { value, loss }), choices));
    }
    let mut terms = Vec::with_capacity(wanted.several.len());
    for WantedTerm { value: name, loss, weight } in &wanted.several {
        if !(weight.is_finite() && *weight > 0.0) {
            return Err(Error::input(format!(
                "the loss of `{name}` has the weight {weight}; expected a number above 0"
            )));
        }
        if terms.iter().any(|term: &Term| term.output == *name) {
            return Err(Error::input(format!("`{name}` is given two losses")).help("give each output one"));
        }
        let end = existing(graph, &producers, name, "--loss")?;
        let (value, loss) = loss_of(graph, &producers, wanted, *loss, end, &mut choices)?.ok_or_else(|| {
            Error::input(format!("`{name}` is a loss itself")).help("let the model add its losses up, and name the sum")
        })?;
        terms.push(Term { value: value.to_string(), output: name.clone(), loss, weight: *weight });
    }
    Ok((Ending::Sum(terms), choices))
}

/// The loss of `end`, of this `kind` where one is asked for, and the value that it is taken of; none where that is a
/// loss itself.
fn loss_of(
    graph: &Graph,
    producers: &HashMap<&str, &NodeProto>,
    wanted: &Wanted,
    kind: Option<LossKind>,
    end: Value,
    choices: &mut Vec<Choice>,
) -> Result<Option<(Value, Loss)>> {
    let last = producer_of_numbers(producers, &end);
    let Some(kind) = kind_of_loss(graph, kind, &end, last, choices)? else { return Ok(None) };
    // Of several losses, each takes what it has a use for.
    let is_alone = wanted.several.is_empty();
    let of_classes = is_alone || matches!(kind, LossKind::CrossEntropy | LossKind::SoftCrossEntropy);
    let for_classes = |weights: &Vec<f32>, used: bool| if used { weights.clone() } else { Vec::new() };
    let mut loss = Loss {
        label_smoothing: if of_classes { wanted.label_smoothing } else { 0.0 },
        class_axis: wanted.class_axis.filter(|_| of_classes),
        class_weights: for_classes(&wanted.class_weights, of_classes),
        pos_weight: for_classes(&wanted.pos_weight, is_alone || kind == LossKind::Bce),
        ignore_index: wanted
            .ignore_index
            .filter(|_| is_alone || kind == LossKind::CrossEntropy)
            .or(Loss::new(kind).ignore_index),
        kind,
    };
    loss.validate()?;
    let left_out = last.filter(|node| is_its_end(kind, node)).and_then(|node| Some((node, node.input(0)?)));
    let value = left_out.map_or(end, |(_, input)| input.into());
    if let Some((node, _)) = left_out {
        let (operator, label) = (node.op_type(), node.label());
        let what = format!("{operator} `{label}` at the end is left out: the loss is computed from its input");
        choices.push(Choice::new(what, "--logits"));
    }
    let softmax = left_out.map(|(node, _)| node).filter(|node| node.op_type() != "Sigmoid");
    find_class_axis(graph, producers, &mut loss, &value, softmax, choices)?;
    Ok(Some((value, loss)))
}

/// The kind of loss that is wanted, or that the last node tells; none where the graph's end is a loss itself.
fn kind_of_loss(
    graph: &Graph,
    wanted: Option<LossKind>,
    end: &Value,
    last: Option<&NodeProto>,
    choices: &mut Vec<Choice>,
) -> Result<Option<LossKind>> {
    if wanted.is_some() {
        return Ok(wanted);
    }
    let fact = graph.facts().get(end);
    match last.map(NodeProto::op_type) {
        Some("Softmax" | "LogSoftmax") => {
            choices.push(Choice::new("the loss is cross-entropy, since the graph ends in a softmax", "--loss"));
            Ok(Some(LossKind::CrossEntropy))
        }
        Some("Sigmoid") => {
            choices.push(Choice::new("the loss is binary cross-entropy, since the graph ends in a sigmoid", "--loss"));
            Ok(Some(LossKind::Bce))
        }
        _ if fact.is_some_and(|fact| fact.rank() == Some(0) && fact.element == DataType::Float) => {
            choices.push(Choice::new(format!("the loss is the graph's own scalar `{end}`"), "--loss-output"));
            Ok(None)
        }
        _ => Err(cannot_know(end, fact)),
    }
}

/// Gives `loss`, of `value`, the axis of its classes, where it needs one and was given none: that of the `softmax` at
/// the end, else what the graph tells. It is counted from the front, where the number of axes is known.
fn find_class_axis(
    graph: &Graph,
    producers: &HashMap<&str, &NodeProto>,
    loss: &mut Loss,
    value: &Value,
    softmax: Option<&NodeProto>,
    choices: &mut Vec<Choice>,
) -> Result<()> {
    let softmax = softmax.filter(|_| loss.class_axis.is_none());
    if let Some(node) = softmax {
        loss.class_axis = Some(node.int("axis", -1));
    }
    if loss.class_axis.is_none()
        && loss.needs_axis()
        && let Some((axis, choice)) = class_axis::infer(graph, producers, value)?
    {
        loss.class_axis = Some(axis);
        choices.push(choice);
    }
    let fact = graph.facts().get(value);
    if let (Some(axis), Some(rank)) = (&mut loss.class_axis, fact.and_then(Fact::rank))
        && *axis < 0
    {
        *axis += rank as i64;
    }
    choices.extend(softmax.and_then(|node| class_axis::of_softmax(loss, fact, node)));
    Ok(())
}

fn is_its_end(kind: LossKind, node: &NodeProto) -> bool {
    match kind {
        LossKind::CrossEntropy | LossKind::SoftCrossEntropy => node.is("", "Softmax") || node.is("", "LogSoftmax"),
        LossKind::Bce => node.is("", "Sigmoid"),
        _ => false,
    }
}

/// The node that makes the numbers of `value`: behind identities, and behind the reshape of a softmax that older
/// operator sets take over a matrix into which its input is flattened.
fn producer_of_numbers<'g>(producers: &HashMap<&'g str, &'g NodeProto>, value: &str) -> Option<&'g NodeProto> {
    let producer = |value: Option<&str>| producers.get(value?).copied();
    let mut node = producer(Some(value))?;
    while node.is("", "Identity") {
        node = producer(node.input(0))?;
    }
    let flat_softmax = |node: &&NodeProto| {
        (node.is("", "Softmax") || node.is("", "LogSoftmax"))
            && producer(node.input(0)).is_some_and(|flatten| flatten.is("", "Flatten"))
    };
    let reshaped = producer(node.input(0)).filter(|_| node.is("", "Reshape")).filter(flat_softmax);
    Some(reshaped.unwrap_or(node))
}

fn existing(graph: &Graph, producers: &HashMap<&str, &NodeProto>, name: &str, flag: &str) -> Result<Value> {
    if producers.contains_key(name) {
        return Ok(name.into());
    }
    let names = graph.proto().output.iter().map(|o| o.name()).chain(producers.keys().copied());
    Err(Error::input(format!("{flag} {name}: no node of the graph makes a value of this name"))
        .help(nearest(name, names)))
}

fn check_scalar(graph: &Graph, value: &Value) -> Result<()> {
    let Some(fact) = graph.facts().get(value) else { return Ok(()) };
    let is_float = fact.element == DataType::Float;
    if is_float
        && fact.sizes().is_none_or(|sizes| sizes.iter().product::<i64>() == 1)
        && fact.shape.as_ref().is_none_or(|s| s.is_empty() || fact.sizes().is_some())
    {
        return Ok(());
    }
    Err(Error::input(format!("the loss `{value}` is {fact}; expected a float scalar")).help(format!(
        "let a loss be put on it: --logits {value} --loss cross-entropy (or mse, …); or export the model with the mean of it"
    )))
}

fn the_output(graph: &Graph, choices: &mut Vec<Choice>) -> Result<Value> {
    let outputs = &graph.proto().output;
    let floating = |name: &str| graph.facts().get(name).is_none_or(|fact| fact.element == DataType::Float);
    let is_number = |name: &str| graph.facts().get(name).is_some_and(Fact::is_single);
    let candidates: Vec<&str> = outputs.iter().map(|o| o.name()).filter(|name| floating(name)).collect();
    match (&candidates[..], outputs.len()) {
        ([one], 1) => Ok((*one).into()),
        ([one], _) => {
            choices.push(Choice::new(format!("the loss is taken of `{one}`, the only output of floats"), "--logits"));
            Ok((*one).into())
        }
        ([], _) => Err(Error::input("no output of the graph is of floats, so there is nothing to take a loss of")
            .help("name a value before the graph turns to whole numbers: --logits NAME")),
        // A number beside it may be the loss already.
        (several, _) if several.contains(&LOGITS) && !several.iter().any(|name| is_number(name)) => {
            choices.push(Choice::new(
                format!("of several outputs the loss is taken of `{LOGITS}`, by its name"),
                "--logits",
            ));
            Ok(LOGITS.into())
        }
        (several, _) => {
            let names: Vec<_> = several.iter().map(|name| format!("`{name}`")).collect();
            Err(Error::input(format!(
                "the graph has several outputs that a loss could be taken of: {}",
                names.join(", ")
            ))
            .help(
                several.iter().map(|name| format!("--logits {name}")).collect::<Vec<_>>().join(", or ")
                    + "; --loss-output NAME where one of them is the loss already",
            ))
        }
    }
}

fn cannot_know(end: &Value, fact: Option<&Fact>) -> Error {
    let what = fact.map_or("of unknown type".to_owned(), Fact::to_string);
    Error::input(format!("nothing tells which loss `{end}`, {what}, is trained with")).help(
        "where it holds a score per class, and the labels are class numbers: --loss cross-entropy\n\
         where it holds predictions of numbers: --loss mse",
    )
}
