//! Which whole numbers the inputs of a graph may hold: those by which it looks something up.
//!
//! A token id is a row of a table, a label a column of the logits. A number beyond either is an error in one engine, a
//! panic in another, and a look at other memory in a third; and a negative number counts from the end in ONNX, so that
//! a label of −1 is the last class. [`ranges`] finds out what is looked up, so that numbers can be checked before an
//! engine sees them.

use super::Facts;
use crate::onnx::DataType;
use crate::onnx::proto::{GraphProto, MICROSOFT, NodeProto};
use foldhash::HashMap;
use gnp_base::contract::{Part, Range, Ranges};

/// What the whole-number inputs of `graph` may hold, as far as they are looked up by: an input counts as an index where
/// it comes to one through nodes that only move elements. Nodes are in topological order; `facts` tells the shapes of
/// what they read.
pub fn ranges(graph: &GraphProto, facts: &Facts) -> Ranges {
    let mut search = Search { facts, traces: HashMap::default(), found: Ranges::new() };
    for input in &graph.input {
        search.begin(input.name());
    }
    graph.node.iter().for_each(|node| search.node(node));
    search.found
}

/// Where the elements of a value come from.
#[derive(Clone, PartialEq)]
struct Trace<'g> {
    input: &'g str,
    /// Of each axis of the value, the one of the input that it is; none where they are no longer told apart.
    axes: Option<Vec<Option<usize>>>,
    part: Option<Part>,
}

struct Search<'g> {
    facts: &'g Facts,
    traces: HashMap<&'g str, Vec<Trace<'g>>>,
    found: Ranges,
}

impl<'g> Search<'g> {
    fn begin(&mut self, input: &'g str) {
        let whole = [DataType::Int64, DataType::Int32, DataType::Int16, DataType::Int8, DataType::Uint8];
        let Some(fact) = self.facts.get(input).filter(|fact| whole.contains(&fact.element)) else { return };
        let axes = fact.rank().map(|rank| (0..rank).map(Some).collect());
        self.traces.insert(input, vec![Trace { input, axes, part: None }]);
    }

    fn node(&mut self, node: &'g NodeProto) {
        self.look_up(node);
        let Some(from) = node.input(0) else { return };
        let traces = match (node.domain(), node.op_type()) {
            ("", "Concat") => {
                let parts = node.input.iter().filter_map(|part| self.traces.get(part.as_str())).flatten();
                let mut joined: Vec<Trace<'_>> = Vec::new();
                for part in parts.map(|trace| Trace { axes: None, ..trace.clone() }) {
                    // What is joined with itself over and over would grow without end.
                    if !joined.contains(&part) {
                        joined.push(part);
                    }
                }
                joined
            }
            ("", "Split") => return self.split(node, from),
            _ => {
                let traces = self.traces.get(from).into_iter().flatten();
                traces.filter_map(|trace| self.moved(node, trace)).collect::<Vec<_>>()
            }
        };
        if let Some(output) = node.output.first().filter(|_| !traces.is_empty()) {
            self.traces.insert(output, traces);
        }
    }

    /// Notes what a node looks up by an input.
    fn look_up(&mut self, node: &NodeProto) {
        let (axis, ignored) = match (node.domain(), node.op_type()) {
            ("", "Gather" | "GatherElements") => (node.int("axis", 0), None),
            ("", "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss") => {
                (1, node.attribute("ignore_index").map(|attribute| attribute.i()))
            }
            (MICROSOFT, "SoftmaxCrossEntropyLossInternal" | "NegativeLogLikelihoodLossInternal") => {
                (1, node.input(3).and_then(|ignored| self.facts.ints(ignored)?.first().copied()))
            }
            _ => return,
        };
        let Some(indices) = node.input(1).and_then(|indices| self.traces.get(indices)) else { return };
        let size = node.input(0).and_then(|table| self.facts.get(table)?.dim(axis)?.known());
        let Some(size) = size.filter(|size| *size > 0) else { return };
        for trace in indices {
            let range = Range { last: Some(size - 1), ignored, part: trace.part };
            let found = self.found.entry(trace.input.to_owned()).or_default();
            if !found.contains(&range) {
                found.push(range);
            }
        }
    }

    /// Where the elements of a node's output come from, which moves those of its first input; none where it does more,
    /// or it is not clear which it takes.
    fn moved(&self, node: &NodeProto, trace: &Trace<'g>) -> Option<Trace<'g>> {
        let ints = |index: usize, attribute: &str| match (node.input(index), node.attribute(attribute)) {
            (Some(operand), _) => self.facts.ints(operand).map(<[i64]>::to_vec),
            (None, attribute) => attribute.map(|attribute| attribute.ints.clone()),
        };
        let same = || Some(trace.clone());
        let without_axes = || Some(Trace { axes: None, ..trace.clone() });
        match (node.domain(), node.op_type()) {
            ("", "Identity" | "Cast") => same(),
            ("", "Reshape" | "Flatten" | "Expand" | "Tile" | "Pad") => without_axes(),
            ("", "Transpose") => {
                let axes = trace.axes.as_ref().and_then(|axes| {
                    let reversed = (0..axes.len() as i64).rev().collect();
                    let perm = node.attribute("perm").map_or(reversed, |perm| perm.ints.clone());
                    perm.iter().map(|&axis| axes.get(axis as usize).copied()).collect()
                });
                Some(Trace { axes, ..trace.clone() })
            }
            ("", "Unsqueeze" | "Squeeze") => {
                let axes = trace.axes.as_ref().zip(ints(1, "axes")).map(|(axes, given)| {
                    if node.is("", "Squeeze") { without(axes, &given) } else { with(axes, &given) }
                });
                Some(Trace { axes, ..trace.clone() })
            }
            ("", "Slice") => {
                let (starts, ends) = (ints(1, "starts")?, ints(2, "ends")?);
                let axes = ints(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
                if node.input(4).is_some() && ints(4, "steps")?.iter().any(|step| *step != 1) {
                    return None;
                }
                let mut trace = trace.clone();
                for ((start, end), axis) in starts.into_iter().zip(ends).zip(axes) {
                    if start != 0 || end < i64::from(i32::MAX) {
                        trace = trace.narrowed(axis, start, end)?;
                    }
                }
                Some(trace)
            }
            ("", "Gather") => {
                let indices = node.input(1)?;
                let [index] = self.facts.ints(indices)? else { return None };
                let axis = node.int("axis", 0);
                let end = if *index == -1 { i64::MAX } else { index.saturating_add(1) };
                let mut trace = trace.narrowed(axis, *index, end)?;
                if self.facts.get(indices)?.rank() == Some(0) {
                    trace.axes = trace.axes.map(|axes| without(&axes, &[axis]));
                }
                Some(trace)
            }
            _ => None,
        }
    }

    fn split(&mut self, node: &'g NodeProto, from: &str) {
        let Some(traces) = self.traces.get(from).cloned() else { return };
        let axis = node.int("axis", 0);
        let sizes = match (node.input(1), node.attribute("split")) {
            (Some(sizes), _) => self.facts.ints(sizes).map(<[i64]>::to_vec),
            (None, Some(sizes)) => Some(sizes.ints.clone()),
            (None, None) => {
                let (count, size) =
                    (node.output.len() as i64, self.facts.get(from).and_then(|fact| fact.dim(axis)?.known()));
                size.map(|size| vec![size / count.max(1) + i64::from(size % count.max(1) > 0); node.output.len()])
            }
        };
        let mut start = 0;
        for (output, size) in node.output.iter().zip(sizes.into_iter().flatten()) {
            let parts: Vec<_> =
                traces.iter().filter_map(|trace| trace.narrowed(axis, start, start.saturating_add(size))).collect();
            self.traces.insert(output, parts);
            start = start.saturating_add(size);
        }
    }
}

impl Trace<'_> {
    /// The places from `start` to before `end` along an axis of the value; none where that cannot be told of the input.
    fn narrowed(&self, axis: i64, start: i64, end: i64) -> Option<Self> {
        let axes = self.axes.as_ref()?;
        let index = if axis < 0 { axis + axes.len() as i64 } else { axis };
        let axis = (*axes.get(usize::try_from(index).ok()?)?)?;
        let part = Part { axis, start, end };
        (self.part.is_none()).then(|| Self { part: Some(part), ..self.clone() })
    }
}

/// The axes without those at `places`, which may count from the end.
fn without(axes: &[Option<usize>], places: &[i64]) -> Vec<Option<usize>> {
    let gone = |i: usize| places.contains(&(i as i64)) || places.contains(&(i as i64 - axes.len() as i64));
    axes.iter().enumerate().filter(|(i, _)| !gone(*i)).map(|(_, axis)| *axis).collect()
}

/// The axes with new ones at `places` of the result, which may count from the end.
fn with(axes: &[Option<usize>], places: &[i64]) -> Vec<Option<usize>> {
    let rank = axes.len() + places.len();
    let is_new = |i: usize| places.contains(&(i as i64)) || places.contains(&(i as i64 - rank as i64));
    let mut left = axes.iter();
    (0..rank).map(|i| if is_new(i) { None } else { left.next().copied().flatten() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Dim;
    use crate::graph::{Fact, known_shape};
    use crate::onnx::proto::{AttributeProto, TensorProto};
    use crate::testing::node;

    fn table(name: &str, rows: i64) -> TensorProto {
        TensorProto::raw(name, DataType::Float, &[rows, 2], vec![0; 8 * rows as usize].into())
    }

    fn with_attribute(node: impl Into<NodeProto>, attribute: AttributeProto) -> NodeProto {
        let mut node = node.into();
        node.attribute.push(attribute);
        node
    }

    /// What the input `ids`, int64 [N, 6], may hold in a graph of these nodes, with tables of 20, 7 and 12 rows.
    fn found(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> Vec<Range> {
        let shape = Some(vec![Dim::Symbol("N".into()), Dim::Known(6)]);
        let ids = Fact { element: DataType::Int64, shape };
        let initializer = [vec![table("words", 20), table("seven", 7), table("twelve", 12)], constants].concat();
        let graph = GraphProto { input: vec![ids.info("ids")], node: nodes, initializer, ..Default::default() };
        let mut facts = Facts::declared(&graph);
        facts.insert("scores".into(), Fact { element: DataType::Float, shape: known_shape(&[4, 5, 6]) });
        ranges(&graph, &facts).remove("ids").unwrap_or_default()
    }

    fn part(last: i64, axis: usize, start: i64, end: i64) -> Range {
        Range { part: Some(Part { axis, start, end }), ..Range::up_to(last) }
    }

    #[test]
    fn an_index_comes_through_what_moves_it() {
        let nodes = vec![
            with_attribute(node("Cast", &["ids"], &["cast"]), AttributeProto::int("to", 6)),
            node("Unsqueeze", &["cast", "axes"], &["column"]).into(),
            node("Concat", &["column", "start"], &["sequence"]).into(),
            node("Gather", &["words", "sequence"], &["y"]).into(),
        ];
        let constants = vec![TensorProto::int64s("axes", &[2]), TensorProto::int64s("start", &[1])];
        assert_eq!(found(nodes, constants), [Range::up_to(19)]);
    }

    #[test]
    fn what_is_joined_with_itself_is_one_input() {
        let name = |i: usize| if i == 0 { "ids".to_owned() } else { format!("a{i}") };
        let doubled = |i: usize| node("Concat", &[&name(i), &name(i)], &[&name(i + 1)]).into();
        let mut nodes: Vec<NodeProto> = (0..100).map(doubled).collect();
        nodes.push(node("Gather", &["words", &name(100)], &["y"]).into());
        assert_eq!(found(nodes, vec![]), [Range::up_to(19)]);
    }

    #[test]
    fn a_column_has_the_range_of_its_own_table() {
        let nodes = vec![
            with_attribute(node("Gather", &["ids", "two"], &["a"]), AttributeProto::int("axis", 1)),
            node("Gather", &["seven", "a"], &["y"]).into(),
            node("Slice", &["ids", "from", "to", "one"], &["b"]).into(),
            node("Gather", &["twelve", "b"], &["z"]).into(),
        ];
        let two = TensorProto { dims: vec![], ..TensorProto::int64s("two", &[2]) };
        let constants = vec![
            two,
            TensorProto::int64s("from", &[3]),
            TensorProto::int64s("to", &[-1]),
            TensorProto::int64s("one", &[1]),
        ];
        let found = found(nodes, constants);
        assert_eq!(found, [part(6, 1, 2, 3), part(11, 1, 3, -1)]);
        let row = [0, 0, 6, 11, 11, 100].map(f64::from);
        let outside = |row: [f64; 6]| {
            let rows = [0.0; 6].into_iter().chain(row);
            found.iter().find_map(|range| range.first_outside(&[2, 6], rows.clone())).map(|outside| outside.place)
        };
        assert_eq!(outside(row), None);
        assert_eq!(outside([0.0, 0.0, 7.0, 0.0, 0.0, 0.0]), Some(vec![1, 2]));
        assert_eq!(outside([0.0, 0.0, 0.0, 0.0, 12.0, 0.0]), Some(vec![1, 4]));
    }

    #[test]
    fn a_split_has_a_range_for_each_part() {
        let nodes = vec![
            with_attribute(node("Split", &["ids", "sizes"], &["a", "b"]), AttributeProto::int("axis", -1)),
            node("Gather", &["seven", "a"], &["y"]).into(),
            node("Gather", &["twelve", "b"], &["z"]).into(),
        ];
        assert_eq!(found(nodes, vec![TensorProto::int64s("sizes", &[2, 4])]), [part(6, 1, 0, 2), part(11, 1, 2, 6)]);
    }

    #[test]
    fn a_loss_of_the_standard_says_what_its_labels_are() {
        let loss = node("SoftmaxCrossEntropyLoss", &["scores", "ids"], &["loss"]);
        let ignoring = with_attribute(loss.clone(), AttributeProto::int("ignore_index", -1));
        assert_eq!(found(vec![loss.into()], vec![]), [Range::up_to(4)]);
        assert_eq!(found(vec![ignoring], vec![]), [Range { ignored: Some(-1), ..Range::up_to(4) }]);
    }

    #[test]
    fn what_is_computed_or_chosen_has_none() {
        let whole = |numbers: &[i64]| TensorProto::int64s("numbers", numbers);
        let sum = vec![node("Add", &["ids", "numbers"], &["a"]).into(), node("Gather", &["words", "a"], &["y"]).into()];
        assert_eq!(found(sum, vec![whole(&[1])]), []);
        let places =
            vec![node("Gather", &["ids", "numbers"], &["a"]).into(), node("Gather", &["words", "a"], &["y"]).into()];
        assert_eq!(found(places, vec![whole(&[2, 0])]), []);
    }

    #[test]
    fn probabilities_may_be_off_by_rounding() {
        let outside = |value: f64| Range::up_to(1).first_outside(&[1], [value].into_iter()).is_some();
        assert!(!outside(1.0 + 1e-6) && !outside(-1e-6) && outside(1.5) && outside(-1.0) && outside(f64::NAN));
    }
}
