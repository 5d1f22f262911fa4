//! A strict reader of HTTP/1.1, shared by the client and the upstream of this suite: what it does
//! not take is what nobody should have to read. It is not the gateway's, on purpose.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Longest wait for a byte; only a failing row takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ended before the message did.
    Cut,
    /// Nothing came for too long.
    Silence,
    /// It is no well-formed message.
    Malformed(String),
}

/// A message, its first line and its headers as they came.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
    Close,
}

/// One end of a connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Bytes as text, one character each, so that none is lost.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

impl Message {
    /// All values of a header in their order, with ", " between them; `None` when it is not there.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The status of an answer, in this version of HTTP or an older one.
    pub(crate) fn status(&self) -> Result<u16, Fault> {
        let versions = ["HTTP/1.1 ", "HTTP/1.0 "];
        let rest = versions.into_iter().find_map(|version| self.line.strip_prefix(version));
        let code = rest.and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        code.ok_or_else(|| Fault::Malformed(format!("status line {:?}", self.line)))
    }

    /// How the body's end is told; a message that says it in two ways is malformed.
    pub(crate) fn framing(&self, otherwise: Framing) -> Result<Framing, Fault> {
        let bad = |text: String| Err(Fault::Malformed(text));
        match (self.header("transfer-encoding"), self.header("content-length")) {
            (Some(_), Some(_)) => bad("both Transfer-Encoding and Content-Length".to_owned()),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            (Some(coding), None) => bad(format!("Transfer-Encoding: {coding}")),
            (None, None) => Ok(otherwise),
            (None, Some(length)) => match length.parse() {
                Ok(bytes) if length.bytes().all(|b| b.is_ascii_digit()) => {
                    Ok(Framing::Length(bytes))
                }
                _ => bad(format!("Content-Length: {length}")),
            },
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.line)?;
        for (name, value) in &self.headers {
            writeln!(f, "    {name}: {value:?}")?;
        }
        writeln!(
            f,
            "    body of {}: {:?}",
            self.body.len(),
            latin1(&self.body[..self.body.len().min(200)])
        )?;
        self.trailers.iter().try_for_each(|(name, value)| writeln!(f, "    {name}: {value:?}"))
    }
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends what the other side takes: it may have answered and closed before it has read all.
    /// Tells whether it took everything.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Up to the end of the next head; `None` when the connection ends before it begins.
    pub(crate) fn head(&mut self) -> Result<Option<Message>, Fault> {
        if self.buffer.is_empty() && !self.more()? {
            return Ok(None);
        }
        let mut lines = self.lines()?;
        if lines.is_empty() {
            return Err(Fault::Malformed("an empty line before a message".to_owned()));
        }
        let line = lines.remove(0);
        Ok(Some(Message { line, headers: fields(lines)?, ..Message::default() }))
    }

    /// Reads the body of `message`.
    pub(crate) fn body(&mut self, message: &mut Message, framing: Framing) -> Result<(), Fault> {
        match framing {
            Framing::None => Ok(()),
            Framing::Length(bytes) => self.exactly(bytes, &mut message.body),
            Framing::Close => {
                while self.more()? {}
                message.body.append(&mut self.buffer);
                Ok(())
            }
            Framing::Chunked => self.chunks(message),
        }
    }

    /// Everything up to the end.
    pub(crate) fn rest(&mut self) -> Result<Vec<u8>, Fault> {
        while self.more()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// So many bytes as they come, whatever they are.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<Vec<u8>, Fault> {
        let mut taken = Vec::new();
        self.exactly(bytes, &mut taken)?;
        Ok(taken)
    }

    fn chunks(&mut self, message: &mut Message) -> Result<(), Fault> {
        loop {
            let line = self.line()?;
            let hex = !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit());
            let size = usize::from_str_radix(&line, 16).ok().filter(|_| hex);
            let size = size.ok_or_else(|| Fault::Malformed(format!("chunk size {line:?}")))?;
            if size == 0 {
                message.trailers = fields(self.lines()?)?;
                return Ok(());
            }
            self.exactly(size, &mut message.body)?;
            if self.take(2)? != b"\r\n" {
                return Err(Fault::Malformed("a chunk is not as long as it says".to_owned()));
            }
        }
    }

    fn exactly(&mut self, bytes: usize, into: &mut Vec<u8>) -> Result<(), Fault> {
        while self.buffer.len() < bytes {
            if !self.more()? {
                into.append(&mut self.buffer);
                return Err(Fault::Cut);
            }
        }
        into.extend(self.buffer.drain(..bytes));
        Ok(())
    }

    /// Lines up to an empty one.
    fn lines(&mut self) -> Result<Vec<String>, Fault> {
        let mut lines = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => return Ok(lines),
                line => lines.push(line),
            }
        }
    }

    /// The next line, which ends in CR LF and has neither of them before.
    fn line(&mut self) -> Result<String, Fault> {
        let end = loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if !self.more()? {
                return Err(Fault::Cut);
            }
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let text =
            line.strip_suffix(b"\r\n").filter(|text| !text.iter().any(|b| b"\r\0".contains(b)));
        text.map(latin1).ok_or_else(|| Fault::Malformed(format!("line {:?}", latin1(&line))))
    }

    /// Reads on; `false` at the end. A reset is an end, too.
    fn more(&mut self) -> Result<bool, Fault> {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(read) => {
                self.buffer.extend_from_slice(&bytes[..read]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Fault::Silence)
            }
            Err(_) => Ok(false),
        }
    }
}

fn fields(lines: Vec<String>) -> Result<Vec<(String, String)>, Fault> {
    let field = |line: String| {
        let bad = || Fault::Malformed(format!("header line {line:?}"));
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let token = !name.is_empty() && name.bytes().all(is_token);
        let plain = value.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f));
        match token && plain && value.chars().all(|c| u32::from(c) < 256) {
            true => Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned())),
            false => Err(bad()),
        }
    };
    lines.into_iter().map(field).collect()
}

/// Whether the byte may stand in a method or in a header's name (RFC 9110 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
