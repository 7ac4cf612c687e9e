//! A forward model: what was made of it, in words and for programs.

use crate::Arguments;
use comfy_table::Table;
use gnp::onnx::WriteOptions;
use gnp::rewrite::{self, StepReport};
use gnp::{Error, Result, cli};
use std::fmt::Write as _;

/// Makes a step model of the forward model.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.expose.is_empty() || arguments.metrics {
        return Err(Error::input(
            "--expose and --metrics are for training artifacts: a step model has these inputs and outputs always",
        )
        .in_file(&arguments.input)
        .help("leave them out"));
    }
    let options = arguments.step.options(arguments.penalty.penalty()?, None)?;
    let write = WriteOptions {
        force: arguments.force,
        external_data: arguments.external_data.into(),
        ..WriteOptions::default()
    };
    let write = (!arguments.dry_run).then_some(&write);
    let report = rewrite::rewrite_forward(&arguments.input, &arguments.output, &options, write)?;
    if arguments.quiet {
        return Ok(());
    }
    cli::print(if arguments.json { json(&report)? } else { text(&report, arguments) })
}

fn json(report: &StepReport) -> Result<String> {
    let json =
        serde_json::to_string_pretty(report).map_err(|e| Error::internal(format!("cannot encode the report: {e}")))?;
    Ok(json + "\n")
}

fn text(report: &StepReport, arguments: &Arguments) -> String {
    let mut text = format!(
        "{} → {}{}\n",
        report.input.display(),
        report.output.display(),
        if arguments.dry_run { " (dry run: nothing was written)" } else { "" },
    );
    let _ =
        writeln!(text, "{}; {} parameters train ({} numbers)", report.summary, report.parameters.len(), report.numbers);
    if !report.choices.is_empty() {
        let width = report.choices.iter().map(|choice| choice.what.chars().count()).max().unwrap_or(0);
        text += "\nInferred:\n";
        for choice in &report.choices {
            let _ = writeln!(text, "  {:width$}   ({} changes it)", choice.what, choice.flag);
        }
    }
    let _ = write!(text, "\n{}\n\n", table(report));
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    if let Some(bytes) = report.bytes {
        let _ = writeln!(
            text,
            "Wrote {}. Train it: gnp-run {} --data DATA.npz --epochs 10",
            indicatif::HumanBytes(bytes as u64),
            report.output.display()
        );
    }
    text
}

/// Operators in the forward model and in the step; the sums last.
fn table(report: &StepReport) -> Table {
    let mut table = cli::table(["operator", "forward", "step", "second pass"]);
    let mut sums = [0; 3];
    let cells = |numbers: [usize; 3]| numbers.map(|n| if n == 0 { "·".to_owned() } else { n.to_string() });
    for (operator, count) in &report.operators {
        let numbers = [count.before, count.always, count.second_pass];
        sums.iter_mut().zip(numbers).for_each(|(sum, n)| *sum += n);
        table.add_row([operator.clone()].into_iter().chain(cells(numbers)));
    }
    table.add_row(["all".to_owned()].into_iter().chain(cells(sums)));
    table
}
