//! Writing: stream to a temporary file, then replace.

use super::place::{Placement, Watch};
use super::proto::tensor_proto::{DataLocation, DataType};
use super::proto::{ModelProto, StringStringEntryProto, TensorProto};
use super::sink::Sink;
use super::{Model, Payloads, external, zeros};
use bytes::Bytes;
use gnp_base::files::{self, folder_of};
use gnp_base::{Error, Result};
use prost::Message as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// Protobuf libraries read no message of more bytes than this.
const MESSAGE_LIMIT: usize = i32::MAX as usize;

/// Where external tensors start: a multiple of the page size, so that they can be mapped.
const ALIGNMENT: u64 = 4096;

/// What becomes of a model's external data when the model is written to another folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "lowercase")]
pub enum ExternalData {
    /// The new model has data files of its own: reflinks where the file system can, else copies
    #[default]
    Copy,
    /// The data files are shared: as reflinks, else hard links, else copies. Other tools may refuse files with several
    /// links
    Link,
    /// They are named as they are named now; whoever moves the model moves the data
    Keep,
}

impl ExternalData {
    /// How a data file comes to its new place; none where it does not.
    pub fn placement(self) -> Option<Placement> {
        match self {
            Self::Copy => Some(Placement::OwnCopy),
            Self::Link => Some(Placement::MayLink),
            Self::Keep => None,
        }
    }
}

/// How to write a model.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Replace an existing file.
    pub force: bool,
    /// What to do with external data.
    pub external_data: ExternalData,
    /// Beyond this many bytes the weights go to a file of their own, `<model>.data`. The default is protobuf's limit,
    /// 2 GiB.
    pub message_limit: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { force: false, external_data: ExternalData::default(), message_limit: MESSAGE_LIMIT }
    }
}

/// What [`write()`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The bytes of the model file.
    pub bytes: usize,
    /// External data files that belong to it, relative to its folder.
    pub external: Vec<PathBuf>,
}

/// Writes `model` to `path`, which may be the file that it was read from. Tensor payloads go from the map to the file.
///
/// # Errors
/// Where `path` exists and `force` is not set, or cannot be written; an existing file is then as it was.
pub fn write(model: Model, path: impl AsRef<Path>, options: &WriteOptions) -> Result<Written> {
    write_watched(model, path, options, &mut |_| {})
}

/// The same, and tells `watch` of external data that is copied.
///
/// # Errors
/// As [`write()`].
pub fn write_watched(
    mut model: Model,
    path: impl AsRef<Path>,
    options: &WriteOptions,
    watch: Watch<'_>,
) -> Result<Written> {
    let path = path.as_ref();
    // Before anything is placed.
    files::ensure_free(path, options.force)?;
    let sources = external::external_files(&model)?;
    files::ensure_no_input(path, &sources)?;
    let zeros = zeros::place(&mut model, path, options.force)?;
    let mut external = match options.external_data.placement() {
        Some(placement) => external::bring_along(&mut model, path, zeros.as_deref(), placement, options.force, watch)?,
        None => external::external_locations(&model)?,
    };
    let mut proto = model.into_proto();
    let mut bytes = proto.encoded_len();
    if bytes > options.message_limit {
        let name = free_name(path, &external)?;
        let data = folder_of(path).join(&name);
        files::ensure_no_input(&data, &sources)?;
        write_weights(&mut proto, &data, options.force)?;
        external.push(name);
        bytes = proto.encoded_len();
    }
    if bytes > options.message_limit {
        return Err(Error::input(format!(
            "the model without its weights takes {bytes} bytes; protobuf allows {MESSAGE_LIMIT}"
        ))
        .help("move large constants of the nodes into initializers")
        .in_file(path));
    }
    files::replace_file(path, options.force, |file| {
        let mut sink = Sink::new(file);
        // A sink has room for all, so that nothing is measured a second time.
        proto.encode_raw(&mut sink);
        sink.finish().map_err(|e| Error::io("write the file", path, &e))
    })?;
    Ok(Written { bytes, external })
}

/// The names of the data files that [`write()`] would put beside `path`, or, where they stay where they are, that the
/// model would refer to: those known before it is encoded.
///
/// # Errors
/// As [`write()`].
pub fn data_beside(model: &Model, path: &Path, external_data: ExternalData) -> Result<Vec<PathBuf>> {
    let has_zeros = model.graph.initializer.iter().any(TensorProto::is_zeros);
    let zeros = if has_zeros { Some(zeros::name(path)?) } else { None };
    let names = match external_data.placement() {
        Some(_) => external::names_beside(model, path)?.into_iter().map(|(_, name)| name).collect(),
        None => external::external_locations(model)?,
    };
    Ok(names.into_iter().filter(|name| !zeros::is_placeholder(name)).chain(zeros).collect())
}

/// Writes the model's own bytes, as they would stand in a file, to `writer`; external data is left out.
///
/// # Errors
/// Where the writer fails.
pub fn encode(model: Model, writer: impl std::io::Write) -> Result<()> {
    let path = model.path().to_owned();
    let mut sink = Sink::new(writer);
    model.into_proto().encode_raw(&mut sink);
    sink.finish().map_err(|e| Error::io("write the model", path, &e))
}

/// Has `model` hold all its data itself, for one message without files beside it; returns how many bytes that takes.
///
/// # Errors
/// Where data cannot be read; where protobuf allows no message of that size.
pub fn bring_in(model: &mut Model) -> Result<usize> {
    Payloads::new(model.folder()).bring_in(model)?;
    let graph = model.graph.encoded_len();
    let bytes = model.header.encoded_len() + 1 + prost::length_delimiter_len(graph) + graph;
    if bytes > MESSAGE_LIMIT {
        let what = format!("the model takes {bytes} bytes; protobuf allows {MESSAGE_LIMIT} in memory");
        return Err(Error::input(what)
            .in_file(model.path())
            .help("write it to a file: its weights go to one beside it"));
    }
    Ok(bytes)
}

/// `<path>.data`, or that with a number where data that stays has the name.
fn free_name(path: &Path, taken: &[PathBuf]) -> Result<PathBuf> {
    let endings = (1..).map(|number: usize| format!(".data{number}"));
    let mut names = [".data".to_owned()].into_iter().chain(endings).map(|ending| files::name_beside(path, &ending));
    names
        .find(|name| name.as_ref().map_or(true, |name| !taken.contains(name)))
        .unwrap_or_else(|| Err(Error::internal("no name is free")))
}

/// Moves the payloads of the initializers to the file `data`, in the folder of the model.
fn write_weights(proto: &mut ModelProto, data: &Path, force: bool) -> Result<()> {
    let location = data.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files::replace_file(data, force, |file| {
        let mut offset = 0;
        for tensor in proto.graph.iter_mut().flat_map(|g| &mut g.initializer) {
            if let Some(payload) = take_payload(tensor) {
                offset = pad(file, offset).map_err(|e| Error::io("write the file", data, &e))?;
                file.write_all(&payload).map_err(|e| Error::io("write the file", data, &e))?;
                refer(tensor, &location, offset, payload.len() as u64);
                offset += payload.len() as u64;
            }
        }
        Ok(())
    })
}

/// The payload in the raw little-endian form, where the tensor has one in memory that is worth moving.
fn take_payload(tensor: &mut TensorProto) -> Option<Bytes> {
    const WORTH: usize = 1024;
    let typed = match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Float | DataType::Complex64) => &mut tensor.float_data,
        Ok(DataType::Double | DataType::Complex128) => &mut tensor.double_data,
        _ => &mut Vec::new(),
    };
    if let [payload] = &typed[..]
        && payload.len() >= WORTH
    {
        return typed.pop();
    }
    tensor.raw_data.take_if(|raw| raw.len() >= WORTH)
}

fn refer(tensor: &mut TensorProto, location: &str, offset: u64, length: u64) {
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = vec![
        entry("location", location.into()),
        entry("offset", offset.to_string()),
        entry("length", length.to_string()),
    ];
}

fn pad(file: &mut File, offset: u64) -> std::io::Result<u64> {
    let aligned = offset.next_multiple_of(ALIGNMENT);
    file.write_all(&[0; ALIGNMENT as usize][..(aligned - offset) as usize])?;
    Ok(aligned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};
    use crate::onnx::{ExternalLocation, read};
    use proptest::prelude::*;

    fn floats(n: usize) -> Bytes {
        (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn weights() -> ModelProto {
        let tensor = |name: &str| TensorProto {
            name: Some(name.into()),
            dims: vec![1000],
            data_type: Some(DataType::Float as i32),
            ..Default::default()
        };
        let raw = TensorProto { raw_data: Some(floats(1000)), ..tensor("raw") };
        let typed = TensorProto { float_data: vec![floats(1000)], ..tensor("typed") };
        ModelProto {
            graph: Some(GraphProto { initializer: vec![raw, typed], ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn beyond_the_limit_weights_become_external() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big.onnx");
        let options = WriteOptions { message_limit: 4096, ..Default::default() };
        let written = write(Model::new(weights(), &path).unwrap(), &path, &options).unwrap();
        assert_eq!(written.external, [PathBuf::from("big.onnx.data")]);
        assert!(written.bytes < 4096);
        let model = read(&path).unwrap();
        let data = std::fs::read(folder.path().join("big.onnx.data")).unwrap();
        for tensor in &model.graph.initializer {
            let at = ExternalLocation::of(tensor).unwrap().unwrap();
            assert_eq!(at.offset % ALIGNMENT, 0);
            assert_eq!(data[at.offset as usize..][..at.length.unwrap() as usize], floats(1000));
        }
    }

    #[test]
    fn external_data_comes_along_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        let limit = WriteOptions { message_limit: 4096, ..Default::default() };
        write(Model::new(weights(), "m.onnx").unwrap(), a.join("m.onnx"), &limit).unwrap();

        let keep = WriteOptions { external_data: ExternalData::Keep, ..Default::default() };
        write(read(a.join("m.onnx")).unwrap(), b.join("kept.onnx"), &keep).unwrap();
        assert!(!b.join("m.onnx.data").exists());
        assert!(read(b.join("kept.onnx")).unwrap_err().to_string().contains("m.onnx.data"));

        write(read(a.join("m.onnx")).unwrap(), b.join("m.onnx"), &WriteOptions::default()).unwrap();
        assert_eq!(std::fs::read(a.join("m.onnx.data")).unwrap(), std::fs::read(b.join("m.onnx.data")).unwrap());
        read(b.join("m.onnx")).unwrap();
    }

    /// A model with its weights in `<name>.data`, in `folder`.
    fn large(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        let limit = WriteOptions { message_limit: 4096, ..Default::default() };
        write(Model::new(weights(), name).unwrap(), &path, &limit).unwrap();
        path
    }

    #[test]
    fn the_data_of_another_model_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        let model = large(&a, "m.onnx");
        std::fs::write(b.join("m.onnx.data"), "of another model").unwrap();
        let force = WriteOptions { force: true, ..Default::default() };
        let written = write(read(&model).unwrap(), b.join("step.onnx"), &force).unwrap();
        assert_eq!(written.external, [PathBuf::from("step.onnx.m.onnx.data")]);
        assert_eq!(std::fs::read(b.join("m.onnx.data")).unwrap(), b"of another model");
        read(b.join("step.onnx")).unwrap();
    }

    #[test]
    fn weights_that_become_external_leave_the_data_that_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        let mut model = read(large(&a, "m.onnx")).unwrap();
        let grown = TensorProto {
            raw_data: Some(floats(3000)),
            dims: vec![3000],
            ..weights().graph.unwrap().initializer[0].clone()
        };
        model.graph.initializer.push(TensorProto { name: Some("grown".into()), ..grown });
        let limit = WriteOptions { message_limit: 4096, ..Default::default() };
        let written = write(model, b.join("m.onnx"), &limit).unwrap();
        assert_eq!(written.external, ["m.onnx.data", "m.onnx.data1"].map(PathBuf::from));
        assert_eq!(std::fs::read(a.join("m.onnx.data")).unwrap(), std::fs::read(b.join("m.onnx.data")).unwrap());
    }

    /// `snapshot/m.onnx` and its data as links into `blobs`, as Hugging Face's cache has them.
    #[cfg(unix)]
    fn cached(folder: &Path) -> PathBuf {
        use std::os::unix::fs::symlink;
        let (blobs, snapshot) = (folder.join("blobs"), folder.join("snapshot"));
        std::fs::create_dir(&blobs).unwrap();
        std::fs::create_dir(&snapshot).unwrap();
        let model = large(&blobs, "m.onnx");
        std::fs::rename(model, blobs.join("one")).unwrap();
        std::fs::rename(blobs.join("m.onnx.data"), blobs.join("two")).unwrap();
        symlink("../blobs/one", snapshot.join("m.onnx")).unwrap();
        symlink("../blobs/two", snapshot.join("m.onnx.data")).unwrap();
        snapshot
    }

    #[test]
    #[cfg(unix)]
    fn links_of_a_cache_are_read_and_what_is_written_is_files() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = cached(folder.path());
        let model = || read(snapshot.join("m.onnx")).unwrap();
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let places = [(snapshot.join("step.onnx"), "step.onnx.m.onnx.data"), (out.join("step.onnx"), "m.onnx.data")];
        for (output, data) in places {
            let written = write(model(), &output, &WriteOptions::default()).unwrap();
            assert_eq!(written.external, [PathBuf::from(data)]);
            let data = folder_of(&output).join(data);
            assert!(data.symlink_metadata().unwrap().is_file());
            assert_eq!(std::fs::read(data).unwrap(), std::fs::read(folder.path().join("blobs/two")).unwrap());
            read(output).unwrap();
        }
        // A file whose data leads out of where it lies itself.
        std::fs::copy(folder.path().join("blobs/one"), snapshot.join("copy.onnx")).unwrap();
        let error = read(snapshot.join("copy.onnx")).unwrap_err();
        assert!(error.to_string().contains("outside the model's folder"), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn data_has_one_name_unless_links_are_asked_for() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let model = large(folder.path(), "m.onnx");
        let links = || std::fs::metadata(folder.path().join("m.onnx.data")).unwrap().nlink();
        for (name, external_data, expected) in [("copy", ExternalData::Copy, 1), ("link", ExternalData::Link, 2)] {
            let out = folder.path().join(name);
            std::fs::create_dir(&out).unwrap();
            write(read(&model).unwrap(), out.join("m.onnx"), &WriteOptions { external_data, ..Default::default() })
                .unwrap();
            read(out.join("m.onnx")).unwrap();
            // Where the file system shares blocks, a link is none.
            assert!(links() == expected || links() == 1, "{name}");
        }
    }

    #[test]
    fn external_data_stays_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(folder.path().join("secret"), [0; 64]).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path().join("secret"), inside.join("link")).unwrap();
        for location in ["../secret", "/etc/passwd", "x/../../secret", "link"] {
            let mut proto = weights();
            for tensor in &mut proto.graph.as_mut().unwrap().initializer {
                take_payload(tensor);
                refer(tensor, location, 0, 8);
            }
            let path = inside.join("m.onnx");
            std::fs::write(&path, proto.encode_to_vec()).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains("outside the model's folder"), "{location}: {error}");
        }
    }

    #[test]
    fn reading_and_writing_the_same_path_keeps_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        std::fs::write(&path, weights().encode_to_vec()).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(write(read(&path).unwrap(), &path, &WriteOptions::default()).is_err());
        write(read(&path).unwrap(), &path, &WriteOptions { force: true, ..Default::default() }).unwrap();
        assert!(std::fs::read(&path).unwrap() == before);
    }

    fn attribute() -> impl Strategy<Value = AttributeProto> {
        (".*", proptest::option::of(any::<f32>()), proptest::collection::vec(any::<i64>(), 0..4), any::<Option<i32>>())
            .prop_map(|(name, f, ints, r#type)| AttributeProto {
                name: Some(name),
                f,
                ints,
                r#type,
                ..Default::default()
            })
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_byte_for_byte(
            names in proptest::collection::vec(".*", 0..6),
            attributes in proptest::collection::vec(attribute(), 0..4),
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            version in any::<Option<i64>>(),
        ) {
            let node = NodeProto { input: names.clone(), output: names.clone(), attribute: attributes, ..Default::default() };
            let value = ValueInfoProto { name: names.first().cloned(), ..Default::default() };
            let tensor = TensorProto::raw("", DataType::Uint8, &[payload.len() as i64, 1], payload.into());
            let graph = GraphProto { node: vec![node], input: vec![value], initializer: vec![tensor], ..Default::default() };
            let bytes = ModelProto { ir_version: version, graph: Some(graph), ..Default::default() }.encode_to_vec();
            let folder = tempfile::tempdir().unwrap();
            let (a, b) = (folder.path().join("a.onnx"), folder.path().join("b.onnx"));
            std::fs::write(&a, &bytes).unwrap();
            write(read(&a).unwrap(), &b, &WriteOptions::default()).unwrap();
            prop_assert_eq!(std::fs::read(&b).unwrap(), bytes);
        }
    }
}
