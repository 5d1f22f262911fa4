//! Whole-system tests: real binaries, real sockets, a real Docker engine.

mod layout;
mod local;

mod alerts;
mod calls;
mod certify;
mod clients;
mod deploys;
mod engine;
mod gate;
mod handover;
mod images;
mod input;
mod loads;
mod metrics;
mod protocols;
mod restarts;
mod scaling;
mod templates;
mod timeouts;
mod wakes;
