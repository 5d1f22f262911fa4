//! The life of the watchdog: start, serve, end (contract 5.8, 5.10).

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use provider::format_duration;
use relay::{Listener, ServeOptions, Shutdown, Trigger};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::app::{App, Function};
use crate::child::{Process, Streams, describe};
use crate::config::{Config, Mode};
use crate::log::{self, LineStyle, Lines, Sink};
use crate::pipe;
use crate::reap::Reaper;
use crate::room::Room;
use crate::socket::{self, Published};

/// How long the function's server may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// How long answers and log lines may take to get out after the function's server has died.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the watchdog stops with a failure.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something that it needs is not to be had.
    #[error("{what}: {source}")]
    Start {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The metrics are not well formed.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The function's server ended although nobody had asked it to.
    #[error("Forked function has terminated: {0}")]
    Child(String),
}

/// A running watchdog.
struct Server {
    config: Config,
    app: Rc<App>,
    shutdown: Shutdown,
    /// Whatever serves calls; empty when all have ended.
    serving: JoinSet<()>,
}

/// The function's server and what copies its output.
struct Child {
    process: Process,
    logging: JoinSet<()>,
}

/// Runs until the signal to end, or until the function's server ends.
///
/// # Errors
/// See [`Failure`].
pub async fn run(mut config: Config) -> Result<(), Failure> {
    let reaper = Rc::new(Reaper::default());
    let room = make_room(&mut config).await?;
    let app = Rc::new(App::new(&config, Rc::clone(&reaper))?);
    announce(&config);
    let mut signals = Signals::new().map_err(failed("signals"))?;
    spawn_local(Rc::clone(&reaper).run());
    spawn_local(log::together());
    let (trigger, shutdown) = relay::shutdown();
    let mut server = Server { config, app, shutdown, serving: JoinSet::new() };
    server.listen()?;
    server.listen_for_metrics();
    let mut child = server.start_function(&room, &reaper)?;
    let ended = server.serve(&mut signals, &mut child).await;
    match ended {
        Ok(published) => {
            server.drain(&mut signals, trigger, published).await;
            if let Some(child) = &mut child {
                child.process.terminate(GRACE).await;
                child.last_words().await;
            }
            Ok(())
        }
        Err(failure) => {
            server.app.health.drain();
            trigger.drain();
            let _ = timeout(LAST_WORDS, server.ended()).await;
            if let Some(child) = &mut child {
                child.last_words().await;
            }
            Err(failure)
        }
    }
}

/// A place for the function's server, in http mode. It lasts as long as the watchdog.
async fn make_room(config: &mut Config) -> Result<Room, Failure> {
    let Mode::Http(upstream) = &mut config.mode else { return Ok(Room::default()) };
    let what = "no place for the function to listen on";
    Room::make(upstream, &config.tmp_dir).await.map_err(failed(what))
}

fn announce(config: &Config) {
    let version = env!("CARGO_PKG_VERSION");
    let sha = option_env!("FLINT_COMMIT").unwrap_or("unknown");
    log::line(format_args!("Version: {version}\tSHA: {sha}"));
    let (mode, process) = (&config.mode_name, &config.process_text);
    log::line(format_args!("Watchdog mode: {mode}\tfprocess: \"{process}\""));
    let (read, write) = (config.read_timeout, config.write_timeout);
    let hard = config.exec_timeout.unwrap_or_default();
    let [read, write, hard, health] =
        [read, write, hard, config.healthcheck_interval].map(format_duration);
    log::line(format_args!("Timeouts: read: {read} write: {write} hard: {hard} health: {health}"));
}

impl Server {
    fn listen(&mut self) -> Result<(), Failure> {
        let Some(port) = self.config.port else { return Ok(()) };
        let listener = bind(port).map_err(failed(format!("cannot listen on port {port}")))?;
        let port = listener.local_addr().map_or(port, |address| address.port());
        let listener = Listener::from_tcp(listener).map_err(failed("cannot listen"))?;
        log::line(format_args!("Listening on port: {port}"));
        self.serve_on(listener);
        Ok(())
    }

    fn serve_on(&mut self, listener: Listener) {
        let app = Rc::clone(&self.app);
        let options = ServeOptions {
            header_timeout: self.config.read_timeout.max(Duration::from_secs(1)),
            drain_timeout: self.config.write_timeout,
            max_uri_bytes: usize::MAX,
            ..ServeOptions::default()
        };
        self.serving.spawn_local(relay::serve(
            listener,
            options,
            self.shutdown.clone(),
            move |request, _| {
                let app = Rc::clone(&app);
                async move { app.handle(request).await }
            },
        ));
    }

    /// Nobody's calls fail for want of metrics.
    fn listen_for_metrics(&self) {
        let Some(port) = self.config.metrics_port else { return };
        let bound = bind(port).and_then(|listener| {
            Ok((listener.local_addr()?.port(), Listener::from_tcp(listener)?))
        });
        let (port, listener) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                return log::line(format_args!("Metrics cannot listen on port {port}: {error}"));
            }
        };
        log::line(format_args!("Metrics listening on port: {port}"));
        let app = Rc::clone(&self.app);
        let options = ServeOptions { drain_timeout: Duration::ZERO, ..ServeOptions::default() };
        spawn_local(relay::serve(listener, options, self.shutdown.clone(), move |request, _| {
            std::future::ready(app.metrics(&request))
        }));
    }

    /// Starts the function's server, in http mode.
    fn start_function(&self, room: &Room, reaper: &Rc<Reaper>) -> Result<Option<Child>, Failure> {
        if !matches!(self.app.function, Function::Http(_)) {
            return Ok(None);
        }
        let what = format!("cannot start the function: {}", self.config.process_text);
        Child::spawn(&self.config, room, reaper).map(Some).map_err(failed(what))
    }

    /// Serves until the signal to end; the socket exists as long as the function is ready.
    async fn serve(
        &mut self,
        signals: &mut Signals,
        child: &mut Option<Child>,
    ) -> Result<Option<Published>, Failure> {
        let app = Rc::clone(&self.app);
        let accepting = async {
            if let Function::Http(proxy) = &app.function {
                proxy.accepting().await;
            }
        };
        tokio::select! {
            biased;
            () = signals.given() => return Ok(None),
            failure = Child::death(child) => return Err(failure),
            () = accepting => (),
        }
        let published = self.get_ready()?;
        tokio::select! {
            biased;
            () = signals.given() => Ok(published),
            failure = Child::death(child) => Err(failure),
        }
    }

    fn get_ready(&mut self) -> Result<Option<Published>, Failure> {
        if let Some(path) = &self.config.lock_file {
            log::line(format_args!("Writing lock-file to: {}", path.display()));
        }
        // An image may have no writable folder at all; health is told over HTTP as well.
        if let Err(error) = self.app.health.ready() {
            log::line(format_args!("cannot write the lock file, going on without: {error}"));
        }
        let Some(path) = self.config.listen_socket.clone() else { return Ok(None) };
        let what = format!("cannot listen on {}", path.display());
        let (listener, published) = socket::publish(&path).map_err(failed(what.clone()))?;
        self.serve_on(Listener::from_unix(listener).map_err(failed(what))?);
        log::line(format_args!("Listening on socket: {}", path.display()));
        Ok(Some(published))
    }

    /// No longer ready, then no new calls, then none at all. A second signal cuts each wait short.
    async fn drain(
        &mut self,
        signals: &mut Signals,
        trigger: Trigger,
        published: Option<Published>,
    ) {
        self.app.health.drain();
        drop(published);
        let interval = self.config.healthcheck_interval;
        let name = signals.last;
        let window = format_duration(interval);
        log::line(format_args!("{name}: no new connections in {window}"));
        tokio::select! {
            () = sleep(interval) => (),
            () = signals.given() => (),
        }
        let in_flight = self.app.limiter.in_flight();
        log::line(format_args!("No new connections allowed, draining: {in_flight} requests"));
        trigger.drain();
        tokio::select! {
            () = self.ended() => (),
            () = signals.given() => (),
        }
        log::line(format_args!("Exiting. Active requests: {}", self.app.limiter.in_flight()));
    }

    async fn ended(&mut self) {
        while self.serving.join_next().await.is_some() {}
    }
}

impl Child {
    fn spawn(config: &Config, room: &Room, reaper: &Rc<Reaper>) -> io::Result<Self> {
        let style = LineStyle { prefix: config.prefix_logs, max_bytes: config.line_bytes };
        let (theirs_out, stdout) = pipe::output()?;
        let (theirs_err, stderr) = pipe::output()?;
        let streams =
            Streams { stdin: Stdio::null(), stdout: theirs_out.into(), stderr: theirs_err.into() };
        let process = Process::spawn(&config.process, room.variables(), streams, reaper)?;
        let mut logging = JoinSet::new();
        logging.spawn_local(stdout.log(Lines::new(Sink::Stdout, style), pending()));
        logging.spawn_local(stderr.log(Lines::new(Sink::Stderr, style), pending()));
        Ok(Self { process, logging })
    }

    /// Returns when the function's server has ended by itself; never in other modes.
    async fn death(child: &mut Option<Self>) -> Failure {
        let Some(child) = child else { return pending().await };
        match child.process.wait().await {
            Ok(status) => Failure::Child(describe(status)),
            Err(error) => Failure::Child(error.to_string()),
        }
    }

    /// Lets its last log lines out. What it has left behind may hold the pipes for ever.
    async fn last_words(&mut self) {
        let all = async { while self.logging.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, all).await;
    }
}

/// The signals that end the watchdog.
struct Signals {
    term: Signal,
    int: Signal,
    /// The one that came last.
    last: &'static str,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let term = signal(SignalKind::terminate())?;
        Ok(Self { term, int: signal(SignalKind::interrupt())?, last: "SIGTERM" })
    }

    async fn given(&mut self) {
        self.last = tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        };
    }
}

/// All addresses, both families where there are both.
fn bind(port: u16) -> io::Result<std::net::TcpListener> {
    let bind = |address: SocketAddr| {
        let mut bound = Listener::bind_tcp(address, 1)?;
        bound.pop().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
    };
    match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind((Ipv4Addr::UNSPECIFIED, port).into())
        }
        bound => bound,
    }
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    let what = what.into();
    move |source| Failure::Start { what, source }
}
