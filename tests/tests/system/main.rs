//! Whole-system tests: real binaries, real sockets, a real Docker engine.

mod layout;
mod local;

mod calls;
mod deploys;
mod engine;
mod gate;
mod input;
mod restarts;
mod templates;
