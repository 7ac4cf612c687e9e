//! Recurrent layers.
//!
//! The forward operator stays: its hidden states h are one of its outputs. The sums that its gates are made of follow
//! from h by products over all steps at once, and the cell states of LSTM from a loop without products. The backward
//! loop multiplies by R once a step, and returns the cotangents of the sums; those of the weights and of the input are
//! products over all steps again.

use super::{Cotangents, Entry, Op, Rule};
use crate::autodiff::{Gradients, pull_back};
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Dim, Fact, Graph, Iteration, Value};
use gnp_model::recurrent::{Cell, Direction, Layer, input};

pub(super) const RULES: &[Entry] =
    &[("", "LSTM", Rule::VjpMany(layer)), ("", "GRU", Rule::VjpMany(layer)), ("", "RNN", Rule::VjpMany(layer))];

/// hₜ = step(sums(xₜ, hₜ₋₁), hₜ₋₁) in each direction  ⇒  the sums' cotangents by a loop in the other direction, and
/// with them W̄ = Σ s̄ₜ xₜᵀ, R̄ = Σ s̄ₜ hₜ₋₁ᵀ, b̄ = Σ s̄ₜ, x̄ₜ = Wᵀ s̄ₜ
fn layer(op: &Op, dys: &[Option<Value>], g: &Builder<'_>) -> Result<Cotangents> {
    let layer = Layer::of(op, g.graph().facts())?.ok_or_else(|| Error::internal("no recurrent layer"))?;
    let directions = layer.cells.len();
    let hidden = hidden_states(op, &layer, g)?;
    let mut parts: Vec<Part> = vec![];
    for (index, cell) in layer.cells.iter().enumerate() {
        let direction = Direction::of(op, cell, index, directions, g);
        let dy = |output: usize, axis| {
            let dy = direction.part(dys.get(output)?.as_ref()?, axis, g);
            // It is of the shape of what it is the cotangent of, whether that is known of it or not.
            g.declare(&dy, direction.state_fact(output == 0, g));
            Some(dy)
        };
        let dys = Given { all: dy(0, 1), last: [dy(1, 0), dy(2, 0)] };
        parts.push(back(&direction, &direction.part(&hidden, 1, g), &dys, g)?);
    }
    let x = op.input(input::X)?;
    let join = |position: usize| {
        let parts = parts.iter().map(|part| part[position].clone());
        match position {
            input::X => parts.collect::<Option<Vec<_>>>().map(|parts| g.reshape_like(g.sum(&parts), x)),
            _ => {
                let parts: Option<Vec<Value>> = parts.map(|part| Some(g.unsqueeze(part?, &[0]))).collect();
                parts.map(|parts| g.concat(&parts.iter().collect::<Vec<_>>(), 0))
            }
        }
    };
    let cotangents = op.inputs().iter().enumerate().map(|(i, input)| input.as_ref().and_then(|_| join(i)));
    Ok(Cotangents::of(cotangents))
}

/// The cotangents of the operands of one direction, by the inputs of the node: of the input itself in rows.
type Part = [Option<Value>; input::COUNT];

/// The hidden states of all steps, which the node returns from now on if it did not.
fn hidden_states(op: &Op, layer: &Layer, g: &Builder<'_>) -> Result<Value> {
    let fact = g.fact(op.input(input::X)?);
    let dim = |axis| fact.dim(axis).cloned().unwrap_or(Dim::Unknown);
    let shape = Some(vec![dim(0), Dim::Known(layer.cells.len() as i64), dim(1), Dim::Known(layer.hidden)]);
    Ok(g.ensure_output(op.index(), 0, &format!("{}/Y", op.label()), Fact { element: fact.element, shape }))
}

/// The cotangents that a direction is given.
struct Given {
    /// Of the hidden states of all steps.
    all: Option<Value>,
    /// Of the last states.
    last: [Option<Value>; 2],
}

fn back(direction: &Direction<'_>, hidden: &Value, given: &Given, g: &Builder<'_>) -> Result<Part> {
    let cell = direction.cell;
    let before = direction.hidden_before(hidden, g);
    let rows = g.reshape(&before, &[-1, cell.hidden]);
    // The sums of all steps.
    let (mut sums, mut operands) = (vec![], vec![]);
    for (index, sum) in cell.sums().iter().enumerate() {
        let operand = sum.operand.map(|operand| cell.operand(operand, &sums, &rows, g));
        let made = direction.sum(index, direction.of_input(index, g).as_ref(), operand.as_ref(), g);
        sums.push(made.ok_or_else(|| Error::internal("a sum of nothing"))?);
        operands.push(operand);
    }
    let by_step: Vec<Value> = sums.iter().enumerate().map(|(index, sum)| direction.by_step(index, sum, g)).collect();
    let mut states = vec![before];
    if cell.states() > 1 {
        states.push(cells_before(direction, &by_step, g)?);
    }
    let Backward { sums: ds, first, peepholes } = loop_back(direction, &by_step, &states, given, g)?;

    let (mut x, mut w, mut r, mut of_input, mut of_state) = (vec![], vec![], vec![], vec![], vec![]);
    for (index, ds) in ds.iter().enumerate() {
        let ds = g.reshape(ds, &[-1, direction.width(index)]);
        let bias = g.reduce("ReduceSum", &ds, &[0], false);
        if let Some(weights) = &direction.weights[index].w {
            x.push(g.gemm(&ds, weights, false, false, 1.0));
            w.push(g.gemm(&ds, &direction.x, true, false, 1.0));
            of_input.push(bias.clone());
        }
        if let Some(operand) = &operands[index] {
            r.push(g.gemm(&ds, operand, true, false, 1.0));
            of_state.push(bias);
        }
    }
    let join = |parts: &[Value]| Some(g.concat(&parts.iter().collect::<Vec<_>>(), 0));
    let mut part = Part::default();
    part[input::X] = Some(g.sum(&x));
    (part[input::W], part[input::R]) = (join(&w), join(&r));
    part[input::B] = join(&[of_input, of_state].concat());
    [part[input::H], part[input::C]] = first;
    part[input::P] = peepholes;
    Ok(part)
}

/// The cell states before each step of an LSTM, \[steps, batch, hidden\].
fn cells_before(direction: &Direction<'_>, sums: &[Value], g: &Builder<'_>) -> Result<Value> {
    let along = direction.along(false);
    let scanned = sums.iter().chain(&direction.is_there).map(|value| (value.clone(), along)).collect::<Vec<_>>();
    let made = g.scan(&[direction.first(1, g)], &scanned, |body, pass, states, slices| {
        let b = Builder::new(body, pass);
        let (sums, mask) = slices.split_at(sums.len());
        // No cell state depends on the hidden state but through the sums.
        let before = [states[0].clone(), states[0].clone()];
        let mut next = direction.cell.step(sums, &before, direction.peepholes.as_ref(), &b).swap_remove(1);
        if let [mask] = mask {
            next = b.select(mask, next, &states[0]);
        }
        Ok(Iteration { states: vec![next], returned: vec![(states[0].clone(), along)] })
    })?;
    made.into_iter().nth(1).ok_or_else(|| Error::internal("a loop without a result"))
}

/// What the backward loop makes.
struct Backward {
    /// The cotangents of the sums, \[steps, batch, …\].
    sums: Vec<Value>,
    first: [Option<Value>; 2],
    peepholes: Option<Value>,
}

/// The loop over the steps, the last first; `states` are those before each step.
fn loop_back(
    direction: &Direction<'_>,
    sums: &[Value],
    states: &[Value],
    given: &Given,
    g: &Builder<'_>,
) -> Result<Backward> {
    let along = direction.along(true);
    let last = given.last.iter().take(states.len());
    let last: Vec<Value> = last.map(|last| last.clone().unwrap_or_else(|| direction.zeros(g))).collect();
    let scanned = sums.iter().chain(states).chain(&given.all).chain(&direction.is_there);
    let scanned: Vec<_> = scanned.map(|value| (value.clone(), along)).collect();
    let made = g.scan(&last, &scanned, |body, pass, cotangents, slices| {
        let (sums, slices) = slices.split_at(sums.len());
        let (states, slices) = slices.split_at(states.len());
        let (dy, mask) = slices.split_at(given.all.iter().len());
        let slices = Slices { sums, states, dy: dy.first(), mask: mask.first() };
        let made = step_back(direction, body, pass, cotangents, &slices)?;
        let returned = made.sums.into_iter().chain(made.peepholes).map(|value| (value, along)).collect();
        Ok(Iteration { states: made.states, returned })
    })?;
    let (first, returned) = made.split_at(states.len());
    let (sums, peepholes) = returned.split_at(sums.len());
    let first = |state: usize| first.get(state).map(|first| direction.where_steps(first, g));
    let peepholes = peepholes.first().map(|all| g.reduce("ReduceSum", all, &[0], false));
    Ok(Backward { sums: sums.to_vec(), first: [first(0), first(1)], peepholes })
}

/// What a step of the backward loop sees of its step of the layer.
struct Slices<'v> {
    sums: &'v [Value],
    states: &'v [Value],
    dy: Option<&'v Value>,
    mask: Option<&'v Value>,
}

/// What a step of the backward loop makes.
struct StepBack {
    states: Vec<Value>,
    sums: Vec<Value>,
    peepholes: Option<Value>,
}

fn step_back(
    direction: &Direction<'_>,
    body: &mut Graph,
    pass: &'static str,
    cotangents: &[Value],
    slices: &Slices<'_>,
) -> Result<StepBack> {
    let cell = direction.cell;
    let b = Builder::new(body, pass);
    let mut of_next = cotangents.to_vec();
    if let Some(dy) = slices.dy {
        of_next[0] = b.add(&of_next[0], dy);
    }
    if let Some(mask) = slices.mask {
        of_next.iter_mut().for_each(|dy| *dy = b.select(mask, &*dy, b.number(0.0, &*dy)));
    }
    let next = cell.step(slices.sums, slices.states, direction.peepholes.as_ref(), &b);
    let seeds: Vec<_> = next.into_iter().zip(of_next).collect();
    let wrt: Vec<Value> = slices.sums.iter().chain(slices.states).chain(&direction.peepholes).cloned().collect();
    let mut found = pull_back(body, &seeds, &wrt, Gradients::Standard, pass)?;
    let (of_sums, rest) = found.split_at_mut(slices.sums.len());
    let (of_states, peepholes) = rest.split_at_mut(slices.states.len());
    sums_back(cell, direction, body, pass, slices, of_sums, &mut of_states[0])?;

    let b = Builder::new(body, pass);
    let or_zeros = |found: &Option<Value>, like: &Value| found.clone().unwrap_or_else(|| b.zeros_like(like));
    let sums = of_sums.iter().zip(slices.sums).map(|(ds, sum)| or_zeros(ds, sum)).collect();
    let peepholes = peepholes.iter().zip(&direction.peepholes).map(|(dp, p)| or_zeros(dp, p)).next();
    let states = of_states.iter().zip(slices.states).zip(cotangents).map(|((ds, state), unchanged)| {
        let ds = or_zeros(ds, state);
        slices.mask.map_or(ds.clone(), |mask| b.select(mask, &ds, unchanged))
    });
    Ok(StepBack { states: states.collect(), sums, peepholes })
}

/// From the cotangents of the sums to that of the hidden state that they are made of, and of the sums that the reset
/// gate is made of.
fn sums_back(
    cell: &Cell,
    direction: &Direction<'_>,
    body: &mut Graph,
    pass: &'static str,
    slices: &Slices<'_>,
    of_sums: &mut [Option<Value>],
    of_hidden: &mut Option<Value>,
) -> Result<()> {
    for (index, sum) in cell.sums().iter().enumerate().rev() {
        let (Some(operand), Some(ds)) = (sum.operand, of_sums[index].clone()) else { continue };
        let b = Builder::new(body, pass);
        let before = &slices.sums[..index];
        let operand = cell.operand(operand, before, &slices.states[0], &b);
        let Some(made) = direction.sum(index, None, Some(&operand), &b) else { continue };
        let wrt: Vec<Value> = before.iter().chain([&slices.states[0]]).cloned().collect();
        let found = pull_back(body, &[(made, ds)], &wrt, Gradients::Standard, pass)?;
        let b = Builder::new(body, pass);
        let places = of_sums[..index].iter_mut().chain([&mut *of_hidden]);
        for (place, found) in places.zip(found) {
            *place = match (place.take(), found) {
                (Some(a), Some(c)) => Some(b.add(a, c)),
                (a, c) => a.or(c),
            };
        }
    }
    Ok(())
}
