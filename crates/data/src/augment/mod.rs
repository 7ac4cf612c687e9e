//! Augmentation: what is done to training samples, at random, and never to test samples.
//!
//! The order is that of the calls: the region that is cut out of an image and resized, then its bytes or floats, then,
//! on normalised images, cutout, then the mix of a whole batch. Every draw comes from the generator given, and what
//! comes out is a function of it and the input alone.

mod basic;
#[cfg(test)]
mod fixture;
mod image;
mod mix;
mod operations;
mod policy;
mod region;
mod resized_crop;

pub use region::Region;

use gnp_base::{Error, Result};
use image::Image;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// What is done to the pixels of one image.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "lowercase")]
pub enum ImageAugmentation {
    /// Nothing
    #[default]
    None,
    /// Horizontal flips, and crops of the padded image
    Basic,
    /// AutoAugment's policy for CIFAR-10, then flips and crops
    #[strum(serialize = "autoaugment")]
    AutoAugment,
    /// Boxes of 8 to 100 % of the image, resized, and flips, as for ImageNet; of images of bytes or in files
    #[serde(rename = "random-resized-crop")]
    RandomResizedCrop,
}

impl ImageAugmentation {
    /// Checks that images whose elements are bytes, or are none, can be augmented so.
    ///
    /// # Errors
    /// Where they are none, and it is defined on bytes.
    pub fn check_elements(self, are_bytes: bool) -> Result<()> {
        match self {
            Self::AutoAugment | Self::RandomResizedCrop if !are_bytes => Err(Error::input(format!(
                "{self:?} needs images of bytes, and the samples are other numbers"
            ))
            .help("save the images as bytes (0 to 255), e.g. with .astype(numpy.uint8), or use --augment basic")),
            _ => Ok(()),
        }
    }
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

    /// Whether samples and their labels are mixed with others of the batch.
    pub(super) fn mixes(&self) -> bool {
        self.mixup.is_some() || self.cutmix.is_some()
    }

    /// Draws the region of an image of `size` (height and width) that is to be cut out and resized, before all else;
    /// none where the image stays whole. With [`ImageAugmentation::RandomResizedCrop`] it has 8 to 100 % of the area
    /// and an aspect ratio from 3/4 to 4/3, or is the middle of an image that is too long for that, as with torchvision
    /// (Szegedy et al., CVPR 2015).
    pub fn region(&self, size: [usize; 2], rng: &mut impl Rng) -> Option<Region> {
        (self.image == ImageAugmentation::RandomResizedCrop).then(|| resized_crop::draw(size, rng))
    }

    /// Augments one image of bytes, channels first (`[channels, height, width]`), in place: AutoAugment's policy, then
    /// flip and crop ([`ImageAugmentation::Basic`]), the order of SAM's and GNP's own training. With
    /// [`ImageAugmentation::RandomResizedCrop`], of whose [`Augmentation::region`] the image is to be made, it is
    /// flipped.
    ///
    /// # Errors
    /// Where the image is not larger than the padding on both axes; with AutoAugment, where it is neither grey (one
    /// channel) nor in red, green and blue.
    pub fn bytes(&self, pixels: &mut [u8], shape: [usize; 3], rng: &mut impl Rng) -> Result<()> {
        let mut image = Image::new(pixels, shape)?;
        match self.image {
            ImageAugmentation::None => Ok(()),
            ImageAugmentation::Basic => basic::flip_and_crop(&mut image, self.crop_padding, rng),
            ImageAugmentation::RandomResizedCrop => basic::flip_and_crop(&mut image, 0, rng),
            ImageAugmentation::AutoAugment => {
                let channels = image.channels();
                if ![1, 3].contains(&channels) {
                    return Err(Error::input(format!(
                        "AutoAugment needs images of 1 or 3 channels, these have {channels}"
                    ))
                    .help("use the basic augmentation"));
                }
                policy::augment(&mut image, rng);
                basic::flip_and_crop(&mut image, self.crop_padding, rng)
            }
        }
    }

    /// Augments one image of floats, channels first (`[channels, height, width]`), in place.
    ///
    /// # Errors
    /// With AutoAugment and with RandomResizedCrop, which are defined on bytes; where the image is not larger than the
    /// padding on both axes.
    pub fn floats(&self, pixels: &mut [f32], shape: [usize; 3], rng: &mut impl Rng) -> Result<()> {
        let mut image = Image::new(pixels, shape)?;
        self.image.check_elements(false)?;
        match self.image {
            ImageAugmentation::Basic => basic::flip_and_crop(&mut image, self.crop_padding, rng),
            ImageAugmentation::None | ImageAugmentation::AutoAugment | ImageAugmentation::RandomResizedCrop => Ok(()),
        }
    }

    /// Cutout (DeVries & Taylor, arXiv 1708.04552): sets a square around a uniform pixel to 0 in all channels of one
    /// image, channels first (`[channels, height, width]`), in place. What of the square is outside of the image is cut
    /// off. It is for normalised images, where 0 is the mean.
    ///
    /// # Panics
    /// Where `pixels` are fewer than the shape says.
    pub fn cut_out(&self, pixels: &mut [f32], [channels, height, width]: [usize; 3], rng: &mut impl Rng) {
        if let Some(side) = self.cutout {
            let size = [height, width];
            for run in Region::draw([side; 2], size, rng).runs(channels, size) {
                pixels[run].fill(0.0);
            }
        }
    }

    /// Mixes a batch in place: each sample with a partner, all with the same weight λ ~ Beta(α, α), and their labels
    /// alike. The partners are a uniform permutation of the batch. `shape` is that of `samples`,
    /// `[n, channels, height, width]`; `labels` are n rows of class probabilities.
    ///
    /// - Mixup (Zhang et al., ICLR 2018): λ·sample + (1−λ)·partner.
    /// - CutMix (Yun et al., ICCV 2019): a rectangle of the part 1−λ of the image, around a uniform pixel, is the
    ///   partner's. What of it is outside of the image is cut off, and λ of the labels is the part that is left.
    ///
    /// With both, each batch draws one of them with equal chance.
    ///
    /// # Errors
    /// Where an α is none that [`Augmentation::validate`] allows.
    pub fn mix(&self, samples: &mut [f32], shape: [usize; 4], labels: &mut [f32], rng: &mut impl Rng) -> Result<()> {
        let [batch, _, height, width] = shape;
        if samples.len() != shape.iter().product::<usize>() || labels.len().checked_rem(batch).unwrap_or(0) != 0 {
            let (samples, labels) = (samples.len(), labels.len());
            return Err(Error::internal(format!(
                "{samples} pixels and {labels} labels are no batch of shape {shape:?}"
            )));
        }
        let (alpha, is_mixup) = match (self.mixup, self.cutmix) {
            (None, None) => return Ok(()),
            (Some(mixup), None) => (mixup, true),
            (Some(mixup), Some(_)) if rng.random_bool(0.5) => (mixup, true),
            (_, Some(cutmix)) => (cutmix, false),
        };
        let mut weight = mix::draw_weight(alpha, rng)?;
        let partners = mix::draw_partners(batch, rng);
        if is_mixup {
            mix::blend(samples, &partners, weight);
        } else {
            let region = mix::draw_region(weight, [height, width], rng);
            weight = mix::paste(samples, shape, &partners, &region);
        }
        mix::blend(labels, &partners, weight);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gnp_base::named::Named as _;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    fn of(image: ImageAugmentation) -> Augmentation {
        Augmentation { image, ..Augmentation::default() }
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut rng = rng(99);
        (0..length).map(|_| rng.random()).collect()
    }

    /// What a batch of images becomes, each by `bytes` and by `cut_out`, then mixed; with its labels.
    fn all(augmentation: &Augmentation, seed: u64) -> (Vec<f32>, Vec<f32>) {
        const SHAPE: [usize; 3] = [3, 16, 16];
        let mut rng = rng(seed);
        let mut samples = Vec::new();
        for image in noise(8 * 768).chunks_exact_mut(768) {
            augmentation.bytes(image, SHAPE, &mut rng).unwrap();
            let mut image: Vec<f32> = image.iter().map(|byte| f32::from(*byte) - 127.5).collect();
            augmentation.cut_out(&mut image, SHAPE, &mut rng);
            samples.append(&mut image);
        }
        let mut labels: Vec<f32> = (0..64).map(|i| f32::from(i % 8 == i / 8)).collect();
        augmentation.mix(&mut samples, [8, 3, 16, 16], &mut labels, &mut rng).unwrap();
        (samples, labels)
    }

    #[test]
    fn nothing_is_the_default() {
        let nothing = Augmentation::default();
        assert!(nothing.is_none());
        assert!(nothing.validate().is_ok());
        assert_eq!(all(&nothing, 1), all(&nothing, 2));
        assert!(!Augmentation { cutout: Some(8), ..nothing }.is_none());
    }

    #[test]
    fn equal_seeds_give_equal_pixels_and_others_do_not() {
        let default = Augmentation::default();
        let kinds = [
            of(ImageAugmentation::Basic),
            of(ImageAugmentation::AutoAugment),
            of(ImageAugmentation::RandomResizedCrop),
            Augmentation { cutout: Some(5), ..default.clone() },
            Augmentation { mixup: Some(0.2), ..default.clone() },
            Augmentation { cutmix: Some(1.0), ..default.clone() },
            Augmentation { mixup: Some(0.2), cutmix: Some(1.0), ..default },
        ];
        for kind in kinds {
            assert_eq!(all(&kind, 1), all(&kind, 1), "{kind:?}");
            assert_ne!(all(&kind, 1), all(&kind, 2), "{kind:?}");
        }
    }

    #[test]
    fn autoaugment_ends_with_flip_and_crop() {
        const SHAPE: [usize; 3] = [3, 16, 16];
        let of_parts = |seed, policy_first| {
            let (mut pixels, mut rng) = (noise(768), rng(seed));
            let mut image = Image::new(&mut pixels, SHAPE).unwrap();
            if policy_first {
                policy::augment(&mut image, &mut rng);
            }
            basic::flip_and_crop(&mut image, 4, &mut rng).unwrap();
            if !policy_first {
                policy::augment(&mut image, &mut rng);
            }
            pixels
        };
        let mut others = 0;
        for seed in 0..100 {
            let mut pixels = noise(768);
            of(ImageAugmentation::AutoAugment).bytes(&mut pixels, SHAPE, &mut rng(seed)).unwrap();
            assert_eq!(pixels, of_parts(seed, true), "seed {seed}");
            others += i32::from(pixels != of_parts(seed, false));
        }
        assert!(others > 90, "{others} of 100");
    }

    proptest! {
        #[test]
        fn flips_and_crops_floats_as_bytes(shape in [1usize..5, 5usize..12, 5usize..12], seed: u64) {
            let mut bytes = noise(shape.iter().product());
            let mut floats: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte)).collect();
            let basic = of(ImageAugmentation::Basic);
            basic.bytes(&mut bytes, shape, &mut rng(seed)).unwrap();
            basic.floats(&mut floats, shape, &mut rng(seed)).unwrap();
            prop_assert!(bytes.into_iter().map(f32::from).eq(floats));
        }

        #[test]
        fn augments_images_of_any_size(
            channels in prop::sample::select(vec![1usize, 3]), height in 1usize..9, width in 1usize..9, seed: u64,
        ) {
            let augmentation = Augmentation { crop_padding: 0, ..of(ImageAugmentation::AutoAugment) };
            let mut pixels = noise(channels * height * width);
            let mut rng = rng(seed);
            for _ in 0..20 {
                augmentation.bytes(&mut pixels, [channels, height, width], &mut rng).unwrap();
            }
        }
    }

    #[test]
    fn only_resized_crops_have_a_region() {
        assert!(of(ImageAugmentation::RandomResizedCrop).region([9, 8], &mut rng(0)).is_some());
        for kind in [ImageAugmentation::None, ImageAugmentation::Basic, ImageAugmentation::AutoAugment] {
            assert_eq!(of(kind).region([9, 8], &mut rng(0)), None);
        }
    }

    #[test]
    fn names_of_the_flag_are_those_of_the_file() {
        for kind in ImageAugmentation::all() {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn mixup_and_cutmix_take_turns() {
        let both = Augmentation { mixup: Some(1.0), cutmix: Some(1.0), ..Augmentation::default() };
        let mut rng = rng(3);
        let mut cutmixes = 0;
        for _ in 0..400 {
            // CutMix leaves pixels as they are; mixup leaves none.
            let mut samples: Vec<f32> = (0..4).flat_map(|i| [i as f32; 64]).collect();
            let mut labels = vec![1.0; 4];
            both.mix(&mut samples, [4, 1, 8, 8], &mut labels, &mut rng).unwrap();
            cutmixes += i32::from(samples.iter().all(|pixel| pixel.fract() == 0.0));
        }
        // Four standard deviations, and the one batch in 24 that mixup does not change.
        assert!((cutmixes - 208).abs() < 40, "{cutmixes} of 400");
    }

    #[test]
    fn refuses_what_cannot_be() {
        let default = Augmentation::default();
        for alpha in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            for wrong in [
                Augmentation { mixup: Some(alpha), ..default.clone() },
                Augmentation { cutmix: Some(alpha), ..default.clone() },
            ] {
                assert_eq!(wrong.validate().unwrap_err().exit_code(), 2, "{wrong:?}");
            }
        }
        assert_eq!(Augmentation { cutout: Some(0), ..default.clone() }.validate().unwrap_err().exit_code(), 2);
        let auto = of(ImageAugmentation::AutoAugment);
        let error = auto.bytes(&mut [0; 128], [2, 8, 8], &mut rng(0)).unwrap_err();
        assert_eq!(error.to_string(), "AutoAugment needs images of 1 or 3 channels, these have 2");
        let error = auto.floats(&mut [0.0; 64], [1, 8, 8], &mut rng(0)).unwrap_err();
        assert!(error.help_text().is_some_and(|help| help.contains("as bytes")));
        let crops = of(ImageAugmentation::RandomResizedCrop);
        assert_eq!(crops.floats(&mut [0.0; 64], [1, 8, 8], &mut rng(0)).unwrap_err().exit_code(), 2);
        assert_eq!(auto.bytes(&mut [0; 63], [1, 8, 8], &mut rng(0)).unwrap_err().exit_code(), 1);
        let mixup = Augmentation { mixup: Some(1.0), ..default };
        assert_eq!(mixup.mix(&mut [0.0; 4], [2, 1, 1, 2], &mut [0.0; 3], &mut rng(0)).unwrap_err().exit_code(), 1);
        assert!(mixup.mix(&mut [], [0, 1, 1, 2], &mut [], &mut rng(0)).is_ok());
    }
}
