//! What every verb is given.

use anyhow::Result;

use crate::args::{GatewayArgs, Globals, Target};
use crate::config::{self, Environment};
use crate::error::usage;
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

    /// The gateway's URL: from flags, stack file and environment.
    pub fn gateway_url(&self, args: &GatewayArgs) -> Result<String> {
        Ok(config::gateway_url(args.gateway.as_deref(), None, &self.env))
    }

    /// A client of the gateway that flags, stack file and environment name.
    pub fn gateway(&self, args: &GatewayArgs) -> Result<Gateway> {
        Gateway::new(&self.gateway_url(args)?, args, &self.env)
    }

    /// A function that a person named; the stack may say in which namespace it is.
    pub fn target(&self, name: &str, namespace: Option<&str>) -> Result<Target> {
        Target::new(name, namespace)
    }

    /// The functions of the stack that the filters leave.
    pub fn stack_targets(&self, _namespace: Option<&str>) -> Result<Vec<Target>> {
        Err(usage("name a function, or a stack with -f", "see `faas help`"))
    }

    /// Names and namespaces of the secrets of the stack's functions.
    pub fn stack_secrets(&self, _namespace: Option<&str>) -> Result<Vec<(String, String)>> {
        Err(usage("name a stack with -f", "see `faas help`"))
    }
}
