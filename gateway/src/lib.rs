//! Flint's gateway: one address in front of all functions, and the API that manages them.

pub mod api;
pub mod app;
pub mod auth;
pub mod backend;
mod balance;
pub mod call;
pub mod config;
pub mod directory;
pub mod error;
pub mod handover;
pub mod holder;
pub mod limits;
pub mod manifests;
pub mod metrics;
pub mod peers;
mod queue;
mod record;
pub mod scaling;
pub mod state;
pub mod sweep;
pub mod tls;
mod ui;
pub mod usage;
