//! The client of the gateway's REST API (contract 1).

use crate::args::GatewayArgs;
use crate::config::Environment;

/// A gateway, and how to talk to it.
#[derive(Debug)]
pub struct Gateway {
    url: String,
}

impl Gateway {
    /// A client. Nothing is sent yet.
    pub fn new(url: &str, _args: &GatewayArgs, _env: &Environment) -> anyhow::Result<Self> {
        Ok(Self { url: url.to_owned() })
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}
