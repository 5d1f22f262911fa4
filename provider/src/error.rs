//! What can go wrong at a provider.

/// A provider's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong at a provider. Each text can be shown to a client as it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request cannot be accepted.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field's name on the wire.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such thing.
    #[error("{0} not found")]
    NotFound(String),
    /// It is there already.
    #[error("{0} already exists")]
    Exists(String),
    /// It cannot be done while something else is as it is.
    #[error("{0}")]
    Conflict(String),
    /// The image cannot be had.
    #[error("image {image}: {reason}")]
    Image {
        /// The reference that was asked for.
        image: String,
        /// The registry's or the engine's words.
        reason: String,
    },
    /// The backend does not answer.
    #[error("{backend} does not answer: {reason}")]
    Unavailable {
        /// Which backend.
        backend: &'static str,
        /// What it said or did.
        reason: String,
    },
    /// This backend cannot do that.
    #[error("not supported by this provider: {0}")]
    Unsupported(&'static str),
    /// The backend refused for a reason of its own.
    #[error("{backend}: {reason}")]
    Backend {
        /// Which backend.
        backend: &'static str,
        /// What it said.
        reason: String,
    },
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }
}
