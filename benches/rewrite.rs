//! What a rewrite costs as graphs grow: from file to file, and in memory alone.

mod synthetic;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use gnp::emit::artifact::{Settings, penalise};
use gnp::objective::Artifact;
use gnp::onnx::{self, WriteOptions};
use gnp::rewrite::{Options, rewrite};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc; // as in gnp-rewrite

const NODES: [usize; 2] = [10_000, 100_000];

fn rewrites(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder to write to");
    let mut group = criterion.benchmark_group("rewrite");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for nodes in NODES {
        let (input, output) = (folder.path().join(format!("{nodes}.onnx")), folder.path().join("out.onnx"));
        let model = synthetic::artifact(nodes, 0).expect("a model");
        onnx::write(model.clone(), &input, &WriteOptions::default()).expect("the model is written");
        group.throughput(Throughput::Elements(nodes as u64));
        group.bench_function(BenchmarkId::new("file to file", nodes), |bencher| {
            let options = Options { force: true, ..Options::default() };
            bencher.iter(|| rewrite(&input, &output, &options).expect("the model is rewritten"));
        });
        group.bench_function(BenchmarkId::new("in memory", nodes), |bencher| {
            let artifact = Artifact::recognise(&model).expect("it is a training model");
            bencher.iter_batched_ref(
                || model.clone(),
                |model| penalise(model, &artifact, &Settings::default()).expect("the model is penalised"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, rewrites);
criterion_main!(benches);
