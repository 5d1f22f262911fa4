//! The data path that gateway and watchdog share.
//!
//! One single-threaded runtime per core ([`threads`]), each with its own listener ([`serve`]) and
//! its own pool of upstream connections ([`Pool`]). Nothing here is shared between threads, so
//! nothing takes a lock and nothing needs to be `Send`. Everything must run inside a
//! `LocalRuntime` or `LocalSet`, because connections are driven by local tasks.

mod body;
mod call;
mod clock;
mod error;
mod forwarded;
pub mod grpc;
mod h1;
mod headers;
mod http2;
mod lines;
mod listener;
mod places;
mod pool;
mod replay;
mod sendable;
mod server;
mod shutdown;
mod spare;
mod stream;
mod target;
pub mod threads;
#[cfg(feature = "tls")]
mod tls;
#[doc(hidden)]
pub mod untrusted;

pub use body::Body;
pub use call::{Call, Rules};
pub use error::{BodyError, SendError, WireError};
pub use forwarded::Forwarded;
pub use h1::BodyRate;
pub use headers::strip_hop_by_hop;
pub use lines::Lines;
pub use listener::Listener;
pub use places::Places;
pub use pool::{Pool, PoolOptions};
pub use sendable::Sendable;
pub use server::{ServeOptions, serve};
pub use shutdown::{Shutdown, Trigger, shutdown};
pub use stream::Peer;
pub use target::Target;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
