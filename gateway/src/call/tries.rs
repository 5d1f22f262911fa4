//! Where a call was sent already, and whether it may be sent again.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use http::{Method, Response, StatusCode};
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
    /// How often replicas did not take it.
    refusals: u32,
    /// How often that was because their function could not be reached.
    without_function: usize,
}

/// What is to become of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is the client's.
    PassOn,
    /// The call goes to another replica.
    Again,
    /// The call was not taken, and cannot be sent again.
    Refused,
}

impl Tries {
    pub(super) fn new(method: &Method) -> Self {
        Self {
            idempotent: method.is_idempotent(),
            tried: Vec::new(),
            broken: 0,
            unreached: 0,
            refusals: 0,
            without_function: 0,
        }
    }

    /// The replica has answered, perhaps that it did not take the call.
    pub(super) fn answered(
        &mut self,
        replica: &Arc<str>,
        answer: &Response<Body>,
        call: &Call,
    ) -> Answered {
        let status = answer.status();
        let is_failure = status.is_client_error() || status.is_server_error();
        if !is_failure || !answer.headers().contains_key(NOT_TAKEN) {
            return Answered::PassOn;
        }
        self.refusals += 1;
        self.tried.push(replica.clone());
        // Slots get free and replicas that stop are replaced, so that is worth any wait. A function
        // that nobody reaches may stay so: after some tries the client is to know.
        if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
            self.without_function += 1;
            let again = call.can_repeat() && self.without_function < MAX_TRIES;
            return if again { Answered::Again } else { Answered::PassOn };
        }
        if call.can_repeat() { Answered::Again } else { Answered::Refused }
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

    fn refused(status: u16) -> Response<Body> {
        let answer = Response::builder().status(status).header(NOT_TAKEN, "1");
        answer.body(Body::empty()).unwrap()
    }

    #[test]
    fn what_was_not_taken_goes_elsewhere() {
        let (call, replica) = (call(Method::POST), Arc::from("a"));
        let mut tries = Tries::new(call.method());
        let own = Response::builder().status(429).body(Body::empty()).unwrap();
        assert_eq!(tries.answered(&replica, &own, &call), Answered::PassOn);
        assert_eq!(tries.answered(&replica, &refused(200), &call), Answered::PassOn);
        for status in [429, 503].repeat(9) {
            assert_eq!(tries.answered(&replica, &refused(status), &call), Answered::Again);
        }
        for (status, outcome) in
            [(500, Answered::Again), (502, Answered::Again), (500, Answered::PassOn)]
        {
            assert_eq!(tries.answered(&replica, &refused(status), &call), outcome);
        }
    }

    #[test]
    fn pauses_grow_with_refusals_only() {
        let (call, replica) = (call(Method::POST), Arc::from("a"));
        let mut tries = Tries::new(call.method());
        assert!(tries.failed(&replica, &unreached(), &call));
        assert_eq!(tries.pause(), None);
        let refuse = |tries: &mut Tries| tries.answered(&replica, &refused(429), &call);
        assert_eq!(refuse(&mut tries), Answered::Again);
        assert_eq!(tries.pause(), Some(FIRST_PAUSE));
        assert_eq!(refuse(&mut tries), Answered::Again);
        assert_eq!(tries.pause(), Some(FIRST_PAUSE * 2));
        assert!((0..90).all(|_| refuse(&mut tries) == Answered::Again));
        assert_eq!(tries.pause(), Some(LONGEST_PAUSE));
    }
}
