//! gnp-run.

fn main() {}
