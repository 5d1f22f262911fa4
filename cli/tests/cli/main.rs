//! The real binary against a scripted gateway: request shapes, outputs, exit codes.

mod deploy;
mod errors;
mod functions;
mod gateway;
mod invoke;
mod logins;
mod resources;
mod run;
mod store;
