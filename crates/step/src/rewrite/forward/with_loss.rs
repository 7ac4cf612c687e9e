//! The second stage: a graph that trains, up to its loss.

use super::choices::{what_was_lowered, where_gradients_end};
use super::prepared::{Prepared, candidates};
use super::refusals::refuse_labels;
use super::{StepOptions, StepReport};
use crate::emit::step::Names;
use crate::pass;
use crate::weights::{Reason, Restored, Verdict};
use gnp_base::Result;
use gnp_base::contract::{LABELS, Ranges};
use gnp_gradient::autodiff::Gradients;
use gnp_gradient::loss::{self, Appended, Ending, Loss, Tally};
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
    pub names: Names,
    pub verdicts: Vec<Verdict>,
    pub ranges: Ranges,
    pub restored: Restored,
    pub report: StepReport,
}

/// What a loss that was put on the graph needs and gives; of the graph's own loss its name alone is known.
pub(super) struct Labelled {
    /// The value that the loss is taken of, or that is the loss, by its name in the file.
    pub of: Value,
    pub loss: Option<Loss>,
    pub labels: Option<Fact>,
    pub tally: Option<Tally>,
    /// The value that a loss was put on.
    pub predictions: Option<(Value, Fact)>,
    /// Whether a step model returns it: a table of logits.
    pub returns_logits: bool,
}

impl Prepared {
    /// Lowers the graph and puts the loss on it.
    ///
    /// # Errors
    /// Where a name of the step model is taken, a node cannot train, or the loss does not fit what it is taken of.
    pub fn with_loss(self, options: &StepOptions) -> Result<WithLoss> {
        let Self { mut graph, ending, verdicts, mut ranges, restored, mut report } = self;
        let names = Names::make_way(&mut graph, &options.renames)?;
        let is_frozen = |v: &&Verdict| matches!(v.reason, Reason::Flag(_) | Reason::Adapted) && !v.trains;
        let frozen = verdicts.iter().filter(is_frozen).map(|v| names.in_step(&v.name)).collect();
        let lowered = lowering::lower(&mut graph, &options.lowering, options.gradients, &frozen)?;
        report.choices.extend(what_was_lowered(&lowered));
        let is_statistic = |value: &Value| lowered.state.iter().any(|pair| pair.state == *value);
        let candidates = candidates(&verdicts).into_iter().map(|value| names.in_step(&value));
        let candidates: Vec<Value> = candidates.filter(|value| !is_statistic(value)).collect();

        let b = Builder::new(&mut graph, pass::LOSS);
        let (loss, labelled) = loss_of(&b, ending, &names, &mut ranges, options.gradients)?;
        let loss = loss::append_l2(&b, &loss, &candidates, options.l2, options.l2_skip_vectors);
        report.warnings.extend(where_gradients_end(&graph, &loss, &candidates));
        Ok(WithLoss { graph, loss, candidates, labelled, lowered, names, verdicts, ranges, restored, report })
    }
}

/// The loss at the graph's end: put on it, or its own.
fn loss_of(
    b: &Builder<'_>,
    ending: Ending,
    names: &Names,
    ranges: &mut Ranges,
    gradients: Gradients,
) -> Result<(Value, Labelled)> {
    match ending {
        Ending::Logits { value, loss } => {
            refuse_labels(&b.graph())?;
            let logits = names.in_step(&value);
            let fact = Fact::clone(&b.fact(&logits));
            let Appended { loss: scalar, labels, range, tally } = loss.append(b, &logits, gradients)?;
            ranges.extend(range.map(|range| (LABELS.to_owned(), vec![range])));
            let returns_logits = loss.is_of_a_table(&fact);
            let predictions = Some((logits, fact));
            let (loss, labels) = (Some(loss), Some(labels));
            Ok((scalar, Labelled { of: value, loss, labels, tally, predictions, returns_logits }))
        }
        Ending::Scalar(value) => {
            let loss = scalar(b, &names.in_step(&value));
            let (labels, tally, predictions) = (None, None, None);
            Ok((loss, Labelled { of: value, loss: None, labels, tally, predictions, returns_logits: false }))
        }
    }
}

/// A loss of one element as a scalar.
fn scalar(b: &Builder<'_>, loss: &Value) -> Value {
    if b.fact(loss).rank() == Some(0) { loss.clone() } else { b.reduce_all("ReduceSum", loss) }
}
