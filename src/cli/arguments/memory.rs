//! How much of a batch is in memory at a time.

use super::bounded::{LARGE, at_most};
use crate::experiment::FitMemory;
use crate::{Error, Result};
use clap::Args;
use std::num::NonZero;
use std::str::FromStr;

/// The arguments that decide in how many parts a run takes its batches.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Memory (forward models)")]
pub struct MemoryArguments {
    /// Take each batch in parts of N samples at most, one after the other: a step is that of the whole batch, and needs
    /// the memory of a part. `auto` takes the largest parts with which a step fits into the memory that is free, by an
    /// estimate that is made before anything runs [default: the whole batch]
    #[arg(long, value_name = "auto|N", conflicts_with = "accumulate")]
    micro_batch: Option<MicroBatch>,
    /// What a step may take of the memory where --micro-batch is auto, as in 512MiB or 8GB [default: nine
    /// tenths of what is free on the device]
    #[arg(long, value_name = "SIZE", requires = "micro_batch")]
    memory: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MicroBatch {
    Auto,
    Samples(NonZero<u32>),
}

impl FromStr for MicroBatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let samples = at_most::<NonZero<u32>, LARGE>(text);
        samples.map(Self::Samples).map_err(|error| format!("expected auto or a number of samples: {error}"))
    }
}

impl MemoryArguments {
    /// The first flag that is given.
    pub fn flag(&self) -> Option<&'static str> {
        self.micro_batch.map(|_| "--micro-batch")
    }

    /// In how many parts a batch of so many samples is taken, where that is asked for.
    pub fn parts(&self, batch_size: usize) -> Option<NonZero<u32>> {
        let Some(MicroBatch::Samples(samples)) = self.micro_batch else { return None };
        NonZero::new(u32::try_from(batch_size).unwrap_or(u32::MAX).div_ceil(samples.get()))
    }

    /// Whether parts follow from the memory that there is.
    ///
    /// # Errors
    /// Where a limit is given for nothing.
    pub fn fit(&self) -> Result<Option<FitMemory>> {
        match (self.micro_batch, self.memory) {
            (Some(MicroBatch::Auto), limit) => Ok(Some(FitMemory { limit: limit.map(|Bytes(bytes)| bytes) })),
            (Some(MicroBatch::Samples(_)), Some(_)) => {
                Err(Error::input("--memory is of no use: the size of the parts is given")
                    .help("leave it out, or let it tell the size: --micro-batch auto"))
            }
            _ => Ok(None),
        }
    }
}

/// A number of bytes, with a unit where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes(u64);

impl FromStr for Bytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected a number of bytes, as in 512MiB or 8GB";
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim() {
            "" | "B" => 1.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            "KiB" => 1024.0,
            "MiB" => 1024f64.powi(2),
            "GiB" => 1024f64.powi(3),
            "TiB" => 1024f64.powi(4),
            _ => return Err(EXPECTED),
        };
        let number: f64 = number.parse().map_err(|_| EXPECTED)?;
        if number > 0.0 { Ok(Self((number * unit) as u64)) } else { Err("expected more than nothing") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        let read = ["512MiB", "8GB", "1.5 GiB", "1000", "2kB"].map(|text| text.parse::<Bytes>().unwrap().0);
        assert_eq!(read, [512 << 20, 8_000_000_000, 3 << 29, 1000, 2000]);
        for text in ["", "GB", "8 gigs", "-1GB", "0", "1.2.3MB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_micro_batch_is_a_number_of_parts() {
        let parts = |text: &str, batch| {
            MemoryArguments { micro_batch: Some(text.parse().unwrap()), memory: None }.parts(batch).map(NonZero::get)
        };
        assert_eq!(
            [parts("32", 256), parts("33", 256), parts("256", 256), parts("auto", 256)],
            [Some(8), Some(8), Some(1), None]
        );
        assert!("0".parse::<MicroBatch>().is_err() && "some".parse::<MicroBatch>().is_err());
    }
}
