//! A scalar function of some float32 operands, as text: `x0 * (x1 > 0)`.
//!
//! A chain of elementwise operators is one formula. Who writes a step model builds it, term by term ([`Builder`]), and
//! prints it into the file; a kernel reads it, and computes it in one pass over memory. [`Formula::evaluate`] is what
//! it means.
//!
//! ```
//! use gnp_base::formula::{Formula, Operation};
//! let mut f = Formula::builder();
//! let (x, dy, zero) = (f.operand(0), f.operand(1), f.constant(0.0));
//! let is_positive = f.apply(Operation::Greater, &[x, zero]);
//! let dx = f.apply(Operation::Mul, &[dy, is_positive]);
//! let formula = f.finish(dx);
//! assert_eq!(formula.to_string(), "x1 * (x0 > 0)");
//! assert_eq!(formula.to_string().parse::<Formula>().unwrap(), formula);
//! assert_eq!(formula.evaluate(&[2.0, 5.0]), 5.0);
//! ```

mod builder;
mod operation;
mod parse;
mod print;

pub use builder::{Builder, TermId};
pub use operation::Operation;

/// How many terms a formula may have, its operands and constants among them. Text with more is not read.
pub const MAX_TERMS: usize = 512;
/// How many operands a formula may have. Text with more is not read.
pub const MAX_OPERANDS: usize = 64;
/// How long the text of a formula may be, in bytes. Within [`MAX_TERMS`] and [`MAX_OPERANDS`] it is shorter.
pub const MAX_TEXT: usize = 1 << 16;

/// A term of a formula.
#[derive(Clone, Debug)]
pub enum Term {
    /// An operand, by its number.
    Operand(usize),
    /// A number.
    Constant(f32),
    /// An operation on terms that come before this one.
    Apply(Operation, Vec<TermId>),
}

/// Constants are equal where their bits are, so −0 is not 0, and what is not a number equals itself.
impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Operand(a), Self::Operand(b)) => a == b,
            (Self::Constant(a), Self::Constant(b)) => a.to_bits() == b.to_bits(),
            (Self::Apply(a, of), Self::Apply(b, others)) => a == b && of == others,
            _ => false,
        }
    }
}

impl Eq for Term {}

/// A function of operands: terms, each of earlier ones, of which the last is the result. No two terms are equal, and
/// none is without a use, so formulas that compute the same in the same way are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula(Vec<Term>);

impl Formula {
    /// A formula to be built.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// All terms, each after those that it is made of. The last is the result.
    pub fn terms(&self) -> &[Term] {
        &self.0
    }

    /// How many operands it takes: 1 more than the largest number of one that it names.
    pub fn operands(&self) -> usize {
        let numbers = self.0.iter().filter_map(|term| if let Term::Operand(n) = term { Some(n + 1) } else { None });
        numbers.max().unwrap_or_default()
    }

    /// How often each term is an argument; the result once more.
    fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.0.len()];
        for term in &self.0 {
            if let Term::Apply(_, arguments) = term {
                arguments.iter().for_each(|id| uses[id.0] += 1);
            }
        }
        if let Some(last) = uses.last_mut() {
            *last += 1;
        }
        uses
    }

    /// The value at `operands`, one operation after the other in float32: what a kernel has to compute, up to rounding.
    ///
    /// # Panics
    /// Where there are fewer operands than [`Self::operands`].
    pub fn evaluate(&self, operands: &[f32]) -> f32 {
        let mut values = Vec::with_capacity(self.0.len());
        for term in &self.0 {
            values.push(match term {
                Term::Operand(number) => operands[*number],
                Term::Constant(value) => *value,
                Term::Apply(operation, arguments) => {
                    let arguments: Vec<f32> = arguments.iter().map(|id| values[id.0]).collect();
                    operation.evaluate(&arguments)
                }
            });
        }
        values.pop().unwrap_or(f32::NAN)
    }
}
