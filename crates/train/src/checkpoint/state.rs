//! What `state.json` holds: how far the run has come, and what tells the files beside it from damaged ones.

use super::moment::Moment;
use crate::{Fingerprint, Progress};
use gnp_base::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::{Component, Path};

/// The longest `state.json` that is read, in bytes: it holds some dozen numbers, and the choices of a run.
const LONGEST: u64 = 16 << 20;
/// The largest count that JSON carries whole; no run comes as far.
const LARGEST_COUNT: u64 = 1 << 53;

/// How a run has diverged at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Diverged {
    /// A step that was taken from here led, sooner or later, to numbers that are none: with other rates another may
    /// not.
    Later,
    /// What these weights come to is no number: they are of no use.
    Already,
}

/// What `state.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub progress: Progress,
    /// The length of `metrics.jsonl` in bytes.
    pub metrics_length: u64,
    pub fingerprint: Fingerprint,
    /// How the run has diverged here, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<Diverged>,
    /// The files beside it.
    #[serde(default)]
    pub files: BTreeMap<String, Sum>,
}

impl State {
    /// What is wrong with the state of the checkpoint `folder`, where it can be read but no run wrote it.
    pub(super) fn flaw(&self, folder: &Path) -> Option<String> {
        let Progress { epoch, batch, step, .. } = self.progress;
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if Moment::parse(name) != Some(Moment::of(&self.progress)) {
            return Some(format!("it says that it is of epoch {epoch} and batch {batch}"));
        }
        if [epoch, batch, step, self.progress.means.samples()].iter().any(|&count| count > LARGEST_COUNT) {
            return Some("it counts more than any run does".to_owned());
        }
        // Nothing outside of the folder is read.
        let is_within = |name: &String| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        let outside = self.files.keys().find(|name| !is_within(name))?;
        Some(format!("it names the file {outside:?}, which is not beside it"))
    }
}

/// What tells a file from a damaged one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(super) bytes: u64,
    pub(super) crc32: u32,
}

impl Sum {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0);
        loop {
            let chunk = reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(Self { bytes, crc32: hasher.finalize() });
            }
            hasher.update(chunk);
            let length = chunk.len();
            bytes += length as u64;
            reader.consume(length);
        }
    }
}

/// The bytes of a `state.json`, which is damaged where it is longer than any.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files::open(file)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes what `state.json` holds, durably.
pub(super) fn write(file: &Path, state: &State) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(state)?;
    text.push(b'\n');
    let mut file = File::create(file)?;
    file.write_all(&text)?;
    file.sync_all()
}
