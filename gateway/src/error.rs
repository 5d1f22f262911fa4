//! Everything that a client can be told went wrong, and the one place that gives it a status.

use std::net::IpAddr;
use std::time::Duration;

use axum::response::{IntoResponse, Response as AxumResponse};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use provider::Rate;

/// Names the error on answers that the platform made (design, section 7).
pub const ERROR_HEADER: &str = "x-faas-error";
/// Marks answers that the platform made, for queue workers (contract 3.3).
pub const INTERNAL_HEADER: &str = "x-openfaas-internal";

/// A handler's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a client can be told went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The provider said no.
    #[error(transparent)]
    Provider(#[from] provider::Error),
    /// A call to a function that is not there.
    #[error("function {0} not found; `faas list` shows the functions there are")]
    NoFunction(String),
    /// Nothing answers at this path.
    #[error("404 page not found")]
    NoRoute,
    /// Credentials are missing or wrong.
    #[error("invalid credentials")]
    Unauthorized,
    /// The body is longer than this route takes.
    #[error("the body is over the limit of {limit_bytes} bytes")]
    BodyTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The archive is larger than the gateway takes.
    #[error(
        "the bundle is over the limit of {limit_bytes} bytes; leave files out of it, or start the \
         gateway with a higher --max-bundle-size"
    )]
    BundleTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The backend runs images, not bundles.
    #[error(
        "this gateway runs images (provider {provider}): build one and deploy its name, or use a \
         gateway that was started with --provider process"
    )]
    NoBundles {
        /// The backend.
        provider: &'static str,
    },
    /// The body did not arrive.
    #[error("the body could not be read: {0}")]
    BodyBroken(String),
    /// No replica became ready in time.
    #[error("function {name} is not ready: {reason}")]
    NotReady {
        /// The function.
        name: String,
        /// What is known of why.
        reason: String,
    },
    /// Too many calls wait for the function.
    #[error(
        "function {name} has {limit} calls waiting already; let it have more replicas, or raise \
         max_inflight or the annotation flint.dev/max-queue"
    )]
    Crowded {
        /// The function.
        name: String,
        /// The most that may wait.
        limit: usize,
        /// How long calls wait now.
        wait: Duration,
    },
    /// A client made more calls than the gateway takes from one.
    #[error(
        "{client} has made more calls than the gateway takes from one client address ({rate}); call \
         less often, or raise --client-rate; behind a proxy, name it with --trusted-proxies"
    )]
    ClientRate {
        /// Its address.
        client: IpAddr,
        /// The limit.
        rate: Rate,
        /// How long until it may call again.
        wait: Duration,
    },
    /// More calls came than the function takes.
    #[error(
        "function {name} has been called more often than it may be ({rate}); call it less often, or \
         raise its annotation flint.dev/rate-limit"
    )]
    FunctionRate {
        /// The function.
        name: String,
        /// The limit.
        rate: Rate,
        /// How long until it may be called again.
        wait: Duration,
    },
    /// No slot got free before the call's time was over.
    #[error(
        "function {name} had no free slot on {replicas} replicas within {limit_ms} ms (limit of the \
         gateway hop); let it have more replicas, or raise max_inflight"
    )]
    Held {
        /// The function.
        name: String,
        /// How many took calls.
        replicas: usize,
        /// The limit.
        limit_ms: u128,
    },
    /// A replica had no slot, and the call is too long to be kept for another one.
    #[error(
        "function {name} had no free slot, and the body is too long to be kept for another try"
    )]
    NotTaken {
        /// The function.
        name: String,
    },
    /// A replica refused the call or broke before it answered.
    #[error("function {name}, replica {replica}: {reason}")]
    Replica {
        /// The function.
        name: String,
        /// The replica.
        replica: String,
        /// What happened.
        reason: String,
    },
    /// The call took longer than it may.
    #[error("function {name} did not answer within {limit_ms} ms (limit of the gateway hop)")]
    Deadline {
        /// The function.
        name: String,
        /// The limit.
        limit_ms: u128,
    },
    /// The gateway has not seen the provider's functions yet.
    #[error("the gateway is starting and does not know the functions yet")]
    Starting,
    /// Only another gateway knows, and it does not answer.
    #[error("gateway {leader} leads and knows, but cannot be asked: {reason}; try again")]
    LeaderAway {
        /// Its name.
        leader: String,
        /// What it said or did.
        reason: String,
    },
    /// Another gateway is taking the place of this one.
    #[error("another gateway is taking the place of this one; try again")]
    Leaving,
    /// Not this method, here.
    #[error("an upgrade or CONNECT cannot be served here: {0}")]
    BadRequest(String),
}

/// How an [`Error`] is answered.
struct Answer {
    status: StatusCode,
    code: &'static str,
    retry_after_seconds: Option<u32>,
}

impl Error {
    /// The one place that gives an error its status and its stable code.
    fn answer(&self) -> Answer {
        use StatusCode as S;
        use provider::Error as P;
        let (status, code, retry_after_seconds) = match self {
            Self::Provider(P::Invalid { .. }) => (S::BAD_REQUEST, "invalid", None),
            Self::Provider(P::Image { .. }) => (S::BAD_REQUEST, "image", None),
            Self::Provider(P::NotFound(_)) => (S::NOT_FOUND, "not_found", None),
            Self::Provider(P::Exists(_)) => (S::CONFLICT, "exists", None),
            Self::Provider(P::Conflict(_)) => (S::CONFLICT, "conflict", None),
            Self::Provider(P::Unsupported(_)) => (S::NOT_IMPLEMENTED, "unsupported", None),
            Self::Provider(P::Unavailable { .. }) => {
                (S::SERVICE_UNAVAILABLE, "backend_away", Some(1))
            }
            Self::Provider(P::Backend { .. }) => (S::INTERNAL_SERVER_ERROR, "backend", None),
            Self::NoFunction(_) => (S::NOT_FOUND, "no_function", None),
            Self::NoRoute => (S::NOT_FOUND, "no_route", None),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", None),
            Self::BodyTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "body_too_large", None),
            Self::BundleTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "bundle_too_large", None),
            Self::NoBundles { .. } => (S::NOT_IMPLEMENTED, "no_bundles", None),
            Self::BodyBroken(_) => (S::BAD_REQUEST, "body_broken", None),
            Self::BadRequest(_) => (S::BAD_REQUEST, "bad_request", None),
            Self::NotReady { .. } => (S::SERVICE_UNAVAILABLE, "not_ready", Some(1)),
            Self::Crowded { wait, .. } => {
                (S::TOO_MANY_REQUESTS, "crowded", Some(whole_seconds(*wait)))
            }
            Self::ClientRate { wait, .. } | Self::FunctionRate { wait, .. } => {
                (S::TOO_MANY_REQUESTS, "rate_limited", Some(whole_seconds(*wait)))
            }
            Self::NotTaken { .. } => (S::TOO_MANY_REQUESTS, "not_taken", Some(1)),
            Self::Held { .. } => (S::GATEWAY_TIMEOUT, "deadline", None),
            Self::Replica { .. } => (S::BAD_GATEWAY, "replica", None),
            Self::Deadline { .. } => (S::GATEWAY_TIMEOUT, "deadline", None),
            Self::LeaderAway { .. } => (S::SERVICE_UNAVAILABLE, "leader_away", Some(1)),
            Self::Leaving => (S::SERVICE_UNAVAILABLE, "leaving", Some(1)),
            Self::Starting => (S::SERVICE_UNAVAILABLE, "starting", Some(1)),
        };
        Answer { status, code, retry_after_seconds }
    }

    /// The status that a client sees.
    pub fn status(&self) -> StatusCode {
        self.answer().status
    }

    /// The answer as a client sees it: plain text, the code in a header.
    pub fn response(&self) -> Response<String> {
        let answer = self.answer();
        let mut response = Response::new(format!("{self}\n"));
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(ERROR_HEADER, HeaderValue::from_static(answer.code));
        headers.insert(INTERNAL_HEADER, HeaderValue::from_static("gateway"));
        if let Some(seconds) = answer.retry_after_seconds {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            let realm = HeaderValue::from_static(r#"Basic realm="Restricted""#);
            headers.insert(WWW_AUTHENTICATE, realm);
        }
        response
    }
}

/// Whoever comes again after these seconds has waited long enough.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

impl IntoResponse for Error {
    fn into_response(self) -> AxumResponse {
        if self.status().is_server_error() {
            tracing::warn!(error = %self, "request failed");
        }
        self.response().map(axum::body::Body::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_carries_status_code_and_text() {
        let response = Error::NoFunction("echo".to_owned()).response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[ERROR_HEADER], "no_function");
        assert!(response.body().contains("echo"));
    }

    #[test]
    fn who_calls_too_often_is_told_the_limit_and_how_long_to_wait() {
        let (rate, name) = ("10/m burst 2".parse().unwrap(), "echo".to_owned());
        for (millis, seconds) in [(1, "1"), (1000, "1"), (1001, "2"), (5999, "6")] {
            let wait = Duration::from_millis(millis);
            let error = Error::FunctionRate { name: name.clone(), rate, wait }.response();
            assert_eq!(error.headers()[RETRY_AFTER], seconds);
            assert_eq!(error.headers()[ERROR_HEADER], "rate_limited");
            assert!(error.body().contains("(10/m burst 2)"), "{}", error.body());
        }
    }

    #[test]
    fn what_may_pass_by_itself_says_when_to_retry() {
        let error = Error::NotReady { name: "echo".to_owned(), reason: "starting".to_owned() };
        assert_eq!(error.response().headers()[RETRY_AFTER], "1");
    }
}
