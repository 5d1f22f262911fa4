//! HTTP/1.1, both sides.
//!
//! A call needs one task, that of the client's connection: it reads the request, sends it on,
//! reads the answer and writes it back. Nothing is handed to another task on the way.

mod answer;
mod buffers;
mod client;
mod close;
mod conn;
pub(crate) mod decode;
mod encode;
mod feed;
mod floor;
mod io;
mod out;
pub(crate) mod parse;
mod pump;
mod server;

pub(crate) use client::{Sent, Upstream};
pub(crate) use conn::RequestBody;
pub use floor::BodyRate;
pub(crate) use io::Io;
pub(crate) use server::serve_connection;
