//! Runs of `gnp-run`, and what holds of both programs: advice, arguments, planted and replaced files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod advice;
mod arguments;
mod bad_input;
mod checkpoints;
mod cuda;
mod data;
mod engine_options;
mod escaped;
mod examples;
mod faults;
mod half_models;
mod inputs;
mod interrupted;
mod killed;
mod labels;
mod last_resort;
mod micro_batches;
mod not_finite;
mod plan;
mod planted;
mod precision;
mod recipes;
mod rehearsal;
mod replaced;
mod report;
mod run;
mod step;
mod sweep;
mod training_api;
mod training_checkpoint;
mod unlucky;
