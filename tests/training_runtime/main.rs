//! What is trained in this process by ONNX Runtime's training API: one ONNX Runtime lives in a process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod check;
mod checkpoint;
mod determinism;
mod engine;
mod gradient;
mod kernels;
#[cfg(unix)]
mod large;
mod passes;
mod runtime_gradients;
mod state_inside;
mod step_training_runtime;
mod train;
mod versions;
