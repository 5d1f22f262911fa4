//! How fast functions wake and grow, and what they cost while they sleep.

mod idle;
mod react;
mod site;
mod wakes;

use anyhow::Result;

use site::Site;

/// Rounds unless told otherwise.
pub(crate) const ROUNDS: usize = 30;

pub(crate) fn run(rounds: usize) -> Result<()> {
    println!("rounds: {rounds}\n");
    let site = Site::start()?;
    wakes::run(&site, rounds)?;
    react::run(&site, rounds)?;
    drop(site);
    idle::run()
}
