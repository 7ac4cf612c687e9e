//! Calls of libraries that panic on what they do not foresee: tract's rules and kernels, readers of files.
//!
//! What unwinds out of a call becomes an error. The process's panic hook is left as it is: whoever owns the process
//! decides what is printed of a panic, and may ask [`is_under_way`] to tell such a one from others. The hook that Rust
//! installs prints it. In a process that is built with `panic = "abort"` nothing unwinds: it ends where the library
//! panics.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many calls are under way in the process: libraries have threads of their own.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Whether such a call is under way: a panic now, in this thread or another, may be one that becomes an error.
pub fn is_under_way() -> bool {
    CALLS.load(Ordering::Relaxed) > 0
}

/// What `call` returns, or what its panic says. What `call` had in hands must not be used after a panic.
///
/// # Errors
/// Where it panics: what was said.
///
/// ```
/// use gnp_base::caught::caught;
/// assert_eq!(caught(|| 3), Ok(3));
/// ```
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    CALLS.fetch_sub(1, Ordering::Relaxed);
    result.map_err(said)
}

fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => {
            panic.downcast::<&str>().map_or_else(|_| "an unknown failure".to_owned(), |text| text.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(caught(|| -> () { panic!("no such {}", "index") }), Err("no such index".to_owned()));
        assert_eq!(caught(|| -> () { panic!("as a text") }), Err("as a text".to_owned()));
        assert_eq!(caught(is_under_way), Ok(true));
    }
}
