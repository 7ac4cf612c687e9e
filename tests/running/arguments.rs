//! Arguments that no run can mean are refused before anything is done.
use crate::support::command::{assert_says, gnp_rewrite, refusal};
use crate::support::run::Training;
use std::collections::BTreeSet;
use std::fs;
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
    fs::copy(&training.step, &odd).unwrap();
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

/// The flags, `--name`, that stand in a text.
fn flags(text: &str) -> BTreeSet<String> {
    let is_end = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let names = text.split("--").skip(1).map(|rest| rest.split(is_end).next().unwrap());
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).map(str::to_owned).collect()
}

/// What the sources of a folder say outside of comments and tests.
fn said(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What is said to pip.
        if path.ends_with("runtime/packages") || path.ends_with("install/wheel.rs") {
            continue;
        }
        if path.is_dir() {
            said(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let source = fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]\nmod").next().unwrap().lines();
            text.extend(code.filter(|line| !line.trim_start().starts_with("//")));
        }
    }
}

#[test]
fn the_library_names_settings_by_the_flags_of_the_programs() {
    let mut text = String::new();
    said(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crates"), &mut text);
    let named = flags(&text);
    let mut known = BTreeSet::new();
    let (rewrite, run) = (env!("CARGO_BIN_EXE_gnp-rewrite"), env!("CARGO_BIN_EXE_gnp-run"));
    let convert = &["checkpoint", "convert"];
    for (program, more) in
        [(rewrite, &[][..]), (run, &[]), (run, &["sweep"]), (run, &["report"]), (run, &["engines"]), (run, convert)]
    {
        let help = Command::new(program).args(more).arg("--help").output().unwrap().stdout;
        known.extend(flags(&String::from_utf8(help).unwrap()));
    }
    assert!(named.len() > 50, "{named:?}");
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), [""; 0]);
}
