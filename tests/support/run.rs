//! A small, quick training of a step model with `gnp-run`: Dropout, BatchNormalization, momentum, the penalty.

use super::command::gnp_rewrite;
use super::forward;
use gnp::report::Event;
use ndarray::{Array1, Array4};
use ndarray_npy::WriteNpyExt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const SAMPLES: usize = 90;
/// With batches of 16; the last is smaller.
pub const STEPS_AN_EPOCH: u64 = 6;

/// A step model and what it trains on.
pub struct Training {
    folder: PathBuf,
    pub step: PathBuf,
    pub data: PathBuf,
    pub batch_size: usize,
}

impl Training {
    /// Makes both in `folder`.
    pub fn new(folder: &Path) -> Self {
        let model = forward::write(&forward::network(), &folder.join("network.onnx"));
        let step = folder.join("network.step.onnx");
        gnp_rewrite().arg(model).args(["--quiet", "--r", "0.05", "-o"]).arg(&step).assert().success();
        let data = folder.join("data.npz");
        write_data(&data);
        Self { folder: folder.to_owned(), step, data, batch_size: 16 }
    }

    /// The arguments of a run of `epochs` epochs in the folder `out`.
    pub fn arguments(&self, out: &Path, epochs: u64) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut arguments = vec![path(&self.step), "--data".into(), path(&self.data), "--out".into(), path(out)];
        arguments.extend(["--epochs".into(), epochs.to_string(), "--batch-size".into(), self.batch_size.to_string()]);
        arguments.extend(["--engine", "tract", "--threads", "1"].map(str::to_owned));
        arguments
    }

    /// A run that finds no engine but tract.
    pub fn command(&self, out: &Path, epochs: u64) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
        command.env_remove("ORT_DYLIB_PATH").env("GNP_CACHE_DIR", self.folder.join("cache"));
        command.args(self.arguments(out, epochs));
        command
    }
}

/// Images of noise; the class says which third of them is the brightest.
fn write_data(path: &Path) {
    let images = Array4::from_shape_fn((SAMPLES, 1, 6, 6), |(n, _, y, x)| {
        let noise = ((n * 7919 + y * 104_729 + x * 31) % 1009) as f32 / 1009.0;
        noise + if y / 2 == n % 3 { 0.5 } else { 0.0 }
    });
    let labels = Array1::from_shape_fn(SAMPLES, |n| (n % 3) as i64);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    images.write_npy(&mut x).unwrap();
    labels.write_npy(&mut y).unwrap();
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in [("x_train", &x), ("y_train", &y), ("x_test", &x), ("y_test", &y)] {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// The events in `metrics.jsonl`; the last line is left out where it is torn.
pub fn events(out: &Path) -> Vec<Event> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The lines of `metrics.jsonl` without the times.
pub fn course(out: &Path) -> Vec<Event> {
    let mut events = events(out);
    for event in &mut events {
        match event {
            Event::Step(report) => {
                (report.seconds, report.data_seconds, report.examples_per_second) = (0.0, 0.0, 0.0);
            }
            Event::Epoch(report) => {
                (report.seconds, report.data_seconds, report.examples_per_second) = (0.0, 0.0, 0.0);
            }
            _ => {}
        }
    }
    events
}
