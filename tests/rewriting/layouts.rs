//! Images in blocks of channels, and gnp's own kernels, beside the step as its file says.
use crate::support::forward::{append, empty, graph, info, node, with, write};
use gnp::engine::runtime::{self, Runtime};
use gnp::engine::{Engine as _, EngineOptions, Kernels, Layout, Ort, Rates, StepEngine as _, StepModel};
use gnp::loss::LossKind;
use gnp::onnx::DataType;
use gnp::onnx::proto::{AttributeProto, ModelProto, NodeProto, TensorProto};
use gnp::rewrite::{StepConfig, StepOptions, make_evaluation, make_step};
use gnp::tensor::Tensor;
use ndarray::ArrayD;
use std::path::Path;

/// A number from −½ to ½ that looks random: equal ones would be ties, which rounding decides.
fn noise(i: usize) -> f32 {
    let mut x = (i as u32).wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    ((x ^ x >> 15) >> 8) as f32 / 16_777_216.0 - 0.5
}

/// Weights that keep the size of what they are applied to.
fn weight(name: &str, shape: &[usize]) -> TensorProto {
    let reach: usize = shape[1..].iter().product();
    let dims: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    let number = |i: usize| noise(i + 1000 * name.len()) * 3.0 / (reach as f32).sqrt();
    let bytes: Vec<u8> = (0..shape.iter().product()).flat_map(|i| number(i).to_le_bytes()).collect();
    TensorProto::raw(name, DataType::Float, &dims, bytes.into())
}

fn conv(input: &str, name: &str, inputs: &[&str], attributes: &[(&str, &[i64])]) -> NodeProto {
    let node = node("Conv", &[&[input], inputs].concat(), name);
    let list = |(name, values): &(&str, &[i64])| match *name {
        "group" => AttributeProto::int(name, values[0]),
        name => AttributeProto::ints(name, values),
    };
    NodeProto { attribute: attributes.iter().map(list).collect(), ..node }
}

/// `model` with classes of its value `flat`.
fn classifying(mut model: ModelProto) -> ModelProto {
    let gemm = with(node("Gemm", &["flat", "fc.weight", "fc.bias"], "logits"), AttributeProto::int("transB", 1));
    append(&mut model, gemm, info("logits", DataType::Float, "batch,10"));
    model
}

/// What networks for images are made of: first and dense convolutions, strided, depthwise, dilated and grouped ones,
/// normalisation, gates for each channel, a residual sum, pools, and channels that are no multiple of a block.
fn network() -> ModelProto {
    let mut model = empty();
    let graph = graph(&mut model);
    graph.input = vec![info("image", DataType::Float, "batch,3,12,12")];
    let weights: [(&str, &[usize]); 16] = [
        ("stem.weight", &[32, 3, 3, 3]),
        ("bn.scale", &[32]),
        ("bn.bias", &[32]),
        ("bn.mean", &[32]),
        ("dense.weight", &[32, 32, 3, 3]),
        ("dense.bias", &[32]),
        ("deep.weight", &[32, 1, 3, 3]),
        ("strided.weight", &[64, 32, 1, 1]),
        ("short.weight", &[64, 32, 3, 3]),
        ("down.weight", &[12, 64, 1, 1]),
        ("up.weight", &[64, 12, 1, 1]),
        ("up.bias", &[64]),
        ("grouped.weight", &[64, 32, 3, 3]),
        ("odd.weight", &[20, 64, 1, 1]),
        ("fc.weight", &[10, 20]),
        ("fc.bias", &[10]),
    ];
    graph.initializer.extend(weights.map(|(name, shape)| weight(name, shape)));
    let ones = [1f32; 32].iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<u8>>();
    graph.initializer.push(TensorProto::raw("bn.var", DataType::Float, &[32], ones.into()));
    let same: (&str, &[i64]) = ("pads", &[1, 1, 1, 1]);
    graph.node = vec![
        conv("image", "stem", &["stem.weight"], &[same]),
        node("BatchNormalization", &["stem", "bn.scale", "bn.bias", "bn.mean", "bn.var"], "bn"),
        node("Relu", &["bn"], "first"),
        conv("first", "dense", &["dense.weight", "dense.bias"], &[same]),
        node("HardSwish", &["dense"], "swish"),
        conv("swish", "deep", &["deep.weight"], &[same, ("group", &[32])]),
        conv("deep", "strided", &["strided.weight"], &[("strides", &[2, 2])]),
        conv("first", "short", &["short.weight"], &[same, ("strides", &[2, 2])]),
        node("Add", &["strided", "short"], "sum"),
        node("Relu", &["sum"], "second"),
        node("GlobalAveragePool", &["second"], "pooled"),
        conv("pooled", "down", &["down.weight"], &[]),
        conv("down", "up", &["up.weight", "up.bias"], &[]),
        node("Sigmoid", &["up"], "gate"),
        node("Mul", &["second", "gate"], "gated"),
        with(node("MaxPool", &["gated"], "max"), AttributeProto::ints("kernel_shape", &[3, 3])),
        conv("max", "grouped", &["grouped.weight"], &[("pads", &[2; 4]), ("dilations", &[2, 2]), ("group", &[2])]),
        conv("grouped", "odd", &["odd.weight"], &[]),
        node("Relu", &["odd"], "third"),
        node("GlobalAveragePool", &["third"], "mean"),
        node("Flatten", &["mean"], "flat"),
    ];
    classifying(model)
}

/// Pools of every form, between convolutions.
fn pools() -> ModelProto {
    let mut model = empty();
    let graph = graph(&mut model);
    graph.input = vec![info("image", DataType::Float, "batch,3,12,12")];
    let weights: [(&str, &[usize]); 7] = [
        ("stem.weight", &[32, 3, 3, 3]),
        ("first.weight", &[48, 32, 3, 3]),
        ("second.weight", &[32, 48, 1, 1]),
        ("third.weight", &[16, 32, 3, 3]),
        ("fourth.weight", &[16, 16, 1, 1]),
        ("fc.weight", &[10, 16]),
        ("fc.bias", &[10]),
    ];
    graph.initializer.extend(weights.map(|(name, shape)| weight(name, shape)));
    let same: (&str, &[i64]) = ("pads", &[1, 1, 1, 1]);
    let pool = |operator: &str, from: &str, to: &str, lists: &[(&str, &[i64])], flag: &str| {
        let lists = lists.iter().map(|(name, values)| AttributeProto::ints(name, values));
        let attribute = lists.chain([AttributeProto::int(flag, 1)]).collect();
        NodeProto { attribute, ..node(operator, &[from], to) }
    };
    let window = |kernel: &'static [i64], strides: &'static [i64]| [("kernel_shape", kernel), ("strides", strides)];
    let with_pads = |window: [(&'static str, &'static [i64]); 2]| [window[0], window[1], same];
    graph.node = vec![
        conv("image", "stem", &["stem.weight"], &[same]),
        node("Relu", &["stem"], "relu"),
        pool("MaxPool", "relu", "ceil", &with_pads(window(&[3, 3], &[2, 2])), "ceil_mode"),
        conv("ceil", "first", &["first.weight"], &[same]),
        pool("AveragePool", "first", "padded", &with_pads(window(&[2, 3], &[1, 1])), "count_include_pad"),
        conv("padded", "second", &["second.weight"], &[]),
        pool("AveragePool", "second", "beyond", &window(&[3, 2], &[2, 1]), "ceil_mode"),
        conv("beyond", "third", &["third.weight"], &[same]),
        pool("MaxPool", "third", "dilated", &[("kernel_shape", &[2, 2]), ("dilations", &[1, 2])], "storage_order"),
        conv("dilated", "fourth", &["fourth.weight"], &[]),
        node("GlobalMaxPool", &["fourth"], "greatest"),
        node("Flatten", &["greatest"], "flat"),
    ];
    classifying(model)
}

/// Convolutions around what normalises channels, which have to come last for that: of whole blocks, of others, and of
/// some that are read there.
fn normalised() -> ModelProto {
    let mut model = empty();
    let graph = graph(&mut model);
    graph.input = vec![info("image", DataType::Float, "batch,3,12,12")];
    let weights: [(&str, &[usize]); 13] = [
        ("stem.weight", &[32, 3, 3, 3]),
        ("third.scale", &[16]),
        ("third.bias", &[16]),
        ("mixed.weight", &[16, 16]),
        ("first.scale", &[32]),
        ("first.bias", &[32]),
        ("deep.weight", &[32, 1, 3, 3]),
        ("wide.weight", &[20, 32, 1, 1]),
        ("second.scale", &[20]),
        ("second.bias", &[20]),
        ("last.weight", &[16, 20, 3, 3]),
        ("fc.weight", &[10, 16]),
        ("fc.bias", &[10]),
    ];
    graph.initializer.extend(weights.map(|(name, shape)| weight(name, shape)));
    let same: (&str, &[i64]) = ("pads", &[1, 1, 1, 1]);
    let turned =
        |from: &str, to: &str, perm: &[i64]| with(node("Transpose", &[from], to), AttributeProto::ints("perm", perm));
    graph.node = vec![
        conv("image", "stem", &["stem.weight"], &[same]),
        turned("stem", "channels", &[0, 2, 3, 1]),
        node("LayerNormalization", &["channels", "first.scale", "first.bias"], "first"),
        turned("first", "image.1", &[0, 3, 1, 2]),
        conv("image.1", "deep", &["deep.weight"], &[same, ("group", &[32])]),
        node("Add", &["deep", "stem"], "sum"),
        conv("sum", "wide", &["wide.weight"], &[]),
        turned("wide", "channels.1", &[0, 2, 3, 1]),
        node("LayerNormalization", &["channels.1", "second.scale", "second.bias"], "second"),
        turned("second", "image.2", &[0, 3, 1, 2]),
        conv("image.2", "last", &["last.weight"], &[]),
        turned("last", "channels.2", &[0, 2, 3, 1]),
        node("LayerNormalization", &["channels.2", "third.scale", "third.bias"], "third"),
        node("MatMul", &["third", "mixed.weight"], "mixed"),
        turned("mixed", "image.3", &[0, 3, 1, 2]),
        node("GlobalAveragePool", &["image.3"], "mean"),
        node("Flatten", &["mean"], "flat"),
    ];
    classifying(model)
}

fn batch(count: usize, number: usize) -> [Tensor; 2] {
    let images = (0..count * 3 * 144).map(|i| 2.0 * noise(i + 100_000 * (number + 1))).collect();
    let labels = (0..count).map(|i| ((i * 3 + number) % 10) as i64).collect();
    [
        Tensor::F32(ArrayD::from_shape_vec(vec![count, 3, 12, 12], images).unwrap()),
        Tensor::I64(ArrayD::from_shape_vec(vec![count], labels).unwrap()),
    ]
}

/// All numbers of ten steps, one of them plain and one of a smaller batch; of an evaluation; and of the state after.
fn numbers(runtime: &Runtime, model: &Path, layout: Layout, kernels: Kernels) -> Vec<f32> {
    let options = StepOptions { loss: LossKind::CrossEntropy.into(), ..StepOptions::default() };
    let (step, _) = make_step(gnp::onnx::read(model).unwrap(), &options).unwrap();
    let config = StepConfig::of(&step).unwrap();
    let state: Vec<String> =
        StepModel::recognise(&step).unwrap().state.into_iter().map(|slot| slot.port.name).collect();
    let eval = make_evaluation(gnp::onnx::read(model).unwrap(), &config, &state).unwrap();
    let options = EngineOptions { layout, kernels, ..EngineOptions::default() };
    let mut engine = Ort::load(runtime, &step, Some(&eval), &options).unwrap();
    let mut all = Vec::new();
    let mut keep = |tensors: &[&Tensor]| {
        all.extend(tensors.iter().flat_map(|tensor| match tensor {
            Tensor::F32(floats) => floats.iter().copied().collect(),
            _ => vec![],
        }));
    };
    for number in 0..10 {
        let rates = Rates { r: Some(if number == 4 { 0.0 } else { 0.05 }), ..Rates::new(0.01) };
        let returned = engine.step(&batch(if number == 7 { 5 } else { 8 }, number), &rates).unwrap();
        keep(&returned.iter().collect::<Vec<_>>());
    }
    keep(&engine.evaluate(&batch(6, 20)).unwrap().iter().collect::<Vec<_>>());
    let state = engine.state().unwrap();
    keep(&state.iter().map(|(_, tensor)| tensor).collect::<Vec<_>>());
    all
}

#[test]
fn images_in_blocks_and_kernels_change_no_number() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for network in [network(), pools(), normalised()] {
        let model = write(&network, &folder.path().join("model.onnx"));
        let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
        let plain = numbers(&stock, &model, Layout::Plain, Kernels::None);
        let scale = plain.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        assert!(plain.iter().all(|x| x.is_finite()) && scale > 0.1, "{scale}");
        for (layout, kernels) in
            [(Layout::Auto, Kernels::None), (Layout::Plain, Kernels::Auto), (Layout::Auto, Kernels::Auto)]
        {
            let found = numbers(&stock, &model, layout, kernels);
            assert_eq!(found.len(), plain.len());
            for (found, plain) in found.iter().zip(&plain) {
                let bound = 1e-4 * plain.abs().max(1.0);
                assert!((found - plain).abs() <= bound, "{layout:?}, {kernels:?}: {found}, not {plain}");
            }
        }
    }
}
