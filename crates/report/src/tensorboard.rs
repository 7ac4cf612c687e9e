//! TensorBoard's event files: a run's numbers, live, in a tool that many have open anyway.
//!
//! The file is a sequence of TFRecords (`tensorflow/core/lib/io/record_writer.h`): the length of the data as u64, the
//! masked CRC-32C of those eight bytes, the data, the masked CRC-32C of the data; all little-endian. The data are
//! `Event` messages (`tensorboard/compat/proto/event.proto`), of which the first says `brain.Event:2`.

use crate::Event;
use gnp_base::{Error, Result};
use prost::Message;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const VERSION: &str = "brain.Event:2";

/// Writes a run's events for TensorBoard, under the names `train/…`, `epoch/…` and `test/…`, by step.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: BufWriter<File>,
}

impl TensorBoard {
    /// Begins an event file in `folder`, which is made where it is missing.
    ///
    /// `resumed_at` is the number of steps after which a run goes on: TensorBoard then forgets what earlier files in
    /// the folder say of later steps. Without it the run is a new one, and event files that are there are removed.
    ///
    /// # Errors
    /// Where the folder or the file cannot be written.
    pub fn create(folder: &Path, resumed_at: Option<u64>) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| Error::io("make the folder", folder, &error))?;
        let earlier = event_files(folder).map_err(|error| Error::io("read the folder", folder, &error))?;
        if resumed_at.is_none() {
            for file in &earlier {
                fs::remove_file(file).map_err(|error| Error::io("remove the earlier run", file, &error))?;
            }
        }
        let path = folder.join(name(&earlier));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| Error::io("write the event file", &path, &error))?;
        let mut board = Self { path, file: BufWriter::new(file) };
        board.write(&proto::Event::new(0, proto::What::FileVersion(VERSION.into())))?;
        if let Some(step) = resumed_at {
            // TensorBoard drops the steps from that of the message on.
            let start = proto::SessionLog { status: proto::START };
            board.write(&proto::Event::new(step + 1, proto::What::SessionLog(start)))?;
        }
        board.flush()?;
        Ok(board)
    }

    /// Writes an event's numbers. What happens every step is buffered; an epoch is on its way to the disk at once.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn log(&mut self, event: &Event) -> Result<()> {
        self.write(&proto::Event::new(step(event), proto::What::Summary(summary(event))))?;
        if let Event::Epoch(_) = event { self.flush() } else { Ok(()) }
    }

    /// Hands what is buffered to the operating system.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| Error::io("write the event file", &self.path, &error))
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&mut self, event: &proto::Event) -> Result<()> {
        write_record(&mut self.file, &event.encode_to_vec())
            .map_err(|error| Error::io("write the event file", &self.path, &error))
    }
}

fn event_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(crate::EVENTS) && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// `events.out.tfevents.<seconds>.<host>.<process>.gnp`. TensorBoard reads a folder's files in the order of their
/// names, so the seconds are later than those of the `earlier` files, even where the clock says otherwise.
fn name(earlier: &[PathBuf]) -> String {
    let seconds = |file: &PathBuf| {
        let name = file.file_name()?.to_str()?.strip_prefix(crate::EVENTS)?;
        name.split('.').next()?.parse::<u64>().ok()
    };
    let after = earlier.iter().filter_map(seconds).max().map_or(0, |newest| newest.saturating_add(1));
    let host = sysinfo::System::host_name().unwrap_or_else(|| "localhost".into()).replace(['/', '\\'], "-");
    let prefix = crate::EVENTS;
    format!("{prefix}{:010}.{host}.{}.gnp", after.max(now() as u64), std::process::id())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn write_record(file: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    file.write_all(&length)?;
    file.write_all(&masked_crc(&length).to_le_bytes())?;
    file.write_all(data)?;
    file.write_all(&masked_crc(data).to_le_bytes())
}

/// The CRC-32C, rotated and shifted as TFRecords have it, so that the checksum of data that hold checksums stays sound.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn step(event: &Event) -> u64 {
    match event {
        Event::Step(report) => report.step,
        Event::Epoch(report) => report.step,
    }
}

fn summary(event: &Event) -> proto::Summary {
    let mut value = Vec::new();
    let mut add = |group: &str, name: &str, number: Option<f32>| {
        if let Some(simple_value) = number {
            value.push(proto::Value { tag: format!("{group}/{name}"), simple_value: Some(simple_value) });
        }
    };
    match event {
        Event::Step(report) => {
            report.measures.named().into_iter().for_each(|(name, number)| add("train", name, number));
            add("train", "examples_per_second", Some(report.examples_per_second as f32));
        }
        Event::Epoch(report) => {
            report.measures.named().into_iter().for_each(|(name, number)| add("epoch", name, number));
            add("epoch", "examples_per_second", Some(report.examples_per_second as f32));
            add("test", "loss", report.test_loss.map(|number| number as f32));
            add("test", "error", report.test_error.map(|number| number as f32));
            add("test", "top5_error", report.test_top5_error.map(|number| number as f32));
            report.test_scores.iter().for_each(|(score, number)| add("test", score.name(), Some(*number as f32)));
        }
    }
    proto::Summary { value }
}

/// The few of TensorBoard's messages that are written, with the field numbers of `event.proto` and `summary.proto`.
mod proto {
    use prost::{Message, Oneof};

    /// `SessionLog.SessionStatus`: a session begins.
    pub const START: i32 = 1;

    #[derive(Clone, PartialEq, Message)]
    pub struct Event {
        /// Seconds since 1970.
        #[prost(double, tag = "1")]
        pub wall_time: f64,
        #[prost(int64, tag = "2")]
        pub step: i64,
        #[prost(oneof = "What", tags = "3, 5, 7")]
        pub what: Option<What>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub enum What {
        #[prost(string, tag = "3")]
        FileVersion(String),
        #[prost(message, tag = "5")]
        Summary(Summary),
        #[prost(message, tag = "7")]
        SessionLog(SessionLog),
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Summary {
        #[prost(message, repeated, tag = "1")]
        pub value: Vec<Value>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Value {
        #[prost(string, tag = "1")]
        pub tag: String,
        /// Written where it is 0, too: it is one of a `oneof`.
        #[prost(float, optional, tag = "2")]
        pub simple_value: Option<f32>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct SessionLog {
        #[prost(int32, tag = "1")]
        pub status: i32,
    }

    impl Event {
        pub fn new(step: u64, what: What) -> Self {
            Self { wall_time: super::now(), step: step as i64, what: Some(what) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EpochReport, Measures, StepReport};

    /// The messages of an event file, its checksums checked.
    fn read(path: &Path) -> Vec<proto::Event> {
        let bytes = fs::read(path).unwrap();
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let (length, tail) = rest.split_at(8);
            let (check, tail) = tail.split_at(4);
            assert_eq!(check, masked_crc(length).to_le_bytes());
            let (data, tail) = tail.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
            let (check, tail) = tail.split_at(4);
            assert_eq!(check, masked_crc(data).to_le_bytes());
            events.push(proto::Event::decode(data).unwrap());
            rest = tail;
        }
        events
    }

    #[test]
    fn the_checksum_is_the_one_of_tfrecords() {
        // Of 32 zero bytes: RFC 3720, B.4; masked by tensorboard's pywrap_tensorflow.masked_crc32c.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }

    #[test]
    fn the_numbers_that_are_known_are_written_under_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(&folder.path().join("run"), None).unwrap();
        let measures = Measures { loss: 0.0, grad_norm: Some(2.0), learning_rate: 0.5, ..Measures::default() };
        board.log(&Event::Step(StepReport { step: 3, measures, ..StepReport::default() })).unwrap();
        let report = EpochReport { step: 3, measures, test_error: Some(0.25), ..EpochReport::default() };
        board.log(&Event::Epoch(report)).unwrap();
        let events = read(board.path());
        assert_eq!(events[0].what, Some(proto::What::FileVersion("brain.Event:2".into())));
        let numbers = |event: &proto::Event| match &event.what {
            Some(proto::What::Summary(summary)) => {
                let values = summary.value.iter().map(|value| (value.tag.clone(), value.simple_value.unwrap()));
                values.collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        let named = |list: &[(&str, f32)]| list.iter().map(|&(tag, x)| (tag.to_owned(), x)).collect::<Vec<_>>();
        assert_eq!(
            numbers(&events[1]),
            named(&[
                ("train/loss", 0.0),
                ("train/grad_norm", 2.0),
                ("train/learning_rate", 0.5),
                ("train/examples_per_second", 0.0)
            ])
        );
        let epoch = numbers(&events[2]);
        assert!(epoch.contains(&("test/error".into(), 0.25)) && epoch.contains(&("epoch/grad_norm".into(), 2.0)));
        assert_eq!(events.iter().map(|event| event.step).collect::<Vec<_>>(), [0, 3, 3]);
    }

    #[test]
    fn a_resumed_run_has_a_later_file_and_a_new_one_has_none_before() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("events.txt"), "mine").unwrap();
        let first = TensorBoard::create(folder.path(), None).unwrap().path().to_owned();
        let resumed = TensorBoard::create(folder.path(), Some(7)).unwrap().path().to_owned();
        assert!(resumed > first && first.is_file());
        let start = &read(&resumed)[1];
        assert_eq!(start.step, 8);
        assert_eq!(start.what, Some(proto::What::SessionLog(proto::SessionLog { status: 1 })));
        let anew = TensorBoard::create(folder.path(), None).unwrap();
        assert_eq!(event_files(folder.path()).unwrap(), [anew.path()]);
        assert!(folder.path().join("events.txt").is_file());
    }
}
