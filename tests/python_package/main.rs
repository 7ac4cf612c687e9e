//! The Python package as its users have it: a wheel in an environment of its own, which passes its tests there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unused_macros, reason = "each test uses what it needs")]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::python;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A wheel of what was compiled for the tests: that of users takes minutes more, for its size.
fn wheel(interpreter: &Path, folder: &Path) -> PathBuf {
    let mut build = Command::new(interpreter);
    build.args(["-m", "maturin", "build", "--profile", "dev", "--out"]).arg(folder).current_dir(ROOT);
    python::run(build.arg("--interpreter").arg(interpreter));
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

// The wheel is built in the same build folder, and replaces libraries there that the documentation's tests are linked to:
// it comes after all others.
#[test]
#[ignore = "comes after all others: cargo test --test python_package -- --ignored"]
fn the_package_passes_its_tests() {
    let requirements = Path::new(ROOT).join("crates/python/tests/requirements.txt");
    let Some(interpreter) = python::environment("python-package", &requirements) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wheel = wheel(&interpreter, &folder.path().join("wheel"));
    let mut install = Command::new(&interpreter);
    python::run(install.args(["-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps"]).arg(wheel));
    let mut test = Command::new(&interpreter);
    test.args(["-m", "pytest", "-p", "no:cacheprovider", "--numprocesses", "2"])
        .arg(Path::new(ROOT).join("crates/python/tests"));
    println!("{}", python::run(test.current_dir(folder.path()).env("PYTHONDONTWRITEBYTECODE", "1")));
}
