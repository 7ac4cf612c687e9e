//! Which data a model is trained on, and how they are prepared.

use super::bounded::{LARGE, THREADS, at_most};
use super::named::named;
use crate::data::augment::{Augmentation, ImageAugmentation};
use crate::data::{DataSource, Lengths, Normalize, Preparation, Selection};
use crate::experiment::DataSettings;
use crate::{Error, Result};
use clap::Args;
use std::num::NonZero;
use std::path::PathBuf;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The data of a run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Data")]
pub struct DataArguments {
    /// Training data: an .npz or .safetensors file or a folder of .npy files with x_train, y_train, x_test, y_test or
    /// with x, y, or with an array for each input of the model, by name, in place of x; a folder of images
    /// (train/CLASS/*.jpg, val/CLASS/*.jpg); a folder of CIFAR's .bin files or of IDX files named like MNIST's; a .csv,
    /// .jsonl or .parquet table with --target; an .npy or IDX file
    // Required, unless there is a subcommand: then it is empty.
    #[arg(long, value_name = "PATH", required = true)]
    data: Option<PathBuf>,
    /// Test data, where the training data come without or others are wanted
    #[arg(long, value_name = "PATH")]
    test_data: Option<PathBuf>,
    /// Labels of the training data, where these are an .npy or IDX file
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Labels of the test data, where these are an .npy or IDX file
    #[arg(long, value_name = "FILE", requires = "test_data")]
    test_labels: Option<PathBuf>,
    /// Take the fraction P (0 to 1) of the training data, drawn by --seed, as test data
    #[arg(long, value_name = "P", allow_negative_numbers = true, conflicts_with = "test_data")]
    test_split: Option<f64>,
    /// Train on N of the training samples, drawn by --seed once --test-split has taken its part [default: all]
    #[arg(long, value_name = "N")]
    train_samples: Option<usize>,
    /// Columns of a table to predict from [default: all others that hold numbers]
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    features: Vec<String>,
    /// What an input of the model is fed, where it has several: columns of a table side by side, a column of lists, or
    /// an array of an archive; may be repeated
    #[arg(long, value_name = "INPUT=COLUMN,...", value_parser = parse_feature)]
    feature: Vec<(String, Vec<String>)>,
    /// What to predict: columns of a table, of which text becomes classes in alphabetical order, or an array of an
    /// archive [default there: y or labels]; OUTPUT=COLUMN,... for each output, where several have a loss
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    target: Vec<String>,
    /// A column of a table that is text, or two whose texts make a pair
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', requires = "tokenizer")]
    text: Vec<String>,
    /// The tokenizer.json of the model, which makes token ids of the text
    #[arg(long, value_name = "FILE", requires = "text")]
    tokenizer: Option<PathBuf>,
    /// Cut longer samples to N tokens, or items of a list
    #[arg(long, value_name = "N", value_parser = at_most::<NonZero<usize>, LARGE>)]
    max_length: Option<NonZero<usize>>,
    /// Fill shorter samples of an input up with NUMBER, to the length of the longest in their batch [default: the
    /// tokenizer's, else 0; for labels what does not count]; may be repeated
    #[arg(long, value_name = "INPUT=NUMBER", value_parser = parse_pad)]
    pad: Vec<(String, f64)>,
    /// Fill up to a multiple of N: an engine may prepare itself for each length [default: 8]
    #[arg(long, value_name = "N", value_parser = at_most::<NonZero<usize>, LARGE>)]
    pad_multiple: Option<NonZero<usize>>,
    /// Make batches of samples of about the same length: less is filled up
    #[arg(long)]
    group_by_length: bool,
    /// Sides of the images in pixels, where the model leaves them open: the shorter side is resized, the middle cropped
    #[arg(long, value_name = "PIXELS", value_parser = at_most::<usize, LARGE>)]
    image_size: Option<usize>,
    /// Divide the samples by N [default: 255 for bytes and images, 1 for all else]
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    divisor: Option<f32>,
    /// Whether to bring the samples to mean 0 and standard deviation 1, after the division [default: none]
    #[arg(long, value_parser = named::<NormalizeBy>(), value_name = "BY", conflicts_with_all = ["mean", "std"])]
    normalize: Option<NormalizeBy>,
    /// Subtract this after the division: one number, or one a channel
    #[arg(long, value_name = "NUMBER,...", value_delimiter = ',', allow_hyphen_values = true)]
    mean: Vec<f32>,
    /// Divide by this after --mean: one number, or one a channel
    #[arg(long, value_name = "NUMBER,...", value_delimiter = ',', allow_hyphen_values = true)]
    std: Vec<f32>,
    /// Redraw the fraction P (0 to 1) of the training labels at random, to see what training makes of it
    #[arg(long, allow_negative_numbers = true, value_name = "P", default_value_t = 0.0, hide_default_value = true)]
    label_noise: f64,
    /// What to do to the pixels of training images, at random [default: none]
    #[arg(long, value_parser = named::<ImageAugmentation>(), value_name = "HOW")]
    augment: Option<ImageAugmentation>,
    /// Cover a square of so many pixels a side of each training image, at a random place (Cutout)
    #[arg(long, value_name = "PIXELS", value_parser = at_most::<usize, LARGE>)]
    cutout: Option<usize>,
    /// Mix each training sample and its label with another, by a share from Beta(ALPHA, ALPHA)
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    mixup: Option<f32>,
    /// Put a box of another image into each training image, of an area from Beta(ALPHA, ALPHA), and mix the labels
    /// likewise; with --mixup, each batch has one of the two
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    cutmix: Option<f32>,
    /// Threads that prepare batches ahead of their use [default: 1 for arrays without augmentation, else one a core]
    #[arg(long, value_name = "N", value_parser = at_most::<NonZero<usize>, THREADS>)]
    workers: Option<NonZero<usize>>,
}

/// What samples are normalised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
enum NormalizeBy {
    /// Not at all
    None,
    /// By the training set: each channel of images, each column of a table
    Data,
}

impl DataArguments {
    /// What a model is trained on.
    ///
    /// # Errors
    /// Where no data are named.
    pub fn settings(&self) -> Result<DataSettings> {
        Ok(DataSettings { source: self.source()?, preparation: self.preparation(), label_noise: self.label_noise })
    }

    fn source(&self) -> Result<DataSource> {
        let train =
            self.data.clone().ok_or_else(|| Error::input("no data to train on").help("name them with --data"))?;
        Ok(DataSource {
            train,
            test: self.test_data.clone(),
            labels: self.labels.clone(),
            test_labels: self.test_labels.clone(),
            test_split: self.test_split,
            train_samples: self.train_samples,
            selection: Selection {
                features: self.features.clone(),
                inputs: self.feature.clone(),
                text: self.text.clone(),
                tokenizer: self.tokenizer.clone(),
                most_tokens: self.max_length.map(NonZero::get),
                targets: targets(&self.target),
            },
            ..DataSource::default()
        })
    }

    fn lengths(&self) -> Lengths {
        let others = Lengths::default();
        Lengths {
            pads: self.pad.iter().cloned().collect(),
            cut: self.max_length.map(NonZero::get),
            multiple: self.pad_multiple.unwrap_or(others.multiple),
            group: self.group_by_length,
        }
    }

    fn preparation(&self) -> Preparation {
        let normalize = match self.normalize {
            Some(NormalizeBy::Data) => Normalize::Data,
            _ if self.mean.is_empty() && self.std.is_empty() => Normalize::None,
            _ => Normalize::By { mean: self.mean.clone(), std: self.std.clone() },
        };
        Preparation {
            divisor: self.divisor,
            normalize,
            image_size: self.image_size,
            lengths: self.lengths(),
            augmentation: Augmentation {
                image: self.augment.unwrap_or_default(),
                cutout: self.cutout,
                mixup: self.mixup,
                cutmix: self.cutmix,
                ..Augmentation::default()
            },
            workers: self.workers,
        }
    }
}

fn parse_feature(text: &str) -> Result<(String, Vec<String>), String> {
    let parts = text.split_once('=').filter(|(input, columns)| !input.is_empty() && !columns.is_empty());
    let (input, columns) =
        parts.ok_or_else(|| format!("expected INPUT=COLUMN,..., as in input_ids=tokens, and not `{text}`"))?;
    Ok((input.to_owned(), columns.split(',').map(|column| column.trim().to_owned()).collect()))
}

fn parse_pad(text: &str) -> Result<(String, f64), String> {
    let parts = text.rsplit_once('=').filter(|(input, _)| !input.is_empty());
    let number = parts.and_then(|(input, number)| Some((input, number.parse().ok().filter(|n: &f64| n.is_finite())?)));
    let (input, number) =
        number.ok_or_else(|| format!("expected INPUT=NUMBER, as in input_ids=0, and not `{text}`"))?;
    Ok((input.to_owned(), number))
}

/// Targets of `columns`, of which `OUTPUT=COLUMN` begins those of an output.
fn targets(columns: &[String]) -> Vec<(Option<String>, Vec<String>)> {
    let mut targets: Vec<(Option<String>, Vec<String>)> = Vec::new();
    for column in columns {
        match (column.split_once('='), targets.last_mut()) {
            (Some((output, column)), _) => targets.push((Some(output.to_owned()), vec![column.to_owned()])),
            (None, Some((_, columns))) => columns.push(column.clone()),
            (None, None) => targets.push((None, vec![column.clone()])),
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        data: DataArguments,
    }

    fn parse(words: &str) -> Result<DataArguments, clap::Error> {
        Line::try_parse_from(["x"].into_iter().chain(words.split(' '))).map(|line| line.data)
    }

    #[test]
    fn lists_are_split_at_commas() {
        let data = parse("--data t.csv --target a,b --features c --mean -0.5,0.25 --std 2").unwrap();
        let options = data.source().unwrap();
        let Selection { features, targets, .. } = options.selection;
        assert_eq!((targets, features.len()), (Selection::predicting(["a", "b"]).targets, 1));
        let expected = Normalize::By { mean: vec![-0.5, 0.25], std: vec![2.0] };
        assert_eq!(data.preparation().normalize, expected);
    }

    #[test]
    fn inputs_and_outputs_have_names() {
        let data = parse("--data t.csv --feature user=id --feature clock=hour,day --target box=x,y,kind=name").unwrap();
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let Selection { inputs, targets, .. } = data.source().unwrap().selection;
        assert_eq!(inputs, [("user".to_owned(), owned(&["id"])), ("clock".to_owned(), owned(&["hour", "day"]))]);
        assert_eq!(
            targets,
            [(Some("box".to_owned()), owned(&["x", "y"])), (Some("kind".to_owned()), owned(&["name"]))]
        );
        let text = parse("--data t.csv --text a --tokenizer t.json --max-length 8 --pad a.b=-1 --target y").unwrap();
        let preparation = text.preparation();
        assert_eq!((preparation.lengths.cut, preparation.lengths.pads["a.b"]), (Some(8), -1.0));
        for words in ["--data a --feature x", "--data a --feature =x", "--data a --pad x=y", "--data a --text x"] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn a_part_of_the_training_data() {
        let of = |words: &str| parse(words).unwrap().source().unwrap();
        assert_eq!(of("--data t.npz").train_samples, None);
        let some = of("--data t.npz --test-split 0.1 --train-samples 500");
        assert_eq!((some.test_split, some.train_samples), (Some(0.1), Some(500)));
    }

    #[test]
    fn by_default_nothing_is_done() {
        assert_eq!(parse("--data t.npz").unwrap().preparation(), Preparation::default());
        let data = parse("--data t.npz --augment autoaugment --cutout 8 --normalize data --workers 3").unwrap();
        let preparation = data.preparation();
        assert_eq!(preparation.augmentation.image, ImageAugmentation::AutoAugment);
        assert_eq!((preparation.augmentation.cutout, preparation.normalize), (Some(8), Normalize::Data));
        assert_eq!(preparation.workers.map(NonZero::get), Some(3));
        let crops = parse("--data t.npz --augment random-resized-crop").unwrap().preparation();
        assert_eq!(crops.augmentation.image, ImageAugmentation::RandomResizedCrop);
    }

    #[test]
    fn contradictions_are_refused() {
        for words in [
            "--data a --test-data b --test-split 0.1",
            "--data a --normalize data --mean 0.5",
            "--data a --test-labels b",
            "--data a --workers 0",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}
