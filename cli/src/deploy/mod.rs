//! Deploying a function, as `deploy`, `store deploy` and `up` do it.

mod flags;
mod flow;
mod prepare;
mod wait;

pub use flags::{FunctionFlags, Options, UpdateFlags};
pub use flow::deploy_function;
pub(crate) use flow::deploy_quietly;
pub use prepare::{TemplateFlags, prepare, prepare_bundle};
pub use wait::until_ready;
pub(crate) use wait::watch as watch_until_ready;
