//! The sockets on which the gateway listens: its own, or those of the gateway before it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use relay::{Listener, Tls};

use super::error::StartError;
use crate::config::Config;
use crate::handover::{Given, Predecessor, Role, back_door, open_door};
use crate::holder;

/// The port at which functions reach the gateway (design, section 5).
const FUNCTIONS_PORT: u16 = 8080;

/// Where a thread accepts calls.
pub(super) enum Socket {
    /// By plain http.
    Plain(TcpListener),
    /// By https.
    Tls(TcpListener, Tls),
    /// From the gateway before this one.
    BackDoor(UnixListener),
}

/// All of them.
pub(super) struct Sockets {
    /// Those of each thread that relays calls.
    pub(super) threads: Vec<Vec<Socket>>,
    /// For metrics and health.
    pub(super) metrics: TcpListener,
    /// Doubles of all, for the next gateway. Connections come in as long as one double is open, so
    /// they must go before this gateway ends without another one in its place.
    pub(super) doubles: Vec<Given>,
}

/// Where sockets come from.
struct Binder<'a> {
    config: &'a Config,
    predecessor: Option<&'a mut Predecessor>,
    doubles: Vec<Given>,
}

/// Whether everything is free that a gateway without a predecessor listens on.
pub(super) fn must_all_be_free(config: &Config) -> Result<(), StartError> {
    let metrics = Some(config.listen_metrics());
    for address in [config.listen_plain(), config.listen_tls(), metrics] {
        address.map_or(Ok(()), must_be_free)?;
    }
    Ok(())
}

impl Sockets {
    /// The sockets of each thread. One more thread serves where functions look for the gateway,
    /// when that is elsewhere.
    pub(super) fn bind(
        config: &Config,
        (functions_ip, state_dir): (Option<IpAddr>, &Path),
        tls: Option<&Tls>,
        predecessor: Option<&mut Predecessor>,
    ) -> Result<Self, StartError> {
        let has_predecessor = predecessor.is_some();
        let mut binder = Binder { config, predecessor, doubles: Vec::new() };
        let metrics = binder.metrics(config.listen_metrics())?;
        let mut threads = binder.threads(config, functions_ip, tls)?;
        if has_predecessor {
            threads.push(vec![Socket::BackDoor(open_door(&back_door(state_dir))?)]);
        }
        Ok(Self { threads, metrics, doubles: binder.doubles })
    }

    /// Says where clients get in, a line each.
    pub(super) fn announcement(&self) -> io::Result<String> {
        let line = |socket: &Socket| {
            let (scheme, listener) = match socket {
                Socket::Plain(listener) => ("http", listener),
                Socket::Tls(listener, _) => ("https", listener),
                Socket::BackDoor(_) => return Ok(String::new()),
            };
            let (version, address) = (env!("CARGO_PKG_VERSION"), listener.local_addr()?);
            Ok(format!("faas-gateway {version} listening on {scheme}://{address}\n"))
        };
        self.threads.first().map_or(Ok(String::new()), |sockets| sockets.iter().map(line).collect())
    }
}

impl Binder<'_> {
    /// The sockets of each thread.
    fn threads(
        &mut self,
        config: &Config,
        functions_ip: Option<IpAddr>,
        tls: Option<&Tls>,
    ) -> Result<Vec<Vec<Socket>>, StartError> {
        let mut threads: Vec<Vec<Socket>> = Vec::new();
        if let Some((address, tls)) = config.listen_tls().zip(tls) {
            let listeners = self.calls(Role::Tls, address)?;
            let socket = |listener| vec![Socket::Tls(listener, tls.clone())];
            threads.extend(listeners.into_iter().map(socket));
        }
        let Some(address) = config.listen_plain() else {
            return Ok(threads);
        };
        for (index, listener) in self.calls(Role::Calls, address)?.into_iter().enumerate() {
            if index >= threads.len() {
                threads.push(Vec::new());
            }
            threads[index].push(Socket::Plain(listener));
        }
        let covered = |ip: IpAddr| {
            config.port == FUNCTIONS_PORT && (address.ip().is_unspecified() || address.ip() == ip)
        };
        if let Some(functions_ip) = functions_ip.filter(|ip| !covered(*ip)) {
            let address = SocketAddr::new(functions_ip, FUNCTIONS_PORT);
            match self.functions(address) {
                Ok(listener) => threads.push(vec![Socket::Plain(listener)]),
                Err(error) => {
                    tracing::warn!(%address, %error, "functions cannot call each other: cannot listen");
                }
            }
        }
        Ok(threads)
    }

    /// One socket a thread.
    fn calls(&mut self, role: Role, address: SocketAddr) -> Result<Vec<TcpListener>, StartError> {
        let threads = self.config.threads.map_or_else(relay::threads::per_core, usize::from);
        let mut listeners = self.inherit(role, address);
        if listeners.is_empty() {
            must_be_free(address)?;
            let bound = Listener::bind_tcp(address, threads);
            listeners = bound.map_err(|source| cannot_listen(address, source))?;
        }
        self.double(role, &listeners)?;
        Ok(listeners)
    }

    fn functions(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let listener = match self.inherit(Role::Calls, address).pop() {
            Some(listener) => listener,
            None => Listener::bind_tcp(address, 1)?.remove(0),
        };
        self.double(Role::Calls, std::slice::from_ref(&listener))?;
        Ok(listener)
    }

    fn metrics(&mut self, address: SocketAddr) -> Result<TcpListener, StartError> {
        let listener = match self.inherit(Role::Metrics, address).pop() {
            Some(listener) => listener,
            None => TcpListener::bind(address).map_err(|source| cannot_listen(address, source))?,
        };
        listener.set_nonblocking(true)?;
        self.double(Role::Metrics, std::slice::from_ref(&listener))?;
        Ok(listener)
    }

    fn inherit(&mut self, role: Role, address: SocketAddr) -> Vec<TcpListener> {
        let predecessor = self.predecessor.as_mut();
        predecessor.map_or_else(Vec::new, |predecessor| predecessor.take(role, address))
    }

    fn double(&mut self, role: Role, listeners: &[TcpListener]) -> io::Result<()> {
        for listener in listeners {
            self.doubles.push(Given { role, listener: listener.try_clone()? });
        }
        Ok(())
    }
}

/// Whether nobody listens there. The sockets of all threads share the port, and would share it
/// with another gateway's of this user, too: only one that does not share can tell.
fn must_be_free(address: SocketAddr) -> Result<(), StartError> {
    let alone = TcpListener::bind(address);
    alone.map(drop).map_err(|source| cannot_listen(address, source))
}

fn cannot_listen(address: SocketAddr, source: io::Error) -> StartError {
    let in_use = source.kind() == ErrorKind::AddrInUse;
    StartError::Listen { address, holder: in_use.then(|| holder::of(address)).flatten(), source }
}
