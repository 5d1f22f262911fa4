//! How a connection ends, so that the client sees its answer and no reset.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::conn::Conn;
use super::decode::Piece;
use crate::clock::Alarm;
use crate::server::{Live, Stage};

/// Most of an unwanted body that is read so that the connection can go on.
const MAX_SKIPPED: usize = 16 << 20;

/// How long that may take.
const SKIP_TIME: Duration = Duration::from_secs(5);

/// How long a client may go on sending after its answer. Closing earlier would be a reset, which
/// may reach it before it has read the answer.
const LINGER: Duration = Duration::from_secs(30);

/// How long it may be silent in that time.
const LINGER_SILENCE: Duration = Duration::from_secs(2);

/// Reads what is left of the request's body. `false` when that is too much.
pub(super) async fn skip_body<H>(conn: &Conn, live: &Live<H>) -> bool {
    if conn.state().decoder.is_done() {
        return true;
    }
    let (mut alarm, limit) = (Alarm::default(), Instant::now() + SKIP_TIME);
    let mut left = MAX_SKIPPED;
    poll_fn(|cx| {
        if live.stage(cx) == Stage::Abort || conn.state().trouble.is_some() {
            return Poll::Ready(false);
        }
        if let Poll::Ready(done) = poll_skip(conn, &mut left, cx) {
            return Poll::Ready(done);
        }
        alarm.poll(limit, cx).map(|()| false)
    })
    .await
}

fn poll_skip(conn: &Conn, left: &mut usize, cx: &mut Context<'_>) -> Poll<bool> {
    let state = &mut *conn.state();
    loop {
        match state.decoder.next(&mut state.io.buf) {
            Ok(Piece::End | Piece::Trailers(_)) => return Poll::Ready(true),
            Ok(Piece::Data(data)) => match left.checked_sub(data.len()) {
                Some(less) => *left = less,
                None => return Poll::Ready(false),
            },
            Ok(Piece::More) => match std::task::ready!(state.io.poll_fill(cx)) {
                Ok(1..) => (),
                _ => return Poll::Ready(false),
            },
            Err(_) => return Poll::Ready(false),
        }
    }
}

/// Ends a connection on which nothing more is to come.
pub(super) async fn close(conn: &Conn) {
    // A client that is gone needs no end.
    let _ = conn.clone().shutdown().await;
}

/// Ends a connection, and reads what still comes so that the client is not reset.
pub(super) async fn linger<H>(conn: &Conn, live: &Live<H>) {
    let mut alarm = Alarm::default();
    let end = Instant::now() + LINGER;
    let mut silent = Instant::now() + LINGER_SILENCE;
    let mut shut = false;
    poll_fn(|cx| {
        if live.stage(cx) == Stage::Abort {
            return Poll::Ready(());
        }
        let state = &mut *conn.state();
        shut = shut || Pin::new(&mut state.io).poll_shutdown(cx).is_ready();
        loop {
            state.io.buf.clear();
            match state.io.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => silent = Instant::now() + LINGER_SILENCE,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return alarm.poll(silent.min(end), cx),
            }
        }
    })
    .await;
}
