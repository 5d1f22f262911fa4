//! HTTP/1.1 over real sockets, on both sides.

mod answers;
mod bodies;
mod connections;
mod drain;
mod harness;
mod refusals;
mod slow;
mod switches;
mod upstreams;
