//! A replica that does what a test tells it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// What a replica is asked: the first line, and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) body: String,
}

/// What a replica does with a request.
pub(crate) enum Reply {
    /// These bytes.
    Bytes(String),
    /// 200 with this body, when the gate is open.
    Wait(&'static str),
    /// Nothing: the connection is closed.
    Break,
}

/// A small server over TCP.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    running: usize,
    most: usize,
    /// How many calls may end.
    let_go: usize,
}

impl Upstream {
    /// Answers by `reply`, which is given the number of the request.
    pub(crate) fn new(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (state, reply) = (Arc::<(Mutex<State>, Condvar)>::default(), Arc::new(reply));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, reply) = (shared.clone(), reply.clone());
                std::thread::spawn(move || serve(stream, &shared, &*reply));
            }
        });
        Self { address, state }
    }

    /// Holds every call until it is let go.
    pub(crate) fn waiting() -> Self {
        Self::new(|_, _| Reply::Wait("done"))
    }

    /// Lets so many more calls end.
    pub(crate) fn let_go(&self, count: usize) {
        self.state.0.lock().unwrap().let_go += count;
        self.state.1.notify_all();
    }

    /// Waits until it was asked so often.
    pub(crate) fn asked(&self, count: usize) -> Vec<Asked> {
        let state = self.state.0.lock().unwrap();
        let few = |state: &mut State| state.asked.len() < count;
        self.state.1.wait_while(state, few).unwrap().asked.clone()
    }

    /// The most calls that it ever had at a time.
    pub(crate) fn most(&self) -> usize {
        self.state.0.lock().unwrap().most
    }
}

fn serve(
    stream: TcpStream,
    shared: &(Mutex<State>, Condvar),
    reply: &dyn Fn(usize, &Asked) -> Reply,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let asked = read(&mut reader)?;
        let number = {
            let mut state = shared.0.lock().unwrap();
            state.asked.push(asked.clone());
            state.running += 1;
            state.most = state.most.max(state.running);
            shared.1.notify_all();
            state.asked.len()
        };
        let answer = match reply(number, &asked) {
            Reply::Bytes(bytes) => Some(bytes),
            Reply::Break => None,
            Reply::Wait(body) => {
                let none = |state: &mut State| state.let_go == 0;
                let state = shared.0.lock().unwrap();
                shared.1.wait_while(state, none).unwrap().let_go -= 1;
                Some(ok(body))
            }
        };
        shared.0.lock().unwrap().running -= 1;
        stream.write_all(answer?.as_bytes()).ok()?;
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length =
        head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let line = head.lines().next().unwrap_or_default().to_owned();
    Some(Asked { line, body: String::from_utf8_lossy(&body).into_owned() })
}

/// An answer.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What a replica answers that has not begun the call.
pub(crate) fn not_taken() -> Reply {
    let head = "HTTP/1.1 429 Too Many Requests\r\nX-Faas-Not-Taken: 1\r\n";
    Reply::Bytes(format!("{head}Content-Length: 0\r\n\r\n"))
}
