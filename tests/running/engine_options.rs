//! How an engine computes: what the user says of it, and what is said to the user.
use crate::support::command::{assert_says, refusal};
use crate::support::run::Training;
use gnp::engine::runtime;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A run of an epoch with ONNX Runtime.
fn with_onnxruntime(training: &Training, out: &Path, arguments: &[&str]) -> assert_cmd::Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
    let library = runtime::install_onnxruntime(&mut |_| {}).unwrap().library;
    command.arg(&training.step).arg("--data").arg(&training.data).arg("--out").arg(out);
    command.args(["--epochs", "1", "--engine", "onnxruntime", "--ort-lib"]).arg(library).args(arguments);
    assert_cmd::Command::from_std(command)
}

#[test]
fn options_of_the_runtime_are_in_configurations_and_the_layout_is_in_the_report() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let config = folder.path().join("given.toml");
    fs::write(&config, "ort-option = [\"session.intra_op.allow_spinning=0\"]\ncuda-graph = \"off\"\n").unwrap();
    let out = folder.path().join("out");
    let run = with_onnxruntime(&training, &out, &["--config", config.to_str().unwrap()]).assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert_says(&said, &["images as the model has them"]);
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert_says(&report, &["; images as the model has them</dd>"]);
    assert!(!report.contains("TF32") && !report.contains("CUDA graph"));
    let written = fs::read_to_string(out.join("config.toml")).unwrap();
    assert_says(&written, &["session.intra_op.allow_spinning=0", "cuda-graph = \"off\""]);
    assert!(!written.contains("tf32"));
}

#[test]
fn a_profile_says_which_operators_take_the_time() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let out = folder.path().join("out");
    let run =
        with_onnxruntime(&training, &out, &["--profile", "--layout", "plain", "--batch-size", "8"]).assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let shown = out.join("profile.json");
    assert_says(&said, &["Where the time of a step goes (the mean of ", " between operators ", " a step "]);
    assert_says(&said, &[shown.to_str().unwrap()]);
    let shares = said.lines().filter_map(|line| line.trim_end().strip_suffix(" %"));
    let shares: Vec<f64> = shares.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    let (all, parts) = shares.split_last().unwrap();
    assert_eq!(*all, 100.0, "{said}");
    assert!((parts.iter().sum::<f64>() - 100.0).abs() <= 0.1 * parts.len() as f64, "{said}");
    let events: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(shown).unwrap()).unwrap();
    assert!(events.iter().any(|event| event["args"]["op_name"] == "Gemm"));
    // Which operators take the most depends on what else the machine does.
    let (_, table) = said.split_once(" share ").unwrap();
    let operators = table.lines().skip(2).map_while(|line| line.split_once("  ")).map(|(operator, _)| operator.trim());
    let operators: Vec<_> = operators.filter(|operator| !operator.contains(' ')).collect();
    assert_eq!(operators.len(), 12, "{said}");
    for operator in operators {
        let name = operator.trim_start_matches("gnp.");
        assert!(events.iter().any(|event| event["args"]["op_name"].as_str().is_some_and(|op| op.starts_with(name))));
    }

    // Whoever does not ask has none.
    let other = folder.path().join("other");
    with_onnxruntime(&training, &other, &[]).assert().success();
    assert!(!other.join("profile.json").exists());
    let mut tract = assert_cmd::Command::from_std(training.command(&folder.path().join("tract"), 1));
    assert_says(&refusal(tract.arg("--profile")), &["--profile is of no use: tract records no times of operators"]);
}

#[test]
fn what_the_device_has_no_use_for_is_refused() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let out = folder.path().join("out");
    for (arguments, says) in [
        (["--tf32", "on"], "--tf32 is of no use: the processor computes with float32"),
        (["--ort-option", "use_tf32=0"], "--ort-option use_tf32=0 is of no use: on the processor"),
        (["--ort-option", "use_tf32"], "`use_tf32` is no option: expected KEY=VALUE"),
    ] {
        assert_says(&refusal(&mut with_onnxruntime(&training, &out, &arguments)), &[says]);
        assert!(!out.exists());
    }
    let mut tract = assert_cmd::Command::from_std(training.command(&out, 1));
    tract.args(["--ort-option", "session.intra_op.allow_spinning=0"]);
    assert_says(&refusal(&mut tract), &["is of no use: the engine is tract"]);
}
