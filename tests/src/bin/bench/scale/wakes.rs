//! From frozen and from stopped to the first byte of an answer, beside what that cannot be under.

use anyhow::Result;

use super::site::{Place, Site, bare};
use crate::cold::bare_node;
use crate::sample::{Sample, head};

/// What is measured of one function.
#[derive(Default)]
struct Times {
    warm: Sample,
    frozen: Sample,
    stopped: Sample,
}

pub(crate) fn run(site: &Site, rounds: usize) -> Result<()> {
    let (mut rust, mut node, mut contained) = <(Times, Times, Times)>::default();
    let (mut node_alone, mut start, mut unpause) = <(Sample, Sample, Sample)>::default();
    for _ in 0..rounds {
        // They come to rest at the same time, which takes longer than all that is measured.
        for place in all(site) {
            site.until(place, "frozen")?;
        }
        site.frozen(&site.rust, &mut rust)?;
        site.frozen(&site.node, &mut node)?;
        site.stopped(&site.rust, &mut rust)?;
        node_alone.add(bare_node()?);
        site.stopped(&site.node, &mut node)?;
        let Some(place) = &site.contained else { continue };
        site.frozen(place, &mut contained)?;
        let container = site.stopped(place, &mut contained)?;
        site.stop(place)?;
        start.add(bare("start", &container)?);
        site.until(place, "ready")?;
        bare("pause", &container)?;
        site.until(place, "frozen")?;
        unpause.add(bare("unpause", &container)?);
        site.until(place, "ready")?;
    }
    head("Wakes: request sent to first byte, on a connection of its own");
    rust.print("rust process", "+2 ms at p50", "25 ms");
    node.print("node process", "+2 ms at p50", "bare node +15 ms");
    println!("{}", node_alone.row("floor: bare `node -e` server, spawn to first answer"));
    if site.contained.is_some() {
        contained.print("container", "15 ms", "bare start +30 ms");
        println!("{}", unpause.row("floor: the engine's unpause of the same container"));
        println!("{}", start.row("floor: the engine's start of the same container"));
    } else {
        println!("\nno Docker engine answers: containers were not measured");
    }
    println!();
    Ok(())
}

fn all(site: &Site) -> impl Iterator<Item = &Place> {
    [&site.rust, &site.node].into_iter().chain(&site.contained)
}

impl Site {
    fn frozen(&self, place: &Place, times: &mut Times) -> Result<()> {
        times.frozen.add(place.first_byte()?);
        times.warm.add(place.first_byte()?);
        Ok(())
    }

    /// Returns the replica that was woken.
    fn stopped(&self, place: &Place, times: &mut Times) -> Result<String> {
        let replica = self.stop(place)?;
        times.stopped.add(place.first_byte()?);
        Ok(replica)
    }
}

impl Times {
    fn print(&self, what: &str, frozen_goal: &str, stopped_goal: &str) {
        println!("{}", self.warm.row(&format!("{what}, warm")));
        println!("{}", self.frozen.row(&format!("{what}, frozen (goal: {frozen_goal})")));
        println!("{}", self.stopped.row(&format!("{what}, stopped (goal: {stopped_goal})")));
    }
}
