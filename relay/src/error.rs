//! What can go wrong on the data path.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;

/// What is wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side ended it in the middle of a message.
    #[error("the other side closed the connection too early")]
    Closed,
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// HTTP/2 failed.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
    /// What the other side sent is no proper HTTP, or can be read in more than one way.
    #[error("the other side sent no proper HTTP: {0}")]
    Malformed(Cow<'static, str>),
}

/// Why a body ended before its end. Whoever sends the body resets the connection then, so that
/// nobody takes what came so far for the whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The call's deadline passed in mid-body.
    #[error("the deadline passed in mid-body")]
    Deadline,
    /// The body is larger than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// The body came more slowly than allowed.
    #[error("the body came more slowly than {0} bytes per second")]
    TooSlow(u64),
    /// The connection that the body came from broke.
    #[error("the connection broke in mid-body: {0}")]
    Broken(#[source] WireError),
    /// The body is sent again, by another reader.
    #[error("the body is being sent again")]
    Superseded,
    /// Whatever made the body failed.
    #[error(transparent)]
    Source(Box<dyn StdError + Send + Sync>),
}

/// Why there is no answer from an upstream.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing was sent, as no connection could be made. So the call may go elsewhere.
    #[error("cannot connect: {0}")]
    NotSent(#[source] io::Error),
    /// The connection broke after (part of) the request may have been sent.
    #[error("the connection broke before an answer: {0}")]
    Broken(#[source] WireError),
    /// The upstream does not speak HTTP/2, which this call needs.
    #[error("it does not speak HTTP/2 with prior knowledge (h2c), as gRPC servers without TLS do")]
    NoHttp2,
    /// The deadline passed before an answer.
    #[error("the deadline passed before an answer")]
    Deadline,
    /// The request's body could not be read, or was too large; not the upstream's fault.
    #[error("the request body failed: {0}")]
    RequestBody(#[source] BodyError),
    /// The upstream switched protocols although nobody had asked it to.
    #[error("the upstream switched protocols unasked")]
    UnaskedUpgrade,
}
