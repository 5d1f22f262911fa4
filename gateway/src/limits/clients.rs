//! The limit of each client, and who is one.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;
use provider::Rate;
use relay::Peer;
use tokio::time::Instant;

use super::addresses::Addresses;
use super::bucket::{Pace, nanos};

/// What proxies write whom they speak for, each behind the one before it.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How many calls each client may make, over all threads.
#[derive(Debug)]
pub struct Clients {
    rate: Rate,
    pace: Pace,
    proxies: Vec<IpNet>,
    begin: Instant,
    addresses: Mutex<Addresses>,
}

/// A client that has made too many calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// Its address.
    pub client: IpAddr,
    /// What it may.
    pub rate: Rate,
    /// How long until it may call again.
    pub wait: Duration,
}

impl Clients {
    /// What `proxies` say of whom they speak for is believed.
    pub fn new(rate: Rate, proxies: Vec<IpNet>) -> Self {
        let (begin, addresses) = (Instant::now(), Mutex::default());
        Self { rate, pace: Pace::new(rate), proxies, begin, addresses }
    }

    /// The same, when there is a rate.
    pub fn limited(rate: Option<Rate>, proxies: &[IpNet]) -> Option<Self> {
        rate.map(|rate| Self::new(rate, proxies.to_vec()))
    }

    /// Takes a call that comes now. Processes of this machine that call over a unix socket are not
    /// limited: that is a gateway that leaves, and has taken the call.
    ///
    /// # Errors
    /// When its client has made too many.
    pub fn take(&self, peer: Peer, headers: &HeaderMap, now: Instant) -> Result<(), TooMany> {
        let Some(client) = self.client(peer, headers) else { return Ok(()) };
        let now = nanos(now.saturating_duration_since(self.begin));
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = addresses.take(client, self.pace, now);
        taken.map_err(|wait| TooMany { client, rate: self.rate, wait })
    }

    /// Who calls: the peer, or whom it speaks for when it is a trusted proxy. Of a list of hops the
    /// last one counts that is no such proxy; what stands before it anybody may have written.
    fn client(&self, peer: Peer, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer.ip()?;
        if !self.is_proxy(client) {
            return Some(client);
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops {
            let Some(hop) = address(hop) else { break };
            client = hop;
            if !self.is_proxy(client) {
                break;
            }
        }
        Some(client)
    }

    fn is_proxy(&self, ip: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&ip))
    }
}

/// One element of `X-Forwarded-For`; some proxies write the port, too.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    let ip = text.parse().or_else(|_| with_port()).ok()?;
    Some(IpAddr::to_canonical(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(proxies: &[&str]) -> Clients {
        let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
        Clients::new("2/h".parse().unwrap(), proxies)
    }

    fn client(clients: &Clients, peer: &str, lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let peer = Peer::Tcp(SocketAddr::new(peer.parse().unwrap(), 9));
        clients.client(peer, &headers).unwrap().to_string()
    }

    #[test]
    fn nobody_else_is_believed() {
        let none = clients(&[]);
        assert_eq!(client(&none, "10.0.0.1", &["1.1.1.1"]), "10.0.0.1");
        let other = clients(&["10.0.0.2/32"]);
        assert_eq!(client(&other, "10.0.0.1", &["1.1.1.1"]), "10.0.0.1");
    }

    #[test]
    fn behind_proxies_the_last_that_is_none_counts() {
        let clients = clients(&["10.0.0.0/8", "fd00::/8"]);
        let of = |lines: &[&'static str]| client(&clients, "10.0.0.1", lines);
        assert_eq!(of(&[]), "10.0.0.1");
        assert_eq!(of(&["1.1.1.1"]), "1.1.1.1");
        assert_eq!(of(&["9.9.9.9, 1.1.1.1, 10.2.2.2"]), "1.1.1.1");
        assert_eq!(of(&["9.9.9.9", "1.1.1.1,fd00::1", " 10.2.2.2 "]), "1.1.1.1");
        assert_eq!(of(&["1.1.1.1:77, [fd00::1]:5"]), "1.1.1.1");
        assert_eq!(of(&["::ffff:1.1.1.1"]), "1.1.1.1");
        // A hop that says nothing of use is itself the client.
        assert_eq!(of(&["1.1.1.1, unknown, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(of(&["10.3.3.3, 10.2.2.2"]), "10.3.3.3");
        assert_eq!(client(&clients, "::ffff:10.0.0.1", &["1.1.1.1"]), "1.1.1.1");
    }

    #[test]
    fn each_client_has_its_own_calls() {
        let (clients, now) = (clients(&[]), Instant::now());
        let peer = |ip: &str| Peer::Tcp(SocketAddr::new(ip.parse().unwrap(), 9));
        let take = |ip| clients.take(peer(ip), &HeaderMap::new(), now);
        assert!(take("1.1.1.1").is_ok() && take("1.1.1.1").is_ok() && take("1.1.1.2").is_ok());
        let refused = take("1.1.1.1").unwrap_err();
        assert_eq!(refused.client.to_string(), "1.1.1.1");
        assert_eq!(refused.wait, Duration::from_secs(1800));
        for _ in 0..9 {
            assert!(clients.take(Peer::Unix, &HeaderMap::new(), now).is_ok());
        }
    }
}
