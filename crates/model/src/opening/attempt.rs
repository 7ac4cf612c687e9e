//! One attempt to let a graph follow.

use super::demand::{self, Demand};
use super::dims::Axis;
use super::places::{Holds, Places};
use super::product::Product;
use crate::graph::{Dim, Names, Value, for_each_use};
use crate::onnx::Model;
use crate::onnx::proto::{NodeProto, TensorProto};
use crate::shapes::Analysis;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use gnp_base::Result;
use std::collections::BTreeMap;

/// What is known before an attempt.
pub(super) struct Opening<'m> {
    /// The values of the model as it is.
    pub before: Analysis<'m>,
    /// The model with [`PROBE`] in place of the size.
    pub model: &'m Model,
    pub axes: &'m [Axis],
    /// The size as it is.
    pub size: i64,
    /// The value that matters, where not all outputs do.
    pub end: Option<&'m str>,
    /// The nodes, by the values that they make.
    producers: HashMap<&'m str, usize>,
    /// The nodes on the way to what matters.
    needed: Vec<bool>,
}

impl<'m> Opening<'m> {
    pub fn new(fixed: &'m Model, model: &'m Model, axes: &'m [Axis], size: i64, end: Option<&'m str>) -> Result<Self> {
        let mut before = Analysis::begin(fixed)?;
        fixed.graph.node.iter().try_for_each(|node| before.node(node))?;
        let mut producers = HashMap::with_capacity(model.graph.node.len());
        for (i, node) in model.graph.node.iter().enumerate() {
            producers.extend(node.output.iter().filter(|output| !output.is_empty()).map(|output| (output.as_str(), i)));
        }
        let needed = end.map_or_else(|| vec![true; model.graph.node.len()], |end| ancestors(&model.graph.node, end));
        Ok(Self { before, model, axes, size, end, producers, needed })
    }

    /// The sizes of a value in the model as it is.
    pub fn shape(&self, value: &str) -> Option<&[Dim]> {
        self.before.facts().get(value)?.shape.as_deref()
    }

    /// The node that makes a value.
    pub fn producer(&self, value: &str) -> Option<(usize, &'m NodeProto)> {
        let index = *self.producers.get(value)?;
        Some((index, &self.model.graph.node[index]))
    }
}

/// Whether each of `nodes` is one that a value depends on.
fn ancestors(nodes: &[NodeProto], value: &str) -> Vec<bool> {
    let mut needed: HashSet<&str> = [value].into_iter().collect();
    let mut inside = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate().rev() {
        if node.output.iter().any(|output| needed.contains(output.as_str())) {
            inside[i] = true;
            for_each_use(node, &mut |name| _ = needed.insert(name));
        }
    }
    inside
}

/// A shape for people.
pub(super) fn listed(dims: &[Dim]) -> String {
    format!("[{}]", dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
}

/// A node that does not fit.
pub(super) struct Misfit {
    pub label: String,
    pub operator: String,
    pub why: String,
    /// What would let it fit.
    pub demand: Option<Demand>,
}

impl Misfit {
    pub fn of(node: &NodeProto, why: impl Into<String>) -> Self {
        Self { label: node.label().to_owned(), operator: node.operator(), why: why.into(), demand: None }
    }
}

/// The state of an attempt.
pub(super) struct Attempt<'m> {
    pub opening: &'m Opening<'m>,
    pub after: Analysis<'m>,
    pub places: Places,
    pub names: Names,
    /// Which of several ways was taken, one for each time that there were several; the first, where there are no more.
    choices: Vec<usize>,
    /// How many ways there were.
    ways: Vec<usize>,
    demands: Vec<Demand>,
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<TensorProto>,
    /// The sizes that values which nodes are put in for would have in the model as it is.
    pub inserted: HashMap<String, Vec<Dim>>,
    pub followed: BTreeMap<String, usize>,
    /// Values that depend on the inputs whose axes are opened.
    touched: HashSet<Value>,
    /// Values that depend on what holds the axis and do not hold it: the node that took it away.
    lost: HashMap<Value, usize>,
}

impl<'m> Attempt<'m> {
    pub fn begin(opening: &'m Opening<'m>, choices: &[usize], demands: &[Demand]) -> Result<Self> {
        Ok(Self {
            opening,
            after: Analysis::begin(opening.model)?,
            places: Places::default(),
            names: Names::of(&opening.model.graph),
            choices: choices.to_vec(),
            ways: Vec::new(),
            demands: demands.to_vec(),
            nodes: Vec::with_capacity(opening.model.graph.node.len()),
            constants: Vec::new(),
            inserted: HashMap::default(),
            followed: BTreeMap::new(),
            touched: opening.axes.iter().map(|axis| opening.model.graph.input[axis.input].name().into()).collect(),
            lost: HashMap::default(),
        })
    }

    /// Goes through the nodes.
    pub fn run(&mut self) -> Result<(), Misfit> {
        let model = self.opening.model;
        for (i, original) in model.graph.node.iter().enumerate() {
            if !self.opening.needed[i] {
                self.nodes.push(original.clone());
                continue;
            }
            let mut node = original.clone();
            let demands: Vec<Demand> = self.demands.iter().filter(|demand| demand.node == i).cloned().collect();
            let followed = demands.iter().try_for_each(|demand| demand::meet(self, &mut node, demand));
            followed.and_then(|()| self.follow(&mut node)).and_then(|()| self.take(node.clone())).map_err(
                |mut misfit| {
                    misfit.demand = misfit.demand.or_else(|| demand::of(self, original));
                    misfit
                },
            )?;
            if node != *original {
                *self.followed.entry(node.operator()).or_default() += 1;
            }
            self.lose(i, original);
        }
        self.reaches_the_end()
    }

    /// Takes a node in, if it fits.
    fn take(&mut self, node: NodeProto) -> Result<(), Misfit> {
        self.analyse(&node)?;
        self.learn_places(&node);
        self.fits(&node)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Goes over a node: what it makes is known from now on.
    pub fn analyse(&mut self, node: &NodeProto) -> Result<(), Misfit> {
        self.after.node(node).map_err(|error| Misfit::of(node, error.to_string()))?;
        let mut touches = false;
        for_each_use(node, &mut |name| touches |= self.touched.contains(name));
        if touches {
            self.touched
                .extend(node.output.iter().filter(|output| !output.is_empty()).map(|output| output.as_str().into()));
        }
        Ok(())
    }

    /// Whether as much is known of what a node makes as before, and the axis is in no two places of which one is mixed
    /// with others.
    fn fits(&self, node: &NodeProto) -> Result<(), Misfit> {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            let Some(before) = self.opening.shape(output) else { continue };
            let after = self.after.facts().get(output).and_then(|fact| fact.shape.as_ref());
            let fits = |after: &Vec<Dim>| {
                let is_known = |(before, after): (&Dim, &Dim)| before.known().is_none() || after.known().is_some();
                before.len() == after.len() && before.iter().zip(after).all(is_known)
            };
            if !after.is_some_and(fits) || !self.keeps_elements(node) {
                return Err(Misfit::of(node, self.operands(node)));
            }
            if let Holds::At(places) = self.holds(output)
                && places.len() > 1
                && places.iter().any(|place| !place.is_alone())
            {
                return Err(Misfit::of(node, "would have it twice, mixed with other axes"));
            }
        }
        Ok(())
    }

    /// Whether a Reshape makes as many elements as it is given, if it surely did before.
    fn keeps_elements(&self, node: &NodeProto) -> bool {
        let after = |value: &str| Product::of_all(self.after.facts().get(value)?.shape.as_ref()?);
        let before = |value: &str| Product::of_all(self.shape(value)?);
        let (Some(from), Some(to)) = (node.input(0), node.output.first()) else { return true };
        !node.is("", "Reshape") || before(from) != before(to) || after(from) == after(to)
    }

    /// What a node that does not fit is given.
    fn operands(&self, node: &NodeProto) -> String {
        if let ("Reshape", Some(data), Some(made)) = (node.op_type(), node.input(0), node.output.first()) {
            let (from, to) = (self.shape_text(data), self.opening.shape(made).unwrap_or_default());
            return format!("cannot reshape {} to {}", from.unwrap_or_default(), listed(to));
        }
        let operands: Vec<_> = node.input.iter().filter_map(|input| self.shape_text(input)).collect();
        format!("cannot take {}", operands.join(" and "))
    }

    /// The shape of a value, with `any` for the axis.
    fn shape_text(&self, value: &str) -> Option<String> {
        let dims = self.after.facts().get(value)?.shape.as_ref()?;
        let mut texts: Vec<_> = dims.iter().map(Dim::to_string).collect();
        if let Holds::At(places) = self.holds(value) {
            for place in places {
                let before = &self.shape(value)?[place.axis];
                texts[place.axis] = if place.is_alone() { "any".to_owned() } else { format!("{before}·any") };
            }
        }
        Some(format!("[{}]", texts.join(", ")))
    }

    /// The sizes of a value in the model as it is.
    pub fn shape(&self, value: &str) -> Option<&[Dim]> {
        self.inserted.get(value).map(Vec::as_slice).or_else(|| self.opening.shape(value))
    }

    /// Where a value holds the axis.
    pub fn holds(&self, value: &str) -> Holds {
        if !self.touched.contains(value) {
            return Holds::Nothing;
        }
        let after = self.after.facts().get(value).and_then(|fact| fact.shape.as_ref());
        let (Some(before), Some(after)) = (self.shape(value), after) else { return Holds::Somehow };
        self.places.of(value, before, after, self.opening.size)
    }

    /// How the axes of what a node makes are divided: by a Reshape, as the elements lie; else as those of its inputs
    /// are.
    fn learn_places(&mut self, node: &NodeProto) {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            let Holds::At(places) = self.holds(output) else { continue };
            for place in places.into_iter().filter(|place| place.outer.is_none()) {
                let outer = if node.is("", "Reshape") || node.is("", "Flatten") {
                    self.outer_of_reshaped(node, output, place.axis)
                } else {
                    let inputs = node.input.iter().filter_map(|input| match self.holds(input) {
                        Holds::At(places) => places.into_iter().find(|p| p.times == place.times)?.outer,
                        _ => None,
                    });
                    let mut outers: Vec<Product> = inputs.collect();
                    outers.dedup();
                    if outers.len() == 1 { outers.pop() } else { None }
                };
                if let Some(outer) = outer {
                    self.places.learn(output, place.axis, outer);
                }
            }
        }
    }

    fn outer_of_reshaped(&self, node: &NodeProto, output: &str, axis: usize) -> Option<Product> {
        let Holds::At(places) = self.holds(node.input(0)?) else { return None };
        let [place] = places.as_slice() else { return None };
        let data = self.shape(node.input(0)?)?;
        let elements_before = Product::of_all(&data[..place.axis])?.times(place.outer.as_ref()?)?;
        elements_before.over(&Product::of_all(self.opening.shape(output)?.get(..axis)?)?)
    }

    /// Takes the likeliest of `count` ways that was not taken yet.
    pub fn choose(&mut self, count: usize) -> usize {
        if count < 2 {
            return 0;
        }
        self.ways.push(count);
        self.choices.get(self.ways.len() - 1).copied().unwrap_or(0)
    }

    /// Sets `choices` to those of another attempt, which differs in the last of them that can be another; false where
    /// there are none.
    pub fn next_choices(&self, choices: &mut Vec<usize>) -> bool {
        let taken = |i: usize| self.choices.get(i).copied().unwrap_or(0);
        let Some(last) = (0..self.ways.len()).rev().find(|&i| taken(i) + 1 < self.ways[i]) else { return false };
        *choices = (0..last).map(taken).chain([taken(last) + 1]).collect();
        true
    }

    fn lose(&mut self, index: usize, node: &NodeProto) {
        let taken = if node.input.iter().any(|input| matches!(self.holds(input), Holds::At(_))) {
            Some(index)
        } else {
            node.input.iter().find_map(|input| self.lost.get(input.as_str()).copied())
        };
        let Some(taken) = taken else { return };
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if self.holds(output) == Holds::Nothing {
                self.lost.insert(output.as_str().into(), taken);
            }
        }
    }

    /// Whether the axis arrives where it matters: at a scalar, or at one output at least.
    fn reaches_the_end(&self) -> Result<(), Misfit> {
        let outputs = &self.opening.model.graph.output;
        let ends: Vec<&str> = match self.opening.end {
            Some(end) => vec![end],
            None => outputs.iter().map(|output| output.name()).collect(),
        };
        let is_lost =
            |end: &&str| self.lost.contains_key(*end) && self.opening.shape(end).is_some_and(|s| !s.is_empty());
        let Some(end) = ends.first().filter(|_| ends.iter().all(is_lost)) else { return Ok(()) };
        let node = &self.opening.model.graph.node[self.lost[*end]];
        Err(Misfit::of(node, format!("takes it away, and `{end}` does not have it")))
    }
}
