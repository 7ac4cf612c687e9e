//! ONNX Runtime's training checkpoint: read, checked and written.
//!
//! The file is a flatbuffer with the identifier `ODTC`. It holds the parameters that train, those that do not, what the
//! optimizer remembers of each, and properties of the application's own. Where it is large, the elements of the
//! parameters are in a second file beside it, `<checkpoint>.data`. The schema is that of ONNX Runtime 1.19.2, in
//! `onnxruntime/core/flatbuffers/schema/`; `docs/training-artifacts.md` says what the runtime does with it. Parameters
//! have no order.
//!
//! ```
//! use gnp_checkpoint::{Checkpoint, Element, Property, Value};
//! let mut checkpoint = Checkpoint::default();
//! let bias = Value::new(Element::Float32, vec![2], [0.5f32, 1.0].map(f32::to_le_bytes).concat())?;
//! checkpoint.trainable.insert("fc.bias".to_owned(), bias);
//! checkpoint.properties.insert("epoch".to_owned(), Property::Int(3));
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("checkpoint");
//! checkpoint.write(&path, false)?;
//! assert_eq!(Checkpoint::read(&path)?, checkpoint);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod flat;
mod parameters;
mod read;
mod schema;
mod value;
mod write;

pub use value::{Element, Value};

use gnp_base::{Error, Result};
use std::collections::BTreeMap;
use std::mem;

/// A training checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The parameters that train, by name.
    pub trainable: BTreeMap<String, Value>,
    /// The parameters that do not train, statistics among them.
    pub frozen: BTreeMap<String, Value>,
    /// Whether the parameters are names without elements, which the application has yet to fill.
    pub nominal: bool,
    /// What the optimizer knows, by the names of its groups. Before the first step there is none, then `group0` alone.
    pub groups: BTreeMap<String, Group>,
    /// The application's own values, by name.
    pub properties: BTreeMap<String, Property>,
}

/// Parameters with one learning rate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// The steps taken.
    pub step: i64,
    /// The learning rate that a schedule begins with.
    pub initial_learning_rate: f32,
    /// For each parameter, what the optimizer remembers of it: `momentum0` and `momentum1` for AdamW.
    pub slots: BTreeMap<String, BTreeMap<String, Value>>,
}

/// A value of the application's own.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// A whole number.
    Int(i64),
    /// A 32-bit float.
    Float(f32),
    /// A text.
    Text(String),
}

impl Checkpoint {
    /// The parameter of this name, whether it trains or not.
    pub fn parameter(&self, name: &str) -> Option<&Value> {
        self.trainable.get(name).or_else(|| self.frozen.get(name))
    }

    /// Has those parameters train that `trains` says so of, and the others not. Where that changes which do, the
    /// optimizer begins anew: it needs a state of each parameter that trains, and of no other.
    pub fn set_trainable(&mut self, trains: impl Fn(&str) -> bool) {
        let all = mem::take(&mut self.trainable).into_iter().map(|parameter| (parameter, true));
        let all = all.chain(mem::take(&mut self.frozen).into_iter().map(|parameter| (parameter, false)));
        let mut changed = false;
        for ((name, value), did) in all.collect::<Vec<_>>() {
            let does = trains(&name);
            changed |= does != did;
            if does { &mut self.trainable } else { &mut self.frozen }.insert(name, value);
        }
        if changed {
            self.groups.clear();
        }
    }

    /// Checks what the types leave open.
    fn check(&self) -> Result<()> {
        if let Some(name) = self.trainable.keys().find(|&name| self.frozen.contains_key(name)) {
            return Err(Error::format(format!("the parameter `{name}` both trains and does not")));
        }
        let parameters = self.trainable.iter().chain(&self.frozen).filter(|_| !self.nominal);
        let slots = self.groups.values().flat_map(|group| group.slots.values()).flatten();
        match parameters.chain(slots).find(|(_, value)| !value.is_whole()) {
            Some((name, _)) => Err(Error::format(format!("the tensor `{name}` has no elements"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_trains_is_changed() {
        let value = |number| Value::from_f32s(vec![1], &[number]).unwrap();
        let named = |names: &[&str]| names.iter().map(|&name| (name.to_owned(), value(name.len() as f32))).collect();
        let groups = [("group0".to_owned(), Group::default())].into();
        let mut checkpoint =
            Checkpoint { trainable: named(&["a", "bb"]), frozen: named(&["ccc"]), groups, ..Checkpoint::default() };
        let before = checkpoint.clone();
        checkpoint.set_trainable(|name| name != "ccc");
        assert_eq!(checkpoint, before);
        checkpoint.set_trainable(|name| name == "ccc");
        assert!(checkpoint.groups.is_empty());
        assert_eq!((checkpoint.trainable.len(), checkpoint.frozen.len()), (1, 2));
        assert_eq!((checkpoint.parameter("bb"), checkpoint.parameter("ccc")), (Some(&value(2.0)), Some(&value(3.0))));
        assert_eq!(checkpoint.parameter("d"), None);
    }
}
