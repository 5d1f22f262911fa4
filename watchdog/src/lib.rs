//! `fwatchdog` runs one function behind HTTP, inside the function's container.
//!
//! [`server::run`] is its life; [`app::App`] is what a request meets; [`mode`] has the ways in
//! which requests reach the function. [`confine`] runs it all in a sandbox.

pub mod access;
pub mod answer;
pub mod app;
pub mod appear;
pub mod cgi;
pub mod child;
pub mod config;
pub mod confine;
pub mod health;
pub mod limit;
pub mod log;
pub mod marshal;
pub mod metrics;
pub mod mode;
pub mod pipe;
pub mod reap;
pub mod room;
pub mod run;
pub mod server;
pub mod sniff;
pub mod socket;
pub mod upstream;
