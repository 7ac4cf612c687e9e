//! What each operator needs to follow an axis that is opened.

use super::attempt::{Attempt, Misfit, listed};
use super::edit::Entry;
use super::places::{Holds, Place};
use super::product::Product;
use crate::graph::{Dim, for_each_capture};
use crate::onnx::proto::{AttributeProto, NodeProto, standard_domain};

type Fits = Result<(), Misfit>;

/// Operators that may have to change.
const MAY_FOLLOW: [&str; 12] =
    ["Concat", "Expand", "GRU", "Gather", "If", "LSTM", "Loop", "RNN", "Reshape", "Resize", "Slice", "Squeeze"];

impl Attempt<'_> {
    /// Changes a node so that it follows, and puts others before it where that takes some; what changes with its inputs
    /// stays as it is.
    pub(super) fn follow(&mut self, node: &mut NodeProto) -> Fits {
        self.check_bodies(node)?;
        if !standard_domain(node.domain()).is_empty() {
            return Ok(());
        }
        match node.op_type() {
            "Concat" => self.concat(node),
            "LSTM" | "GRU" | "RNN" => self.recurrent(node),
            "MatMul" | "Gemm" => self.product(node),
            operator => {
                let Some(data) = node.input(0).map(str::to_owned) else { return Ok(()) };
                let places = match self.holds(&data) {
                    Holds::At(places) => places,
                    Holds::Somehow
                        if operator == "Reshape" && node.input(1).is_some_and(|s| self.fixed_entries(s).is_some()) =>
                    {
                        return Err(Misfit::of(node, "has an input of which it is not known where it has this axis"));
                    }
                    _ => return Ok(()),
                };
                match operator {
                    "Reshape" => self.reshape(node, &data, &places),
                    "Expand" => self.expand_target(node, &data, &places),
                    "Resize" => self.resize(node, &data, &places),
                    "Slice" => self.slice(node, &data, &places),
                    "Gather" => self.gather(node, &data, &places),
                    _ => self.keeps(node, &data, &places),
                }
            }
        }
    }

    /// What is in the body of an If or a Loop is not changed.
    fn check_bodies(&self, node: &NodeProto) -> Fits {
        let mut reads = false;
        for_each_capture(node, &mut |name| reads |= self.holds(name) != Holds::Nothing);
        reads |= node.input.iter().any(|input| self.holds(input) != Holds::Nothing);
        let found = node.subgraphs().flat_map(|body| &body.node).find(|inner| MAY_FOLLOW.contains(&inner.op_type()));
        match found.filter(|_| reads) {
            Some(inner) => {
                Err(Misfit::of(node, format!("has a {} in its body, which is not followed", inner.operator())))
            }
            None => Ok(()),
        }
    }

    /// The rank of a value.
    fn rank(&self, value: &str) -> usize {
        self.shape(value).map_or(0, <[Dim]>::len)
    }

    /// Where the shape holds the axis, and is a constant, the element that has it becomes what is left, or what the
    /// data have.
    fn reshape(&mut self, node: &mut NodeProto, data: &str, places: &[Place]) -> Fits {
        let (Some(shape), Some(made)) = (node.input(1).map(str::to_owned), node.output.first()) else { return Ok(()) };
        let Some(entries) = self.fixed_entries(&shape) else { return Ok(()) };
        let (Some(from), Some(to)) = (self.shape(data), self.shape(made)) else { return Ok(()) };
        let (from, to) = (from.to_vec(), to.to_vec());
        let [place] = places else { return Ok(()) };
        let text = || format!("has no place for it in its shape {}", listed(&to));
        let mut ways =
            place.outer.as_ref().map_or_else(Vec::new, |outer| self.ways(place, outer, &from, &to, &entries));
        if ways.is_empty() || entries.len() != to.len() {
            return Err(Misfit::of(node, text()));
        }
        ways.sort_by_key(|way| way.likelihood(place, &entries));
        let chosen = self.choose(ways.len());
        let way = &ways[chosen];
        let axis = way.axis;
        let takes_rest = |i: usize| entries[i] == Dim::Known(-1);
        let copies = |i: usize| i < from.len() && from[i].is(&to[i]);
        let mut new = Vec::new();
        if !takes_rest(axis) {
            let has_zero = to.contains(&Dim::Known(0));
            let can_copy = axis == place.axis && copies(axis) && !has_zero;
            // One element may be what is left.
            for other in (0..entries.len()).filter(|&i| takes_rest(i) && !can_copy) {
                new.push((other, self.entry(&to[other], other, data, place).ok_or_else(|| Misfit::of(node, text()))??));
            }
            new.push((axis, Entry::Number(if can_copy { 0 } else { -1 })));
            if new.iter().any(|(_, entry)| matches!(entry, Entry::Number(0))) {
                node.attribute.retain(|attribute| attribute.name() != "allowzero");
            }
            node.input[1] = self.with_entries(&shape, &entries, new)?;
        }
        Ok(())
    }

    /// The element of a shape for a size which does not hold the axis, at position `at`: the number, or where the size
    /// is found: in what is reshaped, or an input of the model.
    fn entry(&mut self, size: &Dim, at: usize, data: &str, place: &Place) -> Option<Result<Entry, Misfit>> {
        if let Some(number) = size.known() {
            return Some(Ok(Entry::Number(number)));
        }
        let is_same = |dim: &Dim| dim.is(size);
        let of_data = self.shape(data)?.iter().enumerate().position(|(i, dim)| i != place.axis && is_same(dim));
        let (value, axis) = match of_data {
            Some(axis) if axis == at => return Some(Ok(Entry::Number(0))),
            Some(axis) => (data.to_owned(), axis),
            None => self.opening.model.graph.input.iter().find_map(|input| {
                Some((input.name().to_owned(), self.opening.shape(input.name())?.iter().position(is_same)?))
            })?,
        };
        Some(self.size_of(&value, axis).map(Entry::Value))
    }

    /// The axes of a shape that may hold the axis, as the elements lie.
    fn ways(&self, place: &Place, outer: &Product, from: &[Dim], to: &[Dim], entries: &[Dim]) -> Vec<Way> {
        let way = |axis: usize| {
            let before = Product::of_all(&from[..place.axis])?.times(outer)?;
            let outer = before.over(&Product::of_all(&to[..axis])?)?;
            let own = Product::of(&to[axis])?.over(&Product::number(self.opening.size))?;
            let inner = own.over(&outer)?;
            // A size of the data that is copied is all of that axis.
            let is_copied = entries[axis] == Dim::Known(0) && axis != place.axis;
            let is_alone = outer.is_one() && inner.is_one();
            (!is_copied).then_some(Way { axis, is_alone, is_outermost: outer.is_one(), is_last: axis + 1 == to.len() })
        };
        (0..to.len().min(entries.len())).filter_map(way).collect()
    }

    /// The elements of a shape, where they do not follow by themselves.
    fn fixed_entries(&self, shape: &str) -> Option<Vec<Dim>> {
        let (before, after) = (self.opening.before.entries(shape)?, self.after.entries(shape)?);
        (before == after).then_some(after)
    }

    /// A target of an Expand that has the size: 1 leaves it as it is.
    fn expand_target(&mut self, node: &mut NodeProto, data: &str, places: &[Place]) -> Fits {
        let Some(shape) = node.input(1).map(str::to_owned) else { return Ok(()) };
        let Some(entries) = self.fixed_entries(&shape) else { return Ok(()) };
        let rank = self.rank(data);
        let at = |place: &Place| (place.axis + entries.len()).checked_sub(rank);
        let held: Vec<usize> = places.iter().filter_map(at).filter(|&i| entries[i] != Dim::Known(1)).collect();
        if !held.is_empty() {
            let new = held.into_iter().map(|i| (i, Entry::Number(1))).collect();
            node.input[1] = self.with_entries(&shape, &entries, new)?;
        }
        Ok(())
    }

    /// Sizes to resize to: that of the axis is what the data have.
    fn resize(&mut self, node: &mut NodeProto, data: &str, places: &[Place]) -> Fits {
        let Some(sizes) = node.input(3).map(str::to_owned) else { return Ok(()) };
        let Some(entries) = self.fixed_entries(&sizes) else { return Ok(()) };
        let rank = self.rank(data) as i64;
        let axes = node.ints("axes").map_or_else(|| (0..rank).collect(), <[i64]>::to_vec);
        let mut new = Vec::new();
        for place in places {
            let at = axes.iter().position(|axis| axis.rem_euclid(rank.max(1)) == place.axis as i64);
            let Some(at) = at.filter(|&at| at < entries.len()) else { continue };
            if self.shape(data).is_none_or(|shape| !shape[place.axis].is(&entries[at])) {
                return Err(Misfit::of(node, "resizes it"));
            }
            new.push((at, Entry::Value(self.size_of(data, place.axis)?)));
        }
        if !new.is_empty() {
            node.input[3] = self.with_entries(&sizes, &entries, new)?;
        }
        Ok(())
    }

    /// What takes all of the axis takes all of it.
    fn slice(&mut self, node: &mut NodeProto, data: &str, places: &[Place]) -> Fits {
        let rank = self.rank(data) as i64;
        let numbers = |i: usize| self.opening.before.facts().ints(node.input(i)?).map(<[i64]>::to_vec);
        let (Some(starts), Some(ends)) = (numbers(1), numbers(2)) else { return Ok(()) };
        let axes = if node.input(3).is_some() { numbers(3) } else { Some((0..starts.len() as i64).collect()) };
        let steps = if node.input(4).is_some() { numbers(4) } else { Some(vec![1; starts.len()]) };
        let (Some(axes), Some(steps)) = (axes, steps) else { return Ok(()) };
        let mut new = Vec::new();
        for (i, axis) in axes.iter().enumerate() {
            let Some(place) = places.iter().find(|place| place.axis as i64 == axis.rem_euclid(rank.max(1))) else {
                continue;
            };
            let all = self.shape(data).and_then(|shape| shape[place.axis].known());
            let end = ends.get(i).copied().unwrap_or_default();
            let is_open = end >= i64::from(i32::MAX);
            let is_whole = is_open || all.is_some_and(|all| end >= all);
            if starts.get(i) != Some(&0) || steps.get(i) != Some(&1) || !is_whole {
                return Err(Misfit::of(node, "takes a part of this axis"));
            }
            if !is_open {
                new.push((i, Entry::Number(i64::from(i32::MAX))));
            }
        }
        if !new.is_empty() {
            let entries: Vec<Dim> = ends.into_iter().map(Dim::Known).collect();
            node.input[2] = self.with_entries(&node.input[2].clone(), &entries, new)?;
        }
        Ok(())
    }

    /// Elements that are taken from all of a batch of 1, laid out in one row, are taken from the row of each sample.
    fn gather(&mut self, node: &mut NodeProto, data: &str, places: &[Place]) -> Fits {
        let Some(indices) = node.input(1).map(str::to_owned) else { return Ok(()) };
        let axis = node.int("axis", 0).rem_euclid(self.rank(data).max(1) as i64) as usize;
        let Some(place) = places.iter().find(|place| place.axis == axis) else { return Ok(()) };
        if self.holds(&indices) != Holds::Nothing {
            return Ok(());
        }
        let (elements, taken) = (self.shape(data).and_then(|shape| shape[axis].known()), self.sizes(&indices));
        match (self.rank(data), elements, taken) {
            (1, Some(elements), Some(taken))
                if self.opening.size == 1
                    && taken.first() == Some(&1)
                    && !place.is_alone()
                    && place.outer.as_ref().is_some_and(Product::is_one) =>
            {
                let (row, taken) = (self.ints(&[-1, elements]), self.ints(&taken[1..]));
                let rows = self.insert("Reshape", &[data, &row], vec![])?;
                node.input = vec![rows, self.insert("Reshape", &[&indices, &taken], vec![])?];
                node.attribute = vec![AttributeProto::int("axis", 1)];
                Ok(())
            }
            _ => Err(Misfit::of(node, "takes some elements of this axis")),
        }
    }

    /// The sizes of a value, where all are known.
    fn sizes(&self, value: &str) -> Option<Vec<i64>> {
        self.shape(value)?.iter().map(Dim::known).collect()
    }

    /// What is put beside something that holds the axis must hold it: it is repeated.
    fn concat(&mut self, node: &mut NodeProto) -> Fits {
        let holders: Vec<(String, Place)> = node
            .input
            .iter()
            .filter_map(|input| match self.holds(input) {
                Holds::At(places) => Some(places.into_iter().map(|place| (input.clone(), place)).collect::<Vec<_>>()),
                _ => None,
            })
            .flatten()
            .collect();
        for (holder, place) in holders {
            let rank = self.rank(&holder) as i64;
            if node.int("axis", 0).rem_euclid(rank.max(1)) == place.axis as i64 {
                continue;
            }
            for i in 0..node.input.len() {
                self.repeat(node, i, place.axis, &holder, &place)?;
            }
        }
        Ok(())
    }

    /// The first states and the lengths of the sequences of a recurrent layer are one for each sample.
    fn recurrent(&mut self, node: &mut NodeProto) -> Fits {
        let Some(data) = node.input(0).map(str::to_owned) else { return Ok(()) };
        let Holds::At(places) = self.holds(&data) else { return Ok(()) };
        let batch = 1 - node.int("layout", 0).clamp(0, 1) as usize;
        let Some(place) = places.into_iter().find(|place| place.axis == batch) else { return Ok(()) };
        for (i, axis) in [(4, 0), (5, batch), (6, batch)] {
            if node.input(i).is_some() {
                self.repeat(node, i, axis, &data, &place)?;
            }
        }
        Ok(())
    }

    /// Repeats input `i` of a node along `axis`, where it does not hold the axis there, as often as `holder` has it at
    /// `place`.
    fn repeat(&mut self, node: &mut NodeProto, i: usize, axis: usize, holder: &str, place: &Place) -> Fits {
        let value = node.input[i].clone();
        let Some(size) = self.shape(&value).and_then(|shape| shape.get(axis)).cloned() else { return Ok(()) };
        let holds = matches!(self.holds(&value), Holds::At(places) if places.iter().any(|held| held.axis == axis));
        if holds {
            return Ok(());
        }
        if size != Dim::Known(1) {
            return Err(Misfit::of(node, format!("has an input `{value}` of size {size} there")));
        }
        let (rank, times) = (self.rank(&value), self.size_of(holder, place.axis)?);
        node.input[i] = self.expand(&value, axis, rank, &times)?;
        Ok(())
    }

    /// The axes that are summed over are of one size.
    fn product(&mut self, node: &mut NodeProto) -> Fits {
        let (transposed_a, transposed_b) = (node.int("transA", 0) != 0, node.int("transB", 0) != 0);
        let dim = |i: usize, axis: i64| self.after.facts().get(node.input(i)?)?.dim(axis).cloned();
        let rank = |i: usize| node.input(i).map_or(0, |input| self.rank(input));
        let a = dim(0, if transposed_a { -2 } else { -1 });
        let b = dim(1, if transposed_b || rank(1) == 1 { -1 } else { -2 });
        match (a, b) {
            (Some(Dim::Known(a)), Some(Dim::Known(b))) if a != b => {
                Err(Misfit::of(node, "would sum over it, and the other operand does not have it"))
            }
            _ => Ok(()),
        }
    }

    /// Operators that have nothing to change: whether they leave the axis whole.
    fn keeps(&self, node: &NodeProto, data: &str, places: &[Place]) -> Fits {
        let rank = self.rank(data) as i64;
        let place_at = |axis: i64| places.iter().find(|place| place.axis as i64 == axis.rem_euclid(rank.max(1)));
        let misfit = |why: &str| Err(Misfit::of(node, why));
        match node.op_type() {
            "Squeeze" => {
                let axes = node.input(1).and_then(|axes| self.opening.before.facts().ints(axes));
                match axes.or(node.ints("axes")) {
                    Some(axes) if axes.iter().all(|&axis| place_at(axis).is_none()) => Ok(()),
                    None if self.opening.size != 1 => Ok(()),
                    _ => misfit("takes this axis away"),
                }
            }
            "Split" if place_at(node.int("axis", 0)).is_some() => misfit("takes this axis apart"),
            "Softmax" | "LogSoftmax" if place_at(node.int("axis", -1)).is_some_and(|place| !place.is_alone()) => {
                misfit("would go over several samples")
            }
            "Conv" | "ConvTranspose" | "BatchNormalization" | "InstanceNormalization" | "GroupNormalization"
                if place_at(1).is_some() =>
            {
                misfit("would have more channels")
            }
            "LayerNormalization"
                if (node.int("axis", -1).rem_euclid(rank.max(1))..rank).any(|axis| place_at(axis).is_some()) =>
            {
                misfit("would normalise over several samples")
            }
            _ => Ok(()),
        }
    }
}

/// An axis of a shape that may hold the axis.
struct Way {
    axis: usize,
    is_alone: bool,
    /// Whether the opened axis is the outermost of those that are in this one.
    is_outermost: bool,
    is_last: bool,
}

impl Way {
    /// What is likelier comes first: an axis of its own before one with others in it; not the last, which weights are
    /// multiplied with; where it was; where the shape says "what is left"; as the outermost.
    fn likelihood(&self, place: &Place, entries: &[Dim]) -> impl Ord + use<> {
        let is_mixed = !self.is_alone;
        let takes_rest = entries[self.axis] == Dim::Known(-1);
        (is_mixed, is_mixed && self.is_last, self.axis != place.axis, !takes_rest, !self.is_outermost, self.axis)
    }
}
