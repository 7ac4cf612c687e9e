//! What a graph takes beside the data and what follows from them: masks, positions, segments, lengths.

use crate::{Dataset, Samples};
use gnp_base::{Error, Result};
use gnp_tensor::{ElementType, Port, Tensor};
use ndarray::{ArrayD, IxDyn};

/// What follows from padded samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 1 where there is an item, 0 where the sample was padded.
    Mask,
    /// The segment of each item, 0 throughout.
    Zeros,
    /// The place of each item, from 0.
    Positions,
    /// How many items a sample has.
    Lengths,
}

/// The input of `data` that such things follow from: the first of lists, else the first.
pub(super) fn source(data: &Dataset) -> usize {
    data.inputs().iter().position(|input| matches!(input.samples, Samples::Lists(_))).unwrap_or(0)
}

impl Kind {
    /// What `port` takes by its name, as exporters of transformers and of recurrent nets name their inputs.
    pub(super) fn of(port: &Port) -> Option<Self> {
        let name = port.name.to_ascii_lowercase();
        let last = name.rsplit(['.', '/', ':']).next().unwrap_or(&name);
        let kind = match last {
            "attention_mask" | "input_mask" | "mask" | "padding_mask" => Self::Mask,
            "token_type_ids" | "segment_ids" => Self::Zeros,
            "position_ids" | "positions" => Self::Positions,
            "lengths" | "sequence_lens" | "seq_lens" | "input_lengths" => Self::Lengths,
            _ => return None,
        };
        let fits = match kind {
            Self::Lengths => port.dims.len() == 1 && port.element != ElementType::F32,
            Self::Mask => port.dims.len() == 2,
            Self::Zeros | Self::Positions => port.dims.len() == 2 && port.element != ElementType::F32,
        };
        fits.then_some(kind)
    }

    /// What it is, in a few words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Mask => "1 for each item and 0 for padding",
            Self::Zeros => "0 throughout: one segment",
            Self::Positions => "the places of the items, from 0",
            Self::Lengths => "the lengths of the samples",
        }
    }

    /// The tensor for samples of these `lengths`, padded to `width`.
    ///
    /// # Errors
    /// None that a user can cause.
    pub(super) fn tensor(self, port: &Port, lengths: &[usize], width: usize) -> Result<Tensor> {
        let rows = lengths.len();
        let (shape, values): (Vec<usize>, Vec<i64>) = match self {
            Self::Lengths => (vec![rows], lengths.iter().map(|&length| length as i64).collect()),
            _ => {
                let value = |length: usize, place: usize| match self {
                    Self::Mask => i64::from(place < length),
                    Self::Positions => place as i64,
                    Self::Zeros | Self::Lengths => 0,
                };
                let row = |&length: &usize| (0..width).map(move |place| value(length, place));
                (vec![rows, width], lengths.iter().flat_map(row).collect())
            }
        };
        fn array<T>(shape: &[usize], values: Vec<T>) -> Result<ArrayD<T>> {
            ArrayD::from_shape_vec(IxDyn(shape), values)
                .map_err(|error| Error::internal(format!("what was derived has another shape: {error}")))
        }
        Ok(match port.element {
            ElementType::I64 => Tensor::I64(array(&shape, values)?),
            ElementType::I32 => Tensor::I32(array(&shape, values.into_iter().map(|v| v as i32).collect())?),
            ElementType::F32 => Tensor::F32(array(&shape, values.into_iter().map(|v| v as f32).collect())?),
        })
    }
}
