//! The first stage: a forward graph in one form, and what was decided of it.

use super::analysed::Analysed;
use super::choices::{sizes, what_trains};
use super::refusals::{refuse_what_is_quantised, refuse_what_is_rewritten, require_axes, require_elements};
use super::{StepOptions, StepReport};
use crate::weights::{self, Edit, Evidence, Record, Restored, Verdict, lora};
use gnp_base::Result;
use gnp_base::contract::Ranges;
use gnp_gradient::loss::{Ending, find_ending};
use gnp_model::float32;
use gnp_model::graph::{self, Graph, Value, ranges};
use gnp_model::normalise::{OPSET, normalise_converting};
use gnp_model::onnx::Model;
use std::path::PathBuf;

/// A forward graph that is normalised, whose axes are as they are wanted, with the facts that follow. It is decided
/// where its loss is and what trains, and the user has been told of that by the names in the file. What trains is no
/// constant any more.
pub(super) struct Prepared {
    pub graph: Graph,
    pub ending: Ending,
    pub verdicts: Vec<Verdict>,
    /// What its inputs may hold.
    pub ranges: Ranges,
    /// What was put right of weights that an exporter merged or split.
    pub restored: Restored,
    /// The folder that the model's data are in.
    pub folder: PathBuf,
    /// The standard's operator set.
    pub opset: i64,
    pub report: StepReport,
}

impl Prepared {
    /// Takes the graph out of `model`.
    ///
    /// # Errors
    /// Where it is no forward model that can train, or what `options` ask for does not fit it.
    pub fn of(model: &mut Model, options: &StepOptions) -> Result<Self> {
        options.validate()?;
        model.limits = options.limits;
        refuse_what_is_rewritten(model)?;
        let mut report = StepReport::new(model);
        graph::well_formed(&model.graph)?;
        // What is frozen beside adapters stays in the type that the file has it in.
        let converts = |name: &str| options.lora.is_none() || options.selection.names(name);
        let converted = float32::convert(model, &converts)?;
        let mut record = Record::of(model);
        let mut restored = weights::restore_sharing(model, record.as_mut(), &options.sharing)?;
        let mut told = Vec::new();
        if let Some(lora) = &options.lora {
            let attached = lora::attach(&mut model.graph, lora, &options.selection, record.as_ref())?;
            restored.edits.extend(attached.edits);
            restored.warnings.extend(attached.warnings);
            told = attached.choices;
        }
        let normalised = normalise_converting(model, &converts)?;
        report.warnings = converted.into_iter().collect();
        report.warnings.extend(std::mem::take(&mut restored.warnings).into_iter().chain(normalised.warnings));
        refuse_what_is_quantised(model)?;
        let Analysed { mut graph, angles, opened, empty } = Analysed::of(model, &options.dims, options.loss.value())?;
        graph.proto().input.iter().try_for_each(|input| require_axes(&graph, input.name()))?;

        let ending = find_ending(&graph, &options.loss);
        let evidence = Evidence {
            record: record.as_ref(),
            producer: model.header.producer_name(),
            folder: model.folder(),
            adapters: &adapters(&restored.edits),
            loss: if let Ok((Ending::Scalar(loss), _)) = &ending { Some(&**loss) } else { None },
            angles: &angles,
            made: &normalised.made,
        };
        let verdicts = weights::decide(&graph, &evidence, &options.selection)?;
        let (ending, loss) = ending?;
        match &ending {
            Ending::Logits { value, .. } => require_elements(&graph, value)?,
            Ending::Sum(terms) => terms.iter().try_for_each(|term| require_elements(&graph, &term.value))?,
            Ending::Scalar(_) => {}
        }
        let sizes = sizes(&graph, &opened, &empty, options);
        let inferred = std::mem::take(&mut restored.choices);
        let trained = if told.is_empty() { what_trains(record.is_some(), &verdicts) } else { told };
        report.choices = [loss, trained, inferred, sizes].concat();
        // What the exporter recorded tells merged weights from those that the network shares.
        if record.is_none() {
            report.choices.extend(weights::several_readers(&verdicts, &graph));
        }
        let ranges = ranges(graph.proto(), graph.facts());
        graph.vary(&candidates(&verdicts));
        let (folder, opset) = (model.folder().to_owned(), model.opset("").unwrap_or(OPSET));
        Ok(Self { graph, ending, verdicts, ranges, restored, folder, opset, report })
    }
}

/// The constants that are to train, by their names in the file.
pub(super) fn candidates(verdicts: &[Verdict]) -> Vec<Value> {
    verdicts.iter().filter(|verdict| verdict.trains).map(|verdict| verdict.name.as_str().into()).collect()
}

/// The names of the adapters that `edits` put in.
fn adapters(edits: &[Edit]) -> Vec<String> {
    edits.iter().filter_map(Edit::adapter).flat_map(|adapter| [adapter.a(), adapter.b()]).collect()
}
