//! What the standard says of its operators: how many inputs and outputs each has, its attributes and their types, and
//! which numbers they may be.
//!
//! A node that does not fit is refused, by name, before anything is computed from it: rules for shapes and gradients
//! may then rely on its form, and so may [tract](https://docs.rs/tract-onnx), whose own rules read beyond their
//! operands where a file lies to them. `operators.txt` is the standard's own table, which the `onnx` package prints;
//! `numbers.rs` is its prose.

mod numbers;
#[cfg(test)]
mod tests;

pub(crate) use numbers::{Known, check as check_numbers};

use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::{AttributeProto, NodeProto, standard_domain};
use foldhash::{HashMap, HashMapExt as _};
use gnp_base::{Error, Result};
use std::sync::LazyLock;

/// A line for every version of an operator: name, version, least and most inputs, least and most outputs, attributes.
const TABLE: &str = include_str!("operators.txt");

/// One version of an operator.
#[derive(Debug)]
struct Operator {
    since: i64,
    inputs: Count,
    outputs: Count,
    attributes: Vec<Attribute>,
}

/// How many there may be; without a bound where `most` is none.
#[derive(Clone, Copy, Debug)]
struct Count {
    least: usize,
    most: Option<usize>,
}

#[derive(Debug)]
struct Attribute {
    name: &'static str,
    kind: AttributeType,
    is_required: bool,
}

static OPERATORS: LazyLock<HashMap<&str, Vec<Operator>>> = LazyLock::new(|| {
    let mut operators: HashMap<&str, Vec<Operator>> = HashMap::with_capacity(256);
    for (name, operator) in TABLE.lines().filter_map(parse) {
        operators.entry(name).or_default().push(operator);
    }
    operators
});

fn parse(line: &'static str) -> Option<(&'static str, Operator)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let mut number = || words.next();
    let since = number()?.parse().ok()?;
    let mut count = || Some(Count { least: number()?.parse().ok()?, most: number()?.parse().ok() });
    let (inputs, outputs) = (count()?, count()?);
    let attributes = words.map(|word| {
        let (name, kind) = word.split_once(':')?;
        let (kind, is_required) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
        Some(Attribute { name, kind: kind_of(kind)?, is_required })
    });
    Some((name, Operator { since, inputs, outputs, attributes: attributes.collect::<Option<_>>()? }))
}

fn kind_of(code: &str) -> Option<AttributeType> {
    Some(match code {
        "i" => AttributeType::Int,
        "f" => AttributeType::Float,
        "s" => AttributeType::String,
        "t" => AttributeType::Tensor,
        "g" => AttributeType::Graph,
        "p" => AttributeType::SparseTensor,
        "y" => AttributeType::TypeProto,
        "is" => AttributeType::Ints,
        "fs" => AttributeType::Floats,
        "ss" => AttributeType::Strings,
        "ts" => AttributeType::Tensors,
        "gs" => AttributeType::Graphs,
        _ => return None,
    })
}

/// Checks the form of a node that is written in `version` of the standard operators: the numbers of its inputs and
/// outputs, and the types of its attributes. Operators of other domains, and those that the table does not have, pass.
///
/// # Errors
/// Where the node does not have the operator's form, as ONNX Runtime would say too.
///
/// ```
/// use gnp_model::onnx::proto::NodeProto;
/// let node = NodeProto { op_type: Some("Relu".into()), output: vec!["y".into()], ..Default::default() };
/// assert_eq!(gnp_model::schema::check(&node, 18).unwrap_err().to_string(), "node `y` (Relu): it has 0 inputs; expected 1");
/// ```
pub fn check(node: &NodeProto, version: i64) -> Result<()> {
    if !standard_domain(node.domain()).is_empty() {
        return Ok(());
    }
    let versions = OPERATORS.get(node.op_type()).into_iter().flatten();
    let Some(operator) = versions.take_while(|operator| operator.since <= version).last() else { return Ok(()) };
    let wrong = |what: String| {
        Err(Error::input(what)
            .at_node(node.label(), &node.operator())
            .help("the model is damaged, or not what its operator set says; export it again"))
    };
    for (what, names, count) in [("input", &node.input, operator.inputs), ("output", &node.output, operator.outputs)] {
        // What is left out at the end counts for nothing.
        let given = names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        if names.len() < count.least || count.most.is_some_and(|most| given > most) {
            return wrong(format!("it has {}; expected {}", counted(given, what), count.text()));
        }
    }
    for attribute in &operator.attributes {
        match node.attribute(attribute.name) {
            Some(given) if !is_of(given, attribute.kind) => {
                return wrong(format!(
                    "its attribute `{}` is not of type {}",
                    attribute.name,
                    attribute.kind.as_str_name()
                ));
            }
            None if attribute.is_required => return wrong(format!("it has no attribute `{}`", attribute.name)),
            _ => {}
        }
    }
    match node.attribute.iter().enumerate().find(|(i, a)| node.attribute[..*i].iter().any(|b| a.name() == b.name())) {
        Some((_, twice)) => wrong(format!("it has two attributes `{}`", twice.name())),
        None => Ok(()),
    }
}

/// Checks that a node, of whatever newer version of the standard operators, is one in `version` too: that the operator
/// is there, and has the node's form and attributes. Operators of other domains pass.
///
/// # Errors
/// Where it is not.
///
/// ```
/// use gnp_model::onnx::proto::NodeProto;
/// let node = |operator: &str| NodeProto {
///     op_type: Some(operator.into()),
///     input: vec!["x".into()],
///     output: vec!["y".into()],
///     ..Default::default()
/// };
/// assert!(gnp_model::schema::check_as_of(&node("Relu"), 21).is_ok());
/// let error = gnp_model::schema::check_as_of(&node("Swish"), 21).unwrap_err();
/// assert_eq!(error.to_string(), "node `y` (Swish): it is an operator of operator set 24, which 21 does not have");
/// ```
pub fn check_as_of(node: &NodeProto, version: i64) -> Result<()> {
    check(node, version)?;
    let versions = OPERATORS.get(node.op_type()).filter(|_| standard_domain(node.domain()).is_empty());
    let versions = versions.map_or(&[][..], Vec::as_slice);
    let newer = |what: String, since: i64| {
        let what = format!("{what} of operator set {since}, which {version} does not have");
        Err(Error::unsupported(what).at_node(node.label(), &node.operator()))
    };
    let known = versions.iter().rfind(|operator| operator.since <= version);
    match (known, versions.first()) {
        (None, Some(first)) => return newer("it is an operator".into(), first.since),
        (None, None) => return Ok(()),
        _ => {}
    }
    let has = |operator: &Operator, name: &str| operator.attributes.iter().any(|attribute| attribute.name == name);
    for attribute in node.attribute.iter().map(AttributeProto::name) {
        let since = versions.iter().find(|operator| operator.since > version && has(operator, attribute));
        if let Some(operator) = since.filter(|_| !known.is_some_and(|known| has(known, attribute))) {
            return newer(format!("its attribute `{attribute}` is"), operator.since);
        }
    }
    Ok(())
}

/// Whether an attribute is of a type, and holds what it must; old files do not say of which it is.
fn is_of(attribute: &AttributeProto, kind: AttributeType) -> bool {
    let is_there = match kind {
        AttributeType::Tensor => attribute.t.is_some(),
        AttributeType::Graph => attribute.g.is_some(),
        _ => true,
    };
    is_there && [AttributeType::Undefined, kind].iter().any(|kind| *kind as i32 == attribute.r#type())
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl Count {
    fn text(self) -> String {
        match (self.least, self.most) {
            (least, None) => format!("{least} or more"),
            (least, Some(most)) if least == most => format!("{least}"),
            (least, Some(most)) => format!("{least} to {most}"),
        }
    }
}
