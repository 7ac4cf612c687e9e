//! What `gnp-rewrite` makes of models and artifacts, and what engines make of that.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod artifact_files;
mod artifact_names;
mod bad_input;
mod cli;
mod cuda_kernels;
mod exporting;
mod exports;
mod external_data;
mod forward;
mod forward_bad_input;
mod gradient_lists;
mod gradients;
mod half_models;
mod hostile;
mod kernels;
mod layouts;
mod loading;
mod lora;
mod lowering;
mod memory;
mod normalise;
mod opening;
mod precision;
mod python_app;
mod robustness;
mod schema;
mod shapes;
mod step_engines;
mod step_model;
mod training_artifacts;
mod what_trains;
