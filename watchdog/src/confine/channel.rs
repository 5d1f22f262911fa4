//! What the confiner and its stages tell each other: one message a packet.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use provider::confine::Gap;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use serde::{Deserialize, Serialize};

use super::failure::{Doing, Failure, Result};

/// Longest message.
const MAX_MESSAGE: usize = 64 << 10;

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// The next stage runs as this process, as the one who says it sees it.
    Split { pid: u32 },
    /// There can be no sandbox of this kind, but perhaps one of another.
    Refused { reason: String },
    /// The sandbox stands, and this is what it lacks.
    Ready { gaps: Vec<Gap> },
    /// Run the watchdog.
    Go,
    /// It is being run.
    Running,
    /// There can be no sandbox, or nothing to run in it.
    Failed { reason: String },
    /// The watchdog ended so; said by who is its parent in the confiner's stead.
    Ended { code: Option<i32>, signal: Option<i32> },
}

impl Channel {
    /// Two ends: ours, and the one to be a stage's stdin.
    pub(super) fn pair() -> Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map(|(ours, theirs)| (Self(ours), theirs))
            .doing("cannot make a socket for the stages")
    }

    /// The end that a stage was given as its stdin, in whose place there will be nothing to read.
    pub(super) fn take_stdin() -> Result<Self> {
        let take = || -> io::Result<OwnedFd> {
            let channel = io::stdin().as_fd().try_clone_to_owned()?;
            super::stage::empty_stdin()?;
            Ok(channel)
        };
        take().map(Self).doing("stdin is not the confiner's socket")
    }

    /// The same end once more, for another stage's stdin.
    pub(super) fn another(&self) -> Result<OwnedFd> {
        self.0.try_clone().doing("cannot pass the confiner's socket on")
    }

    /// How long one wait for a message may take.
    pub(super) fn set_patience(&self, patience: Duration) -> Result<()> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(patience)).doing("socket timeout")
    }

    pub(super) fn tell(&self, message: &Message) -> Result<()> {
        let text = serde_json::to_vec(message).map_err(Failure::new)?;
        send(&self.0, &text, SendFlags::NOSIGNAL).map(drop).doing("the confiner is gone")
    }

    /// The next message; `None` when all others have closed their end.
    pub(super) fn hear(&self) -> Result<Option<Message>> {
        self.receive(RecvFlags::empty())
    }

    /// The same, but it fails when there is none now.
    pub(super) fn hear_now(&self) -> Result<Option<Message>> {
        self.receive(RecvFlags::DONTWAIT)
    }

    fn receive(&self, flags: RecvFlags) -> Result<Option<Message>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, _) = recv(&self.0, buffer.as_mut_slice(), flags).doing("nothing was said")?;
        if length == 0 {
            return Ok(None);
        }
        serde_json::from_slice(&buffer[..length]).map(Some).map_err(Failure::new)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_bounds() {
        let (ours, theirs) = Channel::pair().expect("a pair");
        let theirs = Channel(theirs);
        let gap = Gap { measure: "m".to_owned(), reason: "r".repeat(1000) };
        let messages = [
            Message::Split { pid: 7 },
            Message::Ready { gaps: vec![gap] },
            Message::Ended { code: None, signal: Some(9) },
        ];
        for message in &messages {
            theirs.tell(message).expect("told");
        }
        for message in messages {
            assert_eq!(ours.hear().expect("heard"), Some(message));
        }
        drop(theirs);
        assert_eq!(ours.hear().expect("the end"), None);
        ours.tell(&Message::Go).expect_err("nobody there");
    }

    #[test]
    fn a_wait_has_an_end() {
        let (ours, _theirs) = Channel::pair().expect("a pair");
        ours.set_patience(Duration::from_millis(5)).expect("set");
        ours.hear().expect_err("nothing said");
    }
}
