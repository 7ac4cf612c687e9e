//! Which nodes of a graph can be in a group, and the groups.
//!
//! Values are numbers here: each name is looked up once, however often it is asked who makes and who reads its value.

use super::{MOST_NODES, MOST_OPERANDS, sum, term};
use crate::graph::uses::for_each_capture;
use crate::graph::{Dim, Fact, Facts};
use crate::onnx::DataType;
use crate::onnx::proto::NodeProto;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use std::collections::BinaryHeap;
use std::ops::Range;

/// Nodes that are one call, by their numbers, in their order.
pub(super) struct Group {
    /// The last is the sink.
    pub members: Vec<usize>,
    /// Nodes that are not of the group, and are computed in it nevertheless.
    pub copies: Vec<usize>,
}

/// The nodes of a graph, and which of them may be in a group.
pub(super) struct Candidates<'g> {
    nodes: &'g [NodeProto],
    facts: &'g Facts,
    values: Vec<Known<'g>>,
    /// The values that each node reads, input by input, and that it makes.
    inputs: Lists,
    outputs: Lists,
    /// The nodes that read each value, in their order; of what is returned, one more that is none.
    readers: Lists,
    /// Whether each node is a sum or a mean.
    is_sum: Vec<bool>,
    /// Whether each node can join a group.
    joins: Vec<bool>,
}

/// What is known of a value.
struct Known<'g> {
    fact: Option<&'g Fact>,
    /// The node that makes it.
    maker: Option<usize>,
}

impl<'g> Candidates<'g> {
    pub fn of(nodes: &'g [NodeProto], facts: &'g Facts, kept: &HashSet<&'g str>) -> Self {
        let mut values = Values { numbers: HashMap::with_capacity(2 * nodes.len()), known: Vec::new(), facts };
        let (mut inputs, mut outputs) = (Lists::default(), Lists::default());
        let mut uses = Vec::with_capacity(2 * nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let read = inputs.push(node.input.iter().map(|name| values.number(name)));
            uses.extend(
                read.iter().zip(&node.input).filter(|(_, name)| !name.is_empty()).map(|(&read, _)| (read, index)),
            );
            for_each_capture(node, &mut |name| uses.push((values.number(name), index)));
            for &made in outputs.push(node.output.iter().map(|name| values.number(name))) {
                values.known[made].maker = Some(index);
            }
        }
        uses.extend(kept.iter().map(|name| (values.number(name), usize::MAX)));
        let readers = Lists::by_first(&uses, values.known.len());
        let is_sum = nodes.iter().map(|node| sum::of(node, facts).is_some()).collect();
        let mut candidates =
            Self { nodes, facts, values: values.known, inputs, outputs, readers, is_sum, joins: Vec::new() };
        for index in 0..nodes.len() {
            let joins = candidates.can_join(index);
            candidates.joins.push(joins);
        }
        candidates
    }

    /// The groups, in the order of their sinks.
    pub fn groups(&self) -> Vec<Group> {
        // What copies read has to be there.
        let mut held = vec![false; self.values.len()];
        let mut groups: Vec<Group> = Vec::new();
        // The group that a node is a member of, and whether all that read a node compute it anew.
        let mut of: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut is_unread = vec![false; self.nodes.len()];
        for sink in (0..self.nodes.len()).rev() {
            let anew = |&reader: &usize| {
                let group = of.get(reader).copied().flatten().and_then(|group: usize| groups.get(group));
                is_unread.get(reader) == Some(&true) || group.is_some_and(|group| group.copies.contains(&sink))
            };
            if let [value] = *self.outputs.of(sink)
                && !held[value]
                && !self.readers.of(value).is_empty()
                && self.readers.of(value).iter().all(anew)
            {
                is_unread[sink] = true;
                continue;
            }
            let sums = self.sums(sink);
            let Some(shape) = self.shape_at(sink, &sums).filter(|_| of[sink].is_none()) else { continue };
            // A single operator is what engines compute in one pass, and sums of a tensor as it is are what they are
            // best at.
            let few = sums.len().max(1);
            let group = self.group(sink, sums, shape, &of, &held);
            let count = group.members.len() + group.copies.len();
            if count > few || self.spreads(sink) {
                group.members.iter().for_each(|&index| of[index] = Some(groups.len()));
                let is_copied = |maker: Option<usize>| maker.is_some_and(|maker| group.copies.contains(&maker));
                let read = group.copies.iter().flat_map(|&index| self.inputs.of(index));
                read.filter(|&&value| !is_copied(self.values[value].maker)).for_each(|&value| held[value] = true);
                groups.push(group);
            }
        }
        groups.reverse();
        groups
    }

    /// What is known of the values of the group whose sink the node would be, where that is enough. `sums` are those
    /// that end with it.
    fn shape_at(&self, index: usize, sums: &[usize]) -> Option<&'g Fact> {
        let value = match sums.first() {
            Some(&first) => *self.inputs.of(first).first()?,
            None if term::is_broadcast(&self.nodes[index]) => return None,
            None => *self.outputs.of(index).first().filter(|_| self.joins[index])?,
        };
        let fact = self.values[value].fact.filter(|fact| fact.element == DataType::Float)?;
        // Numbers are computed in no time, and told best as they are.
        (fact.same_shape(fact) && !fact.is_single()).then_some(fact)
    }

    /// The sums, or means, that are one with that at `index`, the sink, from the first on; none where it is no sum.
    fn sums(&self, index: usize) -> Vec<usize> {
        let mut sums: Vec<usize> = self.is_sum[index].then_some(index).into_iter().collect();
        while let Some(&next) = sums.last() {
            let before = self.inputs.of(next).first().and_then(|&value| {
                let maker = self.values[value].maker?;
                let alone = self.readers.of(value) == [next];
                let goes_on = alone && self.is_sum[maker];
                (goes_on && sum::can_go_on(&self.nodes[maker], &self.nodes[next], self.facts)).then_some(maker)
            });
            let Some(before) = before else { break };
            sums.push(before);
        }
        sums.reverse();
        sums
    }

    /// The values whose elements a node computes with.
    fn operands(&self, index: usize) -> &[usize] {
        &self.inputs.of(index)[..term::operands(&self.nodes[index]).len()]
    }

    /// All nodes that can join `sink`, the last of `sums` where it is a sum. Those that read a value come after it, so
    /// they are known when it is looked at.
    fn group(&self, sink: usize, sums: Vec<usize>, shape: &Fact, of: &[Option<usize>], held: &[bool]) -> Group {
        let mut group = Group { members: if sums.is_empty() { vec![sink] } else { sums }, copies: Vec::new() };
        let makers = |index: usize| self.operands(index).iter().filter_map(|&value| self.values[value].maker);
        let first = group.members[0];
        let mut operands: Vec<usize> = Vec::new();
        let read = |operands: &mut Vec<usize>, index: usize| {
            for value in self.operands(index) {
                if !operands.contains(value) {
                    operands.push(*value);
                }
            }
        };
        read(&mut operands, first);
        let mut heap: BinaryHeap<usize> = makers(first).collect();
        let mut last = None;
        while let Some(index) = heap.pop() {
            if last.replace(index) == Some(index) || of[index].is_some() || !self.joins[index] {
                continue;
            }
            let value = self.outputs.of(index)[0];
            let readers = self.readers.of(value);
            let has_shape = self.values[value].fact.is_some_and(|fact| fact.same_shape(shape));
            let is_member = !held[value] && readers.iter().all(|reader| group.members.contains(reader));
            if !has_shape || !is_member && !self.is_worth_copying(index, readers) {
                continue;
            }
            let more = self.inputs.of(index).iter().filter(|value| !operands.contains(value)).count();
            let count = group.members.len() + group.copies.len();
            if operands.len() + more > MOST_OPERANDS + 1 || count == MOST_NODES {
                continue;
            }
            operands.retain(|operand| *operand != value);
            read(&mut operands, index);
            if is_member { &mut group.members } else { &mut group.copies }.push(index);
            heap.extend(makers(index));
        }
        group.members.sort_unstable();
        group
    }

    /// Whether a node takes no longer to compute than to read, and all of its `readers` can compute it anew.
    fn is_worth_copying(&self, index: usize, readers: &[usize]) -> bool {
        let node = &self.nodes[index];
        let made = self.values[self.outputs.of(index)[0]].fact;
        let is_large =
            |value: &usize| made.zip(self.values[*value].fact).is_some_and(|(made, fact)| made.same_shape(fact));
        let is_cheap = ["Add", "Sub", "Mul", "Div", "Erf"].iter().any(|operator| node.is("", operator));
        is_cheap
            && self.inputs.of(index).iter().filter(|value| is_large(value)).count() == 1
            && readers.iter().all(|&reader| {
                let Some(is_sum) = self.is_sum.get(reader) else { return false };
                *is_sum || self.joins[reader] && self.outputs.of(reader).first().is_some_and(is_large)
            })
    }

    /// Whether a node spreads an operand along the last axis, element by element: engines take a step for each.
    fn spreads(&self, index: usize) -> bool {
        let fact = |value: usize| self.values[value].fact;
        let dim = |value: usize| fact(value).and_then(|fact| fact.dim(-1)).and_then(Dim::known);
        let is_number = |value: usize| fact(value).is_some_and(Fact::is_single);
        let along = self.outputs.of(index).first().and_then(|&output| dim(output));
        along.is_some_and(|along| along > 1)
            && !self.is_sum[index]
            && self.inputs.of(index).iter().any(|&value| dim(value) == Some(1) && !is_number(value))
    }

    /// Whether the node computes element by element, of float32 tensors and of what is true or false of them. What is
    /// true or false never leaves a group, so it must be made for this node alone. Of earlier nodes it is known whether
    /// they can.
    fn can_join(&self, index: usize) -> bool {
        let [output] = *self.outputs.of(index) else { return false };
        let Some(made) = self.values[output].fact else { return false };
        self.inputs.of(index).len() <= MOST_OPERANDS
            && term::is_elementwise(&self.nodes[index], self.facts)
            && self.operands(index).iter().zip(&self.nodes[index].input).filter(|(_, name)| !name.is_empty()).all(
                |(&value, _)| {
                    let Known { fact: Some(known), maker } = self.values[value] else { return false };
                    match known.element {
                        DataType::Float => known.shape.is_some(),
                        DataType::Bool => {
                            let alone = self.readers.of(value) == [index];
                            alone && known.same_shape(made) && maker.is_some_and(|maker| self.joins[maker])
                        }
                        _ => false,
                    }
                },
            )
    }
}

/// Numbers for values, in the order in which they are met.
struct Values<'g> {
    numbers: HashMap<&'g str, usize>,
    known: Vec<Known<'g>>,
    facts: &'g Facts,
}

impl<'g> Values<'g> {
    fn number(&mut self, name: &'g str) -> usize {
        let Self { numbers, known, facts } = self;
        *numbers.entry(name).or_insert_with(|| {
            known.push(Known { fact: facts.get(name), maker: None });
            known.len() - 1
        })
    }
}

/// Lists of numbers, one after the other in one place.
#[derive(Default)]
struct Lists {
    all: Vec<usize>,
    ends: Vec<usize>,
}

impl Lists {
    fn push(&mut self, list: impl Iterator<Item = usize>) -> &[usize] {
        self.all.extend(list);
        self.ends.push(self.all.len());
        self.of(self.ends.len() - 1)
    }

    /// For each number below `count` the second parts of the pairs that begin with it, in their order.
    fn by_first(pairs: &[(usize, usize)], count: usize) -> Self {
        let mut ends = vec![0; count];
        pairs.iter().for_each(|(first, _)| ends[*first] += 1);
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        let mut all = vec![0; pairs.len()];
        for &(first, second) in pairs {
            all[ends[first]] = second;
            ends[first] += 1;
        }
        Self { all, ends }
    }

    fn of(&self, index: usize) -> &[usize] {
        let range: Range<usize> = index.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[index];
        &self.all[range]
    }
}
