//! One call, made ready for the next hop.

use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use http::header::{EXPECT, HOST, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::body::Body;
use crate::error::SendError;
use crate::forwarded::Forwarded;
use crate::headers;
use crate::replay::Replay;
use crate::tunnel::Tunnel;

/// How long a body is held back for an upstream that does not answer `Expect: 100-continue`;
/// such upstreams exist, and RFC 9110 10.1.1 says not to wait for ever.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

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
    parts: Parts,
    body: Content,
    pub(crate) upgrade: Option<OnUpgrade>,
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
    pub fn forward(mut request: Request<Body>, rules: &Rules) -> Self {
        let protocol = headers::upgrade_wanted(request.headers());
        let upgrade = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, mut body) = request.into_parts();
        host_from_uri(&parts.uri, &mut parts.headers);
        headers::strip_hop_by_hop(&mut parts.headers);
        if let Some(protocol) = protocol {
            headers::set_upgrade(&mut parts.headers, protocol);
        }
        if let Some(forwarded) = &rules.forwarded {
            forwarded.apply(&mut parts.headers);
        }
        if let Some(host) = &rules.host {
            parts.headers.insert(HOST, host.clone());
        }
        parts.uri = origin_form(parts.uri, rules.path.as_ref());
        parts.version = Version::HTTP_11;
        if let Some(max) = rules.max_body_bytes {
            body = body.with_limit(max);
        }
        Self { parts, body: Content::new(body), upgrade, deadline: rules.deadline }
    }

    /// A request of our own. Its URI is path and query; `Host` must be set.
    pub fn new(request: Request<Body>, deadline: Option<Instant>) -> Self {
        let (parts, body) = request.into_parts();
        Self { parts, body: Content::new(body), upgrade: None, deadline }
    }

    /// Whether the whole of it can be sent again: what was read of its body is still there.
    pub fn can_repeat(&self) -> bool {
        match &self.body {
            Content::Empty => true,
            Content::Some(replay) => replay.is_whole(),
        }
    }

    /// The request, from its start. `None` when it cannot be repeated.
    pub(crate) fn request(&self) -> Option<Request<Body>> {
        let body = match &self.body {
            Content::Empty => Body::empty(),
            Content::Some(replay) => Body::replay(replay.read()?),
        };
        let mut request = Request::new(body);
        request.method_mut().clone_from(&self.parts.method);
        request.uri_mut().clone_from(&self.parts.uri);
        request.headers_mut().clone_from(&self.parts.headers);
        if expects_continue(request.headers()) {
            hold_body(&mut request);
        }
        Some(request)
    }

    /// The headers as they will be sent.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    /// The headers as they will be sent.
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
        self.upgrade.is_some()
    }

    /// Changes when the call must be over.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}

impl Content {
    fn new(body: Body) -> Self {
        if body.is_end_stream() { Self::Empty } else { Self::Some(Replay::new(body)) }
    }
}

/// Makes an upstream's answer fit for the client.
pub(crate) fn answer(
    mut response: Response<Incoming>,
    upgrade: &mut Option<OnUpgrade>,
) -> Result<Response<Body>, SendError> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::strip_hop_by_hop(response.headers_mut());
        return Ok(response.map(Body::from));
    }
    let protocol = headers::upgrade_wanted(response.headers());
    let (Some(client), Some(protocol)) = (upgrade.take(), protocol) else {
        return Err(SendError::UnaskedUpgrade);
    };
    let upstream = hyper::upgrade::on(&mut response);
    headers::strip_hop_by_hop(response.headers_mut());
    headers::set_upgrade(response.headers_mut(), protocol);
    Ok(response.map(|_| Body::tunnel(Tunnel { client, upstream })))
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

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Holds the body back until the upstream wants it. Reading the body is what makes our server
/// say `100 Continue` to the client, so the upstream's decision reaches it.
fn hold_body(request: &mut Request<Body>) {
    let (open, opened) = oneshot::channel();
    let open = Mutex::new(Some(open));
    hyper::ext::on_informational(request, move |answer| {
        let open = open.lock().ok().and_then(|mut open| open.take());
        if let (StatusCode::CONTINUE, Some(open)) = (answer.status(), open) {
            let _ = open.send(());
        }
    });
    let hold = async move {
        let wanted = async move {
            if opened.await.is_err() {
                // The answer came without it: the body is not wanted. Reading it now would say
                // the opposite to the client.
                pending::<()>().await;
            }
        };
        let _ = timeout(CONTINUE_WAIT, wanted).await;
    };
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = body.with_hold(hold);
}
