//! Batches made ahead of their use, by threads.

use super::Feed;
use gnp_base::{Error, Result};
use gnp_tensor::Tensor;
use std::iter::Skip;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice::Chunks;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

/// Finished batches that wait for each worker; it makes one more meanwhile.
const LOOK_AHEAD: usize = 1;

/// A batch, ready for the engine.
#[derive(Debug)]
pub struct Batch<'r> {
    /// The numbers of its samples.
    pub rows: &'r [usize],
    /// One tensor a port.
    pub tensors: Vec<Tensor>,
    /// How long the batch was waited for.
    pub waited: Duration,
}

/// The batches of an order, in that order.
///
/// Worker k of n makes the batches k, k + n, …, and the workers are asked in turn: what comes out does not depend on
/// how many there are. They end when all batches are made or the loader is dropped.
#[derive(Debug)]
pub struct Loader<'r> {
    rows: Skip<Chunks<'r, usize>>,
    /// Of the workers; the first has the next batch.
    batches: Vec<Receiver<Result<Vec<Tensor>>>>,
    next: usize,
}

impl Feed<'_> {
    /// The batches of `size` samples of epoch `epoch` (from 0) in the order `order`, augmented
    /// ([`Feed::augmented_batch`]), without the first `skip`, which are not made.
    ///
    /// ```
    /// use gnp_tensor::{Port, ElementType};
    /// use gnp_data::{Preparation, epoch_order, Data, DataSource, Feed};
    /// # let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/digits.npz");
    /// let data = Data::load(&DataSource::new(digits), 0)?;
    /// let samples = Port::new("x", ElementType::F32, [None, Some(64)]);
    /// let labels = Port::new("labels", ElementType::I64, [None]);
    /// let feed = Feed::new(&data.train, &[samples, labels], &Preparation::divide(16.0), 5)?;
    /// let order = epoch_order(data.train.len(), 0, 0);
    /// std::thread::scope(|scope| {
    ///     for batch in feed.load_epoch(scope, &order, 100, 0, 7)? {
    ///         assert_eq!(batch?.tensors[0].shape(), [100, 64]);
    ///     }
    ///     Ok::<_, gnp_base::Error>(())
    /// })?;
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the batch size does not fit the graph, or a thread cannot be started. The loader's items are errors where
    /// a batch cannot be made; it ends behind the first.
    pub fn load_epoch<'scope, 'env: 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        order: &'env [usize],
        size: usize,
        epoch: u64,
        skip: usize,
    ) -> Result<Loader<'env>> {
        let batches = self.batches(order, size)?;
        Loader::start(scope, batches, self.workers(), skip, move |rows, number| {
            self.augmented_batch(rows, epoch, number)
        })
    }

    /// The batches of `size` samples in the order `order`, not augmented ([`Feed::batch`]).
    ///
    /// # Errors
    /// As [`Feed::load_epoch`].
    pub fn load<'scope, 'env: 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        order: &'env [usize],
        size: usize,
    ) -> Result<Loader<'env>> {
        let batches = self.batches(order, size)?;
        Loader::start(scope, batches, self.workers(), 0, move |rows, _| self.batch(rows))
    }
}

impl<'r> Loader<'r> {
    fn start<'scope, 'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        rows: Chunks<'r, usize>,
        workers: usize,
        skip: usize,
        make: impl Fn(&[usize], usize) -> Result<Vec<Tensor>> + Copy + Send + 'scope,
    ) -> Result<Self>
    where
        'r: 'scope,
    {
        let workers = workers.min(rows.len().saturating_sub(skip));
        let mut batches = Vec::with_capacity(workers);
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(LOOK_AHEAD);
            let mine = rows.clone().enumerate().skip(skip + worker).step_by(workers);
            let work = move || {
                for (number, rows) in mine {
                    let batch = catch_unwind(AssertUnwindSafe(|| make(rows, number)))
                        .unwrap_or_else(|_| Err(Error::internal(format!("making batch {number} of an epoch failed"))));
                    let is_last = batch.is_err();
                    // Nobody waits for it where the loader is dropped.
                    if sender.send(batch).is_err() || is_last {
                        break;
                    }
                }
            };
            Builder::new()
                .name(format!("data {worker}"))
                .spawn_scoped(scope, work)
                .map_err(|error| Error::os(format!("cannot start a thread that loads data: {error}"), &error))?;
            batches.push(receiver);
        }
        Ok(Self { rows: rows.skip(skip), batches, next: 0 })
    }
}

impl<'r> Iterator for Loader<'r> {
    type Item = Result<Batch<'r>>;

    fn next(&mut self) -> Option<Self::Item> {
        let worker = self.batches.get(self.next)?;
        let rows = self.rows.next()?;
        let began = Instant::now();
        let tensors = worker.recv().unwrap_or_else(|_| Err(Error::internal("a thread that loads data ended early")));
        self.next = (self.next + 1) % self.batches.len();
        if tensors.is_err() {
            self.batches.clear();
        }
        Some(tensors.map(|tensors| Batch { rows, tensors, waited: began.elapsed() }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Array, Dataset, ImageFiles, Preparation, Values, epoch_order};
    use super::*;
    use crate::augment::{Augmentation, ImageAugmentation};
    use gnp_tensor::{ElementType, Port};
    use std::num::NonZero;
    use std::path::Path;
    use std::thread;

    const SAMPLES: usize = 23;

    fn images() -> Dataset {
        let pixels = (0..SAMPLES * 3 * 8 * 8).map(|i| (i * 7919 % 251) as u8).collect();
        let samples = Array::new(vec![SAMPLES, 3, 8, 8], Values::U8(pixels)).unwrap();
        let labels = (0..SAMPLES as i64).map(|sample| sample % 4).collect();
        Dataset::new(samples, Array::new(vec![SAMPLES], Values::I64(labels)).unwrap()).unwrap()
    }

    fn ports() -> [Port; 2] {
        let port = |name: &str, dims: &[Option<usize>]| Port::new(name, ElementType::F32, dims);
        [port("x", &[None, Some(3), Some(8), Some(8)]), port("labels", &[None, Some(4)])]
    }

    fn feed(data: &Dataset, workers: usize) -> Feed<'_> {
        let augmentation = Augmentation {
            image: ImageAugmentation::Basic,
            crop_padding: 2,
            cutout: Some(3),
            mixup: Some(0.4),
            cutmix: Some(1.0),
        };
        let preparation = Preparation { augmentation, workers: NonZero::new(workers), ..Preparation::default() };
        Feed::new(data, &ports(), &preparation, 5).unwrap()
    }

    /// The tensors of an epoch's batches of five, without the first `skip`.
    fn epoch(feed: &Feed<'_>, epoch: u64, skip: usize) -> Vec<Vec<Tensor>> {
        let order = epoch_order(SAMPLES, 9, epoch);
        thread::scope(|scope| {
            let loader = feed.load_epoch(scope, &order, 5, epoch, skip).unwrap();
            let batches: Vec<_> = loader.map(|batch| batch.unwrap()).collect();
            assert!(batches.iter().map(|batch| batch.rows).eq(order.chunks(5).skip(skip)));
            batches.into_iter().map(|batch| batch.tensors).collect()
        })
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_workers() {
        let data = images();
        let one = epoch(&feed(&data, 1), 3, 0);
        assert_eq!(one.len(), 5);
        assert_eq!(one[4][0].shape(), [3, 3, 8, 8]);
        for workers in [2, 5, 50] {
            assert_eq!(epoch(&feed(&data, workers), 3, 0), one, "{workers} workers");
        }
        assert_ne!(epoch(&feed(&data, 1), 4, 0), one);
    }

    #[test]
    fn an_epoch_that_begins_in_the_middle_goes_on_alike() {
        let data = images();
        let whole = epoch(&feed(&data, 1), 2, 0);
        for workers in [1, 2, 5] {
            for skip in 0..=6 {
                assert_eq!(epoch(&feed(&data, workers), 2, skip), whole[skip.min(5)..], "{skip} skipped");
            }
        }
    }

    #[test]
    fn a_loader_may_be_dropped_early() {
        let data = images();
        let feed = feed(&data, 3);
        let order: Vec<usize> = (0..SAMPLES).collect();
        let first = thread::scope(|scope| feed.load(scope, &order, 1).unwrap().next().unwrap().unwrap().tensors);
        assert_eq!(first, feed.batch(&[0]).unwrap());
    }

    #[test]
    fn batches_that_are_skipped_are_not_made() {
        let rows: Vec<usize> = (0..10).collect();
        let found: Vec<_> = thread::scope(|scope| {
            let make = |_: &[usize], number| {
                assert!(number >= 3);
                Ok(vec![Tensor::scalar(number as f32)])
            };
            let loader = Loader::start(scope, rows.chunks(2), 2, 3, make).unwrap();
            loader.map(|batch| batch.unwrap().tensors[0].to_scalar().unwrap()).collect()
        });
        assert_eq!(found, [3.0, 4.0]);
    }

    #[test]
    fn errors_and_panics_of_workers_are_errors_and_the_end() {
        let rows: Vec<usize> = (0..9).collect();
        for (faulty, says) in [(4, "no such image"), (5, "making batch 5 of an epoch failed")] {
            let items: Vec<_> = thread::scope(|scope| {
                let make = move |_: &[usize], number| match number {
                    4 if faulty == 4 => Err(Error::input("no such image")),
                    5 if faulty == 5 => panic!("on purpose"),
                    _ => Ok(Vec::new()),
                };
                Loader::start(scope, rows.chunks(1), 2, 0, make)
                    .unwrap()
                    .map(|batch| batch.map(|batch| batch.rows))
                    .collect()
            });
            assert_eq!(items.len(), faulty + 1);
            assert_eq!(items[faulty].as_ref().unwrap_err().to_string(), says);
        }
    }

    /// A folder with an image of 8 × 8 pixels in each of two classes.
    fn image_folder(root: &Path) -> Dataset {
        for (class, value) in [("cat", 10), ("dog", 250)] {
            std::fs::create_dir(root.join(class)).unwrap();
            image::RgbImage::from_pixel(8, 8, image::Rgb([value; 3])).save(root.join(class).join("1.png")).unwrap();
        }
        let options = super::super::DataSource::new(root);
        super::super::Data::load(&options, 0).unwrap().train
    }

    #[test]
    fn an_image_that_vanishes_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = image_folder(folder.path());
        let super::super::Samples::Images(files) = data.samples() else { panic!("no images") };
        let dog: std::path::PathBuf = ImageFiles::path(files, 1);
        let feed = feed(&data, 2);
        let order = [0, 1];
        let last = || {
            thread::scope(|scope| {
                let items: Vec<_> =
                    feed.load(scope, &order, 1).unwrap().map(|batch| batch.map(|batch| batch.tensors)).collect();
                items.into_iter().next_back().unwrap()
            })
        };
        let whole = last().unwrap();
        assert!((whole[0].as_f32().unwrap()[[0, 2, 7, 7]] - 250.0 / 255.0).abs() < 1e-6);
        assert_eq!(whole[1].as_f32().unwrap().iter().copied().collect::<Vec<_>>(), [0.0, 1.0, 0.0, 0.0]);
        std::fs::write(&dog, &std::fs::read(&dog).unwrap()[..60]).unwrap();
        let damaged = last().unwrap_err();
        assert!(damaged.to_string().contains("1.png: the image cannot be decoded"), "{damaged}");
        std::fs::remove_file(&dog).unwrap();
        let vanished = last().unwrap_err();
        assert!(vanished.to_string().contains("1.png: cannot read the image"), "{vanished}");
        assert_eq!(vanished.exit_code(), 2);
    }
}
