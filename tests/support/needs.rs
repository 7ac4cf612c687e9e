//! What a test needs of the machine beyond Rust.
//!
//! A test without it says so and passes, so that `cargo test` succeeds on a machine that has Rust alone. With
//! `GNP_TESTS=all` in the environment, as in CI, it fails instead.

use super::browser;
use gnp::engine::runtime;
use std::io::Write as _;
use std::sync::LazyLock;
use std::{env, io, thread};

/// Ends a test that needs what is not here.
macro_rules! needs {
    ($what:ident) => {
        if let Some(how) = $crate::support::needs::$what() {
            return $crate::support::needs::skip(how);
        }
    };
}

/// Whether both ONNX Runtimes, stock and with the training API, are here or can be fetched; if not, how to get them.
pub fn engines() -> Option<&'static str> {
    static LACKING: LazyLock<bool> = LazyLock::new(|| {
        runtime::install_training(&mut |_| {}).is_err() || runtime::install_onnxruntime(&mut |_| {}).is_err()
    });
    LACKING.then_some("ONNX Runtime, which it gets itself with python3, pip, a C compiler and a network")
}

/// Whether there is a browser to look at pages in; if not, how to get it.
pub fn browser() -> Option<&'static str> {
    browser::chromium().is_none().then_some("Chromium: apt-get install chromium")
}

/// Says that the test that calls this is skipped.
pub fn skip(needs: &str) {
    assert!(env::var_os("GNP_TESTS").is_none_or(|which| which != "all"), "needs {needs}");
    tell(needs);
}

/// The same of a test for which some machines are too new, or too old: no reason to fail.
pub fn tell(needs: &str) {
    let thread = thread::current();
    // Past what hides the output of tests that pass. Where nobody reads it there is nobody to tell.
    let _ = writeln!(io::stderr(), "skipped {}: needs {needs}", thread.name().unwrap_or("a test"));
}
