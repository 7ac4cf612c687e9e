//! The second stage: a graph that trains, up to its loss.

use super::choices::{what_is_halved, what_was_lowered, where_gradients_end};
use super::in_parts::InParts;
use super::prepared::{Prepared, candidates};
use super::refusals::refuse_labels;
use super::{StepOptions, StepReport};
use crate::accumulate::Shares;
use crate::emit::step::Names;
use crate::pass;
use crate::precision::halve;
use crate::weights::{Reason, Restored, Verdict};
use gnp_base::Result;
use gnp_base::contract::{LABELS, Ranges, labels_of};
use gnp_gradient::autodiff::Gradients;
use gnp_gradient::loss::{self, Ending, Loss, Tally, Term, Total};
use gnp_gradient::lowering::{self, Lowered};
use gnp_model::graph::{Builder, Fact, Graph, Value};

/// A graph whose nodes train as they are to train, with L(θ), a float scalar, at its end. Its values have given way to
/// the names of the step model.
pub(super) struct WithLoss {
    pub graph: Graph,
    /// L(θ) with its regularisation.
    pub loss: Value,
    /// The constants that are to train.
    pub candidates: Vec<Value>,
    pub labelled: Labelled,
    pub lowered: Lowered,
    /// How the batch is to be taken in parts.
    pub in_parts: Option<InParts>,
    pub names: Names,
    pub verdicts: Vec<Verdict>,
    pub ranges: Ranges,
    pub restored: Restored,
    pub report: StepReport,
}

/// What the losses that were put on the graph need and give; of the graph's own loss its name alone is known.
#[derive(Default)]
pub(super) struct Labelled {
    /// The value that the loss is taken of, or that is the loss, by its name in the file; empty where there are several
    /// losses.
    pub of: String,
    pub loss: Option<Loss>,
    /// Several losses.
    pub terms: Vec<Term>,
    /// The inputs of the labels.
    pub labels: Vec<(String, Fact)>,
    pub tally: Option<Tally>,
    /// Each of several losses before it is weighted, under the name that it is returned under.
    pub losses: Vec<(String, Value)>,
    /// The values that losses were put on.
    pub predictions: Vec<(Value, Fact)>,
    /// Whether a step model returns it: a table of logits.
    pub returns_logits: bool,
}

impl Labelled {
    /// With what `total` needs and gives; adds what its labels may be to `ranges`. Returns L first.
    fn by(self, total: Total, ranges: &mut Ranges) -> (Value, Self) {
        let Total { loss, each, labels, tally, predictions } = total;
        let labels = labels.into_iter().map(|(name, fact, range)| {
            ranges.extend(range.map(|range| (name.clone(), vec![range])));
            (name, fact)
        });
        (loss, Self { labels: labels.collect(), tally, losses: each, predictions, ..self })
    }
}

impl Prepared {
    /// Lowers the graph and puts the loss on it.
    ///
    /// # Errors
    /// Where a name of the step model is taken, a node cannot train, or the loss does not fit what it is taken of.
    pub fn with_loss(self, options: &StepOptions) -> Result<WithLoss> {
        let Self { mut graph, ending, verdicts, mut ranges, restored, folder, opset, mut report } = self;
        let names = Names::make_way(&mut graph, &options.renames)?;
        let is_frozen = |v: &&Verdict| matches!(v.reason, Reason::Flag(_) | Reason::Adapted) && !v.trains;
        let frozen = verdicts.iter().filter(is_frozen).map(|v| names.in_step(&v.name)).collect();
        let lowered = lowering::lower(&mut graph, &options.lowering, options.gradients, &frozen)?;
        report.choices.extend(what_was_lowered(&lowered, options.accumulate.is_some()));
        let is_statistic = |value: &Value| lowered.state.iter().any(|pair| pair.state == *value);
        let candidates = candidates(&verdicts).into_iter().map(|value| names.in_step(&value));
        let candidates: Vec<Value> = candidates.filter(|value| !is_statistic(value)).collect();

        if let Some(half) = options.precision.half() {
            let halved = halve(&mut graph, half, opset, &folder)?;
            report.choices.push(what_is_halved(options.precision, halved));
        }
        let b = Builder::new(&mut graph, pass::LOSS);
        let mut shares = options.accumulate.map(|_| Shares::default());
        let (loss, labelled) = end(&b, ending, &names, &mut ranges, options.gradients, shares.as_mut())?;
        let loss = match loss::append_l2(&b, &candidates, options.l2, options.l2_skip_vectors) {
            Some(l2) => b.add(loss, over_samples(&b, l2, shares.as_mut())),
            None => loss,
        };
        drop(b);
        let in_parts = options.accumulate.zip(shares);
        let in_parts = in_parts
            .map(|(accumulate, shares)| InParts::prepare(&mut graph, &labelled, &lowered, shares, accumulate))
            .transpose()?;
        report.warnings.extend(where_gradients_end(&graph, &loss, &candidates));
        Ok(WithLoss { graph, loss, candidates, labelled, lowered, in_parts, names, verdicts, ranges, restored, report })
    }
}

/// The loss at the graph's end: put on it, or its own. Each mean that it is made of has a share, where there are any.
fn end(
    b: &Builder<'_>,
    ending: Ending,
    names: &Names,
    ranges: &mut Ranges,
    gradients: Gradients,
    mut shares: Option<&mut Shares>,
) -> Result<(Value, Labelled)> {
    let mut share = |loss: &Loss, labels: &str| shares.as_deref_mut().map(|shares| shares.of_labels(b, loss, labels));
    match ending {
        Ending::Logits { value, loss } => {
            refuse_labels(&b.graph(), LABELS)?;
            let total = Total::of(b, &loss, names.in_step(&value), gradients, &mut share)?;
            let returns_logits = total.predictions.iter().all(|(_, fact)| loss.is_of_a_table(fact));
            let of = Labelled { of: value.to_string(), loss: Some(loss), returns_logits, ..Labelled::default() };
            Ok(of.by(total, ranges))
        }
        Ending::Sum(terms) => {
            terms.iter().try_for_each(|term| refuse_labels(&b.graph(), &labels_of(&term.output)))?;
            let total = Total::sum(b, &terms, |value| names.in_step(value), gradients, &mut share)?;
            Ok(Labelled { terms, ..Labelled::default() }.by(total, ranges))
        }
        Ending::Scalar(value) => {
            let loss = over_samples(b, scalar(b, &names.in_step(&value)), shares);
            Ok((loss, Labelled { of: value.to_string(), ..Labelled::default() }))
        }
    }
}

/// What is as a mean over samples, times the share of a part.
fn over_samples(b: &Builder<'_>, value: Value, shares: Option<&mut Shares>) -> Value {
    match shares {
        Some(shares) => b.mul(value, shares.of_samples(b)),
        None => value,
    }
}

/// A loss of one element as a scalar.
fn scalar(b: &Builder<'_>, loss: &Value) -> Value {
    if b.fact(loss).rank() == Some(0) { loss.clone() } else { b.reduce_all("ReduceSum", loss) }
}
