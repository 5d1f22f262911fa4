//! The verbs, one a file.

use anyhow::Result;

use crate::Context;
use crate::error;

pub mod build;
pub mod certify;
pub mod completion;
pub mod deploy;
pub mod describe;
pub mod down;
pub mod generate;
pub mod invoke;
pub mod list;
pub mod local_run;
pub mod login;
pub mod logout;
pub mod logs;
pub mod namespace;
pub mod new;
pub mod push;
pub mod ready;
pub mod remove;
pub mod scale;
pub mod secret;
pub mod store;
pub mod template;
pub mod up;
pub mod version;

/// The verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Deploy functions
    Deploy(Box<deploy::Args>),
    /// List functions
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Show everything about a function
    Describe(describe::Args),
    /// Call a function
    Invoke(invoke::Args),
    /// Print the log lines of a function
    Logs(logs::Args),
    /// Remove functions
    #[command(visible_aliases = ["rm", "delete"])]
    Remove(remove::Args),
    /// Set how many replicas of a function run
    Scale(scale::Args),
    /// Wait until the gateway or a function is ready
    Ready(ready::Args),
    /// List, show and deploy ready-made functions
    Store(store::Args),
    /// Print Kubernetes objects of functions
    Generate(generate::Args),
    /// Manage secrets
    Secret(secret::Args),
    /// Manage namespaces
    #[command(visible_alias = "ns")]
    Namespace(namespace::Args),
    /// Check and keep the credentials of a gateway
    Login(login::Args),
    /// Forget the credentials of a gateway
    Logout(logout::Args),
    /// Print versions
    Version(version::Args),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Make a function from a template
    New(new::Args),
    /// Manage templates
    Template(template::Args),
    /// Build functions: their images, or bundles where they run as processes
    Build(build::Args),
    /// Push the images of functions
    Push(push::Args),
    /// Build, push and deploy functions; starts a gateway when none is there
    Up(Box<up::Args>),
    /// Remove the functions of the stack, and stop a gateway that `up` started
    Down(down::Args),
    /// Check that a gateway loses no call while functions change
    Certify(Box<certify::Args>),
    /// Build one function and run it alone, without a gateway
    LocalRun(local_run::Args),
}

impl Command {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Deploy(args) => deploy::run(*args, context).await,
            Self::List(args) => list::run(args, context).await,
            Self::Describe(args) => describe::run(args, context).await,
            Self::Invoke(args) => invoke::run(args, context).await,
            Self::Logs(args) => logs::run(args, context).await,
            Self::Remove(args) => remove::run(args, context).await,
            Self::Scale(args) => scale::run(args, context).await,
            Self::Ready(args) => ready::run(args, context).await,
            Self::Store(args) => store::run(args, context).await,
            Self::Generate(args) => generate::run(args, context).await,
            Self::Secret(args) => secret::run(args, context).await,
            Self::Namespace(args) => namespace::run(args, context).await,
            Self::Login(args) => login::run(args, context).await,
            Self::Logout(args) => logout::run(&args, context).await,
            Self::Version(args) => version::run(args, context).await,
            Self::Completion(args) => completion::run(&args),
            Self::New(args) => new::run(args, context).await,
            Self::Template(args) => template::run(args, context).await,
            Self::Build(args) => build::run(args, context).await,
            Self::Push(args) => push::run(args, context).await,
            Self::Up(args) => up::run(*args, context).await,
            Self::Down(args) => down::run(args, context).await,
            Self::Certify(args) => certify::run(*args, context).await,
            Self::LocalRun(args) => local_run::run(args, context).await,
        }
    }
}

/// The result of doing something to several things, each of which was tried.
///
/// One failure of one is that failure; else each is told, and a summary is the error.
pub fn all_or_error(mut failed: Vec<anyhow::Error>, all: usize, done: &str) -> Result<()> {
    match (failed.len(), all) {
        (0, _) => Ok(()),
        (1, 1) => Err(failed.remove(0)),
        (count, _) => {
            failed.iter().for_each(error::report);
            Err(anyhow::anyhow!("{count} of {all} could not be {done}"))
        }
    }
}
