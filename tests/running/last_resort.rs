//! A panic is a fault of gnp, whatever thread it is in: one message, exit code 1, no backtrace unless one is asked for.
use clap::Parser;
use gnp::cli;
use std::env;
use std::process::Command;
use std::thread;

/// Takes whatever a test harness is given.
#[derive(Parser)]
struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

const WHAT: &str = "GNP_TEST_LAST_RESORT";

/// What the tests below run, in a process of its own.
#[test]
fn program() {
    let Ok(what) = env::var(WHAT) else { return };
    let code = cli::run(env::args_os(), |Arguments { rest }: Arguments| {
        assert!(!rest.is_empty());
        match what.as_str() {
            "main" => panic!("on purpose in {}", "main"),
            "index" => drop(rest[rest.len()..][0].clone()),
            "joined" => thread::scope(|scope| scope.spawn(|| panic!("on purpose in a thread")).join()).unwrap(),
            "forgotten" => drop(thread::spawn(|| panic!("on purpose in a thread")).join()),
            _ => {}
        }
        Ok(())
    });
    eprintln!("exit code: {code}");
}

fn said(what: &str, backtrace: Option<&str>) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "last_resort::program", "--nocapture"]).env(WHAT, what).env_remove("RUST_BACKTRACE");
    backtrace.map(|value| command.env("RUST_BACKTRACE", value));
    let output = command.output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_panic_is_one_message() {
    for (what, says) in [
        ("main", "error: on purpose in main (tests/running/last_resort.rs:"),
        ("index", "error: index out of bounds: the len is 0 but the index is 0 (tests/running/last_resort.rs:"),
        ("joined", "error: on purpose in a thread (tests/running/last_resort.rs:"),
        ("forgotten", "error: on purpose in a thread (tests/running/last_resort.rs:"),
    ] {
        let said = said(what, None);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert!(lines[0].starts_with(says), "{said}");
        assert_eq!(lines[1], "  This is a fault of gnp: please report it with the command that led to it.");
        assert!(lines[2].ends_with("exit code: 1"), "{said}");
    }
    assert!(said("none", None).contains("exit code: 0"));
}

#[test]
fn a_backtrace_is_there_for_the_asking() {
    let said = said("main", Some("1"));
    assert!(said.contains("last_resort") && said.contains("panic"), "{said}");
    assert_eq!(said.matches("This is a fault of gnp").count(), 1);
}
