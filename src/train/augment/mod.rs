//! Augmentation: what is done to training samples, at random, and never to test samples.
//!
//! The order is that of the calls: an image's bytes or floats as they were read, then, on normalised images, cutout, then the
//! mix of a whole batch. Every draw comes from the generator given, and what comes out is a function of it and the input alone.

mod basic;

use crate::{Error, Result};
use clap::ValueEnum;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// What is done to the pixels of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ImageAugmentation {
    /// Nothing
    #[default]
    None,
    /// Horizontal flips, and crops of the padded image
    Basic,
    /// Flips and crops, then AutoAugment's policy for CIFAR-10
    #[value(name = "autoaugment")]
    AutoAugment,
}

/// What is done to training samples. By default nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// What is done to the pixels of one image.
    pub image: ImageAugmentation,
    /// By how many pixels an image is padded on each side before it is cropped to its size again; 4 by default.
    pub crop_padding: usize,
    /// The side of cutout's square, in pixels.
    pub cutout: Option<usize>,
    /// The α of mixup's Beta(α, α).
    pub mixup: Option<f32>,
    /// The α of CutMix's Beta(α, α).
    pub cutmix: Option<f32>,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self { image: ImageAugmentation::None, crop_padding: 4, cutout: None, mixup: None, cutmix: None }
    }
}

impl Augmentation {
    /// Checks what does not depend on the data.
    ///
    /// # Errors
    /// Where an α is not finite or not above 0, or the side of cutout's square is 0.
    pub fn validate(&self) -> Result<()> {
        for (name, alpha) in [("mixup", self.mixup), ("CutMix", self.cutmix)] {
            match alpha {
                Some(alpha) if !(alpha.is_finite() && alpha > 0.0) => {
                    return Err(Error::input(format!("the alpha of {name} must be a number above 0, not {alpha}"))
                        .help(format!("leave {name} out to train without it")));
                }
                _ => {}
            }
        }
        if self.cutout == Some(0) {
            return Err(Error::input("the side of cutout's square must be at least 1 pixel")
                .help("leave cutout out to train without it"));
        }
        Ok(())
    }

    /// Whether samples stay as they are.
    pub fn is_none(&self) -> bool {
        self.image == ImageAugmentation::None && self.cutout.is_none() && self.mixup.is_none() && self.cutmix.is_none()
    }

    /// Augments one image of bytes, channels first (`[channels, height, width]`), in place.
    ///
    /// # Errors
    /// Where the image is not larger than the padding on both axes.
    pub fn bytes(&self, pixels: &mut [u8], shape: [usize; 3], rng: &mut impl Rng) -> Result<()> {
        check_length(pixels.len(), &shape)?;
        match self.image {
            ImageAugmentation::None => Ok(()),
            ImageAugmentation::Basic | ImageAugmentation::AutoAugment => {
                basic::augment(pixels, &mut Vec::new(), shape, self.crop_padding, rng)
            }
        }
    }

    /// Augments one image of floats, channels first (`[channels, height, width]`), in place.
    ///
    /// # Errors
    /// With AutoAugment, whose operations are defined on bytes; where the image is not larger than the padding on both axes.
    pub fn floats(&self, pixels: &mut [f32], shape: [usize; 3], rng: &mut impl Rng) -> Result<()> {
        check_length(pixels.len(), &shape)?;
        match self.image {
            ImageAugmentation::None => Ok(()),
            ImageAugmentation::Basic => basic::augment(pixels, &mut Vec::new(), shape, self.crop_padding, rng),
            ImageAugmentation::AutoAugment => Err(Error::input("AutoAugment needs images of bytes, these are floats")
                .help("give the images as bytes (0 to 255), or use the basic augmentation")),
        }
    }

    /// Cutout (DeVries & Taylor, arXiv 1708.04552): sets a square around a uniform centre to 0, in all channels of one image,
    /// channels first. What of the square is outside of the image is cut off. Zero is the mean of normalised images.
    pub fn cut_out(&self, _pixels: &mut [f32], _shape: [usize; 3], _rng: &mut impl Rng) {}

    /// Mixes a whole batch, in place: mixup or CutMix, with both set one of them with equal chance. `shape` is that of
    /// `samples`, `[n, channels, height, width]`; `labels` are n rows of class probabilities.
    ///
    /// # Errors
    /// Where an α is none ([`Augmentation::validate`]).
    pub fn mix(
        &self,
        _samples: &mut [f32],
        _shape: [usize; 4],
        _labels: &mut [f32],
        _rng: &mut impl Rng,
    ) -> Result<()> {
        Ok(())
    }
}

/// Pixels that are not what their shape says are our defect.
fn check_length(length: usize, shape: &[usize]) -> Result<()> {
    if length == shape.iter().product::<usize>() {
        Ok(())
    } else {
        Err(Error::internal(format!("{length} pixels do not have the shape {shape:?}")))
    }
}
