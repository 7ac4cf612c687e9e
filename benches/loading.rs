//! Samples a second that the loader makes: whether an engine has to wait for its data.
//!
//! Each number is of one pass over the data in batches of 64, with one worker and with one a core.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use gnp::data::augment::{Augmentation, ImageAugmentation};
use gnp::data::{Array, Data, DataSource, Dataset, Feed, Preparation, Values, epoch_order};
use gnp::tensor::{ElementType, Port};
use image::RgbImage;
use std::hint::black_box;
use std::num::NonZero;
use std::path::Path;
use std::thread;

const BATCH_SIZE: usize = 64;
const CLASSES: usize = 10;

fn ports(dims: &[usize]) -> [Port; 2] {
    let dims: Vec<_> = [None].into_iter().chain(dims.iter().map(|&dim| Some(dim))).collect();
    [Port::new("x", ElementType::F32, dims), Port::new("labels", ElementType::I64, [None])]
}

fn noise(index: usize) -> u8 {
    (index.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn arrays(samples: usize, shape: &[usize]) -> Dataset {
    let size: usize = shape.iter().product();
    let pixels = (0..samples * size).map(noise).collect();
    let whole = [samples].into_iter().chain(shape.iter().copied()).collect();
    let labels = (0..samples).map(|sample| (sample % CLASSES) as u8).collect();
    let samples_array = Array::new(whole, Values::U8(pixels)).expect("as many pixels as the shape says");
    let labels = Array::new(vec![samples], Values::U8(labels)).expect("a label a sample");
    Dataset::new(samples_array, labels).expect("a data set")
}

/// A folder with `count` JPEG files of photographs' size: smooth, with some noise.
fn photographs(folder: &Path, count: usize) -> Dataset {
    let class = folder.join("all");
    std::fs::create_dir(&class).expect("a folder");
    for number in 0..count {
        let image = RgbImage::from_fn(500, 375, |x, y| {
            let index = (y as usize * 500 + x as usize) * 3 + number;
            image::Rgb([x / 2, y / 2, (x + y) / 4].map(|base| (base as u8).wrapping_add(noise(index) % 16)))
        });
        image.save(class.join(format!("{number:03}.jpg"))).expect("the image is written");
    }
    Data::load(&DataSource::new(folder), 0).expect("a folder of images").train
}

fn loading(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder to write to");
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let with = |image| Augmentation { image, ..Augmentation::default() };
    let (grey, colour) = (arrays(4096, &[28, 28]), arrays(4096, &[3, 32, 32]));
    let photographs = photographs(folder.path(), 128);
    let cases = [
        ("arrays 28x28", &grey, [1, 28, 28], ImageAugmentation::None),
        ("arrays 3x32x32, basic", &colour, [3, 32, 32], ImageAugmentation::Basic),
        ("arrays 3x32x32, autoaugment", &colour, [3, 32, 32], ImageAugmentation::AutoAugment),
        ("jpeg 500x375 to 3x224x224", &photographs, [3, 224, 224], ImageAugmentation::None),
    ];
    let mut group = criterion.benchmark_group("loading");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (name, data, dims, image) in cases {
        group.throughput(Throughput::Elements(data.len() as u64));
        for workers in [1, cores] {
            let workers = NonZero::new(workers);
            let preparation = Preparation { augmentation: with(image), workers, ..Preparation::default() };
            let feed = Feed::new(data, &ports(&dims), &preparation, 0).expect("the data fit");
            let order = epoch_order(data.len(), 0, 0);
            group.bench_function(BenchmarkId::new(name, workers.map_or(1, NonZero::get)), |bencher| {
                bencher.iter(|| {
                    thread::scope(|scope| {
                        let batches = feed.load_epoch(scope, &order, BATCH_SIZE, 0, 0).expect("the workers start");
                        batches.for_each(|batch| drop(black_box(batch.expect("the batch is made"))));
                    });
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, loading);
criterion_main!(benches);
