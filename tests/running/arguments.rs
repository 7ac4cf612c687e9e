//! Arguments that no run can mean are refused before anything is done.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::run::Training;
use std::path::Path;
use std::process::Command;

fn refused(command: Command) -> String {
    refusal(&mut assert_cmd::Command::from_std(command))
}

#[test]
fn numbers_have_upper_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let out = folder.path().join("out");
    for (flag, more, says) in [
        ("--epochs", None, "--epochs <N>"),
        ("--batch-size", None, "at most 16777216 are taken"),
        ("--keep", None, "at most 1000000000 are taken"),
        ("--checkpoint-every", None, "at most 1000000000 are taken"),
        ("--evaluate-every", None, "at most 1000000000 are taken"),
        ("--patience", None, "at most 1000000000 are taken"),
        ("--gr-warmup-steps", Some("--gr-warmup=r"), "at most 1000000000 are taken"),
        ("--warmup", None, "--warmup"),
        ("--workers", None, "at most 1024 are taken"),
        ("--image-size", None, "at most 16777216 are taken"),
        ("--cutout", None, "at most 16777216 are taken"),
    ] {
        for number in ["10000000000000", "18446744073709551615", "18446744073709551616"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
            command.arg(&training.step).arg("--data").arg(&training.data).arg("--out").arg(&out);
            command.args((flag != "--epochs").then_some("--epochs=1"));
            command.arg(format!("{flag}={number}")).args(more);
            assert_says(&refused(command), &[flag, says]);
        }
    }
    let mut threads = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
    threads.arg(&training.step).arg("--data").arg(&training.data).args([
        "--epochs",
        "1",
        "--threads",
        "65535",
        "--out",
    ]);
    threads.arg(&out);
    assert_says(&refused(threads), &["--threads", "this machine runs"]);
    let mut jobs = Command::new(env!("CARGO_BIN_EXE_gnp-run"));
    jobs.args(["sweep", "no.toml", "--jobs", "100000"]);
    assert_says(&refused(jobs), &["--jobs", "at most 1024"]);
    assert!(!out.exists());
}

#[test]
#[cfg(unix)]
fn paths_that_are_not_utf_8_are_refused_at_the_start() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let training = Training::new(folder.path());
    let odd = folder.path().join(OsStr::from_bytes(b"caf\xe9.onnx"));
    std::fs::copy(&training.step, &odd).unwrap();
    let out = folder.path().join("out");
    let says = ["caf\u{fffd}.onnx", "is not UTF-8", "symbolic link"];
    let run = |more: [&OsStr; 2]| {
        let mut command = training.command(&out, 1);
        command.args(more);
        assert_says(&refused(command), &says);
    };
    for flag in ["--out", "-o", "--forward", "--config", "--data", "--labels", "--ort-lib"] {
        run([OsStr::new(flag), odd.as_os_str()]);
    }
    let onnx = |input: &Path, output: &Path| refusal(gnp_rewrite().arg(input).arg("-o").arg(output));
    assert_says(&onnx(&odd, &folder.path().join("new.onnx")), &says);
    assert_says(&onnx(&folder.path().join("network.onnx"), &odd), &says);
    assert!(!out.exists());
}
