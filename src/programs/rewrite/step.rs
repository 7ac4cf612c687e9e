//! A forward model: what was made of it, in words and for programs.

use super::Arguments;
use crate::autodiff::Gradients;
use crate::check::{self, Loaded};
use crate::cli::CopyingBar;
use crate::onnx::{Copying, Model, WriteOptions};
use crate::rewrite::{self, StepReport};
use crate::{Error, Result, cli, escaped};
use comfy_table::Table;
use std::fmt::Write as _;

/// Makes a step model of the forward model.
pub fn run(arguments: &Arguments, model: Model) -> Result<String> {
    if !arguments.expose.is_empty() || arguments.metrics {
        return Err(Error::input(
            "--expose and --metrics are for training artifacts: a step model has these inputs and outputs always",
        )
        .in_file(&arguments.input)
        .help("leave them out"));
    }
    let of_artifacts = [
        ("--loss-alone", arguments.loss_alone),
        ("--gradients", arguments.step.gradients() != Gradients::Standard),
        ("--artifact-prefix", arguments.artifact_prefix.is_some()),
    ];
    if let Some((flag, _)) = of_artifacts.into_iter().find(|(_, is_given)| *is_given) {
        return Err(Error::input(format!("{flag} is for training artifacts: a step model is for any ONNX runtime"))
            .in_file(&arguments.input)
            .help("leave it out, or make artifacts: --emit ort-training"));
    }
    let options = arguments.step.options(arguments.penalty.penalty()?, arguments.lr)?;
    let write =
        WriteOptions { force: arguments.force, external_data: arguments.external_data, ..WriteOptions::default() };
    let again = (arguments.check && arguments.dry_run).then(|| model.clone());
    let mut copying = CopyingBar::new(arguments.quiet);
    let watch = &mut |copy: &Copying<'_>| copying.show(copy);
    let report = rewrite::rewrite_forward(model, &arguments.output, &options, &write, arguments.dry_run, watch)?;
    let library = arguments.ort_lib.as_deref();
    let checked = match again {
        _ if !arguments.check => None,
        None => Some(check::check_step(&report.output, library)?),
        Some(model) => Some(check::check_unwritten_step(&rewrite::make_step(model, &options)?.0, library)?),
    };
    super::told(arguments, &report, checked.as_ref(), text)
}

/// What a forward model becomes, what it trains with, and what of it trains.
pub fn described(report: &StepReport, arguments: &Arguments) -> String {
    let way = super::way(&report.input, &report.output, arguments);
    let weights = cli::describe::weights(&report.constants, arguments.verbose);
    format!("{way}\n{}\n{weights}", cli::describe::step(report))
}

fn text(report: &StepReport, checked: Option<&Loaded>, arguments: &Arguments) -> String {
    let mut text = described(report, arguments);
    let _ = write!(text, "\n{}\n\n", table(report));
    text += "The second pass is left out of steps whose r or alpha is 0.\n";
    if let Some(bytes) = report.bytes {
        let _ = writeln!(
            text,
            "Wrote {}. Train it: gnp-run {} --data DATA.npz --epochs 10",
            indicatif::HumanBytes(bytes as u64),
            report.output.display()
        );
    }
    text += &super::data_line(&report.external, arguments);
    text + &super::check_line(checked)
}

/// Operators in the forward model and in the step; the sums last.
pub fn table(report: &StepReport) -> Table {
    let mut table = cli::table(["operator", "forward", "step", "second pass"]);
    let mut sums = [0; 3];
    let cells = |numbers: [usize; 3]| numbers.map(|n| if n == 0 { "·".to_owned() } else { n.to_string() });
    for (operator, count) in &report.operators {
        let numbers = [count.before, count.always, count.second_pass];
        sums.iter_mut().zip(numbers).for_each(|(sum, n)| *sum += n);
        table.add_row([escaped::line(operator).into_owned()].into_iter().chain(cells(numbers)));
    }
    table.add_row(["all".to_owned()].into_iter().chain(cells(sums)));
    table
}
