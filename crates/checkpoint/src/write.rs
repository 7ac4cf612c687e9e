//! From a [`Checkpoint`] to the file.

use crate::read::data_file;
use crate::schema::{IDENTIFIER, VERSION, checkpoint, group, module, optimized, properties, property, tensor};
use crate::{Checkpoint, Group, Property, Value};
use flatbuffers::{FlatBufferBuilder, Push, TableFinishedWIPOffset, TableUnfinishedWIPOffset, WIPOffset};
use gnp_base::{Error, Result, files};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// The bytes of parameters from which on they are in a file of their own: a flatbuffer has no more than 2 GiB.
const EXTERNAL_FROM: u64 = 1800 << 20;

/// A tensor of fewer bytes stays in the checkpoint, as it does when ONNX Runtime writes.
const SMALLEST_EXTERNAL: usize = 64;

/// Elements begin at multiples of the largest element's size.
const ALIGNMENT: u64 = 8;

/// What the tables and names take beside the elements, at most: a guess on the safe side, per tensor.
const TABLE_BYTES: u64 = 1 << 10;

type Builder = FlatBufferBuilder<'static>;
type Made = WIPOffset<TableFinishedWIPOffset>;

impl Checkpoint {
    /// Writes the checkpoint to `path`, which is replaced as a whole or not at all. Parameters of 1,800 MiB and more go
    /// to `<path>.data`, which is written first.
    ///
    /// # Errors
    /// Where a file is there already and `force` is not given; where it cannot be written; where the optimizer's state
    /// alone is larger than the format allows.
    pub fn write(&self, path: &Path, force: bool) -> Result<()> {
        self.write_external_from(path, force, EXTERNAL_FROM)
    }

    /// The same with another size from which on parameters are in a file of their own.
    ///
    /// # Errors
    /// As [`Checkpoint::write`].
    pub fn write_external_from(&self, path: &Path, force: bool, bytes: u64) -> Result<()> {
        files::ensure_free(path, force)?;
        self.check().map_err(|error| error.in_file(path))?;
        let parameters = || self.trainable.values().chain(self.frozen.values());
        let slots = || self.groups.values().flat_map(|group| group.slots.values()).flat_map(BTreeMap::values);
        let is_external = parameters().map(size).sum::<u64>() >= bytes;
        let inside = parameters().map(|value| if is_external { 0 } else { size(value) }).chain(slots().map(size));
        if inside.map(|size| size + TABLE_BYTES).sum::<u64>() >= i32::MAX as u64 {
            let error = Error::unsupported("the optimizer's state is larger than the 2 GiB that the format allows");
            return Err(error.in_file(path));
        }
        let mut data = External { file: Vec::new(), end: 0 };
        let bytes = encode(self, is_external.then_some(&mut data));
        if is_external {
            let beside = data_file(path);
            files::replace_file(&beside, force, |file| {
                let mut file = BufWriter::new(file);
                let written = data.file.iter().try_for_each(|(gap, value)| {
                    file.write_all(&[0; ALIGNMENT as usize][..*gap])?;
                    file.write_all(value.data())
                });
                written.and_then(|()| file.flush()).map_err(|error| Error::io("write the file", &beside, &error))
            })?;
        }
        files::replace(path, force, bytes, "write the checkpoint")
    }
}

fn size(value: &Value) -> u64 {
    value.data().len() as u64
}

/// The data file under way: what is in it, with the bytes between.
struct External<'c> {
    file: Vec<(usize, &'c Value)>,
    end: u64,
}

impl<'c> External<'c> {
    /// Where the elements of `value` are going to be.
    fn add(&mut self, value: &'c Value) -> u64 {
        let start = self.end.next_multiple_of(ALIGNMENT);
        self.file.push(((start - self.end) as usize, value));
        self.end = start + size(value);
        start
    }
}

fn encode<'c>(content: &'c Checkpoint, mut external: Option<&mut External<'c>>) -> Vec<u8> {
    let mut builder = Builder::new();
    let is_external = external.is_some();
    let mut tensors = |builder: &mut Builder, all: &'c BTreeMap<String, Value>| {
        let made: Vec<_> = all
            .iter()
            .map(|(name, value)| {
                let large = size(value) >= SMALLEST_EXTERNAL as u64;
                let offset = external.as_deref_mut().filter(|_| large).map(|external| external.add(value));
                write_tensor(builder, name, value, offset)
            })
            .collect();
        builder.create_vector(&made)
    };
    let trainable = tensors(&mut builder, &content.trainable);
    let frozen = tensors(&mut builder, &content.frozen);
    let module = table(&mut builder, |table| {
        table.push_slot_always(slot(module::TRAINABLE), trainable);
        table.push_slot_always(slot(module::FROZEN), frozen);
        table.push_slot(slot(module::NOMINAL), content.nominal, false);
        table.push_slot(slot(module::EXTERNAL), is_external, false);
    });
    let groups: Vec<_> = content.groups.iter().map(|(name, group)| write_group(&mut builder, name, group)).collect();
    let groups = (!groups.is_empty()).then(|| builder.create_vector(&groups));
    let properties = (!content.properties.is_empty()).then(|| write_properties(&mut builder, &content.properties));
    let root = table(&mut builder, |table| {
        table.push_slot(slot(checkpoint::VERSION), VERSION, 0);
        table.push_slot_always(slot(checkpoint::MODULE), module);
        if let Some(groups) = groups {
            table.push_slot_always(slot(checkpoint::GROUPS), groups);
        }
        if let Some(properties) = properties {
            table.push_slot_always(slot(checkpoint::PROPERTIES), properties);
        }
    });
    builder.finish(root, Some(IDENTIFIER));
    builder.finished_data().to_vec()
}

/// Where a field stands in a table's list of fields.
fn slot(field: u16) -> u16 {
    4 + 2 * field
}

/// A table whose fields `fill` writes; what they lead to has been written.
fn table(builder: &mut Builder, fill: impl FnOnce(&mut Builder)) -> Made {
    let start: WIPOffset<TableUnfinishedWIPOffset> = builder.start_table();
    fill(builder);
    builder.end_table(start)
}

fn write_tensor(builder: &mut Builder, name: &str, value: &Value, offset: Option<u64>) -> Made {
    let name = builder.create_string(name);
    let dims: Vec<i64> = value.shape().iter().map(|&dim| dim as i64).collect();
    let dims = builder.create_vector(&dims);
    let data = offset.is_none().then(|| builder.create_vector(value.data()));
    table(builder, |table| {
        table.push_slot_always(slot(tensor::NAME), name);
        table.push_slot_always(slot(tensor::DIMS), dims);
        table.push_slot(slot(tensor::ELEMENT), value.element().code(), 0);
        if let Some(data) = data {
            table.push_slot_always(slot(tensor::DATA), data);
        }
        if let Some(offset) = offset {
            table.push_slot(slot(tensor::EXTERNAL_OFFSET), offset as i64, -1);
        }
    })
}

fn write_group(builder: &mut Builder, name: &str, content: &Group) -> Made {
    let name = builder.create_string(name);
    let mut parameters = Vec::new();
    for (parameter, slots) in &content.slots {
        let slots: Vec<_> = slots.iter().map(|(name, value)| write_tensor(builder, name, value, None)).collect();
        let slots = builder.create_vector(&slots);
        let parameter = builder.create_string(parameter);
        parameters.push(table(builder, |table| {
            table.push_slot_always(slot(optimized::PARAMETER), parameter);
            table.push_slot_always(slot(optimized::SLOTS), slots);
        }));
    }
    let parameters = builder.create_vector(&parameters);
    table(builder, |table| {
        table.push_slot_always(slot(group::NAME), name);
        table.push_slot(slot(group::STEP), content.step, 0);
        table.push_slot(slot(group::INITIAL_LEARNING_RATE), content.initial_learning_rate, 0.0);
        table.push_slot_always(slot(group::PARAMETERS), parameters);
    })
}

fn write_properties(builder: &mut Builder, all: &BTreeMap<String, Property>) -> Made {
    let [mut ints, mut floats, mut texts] = [const { Vec::new() }; 3];
    for (name, value) in all {
        match value {
            Property::Int(value) => ints.push(write_property(builder, name, *value)),
            Property::Float(value) => floats.push(write_property(builder, name, *value)),
            Property::Text(value) => {
                let value = builder.create_string(value);
                texts.push(write_property(builder, name, value));
            }
        }
    }
    let kinds = [ints, floats, texts].map(|kind| builder.create_vector(&kind));
    table(builder, |table| {
        for (field, kind) in [properties::INTS, properties::FLOATS, properties::STRINGS].into_iter().zip(kinds) {
            table.push_slot_always(slot(field), kind);
        }
    })
}

fn write_property(builder: &mut Builder, name: &str, value: impl Push) -> Made {
    let name = builder.create_string(name);
    table(builder, |table| {
        table.push_slot_always(slot(property::NAME), name);
        table.push_slot_always(slot(property::VALUE), value);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Element;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use std::fs;

    fn values() -> impl Strategy<Value = Value> {
        let element = prop::sample::select(vec![Element::Float32, Element::Int64, Element::Bool, Element::BFloat16]);
        (element, vec(0..5usize, 0..4), any::<u8>()).prop_map(|(element, shape, byte)| {
            let bytes = element.size() * shape.iter().product::<usize>();
            Value::new(element, shape, vec![byte; bytes]).unwrap()
        })
    }

    fn checkpoints() -> impl Strategy<Value = Checkpoint> {
        let property = prop_oneof![
            any::<i64>().prop_map(Property::Int),
            (-9.0..9.0f32).prop_map(Property::Float),
            ".*".prop_map(Property::Text)
        ];
        let slots = btree_map("m[0-9]", values(), 0..3);
        let groups = (any::<i64>(), 0.0..1.0f32, btree_map(".*", slots, 0..3))
            .prop_map(|(step, initial_learning_rate, slots)| Group { step, initial_learning_rate, slots });
        let parts = (
            btree_map("t.*", values(), 0..6),
            btree_map("f.*", values(), 0..6),
            btree_map(".*", groups, 0..3),
            btree_map(".*", property, 0..6),
        );
        parts.prop_map(|(trainable, frozen, groups, properties)| Checkpoint {
            trainable,
            frozen,
            nominal: false,
            groups,
            properties,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(checkpoint in checkpoints(), external in any::<bool>()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("checkpoint");
            let from = if external { 0 } else { u64::MAX };
            checkpoint.write_external_from(&path, false, from).unwrap();
            prop_assert_eq!(data_file(&path).exists(), external);
            prop_assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
        }
    }

    fn large() -> Checkpoint {
        let value = |bytes: usize| Value::new(Element::UInt8, vec![bytes], vec![7; bytes]).unwrap();
        let trainable = [("a", 65), ("b", 64), ("c", 63)].map(|(name, bytes)| (name.to_owned(), value(bytes)));
        Checkpoint { trainable: trainable.into(), ..Checkpoint::default() }
    }

    #[test]
    fn what_is_large_is_beside_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        large().write_external_from(&path, false, 192).unwrap();
        let data = fs::read(data_file(&path)).unwrap();
        // `b` begins at a multiple of 8; `c` is too small.
        assert_eq!(data, [&[7; 65][..], &[0; 7], &[7; 64]].concat());
        assert_eq!(Checkpoint::read(&path).unwrap(), large());
        fs::write(data_file(&path), &data[..data.len() - 1]).unwrap();
        let error = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("the tensor `b`: its elements are beyond the end of the data file"), "{error}");
        fs::remove_file(data_file(&path)).unwrap();
        let error = Checkpoint::read(&path).unwrap_err();
        assert!(error.to_string().contains("checkpoint.data"), "{error}");
    }

    #[test]
    fn a_nominal_checkpoint_has_names_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let trainable = [("w".to_owned(), Value::nominal(Element::Float32, vec![3, 2]))].into();
        let mut nominal = Checkpoint { trainable, nominal: true, ..Checkpoint::default() };
        nominal.write(&path, false).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), nominal);
        nominal.nominal = false;
        let error = nominal.write(&path, true).unwrap_err().to_string();
        assert!(error.ends_with("the tensor `w` has no elements"), "{error}");
    }
}
