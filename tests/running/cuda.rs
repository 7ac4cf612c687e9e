//! Runtimes for NVIDIA's cards, as far as a machine without one shows them.
//!
//! The whole of it fetches 3 GB, and takes 5 GB on the disk: `GNP_CUDA_BUILDS=1 cargo test --test running cuda` does it,
//! into the cache folder that `GNP_CACHE_DIR` names, or the user's.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
use crate::support::command::{assert_says, refusal};
use crate::support::{alone, models, training_runtime};
use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn gnp_run() -> Command {
    let mut command = Command::cargo_bin("gnp-run").unwrap();
    command.env_remove("ORT_DYLIB_PATH");
    command
}

/// What a command that succeeds writes to standard output and to standard error.
#[track_caller]
fn said(command: &mut Command) -> (String, String) {
    let output = command.assert().success().get_output().clone();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

const OF_TRAINING: [&str; 6] = [
    "onnxruntime-training==1.19.2",
    "nvidia-cuda-runtime-cu11==11.8.89",
    "nvidia-cublas-cu11==11.11.3.6",
    "nvidia-cudnn-cu11==8.9.6.50",
    "nvidia-cufft-cu11==10.9.0.58",
    "nvidia-curand-cu11==10.3.0.86",
];

const OF_STOCK: [&str; 7] = [
    "onnxruntime-gpu==1.31.1",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cublas==13.1.0.3",
    "nvidia-cudnn-cu13==9.19.0.56",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cufft==12.0.0.61",
    "nvidia-curand==10.4.0.35",
];

#[test]
fn a_dry_run_lists_what_would_come() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    for (engine, packages) in [("training", &OF_TRAINING[..]), ("onnxruntime", &OF_STOCK)] {
        let arguments = ["engines", "install", engine, "--device", "cuda", "--dry-run"];
        let (list, _) = said(gnp_run().args(arguments).env("GNP_CACHE_DIR", &cache));
        for package in packages {
            let line = list.lines().find(|line| line.trim_start().starts_with(package)).expect(package);
            let into = cache.join(package.replace("==", "-")).display().to_string();
            // A machine may have NVIDIA's libraries.
            let is_here = package.starts_with("nvidia-") && line.contains("is here: /");
            assert!(is_here || (line.contains(&format!("is fetched into {into}")) && line.contains("B ")), "{line}");
        }
        assert_says(&list, &["fetched, once: ", "are free"]);
    }
    assert!(!cache.exists());
}

#[test]
fn a_dry_run_for_the_processor_lists_one_package() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["engines", "install", "training", "--dry-run"];
    let (list, _) = said(gnp_run().args(arguments).env("GNP_CACHE_DIR", folder.path().join("cache")));
    assert_says(&list, &["onnxruntime-training-cpu==1.19.2", "1 package is fetched, once: 8.93 MB"]);
    assert!(!list.contains("nvidia") && !list.contains("CUDA"), "{list}");
}

/// The names that the training module wants from Python were told apart by how it uses them; here, by how Python names
/// its variables.
#[test]
fn the_shim_has_pythons_variables_as_such() {
    needs!(engines);
    let names = fs::read_to_string(training_runtime().library.with_file_name("python.h")).unwrap();
    assert_eq!(names.lines().count(), 163, "as `nm --dynamic --undefined-only` lists them");
    for line in names.lines() {
        let (kind, name) = line.strip_suffix(')').and_then(|line| line.split_once('(')).expect(line);
        // `PyObject_Type` is a function, for all its name.
        let is_type = name.ends_with("_Type") && name != "PyObject_Type";
        let is_variable = is_type || name.starts_with("PyExc_") || name.ends_with("Struct");
        assert_eq!(kind, if is_variable { "DATA" } else { "FUNCTION" }, "{name}");
    }
}

#[test]
fn without_a_runtime_the_one_for_the_device_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (model, engine) in [("mlp", "training"), ("mlp/model.onnx", "onnxruntime")] {
        let mut run = gnp_run();
        run.arg(models().join(model)).arg("--data").arg(models().join("digits.npz")).args(["--device", "cuda"]);
        run.args(["--epochs", "1", "--divisor", "16", "--out"]).arg(folder.path().join("out"));
        if model.ends_with(".onnx") {
            run.args(["--loss", "cross-entropy"]);
        }
        // Neither a Python that may have one.
        let said = refusal(run.env("GNP_CACHE_DIR", folder.path().join("cache")).env("PATH", folder.path()));
        assert_says(&said, &[&format!("`gnp-run engines install {engine} --device cuda`")]);
    }
}

#[test]
fn a_build_for_processors_says_what_gets_another() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let said = refusal(train(&folder.path().join("out"), &training_runtime().library).args(["--device", "cuda"]));
    assert_says(&said, &["CUDAExecutionProvider", "`gnp-run engines install training --device cuda`", "--device cpu"]);
}

/// A run of the MLP's artifacts with this ONNX Runtime.
fn train(out: &Path, library: &Path) -> Command {
    let mut command = gnp_run();
    command.arg(models().join("mlp")).arg("--data").arg(models().join("digits.npz")).args(["--divisor", "16"]);
    command.args(["--epochs", "2", "--out"]).arg(out).arg("--ort-lib").arg(library);
    command
}

/// The losses of a run.
fn losses(out: &Path) -> Vec<f64> {
    let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == "step").map(|line| line["loss"].as_f64().unwrap()).collect()
}

/// The installed runtimes as `gnp-run engines` lists them: the libraries that are for NVIDIA's cards.
fn for_cuda() -> Vec<Value> {
    let (json, _) = said(gnp_run().args(["engines", "--json"]));
    let list: Vec<Value> = serde_json::from_str(&json).unwrap();
    let is_for_cuda = |engine: &Value| {
        engine["providers"].as_array().is_some_and(|providers| providers.iter().any(|p| p == "CUDAExecutionProvider"))
    };
    list.into_iter().filter(|engine| engine["found"] == "installed" && is_for_cuda(engine)).collect()
}

#[test]
fn the_builds_for_cards_train_on_the_processor_and_say_what_they_lack() {
    if env::var_os("GNP_CUDA_BUILDS").is_none() {
        return;
    }
    let _alone = alone("cuda-builds");
    for engine in ["training", "onnxruntime"] {
        said(gnp_run().args(["engines", "install", engine, "--device", "cuda"]));
    }
    let listed = for_cuda();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let is_ready = |engine: &Value| engine["devices"].as_array().unwrap().len() > 1;
    for engine in &listed {
        let lacks = engine["missing_for_cuda"].as_array().unwrap();
        assert_eq!(is_ready(engine), lacks.is_empty(), "{engine}");
        assert!(lacks.iter().all(|lack| !lack.as_str().unwrap().contains("library")), "{engine}");
    }
    let library = |trains: bool| {
        let engine = listed.iter().find(|engine| engine["can_train"] == trains).unwrap();
        PathBuf::from(engine["library"].as_str().unwrap())
    };

    // The same numbers as the build for processors, which is of the same release.
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    said(&mut train(&out("cpu"), &training_runtime().library));
    said(&mut train(&out("cuda"), &library(true)));
    assert_eq!(losses(&out("cpu")), losses(&out("cuda")));
    assert_eq!(losses(&out("cpu")).len(), 32);

    let mut step = gnp_run();
    step.arg(models().join("mlp/model.onnx")).args(["--loss", "cross-entropy", "--epochs", "2", "--divisor", "16"]);
    step.arg("--data").arg(models().join("digits.npz")).arg("--ort-lib").arg(library(false));
    said(step.arg("--out").arg(out("step")));
    assert!(losses(&out("step")).last() < losses(&out("step")).first());

    // A card's losses differ by its rounding.
    if listed.iter().all(is_ready) {
        said(train(&out("card"), &library(true)).args(["--device", "cuda"]));
        let both = losses(&out("cpu")).into_iter().zip(losses(&out("card")));
        both.for_each(|(cpu, card)| assert!((cpu - card).abs() < 1e-2 * cpu, "{cpu} {card}"));
    } else {
        let said = refusal(train(&out("card"), &library(true)).args(["--device", "cuda"]));
        assert_says(
            &said,
            &["cannot compute on `cuda:0` here; missing: NVIDIA's driver (libcuda.so.1)", "--device cpu"],
        );
    }
}

#[test]
fn a_library_that_is_gone_is_named_and_fetched_alone() {
    if env::var_os("GNP_CUDA_BUILDS").is_none() {
        return;
    }
    let _alone = alone("cuda-builds");
    let install = || {
        let (_, progress) = said(gnp_run().args(["engines", "install", "training", "--device", "cuda"]));
        progress.lines().filter_map(|line| line.strip_prefix("pip downloads ")).map(str::to_owned).collect::<Vec<_>>()
    };
    install();
    let training = for_cuda().into_iter().find(|engine| engine["can_train"] == true).unwrap();
    let library = PathBuf::from(training["library"].as_str().unwrap());
    let runtimes = library.parent().and_then(Path::parent).unwrap();
    let package = runtimes.join("nvidia-cuda-runtime-cu11-11.8.89");
    if !package.exists() {
        return; // The machine has it elsewhere.
    }
    fs::remove_dir_all(&package).unwrap();
    let training = for_cuda().into_iter().find(|engine| engine["can_train"] == true).unwrap();
    let missing = training["missing_for_cuda"].to_string();
    assert!(missing.contains("the library libcudart.so.11.0"), "{missing}");

    let folder = tempfile::tempdir().unwrap();
    let said = refusal(train(folder.path(), &library).args(["--device", "cuda"]));
    assert_says(&said, &["the library libcudart.so.11.0", "`gnp-run engines install training --device cuda` gets one"]);

    let fetched = install();
    assert_eq!(fetched.len(), 1, "{fetched:?}");
    assert!(fetched[0].starts_with("nvidia-cuda-runtime-cu11==11.8.89 "), "{fetched:?}");
    assert!(package.join("libcudart.so.11.0").exists());
}
