//! A forward model: the training artifacts that were made of it, in words and for programs.

use super::{Arguments, Exposed};
use crate::check::{self, Loaded};
use crate::emit::training::Interface;
use crate::lowering::Random;
use crate::onnx::Model;
use crate::rewrite::{self, Destination, StepOptions, StepReport};
use crate::{Error, Result, escaped};
use indicatif::HumanBytes;
use std::fmt::Write as _;

/// Makes artifacts of the forward model.
pub fn run(arguments: &Arguments, model: Model) -> Result<String> {
    if arguments.lr.is_some() {
        return Err(Error::input("--lr is of no use: artifacts have no learning rate, their application sets it")
            .in_file(&arguments.input)
            .help(
                "leave --lr out, and set the rate where the training is: set_learning_rate in Python, gnp-run --lr",
            ));
    }
    if arguments.step.flat() {
        return Err(Error::input("--flat is of no use: artifacts have no functions")
            .in_file(&arguments.input)
            .help("leave --flat out"));
    }
    if arguments.step.random() == Some(Random::Counter) {
        return Err(Error::unsupported(
            "counter-based draws need a seed and the number of the step, which artifacts are not given",
        )
        .in_file(&arguments.input)
        .help("leave --random out: the runtime draws, from the seed that the application gives it"));
    }
    let options = arguments.step.options(arguments.penalty.penalty()?, arguments.lr)?;
    let interface = Interface {
        expose_r: arguments.expose.contains(&Exposed::R),
        expose_alpha: arguments.expose.contains(&Exposed::Alpha),
        expose_others: false,
        metrics: arguments.metrics,
        loss_alone: arguments.loss_alone,
    };
    let to = Destination {
        folder: arguments.output.clone(),
        names: arguments.file_names()?,
        force: arguments.force,
        dry_run: arguments.dry_run,
    };
    let again = (arguments.check && arguments.dry_run).then(|| model.clone());
    let report = rewrite::write_artifacts(model, &options, &interface, &to)?;
    let checked = match again {
        _ if !arguments.check => None,
        None => Some(check(arguments, &to)?),
        Some(model) => Some(check_unwritten(model, arguments, &options, &interface, &to)?),
    };
    super::told(arguments, &report, checked.as_ref(), text)
}

/// Checks the artifacts that were written.
fn check(arguments: &Arguments, to: &Destination) -> Result<Loaded> {
    let model = to.folder.join(to.names.training_model());
    check::check(&model, &to.folder, &to.names, super::training_runtime(arguments)?.as_ref())
}

/// Checks what a dry run did not write.
fn check_unwritten(
    model: Model,
    arguments: &Arguments,
    options: &StepOptions,
    interface: &Interface,
    to: &Destination,
) -> Result<Loaded> {
    let scratch = super::scratch()?;
    let to = Destination { folder: scratch.path().join("artifacts"), dry_run: false, ..to.clone() };
    let written = rewrite::write_artifacts(model, options, interface, &to);
    let checked = written.and_then(|_| check(arguments, &to));
    checked.map_err(|error| error.in_place_of(scratch.path(), &arguments.input))
}

fn text(report: &StepReport, checked: Option<&Loaded>, arguments: &Arguments) -> String {
    let mut text = super::step::described(report, arguments);
    let _ = writeln!(text, "\n{}", super::step::table(report));
    let files = report.artifacts.iter().flat_map(|artifacts| &artifacts.files);
    let files: Vec<String> = files
        .map(|(file, bytes)| format!("  {:<24}{}", escaped::line(&file.to_string_lossy()), HumanBytes(*bytes)))
        .collect();
    if !files.is_empty() {
        let _ = writeln!(text, "\nWrote\n{}\n", files.join("\n"));
        let prefix = arguments.artifact_prefix.as_ref();
        let prefix = prefix.map(|prefix| format!(" --artifact-prefix {prefix}")).unwrap_or_default();
        let _ = writeln!(text, "Train them: gnp-run {}{prefix} --data DATA.npz --epochs 10", report.output.display());
    }
    text + &super::check_line(checked)
}
