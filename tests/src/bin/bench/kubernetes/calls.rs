//! What the gateway adds to a call of a pod.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::site::{FUNCTION, Site};
use crate::sample::{Sample, head};

/// Calls of a round, one after the other on one connection.
const CALLS: usize = 100;

pub(crate) fn run(site: &Site, rounds: usize) -> Result<()> {
    let pod = site.pod()?;
    let gateway = SocketAddr::from(([127, 0, 0, 1], site.gateway.port()));
    let through = format!("http://{gateway}/function/{FUNCTION}/version");
    let direct = format!("http://{pod}/version");
    let client = || reqwest::Client::builder().no_proxy().build();
    let (of_gateway, of_pod) = (client()?, client()?);
    let (mut with, mut without) = <(Sample, Sample)>::default();
    for _ in 0..rounds {
        for (client, url, sample) in
            [(&of_gateway, &through, &mut with), (&of_pod, &direct, &mut without)]
        {
            for _ in 0..CALLS {
                sample.add(site.runtime.block_on(call(client, url))?);
            }
        }
    }
    head("A call on a cluster, one after the other on a kept connection");
    println!("{}", with.row("through the gateway"));
    println!("{}\n", without.row("straight to the pod"));
    Ok(())
}

async fn call(client: &reqwest::Client, url: &str) -> Result<Duration> {
    let start = Instant::now();
    let answer = client.get(url).send().await?;
    ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
    answer.bytes().await?;
    Ok(start.elapsed())
}
