//! What two gateways say to each other: lines, and sockets that go with them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Most sockets that go over at a time; the kernel's own limit is 253.
pub(super) const MAX_SOCKETS: usize = 200;
/// Longest line.
const MAX_LINE: usize = 64 << 10;

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Calls and the API.
    Calls,
    /// The same, over TLS.
    Tls,
    /// Metrics and health.
    Metrics,
}

/// A listening socket that goes from one gateway to the next.
#[derive(Debug)]
pub struct Given {
    /// What it is for.
    pub role: Role,
    /// The socket.
    pub listener: TcpListener,
}

/// Whom a new gateway talks to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) pid: u32,
    pub(super) version: String,
    /// What the sockets are for that come with this line, in their order.
    pub(super) roles: Vec<Role>,
}

/// A connection between two gateways.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    read: Vec<u8>,
    sockets: Vec<OwnedFd>,
}

impl Link {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, read: Vec::new(), sockets: Vec::new() }
    }

    /// The process at the other end.
    pub(super) fn peer(&self) -> Option<i32> {
        self.stream.peer_cred().ok()?.pid()
    }

    /// Sends a line, and sockets with it.
    pub(super) async fn say(&self, line: &str, sockets: &[Given]) -> io::Result<()> {
        let line = format!("{line}\n");
        let mut rest = line.as_bytes();
        let mut sockets = sockets;
        while !rest.is_empty() {
            let sent =
                self.stream.async_io(Interest::WRITABLE, || send(&self.stream, rest, sockets));
            rest = &rest[sent.await?..];
            sockets = &[];
        }
        Ok(())
    }

    /// The next line, and the sockets that came with it.
    pub(super) async fn hear(&mut self, limit: Duration) -> io::Result<(String, Vec<OwnedFd>)> {
        timeout(limit, self.line()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Hears exactly this line.
    pub(super) async fn expect(&mut self, wanted: &str, limit: Duration) -> io::Result<()> {
        let (line, _) = self.hear(limit).await?;
        if line == wanted {
            return Ok(());
        }
        Err(io::Error::other(format!("the other gateway said {line:?} and not {wanted:?}")))
    }

    async fn line(&mut self) -> io::Result<(String, Vec<OwnedFd>)> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                return Ok((line, std::mem::take(&mut self.sockets)));
            }
            let (bytes, sockets) =
                self.stream.async_io(Interest::READABLE, || receive(&self.stream)).await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read.extend_from_slice(&bytes);
            self.sockets.extend(sockets);
            if self.read.len() > MAX_LINE {
                return Err(io::Error::other("the other gateway's line is too long"));
            }
        }
    }
}

fn send(stream: &UnixStream, bytes: &[u8], sockets: &[Given]) -> io::Result<usize> {
    let fds: Vec<_> = sockets.iter().map(|given| given.listener.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other(format!("more than {MAX_SOCKETS} listening sockets")));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; 4096];
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let got = recvmsg(stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let sockets = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let sockets = sockets.flatten().collect();
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("sockets of the other gateway were lost on the way"));
    }
    bytes.truncate(got.bytes);
    Ok((bytes, sockets))
}
