//! Constants. Equal numbers are made once by a builder.

use super::Builder;
use crate::graph::Value;
use crate::onnx::DataType;
use crate::onnx::proto::TensorProto;

impl Builder<'_> {
    /// A scalar of the element type of `like` (float32, float64, float16, bfloat16 or a whole number).
    pub fn number(&self, number: f64, like: impl AsRef<Value>) -> Value {
        let like = like.as_ref();
        self.number_of(number, self.fact(like).element)
    }

    /// A scalar of a given element type.
    pub fn number_of(&self, number: f64, element: DataType) -> Value {
        let key = (element as i32, number.to_bits());
        if let Some(value) = self.made.borrow().numbers.get(&key) {
            return value.clone();
        }
        let name = if number.fract() == 0.0 && number.abs() < 1e6 {
            format!("constant/{number}")
        } else {
            "constant/number".to_owned()
        };
        let value = match payload(number, element) {
            Some(payload) => self.constant(TensorProto::raw("", element, &[], payload.into()), &name),
            // The type has no short payload of its own here: cast one that has.
            None => self.cast(self.number_of(number, DataType::Float), element),
        };
        self.made.borrow_mut().numbers.insert(key, value.clone());
        value
    }

    /// A vector of int64: axes, a shape, pads.
    pub fn int64s(&self, numbers: &[i64]) -> Value {
        let tensor = TensorProto::int64s("", numbers);
        self.whole(tensor, false, numbers)
    }

    /// A scalar of int64.
    pub fn int64(&self, number: i64) -> Value {
        let tensor = TensorProto { dims: vec![], ..TensorProto::int64s("", &[number]) };
        self.whole(tensor, true, &[number])
    }

    fn whole(&self, tensor: TensorProto, scalar: bool, numbers: &[i64]) -> Value {
        let key = (scalar, numbers.to_vec());
        if let Some(value) = self.made.borrow().vectors.get(&key) {
            return value.clone();
        }
        let value = self.constant(tensor, "constant/ints");
        self.graph.borrow_mut().facts.insert_ints(value.clone(), numbers.to_vec());
        self.made.borrow_mut().vectors.insert(key, value.clone());
        value
    }

    /// Any constant, as an initializer; its name is replaced by a fresh one.
    pub fn constant(&self, mut tensor: TensorProto, name: &str) -> Value {
        let graph = &mut **self.graph.borrow_mut();
        let name = graph.names.value(self.pass, name);
        let constant = Value::from(name.as_str());
        tensor.name = Some(name);
        graph.facts.insert_tensor(&tensor);
        graph.proto.initializer.push(tensor);
        constant
    }

    /// A float32 constant of rank 0 with a name of its own.
    pub fn scalar(&self, value: f32, name: &str) -> Value {
        let payload = value.to_le_bytes().to_vec().into();
        self.constant(TensorProto::raw("", DataType::Float, &[], payload), name)
    }
}

/// The little-endian bytes of a number in a given type.
fn payload(number: f64, element: DataType) -> Option<Vec<u8>> {
    Some(match element {
        DataType::Float => (number as f32).to_le_bytes().to_vec(),
        DataType::Double => number.to_le_bytes().to_vec(),
        DataType::Int64 => (number as i64).to_le_bytes().to_vec(),
        DataType::Int32 => (number as i32).to_le_bytes().to_vec(),
        DataType::Uint64 => (number as u64).to_le_bytes().to_vec(),
        DataType::Uint32 => (number as u32).to_le_bytes().to_vec(),
        DataType::Bool => vec![u8::from(number != 0.0)],
        _ => return None,
    })
}
