//! tract's panics: where others refuse an input with an error, an index outside of its table say, tract may panic.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use tract_onnx::prelude::{TractError, TractResult};

thread_local! {
    /// Whether a panic of this thread becomes an error.
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// What `call` returns; a panic in it is an error, and nothing is printed of it.
pub(super) fn caught<T>(call: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !CATCHES.get() {
                print(panic);
            }
        }));
    });
    let before = CATCHES.replace(true);
    let returned = panic::catch_unwind(AssertUnwindSafe(call));
    CATCHES.set(before);
    returned.unwrap_or_else(|panic| Err(TractError::msg(message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_errors() {
        assert_eq!(caught(|| Ok(3)).unwrap(), 3);
        let none: [u8; 0] = [];
        let error = caught(|| Ok(none[std::hint::black_box(7)])).unwrap_err();
        assert_eq!(error.to_string(), "index out of bounds: the len is 0 but the index is 7");
        assert_eq!(caught::<()>(|| panic!("so")).unwrap_err().to_string(), "so");
        assert!(!CATCHES.get());
    }
}
