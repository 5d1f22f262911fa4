//! The real binary against a scripted gateway: request shapes, outputs, exit codes.

mod build;
mod bundles;
mod certify;
mod deploy;
mod errors;
mod functions;
mod gateway;
mod invoke;
mod logins;
mod new;
mod resources;
mod run;
mod store;
mod tls;
mod watch;
