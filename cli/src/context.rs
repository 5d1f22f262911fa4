//! What every verb is given.

use crate::args::{GatewayArgs, Globals};
use crate::config::{self, Environment};
use crate::gateway::Gateway;

/// What every verb is given: the global flags and the environment.
#[derive(Debug)]
pub struct Context {
    /// Flags of every verb.
    pub globals: Globals,
    /// The variables that the program heeds.
    pub env: Environment,
}

impl Context {
    /// Puts them together.
    pub fn new(globals: Globals, env: Environment) -> Self {
        Self { globals, env }
    }

    /// A client of the gateway that flags, stack file and environment name.
    pub fn gateway(&self, args: &GatewayArgs) -> anyhow::Result<Gateway> {
        let url = config::gateway_url(args.gateway.as_deref(), None, &self.env);
        Gateway::new(&url, args, &self.env)
    }
}
