//! Scores of a test set beside its loss and error: what a task is judged by, told from the labels and what the model
//! returns.

use gnp_base::contract::{WEIGHT, WRONG};
use gnp_report::{Score, Scores};
use gnp_tensor::{Port, Tensor};
use ndarray::{ArrayViewD, Axis};

/// What is counted towards the scores, batch by batch.
#[derive(Debug, Default)]
pub(crate) struct Scoring {
    task: Option<Task>,
    /// Whether a batch had nothing to be scored, or another task than those before.
    is_mixed: bool,
}

#[derive(Debug)]
enum Task {
    /// Classes, one a label: of a sample, a token, a pixel.
    Classes {
        classes: Confusion,
        /// The axes of the labels.
        rank: usize,
        /// Whether the loss is the mean over the labels.
        is_mean: bool,
    },
    /// Outputs that are right or wrong each for itself.
    Outputs(Confusion),
    /// Numbers, by output.
    Numbers(Vec<Residuals>),
}

/// How often each class was the label, was predicted, and both.
#[derive(Debug, Default)]
struct Confusion {
    actual: Vec<u64>,
    predicted: Vec<u64>,
    both: Vec<u64>,
}

/// Sums over labels y and predictions ŷ.
#[derive(Clone, Debug, Default)]
struct Residuals {
    count: f64,
    mean: f64,
    /// Σ(y − ȳ)²
    squares: f64,
    /// Σ(y − ŷ)²
    squared_errors: f64,
    /// Σ|y − ŷ|
    errors: f64,
}

impl Scoring {
    /// Counts a batch: what its `labels` are, and what the graph returned as `outputs` under `names`; `port` takes the
    /// labels.
    pub(crate) fn add(&mut self, outputs: &[Tensor], names: &[String], labels: Option<&Tensor>, port: Option<&Port>) {
        let has = |name: &str| names.iter().any(|output| output == name);
        let predictions = outputs.iter().skip(1).filter_map(Tensor::as_f32);
        let found = labels.and_then(|labels| match labels {
            Tensor::F32(labels) => {
                let same = predictions.into_iter().find(|array| array.shape() == labels.shape())?;
                Some(match has(WRONG) {
                    true => self.add_outputs(&same, &labels.view()),
                    false => self.add_numbers(&same, &labels.view()),
                })
            }
            Tensor::I64(_) | Tensor::I32(_) => {
                let classes = whole(labels);
                let (table, axis) = predictions.into_iter().find_map(|array| {
                    let axis = class_axis(array.shape(), labels.shape())?;
                    Some((array, axis))
                })?;
                let ignored = port.and_then(Port::ignored);
                Some(self.add_classes(&table, axis, &classes, labels.shape().len(), ignored, !has(WEIGHT)))
            }
        });
        self.is_mixed |= found != Some(true);
    }

    fn add_classes(
        &mut self,
        table: &ArrayViewD<'_, f32>,
        axis: usize,
        labels: &[i64],
        of_labels: usize,
        ignored: Option<i64>,
        mean: bool,
    ) -> bool {
        let task = self.task.get_or_insert_with(|| Task::Classes {
            classes: Confusion::default(),
            rank: of_labels,
            is_mean: mean,
        });
        let Task::Classes { classes, .. } = task else { return false };
        for (lane, &label) in table.lanes(Axis(axis)).into_iter().zip(labels) {
            if Some(label) == ignored {
                continue;
            }
            let Ok(label) = usize::try_from(label) else { return false };
            let larger = |best: (usize, f32), (class, &logit): (usize, &f32)| {
                if logit > best.1 { (class, logit) } else { best }
            };
            let (predicted, _) = lane.iter().enumerate().fold((0, f32::NEG_INFINITY), larger);
            classes.add(label, predicted);
        }
        true
    }

    fn add_outputs(&mut self, logits: &ArrayViewD<'_, f32>, labels: &ArrayViewD<'_, f32>) -> bool {
        // [samples, outputs, …], or one output a sample.
        let outputs = logits.shape().get(1).copied().unwrap_or(1).max(1);
        let inner: usize = logits.shape().iter().skip(2).product();
        let Task::Outputs(classes) = self.task.get_or_insert_with(|| Task::Outputs(Confusion::default())) else {
            return false;
        };
        for (place, (&logit, &label)) in logits.iter().zip(labels).enumerate() {
            let output = place / inner.max(1) % outputs;
            let (actual, predicted) = (label > 0.5, logit > 0.0);
            classes.count(output, actual, predicted);
        }
        true
    }

    fn add_numbers(&mut self, predictions: &ArrayViewD<'_, f32>, labels: &ArrayViewD<'_, f32>) -> bool {
        let samples = labels.shape().first().copied().unwrap_or(1).max(1);
        let outputs = (labels.len() / samples).max(1);
        let fresh = || Task::Numbers(vec![Residuals::default(); outputs]);
        let Task::Numbers(sums) = self.task.get_or_insert_with(fresh) else { return false };
        if sums.len() != outputs {
            return false;
        }
        for (place, (&prediction, &label)) in predictions.iter().zip(labels).enumerate() {
            sums[place % outputs].add(label.into(), prediction.into());
        }
        true
    }

    /// The scores, of a test set whose mean loss is `loss`; none where there is nothing to be scored.
    pub(crate) fn scores(&self, loss: f64) -> Scores {
        let mut scores = Scores::new();
        let mut add = |score: Score, value: f64| {
            if value.is_finite() {
                scores.insert(score, value);
            }
        };
        match self.task.as_ref().filter(|_| !self.is_mixed) {
            None => {}
            Some(Task::Classes { classes, rank, is_mean }) => {
                add(Score::F1, classes.f1());
                if *rank >= 3 {
                    add(Score::MeanIou, classes.mean_iou());
                }
                if *rank == 2 && *is_mean {
                    add(Score::Perplexity, loss.exp());
                }
            }
            Some(Task::Outputs(classes)) => add(Score::F1, classes.f1()),
            Some(Task::Numbers(sums)) => {
                let count: f64 = sums.iter().map(|sums| sums.count).sum();
                add(Score::Mae, sums.iter().map(|sums| sums.errors).sum::<f64>() / count);
                let known: Vec<f64> = sums.iter().filter_map(Residuals::r2).collect();
                add(Score::R2, known.iter().sum::<f64>() / known.len() as f64);
            }
        }
        scores
    }
}

impl Confusion {
    fn grow(&mut self, classes: usize) {
        for counts in [&mut self.actual, &mut self.predicted, &mut self.both] {
            counts.resize(counts.len().max(classes), 0);
        }
    }

    fn add(&mut self, actual: usize, predicted: usize) {
        self.grow(actual.max(predicted) + 1);
        self.actual[actual] += 1;
        self.predicted[predicted] += 1;
        self.both[actual] += u64::from(actual == predicted);
    }

    /// Counts whether `class` is there, and was said to be.
    fn count(&mut self, class: usize, actual: bool, predicted: bool) {
        self.grow(class + 1);
        self.actual[class] += u64::from(actual);
        self.predicted[class] += u64::from(predicted);
        self.both[class] += u64::from(actual && predicted);
    }

    /// The mean of `score` (of how often a class was the label, was predicted, and both) over the classes that were
    /// either.
    fn mean(&self, score: impl Fn(f64, f64, f64) -> f64) -> f64 {
        let counts = self.actual.iter().zip(&self.predicted).zip(&self.both);
        let counts = counts.map(|((&actual, &predicted), &both)| (actual as f64, predicted as f64, both as f64));
        let known = counts.filter(|(actual, predicted, _)| actual + predicted > 0.0);
        let scores: Vec<f64> = known.map(|(actual, predicted, both)| score(actual, predicted, both)).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    fn f1(&self) -> f64 {
        self.mean(|actual, predicted, both| 2.0 * both / (actual + predicted))
    }

    fn mean_iou(&self) -> f64 {
        self.mean(|actual, predicted, both| both / (actual + predicted - both))
    }
}

impl Residuals {
    fn add(&mut self, label: f64, prediction: f64) {
        // Welford's update: sums of squares of large numbers lose what tells them apart.
        self.count += 1.0;
        let before = label - self.mean;
        self.mean += before / self.count;
        self.squares += before * (label - self.mean);
        self.squared_errors += (label - prediction).powi(2);
        self.errors += (label - prediction).abs();
    }

    /// None where all labels are the same.
    fn r2(&self) -> Option<f64> {
        (self.squares > 0.0).then(|| 1.0 - self.squared_errors / self.squares)
    }
}

/// The axis of the classes in what a model returns for labels of this shape: the second, as PyTorch has it, or the
/// last.
fn class_axis(returned: &[usize], labels: &[usize]) -> Option<usize> {
    if returned.len() != labels.len() + 1 || returned.len() < 2 {
        return None;
    }
    let fits = |axis: &usize| returned[..*axis] == labels[..*axis] && returned[*axis + 1..] == labels[*axis..];
    [1, returned.len() - 1].into_iter().find(|axis| fits(axis))
}

fn whole(labels: &Tensor) -> Vec<i64> {
    match labels {
        Tensor::I64(labels) => labels.iter().copied().collect(),
        Tensor::I32(labels) => labels.iter().map(|&label| label.into()).collect(),
        Tensor::F32(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, IxDyn};

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::F32(Array::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap())
    }

    fn classes(shape: &[usize], values: &[i64]) -> Tensor {
        Tensor::I64(Array::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap())
    }

    fn scores(batches: &[(Tensor, Tensor)], names: &[&str], loss: f64) -> Vec<(Score, f64)> {
        let mut scoring = Scoring::default();
        let names: Vec<String> = ["loss", "y"].iter().chain(names).map(|&name| name.to_owned()).collect();
        for (predictions, labels) in batches {
            scoring.add(&[Tensor::scalar(loss as f32), predictions.clone()], &names, Some(labels), None);
        }
        scoring.scores(loss).into_iter().collect()
    }

    fn assert_close(found: &[(Score, f64)], expected: &[(Score, f64)]) {
        let close = found.len() == expected.len()
            && found.iter().zip(expected).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-6);
        assert!(close, "{found:?}, not {expected:?}");
    }

    // The expected numbers are those of scikit-learn 1.7 (f1_score with average="macro", jaccard_score likewise,
    // mean_absolute_error, r2_score).
    #[test]
    fn scores_are_those_of_scikit_learn() {
        // Predicted 0, 1, 2, 1, 0 of 0, 1, 1, 2, 0.
        let table = |rows: &[usize]| {
            let hot: Vec<f32> =
                rows.iter().flat_map(|&row| (0..3).map(move |c| f32::from(u8::from(c == row)))).collect();
            floats(&[rows.len(), 3], &hot)
        };
        let batches = [(table(&[0, 1, 2]), classes(&[3], &[0, 1, 1])), (table(&[1, 0]), classes(&[2], &[2, 0]))];
        assert_close(&scores(&batches, &[WRONG], 0.5), &[(Score::F1, 0.5)]);
        let numbers = (floats(&[4, 1], &[2.5, 0.0, 2.0, 8.0]), floats(&[4, 1], &[3.0, -0.5, 2.0, 7.0]));
        assert_close(&scores(&[numbers], &[], 0.5), &[(Score::Mae, 0.5), (Score::R2, 0.948_608_137)]);
        let two =
            (floats(&[3, 2], &[0.0, 2.0, -1.0, 2.0, 8.0, -5.0]), floats(&[3, 2], &[0.5, 1.0, -1.0, 1.0, 7.0, -6.0]));
        assert_close(&scores(&[two], &[], 0.5), &[(Score::Mae, 0.75), (Score::R2, 0.936_800_528)]);
        let outputs = (floats(&[2, 2], &[1.0, -1.0, 1.0, 1.0]), floats(&[2, 2], &[1.0, 0.0, 0.0, 1.0]));
        assert_close(&scores(&[outputs], &[WRONG], 0.5), &[(Score::F1, (2.0 / 3.0 + 1.0) / 2.0)]);
    }

    #[test]
    fn pixels_have_a_mean_iou_and_tokens_a_perplexity() {
        // Classes first: predicted [[0, 1]] of [[0, 0]].
        let pixels = (floats(&[1, 2, 1, 2], &[1.0, 0.0, 0.0, 1.0]), classes(&[1, 1, 2], &[0, 0]));
        assert_close(&scores(&[pixels], &[WRONG], 0.5), &[(Score::F1, 1.0 / 3.0), (Score::MeanIou, 0.25)]);
        let tokens = (floats(&[1, 3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0]), classes(&[1, 3], &[0, 1, 0]));
        assert_close(&scores(&[tokens], &[WRONG], 2.0), &[(Score::F1, 1.0), (Score::Perplexity, 2f64.exp())]);
    }

    #[test]
    fn what_has_no_predictions_has_no_scores() {
        assert_eq!(scores(&[(Tensor::scalar(0.0), classes(&[2], &[0, 1]))], &[], 1.0), []);
        assert_eq!(Scoring::default().scores(1.0), Scores::new());
    }
}
