//! Nothing that lies in the current folder is loaded or run, whatever its name.
#![cfg(target_os = "linux")]
use crate::support::command::assert_says;
use crate::support::models;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The driver of NVIDIA's cards, and what runtimes for them call.
const NVIDIA: [&str; 8] = [
    "libcuda.so.1",
    "libcudart.so.11.0",
    "libcudart.so.13",
    "libcublas.so.11",
    "libcublasLt.so.11",
    "libcudnn.so.8",
    "libcudnn_ops_infer.so.8",
    "libcurand.so.10",
];

/// A folder with files that leave a mark beside it when they are loaded or run.
struct Planted {
    parent: tempfile::TempDir,
}

impl Planted {
    fn new() -> Self {
        let this = Self { parent: tempfile::tempdir().unwrap() };
        let (folder, mark) = (this.folder(), this.mark());
        fs::create_dir_all(&folder).unwrap();
        let python = format!("import os\nopen({:?} + str(os.getpid()), 'w').close()\n", mark.join("python"));
        for module in ["onnxruntime", "pip", "numpy", "encodings", "importlib"] {
            fs::create_dir(folder.join(module)).unwrap();
            for file in ["__init__.py", "__main__.py"] {
                fs::write(folder.join(module).join(file), &python).unwrap();
            }
        }
        for module in ["site.py", "sitecustomize.py", "usercustomize.py", "os.py"] {
            fs::write(folder.join(module), &python).unwrap();
        }
        for program in ["python3", "python", "cc", "gcc", "as", "ld", "pip", "ldconfig"] {
            let file = if program == "pip" { folder.join("pip.exe") } else { folder.join(program) };
            fs::write(&file, format!("#!/bin/sh\ntouch '{}/{program}'\nexit 1\n", mark.display())).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        }
        let source = this.parent.path().join("library.c");
        let mark = mark.join("library").display().to_string();
        let constructor = "#include <stdio.h>\n__attribute__((constructor)) static void loaded(void)";
        fs::write(&source, format!("{constructor} {{ fclose(fopen(\"{mark}\", \"w\")); }}\n")).unwrap();
        let library = folder.join("libonnxruntime.so");
        let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
        assert!(made.success());
        fs::create_dir(folder.join("onnxruntime/capi")).unwrap();
        fs::copy(&library, folder.join("onnxruntime/capi/libonnxruntime.so.1.32.0")).unwrap();
        fs::create_dir(folder.join("onnxruntime-1.32.0")).unwrap();
        fs::copy(&library, folder.join("onnxruntime-1.32.0/libonnxruntime.so")).unwrap();
        // NVIDIA's, where a loader and where Python's packages have them.
        for place in ["", "nvidia/cublas/lib", "nvidia/cudnn/lib", "nvidia/cu13/lib"] {
            fs::create_dir_all(folder.join(place)).unwrap();
            for name in NVIDIA {
                fs::copy(&library, folder.join(place).join(name)).unwrap();
            }
        }
        this
    }

    fn folder(&self) -> PathBuf {
        self.parent.path().join("current")
    }

    /// Where what is loaded or run leaves its name.
    fn mark(&self) -> PathBuf {
        let folder = self.parent.path().join("marks");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A program of ours in the folder, where every variable that says where something is says: here too.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = env::var("PATH").unwrap();
        command.current_dir(self.folder());
        command.env("PATH", format!(".::{path}:bin")).env("PYTHONPATH", ".").env("PYTHONHOME", ".");
        command.env_remove("ORT_DYLIB_PATH").env("GNP_CACHE_DIR", self.parent.path().join("cache"));
        command
    }

    #[track_caller]
    fn assert_untouched(&self, output: &Output) {
        let marks: Vec<_> = fs::read_dir(self.mark()).unwrap().map(|mark| mark.unwrap().file_name()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(marks.is_empty(), "{marks:?} was loaded or run\n{said}");
        assert!(output.status.code().is_some_and(|code| code == 0 || code == 2), "{said}");
    }
}

#[test]
fn what_is_planted_would_leave_a_mark() {
    let planted = Planted::new();
    for command in ["./python3", "./cc", "LD_PRELOAD=./libonnxruntime.so /bin/true"] {
        Command::new("sh").args(["-c", command]).current_dir(planted.folder()).output().unwrap();
    }
    assert_eq!(fs::read_dir(planted.mark()).unwrap().count(), 3);
    let python = env::var_os("PATH").unwrap();
    let run = |arguments: &[&str]| {
        Command::new("python3").args(arguments).env("PATH", &python).current_dir(planted.folder()).output().unwrap()
    };
    for arguments in [["-c", "import onnxruntime"], ["-m", "pip"]] {
        let before = fs::read_dir(planted.mark()).unwrap().count();
        run(&arguments);
        assert!(fs::read_dir(planted.mark()).unwrap().count() > before, "{arguments:?}");
    }
}

#[test]
fn engines_are_looked_for_elsewhere() {
    let planted = Planted::new();
    for arguments in [&["engines"][..], &["engines", "--json"], &["engines", "-v"]] {
        let output = planted.command(env!("CARGO_BIN_EXE_gnp-run")).args(arguments).output().unwrap();
        planted.assert_untouched(&output);
        assert!(output.status.success());
    }
}

#[test]
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn nvidias_driver_and_libraries_are_looked_for_elsewhere() {
    let planted = Planted::new();
    let place = planted.folder().display().to_string();
    for (engine, packages) in [("training", 6), ("onnxruntime", 7)] {
        let mut command = planted.command(env!("CARGO_BIN_EXE_gnp-run"));
        command.args(["engines", "install", engine, "--device", "cuda", "--dry-run"]);
        // The loader's own way: an empty entry is the current folder.
        let output = command.env("LD_LIBRARY_PATH", ".::current:nvidia/cublas/lib").output().unwrap();
        planted.assert_untouched(&output);
        let list = String::from_utf8_lossy(&output.stdout);
        assert_eq!(list.lines().filter(|line| line.contains("==")).count(), packages, "{list}");
        assert!(!list.contains(&place) && !list.contains("is here: .") && !list.contains("is here: n"), "{list}");
    }
    let mut run = planted.command(env!("CARGO_BIN_EXE_gnp-run"));
    run.arg(models().join("mlp")).arg("--data").arg(models().join("digits.npz"));
    run.args(["--epochs", "1", "--divisor", "16", "--device", "cuda", "--out", "out"]);
    let output = run.env("LD_LIBRARY_PATH", ".::current").output().unwrap();
    planted.assert_untouched(&output);
}

#[test]
fn a_run_and_a_check_load_nothing() {
    let planted = Planted::new();
    let data = models().join("digits.npz");
    for file in ["mlp/model.onnx", "digits.npz"] {
        let to = planted.folder().join(Path::new(file).file_name().unwrap());
        fs::copy(models().join(file), to).unwrap();
    }
    let mut run = planted.command(env!("CARGO_BIN_EXE_gnp-run"));
    run.args(["model.onnx", "--loss", "cross-entropy", "--epochs", "1", "--divisor", "16", "--data"]).arg(&data);
    let output = run.args(["--engine", "auto", "-v"]).output().unwrap();
    planted.assert_untouched(&output);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for arguments in [&["model.onnx", "--loss", "cross-entropy"][..], &[models().join("mlp").to_str().unwrap()]] {
        let mut rewrite = planted.command(env!("CARGO_BIN_EXE_gnp-rewrite"));
        let output = rewrite
            .args(arguments)
            .args(["-o", if arguments.len() > 1 { "step.onnx" } else { "out" }, "--check"])
            .output()
            .unwrap();
        planted.assert_untouched(&output);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_installation_runs_nothing() {
    needs!(engines);
    let planted = Planted::new();
    for engine in ["training", "onnxruntime"] {
        let mut install = planted.command(env!("CARGO_BIN_EXE_gnp-run"));
        let output = install.args(["engines", "install", engine]).output().unwrap();
        planted.assert_untouched(&output);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // Compilers of that name are refused, not looked for.
    for compiler in ["./cc", "bin/cc", "no-such-cc"] {
        let mut install = planted.command(env!("CARGO_BIN_EXE_gnp-run"));
        install.env("CC", compiler).env("GNP_CACHE_DIR", planted.parent.path().join("other"));
        let output = install.args(["engines", "install", "training"]).output().unwrap();
        planted.assert_untouched(&output);
        assert_eq!(output.status.code(), Some(2));
        assert_says(&String::from_utf8_lossy(&output.stderr), &["cannot run `", compiler, "CC"]);
    }
}

#[test]
fn variables_that_mean_the_current_folder_are_refused() {
    let planted = Planted::new();
    for (variable, value) in [("ORT_DYLIB_PATH", "libonnxruntime.so"), ("ORT_DYLIB_PATH", "./libonnxruntime.so")] {
        let mut check = planted.command(env!("CARGO_BIN_EXE_gnp-rewrite"));
        check.arg(models().join("mlp/model.onnx")).args([
            "--loss",
            "cross-entropy",
            "-o",
            "step.onnx",
            "--check",
            "-f",
        ]);
        let output = check.env(variable, value).output().unwrap();
        planted.assert_untouched(&output);
        assert_eq!(output.status.code(), Some(2));
        assert_says(&String::from_utf8_lossy(&output.stderr), &["ORT_DYLIB_PATH is not an absolute path"]);
    }
    for cache in [".", "current"] {
        let mut install = planted.command(env!("CARGO_BIN_EXE_gnp-run"));
        install.env("GNP_CACHE_DIR", cache).args(["engines", "install", "onnxruntime"]);
        let output = install.output().unwrap();
        planted.assert_untouched(&output);
        assert_says(&String::from_utf8_lossy(&output.stderr), &["the cache folder is not an absolute path"]);
        let mut list = planted.command(env!("CARGO_BIN_EXE_gnp-run"));
        planted.assert_untouched(&list.env("GNP_CACHE_DIR", cache).arg("engines").output().unwrap());
    }
}

#[test]
fn a_cache_that_others_can_write_is_refused() {
    let planted = Planted::new();
    let cache = planted.parent.path().join("cache");
    fs::create_dir_all(&cache).unwrap();
    fs::rename(planted.folder().join("onnxruntime-1.32.0"), cache.join("onnxruntime-1.32.0")).unwrap();
    fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
    let mut check = planted.command(env!("CARGO_BIN_EXE_gnp-rewrite"));
    check.arg(models().join("mlp/model.onnx")).args(["--loss", "cross-entropy", "-o", "step.onnx", "--check"]);
    let mut install = planted.command(env!("CARGO_BIN_EXE_gnp-run"));
    install.args(["engines", "install", "onnxruntime"]);
    for mut command in [check, install] {
        let output = command.output().unwrap();
        planted.assert_untouched(&output);
        assert_eq!(output.status.code(), Some(2));
        assert_says(&String::from_utf8_lossy(&output.stderr), &["can be written by others", "chmod go-w"]);
    }
    let output = planted.command(env!("CARGO_BIN_EXE_gnp-run")).arg("engines").output().unwrap();
    planted.assert_untouched(&output);
    assert_says(&String::from_utf8_lossy(&output.stdout), &["Not usable (installed)", "can be written by others"]);
}

#[test]
fn libraries_are_named_before_they_are_loaded() {
    let planted = Planted::new();
    let library = planted.folder().join("libonnxruntime.so");
    let mut engines = planted.command(env!("CARGO_BIN_EXE_gnp-run"));
    // This one the user names.
    let output = engines.args(["engines", "-v", "--ort-lib"]).arg(&library).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_says(&said, &[&format!("loading {} (named)", library.display())]);
    assert!(planted.mark().join("library").exists());
}
