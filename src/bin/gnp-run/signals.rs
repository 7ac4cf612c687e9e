//! What becomes of a run that is told to stop.

use gnp::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by Ctrl-C and SIGTERM.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// The first Ctrl-C (SIGINT) or SIGTERM lets the step under way finish and a checkpoint be written, the second ends the
/// program.
pub fn stop_on_ctrl_c(quiet: bool) -> Result<()> {
    ctrlc::set_handler(move || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        if !quiet {
            eprintln!("\nsaving a checkpoint; Ctrl-C again ends at once");
        }
    })
    .map_err(|error| Error::internal(format!("cannot listen for Ctrl-C: {error}")))
}
