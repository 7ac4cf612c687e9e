//! A layer as a loop over its steps.

use super::Operand;
use super::direction::Direction;
use super::layer::Layer;
use crate::graph::{Builder, Iteration, Value};
use crate::onnx::proto::NodeProto;
use gnp_base::{Error, Result};

/// Appends what computes the layer `node` in standard operators: products over all steps and a `Scan` for each
/// direction. Returns the outputs of the node, those left out too; none where it is no recurrent layer.
///
/// # Errors
/// Where the node asks for what there is no equation for.
pub fn write_out(node: &NodeProto, b: &Builder<'_>) -> Result<Option<Vec<Value>>> {
    let Some(layer) = Layer::of(node, b.graph().facts())? else { return Ok(None) };
    let mut outputs: Vec<Vec<Value>> = vec![];
    for (index, cell) in layer.cells.iter().enumerate() {
        let direction = Direction::of(node, cell, index, layer.cells.len(), b);
        let [all, last @ ..] = &loop_over(&direction, b)?[..] else {
            return Err(Error::internal("a cell without state"));
        };
        let last = last.iter().map(|state| b.unsqueeze(direction.where_steps(state, b), &[0]));
        outputs.push(std::iter::once(b.unsqueeze(all, &[1])).chain(last).collect());
    }
    let join = |output: usize| {
        let parts: Vec<&Value> = outputs.iter().map(|parts| &parts[output]).collect();
        b.concat(&parts, if output == 0 { 1 } else { 0 })
    };
    Ok(Some((0..=layer.cells[0].states()).map(join).collect()))
}

/// The hidden states of all steps, then the last states.
fn loop_over(direction: &Direction<'_>, b: &Builder<'_>) -> Result<Vec<Value>> {
    let cell = direction.cell;
    let along = direction.along(false);
    // What has a part of the input is another number in each step; the rest is captured.
    let mut scanned = Vec::new();
    let mut of_input = Vec::new();
    for (index, sum) in cell.sums().iter().enumerate() {
        let made = direction.of_input(index, b);
        of_input.push(match made {
            Some(made) if sum.of_input => {
                scanned.push((direction.by_step(index, &made, b), along));
                Part::Scanned(scanned.len() - 1)
            }
            made => Part::Same(made),
        });
    }
    let mask = direction.is_there.as_ref().map(|is_there| {
        scanned.push((is_there.clone(), along));
        scanned.len() - 1
    });
    let first: Vec<Value> = (0..cell.states()).map(|state| direction.first(state, b)).collect();
    let outputs = b.scan(&first, &scanned, |body, pass, states, slices| {
        let b = Builder::new(body, pass);
        let mut sums: Vec<Value> = vec![];
        for (index, sum) in cell.sums().iter().enumerate() {
            let operand = sum.operand.map(|operand: Operand| cell.operand(operand, &sums, &states[0], &b));
            let of_input = match &of_input[index] {
                Part::Scanned(slice) => Some(&slices[*slice]),
                Part::Same(value) => value.as_ref(),
            };
            let made = direction.sum(index, of_input, operand.as_ref(), &b);
            sums.push(made.ok_or_else(|| Error::internal("a sum of nothing"))?);
        }
        let next = cell.step(&sums, states, direction.peepholes.as_ref(), &b);
        let Some(mask) = mask.map(|mask| &slices[mask]) else {
            return Ok(Iteration { returned: vec![(next[0].clone(), along)], states: next });
        };
        let returned = b.select(mask, &next[0], b.number(0.0, &next[0]));
        let states = next.iter().zip(states).map(|(next, state)| b.select(mask, next, state)).collect();
        Ok(Iteration { states, returned: vec![(returned, along)] })
    })?;
    let mut outputs = outputs;
    outputs.rotate_right(1);
    Ok(outputs)
}

/// Where the part of a sum that does not depend on the states is.
enum Part {
    /// Among the slices.
    Scanned(usize),
    /// The same in all steps.
    Same(Option<Value>),
}
