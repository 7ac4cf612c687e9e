//! Signals, spectra, and words.

use super::super::known::{Known, Sizes};
use super::super::size::Size;
use super::{Operation, Rule, number, place, replaced};
use crate::onnx::DataType;

pub(super) fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "BlackmanWindow" | "HammingWindow" | "HannWindow" => |op| {
            Some(vec![
                Known::of(op.named_type("output_datatype").unwrap_or(DataType::Float))
                    .with(vec![op.input(0).number().cloned()]),
            ])
        },
        "DFT" => dft,
        "STFT" => stft,
        "MelWeightMatrix" => |op| {
            let sizes = vec![op.input(1).number().and_then(bins), op.input(0).number().cloned()];
            Some(vec![Known::of(op.named_type("output_datatype").unwrap_or(DataType::Float)).with(sizes)])
        },
        "TfIdfVectorizer" => words,
        "StringNormalizer" => |op| {
            // Words may be left out.
            Some(vec![
                Known::of(DataType::String)
                    .with(op.sizes(0).and_then(|sizes| replaced(sizes, sizes.len().checked_sub(1)?, None))),
            ])
        },
        "StringSplit" => |op| {
            let split = op.sizes(0).map(|sizes| sizes.iter().cloned().chain([None]).collect::<Sizes>());
            Some(vec![Known::of(DataType::String).with(split), Known::of(DataType::Int64).with(op.sizes(0).cloned())])
        },
        _ => return None,
    })
}

/// The frequencies of a real signal, without those that repeat.
fn bins(length: &Size) -> Option<Size> {
    length.over(2)?.plus_number(1)
}

/// Along an axis as many frequencies as there are samples, or half of them and one; each a complex number.
fn dft(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(op.element(0));
    let Some(sizes) = op.sizes(0) else { return Some(vec![made]) };
    let axis = if op.has(2) {
        op.input(2).number().and_then(Size::known)
    } else {
        Some(op.node.int("axis", if op.opset < 20 { 1 } else { -2 }))
    };
    let Some(axis) = axis.and_then(|axis| place(axis, sizes.len())) else {
        return Some(vec![made.with(super::open(sizes.len()))]);
    };
    let length = if op.has(1) { op.input(1).number().cloned() } else { sizes[axis].clone() };
    let (halves, inverts) = (op.node.int("onesided", 0) == 1, op.node.int("inverse", 0) == 1);
    // Back from half the frequencies come real samples.
    let (length, parts) = match (halves, inverts) {
        (true, true) if op.has(1) => (length, 1),
        (true, true) => (length.and_then(|bins| bins.plus_number(-1)?.times_number(2)), 1),
        (true, false) => (length.as_ref().and_then(bins), 2),
        (false, _) => (length, 2),
    };
    let sizes =
        replaced(sizes, axis, length).and_then(|sizes| replaced(&sizes, sizes.len().checked_sub(1)?, number(parts)));
    Some(vec![made.with(sizes)])
}

/// The frequencies of each frame.
fn stft(op: &Operation<'_>) -> Option<Vec<Known>> {
    let length = match op.input(3).number() {
        Some(length) => Some(length.clone()),
        None if op.has(3) => None,
        None => op.size(2, 0),
    };
    let step = op.input(1).number().and_then(Size::known);
    let frames = || op.size(0, 1)?.minus(length.as_ref()?)?.over(step?)?.plus_number(1);
    let halves = op.node.int("onesided", 1) == 1;
    let frequencies = if halves { length.as_ref().and_then(bins) } else { length.clone() };
    Some(vec![Known::of(op.element(0)).with(vec![op.size(0, 0), frames(), frequencies, number(2)])])
}

/// A weight for each n-gram in place of the words of each text.
fn words(op: &Operation<'_>) -> Option<Vec<Known>> {
    let made = Known::of(DataType::Float);
    let Some(sizes) = op.sizes(0) else { return Some(vec![made]) };
    let last = op.node.ints("ngram_indexes").and_then(|indexes| indexes.iter().max()?.checked_add(1)).map(Size::number);
    let before = sizes.len().saturating_sub(1);
    Some(vec![made.with(sizes[..before].iter().cloned().chain([last]).collect::<Sizes>())])
}
