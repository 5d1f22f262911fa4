//! What a row is written with.

use crate::upstream::Reply;
use crate::wire::latin1;

/// A request that must never be carried out: it stands where a misled hop would find one.
pub(crate) const SMUGGLED: &str = "GET /function/f/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// Statuses of a request that is refused for what it is.
pub(crate) const BAD: &[u16] = &[400];
/// Statuses of a request in a transfer coding that nobody here undoes.
pub(crate) const CODING: &[u16] = &[400, 501];
/// Statuses of a request in a version of HTTP that is not spoken here.
pub(crate) const VERSION: &[u16] = &[400, 505];
/// Statuses of an upstream's answer that cannot be passed on.
pub(crate) const GATEWAY: &[u16] = &[502];

/// One conversation and its outcome.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    /// What the upstream answers, request by request; after that it tells the target.
    pub(crate) replies: Vec<Reply>,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) limits: Limits,
}

/// What the client does or finds.
pub(crate) enum Step {
    Send(Vec<u8>),
    /// One byte at a time, slowly, until the other side has had enough.
    Drip(Vec<u8>),
    /// The client says that nothing more comes.
    Finish,
    /// Waits until the upstream has the head of so many requests.
    Arrived(usize),
    Hear(Answer),
    /// These bytes, after a switch of protocols.
    Raw(Vec<u8>),
    /// The connection serves another request.
    Kept,
    /// The connection ends, with nothing before its end.
    Closed,
    /// Either, but nothing else.
    KeptOrClosed,
}

/// An answer, as the client must find it.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    pub(crate) statuses: Vec<u16>,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) trailer: Option<(&'static str, &'static str)>,
    /// It answers HEAD.
    pub(crate) to_head: bool,
    /// The connection breaks before its end, or before it begins.
    pub(crate) cut: bool,
    /// The connection may end instead.
    pub(crate) optional: bool,
    /// It may be in HTTP/1.0, as the request was.
    pub(crate) old: bool,
    /// Provisional answers before it are errors.
    pub(crate) strictly: bool,
    /// The gateway's own, after which it closes.
    pub(crate) refusal: bool,
}

/// A request, as the upstream must find it.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) line: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) trailer: Option<(&'static str, &'static str)>,
    /// It may be missing or cut.
    pub(crate) cut: bool,
    /// It may be whole, too.
    pub(crate) or_whole: bool,
}

/// A header with its value, or one that must not be there.
pub(crate) type Field = (&'static str, Option<String>);

/// Limits that a row sets.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) header_ms: Option<u64>,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) timeout_ms: Option<u64>,
}

/// What can be sent.
pub(crate) trait Bytes {
    fn bytes(self) -> Vec<u8>;
}

impl Bytes for &str {
    fn bytes(self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Bytes for String {
    fn bytes(self) -> Vec<u8> {
        self.into_bytes()
    }
}

impl Bytes for Vec<u8> {
    fn bytes(self) -> Vec<u8> {
        self
    }
}

impl<const N: usize> Bytes for &[u8; N] {
    fn bytes(self) -> Vec<u8> {
        self.to_vec()
    }
}

/// `GET /function/f` and what follows its Host.
pub(crate) fn get(rest: &str) -> String {
    format!("GET /function/f HTTP/1.1\r\nHost: x\r\n{rest}")
}

/// `POST /function/f` and what follows its Host.
pub(crate) fn post(rest: &str) -> String {
    format!("POST /function/f HTTP/1.1\r\nHost: x\r\n{rest}")
}

/// A GET of a path of the function, whole.
pub(crate) fn get_path(path: &str) -> String {
    format!("GET /function/f{path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// An answer with one of these statuses.
pub(crate) fn any(statuses: &[u16]) -> Answer {
    Answer { statuses: statuses.to_vec(), ..Answer::default() }
}

/// 200 with this body.
pub(crate) fn ok(body: &str) -> Answer {
    any(&[200]).body(body)
}

/// An answer of the gateway's own, after which it closes.
pub(crate) fn refusal(statuses: &[u16]) -> Answer {
    Answer { refusal: true, ..any(statuses) }
}

/// A request with this first line.
pub(crate) fn request(line: &str) -> Wanted {
    Wanted { line: line.to_owned(), ..Wanted::default() }
}

/// A request that must not look whole.
pub(crate) fn cut(line: &str) -> Wanted {
    Wanted { cut: true, ..request(line) }
}

/// A request that is refused, and ends the connection.
pub(crate) fn refused(name: &'static str, bytes: impl Bytes, statuses: &[u16]) -> Case {
    Case::new(name).send(bytes).send(SMUGGLED).hear(refusal(statuses)).closed()
}

/// Requests that are refused the same way.
pub(crate) fn all_refused(statuses: &[u16], rows: Vec<(&'static str, String)>) -> Vec<Case> {
    rows.into_iter().map(|(name, bytes)| refused(name, bytes, statuses)).collect()
}

impl Case {
    pub(crate) fn new(name: &'static str) -> Self {
        let (steps, replies, wanted) = Default::default();
        Self { name, steps, replies, wanted, limits: Limits::default() }
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub(crate) fn send(self, bytes: impl Bytes) -> Self {
        self.step(Step::Send(bytes.bytes()))
    }

    pub(crate) fn drip(self, bytes: impl Bytes) -> Self {
        self.step(Step::Drip(bytes.bytes()))
    }

    pub(crate) fn finish(self) -> Self {
        self.step(Step::Finish)
    }

    pub(crate) fn arrived(self, requests: usize) -> Self {
        self.step(Step::Arrived(requests))
    }

    pub(crate) fn hear(self, answer: Answer) -> Self {
        self.step(Step::Hear(answer))
    }

    pub(crate) fn raw(self, bytes: impl Bytes) -> Self {
        self.step(Step::Raw(bytes.bytes()))
    }

    pub(crate) fn kept(self) -> Self {
        self.step(Step::Kept)
    }

    pub(crate) fn closed(self) -> Self {
        self.step(Step::Closed)
    }

    pub(crate) fn kept_or_closed(self) -> Self {
        self.step(Step::KeptOrClosed)
    }

    /// The upstream's next answer.
    pub(crate) fn reply(mut self, reply: Reply) -> Self {
        self.replies.push(reply);
        self
    }

    /// What the upstream must find, in this order.
    pub(crate) fn sees(mut self, wanted: Wanted) -> Self {
        self.wanted.push(wanted);
        self
    }

    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl Answer {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, Some(value.to_owned())));
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.fields.push((name, None));
        self
    }

    pub(crate) fn body(mut self, bytes: impl Bytes) -> Self {
        self.body = Some(bytes.bytes());
        self
    }

    pub(crate) fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailer = Some((name, value));
        self
    }

    /// To a HEAD.
    pub(crate) fn of_head(mut self) -> Self {
        self.to_head = true;
        self
    }

    pub(crate) fn cut(mut self) -> Self {
        self.cut = true;
        self
    }

    /// To a request of HTTP/1.0.
    pub(crate) fn old(mut self) -> Self {
        self.old = true;
        self
    }

    /// With no provisional answer before it.
    pub(crate) fn strictly(mut self) -> Self {
        self.strictly = true;
        self
    }

    pub(crate) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

impl Wanted {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, Some(value.to_owned())));
        self
    }

    pub(crate) fn or_whole(mut self) -> Self {
        self.or_whole = true;
        self
    }

    /// A value of bytes that are no UTF-8.
    pub(crate) fn with_bytes(self, name: &'static str, value: &[u8]) -> Self {
        self.with(name, &latin1(value))
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.fields.push((name, None));
        self
    }

    pub(crate) fn body(mut self, bytes: impl Bytes) -> Self {
        self.body = Some(bytes.bytes());
        self
    }

    pub(crate) fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailer = Some((name, value));
        self
    }
}
