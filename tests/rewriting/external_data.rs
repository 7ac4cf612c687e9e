//! Weights in files of their own, as a user has them: beside the model, or as the links of a cache. Every command
//! leaves them as they were, and what it writes has its own.
#![cfg(unix)]
use crate::support::command::{gnp_rewrite, refusal};
use crate::support::forward;
use assert_cmd::Command;
use gnp::engine::runtime;
use gnp::onnx::{self, DataType, Model, WriteOptions};
use ndarray::{Array1, Array2};
use ndarray_npy::WriteNpyExt;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// x → a frozen layer of 100 KiB → a layer that trains → `logits`, its weights in `<name>.data`.
fn model(folder: &Path, name: &str) -> PathBuf {
    let mut model = forward::empty();
    let graph = forward::graph(&mut model);
    graph.node.extend([
        forward::node("MatMul", &["x", "backbone"], "features"),
        forward::node("Relu", &["features"], "active"),
        forward::node("MatMul", &["active", "head"], "logits"),
    ]);
    graph.initializer.extend([forward::weight("backbone", &[4, 6400]), forward::weight("head", &[6400, 3])]);
    graph.output.push(forward::info("logits", DataType::Float, "batch,3"));
    let path = folder.join(name);
    let options = WriteOptions { message_limit: 4096, ..Default::default() };
    onnx::write(Model::new(model, name).unwrap(), &path, &options).unwrap();
    path
}

/// The same as a cache of downloads has it: both files in `blobs`, links to them in `snapshot`.
fn cached(folder: &Path) -> PathBuf {
    let (blobs, snapshot) = (folder.join("blobs"), folder.join("snapshot"));
    fs::create_dir(&blobs).unwrap();
    fs::create_dir(&snapshot).unwrap();
    let path = model(&blobs, "model.onnx");
    for (name, blob) in [("model.onnx", "one"), ("model.onnx.data", "two")] {
        fs::rename(path.with_file_name(name), blobs.join(blob)).unwrap();
        fs::set_permissions(blobs.join(blob), fs::Permissions::from_mode(0o444)).unwrap();
        symlink(Path::new("../blobs").join(blob), snapshot.join(name)).unwrap();
    }
    snapshot.join("model.onnx")
}

fn data(folder: &Path) -> PathBuf {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    let samples = Array2::from_shape_fn((24, 4), |(n, i)| ((n * 31 + i * 17) % 23) as f32 / 23.0);
    samples.write_npy(&mut x).unwrap();
    Array1::from_shape_fn(24, |n| (n % 3) as i64).write_npy(&mut y).unwrap();
    fs::create_dir(folder.join("data")).unwrap();
    fs::write(folder.join("data/x_train.npy"), x).unwrap();
    fs::write(folder.join("data/y_train.npy"), y).unwrap();
    folder.join("data")
}

/// What may not change of a file: which it is, its links, its permissions and its bytes.
type Kept = (u64, u64, u32, Vec<u8>);

fn files(folder: &Path) -> BTreeMap<PathBuf, Kept> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let kept = |path: PathBuf| {
        let metadata = path.symlink_metadata().unwrap();
        let bytes = fs::read(&path).unwrap();
        (path, (metadata.ino(), metadata.nlink(), metadata.mode(), bytes))
    };
    entries.filter(|path| path.is_file()).map(kept).collect()
}

fn assert_kept(before: &BTreeMap<PathBuf, Kept>) {
    for (path, kept) in before {
        assert!(files(path.parent().unwrap()).get(path) == Some(kept), "{} has changed", path.display());
    }
}

/// Every file in `folder` is a plain one with one name, and `model` and its data are among them.
fn assert_own(model: &Path) {
    let read = onnx::read(model).unwrap();
    for file in onnx::external_locations(&read).unwrap() {
        let metadata = read.folder().join(&file).symlink_metadata().unwrap();
        assert!(metadata.is_file() && metadata.nlink() == 1, "{}", file.display());
    }
}

fn run(model: &Path, data: &Path, out: &Path, output: &Path, engine: &[&str]) {
    let mut command = Command::cargo_bin("gnp-run").unwrap();
    command.arg(model).arg("--data").arg(data).arg("--out").arg(out).arg("-o").arg(output).args(engine);
    command.args(["--epochs", "2", "--loss", "cross-entropy", "--freeze", "backbone", "--best", "loss", "--force"]);
    command.arg("--quiet").assert().success();
}

fn engines() -> [Vec<String>; 2] {
    let stock = runtime::install_onnxruntime(&mut |_| {}).unwrap();
    let library = stock.library.to_str().unwrap().to_owned();
    [vec!["--engine".into(), "tract".into()], vec!["--ort-lib".into(), library]]
}

fn check(model: &Path, folder: &Path, mine: &[&Path]) {
    let before: BTreeMap<PathBuf, Kept> = mine.iter().flat_map(|folder| files(folder)).collect();
    let data = data(folder);
    let elsewhere = folder.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for place in [elsewhere.as_path(), model.parent().unwrap()] {
        let step = place.join("step.onnx");
        let mut command = gnp_rewrite();
        command.arg(model).arg("-o").arg(&step).args(["--loss", "cross-entropy", "--freeze", "backbone", "--check"]);
        command.arg("--quiet").assert().success();
        assert_own(&step);
        assert_kept(&before);
        for engine in engines() {
            let (out, trained) = (folder.join("run"), place.join("trained.onnx"));
            let engine: Vec<&str> = engine.iter().map(String::as_str).collect();
            run(model, &data, &out, &trained, &engine);
            assert_kept(&before);
            for result in [&trained, &out.join("model.onnx"), &out.join("best.onnx")] {
                assert_own(result);
                // It can be gone on with.
                run(result, &data, &folder.join("again"), &folder.join("again.onnx"), &engine);
            }
            assert_kept(&before);
        }
    }
}

#[test]
fn the_users_files_stay_as_they_were() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("mine");
    fs::create_dir(&mine).unwrap();
    let model = model(&mine, "model.onnx");
    fs::set_permissions(mine.join("model.onnx.data"), fs::Permissions::from_mode(0o640)).unwrap();
    check(&model, folder.path(), &[&mine]);
}

#[test]
fn links_of_a_cache_are_trained_from() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let model = cached(folder.path());
    check(&model, folder.path(), &[&folder.path().join("snapshot"), &folder.path().join("blobs")]);
}

#[test]
fn links_are_made_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), "model.onnx");
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let rewrite = |how: &str, force: &str| {
        let mut command = gnp_rewrite();
        command.arg(&model).arg("-o").arg(out.join("step.onnx")).args(["--loss", "cross-entropy", "--quiet", force]);
        command.args(["--external-data", how]).assert().success();
        [folder.path(), &out].map(|folder| fs::metadata(folder.join("model.onnx.data")).map_or(0, |data| data.nlink()))
    };
    assert_eq!(rewrite("keep", "--force"), [1, 0]);
    // Where the file system shares blocks, files need no common name.
    assert!([[2, 2], [1, 1]].contains(&rewrite("link", "--force")));
    assert_eq!(rewrite("copy", "--force"), [1, 1]);
    onnx::read(out.join("step.onnx")).unwrap();
}

#[test]
fn data_outside_the_models_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("mine");
    fs::create_dir(&mine).unwrap();
    let model = model(&mine, "model.onnx");
    fs::rename(mine.join("model.onnx.data"), folder.path().join("secret")).unwrap();
    symlink("../secret", mine.join("model.onnx.data")).unwrap();
    let said = refusal(gnp_rewrite().arg(&model).arg("-o").arg(folder.path().join("step.onnx")));
    assert!(said.contains("external data `model.onnx.data` is outside the model's folder"), "{said}");
}
