//! From no pod at all to the first byte of an answer.

use anyhow::Result;

use super::site::{FUNCTION, Site};
use crate::project::first_byte;
use crate::sample::{Sample, head};

pub(crate) fn run(site: &Site, rounds: usize) -> Result<()> {
    let (mut woken, mut floor, mut warm) = <(Sample, Sample, Sample)>::default();
    let (port, path) = (site.gateway.port(), format!("/function/{FUNCTION}"));
    for round in 0..rounds {
        site.to_zero()?;
        site.floor_to_zero()?;
        // Whoever comes second finds more of the other's work done, or still going on.
        if round % 2 == 0 {
            woken.add(first_byte(port, &path)?);
            floor.add(site.first_byte_of_the_floor()?);
        } else {
            floor.add(site.first_byte_of_the_floor()?);
            woken.add(first_byte(port, &path)?);
        }
        warm.add(first_byte(port, &path)?);
    }
    head("From zero on a cluster: request sent to first byte, no pod of the function there");
    println!("{}", woken.row("through the gateway (goal: floor +100 ms at p50)"));
    println!("{}", floor.row("floor: scaled by the API, its pod's address connected to"));
    println!("{}\n", warm.row("for comparison: through the gateway when it runs"));
    Ok(())
}
