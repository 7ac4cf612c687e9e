//! Calls of code that is not ours and may panic.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// How many calls are under way: what they call may have threads of its own.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// What `call` returns, or what its panic says. Nothing is printed: the process's panic hook is left out for this
/// thread. What `call` had in hands must not be used after a panic.
pub fn quietly<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    CALLS.fetch_add(1, Ordering::Relaxed);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    CALLS.fetch_sub(1, Ordering::Relaxed);
    QUIET.set(before);
    result.map_err(said)
}

/// Whether a panic now may be one that [`quietly`] makes an error of: it is in a call, or a thread of what is called.
pub fn is_expected() -> bool {
    CALLS.load(Ordering::Relaxed) > 0
}

/// What a panic says.
pub fn said(panic: Box<dyn Any + Send>) -> String {
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
    fn a_panic_is_caught_and_not_printed() {
        assert_eq!(
            quietly(|| -> () { panic!("this must not be printed") }),
            Err("this must not be printed".to_owned())
        );
        assert_eq!(quietly(|| -> () { panic!("nor {}", 1) }), Err("nor 1".to_owned()));
        assert_eq!(quietly(|| 1), Ok(1));
        assert!(!QUIET.get());
    }
}
