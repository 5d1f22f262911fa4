//! The function behind every contender of `tests/bench`: answers each request with the same few
//! bytes, so that what is measured is the way to it.
//!
//! Listens where `upstream_url` says, `http://host:port` or `unix:/path`, as the watchdog tells its
//! functions, and also on the unix socket that the first argument names, if there is one.

use std::io;
use std::os::unix::net::UnixListener;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;

/// What every request is answered with.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n";
/// The end of a request's head. Requests have no body.
const HEAD_END: &[u8] = b"\r\n\r\n";

fn main() -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (0..threads).map(|_| worker()).collect::<io::Result<Vec<_>>>()?;
    if let Some(path) = std::env::args().nth(1) {
        let (listener, threads) = (UnixListener::bind(path)?, threads.clone());
        std::thread::spawn(move || accept_unix(&listener, &threads));
    }
    let upstream = std::env::var("upstream_url").unwrap_or_default();
    if let Some(path) = upstream.strip_prefix("unix:") {
        return accept_unix(&UnixListener::bind(path)?, &threads);
    }
    accept_tcp(upstream.trim_start_matches("http://").trim_end_matches('/'), &threads)
}

/// A thread that serves connections alone, so that none is handed from core to core.
fn worker() -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}

fn accept_tcp(address: &str, threads: &[Handle]) -> io::Result<()> {
    let listener = std::net::TcpListener::bind(address)?;
    for thread in threads.iter().cycle() {
        let stream = listener.accept()?.0;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        thread.spawn(async move { serve(tokio::net::TcpStream::from_std(stream)?).await });
    }
    Ok(())
}

fn accept_unix(listener: &UnixListener, threads: &[Handle]) -> io::Result<()> {
    for thread in threads.iter().cycle() {
        let stream = listener.accept()?.0;
        stream.set_nonblocking(true)?;
        thread.spawn(async move { serve(tokio::net::UnixStream::from_std(stream)?).await });
    }
    Ok(())
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        // Nobody sends the next request before this one's answer.
        if buffer[..filled].ends_with(HEAD_END) {
            stream.write_all(ANSWER).await?;
            filled = 0;
        }
    }
}
