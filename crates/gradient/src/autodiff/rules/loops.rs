//! Loops: gradients through Scan and Loop.
//!
//! The forward loop returns what each of its iterations began with, too. The backward loop goes from the last iteration
//! to the first: it computes an iteration again, and carries the cotangents of the states and, as sums over the
//! iterations, those of what the body captures.

use super::control::draws;
use super::{Cotangents, Entry, Op, Rule};
use crate::autodiff::{Gradients, pull_back};
use foldhash::HashSet;
use gnp_base::Result;
use gnp_model::graph::{Along, Builder, Dim, Fact, Graph, Iteration, Value, for_each_use};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::{GraphProto, ValueInfoProto, type_proto};

pub(super) const RULES: &[Entry] = &[("", "Scan", Rule::VjpMany(scan)), ("", "Loop", Rule::VjpMany(repeated))];

/// (sₜ, yₜ) = f(sₜ₋₁, xₜ, c), c captured  ⇒  (s̄ₜ₋₁, x̄ₜ, c̄ₜ) = (s̄ₜ, ȳₜ) · ∂f, c̄ = Σ c̄ₜ
fn scan(op: &Op, dys: &[Option<Value>], g: &Builder<'_>) -> Result<Cotangents> {
    let slices = op.int("num_scan_inputs", 0);
    let slices = usize::try_from(slices).ok().filter(|slices| (1..=op.inputs().len()).contains(slices));
    let slices = slices.ok_or_else(|| op.error("it has fewer inputs than it scans"))?;
    let forward = Forward::of(op, slices, 0, g)?;
    let begin = op.inputs().len() - slices;
    let taken = (begin..op.inputs().len()).zip(0..).map(|(input, index)| {
        let tensor = op.input(input)?;
        Ok((tensor.clone(), along(op, "input", index, g.fact(tensor).rank())?))
    });
    let taken: Vec<(Value, Along)> = taken.collect::<Result<_>>()?;
    let count = taken.first().and_then(|(tensor, along)| g.fact(tensor).dim(along.axis).cloned());
    let histories = forward.histories(&count.unwrap_or(Dim::Unknown), g);
    let first_axis = |history| (history, Along { axis: 0, reverse: false });
    let mut scanned: Vec<(Value, Along)> = histories.into_iter().map(first_axis).chain(taken.clone()).collect();
    for (output, dy) in forward.returned(dys) {
        scanned.push((dy.clone(), along(op, "output", output - begin, g.fact(dy).rank())?));
    }
    scanned.iter_mut().for_each(|(_, along)| along.reverse = !along.reverse);
    let back = &scanned[forward.kept.len()..][..slices];

    let wanted: Vec<usize> = (0..slices).filter(|i| op.wants(begin + i)).collect();
    let (base, initial) = (forward.base(&scanned, g), forward.initial(dys, g)?);
    let made = g.scan_over(&base, &initial, &scanned, |copy, pass, cotangents, given| {
        let wrt: Vec<Value> = wanted.iter().map(|i| given[forward.kept.len() + i].clone()).collect();
        let (states, found) = forward.back(copy, pass, cotangents, given, dys, &wrt)?;
        let returned = found.into_iter().zip(&wanted).map(|(dx, i)| (dx, back[*i].1)).collect();
        Ok(Iteration { states, returned })
    })?;
    let (of_states, of_slices) = made.split_at(initial.len());
    let mut cotangents = forward.cotangents(of_states);
    wanted.iter().zip(of_slices).for_each(|(i, dx)| cotangents[begin + i] = Some(dx.clone()));
    Ok(Cotangents::of(cotangents))
}

/// The same, of the iterations that there were: as many as have begun with something.
fn repeated(op: &Op, dys: &[Option<Value>], g: &Builder<'_>) -> Result<Cotangents> {
    let forward = Forward::of(op, 0, 2, g)?;
    let mut scanned = forward.histories(&Dim::Unknown, g);
    scanned.extend(forward.returned(dys).map(|(_, dy)| dy.clone()));
    let along = scanned.iter().map(|value| (value.clone(), Along { axis: 0, reverse: true })).collect::<Vec<_>>();
    let (base, initial) = (forward.base(&along, g), forward.initial(dys, g)?);
    let made = g.loop_back_over(&base, &initial, &scanned, |copy, pass, cotangents, given| {
        forward.back(copy, pass, cotangents, given, dys, &[]).map(|(states, _)| states)
    })?;
    Ok(Cotangents::of(forward.cotangents(&made)))
}

/// A loop that is differentiated.
struct Forward<'o> {
    op: &'o Op,
    body: &'o GraphProto,
    /// What is known of the inputs of the body in an iteration.
    facts: Vec<Fact>,
    /// How many inputs of the body are slices, behind the others.
    slices: usize,
    /// How many inputs are no states, before those: of Loop, its number of iterations and its condition.
    lead: usize,
    /// The states that have a derivative, by the inputs of the body.
    states: Vec<usize>,
    /// The inputs of the body whose values are kept: all that it reads and that are no slices.
    kept: Vec<usize>,
}

impl<'o> Forward<'o> {
    fn of(op: &'o Op, slices: usize, lead: usize, g: &Builder<'_>) -> Result<Self> {
        let body = op.body("body").ok_or_else(|| op.error("it has no body"))?;
        if draws(body) {
            return Err(op
                .error("its body draws random numbers, and its gradient would draw others")
                .help("draw them before the loop"));
        }
        let is_sequence = |info: &&ValueInfoProto| {
            let value = info.r#type.as_ref().and_then(|r#type| r#type.value.as_ref());
            value.is_some_and(|value| !matches!(value, type_proto::Value::TensorType(_)))
        };
        if let Some(info) = body.input.iter().chain(&body.output).find(is_sequence) {
            return Err(op
                .error(format!("`{}` in its body is a sequence, and gradients go through tensors alone", info.name()))
                .help("stack the tensors in place of the sequence when you export the model"));
        }
        let states = op.inputs().len().saturating_sub(slices);
        let outputs = states - lead.min(states) + lead.min(1);
        if body.input.len() != op.inputs().len() || body.output.len() < outputs {
            return Err(op.error("its inputs and outputs are not those of its body"));
        }
        let numbers = [DataType::Int64, DataType::Bool].map(|element| Fact::with_sizes(element, &[]));
        let others = body.input.iter().enumerate().skip(lead);
        let others = others.map(|(i, info)| fact_in_body(op, i, info, i < states, g));
        let facts = numbers.into_iter().take(lead).map(Ok).chain(others).collect::<Result<Vec<Fact>>>()?;
        let read = read_by(body);
        let kept = (0..states).filter(|&i| i < lead.min(1) || read.contains(body.input[i].name()));
        let kept = kept.collect();
        let states = (lead..states).filter(|&i| facts[i].element.is_floating()).collect();
        Ok(Self { op, body, facts, slices, lead, states, kept })
    }

    /// What all iterations began with, one behind the other; the loop returns it from now on.
    fn histories(&self, count: &Dim, g: &Builder<'_>) -> Vec<Value> {
        let kept = self.kept.iter().map(|&i| (self.body.input[i].name(), self.facts[i].clone()));
        g.return_each(self.op.index(), &kept.collect::<Vec<_>>(), count)
    }

    /// The cotangents of what the iterations return, and which outputs of the node that is.
    fn returned<'d>(&self, dys: &'d [Option<Value>]) -> impl Iterator<Item = (usize, &'d Value)> + use<'d> {
        let states = self.op.inputs().len() - self.slices - self.lead;
        dys.iter().enumerate().skip(states).filter_map(|(i, dy)| Some((i, dy.as_ref()?)))
    }

    /// The body of the backward loop to begin with: the forward one, whose inputs are the cotangents of the states and
    /// of what is captured, what the iteration began with, its slices, and the cotangents of what it returned.
    fn base(&self, scanned: &[(Value, Along)], g: &Builder<'_>) -> GraphProto {
        let cotangent = |fact: &Fact| fact.info(&g.fresh_name("cotangent"));
        let states = self.states.iter().map(|&i| cotangent(&self.facts[i]));
        let captured = self.op.captured().iter().map(|value| cotangent(&g.fact(value)));
        let slices = self.body.input.len() - self.slices..self.body.input.len();
        let forward = self.kept.iter().copied().chain(slices).map(|i| self.facts[i].info(self.body.input[i].name()));
        let returned = scanned[self.kept.len() + self.slices..].iter();
        let returned = returned.map(|(dy, along)| cotangent(&without(&g.fact(dy), along.axis)));
        let input = states.chain(captured).chain(forward).chain(returned).collect();
        GraphProto { input, value_info: vec![], ..self.body.clone() }
    }

    /// The cotangents before the backward loop.
    fn initial(&self, dys: &[Option<Value>], g: &Builder<'_>) -> Result<Vec<Value>> {
        let of_state = |&i: &usize| match dys.get(i - self.lead).and_then(Option::as_ref) {
            Some(dy) => Ok(dy.clone()),
            None => Ok(g.zeros_like(self.op.input(i)?)),
        };
        let of_states: Result<Vec<Value>> = self.states.iter().map(of_state).collect();
        Ok(of_states?.into_iter().chain(self.op.captured().iter().map(|value| g.zeros_like(value))).collect())
    }

    /// Appends an iteration of the backward loop to `copy`, a copy of its body: `cotangents` are those of the states
    /// and of what is captured, `given` are the other inputs. Returns the cotangents after it, and those of `wrt`.
    fn back(
        &self,
        copy: &mut Graph,
        pass: &'static str,
        cotangents: &[Value],
        given: &[Value],
        dys: &[Option<Value>],
        slices: &[Value],
    ) -> Result<(Vec<Value>, Vec<Value>)> {
        let outputs: Vec<Value> = copy.proto().output.iter().map(|output| output.name().into()).collect();
        let output = |of_node: usize| outputs[of_node + self.lead.min(1)].clone();
        let (of_states, of_captured) = cotangents.split_at(self.states.len());
        let seeds = self.states.iter().map(|i| output(i - self.lead)).zip(of_states.iter().cloned());
        let returned = self.returned(dys).map(|(i, _)| output(i));
        let seeds = seeds.chain(returned.zip(given[self.kept.len() + self.slices..].iter().cloned()));
        let seeds: Vec<(Value, Value)> = seeds.collect();
        // What no node reads has the name that it has in the forward loop: it can be returned and nothing else.
        let before = |i: &usize| match self.kept.iter().position(|kept| kept == i) {
            Some(at) => given[at].clone(),
            None => self.body.input[*i].name().into(),
        };
        let before: Vec<Value> = self.states.iter().map(before).collect();
        let captured = self.op.captured();
        let wrt: Vec<Value> = before.iter().chain(captured).chain(slices).cloned().collect();
        let found = pull_back(copy, &seeds, &wrt, Gradients::Standard, pass)?;
        let b = Builder::new(copy, pass);
        let mut found = found.into_iter().zip(&wrt);
        let or_zeros = |(found, like): (Option<Value>, &Value)| found.unwrap_or_else(|| b.zeros_like(like));
        let mut next: Vec<Value> = of_states
            .iter()
            .zip(found.by_ref())
            .map(|(dy, found)| found.0.unwrap_or_else(|| b.zeros_like(dy)))
            .collect();
        let sums = of_captured.iter().zip(found.by_ref());
        next.extend(sums.map(|(sum, (found, _))| found.map_or_else(|| sum.clone(), |more| b.add(sum, more))));
        Ok((next, found.map(or_zeros).collect()))
    }

    /// Those of the inputs, and then of what is captured, of the states after the backward loop.
    fn cotangents(&self, states: &[Value]) -> Vec<Option<Value>> {
        let mut cotangents = vec![None; self.op.inputs().len()];
        let (of_states, of_captured) = states.split_at(self.states.len());
        self.states.iter().zip(of_states).for_each(|(&i, dx)| cotangents[i] = Some(dx.clone()));
        cotangents.extend(of_captured.iter().cloned().map(Some));
        cotangents
    }
}

/// What is known of an input of the body.
fn fact_in_body(op: &Op, index: usize, info: &ValueInfoProto, is_state: bool, g: &Builder<'_>) -> Result<Fact> {
    if let Some(fact) = g.graph().facts().get(info.name()).cloned().or_else(|| Fact::declared(info)) {
        return Ok(fact);
    }
    let outer = g.fact(op.input(index)?);
    Ok(Fact { element: outer.element, shape: outer.shape.clone().filter(|_| is_state) })
}

/// The names that the nodes of a body read.
fn read_by(body: &GraphProto) -> HashSet<&str> {
    let mut read = HashSet::default();
    body.node.iter().for_each(|node| for_each_use(node, &mut |name| _ = read.insert(name)));
    read
}

/// How a Scan goes along an input or output.
fn along(op: &Op, kind: &str, index: usize, rank: Option<usize>) -> Result<Along> {
    let of =
        |what: &str| op.ints(&format!("scan_{kind}_{what}")).and_then(|list| list.get(index)).copied().unwrap_or(0);
    let axis = match (of("axes"), rank) {
        (axis @ 0.., _) => axis,
        (axis, Some(rank)) => axis + rank as i64,
        (axis, None) => {
            return Err(op.error(format!("it scans along axis {axis} of a tensor whose number of axes is not known")));
        }
    };
    Ok(Along { axis, reverse: of("directions") != 0 })
}

/// A tensor without one of its axes.
fn without(fact: &Fact, axis: i64) -> Fact {
    let mut fact = fact.clone();
    if let Some(shape) = fact.shape.as_mut().filter(|shape| (axis as usize) < shape.len()) {
        shape.remove(axis as usize);
    }
    fact
}

#[cfg(test)]
mod tests {
    use crate::autodiff::{Gradients, gradient};
    use gnp_model::graph::{Fact, Graph};
    use gnp_model::onnx::DataType;
    use gnp_model::onnx::proto::{GraphProto, TypeProto, type_proto};
    use gnp_model::testing::{body, node};

    /// Why there is no gradient through a Loop with this body.
    fn refused(inner: GraphProto) -> String {
        let repeated = node("Loop", &["n", "", "w"], &["loss"]).with(inner);
        let mut graph = Graph::new(body(&["w", "n", "x"], &[repeated], &["loss"])).unwrap();
        ["w", "loss"].iter().for_each(|name| graph.declare(name, Fact::with_sizes(DataType::Float, &[])));
        gradient(&mut graph, &"loss".into(), &["w".into()], Gradients::Standard, "gradient").unwrap_err().to_string()
    }

    #[test]
    fn a_loop_that_draws_is_refused() {
        let nodes = [node("RandomNormalLike", &["s"], &["t"]), node("Identity", &["go"], &["on"])];
        let error = refused(body(&["i", "go", "s"], &nodes, &["on", "t"]));
        assert!(error.starts_with("node `loss` (Loop): its body draws random numbers"), "{error}");
    }

    #[test]
    fn a_loop_over_sequences_is_refused() {
        let nodes = [node("SequenceInsert", &["s", "x"], &["t"]), node("Identity", &["go"], &["on"])];
        let mut inner = body(&["i", "go", "s"], &nodes, &["on", "t"]);
        let value = Some(type_proto::Value::SequenceType(Default::default()));
        inner.input[2].r#type = Some(TypeProto { value, ..Default::default() });
        let error = refused(inner);
        assert!(error.contains("`s` in its body is a sequence"), "{error}");
    }
}
