//! A forward model: the training artifacts that were made of it, in words and for programs.

use crate::{Arguments, Exposed};
use gnp::emit::training::Interface;
use gnp::lowering::Random;
use gnp::onnx::Model;
use gnp::rewrite::{self, Destination, StepReport};
use gnp::{Error, Result, cli, escaped};
use indicatif::HumanBytes;
use std::fmt::Write as _;

/// Makes artifacts of the forward model.
pub fn run(arguments: &Arguments, model: Model) -> Result<()> {
    if arguments.step.random() == Some(Random::Counter) {
        return Err(Error::unsupported("ONNX Runtime's training API cannot compute the counter-based draws")
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
    let report = rewrite::write_artifacts(model, &options, &interface, &to)?;
    if arguments.quiet {
        return Ok(());
    }
    cli::print(if arguments.json { crate::json(&report, None)? } else { text(&report, arguments) })
}

fn text(report: &StepReport, arguments: &Arguments) -> String {
    let mut text = format!(
        "{} → {}{}\n\n",
        report.input.display(),
        report.output.display(),
        if arguments.dry_run { " (dry run: nothing was written)" } else { "" },
    );
    text += &cli::describe::step(report);
    let _ = write!(text, "\n{}", cli::describe::weights(&report.constants, arguments.verbose));
    let _ = writeln!(text, "\n{}", crate::step::table(report));
    let files = report.artifacts.iter().flat_map(|artifacts| &artifacts.files);
    let files: Vec<String> = files
        .map(|(file, bytes)| format!("  {:<24}{}", escaped::line(&file.to_string_lossy()), HumanBytes(*bytes)))
        .collect();
    if !files.is_empty() {
        let _ = writeln!(text, "\nWrote\n{}\n", files.join("\n"));
        let _ = writeln!(text, "Train them: gnp-run {} --data DATA.npz --epochs 10", report.output.display());
    }
    text
}
