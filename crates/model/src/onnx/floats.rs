//! Tensors of floating-point numbers, from one type to another: float16 and bfloat16 by `half`, which rounds as
//! IEEE 754 says.

use super::proto::TensorProto;
use super::tensor::bits16;
use super::{DataType, Payloads};
use bytes::Bytes;
use gnp_base::{Error, Result};
use half::{bf16, f16};

impl DataType {
    /// Whether numbers of the type are floating-point: float16, bfloat16, float32 or float64.
    pub fn is_floating(self) -> bool {
        matches!(self, Self::Float | Self::Double | Self::Float16 | Self::Bfloat16)
    }

    /// The type as NumPy and PyTorch name it: `float16`.
    ///
    /// ```
    /// use gnp_model::onnx::DataType;
    /// assert_eq!([DataType::Float, DataType::Bfloat16].map(DataType::name), ["float32", "bfloat16"]);
    /// ```
    pub fn name(self) -> String {
        match self {
            Self::Float => "float32".to_owned(),
            Self::Double => "float64".to_owned(),
            other => other.as_str_name().to_lowercase(),
        }
    }
}

impl Payloads {
    /// The elements of a floating-point tensor as little-endian float32 in row-major order: without a copy where they
    /// are that. A finite float64 beyond float32 becomes the nearest float32, which is finite too. None where the
    /// tensor is of another type, or incomplete.
    ///
    /// # Errors
    /// As [`Payloads::of`].
    pub fn float32(&mut self, tensor: &TensorProto) -> Result<Option<Bytes>> {
        let Some(element) = tensor.element().filter(|element| element.is_floating()) else { return Ok(None) };
        let size = tensor.byte_count().and_then(|size| usize::try_from(size).ok());
        let bytes = match self.of(tensor)? {
            Some(bytes) => Some(bytes),
            None => bits16(tensor).map(|bits| bits.flat_map(u16::to_le_bytes).collect::<Vec<u8>>().into()),
        };
        // External data without a length reaches to the end of its file.
        let bytes =
            bytes.zip(size).filter(|(bytes, size)| bytes.len() >= *size).map(|(bytes, size)| bytes.slice(..size));
        Ok(bytes.map(|bytes| match element {
            DataType::Float16 => converted(&bytes, |e| f16::from_le_bytes(e).to_f32().to_le_bytes()),
            DataType::Bfloat16 => converted(&bytes, |e| bf16::from_le_bytes(e).to_f32().to_le_bytes()),
            DataType::Double => converted(&bytes, |e| single(f64::from_le_bytes(e)).to_le_bytes()),
            _ => bytes,
        }))
    }
}

impl TensorProto {
    /// Gives a floating-point tensor new elements: `payload`, little-endian float32 in row-major order, rounded to the
    /// tensor's own type, to nearest and ties to even.
    ///
    /// # Errors
    /// Where the tensor is of another type, or a finite element would become infinite.
    pub fn set_float32(&mut self, payload: Bytes) -> Result<()> {
        let element = self.element().filter(|element| element.is_floating()).ok_or_else(|| {
            let element = self.element().map_or_else(|| self.data_type().to_string(), DataType::name);
            Error::input(format!("`{}` is of type {element}; expected a floating-point type", self.name()))
        })?;
        let floats = || payload.as_chunks().0.iter().map(|&e| f32::from_le_bytes(e));
        let overflows = |rounds: fn(f32) -> bool| floats().find(|&x| x.is_finite() && !rounds(x));
        let beyond = match element {
            DataType::Float16 => overflows(|x| f16::from_f32(x).is_finite()).zip(Some(f16::MAX.to_f32())),
            DataType::Bfloat16 => overflows(|x| bf16::from_f32(x).is_finite()).zip(Some(bf16::MAX.to_f32())),
            _ => None,
        };
        if let Some((number, most)) = beyond {
            let (name, element) = (self.name(), element.name());
            return Err(Error::input(format!(
                "`{name}` is {element}, which reaches to {most:e}, and holds {number:e}"
            ))
            .help("convert the model to float32 before it is trained, or train with a smaller rate"));
        }
        let payload = match element {
            DataType::Float16 => converted(&payload, |e| f16::from_f32(f32::from_le_bytes(e)).to_le_bytes()),
            DataType::Bfloat16 => converted(&payload, |e| bf16::from_f32(f32::from_le_bytes(e)).to_le_bytes()),
            DataType::Double => converted(&payload, |e| f64::from(f32::from_le_bytes(e)).to_le_bytes()),
            _ => payload,
        };
        *self = Self {
            name: self.name.take(),
            doc_string: self.doc_string.take(),
            metadata_props: std::mem::take(&mut self.metadata_props),
            ..Self::raw("", element, &self.dims, payload)
        };
        Ok(())
    }
}

/// Elements of `N` bytes as elements of `M`.
fn converted<const N: usize, const M: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> [u8; M]) -> Bytes {
    let elements = bytes.as_chunks().0;
    let mut made = vec![0; elements.len() * M];
    for (to, &from) in made.as_chunks_mut().0.iter_mut().zip(elements) {
        *to = convert(from);
    }
    made.into()
}

/// The nearest float32 that is finite where `x` is.
fn single(x: f64) -> f32 {
    if x.is_finite() { x.clamp(f32::MIN.into(), f32::MAX.into()) as f32 } else { x as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(tensor: &TensorProto) -> Vec<f32> {
        let bytes = Payloads::new(".").float32(tensor).unwrap().unwrap();
        bytes.as_chunks().0.iter().map(|&e| f32::from_le_bytes(e)).collect()
    }

    fn tensor(element: DataType, dims: &[i64], bytes: &[u8]) -> TensorProto {
        TensorProto::raw("w", element, dims, bytes.to_vec().into())
    }

    fn le(values: &[f32]) -> Bytes {
        values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()
    }

    #[test]
    fn halves_are_widened_wherever_they_stand() {
        let half = [0x00, 0x3c, 0xff, 0xfb, 0x01, 0x00, 0x00, 0xfc];
        let expected = [1.0, -65504.0, 2f32.powi(-24), f32::NEG_INFINITY];
        assert_eq!(floats(&tensor(DataType::Float16, &[4], &half)), expected);
        let mut packed = Vec::new();
        half.as_chunks::<2>()
            .0
            .iter()
            .for_each(|&e| prost::encoding::encode_varint(u16::from_le_bytes(e).into(), &mut packed));
        let typed =
            TensorProto { raw_data: None, int32_data: vec![packed.into()], ..tensor(DataType::Float16, &[4], &[]) };
        assert_eq!(floats(&typed), expected);
        assert_eq!(floats(&tensor(DataType::Bfloat16, &[2], &[0x80, 0x3f, 0x7f, 0xff])), [1.0, -3.3895314e38]);
    }

    #[test]
    fn doubles_stay_finite() {
        let bytes: Vec<u8> = [0.1, f64::MIN, f64::INFINITY].iter().flat_map(|x: &f64| x.to_le_bytes()).collect();
        assert_eq!(floats(&tensor(DataType::Double, &[3], &bytes)), [0.1, f32::MIN, f32::INFINITY]);
    }

    #[test]
    fn elements_are_rounded_to_nearest_and_ties_to_even() {
        // Between 2048 and 4096 numbers of float16 are 2 apart; those of bfloat16 are 16.
        let mut half = tensor(DataType::Float16, &[3], &[0; 6]);
        half.set_float32(le(&[2049.0, 2051.0, 65519.0])).unwrap();
        assert_eq!((half.element(), floats(&half)), (Some(DataType::Float16), vec![2048.0, 2052.0, 65504.0]));
        let mut brain = TensorProto { raw_data: None, ..tensor(DataType::Bfloat16, &[2], &[]) };
        brain.set_float32(le(&[2056.0, 2072.0])).unwrap();
        assert_eq!(floats(&brain), [2048.0, 2080.0]);
    }

    #[test]
    fn what_overflows_is_named() {
        let mut half = tensor(DataType::Float16, &[2], &[0; 4]);
        let error = half.set_float32(le(&[1.0, 65520.0])).unwrap_err();
        assert_eq!(error.to_string(), "`w` is float16, which reaches to 6.5504e4, and holds 6.552e4");
        half.set_float32(le(&[f32::INFINITY, 0.0])).expect("what is infinite stays so");
        let mut whole = tensor(DataType::Int8, &[1], &[0]);
        assert!(whole.set_float32(le(&[1.0])).unwrap_err().to_string().contains("is of type int8"));
    }
}
