//! One call, and whether its answer is what it must be.

use std::error::Error as _;
use std::io;

use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Client, Method, Response};

use super::outcome::Failure;
use crate::gateway::root;

/// Who answered, where the function tells: its replica.
pub const REPLICA_HEADER: &str = "x-replica";
/// Most characters of an answer that are kept to tell what was wrong with it.
const EXCERPT_CHARS: usize = 200;

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Path and query at the gateway, with the slash in front.
    pub path: String,
    /// What is sent.
    pub content: Content,
    /// What must come back.
    pub expect: Expect,
    /// On which connection it goes.
    pub connection: Connection,
}

/// What a call sends.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// A body whose length is told.
    Whole(Bytes),
    /// A body in chunks, whose length is not told.
    Chunks(Vec<Bytes>),
}

/// What must come back, with a status of success.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Any body, as long as it is complete.
    Complete,
    /// Exactly this.
    Exactly(Bytes),
}

/// On which connection a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// One that was used before, if there is one.
    Kept,
    /// One of its own.
    Fresh,
}

impl Call {
    /// A GET on a kept connection.
    pub fn get(path: String, expect: Expect) -> Self {
        let (content, connection) = (Content::Nothing, Connection::Kept);
        Self { method: Method::GET, path, content, expect, connection }
    }

    /// A POST on a kept connection, whose answer is what it sends.
    pub fn echo(path: String, content: Content) -> Self {
        let expect = Expect::Exactly(content.bytes());
        Self { method: Method::POST, path, content, expect, connection: Connection::Kept }
    }

    /// The same on a connection of its own.
    #[must_use]
    pub fn fresh(self) -> Self {
        Self { connection: Connection::Fresh, ..self }
    }

    /// Whether sending it twice does no more than sending it once (RFC 9110 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// As it is named in reports: method and path, and how it was sent.
    pub fn title(&self) -> String {
        let kind = match (&self.content, self.connection) {
            (Content::Chunks(_), Connection::Kept) => " (chunks)",
            (Content::Chunks(_), Connection::Fresh) => " (chunks, fresh connection)",
            (_, Connection::Kept) => "",
            (_, Connection::Fresh) => " (fresh connection)",
        };
        format!("{} {}{kind}", self.method, self.path)
    }
}

impl Content {
    /// All of it.
    pub fn bytes(&self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::Whole(bytes) => bytes.clone(),
            Self::Chunks(chunks) => chunks.concat().into(),
        }
    }

    fn body(self) -> Option<Body> {
        match self {
            Self::Nothing => None,
            Self::Whole(bytes) => Some(bytes.into()),
            Self::Chunks(chunks) => {
                let chunks = chunks.into_iter().map(Ok::<_, io::Error>);
                Some(Body::wrap_stream(stream::iter(chunks)))
            }
        }
    }
}

/// How a call was answered, as far as it was.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The replica that told its name.
    pub(super) replica: Option<String>,
    /// Whether the head of an answer came.
    pub(super) began: bool,
}

/// Makes a call and looks at every byte of its answer. `answer` is filled as it comes.
pub(super) async fn make(
    client: &Client,
    url: &str,
    call: Call,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let mut request = client.request(call.method, format!("{url}{}", call.path));
    if let Some(body) = call.content.body() {
        request = request.body(body);
    }
    let response = request.send().await.map_err(|error| unanswered(&error))?;
    answer.began = true;
    answer.replica = text_of(&response, REPLICA_HEADER);
    let status = response.status();
    if !status.is_success() {
        let text = response.text().await.unwrap_or_else(|error| root(&error));
        return Err(Failure::Status(status.as_u16(), excerpt(text.trim())));
    }
    let body = response.bytes().await.map_err(|error| match error.is_timeout() {
        true => Failure::Timeout,
        false => Failure::Truncated(root(&error)),
    })?;
    match call.expect {
        Expect::Exactly(wanted) if wanted != body => Err(wrong(&wanted, &body)),
        _ => Ok(()),
    }
}

fn text_of(response: &Response, header: &str) -> Option<String> {
    let value = response.headers().get(header)?;
    value.to_str().ok().map(|text| text.trim().to_owned())
}

fn unanswered(error: &reqwest::Error) -> Failure {
    let cause = root(error);
    // A timeout's innermost cause only says that it is one.
    if error.is_timeout() {
        Failure::Timeout
    } else if error.is_connect() {
        Failure::Refused(cause)
    } else {
        let within = error.source().map(ToString::to_string).unwrap_or_default();
        let text = if within.contains(&cause) { within } else { format!("{within}: {cause}") };
        Failure::Reset(text)
    }
}

fn wrong(wanted: &[u8], got: &[u8]) -> Failure {
    let same = wanted.iter().zip(got).take_while(|(a, b)| a == b).count();
    let from = |bytes: &[u8]| excerpt(&String::from_utf8_lossy(&bytes[same..]));
    Failure::Wrong(format!(
        "{} bytes instead of {}, different from byte {same} on: {:?} instead of {:?}",
        got.len(),
        wanted.len(),
        from(got),
        from(wanted)
    ))
}

fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_tell_how_a_call_was_sent() {
        let chunks = Content::Chunks(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]);
        assert_eq!(chunks.bytes(), "ab");
        let call = Call::echo("/x".to_owned(), chunks);
        assert_eq!(call.title(), "POST /x (chunks)");
        assert!(!call.is_idempotent());
        let call = Call::get("/x".to_owned(), Expect::Complete).fresh();
        assert_eq!(call.title(), "GET /x (fresh connection)");
        assert!(call.is_idempotent());
    }

    #[test]
    fn a_wrong_answer_is_told_from_where_it_differs() {
        let text = wrong(b"abcd", b"abX").to_string();
        assert!(text.contains("3 bytes instead of 4, different from byte 2 on"), "{text}");
        assert!(text.contains(r#""X" instead of "cd""#), "{text}");
    }
}
