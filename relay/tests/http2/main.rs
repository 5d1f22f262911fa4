//! HTTP/2 over real sockets.

mod clients;
mod harness;
mod hostile;
