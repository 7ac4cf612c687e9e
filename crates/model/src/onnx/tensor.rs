//! The values of small tensors: constants that say an axis, a shape, a ratio. Payloads in a file of their own are not
//! read; weights stay where they are.

use super::DataType;
use super::proto::TensorProto;
use bytes::Bytes;
use half::{bf16, f16};
use prost::encoding::decode_varint;

impl TensorProto {
    /// A tensor of int64 of rank 1.
    ///
    /// ```
    /// use gnp_model::onnx::proto::TensorProto;
    /// assert_eq!(TensorProto::int64s("axes", &[0, -1]).ints(), Some(vec![0, -1]));
    /// ```
    pub fn int64s(name: impl Into<String>, values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::raw(name, DataType::Int64, &[values.len() as i64], bytes.into())
    }

    /// A tensor of `element` and `dims` with its little-endian payload.
    pub fn raw(name: impl Into<String>, element: DataType, dims: &[i64], payload: Bytes) -> Self {
        Self {
            name: Some(name.into()),
            data_type: Some(element as i32),
            dims: dims.to_vec(),
            raw_data: Some(payload),
            ..Default::default()
        }
    }

    /// How many elements the tensor has.
    pub fn element_count(&self) -> usize {
        self.dims.iter().fold(1, |count: usize, &d| count.saturating_mul(d.max(0) as usize))
    }

    /// The type of the elements, if it is one that this version knows.
    pub fn element(&self) -> Option<DataType> {
        DataType::try_from(self.data_type()).ok()
    }

    /// Whether the payload is in another file.
    pub fn is_external(&self) -> bool {
        self.data_location() == super::proto::tensor_proto::DataLocation::External as i32
    }

    /// The elements of a tensor of whole numbers or booleans, wherever in the message they stand. None where the tensor
    /// is of another type, external, or incomplete.
    pub fn ints(&self) -> Option<Vec<i64>> {
        use DataType::{Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32};
        if self.is_external() {
            return None;
        }
        let element = self.element()?;
        let values: Vec<i64> = match (&self.raw_data, element) {
            (Some(raw), Int64) => fixed(raw, i64::from_le_bytes)?,
            (Some(raw), Int32) => fixed(raw, |b| i32::from_le_bytes(b).into())?,
            (Some(raw), Uint32) => fixed(raw, |b| u32::from_le_bytes(b).into())?,
            (Some(raw), Int16) => fixed(raw, |b| i16::from_le_bytes(b).into())?,
            (Some(raw), Uint16) => fixed(raw, |b| u16::from_le_bytes(b).into())?,
            (Some(raw), Int8) => fixed(raw, |b| i8::from_le_bytes(b).into())?,
            (Some(raw), Uint8 | Bool) => fixed(raw, |b: [u8; 1]| b[0].into())?,
            (None, Int64) => varints(&self.int64_data)?,
            (None, Int32 | Int16 | Int8 | Uint16 | Uint8 | Bool) => {
                varints(&self.int32_data)?.into_iter().map(|v| i64::from(v as i32)).collect()
            }
            (None, Uint32) => varints(&self.uint64_data)?,
            _ => return None,
        };
        (values.len() == self.element_count()).then_some(values)
    }

    /// The elements of a floating-point tensor as doubles. None where the tensor is of another type, external, or
    /// incomplete.
    pub fn floats(&self) -> Option<Vec<f64>> {
        if self.is_external() {
            return None;
        }
        let values: Vec<f64> = match (&self.raw_data, self.element()?) {
            (Some(raw), DataType::Float) => fixed(raw, |b| f32::from_le_bytes(b).into())?,
            (Some(raw), DataType::Double) => fixed(raw, f64::from_le_bytes)?,
            (Some(raw), DataType::Float16) => fixed(raw, |b| f16::from_le_bytes(b).to_f64())?,
            (Some(raw), DataType::Bfloat16) => fixed(raw, |b| bf16::from_le_bytes(b).to_f64())?,
            (None, DataType::Float) => fixed(&self.float_data.concat(), |b| f32::from_le_bytes(b).into())?,
            (None, DataType::Double) => fixed(&self.double_data.concat(), f64::from_le_bytes)?,
            (None, DataType::Float16) => bits16(self)?.map(|bits| f16::from_bits(bits).to_f64()).collect(),
            (None, DataType::Bfloat16) => bits16(self)?.map(|bits| bf16::from_bits(bits).to_f64()).collect(),
            _ => return None,
        };
        (values.len() == self.element_count()).then_some(values)
    }
}

fn fixed<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (elements, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then(|| elements.iter().map(|&e| read(e)).collect())
}

/// The varints of a packed field; its pieces, as protobuf allows, one after the other.
fn varints(pieces: &[Bytes]) -> Option<Vec<i64>> {
    let mut values = Vec::new();
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            values.push(decode_varint(&mut rest).ok()? as i64);
        }
    }
    Some(values)
}

/// The bits of the elements of 16 bits in a field of their own, a varint each.
pub(super) fn bits16(tensor: &TensorProto) -> Option<impl Iterator<Item = u16>> {
    Some(varints(&tensor.int32_data)?.into_iter().map(|bits| bits as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(element: DataType, count: i64) -> TensorProto {
        TensorProto { data_type: Some(element as i32), dims: vec![count], ..Default::default() }
    }

    #[test]
    fn whole_numbers_are_read_from_every_field() {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(-2i64 as u64, &mut bytes);
        prost::encoding::encode_varint(300, &mut bytes);
        let packed = vec![Bytes::from(bytes)];
        let of = |t: TensorProto| t.ints();
        assert_eq!(of(TensorProto { int64_data: packed.clone(), ..tensor(DataType::Int64, 2) }), Some(vec![-2, 300]));
        assert_eq!(of(TensorProto { int32_data: packed.clone(), ..tensor(DataType::Int32, 2) }), Some(vec![-2, 300]));
        assert_eq!(of(TensorProto { int32_data: packed, ..tensor(DataType::Int32, 3) }), None, "one is missing");
        let raw = Some(Bytes::from_static(&[254, 255, 255, 255]));
        assert_eq!(of(TensorProto { raw_data: raw, ..tensor(DataType::Int32, 1) }), Some(vec![-2]));
    }

    #[test]
    fn floats_are_read_from_every_field() {
        let bytes = Bytes::from_static(&[0, 0, 0x80, 0xbf]);
        assert_eq!(TensorProto { float_data: vec![bytes], ..tensor(DataType::Float, 1) }.floats(), Some(vec![-1.0]));
        let halves = Some(Bytes::from_static(&[0x00, 0x3c, 0x01, 0x00]));
        let read = TensorProto { raw_data: halves, ..tensor(DataType::Float16, 2) }.floats();
        assert_eq!(read, Some(vec![1.0, 2f64.powi(-24)]));
    }
}
