//! `gnp-run report`: several runs side by side on one page.

use crate::report;
use crate::train::RunFolder;
use crate::{Result, cli, files};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// The folders of runs, as --out named them
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Replace the page where there is one
    #[arg(long)]
    force: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    files::ensure_free(&arguments.output, arguments.force)?;
    files::ensure_no_input(&arguments.output, arguments.runs.iter().map(|run| run.join(RunFolder::METRICS)))?;
    report::compare(&arguments.runs, &arguments.output)?;
    cli::print(format!("{}\n", arguments.output.display()))
}
