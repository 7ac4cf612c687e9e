//! Ctrl-C and its like.

use crate::train::is_saving;
use crate::{Error, Result, cli};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Set by the first Ctrl-C.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Set by SIGTERM, whose sender does not wait for long.
static IN_A_HURRY: AtomicBool = AtomicBool::new(false);

/// For so long the step under way may go on after SIGTERM.
const PATIENCE: Duration = Duration::from_millis(1000);

/// Has the first Ctrl-C (SIGINT), SIGTERM or SIGHUP set [`STOP`], upon which the step under way is finished and a
/// checkpoint written; the second ends the program. SIGTERM ends it within two seconds, whatever is under way, unless
/// that is a checkpoint.
pub fn stop_on_ctrl_c(quiet: bool) -> Result<()> {
    let handler = move || {
        if STOP.swap(true, Ordering::Relaxed) {
            end(130);
        }
        if !quiet {
            cli::say("\nsaving a checkpoint; Ctrl-C again ends at once");
        }
        if IN_A_HURRY.load(Ordering::Relaxed) {
            thread::spawn(end_soon);
        }
    };
    keeping_nohup(|| ctrlc::set_handler(handler))
        .map_err(|error| Error::internal(format!("cannot listen for Ctrl-C: {error}")))?;
    hurry_on_sigterm();
    Ok(())
}

fn end_soon() {
    thread::sleep(PATIENCE);
    while is_saving() {
        thread::sleep(Duration::from_millis(20));
    }
    cli::say("ended amid a step; the run goes on from its last checkpoint, where it has one");
    end(143);
}

/// Ends the process without more ado: an engine that computes meanwhile must not find itself taken apart.
fn end(code: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: this function of the system may be called from any thread at any time.
    unsafe {
        nix::libc::_exit(code)
    }
    #[cfg(not(unix))]
    std::process::exit(code)
}

/// Tells SIGTERM from Ctrl-C, for which it stands otherwise.
#[cfg(unix)]
fn hurry_on_sigterm() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
    extern "C" fn handle(_: i32) {
        IN_A_HURRY.store(true, Ordering::Relaxed);
        // It cannot fail: the signal exists.
        let _ = raise(Signal::SIGINT);
    }
    let action = SigAction::new(SigHandler::Handler(handle), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does what a handler may do: it stores a flag and raises a signal.
    let _ = unsafe { sigaction(Signal::SIGTERM, &action) };
}

#[cfg(not(unix))]
fn hurry_on_sigterm() {}

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
