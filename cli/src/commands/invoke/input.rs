//! The body of a call: stdin, as it comes.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Method};
use tokio::io::{AsyncReadExt, Stdin};

use crate::output;

/// Most bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A body, and its length in bytes when that is known.
pub(super) struct Input {
    pub(super) body: Body,
    pub(super) length: Option<u64>,
}

/// Stdin as a body; none when it is empty, or a terminal and the method needs no body.
pub(super) async fn body(method: &Method) -> Result<Option<Input>> {
    if io::stdin().is_terminal() {
        if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
            return Ok(None);
        }
        output::talk("Reading from STDIN - hit (Control + D) to stop.");
    }
    if let Some(file) = regular_file()? {
        let length = file.metadata()?.len();
        return Ok(Some(Input {
            body: tokio::fs::File::from_std(file).into(),
            length: Some(length),
        }));
    }
    let mut stdin = tokio::io::stdin();
    // An empty stdin, such as /dev/null, makes a call without a body instead of a chunked one.
    let Some(first) = read(&mut stdin).await.context("stdin cannot be read")? else {
        return Ok(None);
    };
    let rest = stream::try_unfold((Some(first), stdin), next);
    Ok(Some(Input { body: Body::wrap_stream(rest), length: None }))
}

/// Stdin when it is a file that is read from its start, so that its length is known.
fn regular_file() -> Result<Option<File>> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let at_start = rustix::fs::tell(&file).is_ok_and(|at| at == 0);
    let meta = file.metadata()?;
    Ok((meta.is_file() && meta.len() > 0 && at_start).then_some(file))
}

async fn next(
    (first, mut stdin): (Option<Bytes>, Stdin),
) -> io::Result<Option<(Bytes, (Option<Bytes>, Stdin))>> {
    let chunk = match first {
        Some(first) => Some(first),
        None => read(&mut stdin).await?,
    };
    Ok(chunk.map(|chunk| (chunk, (None, stdin))))
}

async fn read(stdin: &mut Stdin) -> io::Result<Option<Bytes>> {
    let mut buffer = Vec::with_capacity(CHUNK_BYTES);
    stdin.read_buf(&mut buffer).await?;
    Ok((!buffer.is_empty()).then(|| buffer.into()))
}
