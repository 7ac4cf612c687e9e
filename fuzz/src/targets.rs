//! What inputs are given to. A target takes any bytes; all it may do is return.

use crate::corpus::{self, encoded};
use crate::memory;
use crate::mutate::Form;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use gnp::ErrorKind;
use gnp::autodiff::Gradients;
use gnp::checkpoint::{Checkpoint, Element, Group, Property, Value};
use gnp::cli::arguments::{CheckpointArguments, DataArguments, PenaltyArguments, ScheduleArguments, StepArguments};
use gnp::cli::config_file;
use gnp::data::{Data, DataSource, Dataset, Feed, Labels, Normalize, Preparation, Samples};
use gnp::emit::artifact::{self, Inside, Settings};
use gnp::emit::training::{Artifacts, Interface};
use gnp::engine::{State, StepModel};
use gnp::loss::{LossKind, Wanted};
use gnp::objective::Artifact;
use gnp::onnx::{self, Model};
use gnp::penalty::Warmup;
use gnp::rewrite::{StepConfig, StepOptions, TakenBy, make_artifacts, make_evaluation, make_step};
use gnp::tensor::{ElementType, Port};
use gnp::train::RunFolder;
use gnp::transform::Optimizer;
use gnp::weights::Selection;
use image::{ExtendedColorType, ImageEncoder as _, codecs};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, iter, process, thread};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// What is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A forward model, made a step model with several choices.
    Model,
    /// A training artifact that the penalty is put into.
    Artifact,
    /// A file that says it is a step model: its metadata, its state, and the evaluation that they describe.
    Step,
    /// An array of samples and labels.
    Npy,
    /// An archive of arrays.
    Npz,
    /// An IDX file.
    Idx,
    /// A file of CIFAR.
    Cifar,
    /// A table.
    Csv,
    /// A table in JSON lines.
    Jsonl,
    /// A table in Parquet.
    Parquet,
    /// The tokenizer of a column of text.
    Tokenizer,
    /// A safetensors file, as data and as a state.
    Safetensors,
    /// A PNG or JPEG file in a folder of images.
    Images,
    /// The `state.json` of a checkpoint.
    Checkpoint,
    /// A training checkpoint of ONNX Runtime, which is its own data file too.
    CheckpointOrt,
    /// A configuration.
    Config,
    /// No part of gnp: it fails as the input says, which tests the harness.
    #[value(hide = true)]
    Faulty,
}

impl Target {
    /// The name, of the command line and of folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Artifact => "artifact",
            Self::Step => "step",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Idx => "idx",
            Self::Cifar => "cifar",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::Tokenizer => "tokenizer",
            Self::Safetensors => "safetensors",
            Self::Images => "images",
            Self::Checkpoint => "checkpoint",
            Self::CheckpointOrt => "checkpoint-ort",
            Self::Config => "config",
            Self::Faulty => "faulty",
        }
    }

    /// How the inputs are changed.
    pub fn form(self) -> Form {
        match self {
            Self::Model | Self::Artifact | Self::Step => Form::Model,
            Self::Csv | Self::Jsonl | Self::Tokenizer | Self::Checkpoint | Self::Config | Self::Faulty => Form::Text,
            Self::Images => Form::Png,
            Self::Npz => Form::Npz,
            Self::Npy | Self::Idx | Self::Cifar | Self::Parquet | Self::Safetensors => Form::Bytes,
            Self::CheckpointOrt => Form::Words,
        }
    }

    /// Inputs to begin with.
    ///
    /// # Errors
    /// Where a file of the repository cannot be read.
    pub fn seeds(self) -> io::Result<Vec<Vec<u8>>> {
        let found = |folder: &str, ending: &str| corpus::files(&corpus::repository().join(folder), ending);
        Ok(match self {
            Self::Model => {
                let own = encoded(iter::once(corpus::perceptron()).chain(corpus::single_operators()));
                [own, found("models", "/model.onnx")?, found("tests/fixtures", ".onnx")?].concat()
            }
            Self::Artifact => found("models", "training_model.onnx")?,
            Self::Step => encoded(step_models()),
            Self::Npy => arrays(),
            Self::Npz => [vec![archive(&arrays())], found("tests/fixtures/labels", ".npz")?].concat(),
            Self::Idx => vec![
                [&[0, 0, 8, 1, 0, 0, 0, 6][..], &[0, 1, 2, 2, 1, 0]].concat(),
                [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3][..], &[7; 12]].concat(),
                [&[0, 0, 0x0d, 2, 0, 0, 0, 2, 0, 0, 0, 1][..], &1.5f32.to_be_bytes(), &2.5f32.to_be_bytes()].concat(),
                vec![
                    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x63, 0x60, 0xe0, 0x60, 0x04, 0, 0xb8, 0, 0x2f, 0x56, 5, 0, 0,
                    0,
                ],
            ],
            Self::Cifar => vec![[&[3, 42][..], &[9; 3072]].concat(), [&[5][..], &[200; 3072]].concat()],
            Self::Csv => vec![
                b"x,y\n1,2\n3,4\n5,6\n".to_vec(),
                b"id,length,note,y\n1,5.1,,setosa\n2,7.0,\"tall, wide\",versicolor\n3,4.9,,setosa\n".to_vec(),
            ],
            Self::Jsonl => found("tests/fixtures/tables", ".jsonl")?,
            Self::Parquet => found("tests/fixtures/tables", ".parquet")?,
            Self::Tokenizer => found("tests/fixtures/tables", "tokenizer.json")?,
            Self::Safetensors => {
                let tensors = r#"{"x_train":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"y_train":{"dtype":"I64","shape":[2],"data_offsets":[8,24]}} "#;
                let header = [&(tensors.len() as u64).to_le_bytes()[..], tensors.as_bytes()].concat();
                let values = [1.5f32, 2.5]
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .chain([0i64, 1].iter().flat_map(|y| y.to_le_bytes()));
                vec![header.into_iter().chain(values).collect()]
            }
            Self::Images => images(),
            Self::Checkpoint => vec![CHECKPOINT.as_bytes().to_vec()],
            Self::CheckpointOrt => {
                let nominal = found("tests/fixtures/checkpoint", "/nominal_checkpoint")?;
                [found("models", "/checkpoint")?, nominal, training_checkpoints()].concat()
            }
            Self::Config => [found("recipes", ".toml")?, vec![CONFIG.as_bytes().to_vec()]].concat(),
            Self::Faulty => ["panic", "memory", "abort", "overflow", "nothing"].map(|fault| fault.into()).to_vec(),
        })
    }

    /// Gives `bytes` to the target; `folder` is one for its files. Whether it comes to a result, and not to an error:
    /// either is right.
    pub fn run(self, bytes: &[u8], folder: &Path) -> bool {
        let result = match self {
            Self::Model => model(bytes, folder),
            Self::Artifact => penalise(bytes, folder),
            Self::Step => step(bytes, folder),
            Self::Npy => pair(bytes, folder, "x.npy"),
            Self::Npz => data(bytes, folder, "x.npz"),
            Self::Idx => pair(bytes, folder, "x.idx"),
            Self::Cifar => cifar(bytes, folder),
            Self::Csv => table(bytes, folder, "x.csv", ["x", "y"]),
            Self::Jsonl => table(bytes, folder, "x.jsonl", ["stars", "review"]),
            Self::Parquet => table(bytes, folder, "x.parquet", ["stars", "review"]),
            Self::Tokenizer => text(bytes, folder),
            Self::Safetensors => {
                let loaded = data(bytes, folder, "x.safetensors");
                State::read(&folder.join("x.safetensors")).map(drop).and(loaded)
            }
            Self::Images => image_folder(bytes, folder),
            Self::Checkpoint => checkpoint(bytes, folder),
            Self::CheckpointOrt => training_checkpoint(bytes, folder),
            Self::Config => config(bytes, folder),
            Self::Faulty => return fail(bytes),
        };
        result.is_ok()
    }
}

/// Writes the input's file, in a folder that may have to be made.
fn write(bytes: &[u8], path: PathBuf) -> gnp::Result<PathBuf> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, bytes));
    written.map_err(|error| gnp::Error::io("write the input", &path, &error))?;
    Ok(path)
}

fn loss(loss: Option<LossKind>, train: &[&str]) -> StepOptions {
    let train = train.iter().map(|&name| name.to_owned()).collect();
    StepOptions {
        loss: Wanted { loss, ..Wanted::default() },
        selection: Selection { train, ..Selection::default() },
        ..StepOptions::default()
    }
}

fn model(bytes: &[u8], folder: &Path) -> gnp::Result<()> {
    let model = onnx::read(write(bytes, folder.join("model.onnx"))?)?;
    onnx::encode(model.clone(), io::sink())?;
    let mut result = Err(gnp::Error::input("nothing was asked for"));
    for options in [loss(Some(LossKind::Mse), &[]), loss(None, &[]), loss(Some(LossKind::Mse), &["*"])] {
        let made = make_step(model.clone(), &options).and_then(|(step, _)| {
            let recognised = StepModel::recognise(&step)?;
            let state: Vec<String> = recognised.state.iter().map(|slot| slot.port.name.clone()).collect();
            let config = StepConfig::of(&step)?;
            onnx::encode(step, io::sink())?;
            onnx::encode(make_evaluation(model.clone(), &config, &state)?, io::sink())
        });
        result = result.or(made);
    }
    for (gradients, train) in [(Gradients::Standard, &[][..]), (Gradients::OrtCuda, &["*"])] {
        let options = StepOptions { gradients, ..loss(Some(LossKind::Mse), train) };
        let interface = Interface { metrics: true, ..Interface::default() };
        if let Ok((artifacts, _)) = make_artifacts(model.clone(), &options, &interface, TakenBy::Runtime) {
            let Artifacts { training, eval, optimizer, .. } = artifacts;
            [training, eval, optimizer].into_iter().try_for_each(|model| onnx::encode(model, io::sink()))?;
        }
    }
    result
}

fn penalise(bytes: &[u8], folder: &Path) -> gnp::Result<()> {
    let mut model = onnx::read(write(bytes, folder.join("training_model.onnx"))?)?;
    let artifact = Artifact::recognise(&model)?;
    let settings = Settings { metrics: true, ..Settings::default() };
    let momentum = Optimizer { clip_norm: Some(1.0), ..Optimizer::default() };
    let inside = Inside { optimizer: Some(momentum), replaces: true, warmup: Warmup::Zero, warmup_steps: 10 };
    artifact::penalise(&mut model.clone(), &artifact, &settings, &inside).ok();
    artifact::penalise(&mut model, &artifact, &settings, &Inside::default())?;
    onnx::encode(model, io::sink())
}

fn perceptron() -> gnp::Result<Model> {
    Model::new(corpus::perceptron(), "model.onnx")
}

/// Some step models of a perceptron.
fn step_models() -> impl Iterator<Item = onnx::proto::ModelProto> {
    let choices = [loss(Some(LossKind::Mse), &[]), loss(Some(LossKind::CrossEntropy), &["fc2.*"])];
    choices.into_iter().filter_map(|options| Some(make_step(perceptron().ok()?, &options).ok()?.0.into_proto()))
}

fn step(bytes: &[u8], folder: &Path) -> gnp::Result<()> {
    let model = onnx::read(write(bytes, folder.join("step.onnx"))?)?;
    let step = StepModel::recognise(&model)?;
    step.initial_state(&model)?;
    let state: Vec<String> = step.state.iter().map(|slot| slot.port.name.clone()).collect();
    let evaluation = make_evaluation(perceptron()?, &StepConfig::of(&model)?, &state)?;
    onnx::encode(evaluation, io::sink())
}

/// Everything that is done with data before a model sees them.
fn use_data(data: &Data) -> gnp::Result<()> {
    for data in iter::once(&data.train).chain(&data.test) {
        data.digest();
        feed(data)?;
        if data.len() > 1 {
            data.split(0.5, 1)?;
        }
        data.subset(1, 1)?;
    }
    Ok(())
}

fn feed(data: &Dataset) -> gnp::Result<()> {
    let dims = |shape: &[usize]| iter::once(None).chain(shape.iter().map(|&size| Some(size))).collect::<Vec<_>>();
    let samples = match data.samples() {
        Samples::Lists(lists) => [vec![None; 2], lists.inner().iter().map(|&size| Some(size)).collect()].concat(),
        samples => samples.shape().map_or_else(|| vec![None, Some(3), Some(6), Some(5)], dims),
    };
    let labels = match data.labels() {
        // The numbers of classes, and their probabilities.
        Labels::Classes(_) => {
            vec![Port::new("labels", ElementType::I64, [None]), Port::new("labels", ElementType::F32, [None, None])]
        }
        Labels::Targets(targets) => vec![Port::new("labels", ElementType::F32, dims(&targets.shape()[1..]))],
        Labels::Lists(_) => vec![Port::new("labels", ElementType::F32, [None, None])],
    };
    data.clone().redraw_labels(0.5, data.label_bound(), None, 1).ok();
    for labels in labels {
        let ports = [Port::new("x", ElementType::F32, samples.clone()), labels];
        for normalize in [Normalize::None, Normalize::Data] {
            let preparation = Preparation { normalize, ..Preparation::default() };
            let feed = Feed::new(data, &ports, &preparation, 0)?;
            feed.check_samples("training")?;
            feed.check_labels("training", None)?;
            let rows = [0, data.len() - 1];
            feed.batches(&rows, 2)?.try_for_each(|rows| feed.batch(rows).map(drop))?;
        }
    }
    Ok(())
}

fn data(bytes: &[u8], folder: &Path, name: &str) -> gnp::Result<()> {
    use_data(&Data::load(&DataSource::new(write(bytes, folder.join(name))?), 0)?)
}

/// The input is samples and labels at once.
fn pair(bytes: &[u8], folder: &Path, name: &str) -> gnp::Result<()> {
    let path = write(bytes, folder.join(name))?;
    use_data(&Data::load(&DataSource { labels: Some(path.clone()), ..DataSource::new(path) }, 0)?)
}

fn cifar(bytes: &[u8], folder: &Path) -> gnp::Result<()> {
    let [ten, hundred] = ["ten", "hundred"].map(|name| folder.join(name));
    for number in 1..=5 {
        write(bytes, ten.join(format!("data_batch_{number}.bin")))?;
    }
    write(bytes, ten.join("batches.meta.txt"))?;
    write(bytes, hundred.join("train.bin"))?;
    let use_folder = |folder: &Path| use_data(&Data::load(&DataSource::new(folder), 0)?);
    let (ten, hundred) = (use_folder(&ten), use_folder(&hundred));
    ten.or(hundred)
}

fn table(bytes: &[u8], folder: &Path, name: &str, [x, y]: [&str; 2]) -> gnp::Result<()> {
    let options = DataSource::new(write(bytes, folder.join(name))?);
    let predicting = |targets: &[&str]| gnp::data::Selection {
        // A column of lists is that of an input.
        inputs: if name == "x.csv" { vec![] } else { vec![("ids".to_owned(), vec!["ids".to_owned()])] },
        ..gnp::data::Selection::predicting(targets.iter().copied())
    };
    let one = DataSource { selection: predicting(&[y]), test: Some(options.train.clone()), ..options.clone() };
    let two = DataSource { selection: predicting(&[x, y]), ..options };
    let use_table = |options: &DataSource| use_data(&Data::load(options, 0)?);
    let (one, two) = (use_table(&one), use_table(&two));
    one.or(two)
}

/// The input is a tokenizer of some texts.
fn text(bytes: &[u8], folder: &Path) -> gnp::Result<()> {
    let tokenizer = Some(write(bytes, folder.join("tokenizer.json"))?);
    let texts = write(b"x,y\ngood film,0\nbad,1\nnot a b\xc3\xa4d film at all,1\n", folder.join("texts.csv"))?;
    let selection = gnp::data::Selection::predicting(["y"]);
    let selection = gnp::data::Selection { text: vec!["x".to_owned()], tokenizer, most_tokens: Some(6), ..selection };
    use_data(&Data::load(&DataSource { selection, ..DataSource::new(texts) }, 0)?)
}

fn image_folder(bytes: &[u8], folder: &Path) -> gnp::Result<()> {
    // Which decoder is asked, the content decides.
    write(bytes, folder.join("images/train/a/1.png"))?;
    write(bytes, folder.join("images/train/b/1.jpg"))?;
    use_data(&Data::load(&DataSource::new(folder.join("images")), 0)?)
}

fn checkpoint(bytes: &[u8], folder: &Path) -> gnp::Result<()> {
    let root = folder.join("run");
    write(bytes, root.join("checkpoints/epoch-00001/state.json"))?;
    write(b"state", root.join("checkpoints/epoch-00001/checkpoint"))?;
    write(b"{}\n", root.join("metrics.jsonl"))?;
    if let (Some(checkpoint), _) = RunFolder::checkpoint_to_resume(&root)? {
        RunFolder::resume(&root, checkpoint.fingerprint().clone(), &checkpoint)?;
    }
    Ok(())
}

/// Small checkpoints with all that there can be; the second has its elements in a data file.
fn training_checkpoints() -> Vec<Vec<u8>> {
    let value = |sizes: &[usize]| {
        let bytes = vec![7; 4 * sizes.iter().product::<usize>()];
        Value::new(Element::Float32, sizes.to_vec(), bytes)
    };
    let named = |names: &[&str], sizes: &[usize]| -> BTreeMap<String, Value> {
        names.iter().filter_map(|&name| Some((name.to_owned(), value(sizes).ok()?))).collect()
    };
    let trainable = named(&["fc1.bias", "fc1.weight"], &[4, 5]);
    let slots = trainable.keys().map(|name| (name.clone(), named(&["momentum0", "momentum1"], &[4, 5])));
    let group = Group { step: 3, initial_learning_rate: 0.1, slots: slots.collect() };
    let properties =
        [("epoch", Property::Int(1)), ("loss", Property::Float(0.5)), ("note", Property::Text("x".into()))];
    let checkpoint = Checkpoint {
        trainable,
        frozen: named(&["mean"], &[3]),
        nominal: false,
        groups: [("group0".to_owned(), group)].into(),
        properties: properties.map(|(name, value)| (name.to_owned(), value)).into(),
    };
    let encoded = |external_from| {
        let folder = tempfile::tempdir().ok()?;
        let path = folder.path().join("checkpoint");
        checkpoint.write_external_from(&path, false, external_from).ok()?;
        fs::read(path).ok()
    };
    [u64::MAX, 0].into_iter().filter_map(encoded).collect()
}

fn training_checkpoint(bytes: &[u8], folder: &Path) -> gnp::Result<()> {
    let path = write(bytes, folder.join("checkpoint"))?;
    write(bytes, folder.join("checkpoint.data"))?;
    let (read, held) = memory::most(|| Checkpoint::read(&path));
    // What is made of a length that lies would be larger by far.
    assert!(held <= 16 * bytes.len() + (1 << 12), "{held} bytes are held for {} of a file", bytes.len());
    let read = read.inspect_err(|error| assert_ne!(error.kind(), ErrorKind::Internal, "{error}"))?;
    let again = folder.join("again");
    read.write(&again, true)?;
    let back = Checkpoint::read(&again)?;
    // NaN is not equal to itself.
    assert_eq!(format!("{read:?}"), format!("{back:?}"));
    let parameters = folder.join("parameters.safetensors");
    read.write_parameters(&parameters, true)?;
    back.with_parameters_of(&parameters).map(drop)
}

/// The arguments of a run.
#[derive(Parser)]
#[command(name = "gnp-fuzz", args_override_self = true)]
struct Line {
    model: Option<PathBuf>,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    schedule: ScheduleArguments,
    #[command(flatten)]
    checkpoint: CheckpointArguments,
    #[command(flatten)]
    penalty: PenaltyArguments,
    #[command(flatten)]
    step: StepArguments,
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long)]
    epochs: Option<u64>,
    #[arg(long)]
    batch_size: Option<usize>,
    #[arg(long)]
    out: Option<PathBuf>,
    #[arg(long)]
    seed: Option<u32>,
}

fn config(bytes: &[u8], folder: &Path) -> gnp::Result<()> {
    let path = write(bytes, folder.join("config.toml"))?;
    let command = Line::command();
    let line = config_file::expand(&command, [OsString::from("gnp-fuzz"), "--config".into(), path.into()].to_vec())?;
    let Ok(matches) = command.clone().try_get_matches_from(line) else { return Ok(()) };
    config_file::resolved(&command, &matches);
    let Ok(arguments) = Line::from_arg_matches(&matches) else { return Ok(()) };
    arguments.schedule.schedule()?;
    arguments.schedule.gr_warmup_length()?;
    arguments.checkpoint.policy();
    let options = arguments.step.options(arguments.penalty.penalty()?, arguments.schedule.lr())?;
    make_step(perceptron()?, &options)?;
    arguments.data.settings().map(drop)
}

/// Fails in one of the ways that are watched for.
fn fail(fault: &[u8]) -> bool {
    match fault {
        b"panic" => panic!("as was asked for"),
        b"memory" => !vec![0u8; 3 << 30].is_empty(),
        b"abort" => process::abort(),
        b"overflow" => deeper(&[0]) > 0,
        b"hang" => loop {
            thread::sleep(Duration::from_secs(1));
        },
        _ => true,
    }
}

/// Calls itself until the stack is full.
fn deeper(numbers: &[u64]) -> u64 {
    let more = [numbers[0].wrapping_add(1); 64];
    if more[0] == 0 { 0 } else { deeper(std::hint::black_box(&more)) + more[0] }
}

/// An array as `numpy.save` writes it.
fn npy(descriptor: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), values].concat()
}

fn arrays() -> Vec<Vec<u8>> {
    let floats: Vec<u8> = (0..6).flat_map(|x| (x as f32).to_le_bytes()).collect();
    vec![
        npy("|u1", "(6,)", &[0, 1, 2, 0, 1, 2]),
        npy("<i8", "(3,)", &[0; 24]),
        npy("<f4", "(3, 2)", &floats),
        npy(">f4", "(3, 1, 2)", &floats),
        npy("|u1", "(2, 3, 4, 1)", &[7; 24]),
    ]
}

fn archive(arrays: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in
        ["y_train", "y_test", "x_train", "x_test"].iter().zip([0, 1, 0, 2].map(|at: usize| &arrays[at]))
    {
        let written = writer.start_file(format!("{name}.npy"), options).map_err(io::Error::from);
        let _ = written.and_then(|()| writer.write_all(content));
    }
    writer.finish().map(Cursor::into_inner).unwrap_or_default()
}

fn images() -> Vec<Vec<u8>> {
    let pixels: Vec<u8> = (0..9 * 7 * 4u32).map(|i| (i * i % 251) as u8).collect();
    let kinds = [(ExtendedColorType::Rgb8, 3), (ExtendedColorType::Rgba8, 4), (ExtendedColorType::L8, 1)];
    let mut images = Vec::new();
    for (color, channels) in kinds {
        let pixels = &pixels[..9 * 7 * channels];
        let mut png = Vec::new();
        if codecs::png::PngEncoder::new(&mut png).write_image(pixels, 9, 7, color).is_ok() {
            images.push(png);
        }
        let mut jpeg = Vec::new();
        if codecs::jpeg::JpegEncoder::new(&mut jpeg).write_image(pixels, 9, 7, color).is_ok() {
            images.push(jpeg);
        }
    }
    images
}

const CHECKPOINT: &str = include_str!("checkpoint.json");

const CONFIG: &str = r#"model = "model.onnx"
data = "digits.npz"
epochs = 3
batch-size = 32
lr = 0.1
schedule = "cosine"
warmup = "5ep"
milestones = [2, 4]
final-lr = 0.01
loss = "cross-entropy"
class-weights = [1.0, 2.0, 0.5]
ignore-index = -1
r = 0.05
alpha = 0.8
optimizer = "adam"
freeze = ["fc1.*"]
dim = ["batch=4"]
augment = "basic"
mean = [0.5]
std = [0.25]
clip-norm = 1.0
lr-scale = ["fc1.*=0.1"]
keep = 3
"#;
