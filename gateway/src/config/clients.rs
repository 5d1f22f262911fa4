//! The flags that bound what clients may do.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use provider::Rate;
use relay::{BodyRate, Places, ServeOptions};

use super::{ConfigError, bytes, duration};

/// How much waiting for a body is looked at together.
const BODY_WINDOW: Duration = Duration::from_secs(10);
/// Least and most that a request's head may be allowed to be, in bytes.
const HEADER_BYTES: (u64, u64) = (1 << 10, 1 << 20);
/// The same of its target; the upper bound is that of URIs in memory.
const URI_BYTES: (u64, u64) = (256, 63 << 10);

/// What clients may do.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Clients")]
pub struct ClientArgs {
    /// Most calls that each client address may make, such as 100/s, 300/m or 100/s burst 500; more
    /// are answered with 429. An IPv6 client is its /64 network [default: no limit]
    #[arg(long, env = "FAAS_CLIENT_RATE", value_name = "FAAS_CLIENT_RATE")]
    pub client_rate: Option<Rate>,

    /// Proxies in front of the gateway, as addresses or networks with commas between them: their
    /// word in X-Forwarded-For is taken for who the client is
    #[arg(long, env = "FAAS_TRUSTED_PROXIES", value_name = "FAAS_TRUSTED_PROXIES",
          value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,

    /// Bytes per second with which a request's body must come, over 10 s of waiting for it; slower
    /// ones are answered with 408 [default: any speed, within the call's timeout]
    #[arg(long, env = "FAAS_MIN_BODY_RATE", value_name = "FAAS_MIN_BODY_RATE",
          value_parser = bytes)]
    pub min_body_rate: Option<u64>,

    /// How long a client may take nothing of its answer before it is cut off
    #[arg(long, env = "FAAS_WRITE_STALL_TIMEOUT", value_name = "FAAS_WRITE_STALL_TIMEOUT",
          default_value = "60s", value_parser = duration)]
    pub write_stall_timeout: Duration,

    /// Largest head of a request, from 1Ki to 1Mi; over HTTP/2 64Ki at most
    #[arg(long, env = "FAAS_MAX_HEADER_SIZE", value_name = "FAAS_MAX_HEADER_SIZE",
          default_value = "64Ki", value_parser = bytes)]
    pub max_header_size: u64,

    /// Longest path and query of a request, from 256 to 63Ki
    #[arg(long, env = "FAAS_MAX_URI_SIZE", value_name = "FAAS_MAX_URI_SIZE",
          default_value = "32Ki", value_parser = bytes)]
    pub max_uri_size: u64,

    /// Most connections of clients at a time; further ones wait to be accepted [default: half of
    /// the files that the gateway may open]
    #[arg(long, env = "FAAS_MAX_CONNECTIONS", value_name = "FAAS_MAX_CONNECTIONS")]
    pub max_connections: Option<NonZeroUsize>,
}

impl ClientArgs {
    /// What the servers of all threads are told; `base` has what is no matter of clients.
    pub fn serve_options(&self, base: &ServeOptions, places: Places) -> ServeOptions {
        let rate = |bytes_per_second| BodyRate { bytes_per_second, window: BODY_WINDOW };
        ServeOptions {
            max_head_bytes: self.max_header_size as usize,
            max_uri_bytes: self.max_uri_size as usize,
            min_body_rate: self.min_body_rate.map(rate),
            write_stall_timeout: self.write_stall_timeout,
            places: Some(places),
            ..base.clone()
        }
    }

    /// Checks what one flag alone cannot know.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("FAAS_MAX_HEADER_SIZE", self.max_header_size, HEADER_BYTES),
            ("FAAS_MAX_URI_SIZE", self.max_uri_size, URI_BYTES),
        ];
        for (variable, size, (least, most)) in sizes {
            if !(least..=most).contains(&size) {
                let reason = format!("must be from {least} to {most} bytes");
                return Err(ConfigError::new(variable, size.to_string(), reason));
            }
        }
        if self.write_stall_timeout.is_zero() {
            let reason = "must be above 0";
            return Err(ConfigError::new("FAAS_WRITE_STALL_TIMEOUT", "0s".to_owned(), reason));
        }
        Ok(())
    }
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let one = || text.parse::<IpAddr>().map(IpNet::from).map_err(|_| ());
    text.parse::<IpNet>().or_else(|_| one()).map_err(|()| {
        "is neither an address such as 10.0.0.1 nor a network such as 10.0.0.0/8".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Config;

    fn config(args: &[&str]) -> Result<Config, String> {
        let args = std::iter::once(&"faas-gateway").chain(args);
        let config = Config::try_parse_from(args).map_err(|e| e.to_string())?;
        config.validate().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn limits_are_read() {
        let line = ["--client-rate", "100/s burst 500", "--trusted-proxies", "10.0.0.0/8, ::1"];
        let clients = config(&line).unwrap().clients;
        assert_eq!(clients.client_rate.unwrap().to_string(), "100/s burst 500");
        let networks: Vec<_> = clients.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "::1/128"]);
        let none = config(&[]).unwrap().clients;
        assert!(none.client_rate.is_none() && none.trusted_proxies.is_empty());
    }

    #[test]
    fn limits_that_cannot_work_name_their_variable() {
        for (line, variable) in [
            (["--client-rate", "100"], "<FAAS_CLIENT_RATE>"),
            (["--trusted-proxies", "proxy.local"], "<FAAS_TRUSTED_PROXIES>"),
            (["--min-body-rate", "fast"], "<FAAS_MIN_BODY_RATE>"),
            (["--write-stall-timeout", "0"], "FAAS_WRITE_STALL_TIMEOUT=0s: "),
            (["--max-header-size", "512"], "FAAS_MAX_HEADER_SIZE=512: "),
            (["--max-header-size", "2Mi"], "FAAS_MAX_HEADER_SIZE=2097152: "),
            (["--max-uri-size", "64Ki"], "FAAS_MAX_URI_SIZE=65536: "),
            (["--max-connections", "0"], "<FAAS_MAX_CONNECTIONS>"),
        ] {
            let error = config(&line).unwrap_err();
            assert!(error.contains(variable), "{error}");
        }
    }
}
