//! From what a step returned to what is reported of it.

use super::evaluate::{Hits, loss_of};
use super::metrics::Measures;
use super::plan::Planned;
use crate::Result;
use crate::contract::{GRAD_NORM, LOSS_PERTURBED, MIXED_GRAD_NORM, PARAM_NORM};
use crate::engine::Tensor;
use ndarray::{ArrayView1, Ix1, Ix2};

/// What a step told: `outputs` under `names`, for a batch with `labels`, taken with what was `planned`. Errors are counted where
/// the labels are one whole number a sample, or the probabilities of classes, and the logits are among the outputs.
///
/// # Errors
/// Where the first output is no loss.
pub(super) fn measure(
    outputs: &[Tensor],
    names: &[String],
    labels: Option<&Tensor>,
    planned: &Planned,
) -> Result<Measures> {
    let loss = loss_of(outputs)?;
    let number = |name: &str| outputs.get(names.iter().position(|output| output == name)?)?.to_scalar();
    let loss_perturbed = number(LOSS_PERTURBED);
    let mut hits = Hits::default();
    if let Some(classes) = labels.and_then(classes) {
        hits.add(outputs, &classes);
    }
    Ok(Measures {
        loss,
        loss_perturbed,
        sharpness: loss_perturbed.map(|there| there - loss),
        grad_norm: number(GRAD_NORM),
        mixed_grad_norm: number(MIXED_GRAD_NORM),
        param_norm: number(PARAM_NORM),
        error: hits.error().map(|error| error as f32),
        top5_error: hits.top5_error().map(|error| error as f32),
        learning_rate: planned.rates.learning_rate,
        r: planned.r,
        alpha: planned.alpha,
    })
}

/// One class a sample: the likeliest, where the labels are probabilities.
fn classes(labels: &Tensor) -> Option<Vec<i64>> {
    match labels {
        Tensor::I32(labels) => {
            labels.view().into_dimensionality::<Ix1>().ok().map(|l| l.iter().map(|&c| c.into()).collect())
        }
        Tensor::I64(labels) => labels.view().into_dimensionality::<Ix1>().ok().map(|l| l.to_vec()),
        Tensor::F32(labels) => {
            let table = labels.view().into_dimensionality::<Ix2>().ok().filter(|table| table.ncols() >= 2)?;
            let likeliest = |row: ArrayView1<'_, f32>| {
                let first_largest = |best: usize, class: usize| if row[class] > row[best] { class } else { best };
                (1..row.len()).fold(0, first_largest) as i64
            };
            let is_distribution =
                |row: ArrayView1<'_, f32>| row.iter().all(|&share| share >= 0.0) && (row.sum() - 1.0).abs() < 1e-3;
            let are_probabilities = table.rows().into_iter().all(is_distribution);
            are_probabilities.then(|| table.rows().into_iter().map(likeliest).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Rates;
    use ndarray::{arr1, arr2};

    fn planned() -> Planned {
        Planned { rates: Rates::new(0.1), r: Some(0.0), alpha: Some(0.75) }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn outputs_are_told_by_their_names() {
        let names = names(&["loss", PARAM_NORM, "logits", MIXED_GRAD_NORM, GRAD_NORM, LOSS_PERTURBED]);
        let logits = arr2(&[[0.5, 0.25, 1.0], [0.0, 2.0, 1.0], [3.0, 0.0, 1.0], [3.0, 0.0, 1.0]]).into_dyn();
        let scalar = Tensor::scalar;
        let outputs = [scalar(2.0), scalar(3.0), Tensor::F32(logits), scalar(4.0), scalar(5.0), scalar(2.5)];
        let labels = Tensor::I64(arr1(&[2, 1, 0, 1]).into_dyn());
        let measures = measure(&outputs, &names, Some(&labels), &planned()).unwrap();
        let expected = Measures {
            loss: 2.0,
            loss_perturbed: Some(2.5),
            sharpness: Some(0.5),
            grad_norm: Some(5.0),
            mixed_grad_norm: Some(4.0),
            param_norm: Some(3.0),
            error: Some(0.25),
            top5_error: None,
            learning_rate: 0.1,
            r: Some(0.0),
            alpha: Some(0.75),
        };
        assert_eq!(measures, expected);
        let labels = Tensor::I32(arr1(&[2, 1, 0, 1]).into_dyn());
        assert_eq!(measure(&outputs, &names, Some(&labels), &planned()).unwrap(), expected);
    }

    #[test]
    fn what_is_not_returned_is_unknown() {
        let outputs = [Tensor::scalar(2.0)];
        let labels = Tensor::I64(arr1(&[2, 1]).into_dyn());
        let measures = measure(&outputs, &names(&["loss"]), Some(&labels), &planned()).unwrap();
        let known = Measures { loss: 2.0, learning_rate: 0.1, r: Some(0.0), alpha: Some(0.75), ..Measures::default() };
        assert_eq!(measures, known);
        // Targets are no classes.
        let outputs = [Tensor::scalar(2.0), Tensor::F32(arr2(&[[0.5, 0.25], [0.5, 0.25]]).into_dyn())];
        let targets = Tensor::F32(arr2(&[[0.5, 0.25], [0.5, 0.25]]).into_dyn());
        assert_eq!(measure(&outputs, &names(&["loss", "y"]), Some(&targets), &planned()).unwrap(), known);
    }

    #[test]
    fn of_probabilities_the_likeliest_class_counts() {
        let outputs = [Tensor::scalar(2.0), Tensor::F32(arr2(&[[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]).into_dyn())];
        let labels = Tensor::F32(arr2(&[[0.5, 0.25, 0.25], [0.0, 0.25, 0.75]]).into_dyn());
        let measures = measure(&outputs, &names(&["loss", "logits"]), Some(&labels), &planned()).unwrap();
        assert_eq!(measures.error, Some(0.5));
    }

    #[test]
    fn five_guesses_are_told_of_six_classes() {
        let logits = arr2(&[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]]).into_dyn();
        let labels = Tensor::I64(arr1(&[0, 4]).into_dyn());
        let outputs = [Tensor::scalar(2.0), Tensor::F32(logits)];
        let measures = measure(&outputs, &names(&["loss", "logits"]), Some(&labels), &planned()).unwrap();
        assert_eq!((measures.error, measures.top5_error), (Some(1.0), Some(0.5)));
    }
}
