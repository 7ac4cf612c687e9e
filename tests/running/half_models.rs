//! Models that compute in float16, trained by `gnp-run`. The checks are in `tests/python/half_models.py`.
use crate::support::{models, python};
use std::path::Path;
use std::process::Command;

#[test]
fn a_float16_model_trains_as_the_float32_one_and_stays_float16() {
    needs!(engines);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let Some(python) = python::environment("onnx", &scripts.join("onnx-requirements.txt")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(scripts.join("half_models.py")).arg(env!("CARGO_BIN_EXE_gnp-rewrite"));
    command.arg(env!("CARGO_BIN_EXE_gnp-run")).arg(models()).arg(folder.path());
    println!("{}", python::run(&mut command));
}
