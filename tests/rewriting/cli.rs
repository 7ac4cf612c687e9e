//! `gnp-rewrite` from the command line: files and folders in and out, what it prints, what it writes.
use crate::support::command::{contents, edited, external_table, gnp_rewrite, mlp};
use crate::support::{models, training_runtime};
use gnp::onnx;
use gnp::onnx::proto::{GraphProto, NodeProto, StringStringEntryProto};
use gnp::onnx::{Model, WriteOptions};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `gnp-rewrite INPUT -o OUTPUT ARGUMENTS` and returns what it prints.
#[track_caller]
fn rewrite(input: &Path, output: &Path, arguments: &[&str]) -> String {
    let done = gnp_rewrite().arg(input).arg("-o").arg(output).args(arguments).assert().success();
    assert!(done.get_output().stderr.is_empty());
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

fn file_names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

fn artifact_names() -> BTreeSet<String> {
    ["checkpoint", "eval_model.onnx", "optimizer_model.onnx", "training_model.onnx"].map(String::from).into()
}

/// A copy of an example's artifacts, to be changed.
fn copy_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in artifact_names() {
        fs::copy(models().join(name).join(&file), folder.path().join(file)).unwrap();
    }
    folder
}

fn nodes(model: &Path) -> Vec<NodeProto> {
    onnx::read(model).unwrap().graph.node
}

fn metadata<'n>(node: &'n NodeProto, key: &str) -> Option<&'n str> {
    node.metadata_props.iter().find(|e| e.key() == key).map(StringStringEntryProto::value)
}

#[test]
fn a_folder_becomes_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for example in ["mlp", "cnn", "vit", "cnn_head"] {
        let (input, output) = (models().join(example), folder.path().join(example));
        let text = rewrite(&input, &output, &["--check"]);
        assert!(text.contains("GNP: r = 0.1, alpha = 0.8"), "{text}");
        assert_eq!(file_names(&output), artifact_names());
        for name in ["eval_model.onnx", "optimizer_model.onnx", "checkpoint"] {
            assert!(fs::read(output.join(name)).unwrap() == fs::read(input.join(name)).unwrap(), "{name}");
        }
        assert!(nodes(&output.join("training_model.onnx")).len() > nodes(&input.join("training_model.onnx")).len());
    }
    assert_eq!(file_names(folder.path()).len(), 4, "temporary files were left");
}

#[cfg(unix)]
#[test]
fn outputs_are_as_readable_as_new_files_are() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    rewrite(&models().join("mlp"), &output, &[]);
    for path in [&output].into_iter().chain(contents(&output).keys()) {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o444, 0o444, "{}", path.display());
    }
}

#[test]
fn a_file_becomes_a_file() {
    let folder = tempfile::tempdir().unwrap();
    rewrite(&mlp(), &folder.path().join("gnp.onnx"), &[]);
    rewrite(&mlp(), folder.path(), &[]);
    assert_eq!(file_names(folder.path()), ["gnp.onnx", "training_model.onnx"].map(String::from).into());
    let files: Vec<_> = contents(folder.path()).into_values().collect();
    assert!(files[0] == files[1], "the same rewrite must give the same bytes");
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = copy_of("mlp");
    let before = contents(folder.path());
    for output in ["out", "no/such/folder"] {
        let text = rewrite(folder.path(), &folder.path().join(output), &["--dry-run"]);
        assert!(text.contains("dry run: nothing was written"), "{text}");
        assert!(!text.contains("Wrote"), "{text}");
    }
    rewrite(folder.path(), &folder.path().join("out"), &["-n", "-f", "--check"]);
    assert!(contents(folder.path()) == before);
    assert_eq!(file_names(folder.path()).len(), 4);
}

#[test]
fn json() {
    let folder = tempfile::tempdir().unwrap();
    let text = rewrite(&models().join("cnn"), &folder.path().join("out"), &["--json", "--check", "--lambda", "0.05"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let model = folder.path().join("out/training_model.onnx");
    assert_eq!(report["input"], models().join("cnn/training_model.onnx").to_str().unwrap());
    assert_eq!(report["output"], model.to_str().unwrap());
    assert_eq!(report["bytes"], fs::metadata(&model).unwrap().len());
    assert_eq!(report["plain"], false);
    assert_eq!(report["trainable_parameters"], 10);
    assert_eq!(report["external"], Value::Array(vec![]));
    let settings = &report["settings"];
    assert_eq!((&settings["mix"], &settings["perturb"]), (&"raw".into(), &"l2".into()));
    assert!((settings["alpha"].as_f64().unwrap() - 0.5).abs() < 1e-6);
    assert!(report["checked"].is_object());

    // The report's counts are those of the files.
    let (before, after) = (nodes(&models().join("cnn/training_model.onnx")), nodes(&model));
    assert_eq!((&report["nodes_before"], &report["nodes_after"]), (&before.len().into(), &after.len().into()));
    let mut shared = 0;
    for (operator, count) in report["operators"].as_object().unwrap() {
        let here = |nodes: &[NodeProto]| nodes.iter().filter(|n| n.operator() == *operator).count();
        let number = |key: &str| count[key].as_u64().unwrap() as usize;
        assert_eq!((number("before"), number("after")), (here(&before), here(&after)), "{operator}");
        assert_eq!(number("after"), number("before") + number("perturbed") + number("penalty"), "{operator}");
        shared += number("shared");
    }
    assert_eq!(report["shared_nodes"], shared);
}

#[test]
fn quiet_prints_nothing_and_verbose_more() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(rewrite(&mlp(), &folder.path().join("a"), &["-q", "--check"]), "");
    assert!(folder.path().join("a").is_file());
    assert!(!rewrite(&mlp(), &folder.path().join("b"), &[]).contains("shared"));
    assert!(rewrite(&mlp(), &folder.path().join("c"), &["-v"]).contains("shared"));
}

#[test]
fn check_loads_the_result() {
    needs!(engines);
    let library = training_runtime().library;
    let folder = tempfile::tempdir().unwrap();
    for (i, arguments) in
        [&["--metrics"][..], &["--expose", "r,alpha"], &["--dry-run"], &["--r", "0"]].iter().enumerate()
    {
        let output = folder.path().join(i.to_string());
        let done = gnp_rewrite()
            .arg(models().join("mlp"))
            .arg("-o")
            .arg(output)
            .arg("--check")
            .args(*arguments)
            .arg("--ort-lib")
            .arg(&library)
            .assert()
            .success();
        let text = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
        assert!(text.contains("loads in ONNX Runtime 1.19.2"), "{arguments:?}: {text}");
    }
}

#[test]
fn check_says_why_nothing_was_loaded() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let check = |output: &str| {
        let mut command = gnp_rewrite();
        command.arg(mlp()).arg("-o").arg(folder.path().join(output)).arg("--check");
        // Neither an installed runtime, nor one of the system's Python.
        command
            .env("GNP_CACHE_DIR", folder.path().join("cache"))
            .env("PATH", folder.path())
            .env_remove("ORT_DYLIB_PATH");
        command
    };
    let said = |command: &mut assert_cmd::Command| {
        String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
    };
    let text = said(&mut check("a"));
    assert!(text.contains("Not loaded: found no ONNX Runtime that can train"), "{text}");
    let text = said(check("b").env("ORT_DYLIB_PATH", folder.path().join("gone.so")));
    assert!(text.contains("Not loaded: ") && text.contains("gone.so"), "{text}");
    check("c").arg("--ort-lib").arg("gone.so").assert().code(2);

    // Without the other artifacts there is nothing to load it with.
    let alone = folder.path().join("alone/model.onnx");
    fs::create_dir(alone.parent().unwrap()).unwrap();
    fs::copy(mlp(), &alone).unwrap();
    let text = rewrite(
        &alone,
        &folder.path().join("d"),
        &["--check", "--ort-lib", training_runtime().library.to_str().unwrap()],
    );
    assert!(text.contains("Not loaded: its checkpoint and optimizer model are not in the folder"), "{text}");
}

#[test]
fn methods_are_called_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    for (arguments, says) in [
        (&["--alpha", "1"][..], "SAM: r = 0.1"),
        (&["--alpha", "0.5"], "GNP: r = 0.1, alpha = 0.5"),
        (&["--r", "0"], "plain training"),
        (&["--alpha", "0"], "plain training"),
        (&["--alpha", "0", "--mix", "unit"], "GNP"),
        (&["--r", "0", "--mix", "unit"], "plain training"),
        (&["--alpha", "0", "--expose", "alpha"], "alpha = the input gnp.alpha"),
        (&["--perturb", "adaptive"], "perturbation adaptive"),
    ] {
        count += 1;
        let text = rewrite(&mlp(), &folder.path().join(count.to_string()), arguments);
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn without_a_penalty_the_graph_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for (i, arguments) in [&["--r", "0"][..], &["--alpha", "0"], &["--r", "0", "--mix", "unit"]].into_iter().enumerate()
    {
        for example in ["mlp", "cnn", "vit"] {
            let input = models().join(example).join("training_model.onnx");
            let output = folder.path().join(format!("{example}{i}"));
            rewrite(&input, &output, arguments);
            let (before, after) = (onnx::read(&input).unwrap(), onnx::read(&output).unwrap());
            assert!(before.graph == after.graph, "{example}");
            assert!(after.metadata("gnp.version").is_some());
        }
    }
}

#[test]
fn lambda_is_alpha_times_r() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    rewrite(&mlp(), &a, &["--r", "0.1", "--alpha", "0.8"]);
    rewrite(&mlp(), &b, &["--r", "0.1", "--lambda", "0.08"]);
    let [a, b] = [a, b].map(|path| onnx::read(path).unwrap().graph);
    assert_eq!(a.node, b.node);
    let constants = |graph: &GraphProto| {
        let ours = graph.initializer.iter().filter(|t| t.name().starts_with("gnp/"));
        ours.map(|t| f32::from_le_bytes(t.raw_data()[..].try_into().unwrap())).collect::<Vec<_>>()
    };
    let (a, b) = (constants(&a), constants(&b));
    assert!(a.contains(&0.8) && a.len() == b.len());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-6), "{a:?} {b:?}");
}

#[test]
fn everything_added_is_named_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    for example in ["mlp", "cnn", "vit", "cnn_head"] {
        let output = folder.path().join(example);
        rewrite(&models().join(example).join("training_model.onnx"), &output, &["--metrics", "--expose", "r"]);
        let before = onnx::read(models().join(example).join("training_model.onnx")).unwrap();
        let after = onnx::read(&output).unwrap();
        let old: BTreeSet<_> = before.graph.node.iter().map(NodeProto::name).collect();
        let passes: BTreeSet<_> = after
            .graph
            .node
            .iter()
            .filter(|n| !old.contains(n.name()))
            .map(|node| {
                let pass = metadata(node, "gnp.pass").unwrap();
                assert!(node.name().starts_with(&format!("gnp/{pass}/")), "{}", node.name());
                pass
            })
            .collect();
        assert_eq!(passes, ["metrics", "mix", "perturbation", "perturbed"].into());

        let names = |graph: &GraphProto| {
            let values = graph.node.iter().flat_map(|n| n.output.clone());
            let inputs = graph.input.iter().chain(&graph.output).map(|i| i.name().to_owned());
            values.chain(inputs).chain(graph.initializer.iter().map(|t| t.name().to_owned())).collect::<BTreeSet<_>>()
        };
        for name in names(&after.graph).difference(&names(&before.graph)) {
            assert!(name.starts_with("gnp") && !name.ends_with("_grad"), "{name}");
        }

        assert_eq!(after.metadata("gnp.version"), Some(env!("CARGO_PKG_VERSION")));
        let config: Value = serde_json::from_str(after.metadata("gnp.config").unwrap()).unwrap();
        assert_eq!(config["expose_r"], true);
        assert_eq!(config["metrics"], true);
        assert_eq!(config["mix"], "raw");
    }
}

#[test]
fn external_data_comes_along_or_stays() {
    let folder = copy_of("mlp");
    let input = folder.path();
    fs::write(input.join("training_model.onnx"), edited(external_table("weights.bin"))).unwrap();
    fs::write(input.join("weights.bin"), [7; 16]).unwrap();
    // The evaluation model shares the file.
    let mut eval = onnx::read(input.join("eval_model.onnx")).unwrap().into_proto();
    external_table("weights.bin")(&mut eval);
    let eval = Model::new(eval, input.join("eval_model.onnx")).unwrap();
    onnx::write(eval, input.join("eval_model.onnx"), &WriteOptions { force: true, ..Default::default() }).unwrap();

    let out = tempfile::tempdir().unwrap();
    let report = rewrite(input, &out.path().join("new"), &["--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["external"], serde_json::json!(["weights.bin"]));
    assert_eq!(fs::read(out.path().join("new/weights.bin")).unwrap(), [7; 16]);
    onnx::read(out.path().join("new/training_model.onnx")).unwrap();
    onnx::read(out.path().join("new/eval_model.onnx")).unwrap();

    // Into a folder that is there, where the data must not be overwritten unasked.
    fs::create_dir(out.path().join("old")).unwrap();
    fs::write(out.path().join("old/weights.bin"), "precious").unwrap();
    for more in [&[][..], &["--force"]] {
        gnp_rewrite().arg(input).arg("-o").arg(out.path().join("old")).args(more).assert().code(2);
        assert_eq!(file_names(&out.path().join("old")), ["weights.bin".to_owned()].into());
        assert_eq!(fs::read(out.path().join("old/weights.bin")).unwrap(), b"precious");
    }
    // Its own of before is no other's.
    rewrite(input, &out.path().join("new"), &["--force"]);

    rewrite(input, &out.path().join("kept"), &["--external-data", "keep"]);
    assert!(!out.path().join("kept/weights.bin").exists());
    rewrite(&input.join("training_model.onnx"), &input.join("beside.onnx"), &[]);
    onnx::read(input.join("beside.onnx")).unwrap();
}

#[test]
fn generated_texts() {
    for (kind, says) in [
        ("man", ".TH gnp-rewrite"),
        ("complete-bash", "complete -F _gnp__rewrite"),
        ("complete-zsh", "#compdef gnp-rewrite"),
        ("complete-fish", "complete -c gnp-rewrite"),
        ("complete-powershell", "Register-ArgumentCompleter"),
    ] {
        let done = gnp_rewrite().args(["--generate", kind]).assert().success();
        let text = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
        assert!(text.contains(says), "{kind}: {}", &text[..text.len().min(300)]);
        assert!(text.contains("lambda"), "{kind}");
    }
}

#[test]
fn help_has_examples() {
    let done = gnp_rewrite().arg("--help").assert().success();
    let text = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    for says in ["Examples:", "gnp-rewrite artifacts/ -o artifacts_gnp/", "--alpha <ALPHA>", "1 is SAM"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    gnp_rewrite().arg("--version").assert().success();
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(gnp_rewrite().get_program());
    command.arg(mlp()).arg("-o").arg(folder.path().join("out")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
}
