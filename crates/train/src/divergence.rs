//! What is said of a step that was not taken because a number of it is none.

use gnp_base::Error;
use gnp_base::contract::{GRAD_NORM, LOSS_PERTURBED, MIXED_GRAD_NORM, PARAM_NORM};
use gnp_data::{Batch, Feed};
use gnp_report::StepReport;
use gnp_tensor::{NotFinite, Tensor};
use std::fmt;

/// Numbers beyond this, in samples or labels, are likely to be the reason: their squares overflow soon.
const LARGE: f32 = 1e9;

/// Why a step was not taken, and whether the weights that it would have been taken from are good.
pub(super) struct Divergence {
    pub error: Error,
    pub weights_are_good: bool,
}

/// That the step of `report` was not taken: `found` was no number. `outputs` are the names of what it returned, the
/// loss first.
pub(super) fn diverged(
    found: &NotFinite,
    outputs: &[String],
    report: &StepReport,
    batch: &Batch<'_>,
    feed: &Feed<'_>,
) -> Divergence {
    let StepReport { epoch, step, measures, .. } = report;
    let of_loss = outputs.first() == Some(&found.name);
    let (what, at_weights) = match found.name.as_str() {
        _ if of_loss => ("the loss is", true),
        GRAD_NORM => ("the norm of the gradient is", true),
        PARAM_NORM => ("the norm of the weights is", true),
        LOSS_PERTURBED => ("the loss at the perturbed weights is", false),
        MIXED_GRAD_NORM => ("the norm of the mixed gradient is", false),
        state => (&*format!("`{state}` would become"), false),
    };
    let place = format!("{what} {} at step {step} (epoch {epoch})", found.value);
    if let Some(outlier) = Outlier::in_batch(batch, feed) {
        let error = Error::diverged(format!("{place}, in whose batch {outlier}"));
        let error =
            if outlier.is_label { feed.data().in_labels_file(error) } else { feed.data().in_samples_file(error) };
        let help = "mend that sample or leave it out, or bring the data to numbers near 1 (--normalize, --divisor)";
        return Divergence { error: error.help(help), weights_are_good: true };
    }
    let error = if of_loss && *step == 1 {
        Error::diverged(format!("{place}, with the weights that it begins with; the data of its batch are numbers")).help(
            "look at what the model computes of such data: a logarithm or a division of 0, weights that are too large",
        )
    } else {
        let rate = match measures.learning_rate {
            rate if rate.abs() > 1e6 => format!("{rate:e}"),
            rate => rate.to_string(),
        };
        Error::diverged(format!("{place}: training has diverged"))
            .help(format!("lower the learning rate (it was {rate} here) or r, or warm it up for longer"))
    };
    let is_float16 = measures.loss_scale.is_some();
    let error = match is_float16 && (of_loss || found.name == GRAD_NORM) {
        true => error.more_help("numbers of float16 end at 65504: --precision bfloat16 has the range of float32"),
        false => error,
    };
    Divergence { error, weights_are_good: !at_weights }
}

/// The largest number of a batch, where it is that large.
struct Outlier {
    sample: usize,
    value: f32,
    is_label: bool,
}

impl Outlier {
    fn in_batch(batch: &Batch<'_>, feed: &Feed<'_>) -> Option<Self> {
        let labels = feed.label_inputs();
        let parts = batch.tensors.iter().enumerate().filter_map(|(index, tensor)| {
            let Tensor::F32(array) = tensor else { return None };
            let size = array.len() / batch.rows.len().max(1);
            let (at, value) = array.iter().enumerate().max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()))?;
            let sample = *batch.rows.get(at / size.max(1))?;
            Some(Self { sample: feed.data().number_of(sample), value: *value, is_label: labels.contains(&index) })
        });
        parts.filter(|outlier| outlier.value.abs() > LARGE).max_by(|a, b| a.value.abs().total_cmp(&b.value.abs()))
    }
}

impl fmt::Display for Outlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sample, value, is_label } = self;
        let of = if *is_label { "the label of sample" } else { "sample" };
        write!(f, "{of} {sample} holds {value:e}")
    }
}
