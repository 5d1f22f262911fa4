//! Deploying a function, as `deploy`, `store deploy` and `up` do it.

mod flags;
mod flow;
mod prepare;
mod wait;

pub use flags::{FunctionFlags, Options, UpdateFlags};
pub use flow::deploy_function;
pub use prepare::{TemplateFlags, prepare};
pub use wait::until_ready;
