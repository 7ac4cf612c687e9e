//! `gnp-run engines`: what can train here, and how to get it.

use crate::engine::Device;
use crate::engine::runtime::{self, Candidate, Card, Cuda, InstallStep, Kind, Package, Plan, Runtime, Source};
use crate::{Error, Result, cli};
use comfy_table::CellAlignment;
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    /// Name each library before it is loaded
    #[arg(short, long)]
    verbose: bool,
    /// List this ONNX Runtime library too
    #[arg(long, value_name = "PATH")]
    ort_lib: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Download an engine into the user's cache folder
    Install {
        /// What to install
        engine: Engine,
        /// What it computes on. For NVIDIA's cards: Linux on x86-64, and those of NVIDIA's libraries that are missing
        #[arg(long, default_value = "cpu")]
        device: Target,
        /// List what would be fetched, its sizes and places, and what is here already
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Engine {
    /// ONNX Runtime 1.19.2 with its training API (9 MB, with CUDA 1.7 GB; Linux on x86-64; needs python3 with pip and a
    /// C compiler)
    Training,
    /// ONNX Runtime 1.32.0, which runs step models (28 MB; with CUDA 1.31.1, 1.4 GB; needs python3 with pip)
    Onnxruntime,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    /// The processor
    Cpu,
    /// NVIDIA's cards
    Cuda,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.verbose {
        cli::name_libraries();
    }
    let Some(Command::Install { engine, device, dry_run }) = arguments.command else {
        return list(&runtime::discover(arguments.ort_lib.as_deref()), arguments.json);
    };
    let kind = match engine {
        Engine::Training => Kind::Training,
        Engine::Onnxruntime => Kind::Stock,
    };
    let package = Package::of(kind, device == Target::Cuda);
    if dry_run {
        return foresee(package);
    }
    let runtime = install(package)?;
    let ability = if runtime.can_train() { "can train" } else { "runs step models" };
    cli::print(format!("ONNX Runtime {} {ability}: {}\n", runtime.version, runtime.library.display()))?;
    match runtime.cuda() {
        Cuda::Lacks(lacks) if device == Target::Cuda => cli::print(format!("{}\n", no_cuda(&lacks))),
        _ => Ok(()),
    }
}

/// Installs a runtime where it is missing, and says on standard error what it does.
pub fn install(package: Package) -> Result<Runtime> {
    let plan = runtime::plan(package)?;
    if plan.fetched().next().is_some() {
        cli::say(total(&plan));
    }
    if let (Some(lack), Some(_)) = (package.machine_lacks(), plan.fetched().next()) {
        cli::say(no_cuda(&[lack]));
    }
    let (spinner, bar) = (style("{spinner} {wide_msg} {elapsed}")?, style(DOWNLOAD)?);
    let shown = ProgressBar::new_spinner().with_style(spinner.clone());
    shown.enable_steady_tick(Duration::from_millis(100));
    let mut progress = |step| {
        // A hidden bar (no terminal) swallows its messages.
        let is_hidden = shown.is_hidden();
        let message = match step {
            InstallStep::Download { requirement, bytes } => {
                shown.set_style(bar.clone());
                shown.set_length(bytes);
                shown.set_position(0);
                let size = if is_hidden { format!(" ({})", DecimalBytes(bytes)) } else { String::new() };
                format!("pip downloads {requirement}{size}")
            }
            InstallStep::Received { bytes } => return shown.set_position(bytes),
            InstallStep::Unpack { requirement } => {
                shown.set_style(spinner.clone());
                format!("checking and unpacking {requirement}")
            }
            InstallStep::Compile => "compiling the library's entry point".to_owned(),
        };
        if is_hidden { cli::say(message) } else { shown.set_message(message) }
    };
    let result = runtime::install(package, &mut progress);
    shown.finish_and_clear();
    result
}

/// A download: what, and how much of it is there.
const DOWNLOAD: &str = "{spinner} {wide_msg} {bar:16} {decimal_bytes}/{decimal_total_bytes}";

fn style(template: &str) -> Result<ProgressStyle> {
    ProgressStyle::with_template(template).map_err(|error| Error::internal(format!("a faulty template: {error}")))
}

/// Says what an installation would do.
fn foresee(package: Package) -> Result<()> {
    let plan = runtime::plan(package)?;
    let mut table = cli::table(["package", "download", "on disk", "what becomes of it"]);
    table.column_iter_mut().skip(3).for_each(|column| column.set_cell_alignment(CellAlignment::Left));
    for item in &plan.items {
        let (sizes, source) = match &item.source {
            Source::Fetched(folder) => {
                (Some((item.download, item.installed)), format!("is fetched into {}", folder.display()))
            }
            Source::Installed(folder) => (None, format!("is in {}", folder.display())),
            Source::Found(library) => (None, format!("is here: {}", library.display())),
        };
        let [download, installed] = sizes.map_or_else(Default::default, |(download, installed)| {
            [download, installed].map(|bytes| DecimalBytes(bytes).to_string())
        });
        table.add_row([item.requirement.to_owned(), download, installed, source]);
    }
    let mut text = format!("{table}\n\n{}", total(&plan));
    if let Some(free) = plan.free {
        text += &format!("; {} are free", DecimalBytes(free));
    }
    text.push('\n');
    if let Some(lack) = package.machine_lacks() {
        text += &format!("{}\n", no_cuda(&[lack]));
    }
    cli::print(text)
}

fn total(plan: &Plan) -> String {
    let (count, download, installed) = (plan.fetched().count(), plan.download(), plan.installed());
    if count == 0 {
        return "nothing is fetched".to_owned();
    }
    let (download, installed) = (DecimalBytes(download), DecimalBytes(installed));
    let (noun, take) = if count == 1 { ("package is", "takes") } else { ("packages are", "take") };
    format!("{count} {noun} fetched, once: {download}, which {take} {installed} in {}", plan.folder.display())
}

/// That there is no computing on NVIDIA's cards now, and why.
fn no_cuda(lacks: &[runtime::Lack]) -> String {
    let names: Vec<_> = lacks.iter().map(ToString::to_string).collect();
    format!("CUDA cannot be used here now; missing: {}", names.join(", "))
}

/// What an ONNX Runtime can train.
fn trains(runtime: &Runtime) -> &'static [&'static str] {
    if runtime.can_train() { &["step models", "artifacts"] } else { TRACT_TRAINS }
}

const TRACT_TRAINS: &[&str] = &["step models"];

fn list(candidates: &[Candidate], as_json: bool) -> Result<()> {
    if as_json {
        let tract = json!({
            "found": "built in",
            "kind": "tract",
            "trains": TRACT_TRAINS,
            "can_train": false,
            "devices": [Device::Cpu.to_string()],
        });
        let list: Vec<_> = candidates.iter().map(to_json).chain([tract]).collect();
        return cli::print(format!("{:#}\n", json!(list)));
    }
    let mut table = cli::table(["kind", "version", "trains", "on", "providers", "found", "library"]);
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Left));
    let found = || candidates.iter().filter_map(|candidate| Some((candidate, candidate.runtime.as_ref().ok()?)));
    let mut notes = String::new();
    for (Candidate { origin, library, .. }, runtime) in found() {
        let providers = runtime.providers.iter().map(|name| name.trim_end_matches("ExecutionProvider"));
        let cuda = runtime.cuda();
        if let Cuda::Lacks(lacks) = &cuda {
            notes += &format!("\n{} ({origin}): {}\n", runtime.library.display(), no_cuda(lacks));
        }
        table.add_row([
            runtime.kind.to_string(),
            runtime.version.clone(),
            trains(runtime).join(", "),
            devices(&cuda).join(", "),
            providers.collect::<Vec<_>>().join(", "),
            origin.to_string(),
            library.display().to_string(),
        ]);
    }
    table.add_row(["tract", "", &TRACT_TRAINS.join(", "), "cpu", "CPU", "built in", ""]);
    let mut text = format!("{table}\n{notes}");
    for candidate in candidates {
        if let Err(error) = &candidate.runtime {
            text += &format!("\nNot usable ({}): {error}\n", candidate.origin);
        }
    }
    if found().next().is_none() {
        text += &format!("\nStep models train faster with ONNX Runtime: {}\n", Package::Stock.command());
    }
    if !found().any(|(_, runtime)| runtime.can_train()) {
        text += &format!(
            "\nTo train artifacts, install a runtime that can: {}\n\
             or name one of your own with --ort-lib or ORT_DYLIB_PATH.\n",
            Package::Training.command()
        );
    }
    cli::print(text)
}

/// What a runtime can compute on here and now, as `--device` names it.
fn devices(cuda: &Cuda) -> Vec<String> {
    let cards = if let Cuda::Ready(cards) = cuda { cards.len() } else { 0 };
    [Device::Cpu].into_iter().chain((0..).map(Device::Cuda).take(cards)).map(|device| device.to_string()).collect()
}

fn to_json(candidate: &Candidate) -> serde_json::Value {
    let (origin, library) = (candidate.origin.to_string(), candidate.library.display().to_string());
    let runtime = match &candidate.runtime {
        Ok(runtime) => runtime,
        Err(error) => return json!({ "found": origin, "library": library, "error": error.to_string() }),
    };
    let cuda = runtime.cuda();
    let (cards, missing) = match &cuda {
        Cuda::Ready(cards) => {
            let card = |Card { name, capability: (major, minor) }: &Card| json!({ "name": name, "compute_capability": format!("{major}.{minor}") });
            (cards.iter().map(card).collect(), Vec::new())
        }
        Cuda::Lacks(lacks) => (Vec::new(), lacks.iter().map(ToString::to_string).collect()),
        Cuda::NotBuilt => Default::default(),
    };
    json!({
        "found": origin,
        "library": library,
        "kind": runtime.kind.to_string(),
        "version": runtime.version,
        "trains": trains(runtime),
        "can_train": runtime.can_train(),
        "providers": runtime.providers,
        "devices": devices(&cuda),
        "cards": cards,
        "missing_for_cuda": missing,
    })
}
