//! A forward model in, ONNX Runtime's training artifacts out: the stages of a step model, up to the optimizer's.

use super::prepared::Prepared;
use super::{StepOptions, StepReport};
use crate::emit::training::{self, Artifacts, Interface, optimizer_model};
use crate::objective::effects::draws;
use crate::rewrite::ArtifactsReport;
use crate::rewrite::folder::{check_folder, fill_folder};
use crate::rewrite::restore::evaluation_for;
use crate::transform::{Fed, FusedOptimizer};
use foldhash::HashSet;
use gnp_base::choice::Choice;
use gnp_base::contract::artifacts::{FileNames, OPTIMIZER_MODEL};
use gnp_base::{Result, files};
use gnp_checkpoint::Checkpoint;
use gnp_gradient::lowering::{self, Computes, Random};
use gnp_model::graph::Graph;
use gnp_model::onnx::{self, Model, Payloads};
use std::path::PathBuf;

/// What takes the optimizer's step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TakenBy {
    /// The runtime's own AdamW, where the optimizer is one that it has; else its SGD, behind transformations in the
    /// training graph.
    #[default]
    Runtime,
    /// The runtime's SGD alone, so that all that is kept from step to step is a parameter of the checkpoint.
    Graph,
}

/// Makes artifacts of a forward model that was read. Weights are slices of its file. What is drawn at random, the
/// runtime draws.
///
/// # Errors
/// As [`make_step`](super::make_step); where the training runtime lacks an operator of the model, or gives a meaning to
/// a name of it.
///
/// ```
/// use gnp_gradient::loss::LossKind;
/// use gnp_model::onnx;
/// use gnp_step::emit::training::Interface;
/// use gnp_step::rewrite::{StepOptions, TakenBy, make_artifacts};
/// let model = onnx::read("../../models/mlp/model.onnx")?;
/// let options = StepOptions { loss: LossKind::CrossEntropy.into(), ..StepOptions::default() };
/// let (artifacts, report) = make_artifacts(model, &options, &Interface::default(), TakenBy::Runtime)?;
/// // The default optimizer is momentum, whose slots are parameters that do not train.
/// assert_eq!(artifacts.checkpoint.trainable.len(), artifacts.checkpoint.frozen.len());
/// assert_eq!(artifacts.optimizer.graph.node[0].op_type(), "SGDOptimizerV2");
/// assert_eq!(report.parameters.len(), 6);
/// # Ok::<(), gnp_base::Error>(())
/// ```
pub fn make_artifacts(
    model: Model,
    options: &StepOptions,
    interface: &Interface,
    by: TakenBy,
) -> Result<(Artifacts, StepReport)> {
    let path = model.path().to_owned();
    options.refuse_for_artifacts().map_err(|e| e.in_file(&path))?;
    // The counter-based generator reads a seed and the number of the step, which an application of the training API
    // does not pass to its model.
    let lowering = lowering::Settings { random: Random::Engine, ..options.lowering };
    let options = StepOptions { lowering, ..options.clone() };
    make(model, &options, interface, by).map_err(|e| e.in_file(path))
}

/// Where artifacts are written.
#[derive(Clone, Debug, Default)]
pub struct Destination {
    /// The folder, which is made where it is not there.
    pub folder: PathBuf,
    /// What the files are called.
    pub names: FileNames,
    /// Replace existing files.
    pub force: bool,
    /// Do all but write.
    pub dry_run: bool,
}

/// Makes artifacts of the forward model `model`, and writes them.
///
/// # Errors
/// As [`make_artifacts`]; where the output is the model itself or its data, exists (without `force`) or cannot be
/// written. A folder that is new is then not there.
pub fn write_artifacts(
    model: Model,
    options: &StepOptions,
    interface: &Interface,
    to: &Destination,
) -> Result<StepReport> {
    let input = model.path().to_owned();
    let data = onnx::external_files(&model)?;
    let (artifacts, mut report) = make_artifacts(model, options, interface, TakenBy::Runtime)?;
    report.output.clone_from(&to.folder);
    check_folder(&to.folder, None)?;
    for name in to.names.all() {
        files::ensure_no_input(&to.folder.join(name), data.iter().chain([&input]))?;
    }
    Artifacts::ensure_free(&to.folder, &to.names, to.force)?;
    if !to.dry_run {
        let files = fill_folder(&to.folder, |into| artifacts.write(into, &to.names, to.force))?;
        report.artifacts.iter_mut().for_each(|artifacts| artifacts.files.clone_from(&files));
    }
    Ok(report)
}

fn make(forward: Model, options: &StepOptions, interface: &Interface, by: TakenBy) -> Result<(Artifacts, StepReport)> {
    let mut training = forward.clone();
    let mut differentiated = Prepared::of(&mut training, options)?.with_loss(options)?.differentiate(options)?;
    let (chain, fused) = match (&options.chain, by) {
        (Some(chain), _) => (chain.clone(), FusedOptimizer::Sgd),
        (None, TakenBy::Runtime) => options.optimizer.split(&differentiated.factors),
        (None, TakenBy::Graph) => (options.optimizer.chain(&differentiated.factors), FusedOptimizer::Sgd),
    };
    let fed = Fed { learning_rate: false, r: interface.expose_r, alpha: interface.expose_alpha };
    let updated = differentiated.penalise(options, fed)?.direct(&chain);
    let (checkpoint, config, mut report) =
        differentiated.assemble_training(updated, &mut training, options, interface, fused)?;
    let kept = checkpoint.frozen.keys().cloned().collect();
    let is_drawn = training.graph.node.iter().any(draws);
    report.artifacts = Some(ArtifactsReport { fused, kept, draws: is_drawn, files: vec![] });
    if is_drawn {
        report
            .choices
            .push(Choice::new("the runtime draws what is random, from the seed that it is given", "--dropout"));
    }
    let eval = evaluation(forward, &training, &config, &checkpoint)?;
    let mut payloads = Payloads::new(training.folder());
    payloads.bring_in(&mut training)?;
    let optimizer = optimizer_model(fused, &training.folder().join(OPTIMIZER_MODEL))?;
    Ok((Artifacts { training, eval, optimizer, checkpoint }, report))
}

/// The evaluation model. The runtime feeds it all that the training model has of the checkpoint, in the same order, and
/// so it declares all of it.
fn evaluation(forward: Model, training: &Model, config: &training::Config, checkpoint: &Checkpoint) -> Result<Model> {
    let kept: Vec<String> = checkpoint.trainable.keys().chain(checkpoint.frozen.keys()).cloned().collect();
    let mut eval = evaluation_for(Computes::OnnxRuntime, forward, &config.step, &kept)?;
    let state: HashSet<&str> = kept.iter().map(String::as_str).collect();
    // The loss, what it is taken of, and what is counted.
    let is_returned = |i: usize| match i {
        0 => true,
        1 => !config.interface.loss_alone,
        _ => config.interface.metrics,
    };
    let mut graph = Graph::new(std::mem::take(&mut eval.graph))?;
    graph.take_initializers(|name| state.contains(name));
    let outputs = graph.proto().output.iter().enumerate().filter(|(i, _)| is_returned(*i));
    let outputs = outputs.map(|(_, output)| output.clone()).collect::<Vec<_>>();
    graph.declare_outputs(outputs);
    graph.retain_needed();
    eval.graph = graph.into_proto();
    eval.graph.input.retain(|input| !state.contains(input.name()));
    eval.graph.input.extend(training.graph.input.iter().filter(|input| state.contains(input.name())).cloned());
    training::lower(&mut eval)?;
    Payloads::new(eval.folder()).bring_in(&mut eval)?;
    Ok(eval)
}
