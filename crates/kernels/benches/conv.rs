//! The speed of the gradients of convolutions, on layers of known networks: one line a layer, GFLOP/s in both layouts.
//!
//! `cargo bench -p gnp-kernels --bench conv -- [THREADS] [PART OF A NAME]`

use gnp_kernels::conv::{Conv, Layout, Window, grad_input, grad_weight};
use gnp_kernels::threads::Threads;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A layer: its name; batch, channels of x and y, size of x; kernel, stride, padding, group.
type Layer = (&'static str, [usize; 4], [i64; 4]);

/// Layers over three axes.
const VOLUMES: &[Layer] = &[
    ("3-D U-Net 32-64 3x3x3", [2, 32, 64, 24], [3, 1, 1, 1]),
    ("3-D ResNet 64-64 3x3x3", [2, 64, 64, 14], [3, 1, 1, 1]),
    ("3-D ResNet 64-128 3x3x3 /2", [2, 64, 128, 14], [3, 2, 1, 1]),
    ("3-D ResNet 64-128 1x1x1 /2", [2, 64, 128, 14], [1, 2, 0, 1]),
    ("X3D 54 3x3x3", [2, 54, 54, 14], [3, 1, 1, 54]),
];

/// Layers over two.
const LAYERS: &[Layer] = &[
    ("WRN-16-2 stem", [32, 3, 16, 32], [3, 1, 1, 1]),
    ("WRN-16-2 16-32", [32, 16, 32, 32], [3, 1, 1, 1]),
    ("WRN-16-2 32-32", [32, 32, 32, 32], [3, 1, 1, 1]),
    ("WRN-16-2 32-64 /2", [32, 32, 64, 32], [3, 2, 1, 1]),
    ("WRN-16-2 64-64", [32, 64, 64, 16], [3, 1, 1, 1]),
    ("WRN-16-2 64-128 /2", [32, 64, 128, 16], [3, 2, 1, 1]),
    ("WRN-16-2 128-128", [32, 128, 128, 8], [3, 1, 1, 1]),
    ("ResNet-18 stem 7x7 /2", [8, 3, 64, 128], [7, 2, 3, 1]),
    ("ResNet-18 64-64", [8, 64, 64, 56], [3, 1, 1, 1]),
    ("ResNet-18 128-128", [8, 128, 128, 28], [3, 1, 1, 1]),
    ("ResNet-18 256-256", [8, 256, 256, 14], [3, 1, 1, 1]),
    ("ResNet-18 512-512", [8, 512, 512, 7], [3, 1, 1, 1]),
    ("ResNet-18 64-64, 64 pixels", [32, 64, 64, 16], [3, 1, 1, 1]),
    ("ResNet-18 256-256, 64 pixels", [32, 256, 256, 4], [3, 1, 1, 1]),
    ("ResNet-18 512-512, 64 pixels", [32, 512, 512, 2], [3, 1, 1, 1]),
    ("ResNet-18 64-128 /2", [8, 64, 128, 56], [3, 2, 1, 1]),
    ("ResNet-18 64-128 1x1 /2", [8, 64, 128, 56], [1, 2, 0, 1]),
    ("MobileNetV3 16 3x3 /2", [8, 16, 16, 112], [3, 2, 1, 16]),
    ("MobileNetV3 88 3x3", [8, 88, 88, 28], [3, 1, 1, 88]),
    ("MobileNetV3 96 5x5 /2", [8, 96, 96, 28], [5, 2, 2, 96]),
    ("MobileNetV3 240 5x5", [8, 240, 240, 14], [5, 1, 2, 240]),
    ("MobileNetV3 16-72 1x1", [8, 16, 72, 56], [1, 1, 0, 1]),
    ("MobileNetV3 96-576 1x1", [8, 96, 576, 7], [1, 1, 0, 1]),
    ("ConvNeXt 96 7x7", [8, 96, 96, 14], [7, 1, 3, 96]),
    ("ConvNeXt 384 7x7", [8, 384, 384, 8], [7, 1, 3, 384]),
    ("ConvNeXt stem 4x4 /4", [4, 3, 96, 224], [4, 4, 0, 1]),
    ("ConvNeXt 96-192 2x2 /2", [8, 96, 192, 28], [2, 2, 0, 1]),
    ("ConvNeXt 160-640 1x1, 4 pixels", [32, 160, 640, 4], [1, 1, 0, 1]),
    ("ConvNeXt 640-160 1x1, 4 pixels", [32, 640, 160, 4], [1, 1, 0, 1]),
    ("ConvNeXt 160-40 1x1, 16 pixels", [32, 160, 48, 16], [1, 1, 0, 1]),
    ("ViT-Ti/4 patches", [32, 3, 192, 32], [4, 4, 0, 1]),
];

/// The least time of a call, over a quarter of a second.
fn seconds(mut call: impl FnMut() -> Result<(), gnp_base::Error>) -> Result<f64, gnp_base::Error> {
    call()?;
    let (start, mut least) = (Instant::now(), Duration::MAX);
    while start.elapsed() < Duration::from_millis(250) {
        let start = Instant::now();
        call()?;
        least = least.min(start.elapsed());
    }
    Ok(least.as_secs_f64())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let count = arguments.next().map_or(Ok(1), |count| count.parse())?;
    let name = arguments.next().unwrap_or_default();
    let pool = Pool::new(count);
    let block = if std::arch::is_x86_feature_detected!("avx512f") { 16 } else { 8 };
    println!("{count} threads; GFLOP/s        dw plain  blocked   dx plain  blocked");
    let all = LAYERS.iter().map(|layer| (layer, 2)).chain(VOLUMES.iter().map(|layer| (layer, 3)));
    for (&(layer, [batch, inputs, outputs, size], [kernel, stride, pad, group]), axes) in
        all.filter(|(layer, _)| layer.0.contains(&name))
    {
        let each = |number: i64| vec![number; axes];
        let window = Window::new(&each(kernel), &each(stride), &[], &vec![pad; 2 * axes], group)?;
        let conv = Conv::new(window, &[&[batch, inputs], &vec![size; axes][..]].concat(), outputs)?;
        let floats = |layout: Layout, shape: &[usize]| Floats::new(layout.shape(shape).iter().product());
        let operations = 2 * conv.y().iter().product::<usize>() * conv.w()[1..].iter().product::<usize>();
        let mut speeds = [[0.0; 2]; 2];
        for (nth, layout) in [Layout::Plain, Layout::Blocked(block)].into_iter().enumerate() {
            // Images come as they are, and no gradient of them is asked for.
            let x_layout = if inputs < block { Layout::Plain } else { layout };
            let (x, dy) = (floats(x_layout, &conv.x()), floats(layout, &conv.y()));
            let (mut w, mut dx) = (floats(Layout::Plain, &conv.w()), floats(x_layout, &conv.x()));
            let call = || grad_weight(&conv, (x.all(), x_layout), (dy.all(), layout), w.all_mut(), &pool);
            speeds[0][nth] = operations as f64 / seconds(call)? / 1e9;
            let call = || grad_input(&conv, (dy.all(), layout), w.all(), (dx.all_mut(), x_layout), &pool);
            speeds[1][nth] = operations as f64 / seconds(call)? / 1e9;
        }
        let [dw, dx] = speeds;
        println!("{layer:27} {:7.1}  {:7.1}    {:7.1}  {:7.1}", dw[0], dw[1], dx[0], dx[1]);
    }
    Ok(())
}

/// Numbers that begin where a cache line does, as an engine's tensors do.
struct Floats {
    numbers: Vec<f32>,
    count: usize,
}

impl Floats {
    fn new(count: usize) -> Self {
        Self { numbers: (0..count + 16).map(|i| ((i % 31) as f32 - 15.0) / 16.0).collect(), count }
    }

    fn all(&self) -> &[f32] {
        &self.numbers[self.numbers.as_ptr().align_offset(64)..][..self.count]
    }

    fn all_mut(&mut self) -> &mut [f32] {
        let start = self.numbers.as_ptr().align_offset(64);
        &mut self.numbers[start..][..self.count]
    }
}

/// Threads that wait for work, as an engine's do.
struct Pool {
    workers: Vec<std::thread::JoinHandle<()>>,
    work: Arc<Work>,
}

/// What the threads do next.
#[derive(Default)]
struct Work {
    /// The task, for as long as `Pool::run` has not returned.
    task: Mutex<Option<&'static (dyn Fn(usize) + Sync)>>,
    tasks: AtomicUsize,
    next: AtomicUsize,
    /// How often there was work, and how many threads are at it.
    round: AtomicUsize,
    busy: AtomicUsize,
}

impl Work {
    fn take(&self, task: &(dyn Fn(usize) + Sync)) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if at >= self.tasks.load(Ordering::Relaxed) {
                return;
            }
            task(at);
        }
    }

    fn serve(&self) {
        let mut round = 0;
        loop {
            let mut waited = 0;
            while self.round.load(Ordering::Acquire) == round {
                waited += 1;
                if waited < 10_000 { std::hint::spin_loop() } else { std::thread::park() }
            }
            round += 1;
            let task = *self.task.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(task) = task else { return };
            self.take(task);
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }
}

impl Pool {
    fn new(count: usize) -> Self {
        let work = Arc::new(Work::default());
        let worker = |_| {
            let work = work.clone();
            std::thread::spawn(move || work.serve())
        };
        Self { workers: (1..count).map(worker).collect(), work: work.clone() }
    }

    fn begin(&self, task: Option<&'static (dyn Fn(usize) + Sync)>) {
        *self.work.task.lock().unwrap_or_else(PoisonError::into_inner) = task;
        self.work.busy.store(self.workers.len(), Ordering::Relaxed);
        self.work.round.fetch_add(1, Ordering::Release);
        self.workers.iter().for_each(|worker| worker.thread().unpark());
    }
}

impl Threads for Pool {
    fn count(&self) -> usize {
        self.workers.len() + 1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.work.next.store(0, Ordering::Relaxed);
        self.work.tasks.store(tasks, Ordering::Relaxed);
        if tasks > 1 {
            // SAFETY: nobody has the task any more when this function returns: it waits until no thread is busy.
            self.begin(Some(unsafe {
                std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task)
            }));
        }
        self.work.take(task);
        while self.work.busy.load(Ordering::Acquire) > 0 {
            std::hint::spin_loop();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.begin(None);
        for worker in self.workers.drain(..) {
            // A thread that has panicked has said so.
            worker.join().ok();
        }
    }
}
