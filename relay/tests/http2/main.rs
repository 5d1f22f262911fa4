//! HTTP/2 and TLS over real sockets.

mod clients;
mod grpc;
mod harness;
mod hostile;
mod tls;
