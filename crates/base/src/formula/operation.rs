//! The operations of a formula.

use strum::{EnumString, VariantArray};

/// An elementwise operator of ONNX, on float32.
///
/// Comparisons and logic give 1 or 0, and take what is not 0 as true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, VariantArray)]
#[expect(missing_docs, reason = "the names are those of the standard's operators")]
pub enum Operation {
    Add,
    Sub,
    Mul,
    Div,
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Erf,
    Tanh,
    Sigmoid,
    Pow,
    /// Of two; not a number where one of them is not.
    Min,
    /// Of two; not a number where one of them is not.
    Max,
    /// 0 for what is not a number.
    Sign,
    Floor,
    Ceil,
    /// To the nearest whole number, halves to the even one.
    Round,
    Sin,
    Cos,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    And,
    Or,
    Not,
    /// The second argument where the first is not 0, else the third.
    Where,
}

/// How an operation is written.
pub(super) enum Syntax {
    /// Between its two arguments.
    Infix(&'static str, Precedence),
    /// In front of its argument.
    Prefix(&'static str, Precedence),
    /// As a function of so many arguments.
    Function(&'static str, usize),
}

/// What binds more tightly is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Precedence {
    Any,
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Sign,
    Whole,
}

impl Precedence {
    /// What the right argument of an infix operation has to bind by.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Any => Self::Or,
            Self::Or => Self::And,
            Self::And => Self::Not,
            Self::Not => Self::Comparison,
            Self::Comparison => Self::Sum,
            Self::Sum => Self::Product,
            Self::Product => Self::Sign,
            Self::Sign | Self::Whole => Self::Whole,
        }
    }
}

impl Operation {
    /// The operation that an operator of ONNX's standard domain computes. `Min` and `Max` are those of two inputs.
    ///
    /// ```
    /// use gnp_base::formula::Operation;
    /// assert_eq!(Operation::of_onnx("Mul"), Some(Operation::Mul));
    /// assert_eq!(Operation::of_onnx("Conv"), None);
    /// ```
    pub fn of_onnx(op_type: &str) -> Option<Self> {
        op_type.parse().ok()
    }

    /// How many arguments it takes.
    pub fn arity(self) -> usize {
        match self.syntax() {
            Syntax::Infix(..) => 2,
            Syntax::Prefix(..) => 1,
            Syntax::Function(_, arity) => arity,
        }
    }

    pub(super) fn syntax(self) -> Syntax {
        use Syntax::{Function, Infix, Prefix};
        match self {
            Self::Add => Infix("+", Precedence::Sum),
            Self::Sub => Infix("-", Precedence::Sum),
            Self::Mul => Infix("*", Precedence::Product),
            Self::Div => Infix("/", Precedence::Product),
            Self::Neg => Prefix("-", Precedence::Sign),
            Self::Abs => Function("abs", 1),
            Self::Exp => Function("exp", 1),
            Self::Log => Function("log", 1),
            Self::Sqrt => Function("sqrt", 1),
            Self::Reciprocal => Function("reciprocal", 1),
            Self::Erf => Function("erf", 1),
            Self::Tanh => Function("tanh", 1),
            Self::Sigmoid => Function("sigmoid", 1),
            Self::Pow => Function("pow", 2),
            Self::Min => Function("min", 2),
            Self::Max => Function("max", 2),
            Self::Sign => Function("sign", 1),
            Self::Floor => Function("floor", 1),
            Self::Ceil => Function("ceil", 1),
            Self::Round => Function("round", 1),
            Self::Sin => Function("sin", 1),
            Self::Cos => Function("cos", 1),
            Self::Less => Infix("<", Precedence::Comparison),
            Self::LessOrEqual => Infix("<=", Precedence::Comparison),
            Self::Greater => Infix(">", Precedence::Comparison),
            Self::GreaterOrEqual => Infix(">=", Precedence::Comparison),
            Self::Equal => Infix("==", Precedence::Comparison),
            Self::And => Infix("and", Precedence::And),
            Self::Or => Infix("or", Precedence::Or),
            Self::Not => Prefix("not", Precedence::Not),
            Self::Where => Function("where", 3),
        }
    }

    /// The value of the operation, in float32.
    ///
    /// # Panics
    /// Where there are fewer arguments than [`Self::arity`] says.
    pub fn evaluate(self, arguments: &[f32]) -> f32 {
        let truth = |is: bool| f32::from(u8::from(is));
        let a = arguments[0];
        let b = |of: fn(f32, f32) -> f32| of(a, arguments[1]);
        let compared = |of: fn(&f32, &f32) -> bool| truth(of(&a, &arguments[1]));
        match self {
            Self::Add => b(|a, b| a + b),
            Self::Sub => b(|a, b| a - b),
            Self::Mul => b(|a, b| a * b),
            Self::Div => b(|a, b| a / b),
            Self::Neg => -a,
            Self::Abs => a.abs(),
            Self::Exp => a.exp(),
            Self::Log => a.ln(),
            Self::Sqrt => a.sqrt(),
            Self::Reciprocal => 1.0 / a,
            Self::Erf => libm::erff(a),
            Self::Tanh => a.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-a).exp()),
            Self::Pow => b(f32::powf),
            Self::Min => b(|a, b| if a < b || a.is_nan() { a } else { b }),
            Self::Max => b(|a, b| if a > b || a.is_nan() { a } else { b }),
            Self::Sign => truth(a > 0.0) - truth(a < 0.0),
            Self::Floor => a.floor(),
            Self::Ceil => a.ceil(),
            Self::Round => a.round_ties_even(),
            Self::Sin => a.sin(),
            Self::Cos => a.cos(),
            Self::Less => compared(f32::lt),
            Self::LessOrEqual => compared(f32::le),
            Self::Greater => compared(f32::gt),
            Self::GreaterOrEqual => compared(f32::ge),
            Self::Equal => compared(f32::eq),
            Self::And => b(|a, b| if a != 0.0 && b != 0.0 { 1.0 } else { 0.0 }),
            Self::Or => b(|a, b| if a != 0.0 || b != 0.0 { 1.0 } else { 0.0 }),
            Self::Not => truth(a == 0.0),
            Self::Where => arguments[if a != 0.0 { 1 } else { 2 }],
        }
    }
}
