//! Constants. Equal ones are made once.

use super::TypedBuilder;
use crate::graph::{Builder, Fact, Value};
use crate::onnx::DataType;
use crate::onnx::proto::TensorProto;

impl TypedBuilder<'_> {
    /// A scalar of the element type of `like` (float32, float64, float16, bfloat16 or a whole number).
    pub fn number(&mut self, number: f64, like: &Value) -> Value {
        self.number_of(number, self.fact(like).element)
    }

    /// A scalar of a given element type.
    pub fn number_of(&mut self, number: f64, element: DataType) -> Value {
        let key = (element as i32, number.to_bits());
        if let Some(value) = self.numbers.get(&key) {
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
            None => {
                let single = self.number_of(number, DataType::Float);
                self.cast(&single, element)
            }
        };
        self.numbers.insert(key, value.clone());
        value
    }

    /// A vector of int64: axes, a shape, pads.
    pub fn int64s(&mut self, numbers: &[i64]) -> Value {
        let tensor = TensorProto::int64s("", numbers);
        self.whole(tensor, false, numbers)
    }

    /// A scalar of int64.
    pub fn int64(&mut self, number: i64) -> Value {
        let tensor = TensorProto { dims: vec![], ..TensorProto::int64s("", &[number]) };
        self.whole(tensor, true, &[number])
    }

    fn whole(&mut self, tensor: TensorProto, scalar: bool, numbers: &[i64]) -> Value {
        let key = (scalar, numbers.to_vec());
        if let Some(value) = self.vectors.get(&key) {
            return value.clone();
        }
        let value = self.constant(tensor, "constant/ints");
        self.facts.insert_ints(value.clone(), numbers.to_vec());
        self.vectors.insert(key, value.clone());
        value
    }

    /// Any constant, as an initializer.
    pub fn constant(&mut self, tensor: TensorProto, name: &str) -> Value {
        let fact = Fact::with_sizes(tensor.element().unwrap_or(DataType::Float), &tensor.dims);
        let value = Builder::new(self.graph, self.pass).constant(tensor, name);
        self.facts.insert(value.clone(), fact);
        value
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
