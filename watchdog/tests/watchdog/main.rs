//! The watchdog as its users see it: the real binary over real sockets, with real processes.

mod deadline;
mod fork;
mod harness;
mod http;
mod life;
mod place;
