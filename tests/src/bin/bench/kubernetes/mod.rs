//! Functions on a cluster: how fast they come from nothing, what a call costs, and what the gateway
//! needs for many.

mod calls;
mod rest;
mod site;
mod wakes;

use anyhow::Result;
use system::cluster;

use site::Site;

/// Rounds unless told otherwise.
pub(crate) const ROUNDS: usize = 20;

pub(crate) fn run(rounds: usize) -> Result<()> {
    if let Some(reason) = cluster::absent() {
        println!("{reason}: Kubernetes was not measured\n");
        return Ok(());
    }
    println!("rounds: {rounds}\n");
    let site = Site::start()?;
    wakes::run(&site, rounds)?;
    calls::run(&site, rounds)?;
    drop(site);
    rest::run()
}
