//! Where a forward pass is cut.

use foldhash::{HashMap, HashSet};
use gnp_model::graph::{Dim, Graph, for_each_use};
use gnp_model::onnx::DataType;
use std::ops::Range;

/// The most segments that are tried.
const MOST_SEGMENTS: usize = 32;
/// A size that is not known counts as this.
const UNKNOWN_SIZE: f64 = 16.0;
/// What is kept must be less than this share of what is kept without segments.
const WORTHWHILE: f64 = 0.9;

/// A segment of the forward pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its nodes are among these.
    pub forward: Range<usize>,
    /// The nodes of its gradient are among these.
    pub backward: Range<usize>,
}

/// The segments of a graph, of which all but the last are computed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub segments: Vec<Segment>,
    /// What goes across cuts.
    pub kept: HashSet<String>,
}

/// A value that a node of the forward pass makes.
struct Made<'g> {
    name: &'g str,
    bytes: f64,
    node: usize,
    last_reader: usize,
    /// The first gradient node that reads it.
    gradient: Option<usize>,
}

impl Plan {
    /// Cuts the nodes before `begin`, of which those at `repeated` can be computed again; the others are the
    /// gradient's. None where it does not pay.
    pub fn of(graph: &Graph, begin: usize, repeated: &[usize]) -> Option<Self> {
        let made = made(graph, begin, repeated);
        // By position of a cut, that before a node: what goes across it, and what the gradient reads that comes before.
        let (mut across, mut saved) = (vec![0.0; begin + 2], vec![0.0; begin + 1]);
        for value in &made {
            across[value.node + 1] += value.bytes;
            across[value.last_reader + 1] -= value.bytes;
            saved[value.node + 1] += value.gradient.map_or(0.0, |_| value.bytes);
        }
        running(&mut across);
        running(&mut saved);
        let total = saved[begin];
        let plans = (2..=MOST_SEGMENTS).map(|count| cuts(&across, &saved, count));
        let cost = |cuts: &[usize]| -> f64 {
            let bounds = [&[0], cuts, &[begin]].concat();
            let largest = bounds.windows(2).map(|pair| saved[pair[1]] - saved[pair[0]]).fold(0.0, f64::max);
            largest + cuts.iter().map(|&cut| across[cut]).sum::<f64>()
        };
        let cuts = plans.min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        if cuts.is_empty() || cost(&cuts) > WORTHWHILE * total {
            return None;
        }
        let bounds = [&[0], &cuts[..], &[begin]].concat();
        let goes_across = |value: &&Made<'_>| cuts.iter().any(|&cut| value.node < cut && cut <= value.last_reader);
        let kept = made.iter().filter(goes_across).map(|value| value.name.to_owned()).collect();
        let segment = |pair: &[usize]| {
            let forward = pair[0]..pair[1];
            let own = made.iter().filter(|value| forward.contains(&value.node));
            let start = own.filter_map(|value| value.gradient).min().unwrap_or(begin);
            Segment { forward, backward: start..graph.nodes().len() }
        };
        Some(Self { segments: bounds.windows(2).map(segment).collect(), kept })
    }
}

/// What the nodes at `repeated` make, as far as anything reads it.
fn made<'g>(graph: &'g Graph, begin: usize, repeated: &[usize]) -> Vec<Made<'g>> {
    let mut made: Vec<Made<'g>> = Vec::with_capacity(repeated.len());
    let mut places: HashMap<&str, usize> = HashMap::default();
    for &node in repeated {
        for name in graph.nodes()[node].output.iter().filter(|output| !output.is_empty()) {
            places.insert(name, made.len());
            made.push(Made { name, bytes: bytes(graph, name), node, last_reader: node, gradient: None });
        }
    }
    for (index, node) in graph.nodes().iter().enumerate() {
        for_each_use(node, &mut |name| {
            let Some(value) = places.get(name).and_then(|&place| made.get_mut(place)) else { return };
            if index < begin {
                value.last_reader = index;
            } else {
                value.gradient.get_or_insert(index);
            }
        });
    }
    made
}

fn bytes(graph: &Graph, name: &str) -> f64 {
    let Some(fact) = graph.facts().get(name) else { return UNKNOWN_SIZE };
    let size = match fact.element {
        DataType::Bool => 1.0,
        DataType::Int64 | DataType::Double => 8.0,
        _ => 4.0,
    };
    let dim = |dim: &Dim| dim.known().map_or(UNKNOWN_SIZE, |known| known as f64);
    size * fact.shape.iter().flatten().map(dim).product::<f64>()
}

fn running(numbers: &mut [f64]) {
    let mut sum = 0.0;
    numbers.iter_mut().for_each(|number| {
        sum += *number;
        *number = sum;
    });
}

/// The narrowest places near those that divide what is saved into `count` equal parts.
fn cuts(across: &[f64], saved: &[f64], count: usize) -> Vec<usize> {
    let total = saved.last().copied().unwrap_or(0.0);
    let place = |share: f64| saved.partition_point(|before| *before < share * total);
    let mut cuts: Vec<usize> = Vec::with_capacity(count);
    for number in 1..count {
        let share = |offset: f64| (number as f64 + offset) / count as f64;
        let (from, to) = (place(share(-0.4)).max(1), place(share(0.4)).min(saved.len() - 1));
        cuts.extend((from..to).min_by(|&a, &b| across[a].total_cmp(&across[b])));
    }
    cuts.dedup();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_made_where_little_goes_across() {
        // Four blocks of four nodes; between blocks one number goes across, within them three.
        let across: Vec<f64> = (0..18).map(|place| if place % 4 == 0 { 1.0 } else { 3.0 }).collect();
        let mut saved = vec![1.0; 17];
        saved[0] = 0.0;
        running(&mut saved);
        assert_eq!(cuts(&across, &saved, 2), [8]);
        assert_eq!(cuts(&across, &saved, 4), [4, 8, 12]);
    }
}
