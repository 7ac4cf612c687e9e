//! What is counted of a batch: what its loss weighs in a mean, and which labels are wrong.

use gnp_base::contract::{COUNTED, WEIGHT, WRONG, output_of};
use gnp_base::{Error, Result};
use gnp_report::Counts;
use gnp_tensor::{Port, Tensor};
use ndarray::{ArrayView1, ArrayView2, Ix1, Ix2};

/// The labels of a batch and the input that takes them, where there is one such input: the last.
pub(crate) fn only_labels<'b>(batch: &'b [Tensor], ports: &'b [Port]) -> (Option<&'b Tensor>, Option<&'b Port>) {
    let several = ports.iter().filter(|port| output_of(&port.name).is_some()).count() > 1;
    if several { (None, None) } else { (batch.last(), ports.last()) }
}

/// What is counted of `samples` samples with `labels`, by what a graph returned as `outputs` under `names`: the
/// graph's own counts, where it returns any. Else labels are counted by the logits, where they are one whole number
/// a sample, or the probabilities of classes. `port` is the input of the labels.
///
/// # Errors
/// Where a label is neither a class nor to be ignored.
pub(crate) fn count(
    outputs: &[Tensor],
    names: &[String],
    labels: Option<&Tensor>,
    port: Option<&Port>,
    samples: usize,
) -> Result<Counts> {
    let number = |name: &str| Tensor::scalar_named(names, outputs, name);
    let ignored = port.and_then(Port::ignored);
    let classes = labels.and_then(classes);
    let table = classes.as_ref().and_then(|classes| logits(outputs, classes.len()));
    let by_logits = table.zip(classes.as_deref()).map(|(logits, classes)| by_logits(logits, classes, ignored));
    let beyond_top5 = by_logits.and_then(|counts| counts.beyond_top5);
    let Some(counted) = number(COUNTED).map(f64::from) else {
        let unknown = Counts { samples, weight: samples as f64, labels: samples as f64, ..Counts::default() };
        return Ok(by_logits.unwrap_or(unknown));
    };
    if counted.is_nan() {
        return Err(Error::input("a label of the batch is neither a class of the model nor to be ignored")
            .help("number the classes from 0, and train a model with as many; --ignore-index leaves labels out"));
    }
    let weight = number(WEIGHT).map_or(counted, f64::from);
    Ok(Counts { samples, weight, labels: counted, wrong: number(WRONG).map(f64::from), beyond_top5 })
}

fn by_logits(logits: ArrayView2<'_, f32>, classes: &[i64], ignored: Option<i64>) -> Counts {
    let labels = classes.iter().filter(|class| Some(**class) != ignored).count();
    // What is ignored is not counted as right, so that all others are wrong.
    let kept: Vec<i64> = classes.iter().map(|&class| if Some(class) == ignored { -1 } else { class }).collect();
    let beyond = |k: usize| (labels - count_in_top(k, logits, &kept)) as f64;
    Counts {
        samples: classes.len(),
        weight: labels as f64,
        labels: labels as f64,
        wrong: Some(beyond(1)),
        beyond_top5: (logits.ncols() > 5).then(|| beyond(5)),
    }
}

/// How many rows of `logits` (`[batch, classes]`) have their label among the `k` largest. A row with a NaN never has;
/// of equal logits those at other classes count as the larger, so that a model that tells nothing apart is wrong.
fn count_in_top(k: usize, logits: ArrayView2<'_, f32>, labels: &[i64]) -> usize {
    let is_in = |row: ArrayView1<'_, f32>, label: i64| {
        let Some(&own) = usize::try_from(label).ok().and_then(|label| row.get(label)) else { return false };
        let at_least = row.iter().filter(|&&other| other >= own).count();
        at_least <= k && !row.iter().any(|logit| logit.is_nan())
    };
    logits.rows().into_iter().zip(labels).filter(|(row, label)| is_in(*row, **label)).count()
}

/// The first output after the loss that has a row of at least two floats for every sample.
pub(super) fn logits(outputs: &[Tensor], samples: usize) -> Option<ArrayView2<'_, f32>> {
    let tables = outputs.iter().skip(1).filter_map(|output| output.as_f32()?.into_dimensionality::<Ix2>().ok());
    tables.into_iter().find(|table| table.nrows() == samples && table.ncols() >= 2)
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
    use gnp_base::contract::Range;
    use gnp_tensor::ElementType;
    use ndarray::array;
    use ndarray::{ArrayD, IxDyn, arr1, arr2};

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::F32(ArrayD::zeros(IxDyn(shape)))
    }

    fn counts(outputs: &[Tensor], names: &[&str], labels: &Tensor) -> Result<Counts> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let range = Range { ignored: Some(-100), ..Range::up_to(5) };
        let port = Port { ranges: vec![range], ..Port::new("labels", ElementType::I64, [None]) };
        count(outputs, &names, Some(labels), Some(&port), labels.shape()[0])
    }

    #[test]
    fn a_label_is_right_that_is_among_the_largest() {
        let logits = array![[0.1, 0.9, 0.0], [0.8, 0.2, 0.5], [0.5, 0.5, 0.0]];
        assert_eq!(count_in_top(1, logits.view(), &[1, 1, 0]), 1);
        assert_eq!(count_in_top(2, logits.view(), &[1, 1, 0]), 2);
    }

    #[test]
    fn a_diverged_model_is_never_right() {
        let logits = array![[f32::NAN, f32::NAN], [f32::NAN, 1.0]];
        assert_eq!(count_in_top(1, logits.view(), &[0, 1]), 0);
        assert_eq!(count_in_top(2, logits.view(), &[0, 1]), 0);
    }

    #[test]
    fn a_label_that_is_no_class_is_never_right() {
        assert_eq!(count_in_top(2, array![[0.0, 1.0], [0.0, 1.0]].view(), &[-1, 2]), 0);
    }

    #[test]
    fn logits_are_told_by_their_shape() {
        let columns = |outputs: &[Tensor]| logits(outputs, 4).map(|logits| logits.ncols());
        assert_eq!(columns(&[zeros(&[]), zeros(&[4, 10])]), Some(10));
        assert_eq!(columns(&[zeros(&[]), zeros(&[4]), zeros(&[4, 1]), zeros(&[4, 3])]), Some(3));
        assert_eq!(columns(&[zeros(&[])]), None);
        assert_eq!(columns(&[zeros(&[4, 10])]), None);
    }

    #[test]
    fn what_the_graph_counts_takes_precedence() {
        let scalar = Tensor::scalar;
        let outputs = [scalar(0.5), scalar(12.0), scalar(3.0), scalar(7.5)];
        let labels = Tensor::I64(ArrayD::zeros(IxDyn(&[2, 9])));
        let found = counts(&outputs, &["loss", COUNTED, WRONG, WEIGHT], &labels).unwrap();
        assert_eq!(found, Counts { samples: 2, weight: 7.5, labels: 12.0, wrong: Some(3.0), beyond_top5: None });
        assert_eq!(found.error(), Some(0.25));
        let found = counts(&outputs[..3], &["loss", COUNTED, WRONG], &labels).unwrap();
        assert_eq!(found.weight, 12.0);
        let none = counts(&[scalar(0.0), scalar(0.0), scalar(0.0)], &["loss", COUNTED, WRONG], &labels).unwrap();
        assert_eq!((none.weight, none.error()), (0.0, None));
        let bad = counts(&[scalar(f32::NAN), scalar(f32::NAN)], &["loss", COUNTED], &labels).unwrap_err();
        assert!(bad.to_string().contains("neither a class"), "{bad}");
        let nothing = counts(&outputs[..1], &["loss"], &labels).unwrap();
        assert_eq!(nothing, Counts { samples: 2, weight: 2.0, labels: 2.0, wrong: None, beyond_top5: None });
    }

    #[test]
    fn labels_that_are_ignored_are_neither_right_nor_wrong() {
        let rows = [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [9.0, 0.0, 0.0, 0.0, 0.0, 0.0]];
        let outputs = [Tensor::scalar(2.0), Tensor::F32(arr2(&rows).into_dyn())];
        let of =
            |labels: [i64; 3]| counts(&outputs, &["loss", "logits"], &Tensor::I64(arr1(&labels).into_dyn())).unwrap();
        let all = of([0, 4, 0]);
        assert_eq!((all.labels, all.wrong, all.beyond_top5), (3.0, Some(2.0), Some(1.0)));
        let some = of([0, 4, -100]);
        assert_eq!((some.samples, some.labels, some.wrong, some.beyond_top5), (3, 2.0, Some(2.0), Some(1.0)));
    }

    #[test]
    fn of_probabilities_the_likeliest_class_counts() {
        let outputs = [Tensor::scalar(2.0), Tensor::F32(arr2(&[[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]).into_dyn())];
        let labels = Tensor::F32(arr2(&[[0.5, 0.25, 0.25], [0.0, 0.25, 0.75]]).into_dyn());
        assert_eq!(counts(&outputs, &["loss", "logits"], &labels).unwrap().error(), Some(0.5));
        // Targets are no classes.
        let targets = Tensor::F32(arr2(&[[0.5, 0.25, 1.0], [0.5, 0.25, 0.0]]).into_dyn());
        assert_eq!(counts(&outputs, &["loss", "logits"], &targets).unwrap().error(), None);
    }
}
