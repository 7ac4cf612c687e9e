//! Advice works: each help text of an error that names a flag is met through the programs, and followed.
//!
//! A row of [`rows`] is a command that fails, and how its advice is followed: with the words of the advice itself,
//! where it has a value (`--dim 'x[0]=batch'`), else with one that fits (`--logits NAME`). The command must then
//! succeed, or say something else. The last test reads the source: a help text with a flag that no row meets fails it,
//! unless it stands in [`BEYOND_REACH`] with the reason.

mod files;
mod follow;
mod rows;

use files::prepare;
use follow::{advised, follow, run};
use rows::rows;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, Mutex};

/// Help texts that name a flag and cannot be met here, each by a part of it, with the reason.
const BEYOND_REACH: [(&str, &str); 14] = [
    ("take the weights from the run's last checkpoint", "a model of more than 2 GiB"),
    (
        "or take the loss of another value (--logits)",
        "no operator that has a rule for one output has other outputs of floats",
    ),
    ("name a model or a folder of artifacts, --data and --epochs", "the arguments ask for them before"),
    ("name them with --data", "the arguments ask for them before"),
    ("build ONNX Runtime with training yourself", "on machines other than x86-64 Linux"),
    ("use --device cpu, or mend that", "a build for NVIDIA's cards, which is large: tests/running/cuda.rs"),
    ("once it can be written, the same command with --resume", "a full disk: tests/running/faults.rs"),
    ("name another folder with --out", "a folder that cannot be written to, which the tests may be allowed to"),
    ("say how much a step may take: --memory 8GB", "a card that no driver tells of, or a system that tells nothing"),
    ("give --alpha 0,0.8,1 and --seeds 3", "the arguments always ask for a run: for users of the library"),
    ("as a float32 initializer, or leave it out with --freeze", "what trains is made float32 before"),
    ("name their file with --test-data", "the arguments ask for it before: for users of the library"),
    ("name its tokenizer.json with --tokenizer", "the arguments ask for it before: for users of the library"),
    (
        "--ignore-index leaves labels out",
        "labels are checked before the first step: for who feeds batches to an engine",
    ),
];

#[test]
fn advice_is_followed() {
    needs!(engines);
    assert!(MET.1.is_empty(), "{}", MET.1);
}

#[test]
fn all_advice_is_met() {
    needs!(engines);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut left = Vec::new();
    for text in ["src", "crates"].iter().flat_map(|folder| texts(&root.join(folder))) {
        let is_met = MET.0.iter().any(|help| matches(&text, help));
        let is_beyond = BEYOND_REACH.iter().any(|(part, _)| text.contains(part));
        if !is_met && !is_beyond {
            left.push(text);
        }
    }
    assert!(left.is_empty(), "no row meets these help texts:\n{}", left.join("\n"));
}

#[test]
fn what_a_rewrite_suggests_works() {
    let folder = prepare();
    let rewrite = |more: &[String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnp-rewrite"));
        command.current_dir(folder.path()).args(["one.onnx", "-o", "step.onnx", "--force"]).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = rewrite(&[]);
    assert!(said.contains("`x` takes batches of 1 only, as the model has it"), "{said}");
    let open = advised(&said, "--dim").remove(0);
    let said = rewrite(&["--dim".to_owned(), open]);
    assert!(said.contains("`x[0]` was 1 and may be any size") && !said.contains("batches of 1"), "{said}");
    let train = said.lines().find_map(|line| line.split_once("Train it: ")).unwrap().1;
    run(&format!("{} --engine tract", train.replace("DATA.npz", "data.npz")), &folder).unwrap();
}

/// The texts in the source that are given to `.help(` and name a flag.
fn texts(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            found.extend(source.split(".help(").skip(1).filter_map(first_text).filter(|text| text.contains("--")));
        }
    }
    found
}

/// The first literal of an argument, if it is one, as the program has it.
fn first_text(argument: &str) -> Option<String> {
    let argument = argument.trim_start().trim_start_matches("format!(").trim_start();
    let mut text = String::new();
    let mut characters = argument.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' => text.push('\n'),
                '\n' => {
                    let rest = characters.as_str().trim_start();
                    characters = rest.chars();
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// Whether `said` is what `text` becomes, with anything for what is in braces.
fn matches(text: &str, said: &str) -> bool {
    let mut rest = said;
    text.split('{').enumerate().all(|(i, part)| {
        let literal = if i == 0 { part } else { part.split_once('}').map_or(part, |(_, literal)| literal) };
        match rest.find(literal) {
            Some(at) if i > 0 || at == 0 => {
                rest = &rest[at + literal.len()..];
                true
            }
            _ => false,
        }
    })
}

/// What the rows' helps were, and what failed; computed once for both tests.
static MET: LazyLock<(BTreeSet<String>, String)> = LazyLock::new(|| {
    crate::support::training_runtime();
    let (rows, met) = (Mutex::new(rows().into_iter()), Mutex::new((BTreeSet::new(), String::new())));
    let work = || {
        loop {
            // The lock must not be held while a row is met.
            let Some(row) = rows.lock().unwrap().next() else { return };
            let result = follow(&row);
            let mut met = met.lock().unwrap();
            match result {
                Ok(help) => _ = met.0.insert(help),
                Err(why) => met.1 += &format!("{}\n    {}\n", row.command, why.replace('\n', "\n    ")),
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(work)));
    met.into_inner().unwrap()
});
