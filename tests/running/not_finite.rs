//! NaN and ∞: in data, in weights, in what a step comes to. On every engine they end the run at once, with a message
//! that says where they come from, and no file holds any.
use crate::support::command::{assert_says, refusal};
use crate::support::forward;
use crate::support::run::events;
use assert_cmd::Command;
use gnp::engine::{State, runtime};
use gnp::onnx::DataType;
use gnp::report::Event;
use ndarray::Array2;
use ndarray_npy::WriteNpyExt;
use std::fs;
use std::path::{Path, PathBuf};

/// 24 samples of 4 numbers and one target each, in a folder of arrays.
struct Arrays {
    x: Array2<f32>,
    y: Array2<f32>,
}

impl Arrays {
    fn new() -> Self {
        let number = |n: usize, i: usize| ((n * 31 + i * 17) % 23) as f32 / 23.0;
        Self {
            x: Array2::from_shape_fn((24, 4), |(n, i)| number(n, i)),
            y: Array2::from_shape_fn((24, 1), |(n, _)| number(n, 9)),
        }
    }

    fn write(&self, folder: &Path, part: &str) {
        fs::create_dir_all(folder).unwrap();
        for (name, array) in [("x", &self.x), ("y", &self.y)] {
            array.write_npy(fs::File::create(folder.join(format!("{name}_{part}.npy"))).unwrap()).unwrap();
        }
    }
}

/// x → √ of a weighted sum → `y`: its slope is infinite at 0.
fn model(folder: &Path, weights: &[f32], operator: &str) -> PathBuf {
    let mut model = forward::empty();
    let graph = forward::graph(&mut model);
    graph.node.extend([forward::node("MatMul", &["x", "w"], "sum"), forward::node(operator, &["sum"], "y")]);
    let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    graph.initializer.push(gnp::onnx::proto::TensorProto::raw("w", DataType::Float, &[4, 1], bytes.into()));
    graph.output.push(forward::info("y", DataType::Float, "batch,1"));
    forward::write(&model, &folder.join("model.onnx"))
}

fn engines() -> [Vec<String>; 2] {
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    [vec!["--engine".into(), "tract".into()], vec!["--ort-lib".into(), stock.library.to_str().unwrap().to_owned()]]
}

/// A run on both engines, one after the other.
fn runs(folder: &Path, model: &Path, data: &Path, arguments: &[&str]) -> Vec<Command> {
    let run = |engine: Vec<String>| {
        let mut command = Command::cargo_bin("gnp-run").unwrap();
        command.arg(model).arg("--data").arg(data).arg("--out").arg(folder.join("run"));
        command.args(["--loss", "mse", "--epochs", "9", "--quiet"]).args(arguments).args(engine);
        command
    };
    engines().into_iter().map(run).collect()
}

/// All numbers in the checkpoints and the result of a run are finite.
fn assert_finite(out: &Path) {
    for checkpoint in fs::read_dir(out.join("checkpoints")).unwrap() {
        let state = State::read(&checkpoint.unwrap().path().join("checkpoint")).unwrap();
        assert!(state.check_finite().is_ok());
    }
    assert!(!out.join("model.onnx").exists());
}

#[test]
fn data_are_looked_at_before_training() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), &[1.0; 4], "Identity");
    type Fault = (&'static str, fn(&mut Arrays), &'static str);
    let faults: [Fault; 4] = [
        ("train", |data| data.x[[5, 2]] = f32::NAN, "`x_train`: sample 5 holds NaN at [2]"),
        ("train", |data| data.y[[7, 0]] = f32::INFINITY, "`y_train`: sample 7 holds inf at [0]"),
        ("test", |data| data.x[[23, 0]] = f32::NEG_INFINITY, "`x_test`: sample 23 holds -inf at [0]"),
        ("test", |data| data.y.fill(f32::NAN), "`y_test`: sample 0 holds NaN at [0]; 24 samples hold such"),
    ];
    for (number, (part, spoil, says)) in faults.into_iter().enumerate() {
        let data = folder.path().join(number.to_string());
        Arrays::new().write(&data, "train");
        Arrays::new().write(&data, "test");
        let mut spoilt = Arrays::new();
        spoil(&mut spoilt);
        spoilt.write(&data, part);
        for mut command in runs(folder.path(), &model, &data, &[]) {
            let said = refusal(&mut command);
            assert_says(&said, &[data.to_str().unwrap(), says, "help: mend such samples"]);
        }
    }
    assert!(!folder.path().join("run").exists());
}

#[test]
fn samples_that_are_spoilt_by_their_normalisation_are_named() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), &[1.0; 4], "Identity");
    let mut data = Arrays::new();
    data.x[[3, 1]] = 1e10;
    data.write(&folder.path().join("data"), "train");
    for mut command in runs(
        folder.path(),
        &model,
        &folder.path().join("data"),
        &["--divisor", "1e-30", "--batch-size", "24", "--force"],
    ) {
        let said = refusal(&mut command);
        assert_says(&said, &["data: sample 3 holds inf once it is divided by 1e-30", "help: give a divisor"]);
    }
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), &[1.0, f32::NAN, 1.0, 1.0], "Identity");
    Arrays::new().write(&folder.path().join("data"), "train");
    for mut command in runs(folder.path(), &model, &folder.path().join("data"), &[]) {
        assert_says(&refusal(&mut command), &["model.onnx: `w` holds NaN", "help: start from weights"]);
    }
}

#[test]
fn a_gradient_that_is_no_number_ends_the_run_before_it_is_followed() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), &[0.0; 4], "Sqrt");
    Arrays::new().write(&folder.path().join("data"), "train");
    for mut command in runs(folder.path(), &model, &folder.path().join("data"), &["--force"]) {
        let said = refusal(&mut command);
        assert_says(&said, &["the norm of the gradient is", "at step 1 (epoch 1)"]);
        assert_finite(&folder.path().join("run"));
    }
}

#[test]
fn a_number_in_the_data_that_is_too_large_is_named() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), &[1.0; 4], "Identity");
    let mut data = Arrays::new();
    data.x[[11, 3]] = -1e30;
    data.write(&folder.path().join("data"), "train");
    for mut command in runs(folder.path(), &model, &folder.path().join("data"), &["--force"]) {
        let said = refusal(&mut command);
        assert_says(
            &said,
            &["data: the loss is inf", "in whose batch sample 11 holds -1e30", "help: mend that sample"],
        );
        assert_finite(&folder.path().join("run"));
    }
}

#[test]
fn a_run_that_diverges_goes_on_with_a_lower_rate_from_where_it_had_not() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), &[1.0; 4], "Identity");
    let data = folder.path().join("data");
    Arrays::new().write(&data, "train");
    let out = folder.path().join("run");
    let all = ["--optimizer", "sgd", "--warmup", "30", "--batch-size", "8"];
    for engine in 0..2 {
        let run = |more: &[&str]| runs(folder.path(), &model, &data, &[&all, more].concat()).swap_remove(engine);
        let said = refusal(&mut run(&["--lr", "300", "--force"]));
        assert_says(
            &said,
            &[
                "training has diverged",
                "help: lower the learning rate (it was ",
                "with --resume the run goes on from the end of epoch",
            ],
        );
        assert_finite(&out);
        let shown = events(&out);
        let Some(Event::Step(last)) = shown.last() else { panic!("{shown:?}") };
        assert!(last.measures.named().iter().any(|(_, n)| n.is_some_and(|n| !n.is_finite())), "{last:?}");

        // What else is changed makes another run.
        let said = refusal(&mut run(&["--lr", "1", "--seed", "4", "--resume"]));
        assert_says(&said, &["the run was begun otherwise: seed was 0, is 4"]);
        run(&["--lr", "1", "--resume"]).assert().success();
        let losses: Vec<f32> = events(&out)
            .iter()
            .filter_map(|event| if let Event::Epoch(report) = event { Some(report.measures.loss) } else { None })
            .collect();
        let highest = losses.iter().copied().fold(0.0, f32::max);
        assert!(highest.is_finite() && losses[8] < highest, "{losses:?}");
        // The rates of a run that has not diverged are its own.
        let said = refusal(&mut run(&["--lr", "0.04", "--resume"]));
        assert_says(&said, &["the run was begun otherwise: learning rate was 1, is 0.04"]);
    }
}
