//! What the elements of a constant tell of it.
//!
//! A tensor is looked at from its first element on, and no further than it takes: weights differ after two or three.

use bytes::Bytes;
use gnp_base::Result;
use gnp_model::onnx::proto::TensorProto;
use gnp_model::onnx::{DataType, Payloads};
use std::path::Path;

/// From this number on, an element that is added to a score leaves nothing of it: exp(−30) is less than the rounding of
/// 1.
const SHUTS_OUT: f32 = -30.0;

/// Reads the elements of a model's float32 constants.
#[derive(Debug)]
pub(crate) struct Values(Payloads);

/// What a mask does with what it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// It is added: 0, and −∞ or a large negative number.
    Additive,
    /// It is multiplied with: 0 and 1.
    Multiplicative,
}

impl Values {
    pub fn in_folder(folder: &Path) -> Self {
        Self(Payloads::new(folder))
    }

    /// The elements of a float32 tensor; none of another.
    pub fn of(&mut self, tensor: &TensorProto) -> Result<Option<Elements>> {
        if tensor.element() != Some(DataType::Float) {
            return Ok(None);
        }
        let bytes = self.0.of(tensor)?.filter(|bytes| bytes.len() == 4 * tensor.element_count());
        Ok(bytes.map(|bytes| Elements { bytes, dims: tensor.dims.clone() }))
    }
}

/// The elements of a tensor, in row-major order.
#[derive(Clone, Debug)]
pub(crate) struct Elements {
    bytes: Bytes,
    dims: Vec<i64>,
}

impl Elements {
    fn iter(&self) -> impl Iterator<Item = f32> + '_ {
        self.bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes))
    }

    /// The largest of the finite numbers, without their signs.
    pub fn largest(&self) -> f32 {
        self.iter().map(f32::abs).filter(|element| element.is_finite()).fold(0.0, f32::max)
    }

    /// The bits of the first and of the last element: what no transposing moves.
    pub fn ends(&self) -> Option<[[u8; 4]; 2]> {
        Some([*self.bytes.first_chunk()?, *self.bytes.last_chunk()?])
    }

    /// The number that all elements are (0 and −0 count as one), where they are one.
    pub fn fill(&self) -> Option<f32> {
        let mut elements = self.iter();
        let first = elements.next()?;
        elements.all(|element| element == first).then_some(first)
    }

    /// Whether the elements are those of a mask.
    pub fn mask(&self) -> Option<Mask> {
        let (mut zero, mut one, mut shut) = (false, false, None);
        for element in self.iter() {
            match element {
                0.0 => zero = true,
                1.0 => one = true,
                _ if element <= SHUTS_OUT && shut.is_none_or(|number| number == element) => shut = Some(element),
                _ => return None,
            }
        }
        match (one, shut) {
            (false, Some(_)) => Some(Mask::Additive),
            (true, None) if zero => Some(Mask::Multiplicative),
            _ => None,
        }
    }

    /// Whether every slice along the first axis, of at least two, holds the same elements, of which not all are one
    /// number: a filter that is the same for every channel.
    pub fn repeats_one_slice(&self) -> bool {
        let count = self.dims.first().map_or(0, |&count| count.max(0) as usize);
        if count < 2 || self.bytes.is_empty() {
            return false;
        }
        let slice = self.bytes.len() / count;
        let (first, rest) = self.bytes.split_at(slice);
        rest.chunks(slice).all(|other| other == first) && self.fill().is_none()
    }

    /// Whether a table […, positions, features] holds the sines and cosines of "Attention Is All You Need", section
    /// 3.5: its first position is sin 0 = 0 and cos 0 = 1, by turns or one half after the other, and no number is
    /// beyond 1.
    pub fn is_sinusoid(&self) -> bool {
        let &[.., positions, features] = &self.dims[..] else { return false };
        let features = features.max(0) as usize;
        if positions < 2 || features < 2 || self.iter().take(features).any(|e| e != 0.0 && e != 1.0) {
            return false;
        }
        let first: Vec<f32> = self.iter().take(features).collect();
        let by_turns = first.iter().enumerate().all(|(i, &e)| e == (i % 2) as f32);
        let in_halves = first.iter().enumerate().all(|(i, &e)| e == f32::from(u8::from(i >= features / 2)));
        (by_turns || in_halves) && self.iter().all(|e| e.abs() <= 1.0)
    }

    /// Whether both have the same shape and the same elements.
    pub fn equal_in_shape(&self, other: &Self) -> bool {
        self.dims == other.dims && self.equal(other)
    }

    /// Whether both hold the same elements in the same order.
    pub fn equal(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }

    /// Whether a matrix is the transpose of another.
    pub fn is_transpose_of(&self, other: &Self) -> bool {
        let (&[rows, columns], &[other_rows, other_columns]) = (&self.dims[..], &other.dims[..]) else { return false };
        if (rows, columns) != (other_columns, other_rows) {
            return false;
        }
        let (rows, columns) = (rows.max(0) as usize, columns.max(0) as usize);
        let (own, others) = (self.bytes.as_chunks::<4>().0, other.bytes.as_chunks::<4>().0);
        (0..rows).all(|row| (0..columns).all(|column| own[row * columns + column] == others[column * rows + row]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(dims: &[i64], values: &[f32]) -> Elements {
        Elements { bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into(), dims: dims.to_vec() }
    }

    #[test]
    fn masks_are_told_from_weights() {
        let mask = |values: &[f32]| elements(&[values.len() as i64], values).mask();
        assert_eq!(mask(&[0.0, f32::NEG_INFINITY]), Some(Mask::Additive));
        assert_eq!(mask(&[0.0, -100.0, -100.0]), Some(Mask::Additive));
        assert_eq!(mask(&[0.0, 1.0]), Some(Mask::Multiplicative));
        // A scale of ones, a bias of zeros, a bias.
        assert_eq!(mask(&[1.0, 1.0]), None);
        assert_eq!(mask(&[0.0, 0.0]), None);
        assert_eq!(mask(&[0.0, -0.5]), None);
        assert_eq!(mask(&[0.0, -100.0, -50.0]), None);
    }

    #[test]
    fn filters_and_tables_are_told_from_weights() {
        assert!(elements(&[2, 2], &[1.0, 2.0, 1.0, 2.0]).repeats_one_slice());
        assert!(!elements(&[2, 2], &[1.0, 1.0, 1.0, 1.0]).repeats_one_slice());
        assert!(!elements(&[1, 2], &[1.0, 2.0]).repeats_one_slice());
        let (s, c) = (0.84, 0.54);
        assert!(elements(&[1, 2, 4], &[0.0, 1.0, 0.0, 1.0, s, c, s, c]).is_sinusoid());
        assert!(elements(&[2, 4], &[0.0, 0.0, 1.0, 1.0, s, s, c, c]).is_sinusoid());
        assert!(!elements(&[2, 4], &[0.0, 0.1, 1.0, 1.0, s, s, c, c]).is_sinusoid());
        assert!(!elements(&[2, 2], &[0.0, 1.0, 1.5, 0.0]).is_sinusoid());
    }

    #[test]
    fn transposes_are_compared_by_elements() {
        let matrix = elements(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(elements(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]).is_transpose_of(&matrix));
        assert!(!elements(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).is_transpose_of(&matrix));
        assert_eq!(matrix.fill(), None);
        assert_eq!(elements(&[2], &[0.0, -0.0]).fill(), Some(0.0));
    }
}
