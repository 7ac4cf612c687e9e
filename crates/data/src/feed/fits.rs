//! Whether data, graph and preparation fit each other.

use super::{Feed, Source};
use crate::augment::ImageAugmentation;
use crate::labels::Labels;
use crate::layout::Layout;
use crate::port_shape::PortShape;
use crate::{Normalize, Preparation, Samples, Values};
use gnp_base::{Error, Result};
use gnp_tensor::{ElementType, Port};

impl Feed<'_> {
    /// Checks that samples and labels can be augmented so.
    pub(super) fn check_augmentation(&self) -> Result<()> {
        let augmentation = &self.preparation.augmentation;
        augmentation.validate()?;
        if augmentation.is_none() {
            return Ok(());
        }
        let ([samples, labels], [Source::Dense(dense), Source::Labels(labelled)]) =
            (&self.ports[..], &self.sources[..])
        else {
            return Err(Error::input("only samples of one shape for one input, and their labels, can be augmented")
                .help("leave the augmentation out"));
        };
        if samples.element != ElementType::F32 {
            return Err(Error::input(format!(
                "input `{}` is {}: it cannot be augmented",
                samples.name, samples.element
            )));
        }
        let of_images = augmentation.image != ImageAugmentation::None
            || augmentation.cutout.is_some()
            || augmentation.cutmix.is_some();
        if of_images && dense.layout.is_none() {
            return Err(Error::input("the samples are no images: only mixup can augment them"));
        }
        augmentation.image.check_elements(self.data.samples().are_bytes())?;
        let takes_mixed = labels.element == ElementType::F32 && matches!(labelled.shape(), [classes] if *classes >= 2);
        if augmentation.mixes() && !takes_mixed {
            return Err(Error::input(format!(
                "mixup and CutMix make labels of several classes, but input `{}` takes {labels}",
                labels.name
            ))
            .help("train with --loss soft-cross-entropy"));
        }
        Ok(())
    }
}

/// Checks that the input `port` can take such samples, prepared so.
pub(super) fn check_element(port: &Port, samples: &Samples, preparation: &Preparation) -> Result<()> {
    if port.element == ElementType::F32 {
        return Ok(());
    }
    let cannot = |what: &str| Err(Error::input(format!("input `{}` is {}{what}", port.name, port.element)));
    let whole = format!(
        "give it whole numbers: of a table --feature {}=COLUMN,…, or --text COLUMN with the model's --tokenizer",
        port.name
    );
    match samples {
        _ if preparation.divisor.is_some() => cannot(": it cannot be scaled"),
        _ if preparation.normalize != Normalize::None => cannot(": it cannot be normalised"),
        Samples::Images(_) => cannot(", but images are fed as floats"),
        Samples::Lists(_) => Ok(()),
        Samples::Array(array) if matches!(array.values(), Values::F32(_)) => {
            cannot(", but the data are floats").map_err(|error| error.help(whole))
        }
        Samples::Array(_) => Ok(()),
    }
}

/// The number of classes whose probabilities the input `port` takes, where the labels are classes; `classes` where it
/// is open.
///
/// # Errors
/// Where it is the data alone that say how many there are, and they say more than there can be.
pub(super) fn probabilities(port: &Port, labels: &Labels, classes: usize) -> Result<Option<usize>> {
    /// More make no row of numbers that a model could learn.
    const MOST: usize = 1 << 20;
    let (Labels::Classes(_), ElementType::F32, [_, dim]) = (labels, port.element, &port.dims[..]) else {
        return Ok(None);
    };
    if dim.is_none() && classes > MOST {
        let message = format!(
            "there are labels up to {}, and input `{}` takes the probabilities of all classes; expected at most {MOST} classes",
            classes - 1,
            port.name
        );
        return Err(Error::input(message).help("number the classes from 0"));
    }
    Ok(Some(dim.unwrap_or(classes)).filter(|&count| count >= 2))
}

/// The shape in which the input `port` takes `samples` of one shape, and how they lie where they are images.
pub(super) fn sample_port(
    samples: &Samples,
    port: &Port,
    preparation: &Preparation,
) -> Result<(PortShape, Option<Layout>)> {
    let Some(shape) = samples.shape() else {
        let layout = Layout::of_files(port, preparation.image_size)?;
        let shape = layout.port.order(layout.shape);
        let shape = if port.dims.len() == 3 { &shape[1..] } else { &shape };
        return Ok((PortShape::fit(port, shape, "images")?, Some(layout)));
    };
    let fit = PortShape::fit(port, shape, "samples")
        .map_err(|e| e.help("use data of the size that the model was exported for"))?;
    let layout = Layout::of_array(shape, &fit.rest);
    Ok((fit, layout))
}

/// The shape in which the input `port` takes `labels`, or the probabilities of `one_hot` classes.
pub(super) fn label_port(labels: &Labels, port: &Port, one_hot: Option<usize>) -> Result<PortShape> {
    let shape = one_hot.map_or_else(|| labels.shape().to_vec(), |classes| vec![classes]);
    let fit = PortShape::fit(port, &shape, "labels").map_err(|e| match (&*port.dims, labels) {
        ([_], Labels::Targets(_)) => e.help("turn one-hot labels into class indices, e.g. with .argmax(1)"),
        _ => e.help("use the labels that the model's loss is made for"),
    })?;
    if let Labels::Targets(targets) = labels
        && matches!(targets.values(), Values::F32(_))
        && fit.element != ElementType::F32
    {
        let message =
            format!("input `{}` takes labels of {}, but those of the data are floats", port.name, port.element);
        return Err(Error::input(message).help("save class indices as integers, e.g. with .astype(numpy.int64)"));
    }
    Ok(fit)
}
