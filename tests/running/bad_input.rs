//! What `gnp-run` says to input that it cannot use: one clear message and exit code 2.
use assert_cmd::Command;
use ndarray::{Array1, Array3, ArrayD};
use ndarray_npy::{WritableElement, WriteNpyExt};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn models(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

fn gnp_run() -> Command {
    Command::cargo_bin("gnp-run").unwrap()
}

/// A training of `models/mlp` on `data` whose output goes to `folder`.
fn train_on(data: impl AsRef<Path>, folder: &TempDir) -> Command {
    let mut command = gnp_run();
    command.arg(models("mlp")).arg("--data").arg(data.as_ref()).args(["--epochs", "1", "--out"]);
    command.arg(folder.path().join("out"));
    command
}

/// Checks that `command` fails with exit code 2, one error and no panic, and returns what it says.
fn refusal(command: &mut Command) -> String {
    let output = command.assert().code(2).get_output().clone();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

fn write_npz(path: &Path, images: ArrayD<u8>, labels: ArrayD<i64>) {
    fn add<T: WritableElement>(archive: &mut ZipWriter<File>, name: &str, array: &ArrayD<T>) {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        archive.write_all(&bytes).unwrap();
    }
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    add(&mut archive, "x", &images);
    add(&mut archive, "y", &labels);
    archive.finish().unwrap();
}

fn images(count: usize, side: usize) -> ArrayD<u8> {
    Array3::zeros((count, side, side)).into_dyn()
}

#[test]
fn corrupt_idx() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("train-images-idx3-ubyte");
    fs::write(folder.path().join("train-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 1, 0]).unwrap();
    for (bytes, says) in [
        (&b"hello"[..], "not an IDX file"),
        (&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 8, 1, 2, 3], "takes 64 bytes, 3 are there"),
        (&[0, 0, 8, 3, 0, 0], "truncated"),
        (&[0x1f, 0x8b, 8, 0, 0], "truncated"),
    ] {
        fs::write(&images, bytes).unwrap();
        let said = refusal(&mut train_on(folder.path(), &folder));
        assert_says(&said, &["train-images-idx3-ubyte: ", says, "help: "]);
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn corrupt_npz() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let whole = fs::read(models("digits.npz")).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_says(&refusal(&mut train_on(&path, &folder)), &["data.npz: not a readable .npz archive"]);
    let mut flipped = whole;
    flipped[200] ^= 0xff;
    fs::write(&path, flipped).unwrap();
    assert_says(&refusal(&mut train_on(&path, &folder)), &["data.npz: array `x_train` ", "corrupt deflate stream"]);
}

#[test]
fn data_that_claim_to_be_more_than_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let header = file("x.npy", &[&b"\x93NUMPY\x02\0"[..], &[0xf9, 0xff, 0xff, 0xff], b"{'descr"].concat());
    let said = refusal(train_on(&header, &folder).arg("--labels").arg(&header));
    assert_says(&said, &["x.npy: the array has a damaged header: it has 4294967289 bytes; expected at most 10000"]);

    let labels = [0, 0, 8, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let images = [0, 0, 8, 3, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 28];
    file("none-labels-idx1-ubyte", &labels);
    let said = refusal(&mut train_on(file("none-images-idx3-ubyte", &images), &folder));
    assert_says(&said, &["none-images-idx3-ubyte: the samples have the shape [0, 28]: there is nothing in them"]);
    assert!(!folder.path().join("out").exists());
}

#[test]
fn labels_that_do_not_fit() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    write_npz(&path, images(3, 8), Array1::from(vec![0, 9]).into_dyn());
    assert_says(&refusal(&mut train_on(&path, &folder)), &["there are 3 samples but 2 labels"]);
    write_npz(&path, images(2, 8), Array1::from(vec![0, -1]).into_dyn());
    assert_says(
        &refusal(&mut train_on(&path, &folder)),
        &["data.npz: sample 1 of the training data has the label -1; expected 0 to 9"],
    );
    write_npz(&path, images(0, 8), Array1::from(vec![]).into_dyn());
    assert_says(&refusal(&mut train_on(&path, &folder)), &["the data set is empty"]);
}

#[test]
fn data_that_do_not_fit_the_model() {
    needs!(engines);
    gnp::engine::runtime::install_training(&mut |_| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    write_npz(&path, images(2, 8), Array1::from(vec![0, 10]).into_dyn());
    let said = refusal(&mut train_on(&path, &folder));
    assert_says(&said, &["data.npz: sample 1 of the training data has the label 10; expected 0 to 9", "help: "]);
    write_npz(&path, images(2, 7), Array1::from(vec![0, 9]).into_dyn());
    let said = refusal(&mut train_on(&path, &folder));
    assert_says(&said, &["takes batches of shape [?, 64], which samples of shape [7, 7] do not fit"]);
    assert!(!folder.path().join("out").exists());
}

#[test]
fn data_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    assert_says(&refusal(&mut train_on("no/such/data", &folder)), &["no/such/data: cannot open the data"]);
    assert_says(&refusal(&mut train_on(folder.path(), &folder)), &["there is no training data here", "help: "]);
    let digits = models("digits.npz");
    let said = refusal(train_on(&digits, &folder).arg("--test-data").arg(folder.path()));
    assert_says(&said, &["there is no test data here"]);
}

#[test]
fn no_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let said = refusal(gnp_run().arg(folder.path()).args(["--data", "x.npz", "--epochs", "1"]));
    assert_says(&said, &["training_model.onnx, optimizer_model.onnx, checkpoint, eval_model.onnx missing", "help: "]);
}

#[test]
fn no_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let said = refusal(
        train_on(models("digits.npz"), &folder)
            .env("GNP_CACHE_DIR", folder.path().join("cache"))
            .env_remove("ORT_DYLIB_PATH")
            // Neither a Python that may have one.
            .env("PATH", folder.path()),
    );
    assert_says(&said, &["found no ONNX Runtime that can train", "gnp-run engines install training"]);
    let said = refusal(train_on(models("digits.npz"), &folder).args(["--ort-lib", "no/such/lib.so"]));
    assert_says(&said, &["no/such/lib.so"]);
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_device_that_is_not_there() {
    needs!(engines);
    // Where a build for NVIDIA's cards is installed too, it would be taken.
    let library = gnp::engine::runtime::install_training(&mut |_| {}).unwrap().library;
    let folder = tempfile::tempdir().unwrap();
    let said = refusal(train_on(models("digits.npz"), &folder).args(["--device", "cuda", "--ort-lib"]).arg(library));
    assert_says(&said, &["CUDAExecutionProvider", "CPUExecutionProvider"]);
    let said = refusal(train_on(models("digits.npz"), &folder).args(["--device", "tpu"]));
    assert_says(&said, &["unknown device `tpu`"]);
}

#[test]
fn wrong_usage() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let digits = || train_on(models("digits.npz"), &folder);
    assert_says(&refusal(digits().arg("--no-such-flag")), &["unexpected argument '--no-such-flag'"]);
    assert_says(&refusal(digits().arg("a-word-too-many")), &["unexpected argument 'a-word-too-many'", "Usage:"]);
    assert_says(&refusal(digits().args(["--resume", "--force"])), &["cannot be used with"]);
    assert_says(&refusal(digits().args(["--r", "0.1"])), &["no input `gnp.r`", "gnp-rewrite --expose r"]);
    assert_says(&refusal(digits().args(["--lr", "-1"])), &["the learning rate must be a number from 0 on, not -1"]);
    assert_says(&refusal(digits().args(["--batch-size", "0"])), &["the batch size must be at least 1"]);
    assert_says(&refusal(digits().args(["--divisor", "0"])), &["must be a number other than 0"]);
    assert_says(&refusal(digits().args(["--label-noise", "1.5"])), &["between 0 and 1"]);
    assert_says(&refusal(gnp_run().arg(models("mlp"))), &["--data <PATH>"]);
    assert_says(&refusal(gnp_run().args(["--generate", "novel"])), &["complete-bash"]);
}

#[test]
fn an_output_folder_in_use() {
    needs!(engines);
    gnp::engine::runtime::install_training(&mut |_| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let digits = || train_on(models("digits.npz"), &folder);
    digits().arg("--resume").assert().success();
    assert_says(&refusal(&mut digits()), &["the output folder is not empty", "--resume", "--force"]);
    assert_says(&refusal(digits().args(["--resume", "--seed", "1"])), &["seed was 0, is 1"]);
    digits().arg("--resume").assert().success();
    digits().arg("--force").assert().success();
    let out = folder.path().join("out");
    fs::remove_dir_all(&out).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("model.onnx"), "mine").unwrap();
    let said = refusal(digits().arg("--resume"));
    assert_says(&said, &["there is no run to resume, but a file `model.onnx`"]);
}
