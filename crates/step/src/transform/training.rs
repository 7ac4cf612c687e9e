//! What a step needs besides gradients: hyperparameters, state, the number of the step.

use crate::stack::Stacks;
use gnp_base::contract::STEP;
use gnp_model::graph::{Builder, Fact, Value};
use gnp_model::onnx::DataType;
use gnp_model::onnx::proto::TensorProto;
use serde::Serialize;

/// A number that is an input of the step model, a float scalar with a default.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hyperparameter {
    /// The name of the input.
    pub name: &'static str,
    /// The number where none is fed.
    pub default: f32,
}

impl Hyperparameter {
    /// The number as a constant of its name.
    pub(crate) fn initializer(&self) -> TensorProto {
        TensorProto::raw(self.name, DataType::Float, &[], self.default.to_le_bytes().to_vec().into())
    }
}

/// A value that is kept from step to step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The name of the input.
    pub name: Value,
    /// The value at the end of the step.
    pub next: Value,
}

/// A training step under construction.
#[derive(Debug)]
pub struct Training<'g> {
    /// Appends the nodes.
    pub builder: Builder<'g>,
    names: Vec<Value>,
    pub(crate) stacks: Stacks,
    hyperparameters: Vec<Hyperparameter>,
    slots: Vec<State>,
    step: Option<Value>,
    taken: Option<Value>,
}

impl<'g> Training<'g> {
    /// A step that trains `parameters`, all of known shapes, each by itself.
    pub fn new(builder: Builder<'g>, parameters: &[Value]) -> Self {
        let stacks = Stacks::single(&builder.graph(), parameters);
        Self::stacked(builder, parameters, stacks)
    }

    /// A step that trains `parameters`, all of known shapes, those of a stack together.
    pub fn stacked(builder: Builder<'g>, parameters: &[Value], stacks: Stacks) -> Self {
        Self {
            builder,
            names: parameters.to_vec(),
            stacks,
            hyperparameters: vec![],
            slots: vec![],
            step: None,
            taken: None,
        }
    }

    /// What is trained: the trainable parameters, some of which may be joined into one along their first axis.
    pub fn parameters(&self) -> &[Value] {
        self.stacks.joined()
    }

    /// One of what `each` of the trainable parameters has for each of [`Self::parameters`]: those that are joined have
    /// the same.
    pub fn one_each<T: Clone>(&self, each: &[T]) -> Vec<T> {
        self.stacks.one_each(each)
    }

    /// `joined`, of the shapes of [`Self::parameters`], for each of the trainable parameters, with the parameter's
    /// name.
    pub fn by_name(&self, joined: &[Value]) -> Vec<State> {
        self.builder.set_scope("parts");
        let parts = self.stacks.part(&self.builder, joined);
        self.names.iter().zip(parts).map(|(name, next)| State { name: name.clone(), next }).collect()
    }

    /// A float scalar that the caller of the step may feed; the same for the same name.
    pub fn hyperparameter(&mut self, name: &'static str, default: f32) -> Value {
        if !self.hyperparameters.iter().any(|h| h.name == name) {
            self.hyperparameters.push(Hyperparameter { name, default });
            self.builder.declare(name, Fact::with_sizes(DataType::Float, &[]));
        }
        name.into()
    }

    /// State of the shape of `index` among [`Self::parameters`], zeros at first. `next` gives its value at the end of
    /// the step, which is returned. The state is called `<parameter>.<slot>`, for each parameter that it is of.
    pub fn slot(&mut self, index: usize, slot: &str, next: impl FnOnce(&Builder<'g>, &Value) -> Value) -> Value {
        let b = &self.builder;
        let members = &self.stacks.members()[index];
        let kept = members.iter().map(|&i| {
            let name = Value::from(format!("{}.{slot}", self.names[i]).as_str());
            b.declare(&name, b.fact(&self.names[i]));
            name
        });
        let kept: Vec<Value> = kept.collect();
        let before = self.stacks.join_one(b, members, &kept);
        let next = next(b, &before);
        let parts = self.stacks.part_of(b, members, &self.if_taken(&next, &before));
        self.slots.extend(kept.into_iter().zip(parts).map(|(name, next)| State { name, next }));
        next
    }

    /// Lets what is kept stay as it is where `taken`, a boolean scalar, is false. Slots that were made before are not
    /// meant.
    pub(crate) fn take_if(&mut self, taken: Value) {
        self.taken = Some(taken);
    }

    /// `next` where the step is taken, else what was `before`.
    pub(crate) fn if_taken(&self, next: &Value, before: &Value) -> Value {
        match &self.taken {
            Some(taken) => self.builder.select(taken, next, before),
            None => next.clone(),
        }
    }

    /// The number of the step from 1 on, a float scalar.
    pub fn step_number(&mut self) -> Value {
        let done = self.steps_done();
        self.builder.plus(self.builder.cast(done, DataType::Float), 1.0)
    }

    /// The number of steps done before this one, an int64 scalar.
    pub fn steps_done(&mut self) -> Value {
        if self.step.is_none() {
            self.builder.declare(STEP, Fact::with_sizes(DataType::Int64, &[]));
            self.builder.set_scope(STEP);
            self.step = Some(self.builder.add(Value::from(STEP), self.builder.int64(1)));
        }
        STEP.into()
    }

    /// All values that were made so far and are yet to be read.
    pub(crate) fn values(&self) -> Vec<Value> {
        let next = self.slots.iter().map(|slot| &slot.next).chain(&self.step);
        self.stacks.joined().iter().chain(next).cloned().collect()
    }

    /// What was asked for: hyperparameters and optimizer slots in the order of their first use, and the next number of
    /// the step where something counts steps.
    pub fn finish(self) -> (Vec<Hyperparameter>, Vec<State>, Option<Value>) {
        (self.hyperparameters, self.slots, self.step)
    }
}
