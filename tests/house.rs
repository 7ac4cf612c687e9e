//! The borders of the crates are those that ARCHITECTURE.md draws.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Map = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The table of crates: a row has the name, what it is for, and which crates it knows.
fn drawn() -> Map {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| Crate |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        (quoted(cells[0]).pop_first().unwrap(), quoted(cells[2]))
    });
    rows.collect()
}

/// The crates, and the crates of this workspace that their packages depend on.
fn built() -> Map {
    let folders = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let known = |folder: PathBuf| {
        let package = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse::<toml::Table>().unwrap();
        let dependencies = package["dependencies"].as_table().unwrap().keys();
        let own = dependencies.filter_map(|name| name.strip_prefix("gnp-")).map(str::to_owned).collect();
        (folder.file_name().unwrap().to_string_lossy().into_owned(), own)
    };
    folders.map(known).collect()
}

#[test]
fn a_crate_knows_what_the_architecture_says() {
    assert_eq!(built(), drawn());
}

/// The packages that come with `package`.
fn dependencies(package: &str) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(root()).args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", package]);
    let output = tree.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn who_rewrites_builds_no_engine_no_reader_of_images_and_no_command_line() {
    let found = dependencies("gnp-step");
    assert!(found.contains("prost") && found.contains("gnp-model"), "{found:?}");
    let is_heavy = |name: &&String| {
        let heavy = ["clap", "image", "ort", "zip", "ndarray", "libloading", "sysinfo", "indicatif", "toml"];
        heavy.contains(&name.as_str()) || ["tract", "clap_", "rav1e"].iter().any(|start| name.starts_with(start))
    };
    assert_eq!(found.iter().filter(is_heavy).collect::<Vec<_>>(), [""; 0]);
}
