//! Operators whose derivative is zero wherever it exists, and those of which there is none: results that are whole
//! numbers, truth values, positions or random.

use super::{Entry, Rule};

/// The entries of operators without a derivative.
const fn zero(operator: &'static str) -> Entry {
    ("", operator, Rule::Zero)
}

pub(super) const RULES: &[Entry] = &[
    // Steps.
    zero("Sign"),
    zero("Floor"),
    zero("Ceil"),
    zero("Round"),
    zero("Hardmax"),
    // Truth values and whole numbers.
    zero("Equal"),
    zero("Greater"),
    zero("GreaterOrEqual"),
    zero("Less"),
    zero("LessOrEqual"),
    zero("And"),
    zero("Or"),
    zero("Xor"),
    zero("Not"),
    zero("IsNaN"),
    zero("IsInf"),
    zero("BitShift"),
    zero("BitwiseAnd"),
    zero("BitwiseOr"),
    zero("BitwiseXor"),
    zero("BitwiseNot"),
    // Positions and sizes.
    zero("ArgMax"),
    zero("ArgMin"),
    zero("NonZero"),
    zero("NonMaxSuppression"),
    zero("Shape"),
    zero("Size"),
    // Of another's shape alone, or of settings.
    zero("ConstantOfShape"),
    zero("EyeLike"),
    zero("RandomNormalLike"),
    zero("RandomUniformLike"),
    zero("HannWindow"),
    zero("HammingWindow"),
    zero("BlackmanWindow"),
    zero("MelWeightMatrix"),
    // Draws.
    zero("Bernoulli"),
    zero("Multinomial"),
];
