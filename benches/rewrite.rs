//! What a rewrite costs as graphs grow: from file to file, and in memory alone.

mod synthetic;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use gnp::emit::artifact::{Inside, Settings, penalise};
use gnp::loss::LossKind;
use gnp::objective::Artifact;
use gnp::onnx::{self, ExternalData, WriteOptions};
use gnp::rewrite::{Options, StepOptions, rewrite, rewrite_forward};
use synthetic::forward;

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
                |model| {
                    penalise(model, &artifact, &Settings::default(), &Inside::default())
                        .expect("the model is penalised")
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Forward models into step models, from file to file.
fn steps(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder to write to");
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    let models = [
        ("20,000 nodes", forward::with_nodes(20_000)),
        ("1.5 billion parameters", forward::with_parameters(1_500_000_000, folder.path())),
    ];
    let loss = LossKind::Mse.into();
    let options = StepOptions { loss, ..StepOptions::default() };
    let write = WriteOptions { force: true, external_data: ExternalData::Keep, ..WriteOptions::default() };
    for (name, model) in models {
        let (input, output) = (folder.path().join("model.onnx"), folder.path().join("step.onnx"));
        onnx::write(model.expect("a model"), &input, &write).expect("the model is written");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let model = onnx::read(&input).expect("it is a model");
                rewrite_forward(model, &output, &options, &write, false, &mut |_| {}).expect("the model is rewritten")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rewrites, steps);
criterion_main!(benches);
