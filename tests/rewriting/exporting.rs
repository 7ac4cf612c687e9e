//! The commands of `docs/exporting.md`: each exports what the page says, and `gnp-rewrite` says of it what the page
//! shows.
//!
//! What scikit-learn exports is tested always. PyTorch, Keras and JAX are large: their commands are run by a Python
//! that has them, where one is named, in which `GNP_EXPORTERS_PYTHON=python cargo test --test rewriting exporting` runs
//! all whose packages it has.
use crate::support::python;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/exporting.md")).unwrap()
}

/// A section's script and the console session that follows it.
struct Section {
    title: String,
    script: String,
    session: String,
}

fn sections() -> Vec<Section> {
    let page = page();
    let block = |text: &str, language: &str| -> Option<String> {
        let (_, rest) = text.split_once(&format!("```{language}\n"))?;
        Some(rest.split_once("```")?.0.to_owned())
    };
    let parts = page.split("\n## ").flat_map(|part| part.split("\n### "));
    parts
        .filter_map(|part| {
            let title = part.lines().next()?.to_owned();
            Some(Section { title, script: block(part, "python")?, session: block(part, "console")? })
        })
        .collect()
}

/// Runs the script with `interpreter` and then the session, each line of whose output must be printed.
fn follow(section: &Section, interpreter: &Path) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("export.py"), &section.script).unwrap();
    python::run(Command::new(interpreter).arg("export.py").current_dir(&folder));
    let mut printed = String::new();
    for line in section.session.lines() {
        let Some(command) = line.strip_prefix("$ ") else {
            assert!(printed.lines().any(|found| found == line), "{}: no line `{line}` in\n{printed}", section.title);
            continue;
        };
        let mut words = command.split_whitespace();
        let program = match words.next().unwrap() {
            "gnp-rewrite" => env!("CARGO_BIN_EXE_gnp-rewrite"),
            "gnp-run" => env!("CARGO_BIN_EXE_gnp-run"),
            other => panic!("{other}: no program of ours"),
        };
        printed = python::run(Command::new(program).args(words).current_dir(&folder));
    }
}

#[test]
fn what_scikit_learn_exports() {
    let minor = python::version().and_then(|version| version.strip_prefix("3.")?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 11) {
        return crate::support::needs::tell("python3 of version 3.11 or later, with venv, for scikit-learn 1.9");
    }
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/exporting-requirements.txt");
    let Some(interpreter) = python::environment("exporting", &requirements) else { return };
    let sections = sections();
    let titles: Vec<&str> = sections.iter().map(|section| section.title.as_str()).collect();
    assert_eq!(titles, ["PyTorch", "PyTorch, TorchScript", "Keras and TensorFlow", "scikit-learn", "JAX"]);
    follow(&sections[3], &interpreter);
}

#[test]
fn what_the_named_python_exports() {
    let Some(interpreter) = env::var_os("GNP_EXPORTERS_PYTHON").map(PathBuf::from) else { return };
    let has = |module: &str| {
        let found = Command::new(&interpreter).args(["-c", &format!("import {module}")]).output().unwrap();
        found.status.success()
    };
    let mut followed = 0;
    for section in sections() {
        let mut imports = section.script.lines().filter_map(|line| {
            let line = line.strip_prefix("import ").or_else(|| line.strip_prefix("from "))?;
            line.split([' ', '.']).next()
        });
        if imports.all(has) {
            println!("{}", section.title);
            follow(&section, &interpreter);
            followed += 1;
        }
    }
    assert!(followed > 0, "{} has the packages of no section", interpreter.display());
}
