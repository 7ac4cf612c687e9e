//! Whether tensors hold what their dims say: a file whose dims lie would be written on as it is, and nothing loads it.

use super::proto::TensorProto;
use super::visit::for_each_tensor;
use super::{DataType, ExternalLocation, Model};
use bytes::Bytes;
use gnp_base::{Error, Result};

impl TensorProto {
    /// How many bytes the elements take, packed as the standard has them in `raw_data`; none where the dims are no
    /// sizes, the product overflows, or elements of the type have no fixed size.
    pub(super) fn byte_count(&self) -> Option<u64> {
        let count = self.dims.iter().try_fold(1u64, |n, &size| n.checked_mul(u64::try_from(size).ok()?))?;
        Some(count.checked_mul(self.element()?.bits()?)?.div_ceil(8))
    }
}

impl DataType {
    /// The bits of an element; none where not all have as many.
    pub fn bits(self) -> Option<u64> {
        use DataType::*;
        Some(match self {
            Uint2 | Int2 => 2,
            Uint4 | Int4 | Float4e2m1 => 4,
            Bool | Uint8 | Int8 | Float8e4m3fn | Float8e4m3fnuz | Float8e5m2 | Float8e5m2fnuz | Float8e8m0 => 8,
            Uint16 | Int16 | Float16 | Bfloat16 => 16,
            Uint32 | Int32 | Float => 32,
            Uint64 | Int64 | Double | Complex64 => 64,
            Complex128 => 128,
            Undefined | String | Float6e2m3 | Float6e3m2 => return None,
        })
    }
}

/// Checks every tensor of a model.
///
/// # Errors
/// Where a tensor has more or fewer bytes than its dims and its type say.
pub(super) fn check(model: &Model) -> Result<()> {
    let mut found = None;
    for_each_tensor(model, &mut |tensor| {
        if found.is_none() {
            found = misfit(tensor);
        }
    });
    let Some((tensor, what)) = found else { return Ok(()) };
    Err(Error::format(format!("the tensor `{}` {what}", tensor.name()))
        .help("the model is damaged; export or download it again")
        .in_file(model.path()))
}

/// A tensor that does not hold what it says, and in what.
fn misfit(tensor: &TensorProto) -> Option<(&TensorProto, String)> {
    let dims = &tensor.dims;
    if let Some(size) = dims.iter().find(|size| **size < 0) {
        return Some((tensor, format!("has an axis of size {size}")));
    }
    let element = tensor.element()?;
    let bits = element.bits()?;
    let Some(expected) = tensor.byte_count() else {
        return Some((tensor, format!("has the dims {dims:?}, which no memory holds")));
    };
    let length = |pieces: &[Bytes]| pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
    // The last byte of a varint has no continuation bit.
    let count = |pieces: &[Bytes]| pieces.iter().flatten().filter(|byte| **byte < 0x80).count() as u64;
    let (given, expected, what) = match (&tensor.raw_data, element) {
        _ if tensor.is_external() => (ExternalLocation::of(tensor).ok().flatten()?.length?, expected, "bytes"),
        (Some(raw), _) => (raw.len() as u64, expected, "bytes"),
        (None, DataType::Float | DataType::Complex64) => (length(&tensor.float_data), expected, "bytes"),
        (None, DataType::Double | DataType::Complex128) => (length(&tensor.double_data), expected, "bytes"),
        // Of numbers in fields of their own, it is how many that counts; small ones stand there in whole bytes.
        (None, element) => {
            let numbers = match element {
                DataType::Int64 => &tensor.int64_data,
                DataType::Uint64 | DataType::Uint32 => &tensor.uint64_data,
                _ => &tensor.int32_data,
            };
            (count(numbers), expected.checked_mul(8)? / bits.max(8), "numbers")
        }
    };
    (given != expected).then(|| (tensor, format!("has {given} {what}, and its dims {dims:?} say {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::GraphProto;
    use crate::onnx::proto::ModelProto;

    fn says(tensor: TensorProto) -> String {
        let graph = Some(GraphProto { initializer: vec![tensor], ..Default::default() });
        let model = Model::new(ModelProto { graph, ..Default::default() }, "m.onnx").unwrap();
        check(&model).map_or_else(|error| error.to_string(), |()| "fits".to_owned())
    }

    fn raw(element: DataType, dims: &[i64], bytes: usize) -> TensorProto {
        TensorProto::raw("w", element, dims, vec![1; bytes].into())
    }

    #[test]
    fn a_tensor_has_the_bytes_that_its_dims_say() {
        assert_eq!(says(raw(DataType::Float, &[2, 3], 24)), "fits");
        assert_eq!(says(raw(DataType::Float, &[], 4)), "fits");
        assert_eq!(says(raw(DataType::Float, &[0, 3], 0)), "fits");
        assert_eq!(says(raw(DataType::Int4, &[3], 2)), "fits");
        assert!(says(raw(DataType::Float, &[2, 3], 20)).contains("has 20 bytes, and its dims [2, 3] say 24"));
        assert!(says(raw(DataType::Float, &[1 << 40], 16)).contains("say 4398046511104"));
        assert!(says(raw(DataType::Float, &[1 << 62, 4], 16)).contains("which no memory holds"));
        assert!(says(raw(DataType::Float, &[-1], 4)).contains("has an axis of size -1"));
    }

    #[test]
    fn numbers_in_their_own_fields_are_counted() {
        let mut packed = Vec::new();
        [1u64, 300, u64::MAX].iter().for_each(|&number| prost::encoding::encode_varint(number, &mut packed));
        let ints = |dims: &[i64], element: DataType| TensorProto {
            int64_data: if element == DataType::Int64 { vec![packed.clone().into()] } else { vec![] },
            int32_data: if element == DataType::Bool { vec![packed.clone().into()] } else { vec![] },
            raw_data: None,
            ..raw(element, dims, 0)
        };
        assert_eq!(says(ints(&[3], DataType::Int64)), "fits");
        assert_eq!(says(ints(&[3], DataType::Bool)), "fits");
        assert!(says(ints(&[4], DataType::Int64)).contains("has 3 numbers, and its dims [4] say 4"));
        let floats =
            TensorProto { float_data: vec![vec![0; 8].into()], raw_data: None, ..raw(DataType::Float, &[3], 0) };
        assert!(says(floats).contains("has 8 bytes, and its dims [3] say 12"));
    }
}
