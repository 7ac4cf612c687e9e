//! The equations of one step.

use super::activation::Activation;
use crate::graph::{Builder, Value};
use crate::onnx::proto::{AttributeProto, NodeProto};
use std::ops::Range;

/// What computes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rnn,
    /// GRU whose reset gate comes before the product with the hidden state.
    Gru,
    /// GRU whose reset gate comes behind that product: with `linear_before_reset`, as PyTorch has it.
    GruAfter,
    Lstm,
}

impl Kind {
    pub fn of(node: &NodeProto) -> Option<Self> {
        match (node.domain(), node.op_type()) {
            ("", "RNN") => Some(Self::Rnn),
            ("", "GRU") if node.int("linear_before_reset", 0) != 0 => Some(Self::GruAfter),
            ("", "GRU") => Some(Self::Gru),
            ("", "LSTM") => Some(Self::Lstm),
            _ => None,
        }
    }

    /// The activations that a direction has by default.
    pub fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Rnn => &["Tanh"],
            Self::Gru | Self::GruAfter => &["Sigmoid", "Tanh"],
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// One of the sums that a step begins with: operand · Rᵀ + input · Wᵀ + biases, over some of the gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The gates, in the order of the rows of W and R.
    pub gates: Range<i64>,
    /// Whether the input, times W, and W's bias are in it.
    pub of_input: bool,
    /// What is multiplied by R, and goes with R's bias.
    pub operand: Option<Operand>,
}

/// What a sum multiplies by R.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The hidden state.
    State,
    /// The hidden state times the reset gate, which is made of the first sum.
    Reset,
}

const fn sum(gates: Range<i64>, of_input: bool, operand: Option<Operand>) -> Sum {
    Sum { gates, of_input, operand }
}

const RNN: &[Sum] = &[sum(0..1, true, Some(Operand::State))];
const LSTM: &[Sum] = &[sum(0..4, true, Some(Operand::State))];
const GRU: &[Sum] = &[sum(0..2, true, Some(Operand::State)), sum(2..3, true, Some(Operand::Reset))];
const GRU_AFTER: &[Sum] =
    &[sum(0..2, true, Some(Operand::State)), sum(2..3, false, Some(Operand::State)), sum(2..3, true, None)];

/// A layer in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub(super) kind: Kind,
    /// The size of a state.
    pub hidden: i64,
    /// Whether it goes from the last step to the first.
    pub reverse: bool,
    pub(super) activations: Vec<Activation>,
    pub(super) clip: Option<f32>,
    pub(super) input_forget: bool,
}

impl Cell {
    /// How many states there are: the hidden one, and of LSTM that of the cell.
    pub fn states(&self) -> usize {
        if self.kind == Kind::Lstm { 2 } else { 1 }
    }

    /// The sums of a step, in the order in which they can be computed.
    pub fn sums(&self) -> &'static [Sum] {
        match self.kind {
            Kind::Rnn => RNN,
            Kind::Gru => GRU,
            Kind::GruAfter => GRU_AFTER,
            Kind::Lstm => LSTM,
        }
    }

    /// What a sum multiplies by R, of the sums before it and the hidden state `h`.
    pub fn operand(&self, operand: Operand, sums: &[Value], h: &Value, b: &Builder<'_>) -> Value {
        match (operand, sums) {
            (Operand::Reset, [gates, ..]) => b.mul(self.gate(0, &self.split(gates, 2, b)[1], b), h),
            _ => h.clone(),
        }
    }

    /// The states after a step, the hidden one first, of the sums of the step and the states before it. The axes before
    /// the last, which is that of the gates, may be any. `peepholes`, of LSTM, are those of the gates i, o and f, one
    /// after the other.
    pub fn step(&self, sums: &[Value], states: &[Value], peepholes: Option<&Value>, b: &Builder<'_>) -> Vec<Value> {
        match (self.kind, sums, states) {
            (Kind::Gru, [gates, new], [h]) => {
                let update = self.gate(0, &self.split(gates, 2, b)[0], b);
                vec![mixed(&update, &self.gate(1, new, b), h, b)]
            }
            (Kind::GruAfter, [gates, of_state, of_input], [h]) => {
                let gates = self.split(gates, 2, b);
                let [update, reset] = [0, 1].map(|i| self.gate(0, &gates[i], b));
                let new = self.gate(1, &b.add(of_input, b.mul(reset, of_state)), b);
                vec![mixed(&update, &new, h, b)]
            }
            (Kind::Lstm, [gates], [_, c]) => self.lstm(&self.split(gates, 4, b), c, peepholes, b),
            (_, [sum, ..], _) => vec![self.gate(0, sum, b)],
            _ => vec![],
        }
    }

    /// i = f(zᵢ + pᵢ c), f = f(z_f + p_f c), c′ = f c + i g(z_c), o = f(zₒ + pₒ c′), h′ = o h(c′)
    fn lstm(&self, gates: &[Value], c: &Value, peepholes: Option<&Value>, b: &Builder<'_>) -> Vec<Value> {
        let peepholes = peepholes.map(|p| self.split(p, 3, b));
        let seen = |gate: usize, c: &Value| match &peepholes {
            Some(p) => b.add(&gates[gate], b.mul(c, &p[gate])),
            None => gates[gate].clone(),
        };
        let input = self.gate(0, &seen(0, c), b);
        let forget = if self.input_forget { b.minus_from(1.0, &input) } else { self.gate(0, &seen(2, c), b) };
        let next = b.add(b.mul(forget, c), b.mul(input, self.gate(1, &gates[3], b)));
        let output = self.gate(0, &seen(1, &next), b);
        vec![b.mul(output, self.activations[2].of(&next, b)), next]
    }

    /// An activation of a sum, which is clipped before.
    fn gate(&self, activation: usize, sum: &Value, b: &Builder<'_>) -> Value {
        let clipped = self.clip.map(|clip| {
            let [low, high] = [-clip, clip].map(|bound| b.number(bound.into(), sum));
            b.node("Clip", &[sum, &low, &high], vec![], b.fact(sum))
        });
        self.activations[activation].of(clipped.as_ref().unwrap_or(sum), b)
    }

    /// Equal parts of the last axis, of the size of a state.
    fn split(&self, x: &Value, parts: usize, b: &Builder<'_>) -> Vec<Value> {
        let mut fact = (*b.fact(x)).clone();
        if let Some(last) = fact.shape.as_mut().and_then(|shape| shape.last_mut()) {
            *last = crate::graph::Dim::Known(self.hidden);
        }
        let sizes = b.int64s(&vec![self.hidden; parts]);
        let fact = std::sync::Arc::new(fact);
        b.nodes("Split", &[x, &sizes], vec![AttributeProto::int("axis", -1)], vec![fact; parts])
    }
}

/// (1 − z) n + z h
fn mixed(z: &Value, n: &Value, h: &Value, b: &Builder<'_>) -> Value {
    b.add(b.mul(b.minus_from(1.0, z), n), b.mul(z, h))
}
