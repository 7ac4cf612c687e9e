//! Feeds gnp with damaged and hostile files, and watches what becomes of it; `README.md` says how to use it.

mod child;
mod corpus;
mod input;
mod memory;
mod mutate;
mod parent;
mod targets;
mod trace;
mod watch;

use clap::{Parser, ValueEnum as _};
use input::Inputs;
use parent::{Found, Plan};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};
use targets::Target;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Feeds gnp with damaged and hostile files.
#[derive(Parser)]
struct Arguments {
    /// What is fed: one target, several with commas between, or all.
    #[arg(value_parser = parse_targets)]
    targets: Targets,
    /// An input to run, or a folder of such; without it, inputs are made.
    file: Option<PathBuf>,
    /// How long each target is fed.
    #[arg(long)]
    seconds: Option<u64>,
    /// How many inputs each target gets; those of its corpus in any case.
    #[arg(long)]
    inputs: Option<u64>,
    /// Decides the inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A folder of more inputs to begin with.
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// Processes at a time.
    #[arg(long, default_value = "2")]
    jobs: NonZero<u64>,
    /// Where inputs that fail are written, a folder a target.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/failures"))]
    failures: PathBuf,
    /// Of a process that runs inputs: a folder for their files.
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
    /// Of such a process: the number of its first input.
    #[arg(long, hide = true)]
    first: Option<u64>,
    /// Of such a process: how far it is from one number to the next.
    #[arg(long, hide = true, default_value_t = 1)]
    step: u64,
}

#[derive(Clone)]
struct Targets(Vec<Target>);

fn parse_targets(text: &str) -> Result<Targets, String> {
    if text == "all" {
        return Ok(Targets(
            Target::value_variants().iter().copied().filter(|&target| target != Target::Faulty).collect(),
        ));
    }
    text.split(',').map(|name| Target::from_str(name, false)).collect::<Result<_, _>>().map(Targets)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing failed.
fn run(arguments: &Arguments) -> io::Result<bool> {
    if let (Some(folder), [target]) = (&arguments.folder, &*arguments.targets.0) {
        match (&arguments.file, arguments.first) {
            (Some(file), _) => child::run_one(*target, &fs::read(file)?, folder),
            (None, first) => {
                let inputs = Inputs::new(*target, arguments.corpus.as_deref(), arguments.seed)?;
                child::run_numbers(*target, &inputs, [first.unwrap_or(0), arguments.step], folder);
            }
        }
        return Ok(true);
    }
    if let Some(file) = &arguments.file {
        return replay(&arguments.targets.0, file);
    }
    if arguments.seconds.is_none() && arguments.inputs.is_none() {
        return Err(io::Error::other("for how long? give --seconds or --inputs"));
    }
    println!("{:<12} {:>10} {:>9} {:>9} {:>9}", "target", "inputs", "a second", "results", "failures");
    let mut well = true;
    for &target in &arguments.targets.0 {
        let plan = Plan {
            seconds: arguments.seconds,
            inputs: arguments.inputs,
            seed: arguments.seed,
            corpus: arguments.corpus.clone(),
            jobs: arguments.jobs.get(),
            failures: arguments.failures.join(target.name()),
        };
        let found = parent::fuzz(target, &plan)?;
        well &= found.failures.is_empty();
        report(target, &found);
    }
    Ok(well)
}

fn report(target: Target, found: &Found) {
    let rate = found.inputs as f64 / found.time.as_secs_f64();
    let failed: u64 = found.failures.values().map(|(_, count, _)| count).sum();
    println!("{:<12} {:>10} {rate:>9.0} {:>9} {failed:>9}", target.name(), found.inputs, found.results);
    for (failure, count, file) in found.failures.values() {
        println!("    {count} × {}: {}: {}", failure.kind, failure.place, failure.message);
        println!("        {}", file.display());
    }
}

/// Runs a file, or those of a folder, through each target.
fn replay(targets: &[Target], path: &Path) -> io::Result<bool> {
    let mut well = true;
    for &target in targets {
        for (file, failure) in parent::replay_all(target, path)? {
            well = false;
            println!("{} {}: {}: {}", file.display(), failure.kind, failure.place, failure.message);
        }
    }
    Ok(well)
}
