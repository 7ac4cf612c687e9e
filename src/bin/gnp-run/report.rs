//! `gnp-run report`: several runs side by side on one page.

use gnp::train::report;
use gnp::{Error, Result, cli};
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
    if arguments.output.exists() && !arguments.force {
        return Err(Error::input("the file exists").in_file(&arguments.output).help("--force replaces it"));
    }
    report::compare(&arguments.runs, &arguments.output)?;
    cli::print(format!("{}\n", arguments.output.display()))
}
