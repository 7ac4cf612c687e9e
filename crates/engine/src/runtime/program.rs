//! Running other programs. Nothing in the current folder has a say in it: a model may have come with such files.

#[cfg(feature = "install")]
use gnp_base::{Error, Result};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, io};

/// The folders in the variable `name` that are absolute. Empty entries, which mean the current folder, and relative
/// ones are left out.
pub(super) fn folders(name: &str) -> Vec<PathBuf> {
    let value = env::var_os(name).unwrap_or_default();
    env::split_paths(&value).filter(|folder| folder.is_absolute()).collect()
}

/// The program `name`, by its absolute path: the one in the path, or the file that an absolute `name` is.
fn find(name: &str) -> Option<PathBuf> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    let candidates: Vec<_> = match Path::new(name) {
        path if path.is_absolute() => vec![path.to_owned()],
        path if path.components().count() > 1 => Vec::new(),
        _ => folders("PATH").into_iter().map(|folder| folder.join(&file)).collect(),
    };
    candidates.into_iter().find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    let may_run =
        |metadata: &std::fs::Metadata| std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let may_run = |_: &std::fs::Metadata| true;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && may_run(&metadata))
}

/// The program `name`, to be run in `folder`, one of our own. The programs that it runs in turn are not looked for in
/// relative folders either.
fn command(name: &str, folder: &Path) -> io::Result<Command> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "there is none in the absolute folders of PATH");
    let mut command = Command::new(find(name).ok_or_else(missing)?);
    let path = env::join_paths(folders("PATH")).map_err(io::Error::other)?;
    command.current_dir(folder).env("PATH", path);
    Ok(command)
}

/// What `python3` says to `arguments`. It is isolated (`-I`: neither the current folder nor variables of the
/// environment say where modules are) and works in an empty folder.
///
/// # Errors
/// Where it cannot be run. That it failed is in the output.
pub(super) fn python<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> io::Result<Output> {
    let empty = tempfile::tempdir()?;
    command("python3", empty.path())?.arg("-I").args(arguments).output()
}

/// As [`python`], with these `variables` besides; `watch` is called several times a second until it has ended.
#[cfg(feature = "install")]
pub(super) fn python_watched<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    variables: impl IntoIterator<Item = (&'static str, std::ffi::OsString)>,
    watch: &mut dyn FnMut(),
) -> io::Result<Output> {
    use std::process::Stdio;
    use std::{thread, time::Duration};
    let empty = tempfile::tempdir()?;
    let mut command = command("python3", empty.path())?;
    command.arg("-I").args(arguments).envs(variables);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Another thread reads what it says, or it would wait for that.
    let output = thread::spawn(|| child.wait_with_output());
    while !output.is_finished() {
        thread::sleep(Duration::from_millis(100));
        watch();
    }
    output.join().map_err(|_| io::Error::other("the thread that waits for it has panicked"))?
}

/// What the program `name` says to `arguments` in `folder`, one of our own.
///
/// # Errors
/// Where it cannot be run. That it failed is in the output.
#[cfg(feature = "install")]
pub(super) fn run<A: AsRef<OsStr>>(
    name: &str,
    arguments: impl IntoIterator<Item = A>,
    folder: &Path,
) -> io::Result<Output> {
    command(name, folder)?.args(arguments).output()
}

/// Demands that the program `name` ran and succeeded; `doing` completes "cannot …", and the error quotes the last lines
/// that it wrote.
///
/// # Errors
/// Where it did not.
#[cfg(feature = "install")]
pub(super) fn succeeded(name: &str, output: io::Result<Output>, doing: &str, help: &str) -> Result<()> {
    let output = output.map_err(|e| Error::os(format!("cannot {doing}: cannot run `{name}`: {e}"), &e).help(help))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.trim().lines().collect();
    let last = lines[lines.len().saturating_sub(3)..].join(" ");
    Err(Error::engine(format!("cannot {doing}: `{name}` failed ({}): {last}", output.status)).help(help))
}

#[cfg(unix)]
#[cfg(test)]
#[cfg(feature = "install")]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let output = run("sh", ["-c", "echo no room >&2; exit 3"], folder.path());
        let error = succeeded("sh", output, "do it", "make room").unwrap_err();
        assert_eq!(error.to_string(), "cannot do it: `sh` failed (exit status: 3): no room");
        let output = run("no-such-program", [""; 0], folder.path());
        let error = succeeded("no-such-program", output, "do it", "install it").unwrap_err();
        assert!(error.to_string().starts_with("cannot do it: cannot run `no-such-program`: "), "{error}");
        assert_eq!(error.help_text(), Some("install it"));
    }

    #[test]
    fn programs_have_absolute_paths() {
        assert!(find("sh").unwrap().is_absolute());
        assert_eq!(find("/bin/sh").unwrap(), Path::new("/bin/sh"));
        for name in ["./sh", "bin/sh", "../sh", "/bin", "no-such-program"] {
            assert_eq!(find(name), None, "{name}");
        }
    }

    #[test]
    fn python_finds_nothing_in_its_working_folder() {
        let said = python(["-c", "import os, sys; print(os.listdir(), '' in sys.path, os.getcwd() in sys.path)"]);
        assert_eq!(String::from_utf8(said.unwrap().stdout).unwrap().trim(), "[] False False");
    }
}
