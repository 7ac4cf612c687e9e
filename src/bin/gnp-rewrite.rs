//! gnp-rewrite.

fn main() {}
