//! Models with several inputs and outputs, and text: from tables and archives to trained models, and what is refused.

use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::forward::{self, sentences};
use crate::support::run::{course, events};
use assert_cmd::Command;
use gnp::engine::runtime;
use gnp::report::Event;
use ndarray::{Array1, Array2};
use ndarray_npy::WriteNpyExt;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const TOKENIZER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tables/tokenizer.json");

/// The words of the tokenizer, by their ids from 3 on.
const WORDS: [&str; 3] = ["good", "bad", "film"];

/// A sentence of one to four words, and whether more of them are good than bad.
fn sentence(number: usize) -> (Vec<usize>, bool) {
    let words: Vec<usize> = (0..1 + number % 4).map(|place| (number / 4 + number * place) % 3).collect();
    let count = |word| words.iter().filter(|&&there| there == word).count();
    let good = count(0) > count(1);
    (words, good)
}

const SENTENCES: usize = 60;

fn table(path: &Path) -> PathBuf {
    let mut text = "id,review,kind,stars\n".to_owned();
    for number in 0..SENTENCES {
        let (words, good) = sentence(number);
        let words: Vec<&str> = words.into_iter().map(|word| WORDS[word]).collect();
        let (kind, stars) = if good { ("good", 4.5) } else { ("poor", 1.5) };
        text += &format!("{number},{},{kind},{stars}\n", words.join(" "));
    }
    fs::write(path, text).unwrap();
    path.to_owned()
}

/// The same as arrays of eight columns.
fn archive(path: &Path) -> PathBuf {
    let mut ids = Array2::<i64>::from_elem((SENTENCES, 8), 9);
    let mut mask = Array2::<i64>::zeros((SENTENCES, 8));
    let mut labels = Array1::<i64>::zeros(SENTENCES);
    for number in 0..SENTENCES {
        let (words, good) = sentence(number);
        let all = [1].into_iter().chain(words.into_iter().map(|word| word as i64 + 3)).chain([2]);
        for (place, id) in all.enumerate() {
            (ids[[number, place]], mask[[number, place]]) = (id, 1);
        }
        labels[number] = i64::from(!good);
    }
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    };
    let bytes = |array: &Array2<i64>| {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        bytes
    };
    add("input_ids", &bytes(&ids));
    add("attention_mask", &bytes(&mask));
    let mut of_labels = Vec::new();
    labels.write_npy(&mut of_labels).unwrap();
    add("labels", &of_labels);
    archive.finish().unwrap();
    path.to_owned()
}

/// A run of two epochs with `words` of arguments, without the engine.
fn gnp_run(model: &Path, data: &Path, out: &Path, words: &str) -> Command {
    let mut command = Command::cargo_bin("gnp-run").unwrap();
    command.arg(model).arg("--data").arg(data).arg("--out").arg(out).args(["--batch-size", "16", "--force"]);
    command.args(["--optimizer", "adam", "--lr", "0.05", "--r", "0.05", "--test-split", "0.2", "--seed", "3"]);
    command.args(words.split_whitespace());
    command
}

fn text() -> String {
    format!("--loss logits=cross-entropy --target kind --text review --tokenizer {TOKENIZER}")
}

fn engines() -> [String; 2] {
    let library = runtime::install_onnxruntime(&mut |_| {}).unwrap().library;
    ["--engine tract".to_owned(), format!("--ort-lib {}", library.display())]
}

fn losses(out: &Path) -> Vec<f32> {
    let steps = events(out).into_iter().filter_map(|event| match event {
        Event::Step(step) => Some(step.measures.loss),
        _ => None,
    });
    steps.collect()
}

#[test]
fn a_classifier_of_sentences_trains_from_text() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = forward::write(&sentences(10), &folder.path().join("model.onnx"));
    let (data, arrays) = (table(&folder.path().join("t.csv")), archive(&folder.path().join("t.npz")));
    let mut courses = Vec::new();
    for (number, engine) in engines().into_iter().enumerate() {
        let out = folder.path().join(format!("text{number}"));
        gnp_run(&model, &data, &out, &format!("{} --epochs 30 {engine}", text())).assert().success();
        let last = events(&out).into_iter().rev().find_map(|event| match event {
            Event::Epoch(epoch) => Some(epoch),
            _ => None,
        });
        assert_eq!(last.unwrap().test_error, Some(0.0));
        courses.push(losses(&out));
        // The tokenizer makes of the text what the arrays hold.
        let of_arrays = folder.path().join(format!("arrays{number}"));
        let words = format!("--loss logits=cross-entropy --epochs 30 {engine}");
        gnp_run(&model, &arrays, &of_arrays, &words).assert().success();
        assert_eq!(course(&of_arrays).len(), course(&out).len());
        assert_eq!(losses(&of_arrays), losses(&out));
    }
    let [tract, ort] = &courses[..] else { panic!("{} engines", courses.len()) };
    assert!(tract.iter().zip(ort).all(|(a, b)| (a - b).abs() < 1e-4), "{tract:?}\n{ort:?}");
}

/// The gradient of a weighted sum is the weighted sum of the gradients: each by a step of gradient descent with a
/// learning rate of 1.
#[test]
fn several_losses_are_added_up() {
    let folder = tempfile::tempdir().unwrap();
    let model = forward::write(&sentences(10), &folder.path().join("model.onnx"));
    let data = table(&folder.path().join("t.csv"));
    let trained = |name: &str, loss: &str, target: &str| {
        let out = folder.path().join(name);
        let mut command = Command::cargo_bin("gnp-run").unwrap();
        command.arg(&model).arg("--data").arg(&data).arg("--out").arg(&out);
        command.args(["--batch-size", "60", "--epochs", "1", "--optimizer", "sgd", "--lr", "1", "--alpha", "0"]);
        command.args(["--text", "review", "--tokenizer", TOKENIZER, "--engine", "tract", "--target", target]);
        command.args(loss.split(' ')).assert().success();
        let trained = gnp::onnx::read(out.join("model.onnx")).unwrap();
        let words = trained.graph.initializer.iter().find(|tensor| tensor.name() == "words.weight").unwrap();
        let raw = words.raw_data.clone().unwrap();
        let weights: Vec<f32> = raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        (losses(&out)[0], weights)
    };
    let (of_kind, kind) = trained("kind", "--loss logits=cross-entropy", "kind");
    let (of_score, score) = trained("score", "--loss score=huber", "stars");
    let (both, sum) = trained("both", "--loss logits=cross-entropy --loss score=huber*0.5", "score=stars,logits=kind");
    assert!((both - (of_kind + 0.5 * of_score)).abs() < 1e-5, "{both}: {of_kind}, {of_score}");
    let before = sentences(10).graph.unwrap().initializer[0].raw_data.clone().unwrap();
    let before: Vec<f32> = before.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let mut moved = 0.0f32;
    for ((&start, &sum), (&kind, &score)) in before.iter().zip(&sum).zip(kind.iter().zip(&score)) {
        let expected = start + (kind - start) + 0.5 * (score - start);
        assert!((sum - expected).abs() < 1e-6, "{sum}, not {expected}");
        moved = moved.max((sum - start).abs());
    }
    assert!(moved > 1e-3, "nothing was trained");
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = forward::write(&sentences(10), &folder.path().join("model.onnx"));
    let data = table(&folder.path().join("t.csv"));
    let refused = |model: &Path, words: &str| {
        let mut command = gnp_run(model, &data, &folder.path().join("out"), words);
        refusal(command.args(["--epochs", "1", "--engine", "tract"]))
    };
    let text = text();
    assert_says(&refused(&model, &text.replace("review", "reviews")), &["t.csv", "no column `reviews`", "`review`"]);
    assert_says(
        &refused(&model, "--loss logits=cross-entropy --target kind"),
        &["but the data are floats", "--text COLUMN"],
    );
    let ages = "--loss logits=cross-entropy --target kind --feature attention_mask=id --feature age=stars";
    assert_says(&refused(&model, ages), &["no data for input `input_ids`", "attention_mask, age"]);
    assert_says(&refused(&model, &text.replace("logits=", "logit=")), &["logit", "did you mean `logits`"]);
    let two = text.replace("--target", "--loss score=mse --target");
    assert_says(&refused(&model, &two), &["no labels for output `logits`", "--target logits="]);
    assert_says(&refused(&model, &two.replace("score=mse", "mse")), &["each needs an output"]);
    // The tokenizer is another model's: its ids are no rows of the table.
    let small = forward::write(&sentences(5), &folder.path().join("small.onnx"));
    assert_says(&refused(&small, &text), &["t.csv", "looks up in a table; expected 0 to 4"]);
    let no_tokenizer = text.replace(TOKENIZER, model.to_str().unwrap());
    assert_says(&refused(&model, &no_tokenizer), &["model.onnx", "not a tokenizer"]);
    gnp_rewrite().arg(&model).args(["--loss", "logits=none", "-o", "x"]).assert().failure().code(2);
}

#[test]
fn a_step_model_of_several_losses_says_what_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let model = forward::write(&sentences(10), &folder.path().join("model.onnx"));
    let step = folder.path().join("step.onnx");
    let mut command = gnp_rewrite();
    command
        .arg(&model)
        .args(["--loss", "logits=cross-entropy", "--loss", "score=mse*0.25", "--check", "-o"])
        .arg(&step);
    let output = command.assert().success().get_output().clone();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_says(&said, &["cross-entropy of `logits`", "mse of `score`, times 0.25", "labels.logits", "labels.score"]);
    let made = gnp::onnx::read(&step).unwrap();
    let inputs: Vec<&str> = made.graph.input.iter().map(|input| input.name()).take(4).collect();
    assert_eq!(inputs, ["input_ids", "attention_mask", "labels.logits", "labels.score"]);
    let outputs: Vec<&str> = made.graph.output.iter().map(|output| output.name()).collect();
    assert!(outputs.contains(&"gnp.loss.logits") && outputs.contains(&"gnp.loss.score"), "{outputs:?}");
}
