//! A bucket for each client address, in a bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::bucket::Pace;

/// Addresses of one generation.
const MAX_ADDRESSES: usize = 1 << 16;

/// The buckets of the addresses that called last.
///
/// Two generations: when the younger one is full, the older one is forgotten and the younger one
/// becomes the older. So an address is forgotten only when as many others have called since its
/// last call as a generation holds, and nothing is ever searched or sorted.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Addresses {
    /// Takes a call of this address. The error is how long until there is one.
    pub(super) fn take(&mut self, ip: IpAddr, pace: Pace, now: u64) -> Result<(), Duration> {
        let key = key(ip);
        let full = self.young.get(&key).or_else(|| self.old.get(&key)).copied().unwrap_or(0);
        let (full, taken) = pace.take(full, now);
        self.note(key, full);
        taken
    }

    fn note(&mut self, key: u64, full: u64) {
        if self.young.len() >= MAX_ADDRESSES && !self.young.contains_key(&key) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, full);
    }
}

/// What an address is counted as: an IPv6 address as its network, of which each client has a whole
/// one. No network of clients begins as the keys of IPv4 addresses do (RFC 4291 2.4).
fn key(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => 0xffff << 32 | u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn pace(rate: &str) -> Pace {
        Pace::new(rate.parse().unwrap())
    }

    fn taken(addresses: &mut Addresses, ip: &str) -> bool {
        addresses.take(ip.parse().unwrap(), pace("1/h"), 1).is_ok()
    }

    #[test]
    fn a_hundred_thousand_addresses_need_no_more_memory_than_a_full_store() {
        let (mut addresses, pace) = (Addresses::default(), pace("1/h"));
        let limited = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        assert!(addresses.take(limited, pace, 1).is_ok());
        let mut most = 0;
        for number in 0..400_000_u32 {
            let ip = match number % 2 {
                0 => IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number)),
                _ => IpAddr::from(Ipv6Addr::from_bits(u128::from(number) << 64 | 0x2001 << 112)),
            };
            assert!(addresses.take(ip, pace, 1).is_ok(), "{ip} was never here");
            if number % 50_000 == 0 {
                assert!(addresses.take(limited, pace, 1).is_err(), "it goes on calling");
            }
            most = most.max(addresses.young.len() + addresses.old.len());
        }
        assert!(most <= 2 * MAX_ADDRESSES, "{most}");
        assert!(addresses.young.capacity() + addresses.old.capacity() <= 8 * MAX_ADDRESSES);
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_an_ipv4_client_its_address() {
        let mut addresses = Addresses::default();
        assert!(taken(&mut addresses, "2001:db8:1:2::1"));
        assert!(!taken(&mut addresses, "2001:db8:1:2:3:4:5:6"), "the same network");
        assert!(taken(&mut addresses, "2001:db8:1:3::1"));
        assert!(taken(&mut addresses, "192.0.2.1") && taken(&mut addresses, "192.0.2.2"));
        assert!(!taken(&mut addresses, "::ffff:192.0.2.1"), "the same address");
    }
}
