//! Pipes to and from processes.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bytes::{Bytes, BytesMut};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::log::Lines;

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;

/// What a process writes.
#[derive(Debug)]
pub struct Output {
    pipe: Receiver,
    buffer: BytesMut,
}

/// A pipe that a process writes into: the process's end, and ours.
///
/// # Errors
/// When there are no file descriptors left.
pub fn output() -> io::Result<(io::PipeWriter, Output)> {
    let (reader, writer) = io::pipe()?;
    let pipe = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    Ok((writer, Output { pipe, buffer: BytesMut::new() }))
}

/// A pipe that a process reads from: the process's end, and ours.
///
/// # Errors
/// When there are no file descriptors left.
pub fn input() -> io::Result<(io::PipeReader, Sender)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader, Sender::from_owned_fd(OwnedFd::from(writer))?))
}

impl Output {
    /// The next bytes; `None` when everybody has closed the other end. Nothing is lost when the
    /// future is dropped.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.buffer.reserve(CHUNK);
        // A pipe that cannot be read has nothing more to give.
        match self.pipe.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(self.buffer.split().freeze()),
        }
    }

    /// What is in the pipe now, for after the process has ended. Others that it left behind may
    /// hold the other end for ever, so nothing is waited for, and no more is taken than the pipe
    /// could hold at that moment.
    pub fn leftover(&mut self) -> Bytes {
        let size = rustix::pipe::fcntl_getpipe_size(self.pipe.as_fd()).unwrap_or(1 << 16);
        let mut bytes = Vec::new();
        while bytes.len() < size {
            bytes.reserve(CHUNK);
            // Not through tokio: it may not have been told yet of what was written last.
            match rustix::io::read(self.pipe.as_fd(), spare_capacity(&mut bytes)) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => (),
                Err(_) => break,
            }
        }
        bytes.into()
    }

    /// Logs everything until the other end is closed, or `ended` is over.
    pub async fn log(mut self, mut lines: Lines, ended: impl Future<Output = ()>) {
        tokio::pin!(ended);
        loop {
            tokio::select! {
                biased;
                chunk = self.next() => match chunk {
                    Some(chunk) => lines.push(&chunk),
                    None => break,
                },
                () = ended.as_mut() => {
                    lines.push(&self.leftover());
                    break;
                }
            }
        }
        lines.finish();
    }
}
