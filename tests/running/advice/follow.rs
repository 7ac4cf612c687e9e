//! Meeting the error of a row, and following its advice.

use super::files::prepare;
use super::rows::Follow::{After, AsSaid, Instead, With, Without};
use super::rows::Row;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Meets the error of a row, and follows its advice. Returns the help text.
pub(super) fn follow(row: &Row) -> Result<String, String> {
    let folder = prepare();
    let (before, command) = row.command.rsplit_once(';').unwrap_or(("", row.command));
    for command in before.split(';').filter(|command| !command.trim().is_empty()) {
        run(command, &folder).map_err(|said| format!("`{command}` failed: {said}"))?;
    }
    let lock = before.split(';').find_map(|command| command.trim().strip_prefix("lock "));
    let lock = lock.map(|file| File::open(folder.path().join(file)).unwrap());
    lock.iter().for_each(|file| file.lock().unwrap());
    let said = run(command, &folder).err().ok_or("it succeeded, and was to fail")?;
    if !said.contains(row.says) {
        return Err(format!("it did not say `{}`: {said}", row.says));
    }
    let (error, help) = said.split_once("\n  help: ").ok_or_else(|| format!("there is no help: {said}"))?;
    let help = help.replace("\n        ", "\n");
    if !help.contains(row.helps) {
        return Err(format!("it did not advise `{}`: {said}", row.helps));
    }

    let mut words = words(command);
    for follow in &row.follow {
        let flag = match follow {
            AsSaid(flag) | With(flag, _) => Some(*flag),
            Without(_) | After(_) | Instead(_) => None,
        };
        if flag.is_some_and(|flag| !said.contains(flag)) && !matches!(follow, With("--milestones" | "--alpha", _)) {
            return Err(format!("{} is not in the advice: {said}", flag.unwrap_or_default()));
        }
        match follow {
            AsSaid(flag) => {
                let flags = words.iter().position(|word| word == "--").unwrap_or(words.len());
                let rest = words.split_off(flags);
                let values = advised(&help, flag);
                if values.is_empty() {
                    return Err(format!("the advice has no value for {flag}: {help}"));
                }
                without(&mut words, flag);
                words.extend(values.into_iter().flat_map(|value| [(*flag).to_owned(), value]).chain(rest));
            }
            With(flag, value) => {
                let flags = words.iter().position(|word| word == "--").unwrap_or(words.len());
                let rest = words.split_off(flags);
                without(&mut words, flag);
                words.push((*flag).to_owned());
                words.extend(self::words(value).into_iter().chain(rest));
            }
            Without(flag) => without(&mut words, flag),
            After(command) => _ = run(command, &folder).map_err(|said| format!("`{command}` failed: {said}"))?,
            Instead(command) => words = self::words(command),
        }
    }
    let followed = words.join(" ");
    match (run_words(&words, &folder), row.then) {
        (Ok(_), None) => Ok(help),
        (Err(said), Some(then)) if said.contains(then) && !said.starts_with(error) => Ok(help),
        (Ok(_), Some(then)) => Err(format!("followed, as `{followed}`, it succeeded, and was to say `{then}`")),
        (Err(said), _) => Err(format!("followed, as `{followed}`, it said: {said}")),
    }
}

/// The values that a text gives a flag.
pub(super) fn advised(text: &str, flag: &str) -> Vec<String> {
    let after = text.match_indices(flag).map(|(at, _)| &text[at + flag.len()..]);
    let values = after.filter_map(|after| {
        let value = after.strip_prefix(' ')?;
        let value = match value.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'')?.0,
            None => value.split([' ', ',', ';', ')', '\n']).next()?,
        };
        (!value.is_empty()).then(|| value.to_owned())
    });
    // The first of several ways; a flag that may be repeated is named twice in a row.
    let mut values: Vec<_> = values.collect();
    if !text.contains("they are not one size") && !text.contains("under different names") {
        values.truncate(1);
    }
    values
}

/// Takes a flag with its value out, wherever it stands.
fn without(words: &mut Vec<String>, flag: &str) {
    while let Some(at) = words.iter().position(|word| word == flag) {
        words.remove(at);
        if words.get(at).is_some_and(|word| !word.starts_with("--") || word.starts_with("-1")) {
            words.remove(at);
        }
    }
}

/// The words of a command, of which some are in quotes.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate();
    parts
        .flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

pub(super) fn run(command: &str, folder: &TempDir) -> Result<String, String> {
    run_words(&words(command), folder)
}

/// Runs a command in a folder. Returns what it says: an error where it fails, with exit code 2 and without a panic.
fn run_words(words: &[String], folder: &TempDir) -> Result<String, String> {
    let (mut program, mut words) = words.split_first().ok_or("no command")?;
    let without_runtimes = program == "without-runtimes";
    if without_runtimes {
        (program, words) = words.split_first().ok_or("no command")?;
    }
    let at = |name: &String| folder.path().join(name);
    match (program.as_str(), words) {
        ("spoil", [name]) => return spoil(&at(name)).map_err(|error| error.to_string()),
        ("lock", _) => return Ok(String::new()),
        _ => {}
    }
    let program = match program.as_str() {
        "gnp-run" => env!("CARGO_BIN_EXE_gnp-run"),
        "gnp-rewrite" => env!("CARGO_BIN_EXE_gnp-rewrite"),
        program => return Err(format!("there is no program `{program}`")),
    };
    let mut command = Command::new(program);
    command.current_dir(folder.path()).env_remove("ORT_DYLIB_PATH");
    if without_runtimes {
        command.env("GNP_CACHE_DIR", folder.path().join("cache"));
    }
    let runtime = || crate::support::training_runtime().library.into_os_string();
    for word in words {
        if word == "RUNTIME" {
            command.arg(runtime())
        } else {
            command.arg(word)
        };
    }
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let error = said.find("error: ").map(|at| said[at..].trim_end().to_owned()).unwrap_or_else(|| said.clone());
    match output.status.code() {
        Some(0) => Ok(said),
        Some(2) if !said.contains("panicked") => Err(error),
        code => panic!("{words:?}: exit code {code:?}: {said}"),
    }
}

/// Makes files unreadable: all in a folder, or the first line of one.
fn spoil(path: &Path) -> std::io::Result<String> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            spoil(&entry?.path())?;
        }
    } else {
        fs::write(path, "spoiled\n")?;
    }
    Ok(String::new())
}
