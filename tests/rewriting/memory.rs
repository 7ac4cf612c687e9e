//! Steps that need less memory: batches in parts, activations that are computed again.
use crate::support::forward::{self, append, graph, info, node, perceptron, weight};
use crate::support::step::{self, batch, difference};

use gnp::accumulate::{Accumulate, PerturbPer};
use gnp::engine::{Engine as _, EngineOptions, Layout, Ort, Rates, State, StepEngine, Tract, runtime};
use gnp::loss::{LossKind, Wanted, WantedTerm};
use gnp::onnx::proto::ModelProto;
use gnp::onnx::{DataType, Model, WriteOptions};
use gnp::rewrite::{StepOptions, make_step};
use gnp::tensor::Tensor;
use gnp::transform::{Optimizer, OptimizerKind};
use ndarray::{ArrayD, Axis, Slice};
use std::num::NonZero;
use std::path::Path;

fn ort(forward: &Model, options: &StepOptions, folder: &Path) -> Ort {
    let step = written(forward, options, folder);
    let runtime = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    Ort::load(&runtime, &step, None, &EngineOptions::default()).unwrap()
}

fn written(forward: &Model, options: &StepOptions, folder: &Path) -> Model {
    let path = folder.join("step.onnx");
    let write = WriteOptions { force: true, ..WriteOptions::default() };
    gnp::onnx::write(make_step(forward.clone(), options).unwrap().0, &path, &write).unwrap();
    step::read(&path)
}

fn read(model: &ModelProto, folder: &Path) -> Model {
    gnp::onnx::read(forward::write(model, &folder.join("model.onnx"))).unwrap()
}

fn in_parts(parts: u32, perturb_per: PerturbPer) -> Option<Accumulate> {
    Some(Accumulate { parts: NonZero::new(parts).unwrap(), perturb_per })
}

fn options(loss: Wanted) -> StepOptions {
    let optimizer = Optimizer { kind: OptimizerKind::Sgd, ..Optimizer::default() };
    StepOptions { loss, optimizer, ..StepOptions::default() }
}

fn cross_entropy() -> Wanted {
    Wanted { loss: Some(LossKind::CrossEntropy), ..Wanted::default() }
}

/// What steps of batches of several sizes return, and the state after them.
fn steps(engine: &mut dyn StepEngine, batches: &[Vec<Tensor>], r: f32) -> (Vec<Vec<Tensor>>, State) {
    let rates = Rates { r: Some(r), ..Rates::new(0.3) };
    let returned = batches.iter().map(|batch| engine.step(batch, &rates).unwrap()).collect();
    (returned, engine.state().unwrap())
}

/// How far apart two tensors are, in parts of the largest number, or of 1 where none is larger.
fn apart(a: &Tensor, b: &Tensor) -> f64 {
    let largest = a.as_f32().map_or(1.0, |a| a.iter().fold(1f32, |most, x| most.max(x.abs())));
    difference(a, b) / f64::from(largest)
}

#[track_caller]
fn assert_same((a, after_a): &(Vec<Vec<Tensor>>, State), (b, after_b): &(Vec<Vec<Tensor>>, State), within: f64) {
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert_eq!(a.shape(), b.shape());
        assert!(apart(a, b) < within, "{a:?}, {b:?}");
    }
    for (name, tensor) in after_a.iter() {
        let apart = apart(tensor, after_b.get(name).unwrap());
        assert!(apart < within, "{name} is {apart} apart");
    }
}

/// Rows `from` to `to` of a batch.
fn rows(batch: &[Tensor], from: isize, to: isize) -> Vec<Tensor> {
    let slice = Slice::new(from, Some(to), 1);
    let of = |tensor: &Tensor| match tensor {
        Tensor::F32(array) => Tensor::F32(array.slice_axis(Axis(0), slice).to_owned()),
        Tensor::I64(array) => Tensor::I64(array.slice_axis(Axis(0), slice).to_owned()),
        Tensor::I32(array) => Tensor::I32(array.slice_axis(Axis(0), slice).to_owned()),
    };
    batch.iter().map(of).collect()
}

/// The batch with every third label not to be counted, all of the first rows among them.
fn with_ignored(batch: Vec<Tensor>) -> Vec<Tensor> {
    let [x, Tensor::I64(mut labels)] = <[Tensor; 2]>::try_from(batch).unwrap() else { panic!("labels are classes") };
    labels.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0 || *i < 4).for_each(|(_, label)| *label = -100);
    vec![x, Tensor::I64(labels)]
}

#[test]
fn a_batch_in_parts_is_the_batch() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&perceptron(), folder.path());
    let weighted = Wanted { class_weights: vec![1.0, 3.0, 0.5], label_smoothing: 0.1, ..cross_entropy() };
    // The last are fewer than there are parts.
    let sizes = [32, 13, 8, 3];
    for loss in [cross_entropy(), weighted] {
        let batches: Vec<_> = sizes.iter().enumerate().map(|(i, &size)| with_ignored(batch(size, i))).collect();
        for r in [0.0, 0.2] {
            for l2 in [0.0, 0.1] {
                let whole = StepOptions { l2, ..options(loss.clone()) };
                let parted = StepOptions { accumulate: in_parts(4, PerturbPer::Batch), ..whole.clone() };
                let whole = steps(&mut ort(&forward, &whole, folder.path()), &batches, r);
                let parted = steps(&mut ort(&forward, &parted, folder.path()), &batches, r);
                assert_same(&whole, &parted, 1e-6);
            }
        }
    }
}

/// The perceptron with a second output beside its logits.
fn two_headed() -> ModelProto {
    let mut model = perceptron();
    graph(&mut model).initializer.push(weight("head.weight", &[8, 2]));
    append(&mut model, node("MatMul", &["hidden", "head.weight"], "score"), info("score", DataType::Float, "batch,2"));
    graph(&mut model).output.insert(0, info("logits", DataType::Float, "batch,3"));
    model
}

/// Each loss is a mean by a weight of its own: of the first, class weights of the labels that count, which are fewer in
/// some parts than in others, and none in the first; of the second, labels that count or samples.
#[test]
fn several_losses_in_parts_are_those_of_the_batch() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&two_headed(), folder.path());
    let term = |value: &str, loss, weight| WantedTerm { value: value.into(), loss: Some(loss), weight };
    let targets = |size: usize, number: usize, is_class: bool| match is_class {
        true => {
            let class = |i: usize| if (i * 7 + number) % 5 < 2 { -100 } else { ((i + number) % 2) as i64 };
            Tensor::I64(ArrayD::from_shape_vec(vec![size], (0..size).map(class).collect()).unwrap())
        }
        false => {
            let number = |i: usize| ((i * 37 + number) % 11) as f32 / 11.0;
            Tensor::F32(ArrayD::from_shape_vec(vec![size, 2], (0..2 * size).map(number).collect()).unwrap())
        }
    };
    for (second, is_class) in [(LossKind::CrossEntropy, true), (LossKind::Mse, false)] {
        let several = vec![term("logits", LossKind::CrossEntropy, 1.0), term("score", second, 0.3)];
        let whole = StepOptions { l2: 0.1, ..options(Wanted { several, ..Wanted::default() }) };
        let parted = StepOptions { accumulate: in_parts(4, PerturbPer::Batch), ..whole.clone() };
        let batches: Vec<_> = [32, 13, 3]
            .into_iter()
            .enumerate()
            .map(|(i, size)| [with_ignored(batch(size, i)), vec![targets(size, i, is_class)]].concat())
            .collect();
        for r in [0.0, 0.2] {
            let whole = steps(&mut ort(&forward, &whole, folder.path()), &batches, r);
            let parted = steps(&mut ort(&forward, &parted, folder.path()), &batches, r);
            assert_same(&whole, &parted, 1e-6);
        }
    }
}

/// With perturbations of their own too, parts are parts of the batch: each takes its share of every loss.
#[test]
fn parts_of_several_losses_may_have_perturbations_of_their_own() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&two_headed(), folder.path());
    let term = |value: &str, weight| WantedTerm { value: value.into(), loss: Some(LossKind::CrossEntropy), weight };
    let several = vec![term("logits", 1.0), term("score", 0.3)];
    let whole = options(Wanted { several, ..Wanted::default() });
    let parted = StepOptions { accumulate: in_parts(2, PerturbPer::Micro), ..whole.clone() };
    let [x, labels] = <[Tensor; 2]>::try_from(batch(16, 3)).unwrap();
    // The second loss has labels in the second half alone: the first half is one of the first loss.
    let second = |i: i64| if i < 8 { -100 } else { i % 2 };
    let second = Tensor::I64(ArrayD::from_shape_vec(vec![16], (0..16).map(second).collect()).unwrap());
    let batch = vec![x, labels, second];
    let stepped = |options: &StepOptions, r| {
        let (returned, after) = steps(&mut ort(&forward, options, folder.path()), std::slice::from_ref(&batch), r);
        (returned[0][0].clone(), after)
    };
    // Without a perturbation it is the batch.
    let ((loss, whole), (in_parts, after)) = (stepped(&whole, 0.0), stepped(&parted, 0.0));
    assert_same(&(vec![vec![loss]], whole), &(vec![vec![in_parts]], after), 1e-6);
    // Both halves have half of the first loss; the second has all of the other: twice 0.3 beside a half.
    let halves = [(0, 8, 1.0, 1e-30), (8, 16, 1.0, 0.6)].map(|(from, to, first, second)| {
        let several = vec![term("logits", first), term("score", second)];
        let half = options(Wanted { several, ..Wanted::default() });
        let mut engine = ort(&forward, &half, folder.path());
        steps(&mut engine, &[rows(&batch, from, to)], 0.3).1
    });
    let (_, after) = stepped(&parted, 0.3);
    for (name, tensor) in after.iter() {
        let [a, b] = halves.each_ref().map(|state| state.get(name).unwrap().as_f32().unwrap());
        let mean = Tensor::F32((&a + &b) / 2.0);
        assert!(difference(tensor, &mean) < 1e-6, "{name}");
    }
}

/// A part of which no label counts, of a batch of which none does: what does not depend on labels is what it is.
#[test]
fn nothing_that_counts_leaves_the_regularisation() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&perceptron(), folder.path());
    let whole = StepOptions { l2: 0.1, ..options(cross_entropy()) };
    let parted = StepOptions { accumulate: in_parts(4, PerturbPer::Batch), ..whole.clone() };
    let [x, _] = <[Tensor; 2]>::try_from(batch(8, 0)).unwrap();
    let batch = vec![x, Tensor::I64(ArrayD::from_elem(vec![8], -100))];
    let [whole, parted] = [whole, parted]
        .map(|options| steps(&mut ort(&forward, &options, folder.path()), std::slice::from_ref(&batch), 0.2));
    assert!(whole.0[0][0].to_scalar().unwrap() > 0.0);
    assert_same(&whole, &parted, 1e-6);
}

#[test]
fn losses_without_counts_are_means_over_samples() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&perceptron(), folder.path());
    let targets = |count: usize, number: usize| {
        let [x, _] = <[Tensor; 2]>::try_from(batch(count, number)).unwrap();
        let value = |i: usize| ((i * 37 + number) % 11) as f32 / 11.0;
        vec![x, Tensor::F32(ArrayD::from_shape_vec(vec![count, 3], (0..3 * count).map(value).collect()).unwrap())]
    };
    let batches = [targets(16, 0), targets(7, 1)];
    for kind in [LossKind::Mse, LossKind::Bce, LossKind::SoftCrossEntropy] {
        let whole = options(Wanted { loss: Some(kind), ..Wanted::default() });
        let parted = StepOptions { accumulate: in_parts(3, PerturbPer::Batch), ..whole.clone() };
        let whole = steps(&mut ort(&forward, &whole, folder.path()), &batches, 0.1);
        let parted = steps(&mut ort(&forward, &parted, folder.path()), &batches, 0.1);
        assert_same(&whole, &parted, 1e-6);
    }
}

/// Each half of the batch by itself, with the penalty of its own: what they move the parameters by is the mean.
#[test]
fn parts_may_have_perturbations_of_their_own() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&perceptron(), folder.path());
    let single = options(cross_entropy());
    let parted = StepOptions { accumulate: in_parts(2, PerturbPer::Micro), ..single.clone() };
    let batch = batch(16, 3);
    for r in [0.0, 0.3] {
        let mut single = ort(&forward, &single, folder.path());
        let begin = single.state().unwrap();
        let halves = [rows(&batch, 0, 8), rows(&batch, 8, 16)].map(|half| {
            single.set_state(&begin).unwrap();
            steps(&mut single, &[half], r)
        });
        let (returned, after) = steps(&mut ort(&forward, &parted, folder.path()), std::slice::from_ref(&batch), r);
        for (name, tensor) in after.iter() {
            let [a, b] = halves.each_ref().map(|(_, state)| state.get(name).unwrap().as_f32().unwrap());
            let mean = Tensor::F32((&a + &b) / 2.0);
            assert!(difference(tensor, &mean) < 1e-6, "{name}");
        }
        let [a, b] = halves.each_ref().map(|(returned, _)| returned[0][0].to_scalar().unwrap());
        assert!((returned[0][0].to_scalar().unwrap() - (a + b) / 2.0).abs() < 1e-6);
    }
}

/// The running statistics are those of steps with each part, one after the other.
#[test]
fn running_statistics_follow_the_parts() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut model = perceptron();
    for name in ["scale", "bias", "mean", "var"] {
        graph(&mut model).initializer.push(weight(&format!("bn.{name}"), &[3]));
    }
    let inputs = ["logits", "bn.scale", "bn.bias", "bn.mean", "bn.var"];
    append(&mut model, node("BatchNormalization", &inputs, "y"), info("y", DataType::Float, "batch,3"));
    let forward = read(&model, folder.path());
    let single = options(cross_entropy());
    let batch = batch(12, 3);
    let still = Rates { r: Some(0.1), ..Rates::new(0.0) };
    let mut one = ort(&forward, &single, folder.path());
    (0..3).for_each(|i| _ = one.step(&rows(&batch, 4 * i, 4 * i + 4), &still).unwrap());
    let parted = StepOptions { accumulate: in_parts(3, PerturbPer::Batch), ..single };
    let mut parted = ort(&forward, &parted, folder.path());
    parted.step(&batch, &still).unwrap();
    let (one, parted) = (one.state().unwrap(), parted.state().unwrap());
    for name in ["bn.mean", "bn.var"] {
        assert!(difference(one.get(name).unwrap(), parted.get(name).unwrap()) < 1e-6, "{name}");
    }
}

/// Parts of equal samples drop others, and both passes of a part the same.
#[test]
fn parts_draw_by_themselves() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mut model = perceptron();
    graph(&mut model).node.insert(0, node("Dropout", &["x"], "dropped"));
    graph(&mut model).node[1].input[0] = "dropped".into();
    let forward = read(&model, folder.path());
    let parted = StepOptions { accumulate: in_parts(2, PerturbPer::Batch), ..options(cross_entropy()) };
    let half = batch(8, 1);
    let both = |(a, b): (&Tensor, &Tensor)| match (a, b) {
        (Tensor::F32(a), Tensor::F32(b)) => Tensor::F32(ndarray::concatenate![Axis(0), *a, *b]),
        (Tensor::I64(a), Tensor::I64(b)) => Tensor::I64(ndarray::concatenate![Axis(0), *a, *b]),
        _ => panic!("floats and classes"),
    };
    let twice: Vec<Tensor> = half.iter().zip(&half).map(both).collect();
    let (returned, _) = steps(&mut ort(&forward, &parted, folder.path()), std::slice::from_ref(&twice), 0.1);
    let logits = returned[0].last().unwrap().as_f32().unwrap();
    let [first, second] = [0, 8].map(|begin| logits.slice_axis(Axis(0), Slice::new(begin, Some(begin + 8), 1)));
    assert_ne!(first, second);
    let again = steps(&mut ort(&forward, &parted, folder.path()), &[twice], 0.1);
    assert_eq!(again.0, returned);
    // Without a perturbation both passes are one.
    let mut engine = ort(&forward, &parted, folder.path());
    let rates = Rates { r: Some(1e-20), ..Rates::new(0.1) };
    let returned = engine.step(&half, &rates).unwrap();
    let name = |wanted: &str| engine.step_outputs().iter().position(|name| name == wanted).unwrap();
    let (here, there) = (&returned[name("loss")], &returned[name("gnp.loss_perturbed")]);
    assert!(difference(here, there) < 1e-6, "{here:?} {there:?}");
}

/// What is done to convolutions when a step is loaded is done in the loop too.
#[test]
fn images_lie_in_blocks_in_parts_too() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = step::read(&crate::support::models().join("cnn/model.onnx"));
    let parted = StepOptions { accumulate: in_parts(3, PerturbPer::Batch), ..options(cross_entropy()) };
    let step = written(&forward, &parted, folder.path());
    let batches = [images(8, 28), images(5, 28)];
    let runtime = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    let [plain, blocks] = [Layout::Plain, Layout::Auto].map(|layout| {
        let options = EngineOptions { layout, ..EngineOptions::default() };
        steps(&mut Ort::load(&runtime, &step, None, &options).unwrap(), &batches, 0.1)
    });
    assert_same(&plain, &blocks, 1e-5);
}

/// Images of so many pixels a side, and their classes.
fn images(count: usize, side: usize) -> Vec<Tensor> {
    let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.5 - 1.0;
    let pixels = (0..side * side * count).map(value).collect();
    let labels = (0..count as i64).map(|i| i % 10).collect();
    vec![
        Tensor::F32(ArrayD::from_shape_vec(vec![count, 1, side, side], pixels).unwrap()),
        Tensor::I64(ArrayD::from_shape_vec(vec![count], labels).unwrap()),
    ]
}

#[test]
fn what_is_computed_again_is_the_same() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let forward = step::read(&crate::support::models().join("vit/model.onnx"));
    let kept = options(cross_entropy());
    let again = StepOptions { recompute: true, ..kept.clone() };
    let both = StepOptions { accumulate: in_parts(3, PerturbPer::Batch), ..again.clone() };
    let batches = [images(6, 8), images(4, 8)];
    let model = written(&forward, &again, folder.path());
    let copies =
        |model: &Model| model.graph.node.iter().filter(|node| node.name().starts_with("gnp/recomputed")).count();
    assert!(copies(&model) > 10);
    let tract = steps(&mut Tract::load(&model, None, &EngineOptions::default()).unwrap(), &batches, 0.1);
    let kept = steps(&mut ort(&forward, &kept, folder.path()), &batches, 0.1);
    for other in [again, both] {
        assert_same(&kept, &steps(&mut ort(&forward, &other, folder.path()), &batches, 0.1), 2e-6);
    }
    assert_same(&kept, &tract, 1e-5);
}

#[test]
fn tract_says_that_it_has_no_loops() {
    let folder = tempfile::tempdir().unwrap();
    let forward = read(&perceptron(), folder.path());
    let parted = StepOptions { accumulate: in_parts(2, PerturbPer::Batch), ..options(cross_entropy()) };
    let step = written(&forward, &parted, folder.path());
    let error = Tract::load(&step, None, &EngineOptions::default()).err().unwrap();
    assert!(error.to_string().contains("tract has no loops"), "{error}");
}
