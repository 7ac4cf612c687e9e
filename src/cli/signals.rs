//! Signals that both programs take otherwise than by ending.

/// Has a write beyond the limit of a file's size (`ulimit -f`) fail, as one to a full disk does, rather than end the
/// process.
pub(super) fn fail_writes_to_large_files() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigHandler, Signal, signal};
        // SAFETY: no code runs when a signal is ignored.
        let ignored = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
        // A system that cannot does not send it.
        let _ = ignored;
    }
}
