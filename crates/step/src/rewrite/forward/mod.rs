//! A forward model in, a step model out.
//!
//! A step model comes into being in stages, each a type that one call makes of the last, and each with what it
//! promises: [`Prepared`] → [`WithLoss`] → [`Differentiated`] → [`Penalised`] → [`Updated`] → the model
//! (`assembled.rs`).

mod analysed;
mod artifacts;
mod assembled;
mod choices;
mod config;
mod differentiated;
mod in_parts;
mod options;
mod penalised;
mod prepared;
mod refusals;
mod updated;
mod with_loss;

pub(super) use analysed::Analysed;
pub use artifacts::{Destination, TakenBy, make_artifacts, write_artifacts};
pub use config::StepConfig;
pub use options::StepOptions;

use differentiated::Differentiated;
use penalised::Penalised;
use prepared::Prepared;
use updated::Updated;
use with_loss::WithLoss;

use super::StepReport;
use crate::transform::Fed;
use gnp_base::{Result, files};
use gnp_model::normalise::OPSET;
use gnp_model::onnx::{self, Model, Watch, WriteOptions};
use std::path::Path;

/// Makes a step model of a forward model that was read.
///
/// # Errors
/// Where the model is rewritten already, quantised, has no trainable parameter or an operator without a gradient rule;
/// where what `options` ask for does not fit it.
pub fn make_step(mut model: Model, options: &StepOptions) -> Result<(Model, StepReport)> {
    let path = model.path().to_owned();
    build(&mut model, options).map(|report| (model, report)).map_err(|e| e.in_file(&path))
}

fn build(model: &mut Model, options: &StepOptions) -> Result<StepReport> {
    let mut prepared: Prepared = Prepared::of(model, options)?;
    if !options.flat {
        prepared.graph.make_functions(model.opset("").unwrap_or(OPSET));
    }
    let with_loss: WithLoss = prepared.with_loss(options)?;
    let mut differentiated: Differentiated = with_loss.differentiate(options)?;
    let penalised: Penalised<'_> = differentiated.penalise(options, Fed::ALL)?;
    let updated: Updated = penalised.update(options);
    differentiated.assemble(updated, model, options)
}

/// Makes a step model of the forward model `model`, and writes it to `output`, or, in a dry run, does all but that.
/// `watch` is told of external data that is copied.
///
/// # Errors
/// As [`make_step`]; where the output is the model itself or its data, exists (without `force`) or cannot be written.
/// What existed is then as it was.
pub fn rewrite_forward(
    model: Model,
    output: &Path,
    options: &StepOptions,
    write: &WriteOptions,
    dry_run: bool,
    watch: Watch<'_>,
) -> Result<StepReport> {
    let input = model.path().to_owned();
    let data = onnx::external_files(&model)?;
    let (step, mut report) = make_step(model, options)?;
    report.output =
        if output.is_dir() { output.join(input.file_name().unwrap_or_default()) } else { output.to_owned() };
    files::ensure_no_input(&report.output, data.iter().chain([&input]))?;
    if dry_run {
        files::ensure_free(&report.output, write.force)?;
        report.external = onnx::data_beside(&step, &report.output, write.external_data)?;
    } else {
        let written = onnx::write_watched(step, &report.output, write, watch)?;
        report.bytes = Some(written.bytes);
        report.external = written.external;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::{Chain, Momentum, Optimizer, OptimizerKind};
    use gnp_base::contract::CONFIG_KEY;
    use gnp_gradient::loss::LossKind;

    fn step(optimizer: Optimizer, chain: Option<Chain>) -> Model {
        let loss = LossKind::CrossEntropy.into();
        let options = StepOptions { loss, optimizer, chain, ..StepOptions::default() };
        make_step(onnx::read("../../models/mlp/model.onnx").unwrap(), &options).unwrap().0
    }

    #[test]
    fn an_optimizer_is_settings_for_a_chain() {
        let named = Optimizer { kind: OptimizerKind::Nesterov, ..Optimizer::default() };
        let by_name = step(named, None);
        let chain = Chain::default().then(Momentum { momentum: 0.9, nesterov: true });
        let by_chain = step(Optimizer::default(), Some(chain));
        assert_eq!(by_name.graph, by_chain.graph);
        assert!(!by_name.metadata(CONFIG_KEY).unwrap().contains("chain"));
        assert_eq!(StepConfig::of(&by_name).unwrap().optimizer_name(), "nesterov");
        assert_eq!(StepConfig::of(&by_chain).unwrap().optimizer_name(), "Momentum { momentum: 0.9, nesterov: true }");
    }
}
