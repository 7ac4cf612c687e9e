//! Ctrl-C and its like.

use gnp::{Error, Result, cli};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the first Ctrl-C.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Has the first Ctrl-C (SIGINT), SIGTERM or SIGHUP set [`STOP`], upon which the step under way is finished and a
/// checkpoint written; the second ends the program.
pub fn stop_on_ctrl_c(quiet: bool) -> Result<()> {
    let handler = move || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        if !quiet {
            cli::say("\nsaving a checkpoint; Ctrl-C again ends at once");
        }
    };
    keeping_nohup(|| ctrlc::set_handler(handler))
        .map_err(|error| Error::internal(format!("cannot listen for Ctrl-C: {error}")))
}

/// Leaves SIGHUP ignored where it was before `set`, which sets handlers: `nohup` asks for that.
#[cfg(unix)]
fn keeping_nohup<T>(set: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no code runs when a signal is ignored.
    let ignore = || unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) };
    let was_ignored = ignore().is_ok_and(|before| matches!(before, SigHandler::SigIgn));
    let done = set();
    if was_ignored {
        // It has worked before.
        let _ = ignore();
    }
    done
}

#[cfg(not(unix))]
fn keeping_nohup<T>(set: impl FnOnce() -> T) -> T {
    set()
}
