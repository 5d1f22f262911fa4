//! Where a call was sent already, and whether it may be sent again.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use http::{Method, Response};
use relay::{Body, Call, SendError};

/// Says that a replica has not begun the call: its slots were taken, or it is stopping.
const NOT_TAKEN: HeaderName = HeaderName::from_static("x-faas-not-taken");
/// Replicas that are sent one call, at most, when the first ones cannot be reached or break.
const MAX_TRIES: usize = 3;
/// The first pause before replicas that had no free slot are asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What became of a call so far.
pub(super) struct Tries {
    /// May be done twice as well as once (RFC 9110 9.2.2).
    idempotent: bool,
    /// Replicas that are not asked again for now.
    pub(super) tried: Vec<Arc<str>>,
    /// How often something of it may have been sent to a replica that broke.
    broken: usize,
    /// Connections in a row that could not be made.
    unreached: usize,
    /// How often replicas had no slot for it.
    refusals: u32,
}

/// Whether a replica has answered that it did not take the call.
pub(super) fn is_not_taken(answer: &Response<Body>) -> bool {
    let status = answer.status().as_u16();
    (status == 429 || status == 503) && answer.headers().contains_key(NOT_TAKEN)
}

impl Tries {
    pub(super) fn new(method: &Method) -> Self {
        Self {
            idempotent: method.is_idempotent(),
            tried: Vec::new(),
            broken: 0,
            unreached: 0,
            refusals: 0,
        }
    }

    /// The replica did not take the call. Whether it may go elsewhere.
    pub(super) fn not_taken(&mut self, replica: &Arc<str>, call: &Call) -> bool {
        self.refusals += 1;
        self.tried.push(replica.clone());
        call.can_repeat()
    }

    /// The replica failed. Whether the call may go elsewhere: when nothing was sent, or when
    /// doing it twice does no harm and nothing of an answer has come.
    pub(super) fn failed(&mut self, replica: &Arc<str>, error: &SendError, call: &Call) -> bool {
        self.tried.push(replica.clone());
        match error {
            SendError::NotSent(_) => self.unreached += 1,
            SendError::Broken(_) if self.idempotent => self.broken += 1,
            _ => return false,
        }
        call.can_repeat() && self.broken < MAX_TRIES && self.unreached < MAX_TRIES
    }

    /// How long to wait before everyone is asked once more. `None`: until there is news.
    pub(super) fn pause(&self) -> Option<Duration> {
        let factor = 1 << self.refusals.checked_sub(1)?.min(16);
        Some((FIRST_PAUSE * factor).min(LONGEST_PAUSE))
    }

    /// Everyone may be asked once more.
    pub(super) fn start_over(&mut self) {
        self.tried.clear();
        self.unreached = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use http::Request;

    use super::*;

    fn call(method: Method) -> Call {
        Call::new(Request::builder().method(method).body(Body::full("x")).unwrap(), None)
    }

    fn unreached() -> SendError {
        SendError::NotSent(io::ErrorKind::ConnectionRefused.into())
    }

    #[test]
    fn a_call_of_which_nothing_was_sent_goes_elsewhere_whatever_its_method() {
        let (call, replica) = (call(Method::POST), Arc::from("a"));
        let mut tries = Tries::new(call.method());
        assert!(tries.failed(&replica, &unreached(), &call));
        assert!(tries.failed(&replica, &unreached(), &call));
        assert!(!tries.failed(&replica, &unreached(), &call), "not for ever");
        tries.start_over();
        assert!(tries.failed(&replica, &unreached(), &call));
    }

    #[test]
    fn the_deadline_and_the_clients_own_failures_end_it() {
        let (call, replica) = (call(Method::GET), Arc::from("a"));
        let mut tries = Tries::new(call.method());
        assert!(!tries.failed(&replica, &SendError::Deadline, &call));
        let broken = SendError::RequestBody(relay::BodyError::TooLarge(1));
        assert!(!tries.failed(&replica, &broken, &call));
    }

    #[test]
    fn pauses_grow_with_refusals_only() {
        let (call, replica) = (call(Method::POST), Arc::from("a"));
        let mut tries = Tries::new(call.method());
        assert!(tries.failed(&replica, &unreached(), &call));
        assert_eq!(tries.pause(), None);
        assert!(tries.not_taken(&replica, &call));
        assert_eq!(tries.pause(), Some(FIRST_PAUSE));
        assert!(tries.not_taken(&replica, &call));
        assert_eq!(tries.pause(), Some(FIRST_PAUSE * 2));
        assert!((0..90).all(|_| tries.not_taken(&replica, &call)));
        assert_eq!(tries.pause(), Some(LONGEST_PAUSE));
    }
}
