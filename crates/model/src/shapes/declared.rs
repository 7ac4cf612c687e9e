//! What a graph declares of its own values.

use crate::graph::{Dim, Fact};
use crate::onnx::proto::GraphProto;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use gnp_base::{Error, Result};
use std::collections::BTreeMap;

/// What the inputs, the outputs, the notes on values and the initializers of a graph say, by name; the symbols in
/// `bindings` are numbers. An initializer says more than a note on it, which need not fit: ONNX Runtime GenAI's model
/// builder notes vectors as scalars.
///
/// # Errors
/// Where two of them give one value different element types, numbers of axes, or sizes.
pub(super) fn declared<'g>(graph: &'g GraphProto, bindings: &BTreeMap<String, i64>) -> Result<HashMap<&'g str, Fact>> {
    let mut facts = HashMap::with_capacity(graph.initializer.len() + graph.value_info.len());
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let notes = graph.value_info.iter().filter(|note| !constants.contains(note.name()));
    for info in graph.input.iter().chain(&graph.output).chain(notes) {
        if let Some(mut fact) = Fact::declared(info) {
            bind(&mut fact, bindings);
            learn(&mut facts, info.name(), fact)?;
        }
    }
    for tensor in &graph.initializer {
        if let Some(element) = tensor.element() {
            learn(&mut facts, tensor.name(), Fact::with_sizes(element, &tensor.dims))?;
        }
    }
    for sparse in &graph.sparse_initializer {
        if let Some(values) = &sparse.values
            && let Some(element) = values.element()
        {
            learn(&mut facts, values.name(), Fact::with_sizes(element, &sparse.dims))?;
        }
    }
    Ok(facts)
}

fn bind(fact: &mut Fact, bindings: &BTreeMap<String, i64>) {
    for dim in fact.shape.iter_mut().flatten() {
        if let Dim::Symbol(symbol) = dim
            && let Some(&size) = bindings.get(&**symbol)
        {
            *dim = Dim::Known(size);
        }
    }
}

fn learn<'g>(facts: &mut HashMap<&'g str, Fact>, name: &'g str, fact: Fact) -> Result<()> {
    let Some(known) = facts.get_mut(name) else {
        facts.insert(name, fact);
        return Ok(());
    };
    if known.element != fact.element {
        return Err(contradiction(name, "element types", known.element.as_str_name(), fact.element.as_str_name()));
    }
    match (&mut known.shape, fact.shape) {
        (_, None) => {}
        (shape @ None, more) => *shape = more,
        (Some(a), Some(b)) if a.len() != b.len() => {
            return Err(contradiction(name, "numbers of axes", a.len(), b.len()));
        }
        (Some(a), Some(b)) => {
            for (axis, (a, b)) in a.iter_mut().zip(b).enumerate() {
                match (&*a, b) {
                    (Dim::Known(x), Dim::Known(y)) if *x != y => {
                        return Err(contradiction(name, &format!("sizes of axis {axis}"), x, y));
                    }
                    (Dim::Known(_), _) | (_, Dim::Unknown) | (Dim::Symbol(_), Dim::Symbol(_)) => {}
                    (_, more) => *a = more,
                }
            }
        }
    }
    Ok(())
}

fn contradiction(name: &str, what: &str, a: impl std::fmt::Display, b: impl std::fmt::Display) -> Error {
    Error::format(format!("the file declares two {what} for the value `{name}`: {a} and {b}"))
        .help("the model is damaged, or was edited in one place and not in the other; export it again")
}
