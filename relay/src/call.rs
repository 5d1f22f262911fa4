//! One call, made ready for the next hop.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use http_body::Body as _;
use tokio::time::Instant;

use crate::body::Body;
use crate::forwarded::Forwarded;
use crate::grpc;
use crate::headers;
use crate::lines::Lines;
use crate::replay::Replay;
use crate::spare;

/// How a request is changed for the next hop.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Path and query for the upstream; `None` leaves them as they came, byte for byte.
    pub path: Option<PathAndQuery>,
    /// `Host` for the upstream; `None` leaves it as it came.
    pub host: Option<HeaderValue>,
    /// Fills in `X-Forwarded-*` and `Forwarded`.
    pub forwarded: Option<Forwarded>,
    /// Most bytes that the request's body may have.
    pub max_body_bytes: Option<u64>,
    /// When the call must be over, body included. It does not bind what comes after a switch of
    /// protocols.
    pub deadline: Option<Instant>,
}

/// One call, ready to be sent by [`Pool::send`](crate::Pool::send), and again by it as long as
/// [`Call::can_repeat`] says so.
#[derive(Debug)]
pub struct Call {
    pub(crate) parts: Parts,
    body: Content,
    /// What is sent beside the headers.
    pub(crate) lines: Lines,
    /// Whether the client wants to switch protocols.
    pub(crate) upgrade: bool,
    /// Whether it is a gRPC call.
    pub(crate) is_grpc: bool,
    pub(crate) deadline: Option<Instant>,
}

/// A call's body.
#[derive(Debug)]
enum Content {
    Empty,
    Some(Replay),
}

impl Call {
    /// Passes on a client's request.
    pub fn forward(request: Request<Body>, rules: &Rules) -> Self {
        // HTTP/1.0 knows no switch of protocols (RFC 9110 7.8).
        let protocol = match request.version() {
            Version::HTTP_11 => headers::upgrade_wanted(request.headers()),
            _ => None,
        };
        let upgrade = protocol.is_some();
        let (mut parts, mut body) = request.into_parts();
        host_from_uri(&parts.uri, &mut parts.headers);
        headers::strip_hop_by_hop(&mut parts.headers);
        if let Some(protocol) = protocol {
            headers::set_upgrade(&mut parts.headers, protocol);
        }
        let mut lines = Lines::take();
        if let Some(forwarded) = &rules.forwarded {
            forwarded.apply(&mut parts.headers, &mut lines);
        }
        if let Some(host) = &rules.host {
            parts.headers.insert(HOST, host.clone());
        }
        parts.uri = origin_form(parts.uri, rules.path.as_ref());
        parts.version = Version::HTTP_11;
        if let Some(max) = rules.max_body_bytes {
            body = body.with_limit(max);
        }
        let is_grpc = grpc::is_call(&parts.headers);
        let (body, deadline) = (Content::new(body), rules.deadline);
        Self { parts, body, lines, upgrade, is_grpc, deadline }
    }

    /// A request of our own. Its URI is path and query; `Host` must be set.
    pub fn new(request: Request<Body>, deadline: Option<Instant>) -> Self {
        let (parts, body) = request.into_parts();
        let (is_grpc, lines) = (grpc::is_call(&parts.headers), Lines::take());
        Self { parts, body: Content::new(body), lines, upgrade: false, is_grpc, deadline }
    }

    /// Whether the whole of it can be sent again: what was read of its body is still there.
    pub fn can_repeat(&self) -> bool {
        match &self.body {
            Content::Empty => true,
            Content::Some(replay) => replay.is_whole(),
        }
    }

    /// The body, from its start. `None` when it cannot be repeated.
    pub(crate) fn body(&self) -> Option<Body> {
        match &self.body {
            Content::Empty => Some(Body::empty()),
            Content::Some(replay) => replay.read().map(Body::replay),
        }
    }

    /// The request, from its start. `None` when it cannot be repeated.
    pub(crate) fn request(&self) -> Option<Request<Body>> {
        let mut request = Request::new(self.body()?);
        request.method_mut().clone_from(&self.parts.method);
        request.uri_mut().clone_from(&self.parts.uri);
        request.headers_mut().clone_from(&self.parts.headers);
        self.lines.copy_to(request.headers_mut());
        Some(request)
    }

    /// Sets a header, in place of whatever the client said. Lines that were added before stay.
    pub fn set_number(&mut self, name: &HeaderName, number: u64) {
        self.parts.headers.remove(name);
        self.lines.add_number(name, number);
    }

    /// What is sent beside the headers, each of which must have another name.
    pub fn lines_mut(&mut self) -> &mut Lines {
        &mut self.lines
    }

    /// Whether it is a gRPC call.
    pub fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// The headers as they will be sent, without what was added as lines.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    /// The headers as they will be sent, without what was added as lines.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Takes the body out; it is empty until [`Call::set_body`].
    pub fn take_body(&mut self) -> Body {
        match std::mem::replace(&mut self.body, Content::Empty) {
            Content::Empty => Body::empty(),
            Content::Some(replay) => replay.read().map_or_else(Body::empty, Body::replay),
        }
    }

    /// Gives it another body.
    pub fn set_body(&mut self, body: Body) {
        self.body = Content::new(body);
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        matches!(self.body, Content::Empty)
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// Whether the client wants to switch protocols.
    pub fn wants_upgrade(&self) -> bool {
        self.upgrade
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        self.parts.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    /// Changes path and query.
    pub fn set_path(&mut self, path: PathAndQuery) {
        self.parts.uri = Uri::from(path);
    }

    /// Changes when the call must be over.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        spare::put(std::mem::take(&mut self.parts.headers));
    }
}

impl Content {
    fn new(body: Body) -> Self {
        if body.is_end_stream() { Self::Empty } else { Self::Some(Replay::new(body)) }
    }
}

/// A request line with a whole URL overrides `Host` (RFC 9112 3.2.2).
fn host_from_uri(uri: &Uri, headers: &mut HeaderMap) {
    if let Some(authority) = uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, host);
    }
}

fn origin_form(uri: Uri, path: Option<&PathAndQuery>) -> Uri {
    let path = match path {
        Some(path) => path.clone(),
        None if uri.authority().is_none() => return uri,
        None => uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
    };
    Uri::from(path)
}
