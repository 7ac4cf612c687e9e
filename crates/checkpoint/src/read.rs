//! From the file to a [`Checkpoint`].

use crate::flat::{Buffer, Table};
use crate::schema::{IDENTIFIER, VERSION, checkpoint, group, module, optimized, properties, property, tensor};
use crate::{Checkpoint, Element, Group, Property, Value, value};
use bytes::Bytes;
use gnp_base::{Error, Result, files};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the elements of a large checkpoint are.
pub fn data_file(checkpoint: &Path) -> PathBuf {
    let mut path = checkpoint.as_os_str().to_owned();
    path.push(".data");
    path.into()
}

/// What the tensors of a part of the file may be.
#[derive(Clone, Copy)]
struct Source<'d> {
    nominal: bool,
    external: Option<&'d Buffer>,
}

impl Checkpoint {
    /// Whether a file begins as checkpoints do.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn is_at(path: &Path) -> Result<bool> {
        Ok(Buffer::new(files::map(path)?).identifier() == IDENTIFIER.as_bytes())
    }

    /// Reads the checkpoint at `path` and, where it says so, its data file.
    ///
    /// # Errors
    /// Where a file cannot be read, or is damaged, or has what the format does not allow.
    pub fn read(path: &Path) -> Result<Self> {
        let buffer = Buffer::new(files::map(path)?);
        read(&buffer, path).map_err(|error| error.in_file(path))
    }
}

fn read(buffer: &Buffer, path: &Path) -> Result<Checkpoint> {
    if buffer.identifier() != IDENTIFIER.as_bytes() {
        let error = Error::format("it is no training checkpoint of ONNX Runtime");
        return Err(error.help("give the file `checkpoint` that generate_artifacts or a training session wrote"));
    }
    let root = buffer.root()?;
    let version = root.number(checkpoint::VERSION)?.map_or(0, i32::from_le_bytes);
    if !(1..=VERSION).contains(&version) {
        let error = Error::unsupported(format!("it is of version {version} of the format; versions 1 and 2 are known"));
        return Err(error.help("write it with ONNX Runtime 1.19.2 or older"));
    }
    let Some(parameters) = root.table(checkpoint::MODULE)? else {
        return Err(Error::format("it holds no parameters").help("make the artifacts again"));
    };
    let flag = |field| Ok::<_, Error>(parameters.number::<1>(field)?.is_some_and(|[flag]| flag != 0));
    let nominal = flag(module::NOMINAL)?;
    let external = if flag(module::EXTERNAL)? {
        let file =
            files::map(&data_file(path)).map_err(|error| error.help("keep the data file beside its checkpoint"))?;
        Some(Buffer::new(file))
    } else {
        None
    };
    let source = Source { nominal, external: external.as_ref() };
    let trainable = tensors(&parameters, module::TRAINABLE, "", source)?;
    let frozen = tensors(&parameters, module::FROZEN, "", source)?;
    let groups =
        unique(root.tables(checkpoint::GROUPS)?, group::NAME, "an optimizer group", |table, _| optimizer_group(table))?;
    let properties = root.table(checkpoint::PROPERTIES)?.map(|bag| all_properties(&bag)).transpose()?;
    let read = Checkpoint { trainable, frozen, nominal, groups, properties: properties.unwrap_or_default() };
    read.check()?;
    Ok(read)
}

/// What `make` makes of each table, by the text in its field `name`.
fn unique<'b, T>(
    tables: impl Iterator<Item = Result<Table<'b>>>,
    name: u16,
    kind: &str,
    make: impl Fn(&Table<'b>, &str) -> Result<T>,
) -> Result<BTreeMap<String, T>> {
    let mut made = BTreeMap::new();
    for table in tables {
        let table = table?;
        let name = table.string(name)?.ok_or_else(|| Error::format(format!("{kind} has no name")))?;
        if made.contains_key(&name) {
            return Err(Error::format(format!("{kind} has the name of another, `{name}`")));
        }
        let value = make(&table, &name)?;
        made.insert(name, value);
    }
    Ok(made)
}

/// The tensors of a list; `of` is what they belong to.
fn tensors(table: &Table<'_>, field: u16, of: &str, source: Source<'_>) -> Result<BTreeMap<String, Value>> {
    let named = |table: &Table<'_>, name: &str| {
        let wrong = |what: String| Error::format(format!("the tensor `{of}{name}`: {what}"));
        tensor_value(table, source, wrong)
    };
    unique(table.tables(field)?, tensor::NAME, "a tensor", named)
}

fn tensor_value(table: &Table<'_>, source: Source<'_>, wrong: impl Fn(String) -> Error) -> Result<Value> {
    let code = table.number(tensor::ELEMENT)?.map_or(0, i32::from_le_bytes);
    let dims = table.int64s(tensor::DIMS)?;
    let data = table.bytes(tensor::DATA)?;
    let element = Element::from_onnx(code)
        .ok_or_else(|| wrong(format!("its elements are of ONNX's type {code}, which no checkpoint should have")))?;
    let shape = dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| wrong(format!("its shape {dims:?} has a negative size")))?;
    let size = value::size(element, &shape);
    let offset = table.number(tensor::EXTERNAL_OFFSET)?.map_or(-1, i64::from_le_bytes);
    let data = match (data, usize::try_from(offset), source.external) {
        (Some(data), Err(_), _) if source.nominal && data.is_empty() => return Ok(Value::nominal(element, shape)),
        (Some(data), Err(_), _) => data,
        (None, Ok(offset), Some(file)) => {
            let part = size.and_then(|size| size.checked_add(offset)).map(|end| file.part(offset..end)).transpose()?;
            part.flatten().ok_or_else(|| wrong("its elements are beyond the end of the data file".to_owned()))?
        }
        (None, Ok(_), None) => return Err(wrong("its elements are in a data file, and there is none".to_owned())),
        (Some(_), Ok(_), _) => return Err(wrong("its elements are in two places".to_owned())),
        (None, Err(_), _) if source.nominal => return Ok(Value::nominal(element, shape)),
        (None, Err(_), _) => Bytes::new(),
    };
    Value::new(element, shape, data).map_err(|error| wrong(error.to_string()))
}

fn optimizer_group(table: &Table<'_>) -> Result<Group> {
    let source = Source { nominal: false, external: None };
    let slots =
        unique(table.tables(group::PARAMETERS)?, optimized::PARAMETER, "an optimized parameter", |table, name| {
            tensors(table, optimized::SLOTS, &format!("{name}/"), source)
        })?;
    Ok(Group {
        step: table.number(group::STEP)?.map_or(0, i64::from_le_bytes),
        initial_learning_rate: table.number(group::INITIAL_LEARNING_RATE)?.map_or(0.0, f32::from_le_bytes),
        slots,
    })
}

fn all_properties(bag: &Table<'_>) -> Result<BTreeMap<String, Property>> {
    let of_kind = |field, make: fn(&Table<'_>) -> Result<Property>| {
        unique(bag.tables(field)?, property::NAME, "a property", |table, _| make(table))
    };
    let kinds = [
        of_kind(properties::INTS, |table| {
            Ok(Property::Int(table.number(property::VALUE)?.map_or(0, i64::from_le_bytes)))
        })?,
        of_kind(properties::FLOATS, |table| {
            Ok(Property::Float(table.number(property::VALUE)?.map_or(0.0, f32::from_le_bytes)))
        })?,
        of_kind(properties::STRINGS, |table| {
            let text = table.string(property::VALUE)?;
            text.map(Property::Text).ok_or_else(|| Error::format("a property of text has none"))
        })?,
    ];
    let mut all = BTreeMap::new();
    for (name, property) in kinds.into_iter().flatten() {
        if all.contains_key(&name) {
            return Err(Error::format(format!("a property has the name of another, `{name}`")));
        }
        all.insert(name, property);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn models() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
    }

    #[test]
    fn checkpoints_of_the_generator_are_read() {
        for (model, trainable, frozen, weight, shape) in [
            ("mlp", 6, 0, "fc1.weight", &[256, 64][..]),
            ("cnn", 10, 4, "conv1.weight", &[8, 1, 3, 3][..]),
            ("vit", 32, 0, "patch.weight", &[32, 1, 2, 2][..]),
        ] {
            let read = Checkpoint::read(&models().join(model).join("checkpoint")).unwrap();
            assert_eq!((read.trainable.len(), read.frozen.len()), (trainable, frozen), "{model}");
            assert_eq!(read.trainable[weight].shape(), shape, "{model}");
            assert!(read.groups.is_empty() && read.properties.is_empty() && !read.nominal);
        }
        // The elements, as they stand in the file.
        let read = Checkpoint::read(&models().join("cnn/checkpoint")).unwrap();
        assert_eq!(read.frozen["bn2.running_var"].data(), &[1.0f32; 16].map(f32::to_le_bytes).concat());
        assert_eq!(read.trainable["conv1.weight"].data()[..4], [0xdf, 0x84, 0xb6, 0x3d]);
    }

    #[test]
    fn a_nominal_checkpoint_of_the_generator_is_read() {
        let file = models().join("../tests/fixtures/checkpoint/nominal_checkpoint");
        let read = Checkpoint::read(&file).unwrap();
        assert!(read.nominal && read.frozen.is_empty());
        let mut names: Vec<_> = read.trainable.keys().collect();
        names.sort_unstable();
        assert_eq!(names, ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight", "fc3.bias", "fc3.weight"]);
        assert!(read.trainable.values().all(|value| value.element() == Element::Float32 && value.data().is_empty()));
    }

    #[test]
    fn damage_is_an_error() {
        let whole = fs::read(models().join("cnn/checkpoint")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        for length in (0..600).chain((600..whole.len()).step_by(499)) {
            fs::write(&path, &whole[..length]).unwrap();
            Checkpoint::read(&path).unwrap_err();
        }
        // The tables and lists are at the beginning; any byte of them may be anything.
        for at in 0..600 {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                fs::write(&path, &bytes).unwrap();
                let _ = Checkpoint::read(&path);
            }
        }
    }

    #[test]
    fn elements_do_not_overlap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let value = Value::zeros(Element::Float32, vec![1000]).unwrap();
        let trainable = ["a", "b", "c"].map(|name| (name.to_owned(), value.clone())).into();
        Checkpoint { trainable, ..Checkpoint::default() }.write_external_from(&path, false, 0).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for offset in [4000i64, 8000] {
            let at = bytes.windows(8).position(|found| found == offset.to_le_bytes()).unwrap();
            bytes[at..at + 8].fill(0);
        }
        fs::write(&path, bytes).unwrap();
        fs::write(data_file(&path), [0; 4000]).unwrap();
        let error = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("the checkpoint is damaged: its parts overlap"), "{error}");
    }

    #[test]
    fn what_is_no_checkpoint_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        for bytes in [&b""[..], b"ODTC", b"\x0c\0\0\0ORTM\0\0\0\0"] {
            fs::write(&path, bytes).unwrap();
            let error = Checkpoint::read(&path).unwrap_err();
            assert!(error.to_string().ends_with("it is no training checkpoint of ONNX Runtime"), "{error}");
        }
    }
}
