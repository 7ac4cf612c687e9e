//! From what a step returned to what is reported of it.

use super::evaluate::loss_of;
use super::plan::Planned;
use gnp_base::Result;
use gnp_base::contract::{GRAD_NORM, LOSS_PERTURBED, MIXED_GRAD_NORM, PARAM_NORM, SCALED_BY, SKIPPED};
use gnp_report::Counts;
use gnp_report::Measures;
use gnp_tensor::{Tensor, finite};

/// What a step told: `outputs` under `names`, of which `counts` were taken, and what was `planned`.
///
/// # Errors
/// Where the first output is no loss.
pub(super) fn measure(outputs: &[Tensor], names: &[String], counts: &Counts, planned: &Planned) -> Result<Measures> {
    let loss = loss_of(outputs)?;
    let number = |name: &str| Tensor::scalar_named(names, outputs, name);
    // Of a step that was not taken the gradients are none.
    let of_gradient = |name: &str| number(name).filter(|_| !finite::skipped(names, outputs));
    let loss_perturbed = of_gradient(LOSS_PERTURBED);
    Ok(Measures {
        loss,
        loss_perturbed,
        sharpness: loss_perturbed.map(|there| there - loss),
        grad_norm: of_gradient(GRAD_NORM),
        mixed_grad_norm: of_gradient(MIXED_GRAD_NORM),
        param_norm: number(PARAM_NORM),
        error: counts.error().map(|error| error as f32),
        top5_error: counts.top5_error().map(|error| error as f32),
        learning_rate: planned.rates.learning_rate,
        r: planned.r,
        alpha: planned.alpha,
        loss_scale: number(SCALED_BY),
        skipped: number(SKIPPED),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_engine::Rates;

    fn planned() -> Planned {
        Planned { rates: Rates::new(0.1), r: Some(0.0), alpha: Some(0.75) }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn outputs_are_told_by_their_names() {
        let names = names(&["loss", PARAM_NORM, "logits", MIXED_GRAD_NORM, GRAD_NORM, LOSS_PERTURBED]);
        let scalar = Tensor::scalar;
        let outputs = [2.0, 3.0, 0.0, 4.0, 5.0, 2.5].map(scalar);
        let counts = Counts { labels: 4.0, wrong: Some(1.0), ..Counts::default() };
        let expected = Measures {
            loss: 2.0,
            loss_perturbed: Some(2.5),
            sharpness: Some(0.5),
            grad_norm: Some(5.0),
            mixed_grad_norm: Some(4.0),
            param_norm: Some(3.0),
            error: Some(0.25),
            learning_rate: 0.1,
            r: Some(0.0),
            alpha: Some(0.75),
            ..Measures::default()
        };
        assert_eq!(measure(&outputs, &names, &counts, &planned()).unwrap(), expected);
    }

    #[test]
    fn a_step_that_was_not_taken_has_no_gradient() {
        let names = names(&["loss", GRAD_NORM, LOSS_PERTURBED, SCALED_BY, SKIPPED]);
        let outputs = [2.0, f32::INFINITY, 2.0, 64.0, 1.0].map(Tensor::scalar);
        let found = measure(&outputs, &names, &Counts::default(), &planned()).unwrap();
        assert_eq!((found.grad_norm, found.loss_perturbed, found.sharpness), (None, None, None));
        assert_eq!((found.loss, found.loss_scale, found.skipped), (2.0, Some(64.0), Some(1.0)));
    }

    #[test]
    fn what_is_not_returned_is_unknown() {
        let known = Measures { loss: 2.0, learning_rate: 0.1, r: Some(0.0), alpha: Some(0.75), ..Measures::default() };
        let found = measure(&[Tensor::scalar(2.0)], &names(&["loss"]), &Counts::default(), &planned());
        assert_eq!(found.unwrap(), known);
    }
}
