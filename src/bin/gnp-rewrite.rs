//! Puts the Gradient Norm Penalty into ONNX training graphs.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(gnp::programs::gnp_rewrite(std::env::args_os()))
}
