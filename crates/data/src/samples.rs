//! What a model looks at.

use crate::array::{Array, Values};
use crate::{ImageFiles, Lists};
use gnp_base::Result;
use gnp_base::digest::Digest;

/// What one input of a model is fed.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// An array in memory, whose outermost axis counts the samples.
    Array(Array),
    /// Lists of different lengths.
    Lists(Lists),
    /// Images in files.
    Images(ImageFiles),
}

impl From<Array> for Samples {
    fn from(array: Array) -> Self {
        Self::Array(array)
    }
}

impl From<Lists> for Samples {
    fn from(lists: Lists) -> Self {
        Self::Lists(lists)
    }
}

impl From<ImageFiles> for Samples {
    fn from(images: ImageFiles) -> Self {
        Self::Images(images)
    }
}

impl Samples {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Array(array) => array.shape().first().copied().unwrap_or(0),
            Self::Lists(lists) => lists.len(),
            Self::Images(images) => images.len(),
        }
    }

    /// The shape of one sample; none where they have no common one in memory.
    pub fn shape(&self) -> Option<&[usize]> {
        match self {
            Self::Array(array) => array.shape().get(1..),
            Self::Lists(_) | Self::Images(_) => None,
        }
    }

    /// The elements, where they are in memory.
    pub(super) fn values(&self) -> Option<&Values> {
        match self {
            Self::Array(array) => Some(array.values()),
            Self::Lists(lists) => Some(lists.values()),
            Self::Images(_) => None,
        }
    }

    /// Whether the samples are bytes.
    pub(super) fn are_bytes(&self) -> bool {
        self.values().is_none_or(|values| matches!(values, Values::U8(_)))
    }

    /// Checks that all elements are finite; `name` is what they are called.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        match self {
            Self::Array(array) => array.check_finite(name),
            Self::Lists(lists) => lists.check(name),
            Self::Images(_) => Ok(()),
        }
    }

    pub(super) fn select(&self, rows: &[usize]) -> Result<Self> {
        Ok(match self {
            Self::Array(array) => Self::Array(array.select(rows)?),
            Self::Lists(lists) => Self::Lists(lists.select(rows)?),
            Self::Images(images) => Self::Images(images.select(rows)),
        })
    }

    /// Adds what tells these samples from others to `digest`. Of images in files the names and sizes stand for the
    /// pixels.
    pub(super) fn hash(&self, digest: &mut Digest) {
        match self {
            Self::Array(array) => array.hash(digest),
            Self::Lists(lists) => lists.hash(digest),
            Self::Images(images) => images.hash(digest),
        }
    }
}
