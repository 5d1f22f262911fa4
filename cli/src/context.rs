//! What every verb is given.

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::args::{GatewayArgs, Globals, Target};
use crate::config::{self, Environment};
use crate::error::usage;
use crate::gateway::Gateway;
use crate::stack::{self, Function, Selection, Stack};

/// What every verb is given: the global flags, the environment, and the stack file when asked for.
#[derive(Debug)]
pub struct Context {
    /// Flags of every verb.
    pub globals: Globals,
    /// The variables that the program heeds.
    pub env: Environment,
    stack: OnceCell<Option<Stack>>,
}

impl Context {
    /// Puts them together. The stack file is read when a verb first asks for it.
    pub fn new(globals: Globals, env: Environment) -> Self {
        Self { globals, env, stack: OnceCell::new() }
    }

    /// The stack file that the flags mean, read; `None` when none was given and none is here.
    pub async fn stack(&self) -> Result<Option<&Stack>> {
        Ok(self.stack.get_or_try_init(|| stack::open(&self.globals)).await?.as_ref())
    }

    /// The stack, and its functions that the filters leave.
    pub async fn functions(&self) -> Result<(&Stack, Vec<&Function>)> {
        let Some(stack) = self.stack().await? else {
            let files = stack::DEFAULT_FILES.join(" or ");
            let message = format!("nothing is named, and there is no {files} here");
            return Err(usage(message, "name a function, or a stack file with -f"));
        };
        let globals = &self.globals;
        let selection = Selection::new(globals.filter.as_deref(), globals.regex.as_deref())?;
        Ok((stack, selection.of(stack)?))
    }

    /// The gateway's URL: from flags, stack file and environment.
    pub async fn gateway_url(&self, args: &GatewayArgs) -> Result<String> {
        let stack = if args.gateway.is_none() { self.stack().await? } else { None };
        let stack = stack.and_then(|stack| stack.provider.gateway.as_deref());
        Ok(config::gateway_url(args.gateway.as_deref(), stack, &self.env))
    }

    /// A client of the gateway that flags, stack file and environment name.
    pub async fn gateway(&self, args: &GatewayArgs) -> Result<Gateway> {
        Gateway::new(&self.gateway_url(args).await?, args, &self.env)
    }

    /// A function that a person named; the stack may say in which namespace it is.
    pub async fn target(&self, name: &str, namespace: Option<&str>) -> Result<Target> {
        let mut target = Target::new(name, namespace)?;
        if namespace.is_none() && target.namespace.is_empty() {
            let function = self.stack().await?.and_then(|stack| stack.function(name));
            target.namespace = function.map(|f| f.namespace.clone()).unwrap_or_default();
        }
        Ok(target)
    }

    /// The functions of the stack that the filters leave; a flag's namespace wins over theirs.
    pub async fn stack_targets(&self, namespace: Option<&str>) -> Result<Vec<Target>> {
        let (_, functions) = self.functions().await?;
        let target = |f: &&Function| Target {
            name: f.name.clone(),
            namespace: namespace.unwrap_or(&f.namespace).to_owned(),
        };
        Ok(functions.iter().map(target).collect())
    }
}
