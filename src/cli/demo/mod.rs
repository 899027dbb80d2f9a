//! `demo`
use super::Failure;
/// x
#[derive(clap::Args)]
pub struct Arguments {}
pub fn run(_: &Arguments) -> Result<(), Failure> {
    Err(Failure::new(75, "later"))
}
