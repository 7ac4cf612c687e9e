//! Nothing that stands in a file moves the cursor, colours the terminal, forges a line or turns the direction of
//! writing.
use crate::support::command::{edited, gnp_rewrite};
use crate::support::forward::{graph, network, node, write};
use crate::support::models;
use assert_cmd::Command;
use gnp::onnx::proto::ModelProto;
use std::fs;
use std::path::Path;

/// Clears the screen, rings, breaks the line, says something, turns the direction; in 8 bits, too.
const NASTY: &str = "\u{1b}[2J\u{7}\r\nerror: forged\n\u{9b}31m\u{202e}\u{2066}";

fn nasty(name: &str) -> String {
    format!("{name}{NASTY}")
}

/// Checks that what a command prints and says has no such character, and that names are there all the same.
#[track_caller]
fn assert_escaped(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let all = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    for c in all.chars() {
        let is_fine = c == '\n' || (!c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c) && c != '\u{2066}');
        assert!(is_fine, "{c:?} in {all:?}");
    }
    assert!(all.contains("\\u001b[2J\\u0007"), "{all}");
    assert!(!all.lines().any(|line| line.starts_with("error: forged")), "{all}");
    all
}

/// A model all of whose names are nasty.
fn named_nastily(model: &mut ModelProto) {
    let graph = graph(model);
    for node in &mut graph.node {
        node.name = Some(nasty(node.name()));
        node.input
            .iter_mut()
            .chain(&mut node.output)
            .filter(|name| !name.is_empty())
            .for_each(|name| *name = nasty(name));
    }
    graph.initializer.iter_mut().for_each(|tensor| tensor.name = Some(nasty(tensor.name())));
    graph.input.iter_mut().chain(&mut graph.output).for_each(|info| info.name = Some(nasty(info.name())));
}

#[test]
fn reports_and_errors_of_models() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = network();
    named_nastily(&mut model);
    let step = |model: &Path, more: &[&str]| {
        let mut command = gnp_rewrite();
        command.arg(model).arg("-f").arg("-o").arg(folder.path().join("step.onnx")).args(more);
        command
    };
    let path = write(&model, &folder.path().join("model.onnx"));
    for more in [
        &[][..],
        &["-v"],
        &["--dry-run", "--check"],
        &["--json"],
        &["--train", "no*"],
        &["--logits", "x"],
        &["--dim", "x=2"],
    ] {
        assert_escaped(&mut step(&path, more));
    }
    step(&path, &[]).assert().success();
    let json = step(&path, &["--json"]).output().unwrap().stdout;
    let report: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(report["parameters"][0].as_str().unwrap().ends_with(NASTY));

    // An operator that is not known, a node that does not fit, a value that is missing, a domain.
    let mut unknown = model.clone();
    graph(&mut unknown).node[5].op_type = Some(nasty("Unknown"));
    let mut misfit = model.clone();
    graph(&mut misfit).initializer[0].dims = vec![7];
    let mut missing = model.clone();
    graph(&mut missing).node[0].input[0] = nasty("missing");
    let mut domain = model.clone();
    graph(&mut domain).node[0].domain = Some(nasty("domain"));
    let mut twice = model.clone();
    let again = graph(&mut twice).node[0].clone();
    graph(&mut twice).node.push(again);
    let mut alone = network();
    graph(&mut alone).node.push(node("Sin", &[&nasty("x")], &nasty("y")));
    for (number, model) in [unknown, misfit, missing, domain, twice, alone].into_iter().enumerate() {
        let path = write(&model, &folder.path().join(format!("{number}.onnx")));
        assert_eq!(step(&path, &[]).output().unwrap().status.code(), Some(2), "{number}");
        assert_escaped(&mut step(&path, &[]));
    }
}

#[test]
fn artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("training_model.onnx");
    let nasty_node = |model: &mut ModelProto| graph(model).node[0].op_type = Some(nasty("Unknown"));
    fs::write(&path, edited(nasty_node)).unwrap();
    assert_escaped(gnp_rewrite().arg(&path).arg("-o").arg(folder.path().join("out.onnx")));
}

#[test]
fn names_in_data_and_paths() {
    let folder = tempfile::tempdir().unwrap();
    let run = |data: &Path, more: &[&str]| {
        let mut command = Command::cargo_bin("gnp-run").unwrap();
        command
            .arg(models().join("cnn/model.onnx"))
            .arg("--data")
            .arg(data)
            .args(["--epochs", "1", "--engine", "tract"]);
        command.args(["--loss", "cross-entropy", "-v"]).arg("--out").arg(folder.path().join("out")).args(more);
        command
    };
    let column = nasty("column").replace(['\n', '\r'], "");
    let table = folder.path().join("table.csv");
    fs::write(&table, format!("a,{column},\"{column}2\"\n1,2,{column}\n3,x,{column}\n")).unwrap();
    assert_escaped(&mut run(&table, &["--target", "b"]));
    assert_escaped(&mut run(&table, &["--target", &format!("{column}2"), "--features", &column]));
    #[cfg(unix)]
    {
        let images = folder.path().join("images");
        for class in ["a", "b"] {
            let class = images.join(nasty(class));
            fs::create_dir_all(&class).unwrap();
            fs::write(class.join("1.png"), "no image").unwrap();
        }
        assert_escaped(&mut run(&images, &[]));
        assert_escaped(&mut run(&folder.path().join(nasty("missing")), &[]));
        assert_escaped(gnp_rewrite().arg(folder.path().join(nasty("missing"))).args(["-o", "x"]));
        let config = folder.path().join("config.toml");
        let escaped: String = column.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
        for text in [format!("\"{escaped}\" = 1\n"), format!("x = [\n{column}"), format!("engine = \"{escaped}\"")] {
            fs::write(&config, text).unwrap();
            let output = run(&table, &["--config", config.to_str().unwrap()]).output().unwrap();
            assert!(!String::from_utf8(output.stderr).unwrap().contains('\u{1b}'));
        }
    }
}
