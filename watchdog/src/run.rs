//! The life of a process that serves one request.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use relay::{Body, BodyError};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until, timeout};

use crate::child::{Process, Streams, describe};
use crate::log::{LineStyle, Lines, Sink};
use crate::marshal::Marshal;
use crate::pipe::{self, Output};
use crate::reap::Reaper;

/// How long the rest of a body is read that the process did not want. A client that is still
/// sending would take a closed connection for a failure and not see the answer.
const UNWANTED: Duration = Duration::from_secs(10);

/// What is to be run.
#[derive(Debug)]
pub struct Job<'a> {
    /// Program and arguments.
    pub words: &'a [String],
    /// Variables on top of our own.
    pub variables: Vec<(OsString, OsString)>,
    /// The request's headers, when the process gets the request as JSON.
    pub marshal: Option<HeaderMap>,
    /// Whether stderr is part of the output.
    pub combine_output: bool,
    /// How stderr is logged otherwise.
    pub style: LineStyle,
    /// Who must leave the process alone.
    pub reaper: &'a Rc<Reaper>,
}

/// What comes from a process.
#[derive(Debug)]
pub enum Event {
    /// Output.
    Data(Bytes),
    /// The end; nothing comes after it.
    End(End),
}

/// How it ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// By itself.
    #[error("{}", describe(*.0))]
    Exited(ExitStatus),
    /// It took too long and was killed.
    #[error("the time limit passed")]
    Deadline,
    /// The request's body broke off, so it was killed.
    #[error("the request's body could not be read: {0}")]
    BadBody(BodyError),
    /// It could not be watched.
    #[error("{0}")]
    Failed(io::Error),
}

/// A process that was started for a request.
#[derive(Debug)]
pub struct Running {
    process: Process,
    stdout: Output,
    feeder: Feeder,
    deadline: Option<Instant>,
    /// Dropped when the process has ended, which ends the logging of its stderr.
    _logging: oneshot::Sender<()>,
}

/// Starts a process and gives it the body.
///
/// # Errors
/// When it cannot be started.
pub fn start(job: Job<'_>, body: Body, deadline: Option<Instant>) -> io::Result<Running> {
    let (theirs_in, stdin) = pipe::input()?;
    let (theirs_out, stdout) = pipe::output()?;
    let (logging, ended) = oneshot::channel::<()>();
    let stderr = if job.combine_output {
        Stdio::from(theirs_out.try_clone()?)
    } else {
        let (theirs_err, output) = pipe::output()?;
        let lines = Lines::new(Sink::Stderr, job.style);
        spawn_local(output.log(lines, async { drop(ended.await) }));
        Stdio::from(theirs_err)
    };
    let streams = Streams { stdin: theirs_in.into(), stdout: theirs_out.into(), stderr };
    let process = Process::spawn(job.words, job.variables, streams, job.reaper)?;
    let feeder = Feeder {
        body,
        stdin: Some(stdin),
        before: job.marshal.as_ref().map(Marshal::begin),
        marshal: job.marshal.map(|_| Marshal::default()),
    };
    Ok(Running { process, stdout, feeder, deadline, _logging: logging })
}

impl Running {
    /// Feeds the process and passes its output on until it ends. It is killed, with all it has
    /// started, when its time is over or nobody listens any more.
    pub async fn drive(mut self, events: mpsc::Sender<Event>) {
        let deadline = self.deadline;
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        };
        let end = tokio::select! {
            biased;
            () = events.closed() => None,
            () = over => Some(End::Deadline),
            end = pump(&mut self.stdout, &mut self.process, &events) => Some(end),
            error = self.feeder.run() => Some(End::BadBody(error)),
        };
        if !matches!(end, Some(End::Exited(_))) {
            self.process.kill().await;
        }
        spawn_local(self.feeder.discard_rest());
        if let Some(end) = end {
            // Whoever is gone by now does not mind.
            let _ = events.send(Event::End(end)).await;
        }
    }
}

/// Passes output on until the process has ended.
async fn pump(stdout: &mut Output, process: &mut Process, events: &mpsc::Sender<Event>) -> End {
    let ended = loop {
        // In no fixed order: what the process has left behind may write for ever.
        tokio::select! {
            bytes = stdout.next() => match bytes {
                Some(bytes) => drop(events.send(Event::Data(bytes)).await),
                // It may go on without its output, and how it ends still matters.
                None => break process.wait().await,
            },
            ended = process.wait() => break ended,
        }
    };
    let rest = stdout.leftover();
    if !rest.is_empty() {
        drop(events.send(Event::Data(rest)).await);
    }
    ended.map_or_else(End::Failed, End::Exited)
}

/// Gives the request's body to the process.
#[derive(Debug)]
struct Feeder {
    body: Body,
    /// `None` once the process has what it wants.
    stdin: Option<Sender>,
    before: Option<Vec<u8>>,
    marshal: Option<Marshal>,
}

impl Feeder {
    /// Returns only when the body breaks off.
    async fn run(&mut self) -> BodyError {
        if let Some(before) = self.before.take() {
            self.write(&before).await;
        }
        while let Some(frame) = self.body.frame().await {
            let data = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => return error,
            };
            match &mut self.marshal {
                Some(marshal) => {
                    let text = marshal.piece(&data);
                    self.write(&text).await;
                }
                None => self.write(&data).await,
            }
        }
        if let Some(mut marshal) = self.marshal.take() {
            self.write(&marshal.end()).await;
        }
        self.stdin = None;
        pending().await
    }

    async fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(bytes).await.is_err()
        {
            // The process does not want more, which is its right.
            self.stdin = None;
        }
    }

    /// Reads what is left of the body.
    async fn discard_rest(self) {
        let mut body = self.body;
        drop(self.stdin);
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = timeout(UNWANTED, rest).await;
    }
}
