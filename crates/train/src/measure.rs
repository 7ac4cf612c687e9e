//! From what a step returned to what is reported of it.

use super::evaluate::loss_of;
use super::plan::Planned;
use gnp_base::Result;
use gnp_base::contract::{GRAD_NORM, LOSS_PERTURBED, MIXED_GRAD_NORM, PARAM_NORM};
use gnp_report::Counts;
use gnp_report::Measures;
use gnp_tensor::Tensor;

/// What a step told: `outputs` under `names`, of which `counts` were taken, and what was `planned`.
///
/// # Errors
/// Where the first output is no loss.
pub(super) fn measure(outputs: &[Tensor], names: &[String], counts: &Counts, planned: &Planned) -> Result<Measures> {
    let loss = loss_of(outputs)?;
    let number = |name: &str| outputs.get(names.iter().position(|output| output == name)?)?.to_scalar();
    let loss_perturbed = number(LOSS_PERTURBED);
    Ok(Measures {
        loss,
        loss_perturbed,
        sharpness: loss_perturbed.map(|there| there - loss),
        grad_norm: number(GRAD_NORM),
        mixed_grad_norm: number(MIXED_GRAD_NORM),
        param_norm: number(PARAM_NORM),
        error: counts.error().map(|error| error as f32),
        top5_error: counts.top5_error().map(|error| error as f32),
        learning_rate: planned.rates.learning_rate,
        r: planned.r,
        alpha: planned.alpha,
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
    fn what_is_not_returned_is_unknown() {
        let known = Measures { loss: 2.0, learning_rate: 0.1, r: Some(0.0), alpha: Some(0.75), ..Measures::default() };
        let found = measure(&[Tensor::scalar(2.0)], &names(&["loss"]), &Counts::default(), &planned());
        assert_eq!(found.unwrap(), known);
    }
}
