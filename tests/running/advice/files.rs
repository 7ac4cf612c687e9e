//! The models and the data that rows are met with.

use crate::support::forward::{self, append, graph, info, node, weight, with};
use crate::support::models;
use gnp::onnx::DataType;
use gnp::onnx::proto::{AttributeProto, GraphProto, ModelProto, TensorProto};
use ndarray::{Array1, Array2, Array4};
use ndarray_npy::WriteNpyExt;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A folder of models and data.
pub(super) fn prepare() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, model) in made_models() {
        forward::write(&model, &at(name));
    }
    for name in ["made", "results", "photos/train/dark", "photos/train/light"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("results/model.onnx"), "a file").unwrap();
    fs::write(at("taken.html"), "a page").unwrap();
    fs::write(at("sweep.toml"), "model = 'classifier.onnx'\ndata = 'data.npz'\nepochs = 1\nengine = 'tract'\n")
        .unwrap();
    for (i, class) in ["dark", "light"].into_iter().cycle().take(8).enumerate() {
        let image = image::GrayImage::from_pixel(6, 6, image::Luma([if class == "dark" { 20 } else { 220 }]));
        image.save(at(&format!("photos/train/{class}/{i}.png"))).unwrap();
    }

    let x = Array2::from_shape_fn((90, 4), |(n, i)| ((n * 7 + i * 13) % 11) as f32 / 11.0 + (n % 3) as f32);
    let y = Array1::from_shape_fn(90, |n| (n % 3) as i64);
    npz(&at("data.npz"), &bytes(&x), &bytes(&y));
    npz(&at("zeros.npz"), &bytes(&x), &bytes(&Array1::<i64>::zeros(90)));
    fs::write(at("x.npy"), bytes(&x)).unwrap();
    fs::write(at("y.npy"), bytes(&y)).unwrap();
    let images = Array4::from_shape_fn((90, 1, 6, 6), |(n, _, i, j)| ((n * 3 + i * 5 + j) % 7) as f32 / 7.0);
    npz(&at("images.npz"), &bytes(&images), &bytes(&Array1::from_shape_fn(90, |n| (n % 3) as i64)));
    let line = |n: usize, first: &str| {
        format!("{first},{},{},{},{},{}\n", n % 5, n % 3, n % 2, n % 7, ["red", "green", "blue"][n % 3])
    };
    let table = |first: &dyn Fn(usize) -> String| -> String {
        let lines = (0..30).map(|n| line(n, &first(n)));
        std::iter::once("a,b,c,d,e,class\n".to_owned()).chain(lines).collect()
    };
    fs::write(at("table.csv"), table(&|n| format!("sample {n}"))).unwrap();
    fs::write(at("holes.csv"), table(&|n| if n == 7 { String::new() } else { n.to_string() })).unwrap();

    let reviews = |line: &dyn Fn(usize, &str) -> String| -> String {
        let reviews = ["good film", "bad film", "good good bad film"].into_iter().cycle();
        reviews.take(30).enumerate().map(|(n, review)| line(n, review)).collect()
    };
    let texts = reviews(&|n, review| format!("{review},{}\n", ["good", "poor"][n % 2]));
    fs::write(at("texts.csv"), "review,kind\n".to_owned() + &texts).unwrap();
    let words = reviews(&|n, review| format!("{review},{},{},{}\n", ["good", "poor"][n % 2], 3 + n % 3, n % 5));
    fs::write(at("words.csv"), "review,kind,word,stars\n".to_owned() + &words).unwrap();
    let lists = reviews(&|n, _| format!("{{\"ids\": [3, {}], \"stars\": {n}, \"kind\": {}}}\n", 4 + n % 2, n % 2));
    fs::write(at("lists.jsonl"), lists).unwrap();
    // One of them has more items than the model has places.
    let line =
        |n: usize| format!("{{\"ids\": [{}], \"kind\": {}}}\n", vec!["4"; if n == 5 { 9 } else { 3 }].join(","), n % 2);
    fs::write(at("long.jsonl"), (0..12).map(line).collect::<String>()).unwrap();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tables/tokenizer.json");
    fs::copy(fixtures, at("tokenizer.json")).unwrap();

    fs::copy(models().join("cnn/checkpoint"), at("cnn_checkpoint")).unwrap();
    fs::create_dir(at("artifacts")).unwrap();
    for entry in fs::read_dir(models().join("mlp")).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, at("artifacts").join(file.file_name().unwrap())).unwrap();
    }
    fs::copy(models().join("digits.npz"), at("digits.npz")).unwrap();
    folder
}

fn bytes<S: ndarray::Data<Elem: ndarray_npy::WritableElement>, D: ndarray::Dimension>(
    array: &ndarray::ArrayBase<S, D>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    array.write_npy(&mut bytes).unwrap();
    bytes
}

fn npz(path: &Path, x: &[u8], y: &[u8]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    for (name, array) in [("x_train", x), ("y_train", y)] {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(array).unwrap();
    }
    archive.finish().unwrap();
}

const FLOAT: DataType = DataType::Float;

/// The models of the rows, by their file names.
fn made_models() -> Vec<(&'static str, ModelProto)> {
    let perceptron = forward::perceptron;
    let with_weight = |nodes: &[gnp::onnx::proto::NodeProto], constants: Vec<TensorProto>, output: &str| {
        let mut model = forward::empty();
        let graph = graph(&mut model);
        graph.initializer.push(weight("w", &[4, 4]));
        graph.initializer.extend(constants);
        graph.node = [&[node("MatMul", &["x", "w"], "before")], nodes].concat();
        graph.output = vec![info(output, FLOAT, "batch,4")];
        model
    };
    let untyped = |mut model: ModelProto| {
        graph(&mut model).output[0].r#type = None;
        model
    };
    let floats = |name: &str, numbers: &[f32]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        TensorProto::raw(name, FLOAT, &[numbers.len() as i64], bytes.into())
    };
    let int = |name: &str, number: i64| AttributeProto::int(name, number);

    let mut one = forward::classifier();
    graph(&mut one).input[0] = info("x", FLOAT, "1,4");
    graph(&mut one).output[0] = info("probabilities", FLOAT, "1,3");
    let mut two = one.clone();
    graph(&mut two).input.push(info("other", FLOAT, "2,4"));
    graph(&mut two).node.push(node("Relu", &["other"], "more"));
    graph(&mut two).output.push(info("more", FLOAT, "2,4"));
    let mut squeezed = perceptron();
    graph(&mut squeezed).input[0] = info("x", FLOAT, "1,4");
    graph(&mut squeezed).initializer.push(TensorProto::int64s("axes", &[0]));
    append(&mut squeezed, node("Squeeze", &["logits", "axes"], "y"), info("y", FLOAT, "3"));

    let mut rate = forward::classifier();
    graph(&mut rate).input.push(info("lr", FLOAT, ""));
    graph(&mut rate).node.insert(0, node("Mul", &["x", "lr"], "scaled"));
    graph(&mut rate).node[1].input[0] = "scaled".into();
    let mut labelled = perceptron();
    graph(&mut labelled).input[0] = info("labels", FLOAT, "batch,4");
    graph(&mut labelled).node[0].input[0] = "labels".into();
    let mut own_loss = perceptron();
    graph(&mut own_loss).input.push(info("labels", FLOAT, "batch,3"));
    append(&mut own_loss, node("Sub", &["logits", "labels"], "difference"), info("difference", FLOAT, ""));
    append(&mut own_loss, node("ReduceSumSquare", &["difference"], "kept"), info("kept", FLOAT, "1,1"));
    append(&mut own_loss, with(node("ReduceMean", &["kept"], "own"), int("keepdims", 0)), info("own", FLOAT, ""));
    let mut slot = forward::classifier();
    graph(&mut slot).initializer.push(weight("fc1.weight.momentum", &[3]));
    graph(&mut slot).node.last_mut().unwrap().input[0] = "shifted".into();
    let last = graph(&mut slot).node.len() - 1;
    graph(&mut slot).node.insert(last, node("Add", &["logits", "fc1.weight.momentum"], "shifted"));

    let mut whole = perceptron();
    let cast = |from: &str, to: &str, element: DataType| with(node("Cast", &[from], to), int("to", element as i64));
    append(&mut whole, cast("logits", "whole", DataType::Int64), info("whole", DataType::Int64, "batch,3"));
    append(&mut whole, cast("whole", "back", FLOAT), info("back", FLOAT, "batch,3"));
    let mut argmax = perceptron();
    let class = with(node("ArgMax", &["logits"], "class"), int("axis", 1));
    append(&mut argmax, class, info("class", DataType::Int64, "batch,1"));
    let mut several = forward::classifier();
    graph(&mut several).output.push(info("hidden", FLOAT, "batch,8"));
    let mut mean = perceptron();
    graph(&mut mean).node.push(with(node("ReduceMean", &["logits"], "own"), int("keepdims", 0)));
    graph(&mut mean).output.push(info("own", FLOAT, ""));
    let mut scaled = forward::empty();
    append(&mut scaled, node("Mul", &["x", "temperature"], "y"), info("y", FLOAT, "batch,4"));
    graph(&mut scaled).initializer.push(weight("temperature", &[]));

    let unpooled = [
        node("Unsqueeze", &["before", "one"], "pooled"),
        with(node("MaxUnpool", &["pooled", "indices", "shape"], "y"), AttributeProto::ints("kernel_shape", &[2])),
    ];
    let indices = TensorProto { dims: vec![1, 1, 4], ..TensorProto::int64s("indices", &[0, 2, 4, 6]) };
    let mut magic = with_weight(
        &[gnp::onnx::proto::NodeProto { domain: Some("acme".into()), ..node("Magic", &["before"], "y") }],
        vec![],
        "y",
    );
    magic.opset_import.push(gnp::onnx::proto::OperatorSetIdProto { domain: Some("acme".into()), version: Some(1) });
    let resize = |inputs: &[&str], attributes: Vec<AttributeProto>| gnp::onnx::proto::NodeProto {
        attribute: attributes,
        ..node("Resize", inputs, "large")
    };
    let crop = resize(
        &["before", "region", "", "sizes"],
        vec![
            AttributeProto::string("mode", "linear"),
            AttributeProto::string("coordinate_transformation_mode", "tf_crop_and_resize"),
            AttributeProto::string("keep_aspect_ratio_policy", "not_larger"),
        ],
    );
    let mut unranked = with_weight(
        &[
            gnp::onnx::proto::NodeProto { domain: Some("acme".into()), ..node("Magic", &["x"], "shape") },
            node("Reshape", &["before", "shape"], "loose"),
            resize(&["loose", "", "scales"], vec![AttributeProto::string("mode", "linear")]),
        ],
        vec![floats("scales", &[1.0, 1.0, 2.0])],
        "large",
    );
    unranked.opset_import.push(gnp::onnx::proto::OperatorSetIdProto { domain: Some("acme".into()), version: Some(1) });

    let flat = |from: &str| node("Flatten", &[from], "y");
    unranked.graph.get_or_insert_default().node.push(flat("large"));
    unranked.graph.get_or_insert_default().output = vec![info("y", FLOAT, "n,m")];
    let resized = with_weight(
        &[resize(&["before", "", "scales"], vec![AttributeProto::string("mode", "linear")]), flat("large")],
        vec![floats("scales", &[1.0, 2.0])],
        "y",
    );
    let mut batched = perceptron();
    for name in ["scale", "bias", "mean", "var"] {
        graph(&mut batched).initializer.push(floats(&format!("norm.{name}"), &[1.0; 3]));
    }
    append(
        &mut batched,
        node("BatchNormalization", &["logits", "norm.scale", "norm.bias", "norm.mean", "norm.var"], "normalised"),
        info("normalised", FLOAT, "batch,3"),
    );
    append(&mut batched, node("Softmax", &["normalised"], "probabilities"), info("probabilities", FLOAT, "batch,3"));
    graph(&mut batched).output = vec![info("probabilities", FLOAT, "batch,3")];
    let mut masked = perceptron();
    graph(&mut masked).initializer.push(floats("mask", &[0.0, 0.0, f32::NEG_INFINITY]));
    append(&mut masked, node("Add", &["logits", "mask"], "y"), info("y", FLOAT, "batch,3"));

    let branch = |nodes: Vec<gnp::onnx::proto::NodeProto>, output: &str| GraphProto {
        name: Some("branch".into()),
        node: nodes,
        output: vec![info(output, FLOAT, "")],
        ..Default::default()
    };
    let mut statistics = forward::network();
    let position = graph(&mut statistics).node.iter().position(|node| node.op_type() == "BatchNormalization").unwrap();
    graph(&mut statistics).input.push(info("choice", DataType::Bool, ""));
    let branches = ["Abs", "Neg"].map(|operator| branch(vec![node(operator, &["bn.var"], operator)], operator));
    let choice = AttributeProto::graph("then_branch", branches[0].clone());
    let mut choice = with(node("If", &["choice"], "variance"), choice);
    choice.attribute.push(AttributeProto::graph("else_branch", branches[1].clone()));
    graph(&mut statistics).node[position].input[2] = "shift".into();
    graph(&mut statistics).node.insert(0, node("Add", &["bn.bias", "variance"], "shift"));
    graph(&mut statistics).node.insert(0, choice);
    let mut multinomial = perceptron();
    let drawn = with(node("Multinomial", &["logits"], "drawn"), int("sample_size", 3));
    append(&mut multinomial, drawn, info("drawn", DataType::Int32, ""));
    append(&mut multinomial, cast("drawn", "numbers", FLOAT), info("numbers", FLOAT, ""));
    append(&mut multinomial, node("Mul", &["logits", "numbers"], "y"), info("y", FLOAT, "batch,3"));
    let mut body = perceptron();
    let dropped = branch(vec![node("Dropout", &["logits"], "dropped")], "dropped");
    let kept = branch(vec![node("Identity", &["logits"], "kept")], "kept");
    graph(&mut body).input.push(info("choice", DataType::Bool, ""));
    let mut choice = with(node("If", &["choice"], "y"), AttributeProto::graph("then_branch", dropped));
    choice.attribute.push(AttributeProto::graph("else_branch", kept));
    append(&mut body, choice, info("y", FLOAT, "batch,3"));

    let mut newer = perceptron();
    newer.opset_import[0].version = Some(24);
    append(&mut newer, node("Swish", &["logits"], "y"), info("y", FLOAT, "batch,3"));
    let mut grad = perceptron();
    graph(&mut grad).input[0] = info("x_grad", FLOAT, "batch,4");
    graph(&mut grad).node[0].input[0] = "x_grad".into();

    let mut pixels = forward::network();
    graph(&mut pixels).input[0] = info("image", FLOAT, "batch,1,6,6");
    let mut open_pixels = forward::network();
    graph(&mut open_pixels).input[0] = info("image", FLOAT, "batch,1,H,W");

    let mut placed = forward::sentences(10);
    let number =
        |name: &str, value: i64| TensorProto::raw(name, DataType::Int64, &[1], value.to_le_bytes().to_vec().into());
    graph(&mut placed).initializer.extend([weight("places.weight", &[8, 8]), number("first", 0), number("second", 1)]);
    graph(&mut placed).node[0] = node("Gather", &["words.weight", "input_ids"], "words");
    let places = [
        node("Shape", &["input_ids"], "shape"),
        node("Gather", &["shape", "second"], "length"),
        node("Slice", &["places.weight", "first", "length", "first"], "places"),
        node("Add", &["words", "places"], "embedded"),
    ];
    graph(&mut placed).node.splice(1..1, places);

    let mut apart = own_loss.clone();
    graph(&mut apart).input[1] = info("labels", FLOAT, "rows,3");
    let mut blocked = perceptron();
    blocked.opset_import[0].version = Some(21);
    graph(&mut blocked).initializer.retain(|tensor| tensor.name() != "fc1.weight");
    graph(&mut blocked).initializer.push(TensorProto::raw("packed", DataType::Int8, &[4, 8], vec![3; 32].into()));
    graph(&mut blocked).initializer.push(weight("scales", &[2, 8]));
    let dequantised = with(node("DequantizeLinear", &["packed", "scales"], "fc1.weight"), int("axis", 0));
    graph(&mut blocked).node.insert(0, dequantised);
    graph(&mut blocked).node[0].attribute.push(int("block_size", 2));

    vec![
        ("apart.onnx", apart),
        ("blocked.onnx", blocked),
        ("newer.onnx", newer),
        ("grad.onnx", grad),
        ("sentences.onnx", forward::sentences(10)),
        ("placed.onnx", placed),
        ("classifier.onnx", forward::classifier()),
        ("perceptron.onnx", perceptron()),
        ("one.onnx", one),
        ("two.onnx", two),
        ("squeezed.onnx", squeezed),
        ("rate.onnx", rate),
        ("labelled.onnx", labelled),
        ("own_loss.onnx", own_loss),
        ("slot.onnx", slot),
        ("whole.onnx", whole),
        ("argmax.onnx", argmax),
        ("several.onnx", several),
        ("mean.onnx", mean),
        ("scaled.onnx", scaled),
        ("magic.onnx", magic),
        (
            "unpool.onnx",
            untyped(with_weight(
                &unpooled,
                vec![indices, TensorProto::int64s("one", &[1]), TensorProto::int64s("shape", &[1, 1, 8])],
                "y",
            )),
        ),
        (
            "crop.onnx",
            untyped(with_weight(
                &[crop],
                vec![floats("region", &[0.0, 0.0, 1.0, 1.0]), TensorProto::int64s("sizes", &[2, 8])],
                "large",
            )),
        ),
        ("unranked.onnx", unranked),
        ("resized.onnx", resized),
        ("batched.onnx", batched),
        ("masked.onnx", masked),
        ("statistics.onnx", statistics),
        ("multinomial.onnx", multinomial),
        ("body.onnx", body),
        ("pixels.onnx", pixels),
        ("open_pixels.onnx", open_pixels),
        (
            "strange.onnx",
            with_weight(
                &[with(node("CenterCropPad", &["before", "size"], "y"), AttributeProto::ints("axes", &[1]))],
                vec![TensorProto::int64s("size", &[4])],
                "y",
            ),
        ),
    ]
}
