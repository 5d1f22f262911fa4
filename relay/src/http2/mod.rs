//! HTTP/2: from clients ([`serve`]), and to functions that speak gRPC ([`Upstreams`]).
//!
//! hyper does the protocol. Here is what it leaves to others: limits against abuse, idle time,
//! draining, and the translation to what the rest of this crate knows as a request.

mod cut;
mod exec;
mod request;
mod serve;
mod sniff;
mod streams;
mod upstream;

pub(crate) use serve::serve;
pub(crate) use sniff::Opening;
pub(crate) use upstream::Upstreams;

/// What a client with prior knowledge of HTTP/2 sends first (RFC 9113 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Largest decoded head that is taken, in bytes. HPACK can blow up what is short on the wire, and
/// a connection may have a head for each of its streams.
const MAX_HEAD_BYTES: u32 = 64 << 10;
