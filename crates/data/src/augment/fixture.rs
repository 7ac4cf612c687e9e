//! What torchvision makes of images and batches: `tests/fixtures/augment/make.py` says how it came about.

use super::image::Image;
use super::operations::Operation;
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;

#[derive(Deserialize)]
pub(super) struct Fixture {
    pub images: HashMap<String, Picture>,
    pub operations: Vec<OperationCase>,
    pub policy: Vec<[(Operation, f64, Option<u8>); 2]>,
    pub sub_policies: SubPolicies,
    pub space: Vec<Space>,
    pub crops: Crops,
    pub resized_crops: ResizedCrops,
    pub cutouts: Vec<CutoutCase>,
    pub mixes: Mixes,
}

#[derive(Deserialize)]
pub(super) struct Picture {
    shape: [usize; 3],
    #[serde(deserialize_with = "hexadecimal")]
    pixels: Vec<u8>,
}

impl Picture {
    /// The pixels after a change.
    pub fn changed(&self, change: impl FnOnce(&mut Image<u8>)) -> Vec<u8> {
        let mut pixels = self.pixels.clone();
        change(&mut Image::new(&mut pixels, self.shape).unwrap());
        pixels
    }
}

#[derive(Deserialize)]
pub(super) struct OperationCase {
    pub image: String,
    pub operation: Operation,
    pub magnitude: f32,
    #[serde(deserialize_with = "hexadecimal")]
    pub after: Vec<u8>,
}

#[derive(Deserialize)]
pub(super) struct SubPolicies {
    pub image: String,
    pub cases: Vec<SubPolicyCase>,
}

#[derive(Deserialize)]
pub(super) struct SubPolicyCase {
    pub negative: [bool; 2],
    #[serde(deserialize_with = "hexadecimal")]
    pub after: Vec<u8>,
}

#[derive(Deserialize)]
pub(super) struct Space {
    pub size: [usize; 2],
    pub magnitudes: HashMap<Operation, Magnitudes>,
    pub signed: HashMap<Operation, bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Magnitudes {
    Each(Vec<f32>),
    None(f32),
}

impl Magnitudes {
    pub fn of_bin(&self, bin: u8) -> f32 {
        match self {
            Self::Each(magnitudes) => magnitudes[usize::from(bin)],
            Self::None(placeholder) => *placeholder,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Crops {
    pub image: Picture,
    pub padding: usize,
    #[serde(deserialize_with = "hexadecimal")]
    pub flipped: Vec<u8>,
    pub cases: Vec<CropCase>,
}

#[derive(Deserialize)]
pub(super) struct CropCase {
    pub offset: [usize; 2],
    #[serde(deserialize_with = "hexadecimal")]
    pub after: Vec<u8>,
}

#[derive(Deserialize)]
pub(super) struct ResizedCrops {
    pub sides: Vec<SidesCase>,
    pub middles: Vec<MiddleCase>,
}

#[derive(Deserialize)]
pub(super) struct SidesCase {
    pub size: [usize; 2],
    pub share: f64,
    pub ratio: f64,
    pub sides: [usize; 2],
}

#[derive(Deserialize)]
pub(super) struct MiddleCase {
    pub size: [usize; 2],
    /// Top, left, height, width.
    pub region: [usize; 4],
}

#[derive(Deserialize)]
pub(super) struct CutoutCase {
    pub side: usize,
    pub centre: [usize; 2],
    pub mask: Vec<f32>,
}

#[derive(Deserialize)]
pub(super) struct Mixes {
    pub shape: [usize; 4],
    pub samples: Vec<f32>,
    pub labels: Vec<f32>,
    pub partners: Vec<usize>,
    pub mixup: Vec<Mixed>,
    pub cutmix: Vec<Mixed>,
}

#[derive(Deserialize)]
pub(super) struct Mixed {
    pub lambda: f64,
    pub centre: Option<[usize; 2]>,
    pub samples: Vec<f32>,
    pub labels: Vec<f32>,
}

pub(super) fn read() -> Fixture {
    serde_json::from_str(include_str!("../../../../tests/fixtures/augment/augment.json")).unwrap()
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let digits = String::deserialize(deserializer)?;
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    bytes.collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}
