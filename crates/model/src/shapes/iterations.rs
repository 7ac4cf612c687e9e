//! The bodies of Loop and Scan: what holds of their values in every iteration.

use super::known::{Known, Sizes};
use super::size::Size;
use super::sweep::{Sweep, common};
use crate::onnx::DataType;
use crate::onnx::proto::{GraphProto, NodeProto};
use gnp_base::Result;

/// How often a body is tried before nothing is believed of the sizes of its states.
const TRIES: usize = 2;

/// A loop: what its body is given, and what becomes of what it returns.
struct Iterations<'n> {
    body: &'n GraphProto,
    /// The body's inputs before the states.
    before: Vec<Known>,
    /// The states before the first iteration.
    states: Vec<Known>,
    /// The body's inputs behind the states.
    behind: Vec<Known>,
    /// The body's outputs before the states.
    returned_before: usize,
    /// How many iterations there are.
    count: Option<Size>,
    /// The axis that the iterations are on, for each of the outputs behind the states.
    axes: Vec<i64>,
}

impl Sweep<'_> {
    /// What a Loop or Scan makes, for each of its outputs; none where the node is something else, or not whole.
    pub(super) fn iterations(&mut self, node: &NodeProto) -> Result<Option<Vec<Known>>> {
        let found = match (node.domain(), node.op_type()) {
            ("", "Scan") => self.scan(node),
            ("", "Loop") => self.repeated(node),
            _ => None,
        };
        let Some(Iterations { body, before, mut states, behind, returned_before, count, axes }) = found else {
            return Ok(None);
        };
        let given = |states: &[Known]| [&before, states, &behind].concat();
        let mut agreed = false;
        // A loop inside a body that is being tried is not tried for each trial of that.
        for _ in 0..if self.tries { 0 } else { TRIES } {
            self.tries = true;
            let tried = self.graph(body, &given(&states), true);
            self.tries = false;
            tried?;
            let next = self.returned(body, returned_before);
            let both: Vec<Known> = states.iter().zip(&next).map(|(state, next)| common(state, next)).collect();
            agreed = both == states;
            states = both;
            if agreed {
                break;
            }
        }
        if !agreed {
            states.iter_mut().for_each(|state| state.sizes = None);
        }
        self.graph(body, &given(&states), true)?;
        let returned = self.returned(body, returned_before);
        let stacked = returned.into_iter().skip(states.len()).enumerate();
        let stacked = stacked.map(|(i, known)| joined(&known, axes.get(i).copied().unwrap_or(0), count.clone()));
        Ok(Some(states.iter().cloned().chain(stacked).collect()))
    }

    /// What is known of the outputs of a body from one on.
    fn returned(&self, body: &GraphProto, from: usize) -> Vec<Known> {
        let known = |name: &str| self.known.get(name).map(Known::without_elements).unwrap_or_default();
        body.output.iter().skip(from).map(|output| known(output.name())).collect()
    }

    fn given(&self, name: Option<&str>) -> Known {
        name.and_then(|name| self.known.get(name)).map(Known::without_elements).unwrap_or_default()
    }

    /// A Scan of operator set 9 or newer.
    fn scan<'n>(&self, node: &'n NodeProto) -> Option<Iterations<'n>> {
        let body = node.subgraphs().next()?;
        let scanned = usize::try_from(node.attribute("num_scan_inputs")?.i()).ok()?;
        let states = node.input.len().checked_sub(scanned)?;
        if self.opset < 9 || body.input.len() != node.input.len() {
            return None;
        }
        let known = |range: std::ops::Range<usize>| range.map(|i| self.given(node.input(i))).collect::<Vec<_>>();
        let mut count = None;
        let mut slices = Vec::new();
        for (i, mut tensor) in known(states..node.input.len()).into_iter().enumerate() {
            let axis = node.ints("scan_input_axes").and_then(|axes| axes.get(i).copied()).unwrap_or(0);
            if let Some(sizes) = tensor.sizes.as_mut() {
                let at = from_front(axis, sizes.len()).filter(|at| *at < sizes.len())?;
                count = count.or(sizes.remove(at));
            }
            slices.push(tensor);
        }
        let axes = node.ints("scan_output_axes").unwrap_or_default().to_vec();
        Some(Iterations {
            body,
            before: vec![],
            states: known(0..states),
            behind: slices,
            returned_before: 0,
            count,
            axes,
        })
    }

    fn repeated<'n>(&self, node: &'n NodeProto) -> Option<Iterations<'n>> {
        let body = node.subgraphs().next()?;
        let states: Vec<Known> = (2..node.input.len()).map(|i| self.given(node.input(i))).collect();
        if body.input.len() != states.len() + 2 {
            return None;
        }
        let scalar = |element| Known::of(element).with(Sizes::new());
        let before = vec![scalar(DataType::Int64), scalar(DataType::Bool)];
        Some(Iterations { body, before, states, behind: vec![], returned_before: 1, count: None, axes: vec![] })
    }
}

/// An axis that may be counted from the end.
fn from_front(axis: i64, rank: usize) -> Option<usize> {
    usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()
}

/// A tensor with one more axis.
fn joined(known: &Known, axis: i64, count: Option<Size>) -> Known {
    let sizes = known.sizes.clone().and_then(|mut sizes| {
        let at = from_front(axis, sizes.len() + 1).filter(|at| *at <= sizes.len())?;
        sizes.insert(at, count);
        Some(sizes)
    });
    known.without_elements().with(sizes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{graph, info, model, weight, with};
    use super::super::{Facts, analyse};
    use crate::graph::Dim;
    use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto};
    use crate::testing::{body, node};
    use std::collections::BTreeMap;

    fn analysed(graph: GraphProto) -> Facts {
        analyse(&model(graph), &BTreeMap::new()).unwrap()
    }

    fn shape(facts: &Facts, value: &str) -> String {
        let dim = |dim: &Dim| if let Dim::Unknown = dim { "?".to_owned() } else { dim.to_string() };
        facts.get(value).unwrap().shape.as_ref().unwrap().iter().map(dim).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_scan_goes_over_an_axis_with_states_of_one_shape() {
        let step = [
            node("MatMul", &["x", "u"], &["xu"]),
            node("Add", &["xu", "h"], &["next"]),
            node("Transpose", &["next"], &["turned"]),
        ];
        let scan = node("Scan", &["h0", "xs"], &["last", "all"]).with(body(&["h", "x"], &step, &["next", "turned"]));
        let attributes = [
            AttributeProto::int("num_scan_inputs", 1),
            AttributeProto::ints("scan_input_axes", &[1]),
            AttributeProto::ints("scan_output_axes", &[-1]),
        ];
        let scan = attributes.into_iter().fold(NodeProto::from(scan), with);
        let inputs = [info("h0", "N,3"), info("xs", "N,T,2")];
        let facts = analysed(graph(&inputs, &[weight("u", &[2, 3])], vec![scan]));
        let found = ["h", "x", "next", "last", "all"].map(|value| shape(&facts, value));
        assert_eq!(found, ["N,3", "N,2", "N,3", "N,3", "3,N,T"]);
    }

    #[test]
    fn what_a_loop_changes_of_a_state_is_not_known() {
        let step = [
            with(node("Concat", &["grows", "one"], &["longer"]), AttributeProto::int("axis", 0)).into(),
            node("Neg", &["same"], &["negated"]),
            node("Identity", &["go"], &["on"]),
        ];
        let inner = body(&["i", "go", "grows", "same"], &step, &["on", "longer", "negated", "negated"]);
        let repeated = node("Loop", &["n", "", "g0", "s0"], &["g", "s", "all"]).with(inner);
        let inputs = [info("g0", "2,3"), info("s0", "N,4"), info("one", "1,3")];
        let facts = analysed(graph(&inputs, &[], vec![repeated.into()]));
        assert_eq!(["grows", "g"].map(|value| shape(&facts, value)), ["grows[0],3", "g[0],3"]);
        assert_eq!(["same", "s", "all"].map(|value| shape(&facts, value)), ["N,4", "N,4", "all[0],N,4"]);
        assert_eq!(facts.get("i").unwrap().to_string(), "INT64 []");
    }
}
