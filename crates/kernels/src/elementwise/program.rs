//! A formula as instructions over blocks.

use gnp_base::formula::{Formula, Operation, Term, TermId};

/// What an instruction computes of up to three arguments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Code {
    /// An operation of formulas.
    Operation(Operation),
    /// a · b + c
    MultiplyAdd,
    /// a · b − c
    MultiplySubtract,
    /// c − a · b
    SubtractProduct,
    /// a³
    Cube,
}

/// Where an argument comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    /// An operand.
    Operand(usize),
    /// A number.
    Constant(f32),
    /// What an earlier instruction computed.
    Register(usize),
}

/// Computes one value of others. There are three arguments; those that the code has none for are the first again.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) code: Code,
    pub(crate) arguments: [Source; 3],
    pub(crate) register: usize,
}

/// A formula that can be computed in blocks.
#[derive(Clone, Debug)]
pub struct Program {
    operands: usize,
    /// How many registers there are. The result is in none.
    pub(crate) registers: usize,
    /// The last one computes the result, into the caller's memory.
    pub(crate) instructions: Vec<Instruction>,
    /// What the result is where there are no instructions.
    pub(crate) result: Source,
    /// About how long a float takes, in additions.
    pub(crate) cost: usize,
}

impl Program {
    /// How many operands the formula has.
    pub fn operands(&self) -> usize {
        self.operands
    }

    /// The instructions for `formula`.
    pub fn new(formula: &Formula) -> Self {
        let terms = formula.terms();
        let mut uses = uses(terms);
        let chosen: Vec<Option<(Code, Vec<TermId>)>> =
            (0..terms.len()).map(|place| choose(terms, place, &mut uses)).collect();
        let mut registers = Registers::default();
        let mut sources: Vec<Source> = Vec::with_capacity(terms.len());
        let mut instructions = Vec::new();
        for (place, term) in terms.iter().enumerate() {
            let source = match (term, &chosen[place]) {
                (Term::Operand(number), _) => Source::Operand(*number),
                (Term::Constant(value), _) => Source::Constant(*value),
                // A product that is a part of its only user.
                (Term::Apply(..), _) if uses[place] == 0 => Source::Constant(0.0),
                (Term::Apply(..), None) => Source::Constant(f32::NAN),
                (Term::Apply(..), Some((code, arguments))) => {
                    let from: Vec<Source> = arguments.iter().map(|id| sources[id.index()]).collect();
                    let argument =
                        |place: usize| from.get(place).or(from.first()).copied().unwrap_or(Source::Constant(0.0));
                    // Taken before others are given back: loops do not write over what they read.
                    let is_last = place + 1 == terms.len();
                    let register = if is_last { registers.count } else { registers.take() };
                    for id in arguments {
                        uses[id.index()] -= 1;
                        if let (Source::Register(register), 0) = (sources[id.index()], uses[id.index()]) {
                            registers.free(register);
                        }
                    }
                    let arguments = [argument(0), argument(1), argument(2)];
                    instructions.push(Instruction { code: *code, arguments, register });
                    Source::Register(register)
                }
            };
            sources.push(source);
        }
        let result = sources.last().copied().unwrap_or(Source::Constant(f32::NAN));
        let cost = instructions.iter().map(|instruction| instruction.code.cost()).sum::<usize>().max(1);
        Self { operands: formula.operands(), registers: registers.count, instructions, result, cost }
    }
}

impl Code {
    fn cost(self) -> usize {
        use Operation::{Cos, Div, Erf, Exp, Log, Pow, Reciprocal, Sigmoid, Sin, Sqrt, Tanh};
        match self {
            Self::Operation(Pow | Sin | Cos) => 100,
            Self::Operation(Exp | Log | Sigmoid) => 8,
            Self::Operation(Erf | Tanh) => 16,
            Self::Operation(Div | Reciprocal | Sqrt) => 3,
            _ => 1,
        }
    }
}

/// How often each term is an argument; the result once more.
fn uses(terms: &[Term]) -> Vec<usize> {
    let mut uses = vec![0; terms.len()];
    for term in terms {
        if let Term::Apply(_, arguments) = term {
            arguments.iter().for_each(|id| uses[id.index()] += 1);
        }
    }
    if let Some(last) = uses.last_mut() {
        *last += 1;
    }
    uses
}

/// The code for the term at `place`, and its arguments: a sum or a difference takes a product in that is only its own,
/// which then has no more uses.
fn choose(terms: &[Term], place: usize, uses: &mut [usize]) -> Option<(Code, Vec<TermId>)> {
    let Term::Apply(operation, arguments) = &terms[place] else { return None };
    let is_constant = |id: TermId, value: f32| matches!(terms[id.index()], Term::Constant(c) if c == value);
    match (operation, &arguments[..]) {
        (Operation::Add | Operation::Sub, &[a, b]) => {
            let is_sum = *operation == Operation::Add;
            let after_product = if is_sum { Code::MultiplyAdd } else { Code::MultiplySubtract };
            let before_product = if is_sum { Code::MultiplyAdd } else { Code::SubtractProduct };
            for (product, other, code) in [(a, b, after_product), (b, a, before_product)] {
                if let Term::Apply(Operation::Mul, factors) = &terms[product.index()]
                    && uses[product.index()] == 1
                {
                    uses[product.index()] = 0;
                    return Some((code, vec![factors[0], factors[1], other]));
                }
            }
        }
        (Operation::Pow, &[a, exponent]) => {
            for (value, code) in [(2.0, Code::Operation(Operation::Mul)), (3.0, Code::Cube)] {
                if is_constant(exponent, value) {
                    let factors = if code == Code::Cube { vec![a] } else { vec![a, a] };
                    // The counts go on saying what will be read.
                    uses[exponent.index()] -= 1;
                    uses[a.index()] += factors.len() - 1;
                    return Some((code, factors));
                }
            }
        }
        _ => {}
    }
    Some((Code::Operation(*operation), arguments.clone()))
}

/// Which registers are in use.
#[derive(Default)]
struct Registers {
    count: usize,
    free: Vec<usize>,
}

impl Registers {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }

    fn free(&mut self, register: usize) {
        self.free.push(register);
    }
}
