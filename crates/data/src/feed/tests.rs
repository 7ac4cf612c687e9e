//! What a graph is fed of data sets of each kind.

use super::*;
use crate::augment::ImageAugmentation;
use crate::order::{Draws, draws};
use crate::resize::resize;
use crate::{Array, Data, DataSource, Labels, Lengths, Lists, Normalize};
use gnp_base::contract;
use gnp_tensor::{ElementType, Tensor};
use ndarray::array;

fn data(values: Values) -> Dataset {
    let samples = Array::new(vec![2, 2, 2], values).unwrap();
    Dataset::new(samples, Array::new(vec![2], Values::U8(vec![3, 4])).unwrap()).unwrap()
}

fn ports(dims: &[Option<usize>]) -> [Port; 2] {
    [Port::new("x", ElementType::F32, dims), Port::new("labels", ElementType::I64, [None])]
}

fn u8s() -> Dataset {
    data(Values::U8(vec![0, 51, 102, 153, 204, 255, 0, 0]))
}

#[test]
fn reshapes_scales_and_reorders() {
    let data = u8s();
    let feed = Feed::new(&data, &ports(&[None, Some(1), Some(2), Some(2)]), &Preparation::default(), 0).unwrap();
    let batch = feed.batch(&[1, 0]).unwrap();
    assert_eq!(batch[0].shape(), [2, 1, 2, 2]);
    let values: Vec<f32> = batch[0].as_f32().unwrap().iter().copied().collect();
    let expected = [0.8, 1.0, 0.0, 0.0, 0.0, 0.2, 0.4, 0.6];
    assert!(values.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{values:?}");
    assert_eq!(batch[1], Tensor::I64(array![4, 3].into_dyn()));
}

#[test]
fn a_divisor_of_ones_own() {
    let data = u8s();
    let feed = Feed::new(&data, &ports(&[None, Some(4)]), &Preparation::divide(51.0), 0).unwrap();
    assert_eq!(feed.batch(&[0]).unwrap()[0], Tensor::F32(array![[0.0, 1.0, 2.0, 3.0]].into_dyn()));
    assert!(Feed::new(&data, &ports(&[None, Some(4)]), &Preparation::divide(0.0), 0).is_err());
}

#[test]
fn floats_are_taken_as_they_are() {
    let data = data(Values::F32(vec![0.5, 300.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0]));
    let feed = Feed::new(&data, &ports(&[None, Some(2), Some(2)]), &Preparation::default(), 0).unwrap();
    assert_eq!(feed.batch(&[0]).unwrap()[0], Tensor::F32(array![[[0.5, 300.0], [0.0, -1.0]]].into_dyn()));
}

#[test]
fn an_open_dimension_takes_what_is_left() {
    let data = u8s();
    let shape = |dims: &[Option<usize>]| {
        Feed::new(&data, &ports(dims), &Preparation::default(), 0).map(|feed| feed.describe_samples())
    };
    assert_eq!(shape(&[None, None, None]).unwrap(), "[2, 2]");
    assert_eq!(shape(&[None, None]).unwrap(), "[4]");
    assert_eq!(shape(&[None, Some(1), None]).unwrap(), "[1, 4]");
    assert!(shape(&[None, None, None, None]).is_err());
}

#[test]
fn a_misfit_names_both_shapes() {
    let data = u8s();
    let error =
        Feed::new(&data, &ports(&[None, Some(3), Some(28)]), &Preparation::default(), 0).unwrap_err().to_string();
    assert_eq!(error, "input `x` takes batches of shape [?, 3, 28], which samples of shape [2, 2] do not fit");
    let error = Feed::new(&data, &ports(&[None, Some(4)])[..1], &Preparation::default(), 0).unwrap_err().to_string();
    assert!(error.starts_with("the graph takes 1 batch inputs (`x`)"), "{error}");
}

#[test]
fn the_last_batch_has_what_is_left() {
    let data = u8s();
    let feed = Feed::new(&data, &ports(&[None, Some(4)]), &Preparation::default(), 0).unwrap();
    let batches: Vec<_> = feed.batches(&[4, 3, 2, 1, 0], 2).unwrap().collect();
    assert_eq!(batches, [&[4, 3][..], &[2, 1], &[0]]);
    assert_eq!(feed.batch_count(64).unwrap(), 1);
    assert!(feed.batch_count(0).is_err());
}

#[test]
fn a_fixed_batch_is_always_full() {
    let data = u8s();
    let feed = |batch| Feed::new(&data, &ports(&[Some(batch), Some(4)]), &Preparation::default(), 0).unwrap();
    assert_eq!(feed(2).fixed_batch(), Some(2));
    assert_eq!(feed(2).batches(&[2, 1, 0], 2).unwrap().collect::<Vec<_>>(), [&[2, 1]]);
    let message = |batch, size| feed(batch).batch_count(size).unwrap_err().to_string();
    assert_eq!(message(2, 64), "the graph is made for batches of 2, not of 64");
    assert_eq!(message(3, 3), "the graph takes batches of 3, but there are 2 samples");
}

#[test]
fn labels_take_the_shape_and_the_type_that_the_graph_wants() {
    let samples = || Array::new(vec![2, 4], Values::F32(vec![0.0; 8])).unwrap();
    let data = |shape: &[usize], values| Dataset::new(samples(), Array::new(shape.to_vec(), values).unwrap()).unwrap();
    let label = |element, dims: &[Option<usize>], data: &Dataset| {
        let port = Port::new("labels", element, dims);
        let feed = Feed::new(data, &[ports(&[None, Some(4)])[0].clone(), port], &Preparation::default(), 0)?;
        assert_eq!(feed.batch_without_labels(&[1, 0])?[1].shape(), feed.batch(&[1, 0])?[1].shape());
        Ok::<_, Error>(feed.batch(&[1, 0])?[1].clone())
    };
    let (column, table) = ([None, Some(1)], [None, Some(2)]);

    let classes = data(&[2], Values::U8(vec![1, 255]));
    assert_eq!(label(ElementType::F32, &column, &classes).unwrap(), Tensor::F32(array![[255.0], [1.0]].into_dyn()));
    assert_eq!(label(ElementType::I32, &[None], &classes).unwrap(), Tensor::I32(array![255, 1].into_dyn()));
    let soft = data(&[2, 2], Values::F32(vec![0.25, 0.75, 1.0, 0.0]));
    let expected = Tensor::F32(array![[1.0, 0.0], [0.25, 0.75]].into_dyn());
    assert_eq!(label(ElementType::F32, &table, &soft).unwrap(), expected);
    let positions = data(&[2, 2], Values::U8(vec![1, 2, 3, 4]));
    assert_eq!(label(ElementType::I64, &table, &positions).unwrap(), Tensor::I64(array![[3, 4], [1, 2]].into_dyn()));

    let error = label(ElementType::I64, &[None], &positions).unwrap_err();
    assert!(error.to_string().ends_with("which labels of shape [2] do not fit"), "{error}");
    assert!(error.help_text().unwrap().contains("argmax"));
    let error = label(ElementType::I64, &table, &soft).unwrap_err();
    assert!(error.to_string().ends_with("takes labels of int64, but those of the data are floats"), "{error}");
}

fn float_labels(dims: &[Option<usize>]) -> Port {
    Port::new("labels", ElementType::F32, dims)
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.as_f32().unwrap().iter().copied().collect()
}

/// Two images of two rows, three columns and three channels, channels last: 0 to 17, 18 to 35.
fn colours() -> Dataset {
    let samples = Array::new(vec![2, 5, 2, 3], Values::U8((0..60).collect())).unwrap();
    Dataset::new(samples, Array::new(vec![2], Values::U8(vec![2, 0])).unwrap()).unwrap()
}

#[test]
fn classes_become_probabilities_where_the_graph_takes_such() {
    let data = colours();
    let samples = ports(&[None, Some(30)])[0].clone();
    let batch = |dims: &[Option<usize>]| {
        let feed = Feed::new(&data, &[samples.clone(), float_labels(dims)], &Preparation::default(), 0)?;
        feed.batch(&[1, 0]).map(|batch| batch[1].clone())
    };
    let expected = Tensor::F32(array![[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]].into_dyn());
    assert_eq!(batch(&[None, Some(4)]).unwrap(), expected);
    assert_eq!(floats(&batch(&[None, None]).unwrap()), [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(floats(&batch(&[None, Some(1)]).unwrap()), [0.0, 2.0]);
    assert!(batch(&[None, Some(2)]).unwrap_err().to_string().contains("sample 0 has the label 2"));
}

#[test]
fn images_are_turned_to_the_axes_of_the_input() {
    let data = colours();
    let whole = Preparation::divide(1.0);
    let batch = |dims: &[usize]| {
        let dims: Vec<_> = [None].into_iter().chain(dims.iter().map(|&dim| Some(dim))).collect();
        floats(&Feed::new(&data, &ports(&dims), &whole, 0).unwrap().batch(&[0]).unwrap()[0])
    };
    let last: Vec<f32> = (0..30u8).map(f32::from).collect();
    let first: Vec<f32> = (0..3).flat_map(|channel| last.iter().copied().skip(channel).step_by(3)).collect();
    assert_eq!(batch(&[5, 2, 3]), last);
    assert_eq!(batch(&[3, 5, 2]), first);
    assert_eq!(batch(&[30]), last);
    let open = Feed::new(&data, &ports(&[None, Some(3), None, None]), &whole, 0).unwrap();
    assert_eq!((open.describe_samples(), floats(&open.batch(&[0]).unwrap()[0])), ("[3, 5, 2]".to_owned(), first));
}

#[test]
fn normalises_by_the_channels_of_the_training_set() {
    let data = colours();
    for dims in [[5, 2, 3], [3, 5, 2]] {
        let dims: Vec<_> = [None].into_iter().chain(dims.map(Some)).collect();
        let preparation = Preparation { normalize: Normalize::Data, ..Preparation::default() };
        let feed = Feed::new(&data, &ports(&dims), &preparation, 0).unwrap();
        // Of 0, 3, …, 57 the mean is 28.5 and the variance 9·(20² − 1)/12; the other channels are 1 and 2 above.
        let std = (9.0 * 399.0 / 12.0f32).sqrt() / 255.0;
        let found = feed.normalization();
        for (channel, (mean, deviation)) in found.mean.iter().zip(&found.std).enumerate() {
            assert!((mean - (28.5 + channel as f32) / 255.0).abs() < 1e-6 && (deviation - std).abs() < 1e-6);
        }
        let test = feed.for_test(&data).unwrap();
        assert_eq!(test.normalization(), found);
        let values = floats(&test.batch(&[0, 1]).unwrap()[0]);
        assert!(values.iter().sum::<f32>().abs() < 1e-4);
        assert!((values[0] + 28.5 / 255.0 / std).abs() < 1e-5, "{}", values[0]);
    }
}

#[test]
fn only_training_batches_are_augmented() {
    let data = colours();
    let ports = [ports(&[None, Some(3), Some(5), Some(2)])[0].clone(), float_labels(&[None, Some(3)])];
    let augmentation =
        Augmentation { image: ImageAugmentation::Basic, crop_padding: 1, mixup: Some(1.0), ..Augmentation::default() };
    let preparation = Preparation { augmentation, ..Preparation::default() };
    let feed = Feed::new(&data, &ports, &preparation, 0).unwrap();
    let plain = Feed::new(&data, &ports, &Preparation::default(), 0).unwrap().batch(&[0, 1]).unwrap();
    assert_eq!(feed.batch(&[0, 1]).unwrap(), plain);
    let test = feed.for_test(&data).unwrap();
    assert_eq!(test.augmented_batch(&[0, 1], 0, 0).unwrap(), plain);
    let different = (0..20).filter(|&epoch| feed.augmented_batch(&[0, 1], epoch, 0).unwrap() != plain).count();
    assert!(different > 10, "{different} of 20");
    assert_eq!(feed.augmented_batch(&[0, 1], 4, 2).unwrap(), feed.augmented_batch(&[0, 1], 4, 2).unwrap());
}

/// A folder of one class with two images of 8 × 8 pixels and one of 24 × 16 (height × width), and the pixels of the
/// three, channels last.
fn image_files(folder: &std::path::Path) -> (Dataset, [Vec<u8>; 3]) {
    std::fs::create_dir(folder.join("all")).unwrap();
    let sizes = [[8u32, 8], [8, 8], [24, 16]];
    let pixels = [0, 1, 2].map(|number| {
        let [height, width] = sizes[number];
        let image = image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([x, y, x * y + 3].map(|value| (10 * value + 50 * number as u32) as u8))
        });
        image.save(folder.join("all").join(format!("{number}.png"))).unwrap();
        image.into_raw()
    });
    (Data::load(&DataSource::new(folder), 0).unwrap().train, pixels)
}

fn resized_crops() -> Preparation {
    let augmentation = Augmentation { image: ImageAugmentation::RandomResizedCrop, ..Augmentation::default() };
    Preparation { augmentation, ..Preparation::divide(1.0) }
}

#[test]
fn resized_crops_are_cut_out_of_the_original_image() {
    let folder = tempfile::tempdir().unwrap();
    let (data, pixels) = image_files(folder.path());
    let ports = ports(&[None, Some(8), Some(8), Some(3)]);
    let feed = Feed::new(&data, &ports, &resized_crops(), 11).unwrap();
    let mut flipped = 0;
    for epoch in 0..50 {
        let found = floats(&feed.augmented_batch(&[2], epoch, 0).unwrap()[0]);
        let mut draws = draws(11, epoch, Draws::Sample, 2);
        let region = resized_crops().augmentation.region([24, 16], &mut draws).unwrap();
        let resized = resize(&pixels[2], 3, [24, 16], &region, [8, 8]).unwrap();
        let plain: Vec<f32> = resized.iter().map(|&byte| f32::from(byte)).collect();
        let mirrored: Vec<f32> = plain
            .chunks_exact(3 * 8)
            .flat_map(|row| row.chunks_exact(3).rev().flatten().copied().collect::<Vec<_>>())
            .collect();
        assert!(found == plain || found == mirrored, "epoch {epoch}, {region:?}");
        flipped += i32::from(found == mirrored);
    }
    // Four standard deviations of the binomial distribution.
    assert!((flipped - 25).abs() <= 14, "{flipped} of 50");
}

#[test]
fn resized_crops_of_arrays_are_those_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let (files, pixels) = image_files(folder.path());
    let samples = Array::new(vec![2, 8, 8, 3], Values::U8(pixels[..2].concat())).unwrap();
    let arrays = Dataset::new(samples, Array::new(vec![2], Values::U8(vec![0, 0])).unwrap()).unwrap();
    for dims in [[None, Some(8), Some(8), Some(3)], [None, Some(3), Some(8), Some(8)]] {
        let [of_files, of_arrays] =
            [&files, &arrays].map(|data| Feed::new(data, &ports(&dims), &resized_crops(), 11).unwrap());
        let plain = of_arrays.batch(&[0, 1]).unwrap();
        assert_eq!(of_files.batch(&[0, 1]).unwrap(), plain);
        assert_eq!(of_arrays.for_test(&files).unwrap().augmented_batch(&[0, 1], 0, 0).unwrap(), plain);
        for epoch in 0..10 {
            let batch = of_arrays.augmented_batch(&[0, 1], epoch, 0).unwrap();
            assert_eq!(of_files.augmented_batch(&[0, 1], epoch, 7).unwrap(), batch);
            assert_ne!(batch, plain);
            assert_ne!(batch, of_arrays.augmented_batch(&[0, 1], epoch + 1, 0).unwrap());
        }
    }
}

#[test]
fn an_augmentation_must_be_one_of_such_samples() {
    let data = data(Values::F32(vec![0.0; 8]));
    let message = |augmentation: Augmentation, dims: &[Option<usize>]| {
        let preparation = Preparation { augmentation, ..Preparation::default() };
        Feed::new(&data, &ports(dims), &preparation, 0).unwrap_err()
    };
    let mixup = Augmentation { mixup: Some(0.2), ..Augmentation::default() };
    let error = message(mixup, &[None, Some(4)]);
    assert!(error.to_string().contains("input `labels` takes int64 [?]"), "{error}");
    assert!(error.help_text().unwrap().contains("--loss soft-cross-entropy"));
    let auto = Augmentation { image: ImageAugmentation::AutoAugment, ..Augmentation::default() };
    assert!(message(auto, &[None, Some(4)]).to_string().contains("needs images of bytes"));
    let error = message(resized_crops().augmentation, &[None, Some(4)]);
    assert_eq!(error.to_string(), "RandomResizedCrop needs images of bytes, and the samples are other numbers");
    assert!(error.help_text().unwrap().contains(".astype(numpy.uint8)"));
    let table = Dataset::new(
        Array::new(vec![1, 4], Values::F32(vec![0.0; 4])).unwrap(),
        Array::new(vec![1], Values::U8(vec![0])).unwrap(),
    );
    let cutout = Augmentation { cutout: Some(2), ..Augmentation::default() };
    let preparation = Preparation { augmentation: cutout, ..Preparation::default() };
    let error = Feed::new(&table.unwrap(), &ports(&[None, Some(4)]), &preparation, 0).unwrap_err();
    assert!(error.to_string().contains("the samples are no images"), "{error}");
}

#[test]
fn a_label_that_no_class_has_makes_no_row_of_as_many_probabilities() {
    let samples = Array::new(vec![2, 1], Values::U8(vec![3, 4])).unwrap();
    let labels = |largest: i64| Array::new(vec![2], Values::I64(vec![0, largest])).unwrap();
    let ports = [Port::new("x", ElementType::F32, [None, None]), Port::new("y", ElementType::F32, [None, None])];
    let join = |largest| {
        let data = Dataset::new(samples.clone(), labels(largest)).unwrap();
        Feed::new(&data, &ports, &Preparation::default(), 0).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(join(9), Ok(()));
    let error = join(i64::MAX).unwrap_err();
    assert!(error.starts_with("there are labels up to 9223372036854775807, and input `y` takes"), "{error}");
    assert!(join(1 << 20).is_err());
}

#[test]
fn there_must_be_memory_for_a_batch() {
    let data = Dataset::new(
        Array::new(vec![2, 1], Values::U8(vec![3, 4])).unwrap(),
        Array::new(vec![2], Values::I64(vec![0, 1])).unwrap(),
    );
    let data = data.unwrap();
    let ports =
        [Port::new("x", ElementType::F32, [None, None]), Port::new("y", ElementType::F32, [None, Some(1 << 50)])];
    let feed = Feed::new(&data, &ports, &Preparation::default(), 0).unwrap();
    let error = feed.batches(&[0, 1], 2).unwrap_err().to_string();
    assert!(error.starts_with("a batch of 2 samples and their labels takes 18.0 PB, and "), "{error}");
    let wide = [Port::new("x", ElementType::F32, [None, Some(1 << 40), Some(1 << 40)]), ports[1].clone()];
    assert!(Feed::new(&data, &wide, &Preparation::default(), 0).is_err());
}

fn texts() -> Dataset {
    let ids = Lists::new(Values::I64(vec![5, 6, 7, 8, 9, 1]), &[3, 1, 2], vec![]).unwrap();
    let ages = Array::new(vec![3, 1], Values::F32(vec![30.0, 40.0, 50.0])).unwrap();
    let inputs = vec![Input::new("input_ids", ids), Input::new("age", ages)];
    Dataset::of(inputs, vec![Labels::Classes(vec![0, 1, 1]).into()]).unwrap()
}

fn text_ports() -> Vec<Port> {
    let ids = |name: &str| Port::new(name, ElementType::I64, [None, None]);
    vec![
        ids("input_ids"),
        Port::new("attention_mask", ElementType::F32, [None, None]),
        ids("position_ids"),
        Port::new("lengths", ElementType::I32, [None]),
        Port::new("age", ElementType::F32, [None, Some(1)]),
        Port::new("labels", ElementType::I64, [None]),
    ]
}

#[test]
fn lists_are_filled_up_and_masked() {
    let data = texts();
    let lengths = Lengths {
        pads: [("input_ids".to_owned(), 99.0)].into(),
        multiple: NonZero::new(2).unwrap(),
        ..Lengths::default()
    };
    let preparation = Preparation { lengths, ..Preparation::divide(10.0) };
    let feed = Feed::new(&data, &text_ports(), &preparation, 0).unwrap();
    let batch = feed.batch(&[2, 0]).unwrap();
    assert_eq!(batch[0], Tensor::I64(array![[9, 1, 99, 99], [5, 6, 7, 99]].into_dyn()));
    assert_eq!(batch[1], Tensor::F32(array![[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]].into_dyn()));
    assert_eq!(batch[2], Tensor::I64(array![[0, 1, 2, 3], [0, 1, 2, 3]].into_dyn()));
    assert_eq!(batch[3], Tensor::I32(array![2, 3].into_dyn()));
    assert_eq!(batch[4], Tensor::F32(array![[5.0], [3.0]].into_dyn()));
    assert_eq!(feed.batch(&[1]).unwrap()[0], Tensor::I64(array![[8, 99]].into_dyn()));
    assert_eq!(feed.describe_samples(), "`input_ids` [up to 3], `age` [1]");
    assert_eq!(feed.derived().map(|(name, _)| name).collect::<Vec<_>>(), ["attention_mask", "position_ids", "lengths"]);
    let for_test = feed.for_test(&data).unwrap();
    assert_eq!(for_test.batch(&[2, 0]).unwrap(), batch);
}

#[test]
fn lists_are_cut_to_what_is_asked_for_and_filled_to_what_the_graph_takes() {
    let data = texts();
    let join = |cut: Option<usize>, dim: Option<usize>| {
        let mut ports = text_ports();
        ports[0].dims[1] = dim;
        let lengths = Lengths { cut, ..Lengths::default() };
        let feed = Feed::new(&data, &ports, &Preparation { lengths, ..Preparation::default() }, 0)?;
        feed.batch(&[0, 1]).map(|batch| (batch[0].clone(), batch[3].clone()))
    };
    let (ids, lengths) = join(Some(2), None).unwrap();
    assert_eq!((ids, lengths), (Tensor::I64(array![[5, 6], [8, 0]].into_dyn()), Tensor::I32(array![2, 1].into_dyn())));
    assert_eq!(join(None, Some(5)).unwrap().0.shape(), [2, 5]);
    assert_eq!(join(None, None).unwrap().0.shape(), [2, 8]);
    let error = join(None, Some(2)).unwrap_err();
    assert_eq!(error.to_string(), "input `input_ids` takes int64 [?, 2], and sample 0 has 3 items");
    assert!(error.help_text().unwrap().contains("--max-length 2"));
}

#[test]
fn a_mask_of_arrays_leaves_out_what_is_said_to_be_padding() {
    let ids = Array::new(vec![2, 4], Values::I64(vec![5, 0, 7, 0, 8, 0, 0, 0])).unwrap();
    let inputs = vec![Input::new("input_ids", ids)];
    let data = Dataset::of(inputs, vec![Labels::Classes(vec![0, 1]).into()]).unwrap();
    let ports = [text_ports()[0].clone(), text_ports()[1].clone(), text_ports()[5].clone()];
    let mask = |pads: &[(&str, f64)]| {
        let pads = pads.iter().map(|&(name, pad)| (name.to_owned(), pad)).collect();
        let lengths = Lengths { pads, ..Lengths::default() };
        let preparation = Preparation { lengths, ..Preparation::default() };
        floats(&Feed::new(&data, &ports, &preparation, 0).unwrap().batch(&[0, 1]).unwrap()[1])
    };
    assert_eq!(mask(&[]), [1.0; 8]);
    assert_eq!(mask(&[("input_ids", 0.0)]), [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn labels_of_tokens_are_filled_up_with_what_does_not_count() {
    let ids = Lists::new(Values::I64(vec![5, 6, 7]), &[2, 1], vec![]).unwrap();
    let tags = Lists::new(Values::I64(vec![0, 1, 2]), &[2, 1], vec![]).unwrap();
    let data = Dataset::of(vec![Input::new("ids", ids)], vec![Labels::Lists(tags).into()]).unwrap();
    let range = contract::Range { ignored: Some(-100), ..contract::Range::up_to(1) };
    let labels = Port { ranges: vec![range], ..Port::new("labels", ElementType::I64, [None, None]) };
    let ports = [Port::new("ids", ElementType::I64, [None, None]), labels];
    let lengths = Lengths { multiple: NonZero::<usize>::MIN, ..Lengths::default() };
    let feed = Feed::new(&data, &ports, &Preparation { lengths, ..Preparation::default() }, 0).unwrap();
    assert_eq!(feed.batch(&[0, 1]).unwrap()[1], Tensor::I64(array![[0, 1], [2, -100]].into_dyn()));
    let error = feed.check_labels("training", None).unwrap_err().to_string();
    assert!(error.starts_with("sample 1 of the training data has the label 2 at [0]; expected 0 to 1"), "{error}");
}
