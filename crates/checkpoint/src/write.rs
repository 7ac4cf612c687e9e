//! From a [`Checkpoint`] to the file.
//!
//! The tables are made in memory; behind them follow the elements, which are written from where they are.

use crate::flat::Buffer;
use crate::read::data_file;
use crate::schema::{IDENTIFIER, VERSION, checkpoint, group, module, optimized, properties, property, tensor};
use crate::{Checkpoint, Group, Property, Value};
use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, Push, TableFinishedWIPOffset, TableUnfinishedWIPOffset, WIPOffset};
use gnp_base::{Error, Result, files};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// The bytes of parameters from which on they are in a file of their own. ONNX Runtime begins up to a MiB earlier: it
/// counts names, and rounds up.
const EXTERNAL_FROM: u64 = 1800 << 20;

/// A tensor of fewer bytes stays in the checkpoint, as it does when ONNX Runtime writes artifacts.
const SMALLEST_EXTERNAL: usize = 64;

/// The bytes that a flatbuffer may have.
const LONGEST: u64 = i32::MAX as u64;

/// Elements begin at multiples of the largest element's size.
const ALIGNMENT: u64 = 8;

/// The bytes of the number in front of a list: how many it has.
const COUNT: u64 = 4;

/// What a table and its list of fields take at most, and what a tensor's list of elements takes beside them.
const TABLE: u64 = 64;

/// The bytes of what leads to something, and what fills up behind a text.
const OFFSET: u64 = 16;

type Builder = FlatBufferBuilder<'static>;
type Made = WIPOffset<TableFinishedWIPOffset>;

impl Checkpoint {
    /// Writes the checkpoint to `path`, which is replaced as a whole or not at all. Parameters of 1,800 MiB and more,
    /// and those that leave no room for the optimizer's state, go to `<path>.data`, which is written first. The
    /// elements are not copied in memory.
    ///
    /// # Errors
    /// Where a file is there already and `force` is not given; where it cannot be written; where the optimizer's state
    /// and the names alone are larger than the format allows.
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
        let inside = |external: bool| -> u64 {
            let stay = parameters().filter(|value| !external || !is_large(value));
            let slots = self.groups.values().flat_map(|group| group.slots.values()).flat_map(BTreeMap::values);
            self.tables_size() + stay.chain(slots).map(size).sum::<u64>()
        };
        let is_external = parameters().map(size).sum::<u64>() >= bytes || inside(false) > LONGEST;
        if inside(is_external) > LONGEST {
            let what = "the optimizer's state and the names are larger than the 2 GiB that the format allows";
            return Err(Error::unsupported(what).help("leave the optimizer's state out").in_file(path));
        }
        let mut external = Blocks::default();
        let (tables, inside) = encode(self, is_external.then_some(&mut external))?;
        if is_external {
            let beside = data_file(path);
            files::replace_file(&beside, force, |file| external.write(file, &[], &beside))?;
        }
        files::replace_file(path, force, |file| inside.write(file, &tables, path))
    }

    /// What all takes in the file at most, but for the elements.
    fn tables_size(&self) -> u64 {
        let text = |text: &str| OFFSET + text.len() as u64;
        let tensors = |all: &BTreeMap<String, Value>| -> u64 {
            all.iter().map(|(name, value)| TABLE + OFFSET + text(name) + 8 * value.shape().len() as u64).sum()
        };
        let groups = self.groups.iter().map(|(name, group)| {
            let slots = group.slots.iter().map(|(name, slots)| TABLE + text(name) + tensors(slots));
            TABLE + text(name) + slots.sum::<u64>()
        });
        let properties = self.properties.iter().map(|(name, property)| {
            let value = if let Property::Text(value) = property { text(value) } else { 0 };
            TABLE + text(name) + value
        });
        8 * TABLE + tensors(&self.trainable) + tensors(&self.frozen) + groups.chain(properties).sum::<u64>()
    }
}

fn size(value: &Value) -> u64 {
    value.data().len() as u64
}

fn is_large(value: &Value) -> bool {
    value.data().len() >= SMALLEST_EXTERNAL
}

/// Bytes that a file is going to hold one after the other, with gaps between.
#[derive(Default)]
struct Blocks<'c> {
    blocks: Vec<(usize, Vec<u8>, &'c Bytes)>,
    end: u64,
}

impl<'c> Blocks<'c> {
    /// Where the elements of `value` are going to begin, with `before` in front of them.
    fn add(&mut self, before: Vec<u8>, value: &'c Value) -> u64 {
        let start = (self.end + before.len() as u64).next_multiple_of(ALIGNMENT);
        let gap = (start - self.end) as usize - before.len();
        self.blocks.push((gap, before, value.data()));
        self.end = start + size(value);
        start
    }

    fn write(&self, file: &mut File, head: &[u8], path: &Path) -> Result<()> {
        let mut file = BufWriter::new(file);
        let written = file.write_all(head).and_then(|()| {
            self.blocks.iter().try_for_each(|(gap, before, bytes)| {
                file.write_all(&[0; ALIGNMENT as usize][..*gap])?;
                file.write_all(before)?;
                file.write_all(bytes)
            })
        });
        written.and_then(|()| file.flush()).map_err(|error| Error::io("write the file", path, &error))
    }
}

/// The tables under way.
struct Tables<'c> {
    builder: Builder,
    /// The tables of tensors whose elements are inside.
    inside: Vec<(Made, &'c Value)>,
}

/// The tables, and the elements that follow them in the file. Parameters go to `external` where it is given.
fn encode<'c>(content: &'c Checkpoint, mut external: Option<&mut Blocks<'c>>) -> Result<(Vec<u8>, Blocks<'c>)> {
    let mut tables = Tables { builder: Builder::new(), inside: Vec::new() };
    let is_external = external.is_some();
    let mut parameters = |tables: &mut Tables<'c>, all: &'c BTreeMap<String, Value>| {
        let made = all.iter().map(|(name, value)| {
            let external = external.as_deref_mut().filter(|_| is_large(value));
            let offset = external.map(|external| external.add(Vec::new(), value));
            tables.tensor(name, value, offset)
        });
        let made: Vec<_> = made.collect();
        tables.builder.create_vector(&made)
    };
    let trainable = parameters(&mut tables, &content.trainable);
    let frozen = parameters(&mut tables, &content.frozen);
    let module = table(&mut tables.builder, |table| {
        table.push_slot_always(slot(module::TRAINABLE), trainable);
        table.push_slot_always(slot(module::FROZEN), frozen);
        table.push_slot(slot(module::NOMINAL), content.nominal, false);
        table.push_slot(slot(module::EXTERNAL), is_external, false);
    });
    let groups: Vec<_> = content.groups.iter().map(|(name, group)| tables.group(name, group)).collect();
    let Tables { mut builder, inside } = tables;
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
    append(builder.finished_data().to_vec(), inside)
}

/// Has the fields of `inside` lead to the elements, which follow the tables.
fn append<'c>(tables: Vec<u8>, inside: Vec<(Made, &'c Value)>) -> Result<(Vec<u8>, Blocks<'c>)> {
    let end = tables.len();
    let mut blocks = Blocks { end: end as u64, ..Blocks::default() };
    let tables = Buffer::new(tables.into());
    let lead = inside.into_iter().map(|(made, value)| {
        let count = (value.data().len() as u32).to_le_bytes().to_vec();
        let start = blocks.add(count, value) - COUNT;
        // The builder counts from the end.
        let field = tables.table(end - made.value() as usize)?.find(tensor::DATA, 4)?;
        let field = field.ok_or_else(|| Error::internal("a tensor's table has no field for its elements"))?;
        Ok((field, (start - field as u64) as u32))
    });
    let lead = lead.collect::<Result<Vec<_>>>()?;
    let mut tables = Vec::from(tables.into_bytes());
    for (field, offset) in lead {
        if let Some(bytes) = tables.get_mut(field..).and_then(|rest| rest.first_chunk_mut()) {
            *bytes = offset.to_le_bytes();
        }
    }
    Ok((tables, blocks))
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

impl<'c> Tables<'c> {
    fn tensor(&mut self, name: &str, value: &'c Value, offset: Option<u64>) -> Made {
        let builder = &mut self.builder;
        let name = builder.create_string(name);
        let dims: Vec<i64> = value.shape().iter().map(|&dim| dim as i64).collect();
        let dims = builder.create_vector(&dims);
        let made = table(builder, |table| {
            table.push_slot_always(slot(tensor::NAME), name);
            table.push_slot_always(slot(tensor::DIMS), dims);
            table.push_slot(slot(tensor::ELEMENT), value.element().to_onnx(), 0);
            match offset {
                Some(offset) => table.push_slot(slot(tensor::EXTERNAL_OFFSET), offset as i64, -1),
                None => table.push_slot_always(slot(tensor::DATA), 0u32),
            }
        });
        if offset.is_none() {
            self.inside.push((made, value));
        }
        made
    }

    fn group(&mut self, name: &str, content: &'c Group) -> Made {
        let mut parameters = Vec::new();
        for (parameter, slots) in &content.slots {
            let slots: Vec<_> = slots.iter().map(|(name, value)| self.tensor(name, value, None)).collect();
            let slots = self.builder.create_vector(&slots);
            let parameter = self.builder.create_string(parameter);
            parameters.push(table(&mut self.builder, |table| {
                table.push_slot_always(slot(optimized::PARAMETER), parameter);
                table.push_slot_always(slot(optimized::SLOTS), slots);
            }));
        }
        let name = self.builder.create_string(name);
        let parameters = self.builder.create_vector(&parameters);
        table(&mut self.builder, |table| {
            table.push_slot_always(slot(group::NAME), name);
            table.push_slot(slot(group::STEP), content.step, 0);
            // Always: -0 equals the 0 that is left out.
            table.push_slot_always(slot(group::INITIAL_LEARNING_RATE), content.initial_learning_rate);
            table.push_slot_always(slot(group::PARAMETERS), parameters);
        })
    }
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
            let parameters = checkpoint.trainable.values().chain(checkpoint.frozen.values());
            let slots = checkpoint.groups.values().flat_map(|group| group.slots.values().flat_map(BTreeMap::values));
            let most = checkpoint.tables_size() + parameters.chain(slots).map(size).sum::<u64>();
            prop_assert!(fs::metadata(&path).unwrap().len() <= most);
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
    fn zero_keeps_its_sign() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let group = Group { initial_learning_rate: -0.0, ..Group::default() };
        let checkpoint = Checkpoint {
            groups: [("group0".to_owned(), group)].into(),
            properties: [("loss".to_owned(), Property::Float(-0.0))].into(),
            ..Checkpoint::default()
        };
        checkpoint.write(&path, false).unwrap();
        let read = Checkpoint::read(&path).unwrap();
        assert_eq!(format!("{read:?}"), format!("{checkpoint:?}"));
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
