//! Python, where a test needs a package of it.

use super::{alone, needs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Runs a command to its end and returns what it prints; fails with what it says where it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{printed}{said}", output.status);
    printed.into_owned()
}

/// The Python in the path, with its version, `3.11`; none where there is none, or it cannot make virtual environments.
pub fn version() -> Option<String> {
    let script = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])";
    let output = Command::new("python3").args(["-c", script]).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Pythons that the last training packages of ONNX Runtime, 1.19.2, were built for.
const TRAINING: [&str; 4] = ["3.8", "3.9", "3.10", "3.11"];

/// The Python of an environment with those packages; none, and the test is skipped, where there is none.
pub fn training() -> Option<PathBuf> {
    match version() {
        Some(version) if TRAINING.contains(&version.as_str()) => {
            let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/requirements.txt");
            environment("python-app", &requirements)
        }
        found => {
            let found = found.map_or("there is none with venv".to_owned(), |v| format!("{v} is here"));
            needs::tell(&format!("python3 of a version from 3.8 to 3.11, {found}"));
            None
        }
    }
}

/// A script of `tests/python`, to be run where PyTorch is not installed.
pub fn training_script(python: &Path, script: &str) -> Command {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let mut command = Command::new(python);
    command.arg(scripts.join("torch_stand_in.py")).arg(scripts.join(script));
    command
}

/// The Python of a virtual environment that holds the packages in the file `requirements`, made once and kept in the
/// build folder; none, and the test is skipped, where it cannot be made.
pub fn environment(name: &str, requirements: &Path) -> Option<PathBuf> {
    // Tests run at once, and an environment is made once.
    let _alone = alone(name);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    // Written last, so that an environment that was interrupted is made again.
    let done = folder.join("requirements.txt");
    let wanted = fs::read(requirements).unwrap();
    if fs::read(&done).is_ok_and(|found| found == wanted) {
        return Some(python);
    }
    let made = succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        && succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements));
    if !made {
        needs::skip("python3 with venv, and the packages that it gets itself with pip and a network");
        return None;
    }
    fs::write(done, wanted).unwrap();
    Some(python)
}

/// Whether a command runs to its end and says that it succeeded.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
