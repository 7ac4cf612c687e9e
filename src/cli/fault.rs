//! The last resort: what becomes of a panic, which is a fault of ours.

use crate::{Error, Result};
use gnp_base::caught;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, Once, PoisonError};

/// What the first panic said that nobody expected, and where.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// The same of one that may have been expected: it matters where nobody has made an error of it.
static PERHAPS: Mutex<Option<String>> = Mutex::new(None);

const UNKNOWN: &str = "an unknown failure";

/// What `program` returns, or, where it or a thread of it has panicked, an error that says so. Nothing is printed
/// meanwhile, and from then on.
///
/// # Errors
/// As `program`.
pub fn caught<T>(program: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = caught_here(program);
    // A thread's, whatever became of the rest.
    taken(&FIRST).map_or(outcome, |said| Err(Error::internal(said)))
}

/// The same of what panics in this thread alone: for calls that threads make at once.
///
/// # Errors
/// As `call`.
pub fn caught_here<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| panic::set_hook(Box::new(note)));
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        let said = taken(&FIRST).or_else(|| taken(&PERHAPS));
        Err(Error::internal(said.unwrap_or_else(|| UNKNOWN.to_owned())))
    })
}

fn taken(said: &Mutex<Option<String>>) -> Option<String> {
    said.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let trace = match backtrace.status() {
        BacktraceStatus::Captured => format!("; {backtrace}"),
        _ => String::new(),
    };
    let said = info.payload_as_str().unwrap_or(UNKNOWN);
    // Some libraries panic on some input, and an error is made of that.
    let place_of = if caught::is_under_way() { &PERHAPS } else { &FIRST };
    let mut noted = place_of.lock().unwrap_or_else(PoisonError::into_inner);
    noted.get_or_insert_with(|| format!("{said}{place}{trace}"));
}
