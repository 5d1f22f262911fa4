//! The bridge network that functions and gateway share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use bollard::models::{NetworkCreateRequest, NetworkInspect};
use tokio::sync::Mutex;

use super::api::{Api, error, is_status, refused};
use super::labels::NETWORK;
use crate::Result;

/// Makes the network at first use, and removes it with the last function.
#[derive(Default)]
pub(super) struct Network {
    /// Whether somebody relies on its address: then it stays.
    pinned: Mutex<bool>,
}

impl Network {
    /// Makes the network if it is not there. Returns the address of this machine on it.
    pub(super) async fn ensure(&self, engine: &Api) -> Result<Ipv4Addr> {
        let _one_creator = self.pinned.lock().await;
        if let Some(network) = inspect(engine).await? {
            return gateway_ip(&network);
        }
        let request = NetworkCreateRequest {
            name: engine.network.clone(),
            driver: Some("bridge".to_owned()),
            labels: Some(HashMap::from([(NETWORK.to_owned(), engine.network.clone())])),
            ..Default::default()
        };
        engine.docker.create_network(request).await.map_err(error)?;
        let made = inspect(engine).await?;
        gateway_ip(&made.ok_or_else(|| refused("the new network is gone"))?)
    }

    /// Keeps the network for good, since its address was given away.
    pub(super) async fn pin(&self) {
        *self.pinned.lock().await = true;
    }

    /// Removes the network if we made it and nobody relies on it.
    ///
    /// The caller sees to it that nobody makes a container meanwhile.
    pub(super) async fn remove_unused(&self, engine: &Api) -> Result<()> {
        let pinned = self.pinned.lock().await;
        let Some(network) = inspect(engine).await? else { return Ok(()) };
        let ours = network.labels.is_some_and(|labels| labels.contains_key(NETWORK));
        if *pinned || !ours {
            return Ok(());
        }
        match engine.docker.remove_network(&engine.network).await {
            // 403: a container of somebody else is on it.
            Err(e) if is_status(&e, 404) || is_status(&e, 403) => Ok(()),
            other => other.map_err(error),
        }
    }
}

async fn inspect(engine: &Api) -> Result<Option<NetworkInspect>> {
    match engine.docker.inspect_network(&engine.network, None).await {
        Ok(network) => Ok(Some(network)),
        Err(e) if is_status(&e, 404) => Ok(None),
        Err(e) => Err(error(e)),
    }
}

fn gateway_ip(network: &NetworkInspect) -> Result<Ipv4Addr> {
    let configs = network.ipam.iter().filter_map(|ipam| ipam.config.as_ref()).flatten();
    let texts = configs.filter_map(|config| config.gateway.as_deref());
    // Some engines write the prefix length behind it.
    let mut addresses = texts.filter_map(|text| text.split('/').next()?.parse().ok());
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    };
    let missing = || refused("the network has no IPv4 gateway address");
    addresses.find_map(v4).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use bollard::models::{Ipam, IpamConfig};

    use super::*;

    #[test]
    fn the_gateway_is_the_first_ipv4_one() {
        let config = |gateway: &str| IpamConfig {
            gateway: Some(gateway.to_owned()),
            ..IpamConfig::default()
        };
        let config = Some(vec![config("fd00::1"), config("172.18.0.1/16")]);
        let ipam = Some(Ipam { config, ..Ipam::default() });
        let network = NetworkInspect { ipam, ..NetworkInspect::default() };
        assert_eq!(gateway_ip(&network).unwrap(), Ipv4Addr::new(172, 18, 0, 1));
        assert!(gateway_ip(&NetworkInspect::default()).is_err());
    }
}
