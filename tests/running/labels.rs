//! Labels of every layout through both programs, on every engine: what counts, what is wrong, and what is refused
//! before a step.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::run::events;
use assert_cmd::Command;
use gnp::engine::runtime;
use gnp::report::Event;
use ndarray::{Array1, Array2, Array3, Array4};
use ndarray_npy::{WritableElement, WriteNpyExt};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/labels");

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

/// The arguments that choose each engine.
fn engines() -> [Vec<String>; 2] {
    let library = runtime::install_onnxruntime(&mut |_| {}).unwrap().library;
    let library = library.to_str().unwrap().to_owned();
    [vec!["--engine".into(), "tract".into()], vec!["--ort-lib".into(), library]]
}

fn gnp_run(model: &Path, data: &Path, out: &Path, epochs: usize) -> Command {
    let mut command = Command::cargo_bin("gnp-run").unwrap();
    command.arg(model).arg("--data").arg(data).arg("--out").arg(out);
    command.args(["--epochs", &epochs.to_string(), "--force"]);
    command
}

fn bytes<T: WritableElement, D: ndarray::Dimension>(array: &ndarray::Array<T, D>) -> Vec<u8> {
    let mut bytes = Vec::new();
    array.write_npy(&mut bytes).unwrap();
    bytes
}

fn archive(path: &Path, arrays: &[(&str, Vec<u8>)]) -> PathBuf {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
    path.to_owned()
}

fn said(command: &mut Command) -> String {
    let output = command.assert().success().get_output().clone();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Losses, errors and gradient norms of three epochs against PyTorch's in double precision: of tokens, pixels, one
/// probability and several, with labels that do not count, weights of classes and of labels of 1, label smoothing; the
/// test set in batches of which one may count nothing.
#[test]
fn training_and_evaluation_are_those_of_pytorch() {
    needs!(engines);
    let cases: Value = serde_json::from_str(&fs::read_to_string(fixture("expected.json")).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let engines = engines();
    for (name, case) in cases.as_object().unwrap() {
        let arguments: Vec<&str> = case["arguments"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let (model, data) = (fixture(&format!("{name}.onnx")), fixture(&format!("{name}.npz")));
        let step = folder.path().join(format!("{name}.step.onnx"));
        gnp_rewrite()
            .arg(&model)
            .arg("-o")
            .arg(&step)
            .args(["--quiet", "--optimizer", "sgd"])
            .args(&arguments)
            .assert()
            .success();
        for (number, engine) in engines.iter().enumerate() {
            for is_step in [false, true] {
                let out = folder.path().join(format!("{name}-{number}-{is_step}"));
                let mut command = gnp_run(if is_step { &step } else { &model }, &data, &out, 3);
                command.args(["--batch-size", "10", "--lr", "1"]).args(engine);
                if is_step {
                    command.arg("--forward").arg(&model);
                } else {
                    command.args(["--optimizer", "sgd"]).args(&arguments);
                }
                assert_says(&said(&mut command), &["the error is the fraction of the labels", "test error"]);
                let found = events(&out).into_iter().filter_map(|event| match event {
                    Event::Epoch(report) => Some(serde_json::to_value(report).unwrap()),
                    _ => None,
                });
                let expected = case["epochs"].as_array().unwrap();
                let found: Vec<Value> = found.collect();
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    for (key, expected) in expected.as_object().unwrap() {
                        let (found, expected) = (found[key].as_f64().unwrap(), expected.as_f64().unwrap());
                        assert!(
                            (found - expected).abs() < 1e-5 * (1.0 + expected),
                            "{name} {engine:?} {key}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }
}

fn ids(rows: usize) -> Array2<i64> {
    Array2::from_shape_fn((rows, 6), |(row, column)| ((row * 7 + column * 3) % 20) as i64)
}

/// Token data whose label or id is another at one place of a half.
fn tokens(path: &Path, edit: impl Fn(&str, &mut Array2<i64>)) -> PathBuf {
    let mut arrays = Vec::new();
    for half in ["train", "test"] {
        let mut x = ids(12);
        let mut y = x.mapv(|id| id % 5);
        edit(&format!("x_{half}"), &mut x);
        edit(&format!("y_{half}"), &mut y);
        arrays.extend([(format!("x_{half}"), bytes(&x)), (format!("y_{half}"), bytes(&y))]);
    }
    let arrays: Vec<_> = arrays.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    archive(path, &arrays)
}

#[test]
fn what_is_out_of_range_is_refused_before_a_step_on_every_engine() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for engine in engines() {
        for (array, place, value, says) in [
            (
                "y_train",
                (3, 2),
                5,
                "sample 3 of the training data has the label 5 at [2]; expected 0 to 4, or -100, which does not count",
            ),
            ("y_train", (0, 0), -1, "sample 0 of the training data has the label -1 at [0]; expected 0 to 4"),
            ("y_test", (11, 5), 255, "sample 11 of the test data has the label 255 at [5]; expected 0 to 4"),
            (
                "x_train",
                (4, 1),
                20,
                "sample 4 of the training data has 20 at [1], which the model looks up in a table; expected 0 to 19",
            ),
            (
                "x_test",
                (2, 0),
                -3,
                "sample 2 of the test data has -3 at [0], which the model looks up in a table; expected 0 to 19",
            ),
        ] {
            let data = tokens(&folder.path().join("data.npz"), |name, values| {
                if name == array {
                    values[place] = value;
                }
            });
            let mut command = gnp_run(&fixture("tokens.onnx"), &data, &out, 2);
            let refused = refusal(command.args(["--loss", "cross-entropy", "--quiet"]).args(&engine));
            assert_says(&refused, &["data.npz: ", says, "help: "]);
            assert!(!out.join("metrics.jsonl").exists());
        }
    }
}

#[test]
fn the_labels_of_a_loss_in_the_model_are_checked_too() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (fixture("own_loss.onnx"), folder.path().join("out"));
    let label = |number: i64| {
        tokens(&folder.path().join("data.npz"), |name, values| {
            if name == "y_train" {
                values[(5, 3)] = number;
            }
        })
    };
    for engine in engines() {
        gnp_run(&model, &label(-1), &out, 1).arg("--quiet").args(&engine).assert().success();
        let refused = refusal(gnp_run(&model, &label(5), &out, 1).arg("--quiet").args(&engine));
        let says = "sample 5 of the training data has the label 5 at [3]; expected 0 to 4, or -1, which does not count";
        assert_says(&refused, &["data.npz: ", says]);
    }
}

/// A step model that does not say how many classes it has: the logits of the evaluation do.
#[test]
fn classes_are_counted_where_the_graph_does_not_say_how_many() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model =
        crate::support::forward::write(&crate::support::forward::classifier(), &folder.path().join("model.onnx"));
    let step = folder.path().join("step.onnx");
    gnp_rewrite().arg(&model).arg("-o").arg(&step).arg("--quiet").assert().success();
    let mut proto = gnp::onnx::read(&step).unwrap().into_proto();
    let ranges = proto.metadata_props.iter_mut().find(|entry| entry.key() == "gnp.ranges").unwrap();
    assert_eq!(ranges.value(), r#"{"labels":[{"last":2,"ignored":-100}]}"#);
    ranges.value = Some(r#"{"labels":[{"last":null,"ignored":-100}]}"#.to_owned());
    crate::support::forward::write(&proto, &step);
    let x = Array2::from_shape_fn((8, 4), |(row, column)| (row * column) as f32 / 8.0);
    let labels = |last: i64| Array1::from_shape_fn(8, |row| if row == 7 { last } else { row as i64 % 3 });
    for engine in engines() {
        let run = |last: i64| {
            let data = archive(&folder.path().join("data.npz"), &[("x", bytes(&x)), ("y", bytes(&labels(last)))]);
            let mut command = gnp_run(&step, &data, &folder.path().join("out"), 1);
            command.arg("--quiet").args(&engine);
            command
        };
        run(-100).assert().success();
        assert_says(
            &refusal(&mut run(3)),
            &["sample 7 of the training data has the label 3; expected 0 to 2, or -100"],
        );
    }
}

/// The graph adds one before it looks up, so that the range is not known: the engines say what is wrong, in one
/// message.
#[test]
fn an_index_that_is_computed_is_no_reason_to_panic() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let data = tokens(&folder.path().join("data.npz"), |name, values| {
        if name == "x_train" {
            values[(0, 0)] = 19;
        }
    });
    for engine in engines() {
        let mut command = gnp_run(&fixture("shifted.onnx"), &data, &folder.path().join("out"), 1);
        let refused = refusal(command.args(["--loss", "cross-entropy", "--quiet"]).args(&engine));
        assert!(refused.starts_with("error: ") && !refused.contains("panicked"), "{refused}");
    }
}

/// Masks as image files have them: bytes of shape [N, 1, H, W].
#[test]
fn an_axis_of_one_is_left_out_of_labels() {
    let folder = tempfile::tempdir().unwrap();
    let x = Array4::from_shape_fn((6, 3, 5, 4), |(n, c, y, x)| ((n * 5 + c * 7 + y * 3 + x) % 11) as f32);
    let course = |name: &str, y: Vec<u8>| {
        let data = archive(&folder.path().join("data.npz"), &[("x", bytes(&x)), ("y", y)]);
        let out = folder.path().join(name);
        let mut command = gnp_run(&fixture("pixels.onnx"), &data, &out, 1);
        command.args(["--loss", "cross-entropy", "--quiet", "--engine", "tract"]).assert().success();
        crate::support::run::course(&out)
    };
    let label = |n: usize, y: usize, x: usize| ((n + y * x) % 3) as u8;
    let flat = course("flat", bytes(&Array3::from_shape_fn((6, 5, 4), |(n, y, x)| label(n, y, x))));
    assert_eq!(course("deep", bytes(&Array4::from_shape_fn((6, 1, 5, 4), |(n, _, y, x)| label(n, y, x)))), flat);
}

/// The advice of the refusal, followed.
#[test]
fn a_label_that_is_to_be_ignored_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let data = tokens(&folder.path().join("data.npz"), |name, values| {
        if name.starts_with('y') {
            values.column_mut(0).fill(255);
        }
    });
    let mut command = gnp_run(&fixture("tokens.onnx"), &data, &out, 1);
    command.args(["--loss", "cross-entropy", "--quiet"]);
    let refused = refusal(&mut command);
    let advice = refused.split("with ").nth(1).unwrap().split([' ', ',']).take(2).collect::<Vec<_>>();
    assert_eq!(advice, ["--ignore-index", "255"]);
    command.args(advice).assert().success();

    let nothing = tokens(&folder.path().join("nothing.npz"), |name, values| {
        if name == "y_train" {
            values.fill(-100);
        }
    });
    let mut command = gnp_run(&fixture("tokens.onnx"), &nothing, &out, 1);
    let refused = refusal(command.args(["--loss", "cross-entropy", "--quiet"]));
    assert_says(&refused, &["nothing.npz: all labels of the training data are -100, which does not count"]);
}

#[test]
fn labels_of_probabilities_are_from_0_to_1() {
    let folder = tempfile::tempdir().unwrap();
    let x = Array2::from_shape_fn((8, 4), |(row, column)| (row * column) as f32 / 8.0);
    for y in [
        bytes(&Array2::from_shape_fn((8, 1), |(row, _)| (row % 3) as i32)),
        bytes(&Array1::from_shape_fn(8, |row| (row % 3) as u8)),
    ] {
        let data = archive(&folder.path().join("data.npz"), &[("x", bytes(&x)), ("y", y)]);
        let mut command = gnp_run(&fixture("binary.onnx"), &data, &folder.path().join("out"), 1);
        let refused = refusal(command.args(["--loss", "bce", "--quiet"]));
        assert_says(
            &refused,
            &["data.npz: sample 2 of the training data has the label 2", "expected 0 to 1", "--loss cross-entropy"],
        );
    }
}

#[test]
fn class_weights_come_from_the_command_line_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = (fixture("tokens.onnx"), fixture("tokens.npz"));
    let weights = folder.path().join("weights.txt");
    fs::write(&weights, "0.5 2\n1, 0.25\n3e0\n").unwrap();
    let course = |out: &str, arguments: &[&str]| {
        let out = folder.path().join(out);
        let mut command = gnp_run(&model, &data, &out, 2);
        command.args(["--loss", "cross-entropy", "--engine", "tract"]).args(arguments);
        let text = said(&mut command);
        (text, crate::support::run::course(&out))
    };
    let (text, from_line) = course("line", &["--class-weights", "0.5,2,1,0.25,3"]);
    assert_says(&text, &["cross-entropy of `y`; class weights 0.5, 2, 1, 0.25, 3; labels of -100 do not count"]);
    let (_, from_file) = course("file", &["--class-weights-file", weights.to_str().unwrap()]);
    assert_eq!(from_line, from_file);
    assert_ne!(from_line, course("none", &[]).1);
    for name in ["line", "file"] {
        let config = folder.path().join(name).join("config.toml");
        let again = folder.path().join("again");
        let mut command = Command::cargo_bin("gnp-run").unwrap();
        command.arg("--config").arg(config).arg("--out").arg(&again).args(["--force", "--quiet"]).assert().success();
        assert_eq!(crate::support::run::course(&again), from_line);
    }

    let refused = |arguments: &[&str]| {
        refusal(gnp_rewrite().arg(&model).arg("-o").arg(folder.path().join("step.onnx")).args(arguments))
    };
    let few = refused(&["--loss", "cross-entropy", "--class-weights", "1,2"]);
    assert_says(&few, &["--class-weights has 2 numbers, and the logits are FLOAT [N, L, 5]: 5 classes on axis 2"]);
    fs::write(&weights, "1\ntwo\n").unwrap();
    let text = refused(&["--loss", "cross-entropy", "--class-weights-file", weights.to_str().unwrap()]);
    assert_says(&text, &["weights.txt: `two` is no number", "help: "]);
    assert_says(&refused(&["--loss", "mse", "--pos-weight", "2"]), &["binary cross-entropy, and the loss is mse"]);
    assert_says(&refused(&["--loss", "mse", "--ignore-index", "0"]), &["class numbers, and the loss is mse"]);
}

/// 33 samples in batches of 8: the last has one.
#[test]
fn batch_norm_needs_two_samples_in_every_batch() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = crate::support::forward::write(&crate::support::forward::network(), &folder.join("network.onnx"));
    let images = Array3::from_shape_fn((33, 6, 6), |(n, y, x)| ((n * 31 + y * 7 + x) % 11) as f32 / 11.0);
    let labels = Array1::from_shape_fn(33, |n| (n % 3) as i64);
    let data = archive(&folder.join("data.npz"), &[("x", bytes(&images)), ("y", bytes(&labels))]);
    // Each channel has 36 numbers a sample.
    gnp_run(&model, &data, &folder.join("images"), 1).args(["--batch-size", "8", "--quiet"]).assert().success();

    let model = fixture("batch_norm.onnx");
    let x = Array2::from_shape_fn((33, 4), |(n, i)| ((n * 31 + i * 7) % 11) as f32 / 11.0);
    let data = archive(&folder.join("rows.npz"), &[("x", bytes(&x)), ("y", bytes(&labels))]);
    let run = |out: &str, epochs: usize, arguments: &[&str]| {
        let mut command = gnp_run(&model, &data, &folder.join(out), epochs);
        command.args(["--loss", "cross-entropy", "--quiet", "--engine", "tract"]).args(arguments);
        command
    };
    let refused = refusal(&mut run("out", 1, &["--batch-size", "8"]));
    let says = [
        "the last batch of an epoch has one sample (33 in batches of 8)",
        "(BatchNormalization)",
        "--drop-last",
        "--batch-size",
    ];
    assert_says(&refused, &says);
    assert_says(
        &refusal(&mut run("out", 1, &["--batch-size", "1"])),
        &["batches have one sample", "a larger --batch-size"],
    );
    for advice in [
        &["--batch-size", "8", "--drop-last"][..],
        &["--batch-size", "7"],
        &["--batch-size", "8", "--batch-norm", "frozen"],
    ] {
        run("out", 1, advice).assert().success();
    }

    run("whole", 3, &["--batch-size", "8", "--drop-last"]).assert().success();
    let steps = events(&folder.join("whole")).iter().filter(|event| matches!(event, Event::Step(_))).count();
    assert_eq!(steps, 12);
    run("parts", 1, &["--batch-size", "8", "--drop-last"]).assert().success();
    let mut resumed = Command::cargo_bin("gnp-run").unwrap();
    resumed.arg(&model).arg("--data").arg(&data).arg("--out").arg(folder.join("parts"));
    resumed.args(["--epochs", "3", "--loss", "cross-entropy", "--quiet", "--engine", "tract", "--resume"]);
    resumed.args(["--batch-size", "8", "--drop-last"]).assert().success();
    assert_eq!(crate::support::run::course(&folder.join("parts")), crate::support::run::course(&folder.join("whole")));
    let few = refusal(&mut run("out", 1, &["--batch-size", "64", "--drop-last"]));
    assert_says(&few, &["33 training samples, fewer than a batch of 64", "--drop-last"]);
}

/// The number of a reshaped layer's outputs does not say which of its two axes is which.
#[test]
fn the_axis_of_the_classes_is_asked_for_where_two_are_possible() {
    let folder = tempfile::tempdir().unwrap();
    let step = folder.path().join("step.onnx");
    let rewrite = |arguments: &[&str]| {
        let mut command = gnp_rewrite();
        command
            .arg(fixture("split.onnx"))
            .arg("-o")
            .arg(&step)
            .args(["--loss", "cross-entropy", "--force"])
            .args(arguments);
        command
    };
    let refused = refusal(&mut rewrite(&[]));
    assert_says(
        &refused,
        &[
            "the classes of `y` FLOAT [N, 6, 5] may be on axis 1 or 2; which is it?",
            "--class-axis 1: 6 classes; class numbers are of shape [N, 5]",
            "--class-axis 2: 5 classes; class numbers are of shape [N, 6]",
        ],
    );
    for (axis, labels) in [("1", "labels: INT64 [N, 5]"), ("2", "labels: INT64 [N, 6]"), ("-1", "labels: INT64 [N, 6]")]
    {
        assert_says(&said(&mut rewrite(&["--class-axis", axis])), &[labels]);
    }
    let tokens = said(gnp_rewrite().arg(fixture("tokens.onnx")).arg("-o").arg(&step).args([
        "--loss",
        "cross-entropy",
        "--force",
    ]));
    assert_says(
        &tokens,
        &["the classes are on axis 2 of `y` FLOAT [N, L, 5], the only one of a fixed size", "--class-axis"],
    );
}

#[test]
fn the_best_epoch_is_told_by_the_error_of_any_layout() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (name, loss) in [("pixels", &["cross-entropy", "--ignore-index", "255"][..]), ("several", &["bce"])] {
        let data = fixture(&format!("{name}.npz"));
        let mut command = gnp_run(&fixture(&format!("{name}.onnx")), &data, &out, 3);
        command
            .args(["--best", "test-error", "--lr", "0.5", "--engine", "tract", "--loss"])
            .args(loss)
            .assert()
            .success();
        assert!(out.join("best.onnx").is_file());
        let report = fs::read_to_string(out.join("report.html")).unwrap();
        assert!(report.contains("The error is the fraction of the labels"), "{name}");
    }
    let mut command = gnp_run(&fixture("binary.onnx"), &fixture("binary.npz"), &out, 1);
    let refused = refusal(command.args(["--loss", "mse", "--best", "test-error", "--quiet"]));
    assert_says(&refused, &["the best epoch by test-error cannot be told: the loss has no right and wrong"]);
}

#[test]
fn a_run_goes_on_with_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data, out) = (fixture("binary.onnx"), fixture("binary.npz"), folder.path().join("out"));
    let run = |epochs: &str, arguments: &[&str]| {
        let mut command = Command::cargo_bin("gnp-run").unwrap();
        command
            .arg(&model)
            .arg("--data")
            .arg(&data)
            .arg("--out")
            .arg(&out)
            .args(["--epochs", epochs, "--loss", "bce", "--quiet"]);
        command.args(["--batch-size", "4", "--engine", "tract"]).args(arguments);
        command
    };
    run("1", &["--drop-last"]).assert().success();
    assert_says(&refusal(&mut run("2", &["--resume"])), &["drop last was true, is not given"]);
    run("2", &["--drop-last", "--resume"]).assert().success();
    assert_eq!(events(&out).iter().filter(|event| matches!(event, Event::Step(_))).count(), 4);
}
