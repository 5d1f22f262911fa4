//! An upstream that writes down what it gets, and answers as a row says.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::case::Bytes;
use crate::wire::{Fault, Framing, Message, Wire, is_token};

/// Longest wait for a request; only a failing row takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came in.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Whole(Message),
    /// The connection ended before the request did.
    Cut(Message),
    Malformed(String),
}

/// What one request is answered with.
#[derive(Clone, Default)]
pub(crate) struct Reply {
    /// As soon as the head is there.
    on_head: Vec<u8>,
    /// When the body is there, too.
    on_body: Vec<u8>,
    end: End,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    Keep,
    Close,
    /// Without having read the body.
    CloseOnHead,
    /// Everything that comes goes back.
    Echo,
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    log: Mutex<Log>,
    changed: Condvar,
}

#[derive(Default)]
struct Log {
    replies: VecDeque<Reply>,
    heads: usize,
    seen: Vec<Seen>,
    stopping: bool,
}

impl Reply {
    /// An answer to the whole request, on a connection that stays.
    pub(crate) fn new(bytes: impl Bytes) -> Self {
        Self { on_body: bytes.bytes(), ..Self::default() }
    }

    /// Bytes that come before the body is read.
    pub(crate) fn on_head(bytes: impl Bytes) -> Self {
        Self { on_head: bytes.bytes(), ..Self::default() }
    }

    /// And those that come afterwards.
    pub(crate) fn then(mut self, bytes: impl Bytes) -> Self {
        self.on_body = bytes.bytes();
        self
    }

    /// Closes after the answer.
    pub(crate) fn close(mut self) -> Self {
        self.end = End::Close;
        self
    }

    /// Closes without having read the body.
    pub(crate) fn close_on_head(mut self) -> Self {
        self.end = End::CloseOnHead;
        self
    }

    /// Sends back what comes after the answer.
    pub(crate) fn echo(mut self) -> Self {
        self.end = End::Echo;
        self
    }
}

impl Upstream {
    pub(crate) fn start(replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        state.log().replies.extend(replies.iter().cloned());
        let accepting = thread::spawn({
            let state = state.clone();
            move || accept_all(&listener, &state)
        });
        Self { address, state, accepting }
    }

    /// Waits until so many heads have come.
    pub(crate) fn arrived(&self, requests: usize) -> Result<(), String> {
        let waiting = |log: &mut Log| log.heads < requests;
        let waited = self.state.changed.wait_timeout_while(self.state.log(), PATIENCE, waiting);
        match waited {
            Ok((_, timeout)) if !timeout.timed_out() => Ok(()),
            _ => Err(format!("the upstream never got {requests} requests")),
        }
    }

    /// All that came. The gateway must be gone, so that every connection ends.
    pub(crate) fn end(self) -> Vec<Seen> {
        self.state.log().stopping = true;
        let _ = TcpStream::connect(self.address);
        for connection in self.accepting.join().expect("the upstream lives") {
            connection.join().expect("the upstream lives");
        }
        std::mem::take(&mut self.state.log().seen)
    }
}

impl State {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A head has come; gives its answer.
    fn head(&self, message: &Message) -> Reply {
        let mut log = self.log();
        log.heads += 1;
        self.changed.notify_all();
        let target = message.line.split(' ').nth(1).unwrap_or_default();
        // The checks at the end of a row are always answered with their own target.
        let reply = if is_check(message) { None } else { log.replies.pop_front() };
        reply.unwrap_or_else(|| telling(target, message.line.starts_with("HEAD ")))
    }

    fn record(&self, seen: Seen) {
        self.log().seen.push(seen);
    }
}

/// Whether a request is the suite's own, to learn whether all is well after a row.
pub(crate) fn is_check(message: &Message) -> bool {
    ["GET /kept HTTP/1.1", "GET /last HTTP/1.1"].contains(&message.line.as_str())
}

/// Tells the target, each of its characters as the byte it came as.
fn telling(target: &str, head_only: bool) -> Reply {
    let length = target.chars().count();
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    if !head_only {
        answer.extend(target.chars().map(|c| c as u8));
    }
    Reply::new(answer)
}

fn accept_all(listener: &TcpListener, state: &Arc<State>) -> Vec<JoinHandle<()>> {
    let mut connections = Vec::new();
    for stream in listener.incoming().map_while(Result::ok) {
        if state.log().stopping {
            break;
        }
        let state = state.clone();
        connections.push(thread::spawn(move || serve(Wire::new(stream), &state)));
    }
    connections
}

fn serve(mut wire: Wire, state: &State) {
    loop {
        let message = match wire.head() {
            Ok(Some(message)) => message,
            // Connections that lie unused in the gateway's pool are silent.
            Ok(None) | Err(Fault::Silence) => return,
            Err(Fault::Cut) => return state.record(Seen::Cut(Message::default())),
            Err(Fault::Malformed(reason)) => return state.record(Seen::Malformed(reason)),
        };
        let reply = state.head(&message);
        match exchange(&mut wire, message, &reply) {
            Ok(message) => state.record(Seen::Whole(message)),
            Err(seen) => return state.record(seen),
        }
        wire.send(&reply.on_body);
        match reply.end {
            End::Keep => (),
            End::Echo => return echo(&mut wire),
            End::Close | End::CloseOnHead => {
                wire.finish();
                let _ = wire.rest();
                return;
            }
        }
    }
}

/// Reads the rest of a request.
fn exchange(wire: &mut Wire, mut message: Message, reply: &Reply) -> Result<Message, Seen> {
    let malformed = |reason: String| Seen::Malformed(format!("{reason} in {message:?}"));
    check(&message).map_err(malformed)?;
    let framing =
        message.framing(Framing::None).map_err(|fault| malformed(format!("{fault:?}")))?;
    wire.send(&reply.on_head);
    if reply.end == End::CloseOnHead {
        return Ok(message);
    }
    match wire.body(&mut message, framing) {
        Ok(()) => Ok(message),
        Err(Fault::Malformed(reason)) => Err(Seen::Malformed(reason)),
        Err(_) => Err(Seen::Cut(message)),
    }
}

/// What every request that goes on must be like.
fn check(message: &Message) -> Result<(), String> {
    let parts: Vec<&str> = message.line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else {
        return Err("a bad request line".to_owned());
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err("a bad method".to_owned());
    }
    if !target.starts_with('/') || target.chars().any(char::is_control) {
        return Err("a bad target".to_owned());
    }
    let hosts = message.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    match hosts.count() {
        1 => Ok(()),
        count => Err(format!("{count} Host headers")),
    }
}

fn echo(wire: &mut Wire) {
    while let Ok(byte) = wire.take(1) {
        wire.send(&byte);
    }
}
