//! Machines that lack something: a home, a reader, room for what is printed.
#![cfg(unix)]
use crate::support::command::assert_says;
use crate::support::run::{Training, course};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

const GNP_RUN: &str = env!("CARGO_BIN_EXE_gnp-run");

fn commands(training: &Training, folder: &Path, number: usize) -> Vec<Command> {
    let step = folder.join(format!("step-{number}.onnx"));
    let mut rewrite = Command::new(env!("CARGO_BIN_EXE_gnp-rewrite"));
    rewrite.arg(folder.join("network.onnx")).arg("-o").arg(step);
    let mut engines = Command::new(GNP_RUN);
    engines.arg("engines");
    vec![rewrite, engines, training.command(&folder.join(format!("out-{number}")), 2)]
}

#[test]
fn without_a_home() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    for (number, home) in [None, Some(""), Some("."), Some("/no/such/home")].into_iter().enumerate() {
        for mut command in commands(&training, folder.path(), number) {
            for variable in ["HOME", "XDG_CACHE_HOME", "GNP_CACHE_DIR", "USER", "ORT_DYLIB_PATH"] {
                command.env_remove(variable);
            }
            home.map(|home| command.env("HOME", home));
            let output = command.current_dir(&folder).output().unwrap();
            assert!(output.status.success(), "{home:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn without_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    for mut command in commands(&training, folder.path(), 0) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{command:?}");
    }
    assert!(folder.path().join("out-0/model.onnx").is_file() && folder.path().join("step-0.onnx").is_file());
    // Not even open.
    for command in commands(&training, folder.path(), 1) {
        let mut closed = Command::new("sh");
        closed.args(["-c", r#"exec "$@" >&- 2>&-"#, "sh"]).arg(command.get_program()).args(command.get_args());
        assert_eq!(closed.status().unwrap().code(), Some(0), "{command:?}");
    }
    assert_eq!(course(&folder.path().join("out-1")), course(&folder.path().join("out-0")));
}

#[test]
#[cfg(target_os = "linux")]
fn without_room_for_what_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    for mut command in commands(&training, folder.path(), 0) {
        let output = command.stdout(File::options().write(true).open("/dev/full").unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_says(&said, &["error: cannot write to standard output"]);
    }
    // What was asked for is there all the same.
    assert!(folder.path().join("out-0/model.onnx").is_file() && folder.path().join("step-0.onnx").is_file());
}
