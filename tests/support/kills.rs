//! Processes that are killed at a random moment.

use std::env;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How many kills a test tries: `few`, or as many as the variable `GNP_KILLS` says.
pub fn kills(few: usize) -> usize {
    env::var("GNP_KILLS").map_or(few, |kills| kills.parse().unwrap())
}

/// Starts a process and kills it after `delay`, unless it is over by then. Returns whether it was killed; one that was
/// over has succeeded.
#[track_caller]
pub fn kill_after(command: &mut Command, delay: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while began.elapsed() < delay && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let is_over = output.status.code().is_some();
    assert!(!is_over || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    !is_over
}

/// How long a command takes that succeeds.
#[track_caller]
pub fn time(command: &mut Command) -> Duration {
    let began = Instant::now();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    began.elapsed()
}
