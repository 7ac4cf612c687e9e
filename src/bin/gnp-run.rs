//! Trains step models and ONNX Runtime training artifacts, those with a Gradient Norm Penalty among them.

use std::process::ExitCode;

fn main() -> ExitCode {
    load_kernels_when_they_are_used();
    ExitCode::from(gnp::programs::gnp_run(std::env::args_os()))
}

/// Has CUDA load, and where it must compile, the kernels that are used, and not the thousands that a library has: what
/// versions from 12.2 on do by themselves. The user's own word takes precedence.
///
/// The driver reads the variable when it starts, before it can be asked what the card is; so it is always set.
fn load_kernels_when_they_are_used() {
    const VARIABLE: &str = "CUDA_MODULE_LOADING";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: this is the first thing that the process does: no other thread reads the environment.
        unsafe { std::env::set_var(VARIABLE, "LAZY") };
    }
}
