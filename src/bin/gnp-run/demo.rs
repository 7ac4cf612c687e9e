//! `gnp-run demo`: what the penalty does, in under a minute.

#[derive(clap::Args)]
pub struct Arguments {}

pub fn run(_: &Arguments) -> gnp::Result<()> {
    Ok(())
}
