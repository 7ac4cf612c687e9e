//! Which constants of a forward model are weights, and which weights are one.
//!
//! A file does not say what trains, and does not always hold the weights as the network has them: exporters merge
//! weights that happen to be equal, transpose one of two that are tied, drop biases that are zero. [`restore_sharing`]
//! finds what was merged, copied or dropped and puts it right before the graph is normalised; [`decide`] then judges
//! every float32 constant by what there is: the user's flags, what the exporter recorded ([`Record`]), where the
//! constant stands in the graph, its elements, its name. Every verdict has a reason, and what is a guess is said to be
//! one.

mod copies;
mod decide;
mod differences;
mod edit;
pub mod lora;
mod merged;
mod names;
mod record;
mod roles;
mod selection;
mod values;
mod verdict;

pub use decide::{Evidence, decide, keep_reached};
pub use differences::Lost;
pub(crate) use edit::Types;
pub use edit::{Edit, Reader, apply, separate};
pub use lora::{Lora, LoraWrite};
pub use names::pattern;
pub use record::{Kind, Record, Source};
pub use selection::Selection;
pub(crate) use values::Values;
pub use verdict::{Place, Reason, Verdict};

use foldhash::HashMap;
use gnp_base::Result;
use gnp_base::choice::Choice;
use gnp_model::graph::{Graph, for_each_use};
use gnp_model::onnx::Model;

/// What the user said of weights that are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Constants that are another one.
    pub tie: Vec<Tie>,
    /// Constants whose readers each get one of their own; or one that an `Identity` makes of another.
    pub untie: Vec<String>,
}

/// A constant that is another one, or its transpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The constant that is computed from now on.
    pub name: String,
    /// The one that it is computed from, which trains.
    pub to: String,
}

/// Says which weights several nodes read: the network uses them so, or they were merged.
pub fn several_readers(verdicts: &[Verdict], graph: &Graph) -> Option<Choice> {
    let of_model = verdicts.iter().filter(|verdict| verdict.trains && verdict.reason != Reason::Adapter);
    let mut counts: HashMap<&str, usize> = of_model.map(|verdict| (verdict.name.as_str(), 0)).collect();
    for node in graph.nodes() {
        for_each_use(node, &mut |name| {
            if let Some(count) = counts.get_mut(name) {
                *count += 1;
            }
        });
    }
    let shared: Vec<&str> =
        verdicts.iter().map(|v| v.name.as_str()).filter(|&name| counts.get(name) > Some(&1)).collect();
    let first = shared.first()?;
    let what = if shared.len() == 1 {
        format!("`{first}` is read in {} places and trains as one weight", counts[first])
    } else {
        format!("{} weights are read in several places and train as one each (`{first}`, …)", shared.len())
    };
    Some(Choice::with(what, format!("--untie {first}")))
}

/// What [`restore_sharing`] changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restored {
    /// The changes, in order.
    pub edits: Vec<Edit>,
    /// What was inferred.
    pub choices: Vec<Choice>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// What could not be put right.
    pub lost: Lost,
}

/// What the user should know of `verdicts`: guesses, and weights that are not those of the network.
pub fn warnings(verdicts: &[Verdict], lost: &Lost) -> Vec<String> {
    differences::warnings(verdicts, lost)
}

/// Puts apart what an exporter merged, ties what it copied, puts back what it dropped; `record`, which is what it
/// recorded, learns of the weights that are new.
///
/// # Errors
/// Where `sharing` names what is not there or does not fit, or external data cannot be read.
pub fn restore_sharing(model: &mut Model, record: Option<&mut Record>, sharing: &Sharing) -> Result<Restored> {
    let mut values = Values::in_folder(model.folder());
    let graph = &model.graph;
    let constants = edit::Constants::of(graph);
    let readers = merged::readers(graph, &constants);
    let mut found = merged::Search {
        graph,
        producer: model.header.producer_name(),
        constants: &constants,
        readers: &readers,
        record: record.as_deref(),
        sharing,
        values: &mut values,
    }
    .run()?;
    let mut warnings = Vec::new();
    let taken = found.edits.iter().filter_map(Edit::made).map(str::to_owned).collect();
    copies::Search {
        constants: &constants,
        readers: &readers,
        record: record.as_deref(),
        sharing,
        values: &mut values,
        taken,
    }
    .run(&mut found, &mut warnings)?;
    apply(&mut model.graph, &found.edits)?;
    let mut lost = Lost::default();
    if let Some(record) = record {
        record.follow(&found.edits);
        record.note_rearranged(&model.graph);
        lost = Lost::of(record, &model.graph);
    }
    Ok(Restored { edits: found.edits, choices: found.choices, warnings, lost })
}
