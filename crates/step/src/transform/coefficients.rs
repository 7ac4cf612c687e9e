//! The penalty's numbers in a training step.

use super::Training;
use crate::penalty::{Coefficient, Coefficients, Penalty, Warmup};
use gnp_base::contract::{ALPHA, R, WARMUP_STEPS};

/// Which numbers the caller of a graph may feed; the others are constants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// The learning rate; where it is none of the graph's business, another graph takes the step.
    pub learning_rate: bool,
    /// r.
    pub r: bool,
    /// α.
    pub alpha: bool,
}

impl Fed {
    /// All of them, as of a step model.
    pub const ALL: Self = Self { learning_rate: true, r: true, alpha: true };
}

impl Training<'_> {
    /// r and α of `penalty`: inputs or constants, warmed up for `warmup_steps` where that is wanted. The second pass is
    /// behind an `If` where there may be a step without.
    pub fn coefficients(&mut self, penalty: &Penalty, warmup: Warmup, warmup_steps: u32, fed: Fed) -> Coefficients {
        let is_warmed_up = warmup != Warmup::None;
        let mut number = |name, default, is_fed: bool| match is_fed || is_warmed_up {
            true => Coefficient::Value(self.hyperparameter(name, default)),
            false => Coefficient::Constant(default),
        };
        let (mut r, mut alpha) = (number(R, penalty.r, fed.r), number(ALPHA, penalty.alpha, fed.alpha));
        if let (true, Coefficient::Value(full_r), Coefficient::Value(full_alpha)) = (is_warmed_up, &r, &alpha) {
            let steps = self.hyperparameter(WARMUP_STEPS, warmup_steps as f32);
            let done = self.steps_done();
            let (r_now, alpha_now) = warmup.append(&self.builder, full_r, full_alpha, &done, &steps);
            (r, alpha) = (Coefficient::Value(r_now), Coefficient::Value(alpha_now));
        }
        let may_be_plain = [&r, &alpha].iter().any(|number| matches!(number, Coefficient::Value(_)));
        Coefficients { r, alpha, skip: may_be_plain, may_overflow: false }
    }
}
