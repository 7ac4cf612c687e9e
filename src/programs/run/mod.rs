//! Trains step models and ONNX Runtime training artifacts, those with a Gradient Norm Penalty among them.

mod checkpoint;
mod demo;
mod engines;
mod interrupt;
mod lab;
mod progress;
mod report;
mod sweep;
mod train;

pub use sweep::SweepLine;
pub use train::{run_command, run_of};

use crate::cli;
use clap::{Parser, Subcommand};
use std::ffi::OsString;

const EXAMPLES: &str = "\
Examples:
  gnp-run demo
      See what the penalty does, in under a minute
  gnp-run model.onnx --data mnist.npz --epochs 10 --loss cross-entropy -o trained.onnx
      Train an ordinary model on an archive with x_train, y_train, x_test, y_test
  gnp-run step.onnx --data mnist.npz --epochs 10 --lr 0.05 --schedule cosine
      Train what gnp-rewrite made of one
  gnp-run engines install training
      Get an ONNX Runtime that can train artifacts
  gnp-run artifacts/ --data mnist.npz --epochs 10
      Train on an archive with x_train, y_train, x_test, y_test
  gnp-run --config train.toml --epochs 20
      Take the arguments from a file, but for one
  gnp-run sweep train.toml --alpha 0,0.2,0.4,0.6,0.8,1 --seeds 5
      Compare the weights of the penalty: a table, and a figure
  gnp-run artifacts/ --data mnist/ --epochs 10 --schedule cosine --out runs/a
      Train on MNIST's own files, with a learning rate that falls to 0
  gnp-run artifacts/ --data mnist/ --epochs 10 --schedule cosine --out runs/a --resume
      Go on where that run was stopped";

/// Train an ONNX model, or ONNX Runtime training artifacts, on data from files
///
/// An ordinary model is rewritten first, as gnp-rewrite does, and comes out trained; a step model is what gnp-rewrite
/// has made of one. Artifacts come from onnxruntime.training.artifacts.generate_artifacts. A run leaves metrics,
/// checkpoints and the trained model in its output folder.
#[derive(Parser)]
#[command(
    name = "gnp-run",
    version,
    styles = cli::STYLES,
    after_help = EXAMPLES,
    max_term_width = 100,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::Arguments,
}

#[derive(Subcommand)]
enum Command {
    /// List the engines found, or install one
    Engines(engines::Arguments),
    /// Train with many values of r and alpha, and seeds, and compare
    Sweep(sweep::Arguments),
    /// Put several runs side by side on one page
    Report(report::Arguments),
    /// Look into ONNX Runtime's training checkpoints, and convert them
    Checkpoint(checkpoint::Arguments),
    /// Train a small network plainly, as SAM and with the penalty, and compare them
    Demo(demo::Arguments),
}

/// `gnp-run`: trains a model, compares, installs engines. The words are its command line.
pub fn gnp_run(words: impl IntoIterator<Item = OsString>) -> u8 {
    cli::run_configured(words, |line: CommandLine, configuration| match line.command {
        Some(Command::Engines(arguments)) => engines::run(&arguments),
        Some(Command::Checkpoint(arguments)) => checkpoint::run(&arguments),
        Some(Command::Demo(arguments)) => demo::run(&arguments),
        Some(Command::Report(arguments)) => report::run(&arguments),
        Some(Command::Sweep(arguments)) => sweep::run(&arguments),
        None => train::run(&line.train, configuration),
    })
}
