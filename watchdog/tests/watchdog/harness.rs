//! The real binary, real sockets, and waits that end by an event or loudly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest wait for anything; only a failing test takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running watchdog with a directory of its own.
pub(crate) struct Watchdog {
    child: Child,
    pub(crate) dir: TempDir,
    log: Arc<Log>,
    pub(crate) port: u16,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Watchdog {
    /// Starts it with these variables and waits until it listens. `{dir}` stands for its
    /// directory.
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        let mut watchdog = Self::launch(variables);
        let line = watchdog.wait_log("Listening on port: ");
        watchdog.port = number_after(&line, "Listening on port: ");
        watchdog
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn ready(variables: &[(&str, &str)]) -> Self {
        let watchdog = Self::start(variables);
        watchdog.wait_log("Writing lock-file to: ");
        wait_for("the lock file", || watchdog.path(".lock").exists().then_some(()));
        watchdog
    }

    /// Starts it and waits for nothing.
    pub(crate) fn launch(variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_str().expect("a plain path").to_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fwatchdog"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let own = [("TMPDIR", "{dir}"), ("port", "0"), ("metrics_port", "0")];
        // Tests end by the signal to end; none of them wants to wait.
        let quick = [("healthcheck_interval", "0")];
        for (name, value) in own.iter().chain(&quick).chain(variables) {
            command.env(name, value.replace("{dir}", &path));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("fwatchdog starts");
        let log = Arc::new(Log::default());
        log.follow(child.stdout.take().expect("stdout"));
        log.follow(child.stderr.take().expect("stderr"));
        Self { child, dir, log, port: 0 }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The first line that contains `text`.
    pub(crate) fn wait_log(&self, text: &str) -> String {
        self.log.wait(|lines| lines.iter().find(|line| line.contains(text)).cloned(), text)
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lines.lock().expect("the log").clone()
    }

    /// Waits until `wanted` finds what it wants in the lines.
    pub(crate) fn wait_lines<T>(&self, what: &str, wanted: impl Fn(&[String]) -> Option<T>) -> T {
        self.log.wait(wanted, what)
    }

    pub(crate) fn connect(&self) -> Conn {
        Conn::tcp(self.port)
    }

    /// Sends one request on a connection of its own and reads the whole answer.
    pub(crate) fn ask(&self, head: &str, body: &[u8]) -> Answer {
        let mut conn = self.connect();
        conn.send(&request(head, body));
        conn.answer(head.starts_with("HEAD"))
    }

    /// Gets a path.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), b"")
    }

    pub(crate) fn metrics(&self) -> String {
        let line = self.wait_log("Metrics listening on port: ");
        let mut conn = Conn::tcp(number_after(&line, "Metrics listening on port: "));
        conn.send(&request("GET /metrics", b""));
        conn.answer(false).text()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("it runs");
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many TCP ports it listens on.
    pub(crate) fn listening_ports(&self) -> usize {
        let id = self.child.id();
        let fds = std::fs::read_dir(format!("/proc/{id}/fd")).expect("it runs");
        let links = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        let own: Vec<String> = links.map(|link| link.display().to_string()).collect();
        let tables = ["tcp", "tcp6"].map(|name| format!("/proc/{id}/net/{name}"));
        let tables = tables.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let listening = tables.iter().flat_map(|table| table.lines()).filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // State 0A is listening; the socket's number is the tenth field.
            fields.get(3) == Some(&"0A") && own.contains(&format!("socket:[{}]", fields[9]))
        });
        listening.count()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the watchdog's end", || self.child.try_wait().expect("a child"))
    }

    /// What it kept in memory at most, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // By the signal that lets it take its processes along; a hanging one is killed.
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(pid, Signal::TERM);
            let _ = kill_process(pid, Signal::TERM);
            let end = Instant::now() + PATIENCE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                thread::sleep(Duration::from_millis(5));
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Log {
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.lines.lock().expect("the log").push(line);
                log.more.notify_all();
            }
        });
    }

    fn wait<T>(&self, wanted: impl Fn(&[String]) -> Option<T>, what: &str) -> T {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().expect("the log");
        loop {
            if let Some(found) = wanted(&lines) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what:?} in {lines:#?}");
            lines = self.more.wait_timeout(lines, left).expect("the log").0;
        }
    }
}

fn number_after(line: &str, text: &str) -> u16 {
    let (_, number) = line.split_once(text).expect("the text");
    number.parse().expect("a port")
}

/// Waits until `found` finds something.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The number that a process writes into a file.
pub(crate) fn wait_pid(path: &Path) -> u32 {
    wait_for("a process id", || {
        let text = std::fs::read_to_string(path).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    })
}

/// Waits until a process is gone, or is dead and only not collected yet.
pub(crate) fn wait_gone(pid: u32) {
    wait_for("the end of a process", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('Z'));
        state.unwrap_or(true).then_some(())
    });
}

/// A request with `Host`, and with `Content-Length` when there is a body. Further headers stand
/// on lines of their own in `head`.
pub(crate) fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
    let mut text = format!("{line} HTTP/1.1\r\nHost: test\r\n");
    for header in headers.lines() {
        text += &format!("{header}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A piece of a chunked body.
pub(crate) fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

trait Stream: Read + Write + Send {
    fn end_writing(&self);
}

impl Stream for TcpStream {
    fn end_writing(&self) {
        self.shutdown(Shutdown::Write).expect("open");
    }
}

impl Stream for UnixStream {
    fn end_writing(&self) {
        self.shutdown(Shutdown::Write).expect("open");
    }
}

/// One side of an HTTP connection, with nothing done behind one's back.
pub(crate) struct Conn(BufReader<Box<dyn Stream>>);

/// A message's first line and headers.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether the body came to its proper end.
    pub(crate) whole: bool,
}

impl Conn {
    pub(crate) fn tcp(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        Self::on_tcp(stream)
    }

    fn on_tcp(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Self(BufReader::new(Box::new(stream)))
    }

    pub(crate) fn unix(path: &Path) -> Self {
        Self::on_unix(UnixStream::connect(path).expect("it listens"))
    }

    fn on_unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self(BufReader::new(Box::new(stream)))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("the peer reads");
    }

    /// Sends although the peer may not want it.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.0.get_mut().write_all(bytes).is_ok()
    }

    pub(crate) fn end_writing(&self) {
        self.0.get_ref().end_writing();
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn headers(&mut self) -> Option<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return Some(headers) };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The next head; `None` at the end of the connection.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let line = self.line()?;
        Some(Head { line, headers: self.headers()? })
    }

    /// The next chunk; empty at the end of the body, `None` when the connection ends before.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line()?, 16).ok()?;
        if size == 0 {
            return Some(Vec::new());
        }
        let mut data = vec![0; size];
        self.0.read_exact(&mut data).ok()?;
        self.line()?;
        Some(data)
    }

    /// That many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("so many bytes");
        bytes
    }

    /// Everything up to the end, which must be a proper one.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("a proper end");
        rest
    }

    /// The body of a message with this head, and its trailers.
    pub(crate) fn answer_to(&mut self, head: Head, is_head: bool) -> Answer {
        let mut answer = Answer { head, body: Vec::new(), trailers: Vec::new(), whole: true };
        if is_head {
            return answer;
        }
        if answer.head.get("transfer-encoding") == Some("chunked") {
            answer.whole = loop {
                match self.chunk() {
                    None => break false,
                    Some(data) if data.is_empty() => break true,
                    Some(data) => answer.body.extend(data),
                }
            };
            if answer.whole {
                answer.trailers = self.headers().unwrap_or_default();
            }
        } else if let Some(length) = answer.head.get("content-length") {
            let length = length.parse().expect("a length");
            let read = self.0.by_ref().take(length).read_to_end(&mut answer.body);
            answer.whole = read.is_ok() && answer.body.len() as u64 == length;
        }
        answer
    }

    /// A whole answer.
    pub(crate) fn answer(&mut self, is_head: bool) -> Answer {
        let head = self.head().expect("an answer");
        self.answer_to(head, is_head)
    }

    /// A whole request, as an upstream reads it.
    pub(crate) fn request(&mut self) -> Option<Answer> {
        let head = self.head()?;
        Some(self.answer_to(head, false))
    }
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        let status = self.head.line.split(' ').nth(1).expect("a status line");
        status.parse().expect("a status")
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An upstream in this process: each connection is given to `serve` in a thread of its own. It
/// gets connections that end at once, too, by which the watchdog learns that it is there.
pub(crate) fn upstream(serve: impl Fn(Conn) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(Conn::on_tcp(stream)));
        }
    });
    url
}

/// The same on a unix socket.
pub(crate) fn unix_upstream(path: &Path, serve: impl Fn(Conn) + Send + Sync + 'static) {
    let listener = UnixListener::bind(path).expect("a socket");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(Conn::on_unix(stream)));
        }
    });
}
